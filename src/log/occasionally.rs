//! What can happen a thousand times in a second is in the log once in a while, with a count.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// See the module.
#[derive(Debug)]
pub struct Occasionally {
    pause: Duration,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    logged: Option<Instant>,
    since: u64,
}

impl Occasionally {
    /// At most one line in that time.
    pub fn every(pause: Duration) -> Self {
        Self { pause, seen: Mutex::default() }
    }

    /// It has happened. How often since the last line, if it is time for one.
    pub fn note(&self, now: Instant) -> Option<u64> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.since += 1;
        if seen.logged.is_some_and(|logged| now.saturating_duration_since(logged) < self.pause) {
            return None;
        }
        seen.logged = Some(now);
        Some(std::mem::take(&mut seen.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_a_while_counts_all() {
        let often = Occasionally::every(Duration::from_secs(1));
        let now = Instant::now();
        assert_eq!([0, 10, 999].map(|ms| often.note(now + Duration::from_millis(ms))), [Some(1), None, None]);
        assert_eq!(often.note(now + Duration::from_secs(1)), Some(3));
        assert_eq!(often.note(now + Duration::from_secs(9)), Some(1));
    }
}
