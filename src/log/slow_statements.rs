//! Which statements are slow enough for a line of the log, and which of those get one.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::config::Log;

/// See the module.
#[derive(Debug)]
pub struct SlowStatements {
    /// In microseconds; the largest number for never.
    least: AtomicU64,
    percent: AtomicU64,
    seen: AtomicU64,
}

impl Default for SlowStatements {
    fn default() -> Self {
        Self { least: AtomicU64::new(u64::MAX), percent: AtomicU64::new(100), seen: AtomicU64::new(0) }
    }
}

impl SlowStatements {
    /// As the configuration says.
    pub fn set(&self, log: &Log) {
        let least = log.log_min_duration.get().map(|least| u64::try_from(least.as_micros()).unwrap_or(u64::MAX));
        self.least.store(least.unwrap_or(u64::MAX), Relaxed);
        self.percent.store(log.log_sample_percent.into(), Relaxed);
    }

    /// Whether a statement that took so many microseconds is slow. Asked for each.
    #[inline]
    pub fn is_slow(&self, micros: u64) -> bool {
        micros >= self.least.load(Relaxed)
    }

    /// Whether it is one of those that are logged: of a hundred, as many as log_sample_percent says.
    pub fn is_sampled(&self) -> bool {
        let (seen, percent) = (self.seen.fetch_add(1, Relaxed), self.percent.load(Relaxed));
        seen.wrapping_mul(percent) % 100 + percent >= 100 && percent > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_of_a_hundred_are_logged() {
        for percent in [0, 1, 7, 50, 100] {
            let slow = SlowStatements::default();
            slow.percent.store(percent, Relaxed);
            assert_eq!((0..1000).filter(|_| slow.is_sampled()).count() as u64, percent * 10);
        }
        assert!(!SlowStatements::default().is_slow(u64::MAX - 1));
    }
}
