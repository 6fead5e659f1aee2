//! MIGRATE: a database goes over to another cluster by logical replication. What a move of that kind has to know, and what stays
//! between its commands.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::entry::Step;
use crate::gate::{ServerDatabase, Who, millis};

/// What a command does with a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// MIGRATE … TO: clients are led to the new side.
    There,
    /// MIGRATE … BACK: they are led to the old side again.
    Back,
    /// MIGRATE … FINISH: what replication left is taken away.
    Finish,
}

/// How far a command goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Extent {
    /// All of it.
    Whole,
    /// Only replication: the cut is a command of its own.
    Prepare,
    /// Of FINISH: a side that cannot be reached is left as it is.
    Force,
}

/// Reads are asked on both sides before the cut, and the answers compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mirroring {
    /// How many of ten thousand reads.
    pub share: u32,
    /// How long, before the cut.
    #[serde(with = "millis")]
    pub time: Duration,
    /// Different answers are in nobody's way.
    pub accepted: bool,
}

/// A command of a migration, as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migrate {
    /// The database as the command names it.
    pub database: String,
    /// What it does.
    pub way: Way,
    /// The side that clients leave.
    pub from: ServerDatabase,
    /// The side that they are led to.
    pub to: ServerDatabase,
    /// The same two in words, as SHOW MOVES has them.
    pub words: (String, String),
    /// Written before it is taken.
    pub step: Step,
    /// Databases whose gates this move has closed, and opens again.
    pub closed: Vec<String>,
    /// How far it goes.
    pub extent: Extent,
    /// How far sequences are raised beyond their last value.
    pub margin: u64,
    /// The side that clients are led to was read-only: a failure has it so again.
    pub was_fenced: bool,
    /// How long writes may be held until the other side is used.
    #[serde(with = "millis")]
    pub timeout: Duration,
    /// How long a held write waits.
    #[serde(with = "millis")]
    pub hold_timeout: Duration,
    /// How long open transactions may take to end.
    #[serde(with = "millis")]
    pub drain_timeout: Duration,
    /// Those that do not are rolled back; else the move goes back.
    pub cancels: bool,
    /// How long copying and catching up may take.
    #[serde(with = "millis")]
    pub copy_timeout: Duration,
    /// Whether reads are compared before the cut.
    #[serde(default)]
    pub mirror: Option<Mirroring>,
}

/// A database that has two sides, from the first MIGRATE until FINISH.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migration {
    /// The name that the command gave.
    pub database: String,
    /// The side by the configuration when it began.
    pub old: ServerDatabase,
    /// The side that clients are led to.
    pub new: ServerDatabase,
    /// Where the clients are.
    pub on_new: bool,
    /// Who began it.
    pub who: Who,
    /// When clients were led to where they are, or it began.
    pub since: Timestamp,
}

impl Migration {
    /// Whether a database is one of its sides.
    pub fn has(&self, place: &ServerDatabase) -> bool {
        self.old == *place || self.new == *place
    }

    /// The side that clients use, and the other one.
    pub fn sides(&self) -> (&ServerDatabase, &ServerDatabase) {
        if self.on_new { (&self.new, &self.old) } else { (&self.old, &self.new) }
    }
}
