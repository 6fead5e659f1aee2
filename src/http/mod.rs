//! HTTP: health for load balancers, the banner that a web site shows during a maintenance, an API, and the status page. Off
//! unless configured.
//!
//! [`server`] accepts: one request for each connection, a bounded number of connections, a bounded time for each step, so that
//! whoever reaches the port can cost little. [`access`] says who may ask for what. [`api`] has a file for each resource, and
//! [`operations`] what takes longer than a request. [`page`] is the status page, which uses nothing but the API. Errors are
//! [`problem`]s. What a resource is not asked for is one ([`questions`]).
//!
//! A route and its place in the OpenAPI document are one line in [`api::routes`], so that neither can be without the other.
//! Commands are run by `admin::commands`, as the console's are.

mod access;
mod api;
mod banner;
mod health;
mod metrics;
mod operations;
mod page;
mod problem;
mod questions;
mod server;
mod stalls;

use std::io;
use std::sync::Arc;

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::Response;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::http::access::failures::Failures;
use crate::http::operations::Operations;
use crate::http::problem::Problem;
use crate::http::questions::Questions;
use crate::shared::ProxyState;

/// Requests that wait for something, or are told of it for as long as it takes.
const MOST_LONG: usize = 128;

/// What requests share.
pub(crate) struct Api {
    proxy: Arc<ProxyState>,
    operations: Operations,
    failures: Failures,
    /// Places for requests that take long.
    long: Arc<Semaphore>,
    /// The OpenAPI document.
    document: String,
}

/// Serves listeners until the tasks are aborted.
///
/// # Errors
/// A listener cannot be registered with this runtime.
pub fn serve(proxy: Arc<ProxyState>, listeners: Vec<std::net::TcpListener>) -> io::Result<Vec<JoinHandle<()>>> {
    let (router, document) = api::routes().split_for_parts();
    let api = Arc::new(Api {
        operations: Operations::new(proxy.began),
        failures: Failures::default(),
        long: Arc::new(Semaphore::new(MOST_LONG)),
        document: document.to_json().map_err(io::Error::other)?,
        proxy,
    });
    let questions = Arc::new(Questions::of(&document));
    let router = router
        .route_layer(from_fn_with_state(questions, questions::check))
        .merge(page::routes())
        .fallback(async || Problem::not_found("there is no such resource"))
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(map_response(headers))
        .with_state(api.clone());
    let start = |listener| {
        let listener = TcpListener::from_std(listener)?;
        Ok(tokio::spawn(server::accept(router.clone(), api.proxy.clone(), listener)))
    };
    listeners.into_iter().map(start).collect()
}

/// What goes with every answer that does not say otherwise.
async fn headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let mut add = |name, value| _ = headers.entry(name).or_insert(HeaderValue::from_static(value));
    add(CACHE_CONTROL, "no-store");
    add(CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'");
    add(REFERRER_POLICY, "no-referrer");
    add(X_CONTENT_TYPE_OPTIONS, "nosniff");
    add(X_FRAME_OPTIONS, "DENY");
    response
}
