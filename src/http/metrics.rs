//! Metrics for Prometheus.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};

use super::access::may_see_metrics;
use crate::metrics::{Form, gather};
use crate::shared::Hub;

/// `GET /metrics`
pub async fn get(State(hub): State<Arc<Hub>>, headers: HeaderMap) -> Response {
    if !may_see_metrics(&hub.setup.load().config, &headers) {
        return (StatusCode::UNAUTHORIZED, [("WWW-Authenticate", "Bearer")], "a token is needed\n").into_response();
    }
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let form = Form::wanted(accept);
    ([(CONTENT_TYPE, form.content_type())], gather(&hub).await.write(form)).into_response()
}
