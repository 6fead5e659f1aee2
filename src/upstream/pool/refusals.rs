//! Log-ins that a server has refused: the reason is in the log, but not once for each.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Pool;
use crate::upstream::login::LoginError;

/// Between two lines of the log about one pool.
const PAUSE: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Option<Told>>);

#[derive(Debug)]
struct Told {
    when: Instant,
    why: String,
    /// How many there were since.
    more: u64,
}

impl Refusals {
    /// Notes one. How many are to be logged with it, if any: those that were not since the last line.
    fn note(&self, why: &str, now: Instant) -> Option<u64> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *told {
            Some(known) if known.why == why && now.duration_since(known.when) < PAUSE => {
                known.more += 1;
                None
            }
            known => {
                let more = known.as_ref().map_or(0, |known| known.more);
                *known = Some(Told { when: now, why: why.to_owned(), more: 0 });
                Some(more + 1)
            }
        }
    }
}

impl Pool {
    /// A connection could not be opened. It is logged, and whoever watches the server looks if it may be the server's fault.
    pub(super) fn note_refusal(&self, error: &LoginError) {
        if !error.is_refusal() {
            self.settings.watch.look_now();
        }
        let why = error.to_string();
        if let Some(times) = self.refusals.note(&why, Instant::now()) {
            tracing::warn!(
                event = "server_refused", upstream = %self.settings.login.address, database = %self.database, user = %self.user, error = why, times,
                "no server connection"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_reason_is_logged_once_in_a_while_with_a_count() {
        let refusals = Refusals::default();
        let now = Instant::now();
        assert_eq!(refusals.note("no room", now), Some(1));
        assert_eq!(refusals.note("no room", now), None);
        assert_eq!(refusals.note("no room", now + PAUSE), Some(2));
        assert_eq!(refusals.note("wrong password", now + PAUSE), Some(1));
    }
}
