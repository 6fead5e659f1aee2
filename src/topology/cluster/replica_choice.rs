//! Which replica serves a read: one that is not beyond `max_lag`, has replayed what the reader must see, and has little to do.

use std::sync::atomic::Ordering::SeqCst;

use super::Cluster;
use crate::gate::Lsn;
use crate::topology::server::{Role, Upstream};

/// Servers that have just failed a transaction, and are not chosen for it again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Avoid(u32);

impl Avoid {
    /// Adds one.
    pub fn add(&mut self, at: usize) {
        self.0 |= Self::bit(at);
    }

    /// Whether any is there.
    #[inline]
    pub fn is_any(self) -> bool {
        self.0 != 0
    }

    fn has(self, at: usize) -> bool {
        self.0 & Self::bit(at) != 0
    }

    /// More servers than there are bits share the last one.
    fn bit(at: usize) -> u32 {
        1 << at.min(31)
    }
}

/// The turn's place among so many. Multiples of the golden ratio are spread evenly, whichever turns are asked for: every second one, too.
fn spread(turn: usize, places: usize) -> usize {
    let fraction = (turn as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    usize::try_from((fraction * places as u64) >> 32).unwrap_or(0)
}

impl Cluster {
    /// The least loaded replica that is fit: not further behind than the cluster allows and, with `at_least`, one that has
    /// replayed that position and whatever operators have committed since.
    pub fn replica(&self, at_least: Option<Lsn>, avoid: Avoid) -> Option<usize> {
        let floor = at_least.map_or(Some(Lsn(0)), |lsn| self.read_floor(lsn))?;
        self.replica_in_turn(floor, avoid, 0)
    }

    /// What a replica must have replayed for reads of a maintenance that is quiesced at that position: what operators have committed
    /// since, too. None while that is asked.
    ///
    /// What lies behind the last commit is written to disk some seconds later, and goes to replicas only then. A primary that
    /// dies before has taken it along: no replica will ever have that.
    pub fn read_floor(&self, quiesced: Lsn) -> Option<Lsn> {
        let floor = quiesced.max(self.floor.get()?);
        match Lsn(self.on_disk.load(SeqCst)) {
            Lsn(0) => Some(floor),
            _ if self.primary().is_some() => Some(floor),
            on_disk => Some(floor.min(on_disk)),
        }
    }

    /// The primary has that much on disk: all that was committed before it was asked.
    pub fn note_on_disk(&self, lsn: Lsn) {
        self.on_disk.fetch_max(lsn.0, SeqCst);
    }

    /// The same with nothing but that position to be replayed. Of replicas that are about equally loaded each has its `turn`.
    pub fn replica_in_turn(&self, floor: Lsn, avoid: Avoid, turn: usize) -> Option<usize> {
        let fit = |upstream: &Upstream| {
            upstream.lsn() >= floor
                && (self.max_lag_bytes == 0 || upstream.lag_bytes() <= self.max_lag_bytes)
                && (self.max_lag.is_zero() || upstream.lag() <= self.max_lag)
        };
        let fits = || {
            let all = self.upstreams.iter().enumerate();
            all.filter(|(at, upstream)| upstream.role() == Role::Replica && !avoid.has(*at) && fit(upstream))
        };
        let least = fits().map(|(_, upstream)| upstream.busy()).min()?;
        let alike = least + least / 8 + usize::from(least > 0);
        let idle = || fits().filter(|(_, upstream)| upstream.busy() <= alike);
        let chosen = idle().nth(spread(turn, idle().count())).or_else(|| fits().next());
        chosen.map(|(at, _)| at)
    }
}
