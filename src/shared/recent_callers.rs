//! Programs that are known to ask for something that only a certain server connection can tell.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use dashmap::DashMap;

/// How long one is known: who asks by hand is not to change how a role is pooled for good.
const IS_KNOWN: Duration = Duration::from_secs(600);

/// Programs that are known.
const MOST: usize = 1000;

/// A program, as far as it can be told from others: a role and an application_name.
type Program = (Arc<str>, Box<str>);

/// Those of one database that ask for one thing.
pub struct Askers {
    known: DashMap<Program, Instant>,
    any: AtomicBool,
}

impl Default for Askers {
    fn default() -> Self {
        Self { known: DashMap::with_shard_amount(super::SHARDS), any: AtomicBool::new(false) }
    }
}

impl Askers {
    /// Whether sessions of that program have asked of late.
    pub fn has(&self, user: &Arc<str>, application_name: &str) -> bool {
        if !self.any.load(Relaxed) {
            return false;
        }
        let last = self.known.get(&(user.clone(), application_name.into())).map(|last| *last);
        last.is_some_and(|last| last.elapsed() < IS_KNOWN)
    }

    /// Notes that a session of that program asks.
    pub fn remember(&self, user: &Arc<str>, application_name: &str) {
        if self.known.len() >= MOST {
            self.known.retain(|_, last| last.elapsed() < IS_KNOWN);
        }
        // Several may come at once: there are a few more then than MOST, and never many.
        if self.known.len() < MOST {
            self.known.insert((user.clone(), application_name.into()), Instant::now());
        }
        self.any.store(true, Relaxed);
    }
}
