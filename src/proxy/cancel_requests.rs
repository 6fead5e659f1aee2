//! A cancel request finds its server: by the key that the client was given, over the worker that serves it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::peers;
use crate::shared::{Phase, ProxyState, Setup};

fn patience(setup: &Setup) -> Duration {
    setup.config.timeouts.cancel_wait_timeout.get().unwrap_or(Duration::from_secs(3600))
}

/// Passes a cancel request on to whoever works for that client: a server of ours, the process before this one, or a peer.
pub(super) async fn serve(proxy: &Arc<ProxyState>, pid: u32, secret: Vec<u8>) {
    let (secret, passed_on) = peers::key_of(secret);
    if cancel(proxy, pid, &secret).await || cancel_before(proxy, pid, &secret).await || passed_on {
        return;
    }
    let setup = proxy.setup.load_full();
    if !setup.config.peers.is_empty() || proxy.fleet.get().is_some() {
        peers::pass_on(proxy, pid, &secret, patience(&setup)).await;
    }
}

/// Asks the process before this one, which may still have that client.
async fn cancel_before(proxy: &ProxyState, pid: u32, secret: &[u8]) -> bool {
    match proxy.former.load_full() {
        Some(former) => former.cancel(pid, secret).await,
        None => false,
    }
}

/// Passes a cancel request on to the server that works for that client, if the secret is right. False: there is no such client.
pub(super) async fn cancel(proxy: &Arc<ProxyState>, pid: u32, secret: &[u8]) -> bool {
    let id = proxy.keys.client(pid, secret).unwrap_or(u64::from(pid));
    let home = (id >> 24 & 0x7f) as usize;
    let secret: Arc<[u8]> = secret.into();
    let sent = proxy.on_core(home, move |core| {
        let known = core.client(id).filter(|client| subtle::ConstantTimeEq::ct_eq(&*client.secret, &*secret).into());
        let busy =
            known.as_ref().filter(|client| !matches!(client.phase.get(), Phase::Idle | Phase::IdleInTransaction));
        (known.is_some(), busy.map(|client| client.send_cancel()))
    });
    // The client that asked waits until its connection is closed: not before the request has been passed on.
    let (known, done) = sent.await.unwrap_or_default();
    if let Some(done) = done {
        let _ = timeout(patience(&proxy.setup.load()), done).await;
    }
    known
}
