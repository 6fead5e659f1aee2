//! Cancel requests between processes that listen behind one address: which of them has the client that is meant, a request does
//! not say. One that nobody here knows is passed on to every peer, with a mark on its key that keeps it from going further.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use tokio::time::timeout;

use crate::config::Peer;
use crate::net::TcpOptions;
use crate::protocol::startup_packet;
use crate::server::Address;
use crate::shared::ProxyState;
use crate::shared::sockets::tcp_options;

/// Stands behind the key of a request that comes from a peer.
const MARK: &[u8] = b"pgsluice";
/// Requests that are on their way to peers at a time: further ones are dropped.
const MOST: usize = 256;

/// A key, and whether a peer has passed it on.
pub fn key_of(mut secret: Vec<u8>) -> (Vec<u8>, bool) {
    let passed_on = secret.len() > MARK.len() && secret.ends_with(MARK);
    if passed_on {
        secret.truncate(secret.len() - MARK.len());
    }
    (secret, passed_on)
}

/// Counts a request for as long as it is on its way.
struct Place<'p>(&'p AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl<'p> Place<'p> {
    fn take(count: &'p AtomicUsize) -> Option<Self> {
        let place = Self(count);
        (count.fetch_add(1, SeqCst) < MOST).then_some(place)
    }
}

/// Passes a request on to all peers, and waits until they have taken it.
pub async fn pass_on(proxy: &ProxyState, pid: u32, secret: &[u8], patience: Duration) {
    let setup = proxy.setup.load_full();
    let config = &setup.config;
    let others = config.peers.iter().filter(|(number, _)| **number != config.process.peer_id);
    let others: Vec<Peer> = others.map(|(_, peer)| peer.clone()).chain(super::fleet::addresses(proxy)).collect();
    let Some(_place) = Place::take(&proxy.peer_requests) else { return };
    let mut request = Vec::new();
    startup_packet::write_cancel(&mut request, pid, &[secret, MARK].concat());
    let (request, options): (Arc<[u8]>, _) = (request.into(), tcp_options(&config.listen));
    let sent: Vec<_> = others
        .iter()
        .map(|peer| tokio::task::spawn_local(timeout(patience, send(address(peer), options, request.clone()))))
        .collect();
    for one in sent {
        let _ = one.await;
    }
}

fn address(peer: &Peer) -> Address {
    if peer.host.starts_with('/') {
        Address::Unix { dir: peer.host.clone().into(), port: peer.port }
    } else {
        Address::Tcp { host: peer.host.clone(), port: peer.port }
    }
}

async fn send(to: Address, options: TcpOptions, request: Arc<[u8]>) {
    let sent = async {
        let mut stream = crate::net::Stream::Plain(to.connect(options).await?);
        stream.write_all(&request).await?;
        // It closes the connection once it has passed the request on.
        stream.read_some(&mut Vec::new(), 16).await
    };
    if let Err(error) = sent.await
        && error.kind() != std::io::ErrorKind::UnexpectedEof
    {
        tracing::debug!(event = "peer_unreachable", peer = %to, %error, "a cancel request cannot be passed on");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_taken_off_once() {
        assert_eq!(key_of(b"abcd".to_vec()), (b"abcd".to_vec(), false));
        assert_eq!(key_of(b"abcdpgsluice".to_vec()), (b"abcd".to_vec(), true));
        assert_eq!(key_of(b"pgsluice".to_vec()), (b"pgsluice".to_vec(), false));
    }

    #[test]
    fn there_is_an_end_to_what_is_passed_on_at_a_time() {
        let count = AtomicUsize::new(0);
        let places: Vec<_> = (0..MOST).map(|_| Place::take(&count).unwrap()).collect();
        assert!(Place::take(&count).is_none());
        drop(places);
        assert!(Place::take(&count).is_some() && count.load(SeqCst) == 0);
    }
}
