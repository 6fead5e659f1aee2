//! Metrics for Prometheus.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};

use super::Api;
use super::access::may_see_metrics;
use super::api::Tokened;
use super::problem::Problem;
use super::server::Peer;
use crate::metrics::{Form, gather};

/// Metrics
///
/// For Prometheus: OpenMetrics for whoever accepts that, else the older text form.
#[utoipa::path(get, path = "/metrics", operation_id = "metrics", tag = "public",
    responses(
        (status = 200, description = "All of them", content(
            (String = "text/plain"), (String = "application/openmetrics-text"))),
        Tokened,
    ),
    security((), ("token" = [])))]
pub async fn get(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    may_see_metrics(&api, &peer, &headers)?;
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let form = Form::wanted(accept);
    Ok(([(CONTENT_TYPE, form.content_type())], gather(&api.proxy).await.write(form)).into_response())
}
