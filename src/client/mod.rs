//! One client's life, from its first byte to its last, driven by one task on one core.
//!
//! - [`startup`]: from the first byte to the first ReadyForQuery.
//! - [`conversation`]: the loop that reads messages from both sides, looks at each and passes it on, and what is owed for each.
//! - [`request`]: the forms in which a client asks: simple queries, the extended query protocol, whole batches at once, statement
//!   mode, `SHOW pgsluice.mode`.
//! - [`decide`]: what becomes of a statement, as one pure function.
//! - [`checkout`]: a server connection is taken by value for a transaction, brought to the client's settings, and given back.
//!   The session's own task reads and writes both sockets, so that no other task is woken on the way of a query.
//! - [`state`]: what follows the client from one server connection to the next.
//! - [`prepared`]: prepared statements, the protocol's by name and those of SQL's PREPARE.
//! - [`maintenance`]: everything that exists for maintenance alone. The rest can be read without it.
//! - [`replication`]: connections that stream the write-ahead log.

mod checkout;
pub mod conversation;
mod decide;
mod maintenance;
mod prepared;
pub mod replication;
mod request;
pub mod startup;
mod state;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use crate::auth::Credential;
use crate::client::checkout::lease::Lease;
use crate::client::conversation::protocol_state::{Flow, Settling};
use crate::client::prepared::protocol_names::Names;
use crate::client::state::pins::Pins;
use crate::client::state::transactional_settings::Undo;
use crate::config::{PoolMode, Reads};
use crate::gate::Lane;
use crate::net::Stream;
use crate::protocol::{Buffer, Report};
use crate::server::Pool;
use crate::server::state::session_vars::Vars;
use crate::shared::database::DatabaseSetup;
use crate::shared::{Client, Core, Database};

/// Why a session is over.
#[derive(Debug)]
pub enum End {
    /// The client said goodbye.
    Goodbye,
    /// The client went without a word, or its socket failed.
    ClientGone,
    /// The client is told this, and the connection closed.
    Report(Box<Report>),
    /// The server sent a FATAL that the client has been given.
    ServerSaidFatal,
}

impl From<Report> for End {
    fn from(report: Report) -> Self {
        Self::Report(Box::new(report))
    }
}

/// Bytes on their way.
#[derive(Default)]
struct Io {
    from_client: Buffer,
    from_server: Buffer,
    /// Our own words to the client; they go before what is ready in `from_server`.
    to_client: Vec<u8>,
    /// Our own words to the server; they go before what is ready in `from_client`.
    to_server: Vec<u8>,
    /// Bytes of the client's current message that are still to come.
    client_rest: usize,
    /// Whether those are passed on or dropped.
    drop_rest: bool,
    /// Bytes of the server's current message that are still to come.
    server_rest: usize,
    /// Bytes that the client's next message needs to be whole; 0 when any will do.
    client_wants: usize,
    /// The same for the server's.
    server_wants: usize,
}

/// What follows from the configuration for this user on this database.
#[derive(Clone, Copy)]
struct Manner {
    pool_mode: PoolMode,
    reads: Reads,
    query_wait: Option<std::time::Duration>,
    most_prepared: u32,
    largest: usize,
    /// Statements that would bind the session to its server connection are refused.
    refuses_pins: bool,
    /// The session wants a server connection that nobody has used, and leaves it to nobody.
    fresh: bool,
}

/// See the module.
#[expect(clippy::struct_excessive_bools, reason = "to become enums with a lifetime")]
pub struct Session {
    core: Rc<Core>,
    spares: Rc<crate::client::conversation::pending_reply_pool::Spares>,
    me: Rc<Client>,
    db: Arc<Database>,
    user: Arc<str>,
    credential: Credential,
    stream: Stream,
    io: Io,
    flow: Flow,
    lease: Lease,
    /// Place at the gate's door while no ticket is held.
    lane: Option<Lane>,
    manner: Manner,
    /// Settings as the client has been told and has made them.
    vars: Vars,
    /// How statements are read under settings of that fingerprint, and a number for those they are parsed under.
    lex: std::cell::Cell<(u64, crate::sql::LexContext, u32)>,
    /// The text that was read last, while its message waits for a server connection.
    read: Option<(crate::sql::LexContext, Rc<crate::sql::cache::verdicts::Cached>)>,
    /// What they go back to.
    defaults: crate::client::state::reset_defaults::Defaults,
    /// Parameters of its start-up packet, where a connection of its own is opened with them.
    startup: Arc<[(String, String)]>,
    /// default_transaction_read_only as it is for the session outside of maintenance, as far as that is known.
    read_only_default: Option<bool>,
    /// The value that the client has given it; None: it is the server's own.
    read_only_set: Option<bool>,
    told: crate::client::state::session_role::Told,
    /// What default_transaction_read_only was last reported to the client.
    told_read_only: bool,
    /// A warning that waits for the same moment; of several the last.
    notice: Option<Arc<Report>>,
    /// Whether the gate was closed when the client was last told of it.
    told_closed: bool,
    /// The mode has changed while an answer was under way: it is told before the next ReadyForQuery.
    untold: bool,
    undo: Undo,
    identity: crate::client::checkout::backend_pid::Identity,
    sequences: crate::client::state::sequences::Sequences,
    pins: Pins,
    /// Settings that may have been given a value by what runs.
    unasked: Option<Box<crate::client::state::function_side_effects::Unasked>>,
    /// What of that may have ended in the transactions since the server was last asked.
    doubted: Pins,
    names: Names,
    pools: PoolCache,
    /// Bytes of this transaction, so that a read can be asked of another server if this one dies.
    replay: Vec<u8>,
    avoid: crate::topology::Avoid,
    asked_at: Option<Instant>,
    /// The time, as it was when something last came: asked for once for all that follows from that.
    now: Instant,
    /// What the client is told when its transaction is over, and it is sent away.
    ending: Option<Box<Report>>,
    /// The client has closed its side of the connection: it says nothing more.
    half_closed: bool,
    breaking: crate::client::maintenance::transition::abort_open_transaction::Breaking,
    asking: crate::client::maintenance::refuse::Asking,
    holding: crate::client::maintenance::hold::Holding,
}

/// A database's setup and the pools by upstream, as they were at one generation.
#[derive(Default)]
struct PoolCache {
    generation: u64,
    setup: Option<Arc<DatabaseSetup>>,
    by_upstream: Vec<Option<Arc<Pool>>>,
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_session_stays_small() {
        let bytes = size_of::<super::Session>();
        assert!(bytes <= 1184, "{bytes} bytes, for each idle client: box what only some have");
    }
}
