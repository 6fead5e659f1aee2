//! The time, looked up once for what came together: a look costs more than most of what is done with it.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

/// Askers that are told the same time while the thread does not sleep. The last of them hears of some ten microseconds ago.
const SAME: u32 = 8;

/// Told each time a core's thread has slept.
#[derive(Clone, Debug, Default)]
pub struct Woken(Arc<AtomicBool>);

impl Woken {
    /// It has.
    pub fn note(&self) {
        self.0.store(true, Relaxed);
    }
}

/// See the module.
#[derive(Debug)]
pub struct Clock {
    told: Cell<Instant>,
    askers: Cell<u32>,
    woken: Woken,
}

impl Clock {
    /// The clock of a core whose thread tells when it has slept.
    pub fn new(woken: Woken) -> Self {
        Self { told: Cell::new(Instant::now()), askers: Cell::new(0), woken }
    }

    /// The time, or that of a moment ago. It never goes back.
    #[inline]
    pub fn now(&self) -> Instant {
        let askers = self.askers.get() + 1;
        if askers < SAME && !self.woken.0.load(Relaxed) {
            self.askers.set(askers);
        } else {
            self.woken.0.store(false, Relaxed);
            self.askers.set(0);
            self.told.set(Instant::now());
        }
        self.told.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_looked_up_after_sleep_and_now_and_then() {
        let woken = Woken::default();
        let clock = Clock::new(woken.clone());
        let before = Instant::now();
        woken.note();
        let told = clock.now();
        assert!(told >= before);
        for _ in 1..SAME {
            assert_eq!(clock.now(), told);
        }
        let later = clock.now();
        assert!(later > told);
        woken.note();
        assert!(clock.now() > later);
    }
}
