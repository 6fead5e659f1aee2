//! What happens to a member, and what it has done.

use std::time::Duration;

use super::records::{Ack, Desired, Finding, Place};
use super::view::Change;
use crate::gate::Quiesced;

/// What a renewal has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// The lease lasts.
    Kept,
    /// It has ended.
    Gone,
    /// Nobody has answered.
    Unknown,
}

/// What happens.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Time passes.
    Tick,
    /// The clusters of the configuration.
    Clusters(Vec<String>),
    /// A lease was given; None: it was not. `sent`: when it was asked for.
    Granted {
        /// When it was asked for.
        sent: Duration,
        /// The lease.
        lease: Option<i64>,
    },
    /// The registration was written, or not.
    Registered(bool),
    /// What lies in etcd, all of it; None: it could not be read.
    Read(Option<Vec<Change>>),
    /// What has changed there since.
    Changed(Vec<Change>),
    /// The stream of changes has ended.
    WatchLost,
    /// A renewal is over.
    Renewed {
        /// When it was asked for.
        sent: Duration,
        /// What has become of it.
        how: Renewal,
    },
    /// The mode of that epoch is in force here.
    Applied(Place, u64),
    /// The gate's drain of that epoch is over. Life and lease are filled in.
    Drained(Place, u64, Box<Ack>),
    /// Whatever had begun to write before the fleet was lost has come to its end.
    Quiet,
    /// What the drain waits for, for people.
    WaitsFor(Place, u64, String),
    /// An errand to etcd is over, well or not: the view tells.
    Done(Errand),
    /// Connections of a member that has gone are ended in a cluster, or could not be.
    Fenced {
        /// The member.
        id: String,
        /// Its life.
        process: String,
        /// The cluster.
        cluster: String,
        /// The revision of what was read of them.
        revision: i64,
        /// Whether none is left.
        done: bool,
    },
    /// The primary was asked for its LSN behind all acknowledgements; None: it could not tell.
    LsnRead(Place, u64, Option<Box<Finding>>),
}

/// What is to be done. Those that name an [`Errand`] are answered by [`Input::Done`] or an input of their own.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Ask for a lease.
    Grant,
    /// Write the registration, to end with the lease, and the list of connections, which outlives it.
    Register(i64),
    /// Read all keys, and follow what changes from there.
    Read,
    /// Renew the lease.
    Renew(i64),
    /// Writing is safe until then, if it is allowed.
    Extend(Duration),
    /// Whatever is wanted is in force: databases may be written to whose modes allow it.
    Allow,
    /// The fleet is lost: nothing may be written. Answered by [`Input::Quiet`], once nothing is.
    Forbid {
        /// What may write, and is not known to have written, may end by itself until then.
        calls_until: Duration,
    },
    /// Put it in force, and drain if it closes.
    Follow(Box<Desired>),
    /// Every member has come to its end: the drain of that epoch is over.
    Passed(Place, u64, Quiesced),
    /// Write what this member says, to end with the lease.
    PutAck(Place, Box<Ack>),
    /// Become the one who leads, if nobody does.
    Campaign(i64),
    /// End the connections of a member that has gone.
    Fence {
        /// The member.
        id: String,
        /// Its life.
        process: String,
        /// The cluster.
        cluster: String,
        /// The revision of what is read of them.
        revision: i64,
    },
    /// Remove the list of connections, if it is still of that revision and this member leads.
    Forget {
        /// The member.
        id: String,
        /// Its life.
        process: String,
        /// The revision.
        revision: i64,
    },
    /// Ask the primary for its LSN.
    ReadLsn(Place, u64),
    /// Write what is wanted, if it is still of that revision and this member leads.
    Commit(i64, Box<Desired>),
    /// The same, by any member: etcd has forgotten it.
    WriteBack(i64, Box<Desired>),
}

/// What goes on at most once at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Errand {
    /// See [`Action::Grant`], [`Action::Register`].
    Join,
    /// See [`Action::Read`].
    Read,
    /// See [`Action::Renew`].
    Renew,
    /// See [`Action::PutAck`].
    Ack(Place),
    /// See [`Action::Campaign`].
    Campaign,
    /// See [`Action::Fence`]: member, life, cluster.
    Fence(String, String, String),
    /// See [`Action::Forget`].
    Forget(String, String),
    /// See [`Action::ReadLsn`].
    Lsn(Place),
    /// See [`Action::Commit`].
    Commit(Place),
    /// See [`Action::WriteBack`].
    WriteBack(Place),
}

/// Errors that the simulation plants, to see that it finds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is told where it is asked for")]
pub enum Fault {
    ReadsBeforeItRegisters,
    CountsTheLeaseFromTheAnswer,
    StopsBehindTheLease,
    NeverStops,
    DoesNotFence,
    ForgetsBeforeItHasFenced,
    TakesAFailedFenceForDone,
    AcknowledgesBeforeTheDrain,
    AcceptsAcksOfOtherEpochs,
    ReadsTheLsnFirst,
    CommitsWithoutComparing,
    CountsOldMembersOnly,
    AllowsBeforeItFollows,
    UsesNewConnectionsUnasked,
    NeverGivesUp,
    OpensWhenItGivesUp,
    NobodyIsElectedAgain,
    FollowsBackwards,
    ForgetsFencesLate,
    RegistersWithoutItsConnections,
    ComesBackWithOldTransactions,
}
