//! The end of the process: what a signal means, who is waited for, and for how long.
//!
//! As in PgBouncer, the TCP listeners close first. Who waits for clients or for servers leaves the unix socket to consoles until
//! then, so that an administrator can see what is waited for, and end it. A second signal ends everything at once.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use super::turns::choose_again;
use crate::events::{Event, Kind, publish};
use crate::log::millis;
use crate::protocol::Report;
use crate::shared::client::Ask;
use crate::shared::{Core, Hub, Phase, Stop};

/// How long clients that are sent away may take to read why.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How often it is looked who is left.
const LOOK: Duration = Duration::from_millis(20);

fn signalled(signal: &str, stop: Stop) -> Stop {
    tracing::warn!(event = "signal", signal, "told to stop");
    stop
}

fn is_like_pgbouncer(hub: &Hub) -> bool {
    hub.setup.load().config.process.pgbouncer_compatible
}

/// SIGTERM: PgBouncer waits for clients to leave.
pub(super) fn by_terminate(hub: &Hub) -> Stop {
    signalled("SIGTERM", if is_like_pgbouncer(hub) { Stop::Leave } else { Stop::Drain })
}

/// SIGINT: PgBouncer waits for server connections to come back.
pub(super) fn by_interrupt(hub: &Hub) -> Stop {
    signalled("SIGINT", if is_like_pgbouncer(hub) { Stop::Drain } else { Stop::Now })
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
pub(super) async fn drain(hub: &Arc<Hub>, stop: Stop) {
    match stop {
        Stop::Now => {}
        Stop::Leave => until_clients_left(hub).await,
        Stop::Drain if is_like_pgbouncer(hub) => until_servers_released(hub).await,
        Stop::Drain => {}
    }
    let now = stop == Stop::Now;
    let patience = if now { Duration::ZERO } else { hub.setup.load().config.process.shutdown_timeout };
    hub.on_every_core(move |core| {
        core.stop();
        core.clients().iter().for_each(|client| client.ask(Ask::End { report: report(), now }));
    })
    .await;
    await_nobody(hub, patience.max(LAST_WORDS)).await;
    let left = hub.clients.load(SeqCst);
    if left > 0 {
        tracing::warn!(event = "clients_left", clients = left, "clients are still here: they are disconnected");
        // Whoever can still be told is told why.
        hub.on_every_core(|core| {
            core.clients().iter().for_each(|client| client.ask(Ask::End { report: report(), now: true }));
        })
        .await;
        await_nobody(hub, LAST_WORDS).await;
    }
}

/// Waits until nobody is connected, but not for longer.
async fn await_nobody(hub: &Hub, patience: Duration) {
    let until = Instant::now() + patience;
    while hub.clients.load(SeqCst) > 0 && Instant::now() < until {
        tokio::time::sleep(LOOK).await;
    }
}

/// Says how many clients there are, and how many have to come to the end of a transaction first.
pub(super) async fn log_drain(hub: &Hub, stop: Stop) {
    let counts = hub.on_every_core(|core| {
        let clients = core.clients();
        let busy =
            clients.iter().filter(|one| one.transaction_since.get().is_some() || one.phase.get() == Phase::Active);
        busy.count()
    });
    let waits_for: usize = match stop {
        Stop::Now => 0,
        Stop::Drain => counts.await.into_iter().sum(),
        Stop::Leave => hub.clients.load(SeqCst),
    };
    let timeout = hub.setup.load().config.process.shutdown_timeout;
    let (clients, at_most_ms) = (hub.clients.load(SeqCst), (stop == Stop::Drain).then(|| millis(timeout)));
    let event = Event::new(Kind::ShuttingDown, "shutting down");
    publish!(hub.events, warn, event, clients = clients, waits_for = waits_for, at_most_ms = at_most_ms);
}

/// Waits until nobody but consoles is left.
async fn until_clients_left(hub: &Hub) {
    until(hub, |core| core.clients().iter().any(|client| client.database.is_some())).await;
}

/// Nobody gets a server connection any more: who waits for one is sent away, who asks for one likewise, and who has one is waited
/// for, for shutdown_timeout at most.
async fn until_servers_released(hub: &Arc<Hub>) {
    let patience = hub.setup.load().config.process.shutdown_timeout;
    hub.databases.pause_all();
    hub.on_every_core(|core| {
        core.close_door();
        let clients = core.clients();
        let waiting = clients.iter().filter(|client| client.phase.get() == Phase::Waiting);
        waiting.for_each(|client| client.ask(Ask::End { report: report(), now: true }));
    })
    .await;
    choose_again(hub, hub.databases.all()).await;
    let released = until(hub, |core| core.clients().iter().any(|client| client.cancel.borrow().is_some()));
    let _ = tokio::time::timeout(patience, released).await;
}

/// Lets nobody in and waits until `is_left` holds on no core.
async fn until(hub: &Hub, is_left: impl Fn(&Rc<Core>) -> bool + Clone + Send + 'static) {
    loop {
        let is_left = is_left.clone();
        let left = hub.on_every_core(move |core| {
            core.close_door();
            is_left(core)
        });
        if !left.await.contains(&true) {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}
