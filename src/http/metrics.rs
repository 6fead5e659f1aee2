//! Metrics for Prometheus.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};

use super::Api;
use super::access::may_see_metrics;
use super::problem::Problem;
use crate::metrics::{Form, gather};

/// Metrics
///
/// For Prometheus: OpenMetrics for whoever accepts that, else the older text form.
#[utoipa::path(get, path = "/metrics", operation_id = "metrics", tag = "public",
    responses(
        (status = 200, description = "All of them", content(
            (String = "text/plain"), (String = "application/openmetrics-text"))),
        (status = 401, description = "They are not public, and there is no token", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("token" = [])))]
pub async fn get(State(api): State<Arc<Api>>, headers: HeaderMap) -> Response {
    let proxy = &api.proxy;
    if !may_see_metrics(&api, &headers) {
        return Problem::unauthorized("a token is needed").into_response();
    }
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let form = Form::wanted(accept);
    ([(CONTENT_TYPE, form.content_type())], gather(proxy).await.write(form)).into_response()
}
