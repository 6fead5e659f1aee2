//! Read your writes: the position that a replica must have replayed before it serves those who have written.
//!
//! The position is sampled on the primary *after* the write has ended, by the monitor, so that no write costs a round trip of its
//! own. Looks at a server are numbered in the order in which they begin: the end of a write is the number of the first look that
//! begins after it, and the position that this look, or a later one, finds is behind the write.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use arc_swap::ArcSwap;

use super::Cluster;
use crate::config::Causal;
use crate::gate::Lsn;
use crate::topology::server::{Role, Upstream};

/// Positions of a server that are remembered.
const MOST_SAMPLES: usize = 64;
/// In the place of a server's number.
const NOBODY: u16 = u16::MAX;
/// Bits of a look's number beside that of its server.
const LOOK_BITS: u32 = 48;

/// When a write ended: the primary of that time, and the number of the first look at it that begins afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteEnd(u64);

impl WriteEnd {
    /// It is not known on which server.
    pub const UNKNOWN: Self = Self((NOBODY as u64) << LOOK_BITS);

    fn new(primary: usize, look: u64) -> Self {
        let primary = u16::try_from(primary).unwrap_or(NOBODY);
        Self(u64::from(primary) << LOOK_BITS | look & ((1 << LOOK_BITS) - 1))
    }

    fn is_on(self, primary: usize) -> bool {
        self.0 >> LOOK_BITS == u64::from(u16::try_from(primary).unwrap_or(NOBODY)) && self != Self::UNKNOWN
    }

    fn look(self) -> u64 {
        self.0 & ((1 << LOOK_BITS) - 1)
    }
}

/// What reads need of a replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReadFloor {
    /// Any will do.
    #[default]
    None,
    /// It must have replayed this position.
    At(Lsn),
    /// It is not known yet how far the write has come: none will do.
    Awaited,
}

/// The last write that all readers of a database have to see.
#[derive(Debug, Default)]
pub struct LastWrite(AtomicU64);

impl LastWrite {
    /// A write has ended.
    pub fn note(&self, end: WriteEnd) {
        let _ = self.0.fetch_update(SeqCst, SeqCst, |known| {
            let same = known >> LOOK_BITS == end.0 >> LOOK_BITS;
            (!same || known < end.0).then_some(end.0)
        });
    }

    /// The last one, if there was any.
    pub fn get(&self) -> Option<WriteEnd> {
        let bits = self.0.load(SeqCst);
        (bits != 0).then_some(WriteEnd(bits))
    }

    /// What one server was to tell another one tells.
    fn replace(&self, before: WriteEnd, after: WriteEnd) {
        let _ = self.0.compare_exchange(before.0, after.0, SeqCst, SeqCst);
    }
}

/// Positions of a server, each with the number of the look that found it, the oldest first.
#[derive(Debug, Default)]
pub(in crate::topology) struct Samples(ArcSwap<Vec<(u64, Lsn)>>);

impl Samples {
    /// A look of that number has found this.
    pub fn note(&self, number: u64, lsn: Lsn) {
        let known = self.0.load();
        if known.last().is_some_and(|(last, _)| *last >= number) {
            return;
        }
        let kept = known.len().saturating_sub(MOST_SAMPLES - 1);
        let samples = known.iter().skip(kept).copied().chain([(number, lsn)]).collect();
        self.0.store(Arc::new(samples));
    }

    /// What the first look of that number or later has found.
    fn since(&self, number: u64) -> Option<Lsn> {
        let known = self.0.load();
        let first = known.partition_point(|(at, _)| *at < number);
        known.get(first).map(|(_, lsn)| *lsn)
    }
}

impl Cluster {
    /// A write has ended just now.
    pub fn write_ends(&self) -> WriteEnd {
        let primary = self.primary().and_then(|at| Some((at, self.upstreams.get(at)?)));
        primary.map_or(WriteEnd::UNKNOWN, |(at, server)| WriteEnd::new(at, server.looks() + 1))
    }

    /// The position that is known to be behind a write.
    ///
    /// # Errors
    /// It is not known yet. What is given takes the place of the end of the write: another server has to tell now.
    pub fn position_behind(&self, end: WriteEnd) -> Result<Lsn, WriteEnd> {
        let Some((at, server)) = self.primary().and_then(|at| Some((at, self.upstreams.get(at)?))) else {
            return Err(end);
        };
        if end.is_on(at) { server.samples.since(end.look()).ok_or(end) } else { Err(self.write_ends()) }
    }

    /// What the last write of all sessions asks of reads.
    pub fn floor_behind(&self, last: &LastWrite) -> ReadFloor {
        let Some(end) = last.get() else { return ReadFloor::None };
        match self.position_behind(end) {
            Ok(lsn) => ReadFloor::At(lsn),
            Err(next) => {
                if next != end {
                    last.replace(end, next);
                }
                ReadFloor::Awaited
            }
        }
    }

    /// A read could not go to a replica for that floor: positions are asked for before it is time.
    pub fn hurry(&self, floor: ReadFloor) {
        let primary = self.primary().and_then(|at| self.upstreams.get(at));
        match floor {
            ReadFloor::None => {}
            ReadFloor::Awaited => {
                self.sought.store(true, SeqCst);
                primary.into_iter().for_each(|server| server.watch.seek_position());
            }
            ReadFloor::At(lsn) => self.seek_replicas(lsn),
        }
    }

    fn seek_replicas(&self, lsn: Lsn) {
        let behind = |one: &&Upstream| one.role() == Role::Replica && one.lsn() < lsn;
        self.upstreams.iter().filter(behind).for_each(|one| one.watch.seek_position());
    }

    /// What a look at the primary has found.
    pub(super) fn sampled(&self, at: usize, number: u64, lsn: Lsn) {
        let Some(server) = self.upstreams.get(at) else { return };
        server.samples.note(number, lsn);
        if self.sought.swap(false, SeqCst) {
            self.seek_replicas(lsn);
        }
    }

    /// Notes positions that were asked for between two looks. False: the server is not what it was known to be.
    pub(in crate::topology) fn note_position(&self, at: usize, number: u64, role: Role, lsn: Lsn) -> bool {
        let Some(server) = self.upstreams.get(at).filter(|one| one.role() == role) else { return false };
        match role {
            Role::Primary => {
                self.sampled(at, number, lsn);
                self.floor_looked(at, number, lsn);
            }
            _ => server.put_replayed(lsn),
        }
        self.tell_looked();
        true
    }

    /// The last write of a database that all its readers have to see. Where that is every write, one may have ended just before
    /// this is first asked.
    pub fn last_write(&self, dbname: &str, causal: Causal) -> Arc<LastWrite> {
        let mut known = self.last_writes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let last = known.entry(dbname.to_owned()).or_default().clone();
        if causal == Causal::Database && last.get().is_none() {
            last.note(WriteEnd::UNKNOWN);
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::cluster::tests::{cluster, look};
    use crate::topology::server::Look;
    use crate::topology::state::Silence;

    #[test]
    fn a_position_counts_only_if_it_was_asked_for_after_the_write_had_ended() {
        let cluster = cluster(&[(Role::Primary, 100), (Role::Replica, 100)]);
        let primary = cluster.upstreams.first().unwrap();
        let under_way = primary.begin_look();
        let end = cluster.write_ends();
        cluster.seen(0, &Look { number: under_way, ..look(Role::Primary, 110) });
        assert_eq!(cluster.position_behind(end), Err(end), "that look had begun before");
        let number = primary.begin_look();
        cluster.seen(0, &Look { number, ..look(Role::Primary, 120) });
        let later = primary.begin_look();
        cluster.seen(0, &Look { number: later, ..look(Role::Primary, 900) });
        assert_eq!(cluster.position_behind(end), Ok(Lsn(120)), "the first one, whatever was written since");
    }

    #[test]
    fn a_new_primary_is_asked_anew() {
        let cluster = cluster(&[(Role::Primary, 100), (Role::Replica, 100)]);
        let end = cluster.write_ends();
        cluster.lost(0, "gone", Silence::Gone);
        assert_eq!(cluster.position_behind(end), Err(end));
        let second = cluster.upstreams.get(1).unwrap();
        let number = second.begin_look();
        cluster.seen(1, &Look { number, ..look(Role::Primary, 105) });
        let next = cluster.position_behind(end).unwrap_err();
        let number = second.begin_look();
        cluster.seen(1, &Look { number, ..look(Role::Primary, 106) });
        assert_eq!(cluster.position_behind(next), Ok(Lsn(106)));
    }

    #[test]
    fn of_writes_of_all_sessions_the_last_one_counts() {
        let cluster = cluster(&[(Role::Primary, 100), (Role::Replica, 100)]);
        let last = cluster.last_write("app", Causal::Session);
        assert_eq!(cluster.floor_behind(&last), ReadFloor::None);
        let early = cluster.write_ends();
        let primary = cluster.upstreams.first().unwrap();
        let number = primary.begin_look();
        last.note(cluster.write_ends());
        last.note(early);
        cluster.seen(0, &Look { number, ..look(Role::Primary, 110) });
        assert_eq!(cluster.floor_behind(&last), ReadFloor::Awaited);
        let number = primary.begin_look();
        assert!(cluster.note_position(0, number, Role::Primary, Lsn(111)));
        assert_eq!(cluster.floor_behind(&last), ReadFloor::At(Lsn(111)));
        assert!(!cluster.note_position(0, number, Role::Replica, Lsn(111)), "it is something else");
    }
}
