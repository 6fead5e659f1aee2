//! What a tenant is guaranteed: a pool that keeps `min_pool_size` connections is owed that many under every limit that it shares.
//! While it has fewer, others leave the places free that are missing, it passes by whoever is ahead in line, and a connection that
//! comes back to a pool beyond its own minimum makes room for it.

use std::collections::HashMap;
use std::sync::atomic::Ordering::SeqCst;

use super::Pool;

/// What the pools under one limit are guaranteed, those that are guaranteed anything.
#[derive(Default)]
pub(super) struct Owed(HashMap<u64, usize>);

impl Owed {
    /// Whether nobody is guaranteed anything, the usual case.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Places that others than `pool` are owed, by how many connections each has.
    pub(super) fn to_others(&self, pool: u64, has: impl Fn(u64) -> usize) -> usize {
        let others = self.0.iter().filter(|(id, _)| **id != pool);
        others.map(|(id, least)| least.saturating_sub(has(*id))).sum()
    }
}

impl Pool {
    /// Connections that it is guaranteed.
    pub(super) fn least(&self) -> usize {
        self.least.load(SeqCst)
    }

    /// Guarantees it that many connections, at most as many as it may have. 0: none.
    pub fn guarantee(&self, least: usize) {
        let least = if self.closed.load(SeqCst) { 0 } else { least.min(self.settings.size) };
        if self.least.swap(least, SeqCst) == least {
            return;
        }
        for limit in &self.outer {
            let mut inner = limit.inner();
            match least {
                0 => _ = inner.owed.0.remove(&self.id),
                least => _ = inner.owed.0.insert(self.id, least),
            }
        }
        self.serve();
        self.serve_shared();
    }

    /// Whether any connections are kept for it.
    pub fn is_guaranteed_any(&self) -> bool {
        self.least() > 0
    }

    /// Whether it has fewer connections than it is guaranteed.
    pub(super) fn is_owed_one(&self) -> bool {
        self.own.used() < self.least()
    }

    /// Whether others may have the place of one of its connections.
    pub(super) fn may_give(&self) -> bool {
        self.own.used() > self.least()
    }

    /// Whether somebody waits under a limit that this pool shares who is owed a connection.
    pub(super) fn owes_one(&self) -> bool {
        self.outer.iter().any(|limit| limit.has_owed_in_line(self.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_owed_is_what_is_missing() {
        let owed = Owed(HashMap::from([(1, 2), (2, 3)]));
        let has = |id| if id == 1 { 5 } else { 1 };
        assert_eq!((owed.to_others(3, has), owed.to_others(2, has)), (2, 0));
        assert!(Owed::default().is_empty() && Owed::default().to_others(1, has) == 0);
    }
}
