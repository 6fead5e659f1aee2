//! What operators have committed while the gate was closed: reads are never behind it.
//!
//! The position is asked of the primary after the commit, by the monitor. Until the answer is there no replica is fit for
//! reads of the maintenance.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use crate::gate::Lsn;

/// The position that a replica must have replayed.
#[derive(Debug, Default)]
pub(super) struct Floor {
    lsn: AtomicU64,
    /// Number of the first look at the primary that will tell; 0 when nothing is waited for.
    awaits: AtomicU64,
}

impl Floor {
    /// Something was committed. The look of that number, or a later one, tells the position.
    pub fn await_look(&self, number: u64) {
        self.awaits.fetch_max(number, SeqCst);
    }

    /// A look at the primary has found that position: true if it was waited for.
    pub fn looked(&self, number: u64, lsn: Lsn) -> bool {
        let awaited = self.awaits.load(SeqCst);
        if awaited == 0 || number < awaited {
            return false;
        }
        self.lsn.fetch_max(lsn.0, SeqCst);
        // Something may have been committed meanwhile: then it goes on.
        self.awaits.compare_exchange(awaited, 0, SeqCst, SeqCst).is_ok()
    }

    /// The primary is lost and will not tell: what replicas have is all there is.
    pub fn give_up(&self) {
        self.awaits.store(0, SeqCst);
    }

    /// The position, None while it is waited for.
    pub fn get(&self) -> Option<Lsn> {
        (self.awaits.load(SeqCst) == 0).then(|| Lsn(self.lsn.load(SeqCst)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_not_known_until_a_look_that_began_after_the_commit() {
        let floor = Floor::default();
        assert_eq!(floor.get(), Some(Lsn(0)));
        floor.await_look(3);
        assert!(!floor.looked(2, Lsn(100)));
        assert_eq!(floor.get(), None);
        assert!(floor.looked(3, Lsn(120)));
        assert_eq!(floor.get(), Some(Lsn(120)));
        floor.await_look(5);
        floor.give_up();
        assert_eq!(floor.get(), Some(Lsn(120)));
    }
}
