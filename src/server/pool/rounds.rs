//! Work that one caller at a time does for all of them.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

/// Who asks for a round while one is under way has whoever is at work go round again, and does not wait.
#[derive(Debug, Default)]
pub(super) struct Rounds(AtomicUsize);

impl Rounds {
    /// Runs rounds until nobody has asked for one since the last one began.
    pub fn run(&self, round: impl Fn()) {
        if self.0.fetch_add(1, SeqCst) != 0 {
            return;
        }
        loop {
            let seen = self.0.load(SeqCst);
            round();
            if self.0.compare_exchange(seen, 0, SeqCst, SeqCst).is_ok() {
                return;
            }
        }
    }
}
