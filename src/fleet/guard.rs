//! Until when a member may write, by a clock that goes on while the machine sleeps.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

/// Since this machine was started, its sleep included. A process that is stopped does not stop it.
pub fn since_boot() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Asked before a server connection that may write is used for the first time: a process that was stopped finds its gate open for a
/// moment, and those connections that it has had are ended by then.
#[derive(Debug, Default)]
pub struct Guard {
    /// In milliseconds since boot.
    until: AtomicU64,
    /// What marks this proxy's connections on servers, as the number of an advisory lock; 0: there is no fleet, and nothing to guard.
    mark: AtomicI64,
}

impl Guard {
    /// From now on there is a fleet, and nothing may be written until it is heard of.
    pub fn join(&self, mark: i64) {
        self.mark.store(mark, SeqCst);
    }

    /// See the field; None without a fleet.
    pub fn mark(&self) -> Option<i64> {
        Some(self.mark.load(SeqCst)).filter(|mark| *mark != 0)
    }

    /// Writing is safe until then.
    pub fn extend(&self, until: Duration) {
        self.until.store(u64::try_from(until.as_millis()).unwrap_or(u64::MAX), SeqCst);
    }

    /// Whether writing is safe now.
    pub fn holds(&self) -> bool {
        self.mark().is_none() || since_boot() < Duration::from_millis(self.until.load(SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_may_be_written_before_the_fleet_is_heard_of_nor_after_the_lease() {
        let guard = Guard::default();
        assert!(guard.holds());
        guard.join(7);
        assert!(!guard.holds());
        guard.extend(since_boot() + Duration::from_secs(60));
        assert!(guard.holds());
        guard.extend(since_boot().saturating_sub(Duration::from_millis(1)));
        assert!(!guard.holds());
    }
}
