//! What a command tells while it goes on, and its answer.

use crate::gate::detail::Who;
use crate::gate::environment::{ForeignWriter, OpenTransaction};
use crate::gate::error::GateError;
use crate::gate::state::lsn::Lsn;
use crate::gate::state::mode::{Epoch, Mode};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// A command that changes a mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Verb {
    /// MAINTENANCE ON
    On,
    /// MAINTENANCE OFF
    Off,
    /// OFFLINE
    Offline,
    /// ONLINE
    Online,
}

impl Verb {
    /// The command that calls off a drain of this one.
    pub fn opposite(self) -> Option<Verb> {
        match self {
            Verb::On => Some(Verb::Off),
            Verb::Offline => Some(Verb::Online),
            Verb::Off | Verb::Online => None,
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verb::On => "MAINTENANCE ON",
            Verb::Off => "MAINTENANCE OFF",
            Verb::Offline => "OFFLINE",
            Verb::Online => "ONLINE",
        })
    }
}

/// What a transition is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Open transactions may end.
    Draining,
    /// What is left was told to stop.
    Cancelling,
    /// The primary is asked for its LSN and for foreign writers.
    Settling,
    /// The last sessions are sent away.
    Disconnecting,
}

/// What a transition still waits for; its `Display` is the text of the NOTICE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The database.
    pub database: String,
    /// What it is doing.
    pub step: Step,
    /// Since the command.
    pub waited: Duration,
    /// Write-capable transactions registered.
    pub in_flight: usize,
    /// What the proxy knows of them.
    pub open: Vec<OpenTransaction>,
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "database \"{}\": ", self.database)?;
        match self.step {
            Step::Draining => write!(f, "waiting for {}", transactions(self.in_flight.max(self.open.len())))?,
            Step::Cancelling => write!(f, "cancelling {}", transactions(self.in_flight.max(self.open.len())))?,
            Step::Settling => f.write_str("waiting for the primary to tell its LSN")?,
            Step::Disconnecting => f.write_str("disconnecting sessions")?,
        }
        // The nearest second: what is told each second is not told to the millisecond.
        write!(f, " ({} s)", (self.waited + Duration::from_millis(500)).as_secs())?;
        if !self.open.is_empty() {
            write!(f, ":{}", OpenTransaction::lines(&self.open, OpenTransaction::SHOWN_IN_NOTICE))?;
        }
        Ok(())
    }
}

/// `1 open transaction`, `2 open transactions`
fn transactions(count: usize) -> String {
    format!("{count} open transaction{}", if count == 1 { "" } else { "s" })
}

/// The answer of a command: one row for each database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The database.
    pub database: String,
    /// The mode at the answer (`draining` with NOWAIT).
    pub mode: Mode,
    /// Whether the command changed anything.
    pub changed: bool,
    /// The epoch.
    pub epoch: Epoch,
    /// Since when the mode holds.
    pub since: Timestamp,
    /// From when on nothing changes.
    pub quiesced_at: Option<Timestamp>,
    /// The primary's LSN asked after that moment; NULL if the primary could not be asked.
    pub quiesced_lsn: Option<Lsn>,
    /// From the command to the answer, in milliseconds.
    pub waited_ms: u64,
    /// Transactions that ended by themselves during the drain.
    pub finished: u64,
    /// Transactions that had written nothing and were made read-only in their middle.
    pub fenced: u64,
    /// Transactions cancelled at drain_timeout.
    pub cancelled: u64,
    /// Who else writes.
    pub foreign_writers: Vec<ForeignWriter>,
    /// The operator's message.
    pub message: Option<String>,
    /// What did not go as it should without making the command fail; for a WARNING.
    pub warning: Option<String>,
}

/// What the driver has to say so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) flipped: Option<Outcome>,
    pub(crate) progress: Option<Seen>,
    pub(crate) done: Option<Result<Outcome, GateError>>,
}

/// A progress as it was at a moment.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) progress: Progress,
    pub(crate) at: Instant,
}

impl Seen {
    /// The same now, as far as the clock tells.
    pub(crate) fn now(&self) -> Progress {
        Progress { waited: self.progress.waited + self.at.elapsed(), ..self.progress.clone() }
    }
}

/// Whether a command waits for the database to be quiesced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wait {
    /// Until it is.
    #[default]
    Quiesced,
    /// NOWAIT: until the mode has been stored and is in force.
    Flipped,
}

#[derive(Debug)]
pub(crate) struct Part {
    /// The names that get a row.
    pub(crate) databases: Vec<Arc<str>>,
    /// Other names of the same database.
    pub(crate) others: Vec<Arc<str>>,
    pub(crate) verb: Verb,
    /// The report is that of a command which someone else gave before and which this one joined.
    pub(crate) joined: bool,
    pub(crate) report: watch::Receiver<Report>,
}

/// A command under way. It goes on by itself when the handle is dropped.
#[derive(Debug)]
pub struct TransitionHandle {
    pub(crate) parts: Vec<Part>,
    pub(crate) wait: Wait,
    pub(crate) who: Who,
}

impl TransitionHandle {
    /// What is still waited for, one second from now; None as soon as [`TransitionHandle::outcome`] would answer at once.
    pub async fn progress(&mut self) -> Option<Vec<Progress>> {
        let second = tokio::time::sleep(Duration::from_secs(1));
        tokio::select! {
            biased;
            () = self.ready() => None,
            () = second => Some(self.parts.iter().filter_map(Part::progress).collect()),
        }
    }

    /// The answer, in the order of names: a row, or an error for each database. Can be asked again, and dropped.
    pub async fn outcome(&mut self) -> Vec<(String, Result<Outcome, GateError>)> {
        self.ready().await;
        let mut answers = Vec::new();
        for part in &self.parts {
            match part.answer(self.wait) {
                Ok(outcome) => answers.extend(
                    part.databases
                        .iter()
                        .map(|name| (name.to_string(), Ok(Outcome { database: name.to_string(), ..outcome.clone() }))),
                ),
                Err(error) => answers.push((part.database(), Err(error))),
            }
        }
        if self.parts.len() > 1 {
            answers.sort_by(|(one, _), (other, _)| one.cmp(other));
        }
        answers
    }

    /// Names that go with those that get a row, since they lead to the same database.
    pub fn other_names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().flat_map(|part| &part.others).map(|name| &**name)
    }

    /// Who gave the command.
    pub fn who(&self) -> &Who {
        &self.who
    }

    async fn ready(&mut self) {
        let wait = self.wait;
        for part in &mut self.parts {
            // An error means that the driver is gone: `answer` says so.
            let _ = part.report.wait_for(|r| r.done.is_some() || wait == Wait::Flipped && r.flipped.is_some()).await;
        }
    }
}

impl Part {
    /// Only the name by which a person has given the command gets a row.
    pub(crate) fn keep_row_of(&mut self, name: &str) {
        let (own, others) = std::mem::take(&mut self.databases).into_iter().partition(|known| **known == *name);
        (self.databases, self.others) = (own, others);
    }

    fn database(&self) -> String {
        self.databases.first().map(ToString::to_string).unwrap_or_default()
    }

    fn progress(&self) -> Option<Progress> {
        let report = self.report.borrow();
        if report.done.is_some() { None } else { report.progress.as_ref().map(Seen::now) }
    }

    fn answer(&self, wait: Wait) -> Result<Outcome, GateError> {
        let report = self.report.borrow();
        let flipped = report.flipped.clone().filter(|_| wait == Wait::Flipped);
        let answer = match (&report.done, flipped) {
            (Some(done), _) => done.clone(),
            (None, Some(flipped)) => Ok(flipped),
            (None, None) => Err(GateError::Interrupted { database: self.database(), verb: self.verb }),
        };
        answer.map(|outcome| Outcome { changed: outcome.changed && !self.joined, ..outcome })
    }
}
