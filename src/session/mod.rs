//! One client's life, from its first byte to its last, driven by one task on one core.
//!
//! [`startup`] greets it and finds out who it is. From then on a [`Session`] runs a loop ([`run`]): read what the client and
//! its server connection have sent, look at each message ([`input`], [`extended`] for the client's, [`reply`] for the
//! server's), pass it on as it lies, and give the server connection back when the transaction is over. A server connection
//! is taken by value for that time ([`lease`], [`acquire`], [`tenure`]): this task reads and writes both sockets, so that no other
//! task is woken on the way of a query.
//!
//! What is special to maintenance is in [`guarded`] and [`parts`] (how a message is kept from ending its own guard), [`proof`]
//! (how a transaction is asked whether it has written, before it is committed) and [`together`] (the same of a lone read, in one
//! message), [`unseen`] (what the catalog says of what a statement names) and [`refuse`] (how an error of the gate takes the
//! place of one that the server raises, so that the protocol's state is the server's own).
//! What applications see of the mode besides errors is in [`seen`] (ParameterStatus) and [`own`] (`SHOW pgsluice.mode`).
//! Session state that has to follow the client from one server connection to the next is in [`state`], [`undo`] and
//! [`prepared`] and [`named`]; what its start-up packet asked for, and RESET goes back to, in [`wanted`] and [`defaults`].

mod acquire;
pub mod begin;
mod defaults;
mod drain;
mod expect;
mod extended;
mod failed;
mod fence;
mod guarded;
mod held_cursor;
mod hold;
mod identity;
mod input;
mod lease;
mod left;
mod named;
mod own;
mod parts;
mod past;
mod pins;
mod prepared;
mod proof;
mod refuse;
mod rehearse;
pub mod replication;
mod reply;
mod rules;
mod run;
mod seen;
mod sequences;
mod shape;
mod single;
pub mod startup;
mod state;
mod tenure;
mod together;
mod told;
mod undo;
mod unseen;
mod wanted;
mod wrapped;

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use crate::auth::Credential;
use crate::config::{PoolMode, Reads};
use crate::gate::Lane;
use crate::hub::{Client, Core, Database};
use crate::net::Stream;
use crate::upstream::Pool;
use crate::upstream::vars::Vars;
use crate::wire::{Buffer, Report, TxStatus};
use expect::Expected;
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

/// Where the conversation stands.
struct Flow {
    /// What the server still owes, in order.
    expects: VecDeque<Expected>,
    /// ReadyForQuery messages that are among it.
    readies: usize,
    /// As the server last said.
    status: TxStatus,
    /// Messages of the extended protocol have been sent since the last Sync.
    batch: bool,
    /// An error has been told; the client's messages are dropped until its Sync.
    skip: bool,
    /// The server expects the client's COPY data.
    copy_in: bool,
    /// The client has finished its COPY data since the last Sync.
    copied: bool,
    /// Statements of the simple query under way that are complete.
    nth: usize,
    /// Whether an error came in the simple query under way.
    failed: bool,
    /// What is left of a simple query that is sent in parts.
    parts: VecDeque<parts::Part>,
    /// The query they are parts of.
    divided: Option<Rc<crate::sql::cache::Cached>>,
    /// An error came in the client's message under way, parts and what was put around them taken together.
    broken: bool,
    /// The open transaction, or a part of it, has been rolled back: it may have left its counts of changes.
    stale: bool,
    /// Statements of ours stand in the client's messages, that put its defaults in the place of the server's.
    restores: bool,
    /// The open transaction has altered the catalog.
    altered: bool,
    /// It has put settings back: those that a guard is made of too.
    resets: bool,
    /// It has been asked for its proof.
    asked: bool,
    /// What the open transaction may have done unseen.
    doubt: proof::Doubt,
    /// The proof that it has written nothing has failed.
    unproved: bool,
    /// What the client is told once a transaction has been proved: the end of its last statement's answer.
    held: Vec<u8>,
    around: wrapped::Around,
    /// Messages that end with ReadyForQuery and have been sent.
    rounds: u64,
    /// How many there were when the client's names, or what stands on the server, changed last.
    renamed: Option<u64>,
    /// PREPARE, DEALLOCATE or DISCARD ALL is under way: which names there are is known once it has been answered.
    forgets: bool,
    /// The open transaction has changed the schema.
    changes_schema: bool,
    /// It has changed where tables are looked for.
    path: Option<u64>,
    /// What is done about names of the client's own on the server.
    named: Option<Box<named::UnderWay>>,
    /// Behind the last message that is owed an answer went a Flush of ours.
    flushed: bool,
    /// The client has been sent something since the lease began.
    told: bool,
    /// The client's first message has been sent over the lease.
    begun: bool,
    /// What ran in the open transaction.
    past: past::Past,
    fencing: fence::Fencing,
    /// The session's settings are being made on this server connection: before its role is taken nothing may run.
    settling: Settling,
}

/// See [`Flow::settling`].
#[derive(Default)]
enum Settling {
    /// It need not, or has.
    #[default]
    No,
    /// Settings have been sent ahead of the client's first message, which has followed at once.
    Sent,
    /// The server has been asked for the role.
    Asked,
    /// It said no.
    Refused(Box<Report>),
}

impl Default for Flow {
    fn default() -> Self {
        Self {
            expects: VecDeque::new(),
            readies: 0,
            status: TxStatus::Idle,
            batch: false,
            skip: false,
            copy_in: false,
            copied: false,
            nth: 0,
            failed: false,
            parts: VecDeque::new(),
            divided: None,
            broken: false,
            stale: false,
            restores: false,
            asked: false,
            altered: false,
            resets: false,
            doubt: proof::Doubt::default(),
            unproved: false,
            held: Vec::new(),
            around: wrapped::Around::Nothing,
            rounds: 0,
            renamed: None,
            forgets: false,
            changes_schema: false,
            path: None,
            named: None,
            flushed: false,
            told: false,
            begun: false,
            past: past::Past::default(),
            fencing: fence::Fencing::No,
            settling: Settling::No,
        }
    }
}

/// What follows from the configuration for this user on this database.
#[derive(Clone, Copy)]
struct Manner {
    pool_mode: PoolMode,
    reads: Reads,
    query_wait: Option<std::time::Duration>,
    most_prepared: usize,
    largest: usize,
    /// Statements that would bind the session to its server connection are refused.
    refuses_pins: bool,
    /// The session wants a server connection that nobody has used, and leaves it to nobody.
    fresh: bool,
}

/// See the module.
pub struct Session {
    core: Rc<Core>,
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
    /// How statements are read under settings of that fingerprint.
    lex: std::cell::Cell<(u64, crate::sql::LexContext)>,
    /// The text that was read last, while its message waits for a server connection.
    read: Option<(crate::sql::LexContext, Rc<crate::sql::cache::Cached>)>,
    /// What they go back to.
    defaults: defaults::Defaults,
    /// Parameters of its start-up packet, where a connection of its own is opened with them.
    startup: Arc<[(String, String)]>,
    /// The session's own default_transaction_read_only; None while it is the server's, which is not known yet.
    read_only_default: Option<bool>,
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
    avoid: Option<usize>,
    asked_at: Option<Instant>,
    /// The time, as it was when something last came: asked for once for all that follows from that.
    now: Instant,
    /// What the client is told when its transaction is over, and it is sent away.
    ending: Option<Box<Report>>,
    /// The client has closed its side of the connection: it says nothing more.
    half_closed: bool,
    breaking: drain::Breaking,
    holding: hold::Holding,
}

/// Pools by upstream, taken from the database at one generation of its setup.
#[derive(Default)]
struct PoolCache {
    generation: u64,
    by_upstream: Vec<Option<Arc<Pool>>>,
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_session_stays_small() {
        let bytes = size_of::<super::Session>();
        assert!(bytes <= 1170, "{bytes} bytes, for each idle client: box what only some have");
    }
}
