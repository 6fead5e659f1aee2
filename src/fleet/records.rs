//! What lies in etcd, as JSON.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::gate::{ForeignWriter, Lsn, Mode, Quiesced, ServerDatabase, Switches, Verb, Who};

/// A database: a cluster's name in the configuration, which all members share, and the name on its servers.
pub type Place = ServerDatabase;

/// A member, for as long as its lease lasts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub id: String,
    /// Which life of that name: another with each start.
    pub process: String,
    /// The lease that it ends with.
    pub lease: i64,
    /// Since when.
    pub since: Timestamp,
    /// What people and cancel requests reach it by.
    pub address: String,
    /// Of pgsluice.
    pub version: String,
    /// Names that clients connect to.
    pub databases: Vec<String>,
    /// Clients connected.
    pub clients: u64,
    /// Databases that a command for this member alone has opened or closed.
    #[serde(default)]
    pub apart: Vec<Place>,
    /// Since when it has been a member without a break.
    #[serde(default)]
    pub joined: Timestamp,
    /// Receivers of webhooks that it knows, by what their positions are kept under.
    #[serde(default)]
    pub hooks: Vec<String>,
}

/// Connections of one member to servers that may write. It outlives the member's lease: only who has ended them, or the same life of
/// the member, removes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backends {
    /// What their advisory locks are marked with.
    pub mark: i64,
    /// Those that are known by name.
    pub known: Vec<MarkedBackend>,
}

/// How one connection is found on its server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkedBackend {
    /// Its process id there.
    pub pid: u32,
    /// When it began, in seconds of Unix time by the member's clock.
    pub began: u64,
    /// The role.
    pub user: String,
    /// The database on the server.
    pub dbname: String,
}

/// What is wanted of a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// Which.
    pub place: Place,
    /// Grows with each change of mode.
    pub epoch: u64,
    /// The two switches that a person has.
    pub switches: Switches,
    /// Since when the mode holds.
    pub since: Timestamp,
    /// Set once every member that could write has acknowledged.
    pub quiesced: Option<Quiesced>,
    /// The command that has led to it.
    pub verb: Verb,
    /// Who gave that.
    pub who: Who,
    /// What a drain that fails goes back to.
    pub before: Option<Before>,
    /// Who else was writing when it was quiesced.
    pub foreign_writers: Vec<ForeignWriter>,
    /// What the person who closed it should know.
    pub warning: Option<String>,
    /// How the epoch before this one has ended, if it was a drain that was not carried through.
    pub ended: Option<Ended>,
}

/// What a drain that fails goes back to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// The switches.
    pub switches: Switches,
    /// Whether that was quiesced.
    pub quiesced: Option<Quiesced>,
}

/// See [`Desired::ended`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The epoch that was not reached.
    pub epoch: u64,
    /// Its command.
    pub verb: Verb,
    /// Why.
    pub how: How,
}

/// Why a drain was not carried through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum How {
    /// By the opposite command.
    CalledOff(Who),
    /// Something was in the way for longer than drain_timeout.
    TimedOut {
        /// How long was waited.
        waited_ms: u64,
        /// Members that had not come to their end, with what they said of it.
        waiting: Vec<String>,
    },
}

impl Desired {
    /// The mode that the switches lead to.
    pub fn mode(&self) -> Mode {
        self.switches.mode()
    }

    /// Whether it is about databases that come into being later: there is nothing to drain.
    pub fn is_for_all(&self) -> bool {
        self.place.cluster.is_empty() && self.place.dbname == "*"
    }

    /// Whether members have to be waited for.
    pub fn is_draining(&self) -> bool {
        self.mode() != Mode::ReadWrite && self.quiesced.is_none()
    }
}

/// What the primary says behind the last acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// From when on nothing changes.
    pub quiesced: Quiesced,
    /// Who else writes.
    pub foreign_writers: Vec<ForeignWriter>,
    /// What the person who closes it should know.
    pub warning: Option<String>,
}

/// What a member says of one database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The epoch that it is about.
    pub epoch: u64,
    /// The life of the member.
    pub process: String,
    /// Its lease.
    pub lease: i64,
    /// Nothing of that epoch's can be written any more; or, of an epoch that opens, it is open.
    pub passed: bool,
    /// When that was so.
    pub at: Option<Timestamp>,
    /// The primary's LSN then.
    pub lsn: Option<Lsn>,
    /// Transactions that ended by themselves.
    pub finished: u64,
    /// Those made read-only.
    pub fenced: u64,
    /// Those cancelled.
    pub cancelled: u64,
    /// From the command's arrival, in milliseconds.
    pub waited_ms: u64,
    /// What it waits for, for people.
    pub waits_for: Option<String>,
}
