//! A count of places: how many server connections a pool, a database, a user and the whole proxy may have.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// See the module.
#[derive(Debug, Default)]
pub struct Limit {
    used: AtomicUsize,
    /// 0: no limit.
    most: AtomicUsize,
}

impl Limit {
    /// A limit of `most` places, 0 for none.
    pub fn new(most: usize) -> Self {
        Self { used: AtomicUsize::new(0), most: AtomicUsize::new(most) }
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

    /// Takes a place; `extra` of them may be had beyond the limit. Gives how many are taken then; None: there is none.
    pub fn take_counted(&self, extra: usize) -> Option<usize> {
        let most = self.most.load(SeqCst);
        let next = |used| (most == 0 || used < most + extra).then_some(used + 1);
        self.used.fetch_update(SeqCst, SeqCst, next).ok().map(|before| before + 1)
    }

    /// Takes a place; `extra` of them may be had beyond the limit.
    pub fn take(&self, extra: usize) -> bool {
        self.take_counted(extra).is_some()
    }

    /// Takes a place, if as many as `left` are free behind it.
    pub fn take_leaving(&self, left: usize) -> bool {
        let most = self.most.load(SeqCst);
        let next = |used: usize| (most == 0 || used + left < most).then_some(used + 1);
        self.used.fetch_update(SeqCst, SeqCst, next).is_ok()
    }

    /// Gives a place back.
    pub fn give(&self) {
        self.used.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_holds() {
        let limit = Limit::new(1);
        assert!(limit.take(0));
        assert!(!limit.take(0));
        assert!(limit.take(1));
        limit.give();
        assert!(!limit.take(0));
        assert!(!limit.take_leaving(0));
        limit.give();
        assert!(!limit.take_leaving(1) && limit.take_leaving(0));
        let none = Limit::new(0);
        assert!(none.take_leaving(7));
        assert!((0..100).all(|_| none.take(0)));
    }
}
