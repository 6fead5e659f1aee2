//! Where writes wait for the gate in `writes = hold`: a count with a bound. What is held stays with its session, unread and
//! unsent, so that nothing can be lost, sent twice, or sent after its client has gone; a flip wakes every session.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// How many writes of a database are held now, and whether they were when its gate was closed last.
#[derive(Debug, Default)]
pub struct Holding {
    taken: Arc<AtomicUsize>,
    writes_waited: AtomicBool,
}

impl Holding {
    /// A place, unless `most` are taken.
    pub fn enter(&self, most: usize) -> Option<Held> {
        let more = |now: usize| (now < most).then_some(now + 1);
        self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(Held(self.taken.clone()))
    }

    /// The gate closes, and writes wait, or do not.
    pub(super) fn closes(&self, writes_wait: bool) {
        self.writes_waited.store(writes_wait, Ordering::Release);
    }

    /// Whether writes wait, or waited when the gate was closed last.
    pub fn writes_waited(&self) -> bool {
        self.writes_waited.load(Ordering::Acquire)
    }

    /// How many places are taken.
    pub fn count(&self) -> usize {
        self.taken.load(Ordering::Acquire)
    }
}

/// A place among the held; given back when dropped.
#[derive(Debug)]
pub struct Held(Arc<AtomicUsize>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_so_many_places_and_no_more() {
        let holding = Holding::default();
        let (first, second) = (holding.enter(2), holding.enter(2));
        assert!(first.is_some() && second.is_some() && holding.enter(2).is_none());
        drop(first);
        assert_eq!(holding.count(), 1);
        assert!(holding.enter(2).is_some() && holding.enter(0).is_none());
    }
}
