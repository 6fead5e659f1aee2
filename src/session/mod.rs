//! One client's life, from its first byte to its last, driven by one task on one core.
//!
//! [`startup`] greets it and finds out who it is. From then on a [`Session`] runs a loop ([`run`]): read what the client and
//! its server connection have sent, look at each message ([`input`], [`extended`] for the client's, [`whole`] for a batch at
//! once, [`reply`] for the server's), pass it on as it lies, and give the server connection back when the transaction is over. A server connection
//! is taken by value for that time ([`lease`], [`acquire`], [`tenure`]): this task reads and writes both sockets, so that no other
//! task is woken on the way of a query.
//!
//! What is special to maintenance is in [`guarded`] and [`parts`] (how a message is kept from ending its own guard), [`proof`]
//! (how a transaction is asked whether it has written, before it is committed) and [`together`] (the same of a lone read, in one
//! message), [`clean`] (what need not be asked since the catalog shows that it writes nothing), [`catalog_change`] (when what is known of
//! the catalog is out of date), [`unseen`] (what the catalog says of what a statement names) and [`refuse`] (how an error of the
//! gate takes the place of one that the server raises, so that the protocol's state is the server's own).
//! What one client may keep in memory is in [`memory`].
//! What follows when the server of a kept connection is the primary no more is in [`turned`].
//! What applications see of the mode besides errors is in [`seen`] (ParameterStatus) and [`own`] (`SHOW pgsluice.mode`).
//! Session state that has to follow the client from one server connection to the next is in [`state`], [`reported`], [`undo`] and
//! [`prepared`] and [`named`]; what its start-up packet asked for, and RESET goes back to, in [`wanted`] and [`defaults`].

mod abandoned;
mod acquire;
mod barred;
pub mod begin;
mod catalog_change;
mod clean;
mod closing;
mod defaults;
mod drain;
mod expect;
mod extended;
mod failed;
mod fence;
mod flow;
mod guarded;
mod held_cursor;
mod hold;
mod identity;
mod input;
mod lease;
mod left;
mod login_wait;
mod memory;
mod named;
mod own;
mod parts;
mod past;
mod pins;
mod prepared;
mod proof;
mod read_write;
mod reading;
mod refuse;
mod rehearse;
pub mod replication;
mod reply;
mod reported;
mod rules;
mod run;
mod seen;
mod sequences;
mod shape;
mod single;
pub mod spares;
pub mod startup;
mod state;
mod streamed;
mod tenure;
mod together;
mod told;
mod turned;
mod undo;
mod unseen;
mod wanted;
mod whole;
mod wrapped;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use crate::auth::Credential;
use crate::config::{PoolMode, Reads};
use crate::gate::Lane;
use crate::hub::database::DatabaseSetup;
use crate::hub::{Client, Core, Database};
use crate::net::Stream;
use crate::upstream::Pool;
use crate::upstream::vars::Vars;
use crate::wire::{Buffer, Report};
use flow::{Flow, Settling};
use lease::Lease;
use pins::Pins;
use prepared::Names;
use undo::Undo;

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
    spares: Rc<spares::Spares>,
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
    read: Option<(crate::sql::LexContext, Rc<crate::sql::cache::Cached>)>,
    /// What they go back to.
    defaults: defaults::Defaults,
    /// Parameters of its start-up packet, where a connection of its own is opened with them.
    startup: Arc<[(String, String)]>,
    /// default_transaction_read_only as it is for the session outside of maintenance, as far as that is known.
    read_only_default: Option<bool>,
    /// The value that the client has given it; None: it is the server's own.
    read_only_set: Option<bool>,
    told: told::Told,
    /// What default_transaction_read_only was last reported to the client.
    told_read_only: bool,
    /// A warning that waits for the same moment; of several the last.
    notice: Option<Arc<Report>>,
    /// Whether the gate was closed when the client was last told of it.
    told_closed: bool,
    /// The mode has changed while an answer was under way: it is told before the next ReadyForQuery.
    untold: bool,
    undo: Undo,
    identity: identity::Identity,
    sequences: sequences::Sequences,
    pins: Pins,
    /// Settings that may have been given a value by what runs.
    unasked: Option<Box<left::Unasked>>,
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
    breaking: drain::Breaking,
    asking: refuse::Asking,
    holding: hold::Holding,
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
        assert!(bytes <= 1176, "{bytes} bytes, for each idle client: box what only some have");
    }
}
