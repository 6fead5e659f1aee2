//! HTTP: health for load balancers, and the banner that a web site shows during a maintenance. Off unless configured.
//!
//! One request for each connection, a bounded number of connections, a bounded time for each: whoever reaches the port can
//! cost little. [`banner`] is what is said, [`access`] who may hear it.

mod access;
mod banner;
mod metrics;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::proxy::open_files;
use crate::shared::Hub;
use crate::topology::Role;

/// Connections at once; further ones wait to be accepted.
const MOST: usize = 256;
/// How long a client may take for the head of its request.
const HEAD: Duration = Duration::from_secs(5);
/// How long a connection may take in all.
const WHOLE: Duration = Duration::from_secs(15);
/// Bytes of a request that are held.
const BUFFER: usize = 16 * 1024;

/// Serves a listener until the task is aborted.
///
/// # Errors
/// The listener cannot be registered with this runtime.
pub fn serve(hub: Arc<Hub>, listener: std::net::TcpListener) -> std::io::Result<JoinHandle<()>> {
    let listener = TcpListener::from_std(listener)?;
    Ok(tokio::spawn(accept(router(hub.clone()), hub, listener)))
}

fn router(hub: Arc<Hub>) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/v1/databases/{database}/banner", get(crate::http::banner::get))
        .route("/metrics", get(crate::http::metrics::get))
        .with_state(hub)
}

/// Ready is who knows a server for every database.
async fn ready(State(hub): State<Arc<Hub>>) -> (StatusCode, &'static str) {
    let serves = |role| matches!(role, Role::Primary | Role::Replica);
    let served = hub.databases.clusters().iter().all(|one| one.upstreams.iter().any(|server| serves(server.role())));
    if served { (StatusCode::OK, "ok\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "a cluster has no server\n") }
}

async fn accept(router: Router, hub: Arc<Hub>, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(MOST));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD).keep_alive(false).max_buf_size(BUFFER);
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                if !open_files::is_limit(&error) {
                    tracing::warn!(event = "accept_failed", %error, "cannot accept an HTTP connection");
                } else if let Some(times) = hub.too_many_files.note(std::time::Instant::now()) {
                    tracing::warn!(event = "too_many_open_files", %error, times, "cannot accept: {}", open_files::REMEDY);
                }
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
        tokio::spawn(async move {
            // What goes wrong on it is the client's business.
            let _ = timeout(WHOLE, connection).await;
            drop(place);
        });
    }
}
