//! Which upstream, and which kind of connection, for a transaction that starts now: a pure function of the gate's mode, of
//! what was read in the statement, and of the session's wishes.

use crate::config::Reads;
use crate::gate::{Lsn, NewTransaction, Reads as MaintenanceReads, State};
use crate::sql::{Analysis, Kind, Proven, TransactionVerb};
use crate::topology::{Avoid, Cluster, Leader, ReadFloor};

/// What is known of a transaction before it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionClass {
    /// Every statement of it is a read that may run on any replica, or it is an explicit READ ONLY block.
    Read,
    /// Something in it means nothing on a replica, or does not run there.
    Primary,
    /// A write that a rule lets through while the gate is closed.
    Allowed,
    /// Anything else.
    Any,
}

/// What the first message of a transaction tells about it.
pub fn transaction_class(analysis: &Analysis) -> TransactionClass {
    if analysis.ambiguous || analysis.statements.is_empty() {
        return TransactionClass::Any;
    }
    if let [only] = &*analysis.statements
        && let Kind::Transaction(TransactionVerb::Begin(modes)) = &only.kind
    {
        // SERIALIZABLE is not to be had on a standby.
        let serializable = modes.isolation == Some(crate::sql::Isolation::Serializable);
        return if modes.read_only == Some(true) && !serializable {
            TransactionClass::Read
        } else {
            TransactionClass::Any
        };
    }
    let statements = &analysis.statements;
    if statements.iter().all(|statement| statement.route == Proven::Read) {
        TransactionClass::Read
    } else if statements.iter().any(|statement| statement.route == Proven::PrimaryOnly) {
        TransactionClass::Primary
    } else {
        TransactionClass::Any
    }
}

/// Where a transaction goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// To the primary, on an unguarded connection, registered with the gate.
    Write,
    /// On a guarded connection to this upstream, which is a replica.
    Replica(usize),
    /// On a guarded connection to the primary.
    GuardedPrimary,
    /// To the primary, on an unguarded connection, though the gate is closed: for one message that a rule allows.
    Allowed,
    /// On a guarded connection to this upstream, which claims to be the primary, as another one does: it only reads.
    Contested(usize),
    /// Nowhere for now: no server that could serve it is known to be up.
    Wait,
    /// The database is offline.
    Offline,
}

/// What decides.
pub struct RouteInput<'a> {
    /// The gate's state.
    pub state: State,
    /// Where reads go while the gate is open.
    pub reads: Reads,
    /// Where reads go while it is closed.
    pub maintenance_reads: MaintenanceReads,
    /// The position that a replica must have replayed while the gate is closed; None: not quiesced yet.
    pub quiesced: Option<Lsn>,
    /// The servers.
    pub cluster: &'a Cluster,
    /// Servers that have just failed this very transaction.
    pub avoid: Avoid,
    /// What a replica must have of what was written before.
    pub floor: ReadFloor,
    /// Replicas that are equally loaded have their turns by that number.
    pub turn: usize,
}

impl RouteInput<'_> {
    /// The route for a transaction of that nature.
    pub fn route(&self, nature: TransactionClass) -> Route {
        let primary = self.cluster.primary().is_some();
        match self.state.mode.new_transaction() {
            NewTransaction::Terminate => Route::Offline,
            NewTransaction::WriteCapable => {
                let replica = (nature == TransactionClass::Read && self.reads != Reads::Primary)
                    .then(|| self.replica_behind(Lsn(0)))
                    .flatten();
                // Until a replica has what was written the primary shows it, whatever was asked for.
                let behind = self.floor != ReadFloor::None && primary;
                match (replica, self.reads) {
                    (Some(at), _) => Route::Replica(at),
                    (None, Reads::Replica) if nature == TransactionClass::Read && !behind => Route::Wait,
                    (None, _) if primary => Route::Write,
                    (None, _) if nature == TransactionClass::Read => self.contested(),
                    (None, _) => Route::Wait,
                }
            }
            NewTransaction::Guarded { .. } if nature == TransactionClass::Allowed => {
                if primary {
                    Route::Allowed
                } else {
                    Route::Wait
                }
            }
            NewTransaction::Guarded { .. } => {
                let fit = || {
                    let at_least = self.cluster.read_floor(self.quiesced?)?;
                    // A primary that is away tells of no write any more: what replicas have is all there is.
                    if primary { self.replica_behind(at_least) } else { self.least_loaded(at_least) }
                };
                match (nature, self.maintenance_reads) {
                    (TransactionClass::Read, MaintenanceReads::Any | MaintenanceReads::Replica)
                    | (TransactionClass::Any, MaintenanceReads::Replica) => match fit() {
                        Some(at) => Route::Replica(at),
                        None if primary => Route::GuardedPrimary,
                        None => self.contested(),
                    },
                    _ if primary => Route::GuardedPrimary,
                    // The primary is away, for the very maintenance perhaps: what a replica allows goes on.
                    _ => fit().map_or_else(|| self.contested(), Route::Replica),
                }
            }
        }
    }

    /// A replica that has that position, and what was written before.
    fn replica_behind(&self, at_least: Lsn) -> Option<usize> {
        match self.floor {
            ReadFloor::None => self.least_loaded(at_least),
            ReadFloor::At(lsn) => self.least_loaded(at_least.max(lsn)),
            ReadFloor::Awaited => None,
        }
    }

    fn least_loaded(&self, at_least: Lsn) -> Option<usize> {
        self.cluster.replica_in_turn(at_least, self.avoid, self.turn)
    }

    /// Where reads go on while several servers claim to be the primary.
    fn contested(&self) -> Route {
        match self.cluster.leader() {
            Leader::Contested(at) => Route::Contested(at),
            Leader::None | Leader::One(_) => Route::Wait,
        }
    }
}
