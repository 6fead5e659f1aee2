//! Read your writes: a session that has written reads from the primary until a replica has what it wrote.
//!
//! The end of each transaction that may have written is noted, as a number and without a word to anybody. When the session is about
//! to read from a replica, [`Cluster::position_behind`] tells how far that one must have come.

use std::cell::Cell;

use super::lease::Lease;
use crate::client::Session;
use crate::client::maintenance::transition::what_ran::Wrote;
use crate::config::{Causal, Reads};
use crate::gate::NewTransaction;
use crate::routing::TransactionClass;
use crate::shared::database::DatabaseSetup;
use crate::shared::handover::client::HandedWrites;
use crate::topology::{Cluster, ReadFloor, WriteEnd};

/// What a session has whose writes are followed: its reads, or those of others, may be on replicas.
#[derive(Debug, Default)]
pub(in crate::client) struct OwnWrites(Cell<LastOne>);

impl OwnWrites {
    /// For a session of that manner; None: nobody has to know of its writes.
    pub fn of(causal: Causal, reads: Reads) -> Option<Box<Self>> {
        let followed = match causal {
            Causal::Off => false,
            Causal::Session => reads != Reads::Primary,
            Causal::Database => true,
        };
        followed.then(Box::default)
    }
}

/// The last write of a session, as far as its reads have to know, in the setup of that generation.
#[derive(Clone, Copy, Debug, Default)]
enum LastOne {
    /// Whatever it wrote is everywhere, or it has not written.
    #[default]
    None,
    /// It ended then.
    Ended(u32, WriteEnd),
    /// It lies before this position.
    Before(u32, crate::gate::Lsn),
}

impl Session {
    /// A transaction has ended on the server connection that is held.
    #[inline(always)]
    pub(in crate::client) fn note_writes(&mut self) {
        let wrote = self.conversation.transaction().history().wrote();
        if wrote != Wrote::Nothing && self.is_followed(wrote) || self.me.operator {
            self.note_write_end(wrote);
        }
    }

    /// Whether this session's reads, or those of others, have to know what it writes. What a rule allows while the gate is closed is
    /// read from replicas, wherever reads go otherwise.
    #[inline]
    fn is_followed(&self, wrote: Wrote) -> bool {
        self.checkout.own_writes.is_some() || wrote == Wrote::ForOthers || matches!(self.lease, Lease::Allowed { .. })
    }

    fn note_write_end(&mut self, wrote: Wrote) {
        let may_write = matches!(self.lease, Lease::Write { .. } | Lease::Allowed { .. } | Lease::Operator { .. });
        let setup = self.db.peek_setup();
        let causal = setup.settings.causal;
        // An operator's reads are on the primary; of what it sends nothing is known.
        let followed = if self.me.operator { causal == Causal::Database } else { self.is_followed(wrote) };
        if !may_write || !followed || causal == Causal::Off {
            return;
        }
        let end = setup.cluster.write_ends();
        if causal == Causal::Database || wrote == Wrote::ForOthers {
            setup.last_write.note(end);
        }
        let generation = self.generation();
        self.checkout.own_writes.get_or_insert_default().0.set(LastOne::Ended(generation, end));
    }

    fn generation(&self) -> u32 {
        self.db.generation() as u32
    }

    /// What a replica must have replayed before this session reads there.
    pub(in crate::client) fn read_floor(&self, setup: &DatabaseSetup) -> ReadFloor {
        if setup.settings.causal == Causal::Off {
            return ReadFloor::None;
        }
        if setup.settings.causal == Causal::Database && !self.core.proxy.is_alone() {
            // The other process has not told what its clients write.
            return ReadFloor::Awaited;
        }
        let own = self.checkout.own_writes.as_ref().map_or(ReadFloor::None, |own| self.own_floor(own, &setup.cluster));
        own.max(setup.cluster.floor_behind(&setup.last_write))
    }

    /// For the process that takes over.
    pub(in crate::client) fn hand_over_writes(&self) -> HandedWrites {
        let setup = self.db.peek_setup();
        match self.checkout.own_writes.as_ref().map(|own| self.own_floor(own, &setup.cluster)) {
            None | Some(ReadFloor::None) => HandedWrites::None,
            Some(ReadFloor::At(lsn)) => HandedWrites::Before(lsn.0),
            Some(ReadFloor::Awaited) => HandedWrites::Awaited,
        }
    }

    /// As another process has handed it over. What that does not know is found out by the next look at the primary.
    pub(in crate::client) fn take_over_writes(&mut self, handed: Option<HandedWrites>) {
        let last = match handed {
            Some(HandedWrites::None) => return,
            None if self.checkout.own_writes.is_none() => return,
            Some(HandedWrites::Before(lsn)) => LastOne::Before(self.generation(), crate::gate::Lsn(lsn)),
            None | Some(HandedWrites::Awaited) => {
                LastOne::Ended(self.generation(), self.db.peek_setup().cluster.write_ends())
            }
        };
        self.checkout.own_writes.get_or_insert_default().0.set(last);
    }

    fn own_floor(&self, own: &OwnWrites, cluster: &Cluster) -> ReadFloor {
        let now = self.generation();
        let end = match own.0.get() {
            LastOne::None => return ReadFloor::None,
            LastOne::Before(generation, lsn) if generation == now => return ReadFloor::At(lsn),
            LastOne::Ended(generation, end) if generation == now => end,
            // Another configuration has taken the place of the servers that were to tell.
            LastOne::Before(..) | LastOne::Ended(..) => WriteEnd::UNKNOWN,
        };
        let (known, floor) = match cluster.position_behind(end) {
            Ok(lsn) => (LastOne::Before(now, lsn), ReadFloor::At(lsn)),
            Err(next) => (LastOne::Ended(now, next), ReadFloor::Awaited),
        };
        own.0.set(known);
        floor
    }

    /// A transaction of that nature has got a server. Reads that a replica could not serve yet hurry those who know when it can.
    pub(in crate::client) fn hurry_positions(&self, nature: TransactionClass) {
        if nature != TransactionClass::Read || self.lease.replica().is_some() {
            return;
        }
        let setup = self.db.peek_setup();
        let open = self.db.gate.state().mode.new_transaction() == NewTransaction::WriteCapable;
        if !open || self.account.reads() != Reads::Primary {
            setup.cluster.hurry(self.read_floor(&setup));
        }
    }
}
