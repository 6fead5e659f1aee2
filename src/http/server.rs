//! Connections: accepted, spoken TLS with, given to the router.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::stalls::Stalls;
use crate::proxy::system::open_files;
use crate::shared::ProxyState;

/// Connections at once; further ones wait to be accepted.
const MOST: usize = 256;
/// How long a client may take for its handshake, and then for the head of its request.
const HEAD: Duration = Duration::from_secs(5);
/// Bytes of a request that are held.
const BUFFER: usize = 16 * 1024;

/// Whom a connection comes from.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The client's address.
    pub address: SocketAddr,
    /// The name (CN) in its certificate, which an authority of ours has signed.
    pub certificate: Option<Arc<str>>,
}

/// Serves a listener for ever.
pub async fn accept(router: Router, proxy: Arc<ProxyState>, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(MOST));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, address)) => {
                let connection = serve(router.clone(), proxy.clone(), stream, address);
                tokio::spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                if !open_files::is_limit(&error) {
                    tracing::warn!(event = "accept_failed", %error, "cannot accept an HTTP connection");
                } else if let Some(times) = proxy.too_many_files.note(std::time::Instant::now()) {
                    tracing::warn!(event = "too_many_open_files", %error, times, "cannot accept: {}", open_files::REMEDY);
                }
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// What goes wrong on a connection is the client's business.
async fn serve(router: Router, proxy: Arc<ProxyState>, stream: TcpStream, address: SocketAddr) {
    // Small answers, and each line of an event stream, go out at once.
    let _ = stream.set_nodelay(true);
    let tls = proxy.setup.load().config.http.tls;
    if !tls {
        return converse(router, stream, Peer { address, certificate: None }).await;
    }
    let setup = proxy.setup.load_full();
    let Some(handshake) = setup.tls.accept_http(stream) else { return };
    let Ok(Ok(stream)) = timeout(HEAD, handshake).await else { return };
    let certificate = crate::tls::client_name(&stream).map(Into::into);
    converse(router, stream, Peer { address, certificate }).await;
}

async fn converse(router: Router, stream: impl AsyncRead + AsyncWrite + Unpin, peer: Peer) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD).keep_alive(false).max_buf_size(BUFFER);
    let inner = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        inner.call(request)
    });
    let _ = http.serve_connection(TokioIo::new(Stalls::new(stream)), service).await;
}
