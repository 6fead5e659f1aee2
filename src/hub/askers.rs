//! Programs that are known to ask for something that only a certain server connection can tell.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long one is known: who asks by hand is not to change how a role is pooled for good.
const IS_KNOWN: Duration = Duration::from_secs(600);

/// Programs that are known.
const MOST: usize = 1000;

/// A program, as far as it can be told from others: a role and an application_name.
type Program = (Arc<str>, Box<str>);

/// Those of one database that ask for one thing.
#[derive(Default)]
pub struct Askers {
    known: Mutex<HashMap<Program, Instant>>,
    any: AtomicBool,
}

impl Askers {
    /// Whether sessions of that program have asked of late.
    pub fn has(&self, user: &Arc<str>, application_name: &str) -> bool {
        if !self.any.load(Relaxed) {
            return false;
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&(user.clone(), application_name.into())).is_some_and(|last| last.elapsed() < IS_KNOWN)
    }

    /// Notes that a session of that program asks.
    pub fn remember(&self, user: &Arc<str>, application_name: &str) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.retain(|_, last| last.elapsed() < IS_KNOWN);
        }
        if known.len() < MOST {
            known.insert((user.clone(), application_name.into()), Instant::now());
        }
        self.any.store(true, Relaxed);
    }
}
