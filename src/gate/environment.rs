//! What a transition needs from the world. The product answers from its pools and the network, tests from memory.

use super::detail::GateView;
use super::state::lsn::Lsn;
use super::state::mode::{DrainTo, Epoch};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, future::Future, pin::Pin};

/// A boxed future, so that the trait can be an object and the type of the world does not spread through the console.
pub type Job<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How [`Field::stop_writing`] is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spare {
    /// Nobody has been asked since the gate closed.
    pub first: bool,
    /// What has called what may write, and is not known to have written, may come to its end by itself.
    pub calls: bool,
}

/// The world as seen by a transition. Every call is bounded by the driver in time and may be dropped half way; a call may
/// come again for the same epoch (after a restart or a retry).
pub trait Field: Send + Sync + 'static {
    /// A new view is in force: retire idle unguarded connections, push ParameterStatus, tell replicas' eligibility.
    fn flip_seen<'a>(&'a self, database: &'a str, view: Arc<GateView>) -> Job<'a, ()>;

    /// Why what is promised of a closed gate cannot be kept in that database; empty if it can.
    fn unguaranteed<'a>(&'a self, _database: &'a str) -> Job<'a, Vec<String>> {
        Box::pin(async { Vec::new() })
    }

    /// The gate is about to close: what has to be known by then may be asked for. It closes whatever comes of it.
    fn prepare<'a>(&'a self, _database: &'a str) -> Job<'a, ()> {
        Box::pin(async {})
    }

    /// The gate is about to close, one of many: nothing is asked now, and what was known of an earlier closing holds no longer.
    fn forget_prepared(&self, _database: &str) {}

    /// The gate is about to flip: server connections of the kind that is wanted then may be opened ahead. They are held by what is
    /// given back, which is dropped right behind the flip.
    fn open_ahead<'a>(&'a self, _database: &'a str, _closes: bool) -> Job<'a, Box<dyn Send>> {
        Box::pin(async { Box::new(()) as Box<dyn Send> })
    }

    /// The transactions of application sessions that are open now, operators' excluded. With [`DrainTo::ReadOnly`] the
    /// write-capable ones, for the report only; with [`DrainTo::Offline`] all of them, and the drain waits for the list to be
    /// empty.
    fn open_transactions<'a>(&'a self, database: &'a str, to: DrainTo) -> Job<'a, Vec<OpenTransaction>>;

    /// Cancel and roll back the transactions that [`Field::open_transactions`] names and that began before `epoch`; says how
    /// many were told so that will not say so themselves ([`crate::gate::Gate::count_cancelled`]): what ends in time is not cancelled.
    /// Their tickets must be dropped only when the server has confirmed it, or its connection is gone. Called again each second for
    /// those that have not ended: with ever more force.
    fn cancel_open<'a>(&'a self, database: &'a str, epoch: Epoch, to: DrainTo) -> Job<'a, u64>;

    /// The same for what has written or may write; what has only read is left alone. How many of those there are, as far as they have
    /// answered.
    fn stop_writing<'a>(&'a self, _database: &'a str, _spare: Spare) -> Job<'a, usize> {
        Box::pin(async { 0 })
    }

    /// Back ends of this proxy's own that nothing leads to any more, those of an earlier life of the process too, and that are
    /// still at work on the database. They are told to stop; the drain waits for the list to be empty. An error if there are any
    /// whose server cannot be asked: they may still commit, and the drain waits for them too.
    fn strays<'a>(&'a self, _database: &'a str) -> Job<'a, Result<Vec<OpenTransaction>, String>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// Ask the primary for its LSN and for who else writes.
    fn settle<'a>(&'a self, database: &'a str) -> Job<'a, Result<Settled, String>>;

    /// FATAL 57P01 with this text as DETAIL to every application session left, and close it.
    fn disconnect<'a>(&'a self, database: &'a str, text: &'a str) -> Job<'a, ()>;
}

/// An open transaction, for a person to recognise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenTransaction {
    /// The role.
    pub user: String,
    /// As the client set it.
    pub application_name: String,
    /// The client's address, or `[local]`.
    pub client_address: String,
    /// Since its begin.
    pub age: Duration,
    /// The statement that runs, if one does; the implementor bounds its length.
    pub statement: Option<String>,
    /// Its server cannot be reached: nobody knows whether it still runs, or has been committed.
    pub unreachable: bool,
}

impl OpenTransaction {
    /// Named in an error that is told once.
    pub(crate) const SHOWN_IN_ERROR: usize = 20;
    /// Named in what is told each second.
    pub(crate) const SHOWN_IN_NOTICE: usize = 3;

    /// The first few of them, one to a line, each below what they are the list of.
    pub(crate) fn lines(all: &[OpenTransaction], shown: usize) -> String {
        let mut text: String = all.iter().take(shown).map(|one| format!("\n  {one}")).collect();
        if let Some(more) = all.len().checked_sub(shown).filter(|more| *more > 0) {
            text.push_str(&format!("\n  and {more} more"));
        }
        text
    }

    pub(crate) fn list(all: &[OpenTransaction], shown: usize) -> String {
        let mut text = all.iter().take(shown).map(ToString::to_string).collect::<Vec<_>>().join("; ");
        if let Some(more) = all.len().checked_sub(shown).filter(|more| *more > 0) {
            text.push_str(&format!("; and {more} more"));
        }
        text
    }
}

/// What a client has named itself or sent, without what ends a line or moves a terminal's cursor.
fn on_one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\'' | '\\' => line.push(c),
            other => line.extend(other.escape_debug()),
        }
    }
    line
}

impl fmt::Display for OpenTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user \"{}\"", on_one_line(&self.user))?;
        if !self.application_name.is_empty() {
            write!(f, ", application \"{}\"", on_one_line(&self.application_name))?;
        }
        write!(f, ", client {}, open for {} s", self.client_address, self.age.as_secs())?;
        match &self.statement {
            _ if self.unreachable => f.write_str(", whose server cannot be reached"),
            Some(statement) => write!(f, ", running: {}", on_one_line(statement)),
            None => f.write_str(", idle in transaction"),
        }
    }
}

/// Someone who writes to the database past this proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignWriter {
    /// What it is: `backend`, `prepared transaction`, `logical replication worker`.
    pub kind: String,
    /// How a person finds it: pid, user, gid.
    pub description: String,
}

/// What the primary said after the drain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// Its `pg_current_wal_insert_lsn()`: nothing that came through the proxy lies after it.
    pub lsn: Lsn,
    /// Who else writes.
    pub foreign_writers: Vec<ForeignWriter>,
    /// What the person who closed the gate should know.
    pub warning: Option<String>,
}
