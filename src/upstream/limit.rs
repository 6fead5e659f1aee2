//! Counted places: how many server connections a pool, a database, a user and the whole proxy may have.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

/// A limit that several pools share.
#[derive(Debug, Default)]
pub struct Limit {
    used: AtomicUsize,
    /// 0: no limit.
    most: AtomicUsize,
    pressed: AtomicBool,
}

impl Limit {
    /// A limit of `most` places, 0 for none.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most: AtomicUsize::new(most), ..Self::default() })
    }

    /// Changes the limit; what is open stays open.
    pub fn set(&self, most: usize) {
        self.most.store(most, SeqCst);
    }

    /// Places taken.
    pub fn used(&self) -> usize {
        self.used.load(SeqCst)
    }

    /// The limit, 0 for none.
    pub fn most(&self) -> usize {
        self.most.load(SeqCst)
    }

    /// Whether no place is left.
    pub fn is_full(&self) -> bool {
        let most = self.most.load(SeqCst);
        most != 0 && self.used.load(SeqCst) >= most
    }

    /// Takes a place; `extra` of them may be had beyond the limit.
    pub fn take(&self, extra: usize) -> bool {
        let most = self.most.load(SeqCst);
        let taken =
            self.used.fetch_update(SeqCst, SeqCst, |used| (most == 0 || used < most + extra).then_some(used + 1));
        if taken.is_err() {
            self.pressed.store(true, SeqCst);
        }
        taken.is_ok()
    }

    /// Gives a place back. True if somebody was refused one since the last time this was true.
    pub fn give(&self) -> bool {
        self.used.fetch_sub(1, SeqCst);
        self.pressed.swap(false, SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_holds_and_tells_when_it_was_pressed() {
        let limit = Limit::new(1);
        assert!(limit.take(0));
        assert!(!limit.take(0));
        assert!(limit.take(1));
        assert!(limit.give());
        assert!(!limit.give());
        let none = Limit::new(0);
        assert!((0..100).all(|_| none.take(0)));
    }
}
