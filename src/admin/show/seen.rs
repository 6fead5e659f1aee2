//! What all cores know of their clients, gathered at nearly one moment.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::server::Pool;
use crate::server::connection::Facts;
use crate::shared::{Client, Phase, ProxyState, WorkerState};

/// A client.
#[expect(clippy::struct_excessive_bools, reason = "to become enums with a lifetime")]
pub struct SeenClient {
    pub id: u64,
    pub user: Arc<str>,
    /// The name it asked for.
    pub database: Arc<str>,
    pub console: bool,
    pub operator: bool,
    pub address: Option<SocketAddr>,
    pub local: Option<SocketAddr>,
    pub tls: Option<String>,
    pub since: SystemTime,
    pub application_name: String,
    pub phase: Phase,
    pub phase_since: Instant,
    pub requested: Instant,
    pub write_capable: bool,
    pub pinned: &'static str,
    pub prepared: usize,
    /// Cancel requests for it that are on their way to the server.
    pub cancelling: u32,
    pub server: Option<Held>,
}

/// The server connection that a client has.
pub struct Held {
    pub pool: Arc<Pool>,
    pub facts: Arc<Facts>,
    pub prepared: usize,
}

/// Memory of one core that is kept for later use.
#[derive(Default)]
pub struct Kept {
    pub verdicts: usize,
    pub verdict_bytes: usize,
    pub statements: usize,
}

/// See the module.
#[derive(Default)]
pub struct Seen {
    pub clients: Vec<SeenClient>,
    pub kept: Kept,
}

/// Asks every core, in steps that are short enough for whoever it serves.
pub async fn gather(proxy: &ProxyState) -> Seen {
    let mut seen = Seen::default();
    for kept in proxy.on_every_core(kept).await {
        seen.kept.verdicts += kept.verdicts;
        seen.kept.verdict_bytes += kept.verdict_bytes;
        seen.kept.statements += kept.statements;
    }
    let some = proxy.look_at_clients(|clients| clients.map(|client| see(&client)).collect::<Vec<_>>());
    seen.clients = some.await.into_iter().flatten().collect();
    seen.clients.sort_by_key(|client| client.id);
    seen
}

fn kept(core: &Rc<WorkerState>) -> Kept {
    let stats = core.verdicts.borrow().stats();
    Kept { verdicts: stats.entries, verdict_bytes: stats.bytes, statements: core.statements.len() }
}

fn see(client: &Client) -> SeenClient {
    let held = client.cancel.borrow().as_ref().map(|target| Held {
        pool: target.pool.clone(),
        facts: target.server.clone(),
        prepared: target.server.prepared(),
    });
    SeenClient {
        id: client.id,
        user: client.user.clone(),
        database: client.database_name.clone(),
        console: client.database.is_none(),
        operator: client.operator,
        address: client.address,
        local: client.local,
        tls: client.tls.clone(),
        since: client.since,
        application_name: client.application_name.borrow().clone(),
        phase: client.phase.get(),
        phase_since: client.phase_since.get(),
        requested: client.requested.get(),
        write_capable: client.write_capable.get(),
        pinned: client.pinned.get(),
        prepared: client.prepared.get(),
        cancelling: client.cancelling.get(),
        server: held,
    }
}

impl SeenClient {
    /// How long it has waited for a server connection.
    pub fn waited(&self) -> Option<Duration> {
        (self.phase == Phase::Waiting).then(|| self.phase_since.elapsed())
    }
}

/// `2026-12-01 14:00:00 UTC`, as PgBouncer prints a time.
pub fn time(at: SystemTime) -> String {
    let at = Timestamp::try_from(at).unwrap_or(Timestamp::UNIX_EPOCH);
    at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// The same for a moment that was not taken from the calendar.
pub fn time_of(at: Instant) -> String {
    time(SystemTime::now().checked_sub(at.elapsed()).unwrap_or(SystemTime::UNIX_EPOCH))
}

/// The two columns of an address: `unix` and the port of our own socket where there is no other.
pub fn address(address: Option<SocketAddr>, own_port: u16) -> (String, u64) {
    match address {
        Some(address) => (address.ip().to_canonical().to_string(), address.port().into()),
        None => ("unix".to_owned(), own_port.into()),
    }
}
