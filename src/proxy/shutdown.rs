//! The end of the process: what a signal means, who is waited for, and for how long.
//!
//! As in PgBouncer, the TCP listeners close first. Who waits for clients or for servers leaves the unix socket to consoles until
//! then, so that an administrator can see what is waited for, and end it. A second signal ends everything at once.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use super::server_changes::choose_again;
use crate::events::{Event, Kind, publish};
use crate::log::millis;
use crate::protocol::Report;
use crate::shared::client::Ask;
use crate::shared::{Phase, ProxyState, Stop, WorkerState};

/// How long clients that are sent away may take to read why.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How often it is looked who is left.
const LOOK: Duration = Duration::from_millis(20);

fn signalled(signal: &str, stop: Stop) -> Stop {
    tracing::warn!(event = "signal", signal, "told to stop");
    stop
}

fn is_like_pgbouncer(proxy: &ProxyState) -> bool {
    proxy.setup.load().config.process.pgbouncer_compatible
}

/// SIGTERM: PgBouncer waits for clients to leave.
pub(super) fn by_terminate(proxy: &ProxyState) -> Stop {
    signalled("SIGTERM", if is_like_pgbouncer(proxy) { Stop::Leave } else { Stop::Drain })
}

/// SIGINT: PgBouncer waits for server connections to come back.
pub(super) fn by_interrupt(proxy: &ProxyState) -> Stop {
    signalled("SIGINT", if is_like_pgbouncer(proxy) { Stop::Drain } else { Stop::Now })
}

/// SIGQUIT
pub(super) fn by_quit() -> Stop {
    signalled("SIGQUIT", Stop::Now)
}

/// Another signal while somebody is waited for.
pub(super) fn at_once(signal: &str) {
    tracing::warn!(event = "signal_again", signal, "told to stop again: at once");
}

/// A signal that means nothing any more.
pub(super) fn ignored(signal: &str) {
    tracing::info!(event = "signal_ignored", signal, "shutting down: the signal is ignored");
}

fn report() -> Report {
    Report::fatal("57P01", "terminating connection due to administrator command")
}

/// Lets nobody in, sends away who is idle, and waits for the others.
pub(super) async fn drain(proxy: &Arc<ProxyState>, stop: Stop) {
    match stop {
        Stop::Now => {}
        Stop::Leave => until_clients_left(proxy).await,
        Stop::Drain if is_like_pgbouncer(proxy) => until_servers_released(proxy).await,
        Stop::Drain => {}
    }
    let now = stop == Stop::Now;
    let patience = if now { Duration::ZERO } else { proxy.setup.load().config.process.shutdown_timeout };
    proxy
        .on_every_core(move |core| {
            core.stop();
            core.clients().iter().for_each(|client| client.ask(Ask::End { report: report(), now }));
        })
        .await;
    await_nobody(proxy, patience.max(LAST_WORDS)).await;
    let left = proxy.clients.load(SeqCst);
    if left > 0 {
        tracing::warn!(event = "clients_left", clients = left, "clients are still here: they are disconnected");
        // Whoever can still be told is told why.
        proxy
            .on_every_core(|core| {
                core.clients().iter().for_each(|client| client.ask(Ask::End { report: report(), now: true }));
            })
            .await;
        await_nobody(proxy, LAST_WORDS).await;
    }
}

/// Waits until nobody is connected, but not for longer.
async fn await_nobody(proxy: &ProxyState, patience: Duration) {
    let until = Instant::now() + patience;
    while proxy.clients.load(SeqCst) > 0 && Instant::now() < until {
        tokio::time::sleep(LOOK).await;
    }
}

/// Says how many clients there are, and how many have to come to the end of a transaction first.
pub(super) async fn log_drain(proxy: &ProxyState, stop: Stop) {
    let counts = proxy.on_every_core(|core| {
        let clients = core.clients();
        let busy =
            clients.iter().filter(|one| one.transaction_since.get().is_some() || one.phase.get() == Phase::Active);
        busy.count()
    });
    let waits_for: usize = match stop {
        Stop::Now => 0,
        Stop::Drain => counts.await.into_iter().sum(),
        Stop::Leave => proxy.clients.load(SeqCst),
    };
    let timeout = proxy.setup.load().config.process.shutdown_timeout;
    let (clients, at_most_ms) = (proxy.clients.load(SeqCst), (stop == Stop::Drain).then(|| millis(timeout)));
    let event = Event::new(Kind::ShuttingDown, "shutting down");
    publish!(proxy.events, warn, event, clients = clients, waits_for = waits_for, at_most_ms = at_most_ms);
}

/// Waits until nobody but consoles is left.
async fn until_clients_left(proxy: &ProxyState) {
    until(proxy, |core| core.clients().iter().any(|client| client.database.is_some())).await;
}

/// Nobody gets a server connection any more: who waits for one is sent away, who asks for one likewise, and who has one is waited
/// for, for shutdown_timeout at most.
async fn until_servers_released(proxy: &Arc<ProxyState>) {
    let patience = proxy.setup.load().config.process.shutdown_timeout;
    proxy.databases.pause_all();
    proxy
        .on_every_core(|core| {
            core.close_door();
            let clients = core.clients();
            let waiting = clients.iter().filter(|client| client.phase.get() == Phase::Waiting);
            waiting.for_each(|client| client.ask(Ask::End { report: report(), now: true }));
        })
        .await;
    choose_again(proxy, proxy.databases.all()).await;
    let released = until(proxy, |core| core.clients().iter().any(|client| client.cancel.borrow().is_some()));
    let _ = tokio::time::timeout(patience, released).await;
}

/// Lets nobody in and waits until `is_left` holds on no core.
async fn until(proxy: &ProxyState, is_left: impl Fn(&Rc<WorkerState>) -> bool + Clone + Send + 'static) {
    loop {
        let is_left = is_left.clone();
        let left = proxy.on_every_core(move |core| {
            core.close_door();
            is_left(core)
        });
        if !left.await.contains(&true) {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}
