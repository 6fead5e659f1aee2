//! The gate that a name leads to now. A reload may lead the name to another database, and sessions that are there already go
//! along; to look at it costs them no more than one load.

use super::database::Gate;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// Derefs to the gate in force. Earlier ones are kept as long as this lives: few, since only a reload changes it.
#[derive(Debug)]
pub struct CurrentGate {
    gate: Arc<Gate>,
    since: Instant,
    next: OnceLock<Box<CurrentGate>>,
}

impl CurrentGate {
    /// That gate, until it is changed.
    pub fn new(gate: Arc<Gate>) -> CurrentGate {
        CurrentGate { gate, since: Instant::now(), next: OnceLock::new() }
    }

    /// Puts another one in its place. Only one thread at a time may call it.
    pub fn change(&self, gate: Arc<Gate>) {
        let mut last = self;
        while let Some(next) = last.next.get() {
            last = next;
        }
        let _ = last.next.set(Box::new(CurrentGate::new(gate)));
    }

    /// The gate that was in force then: a transaction that began before the change is still one of that gate.
    pub fn at(&self, when: Instant) -> &Arc<Gate> {
        let mut last = self;
        while let Some(next) = last.next.get().filter(|next| next.since <= when) {
            last = next;
        }
        &last.gate
    }

    /// Whether the name has led to another one before.
    pub fn is_another(&self) -> bool {
        self.next.get().is_some()
    }

    /// Whether the name leads to that gate, or ever did.
    pub fn has_been(&self, gate: &Arc<Gate>) -> bool {
        let mut seen = Some(self);
        while let Some(one) = seen {
            if Arc::ptr_eq(&one.gate, gate) {
                return true;
            }
            seen = one.next.get().map(|next| &**next);
        }
        false
    }
}

impl Deref for CurrentGate {
    type Target = Arc<Gate>;

    #[inline]
    fn deref(&self) -> &Arc<Gate> {
        let mut last = self;
        while let Some(next) = last.next.get() {
            last = next;
        }
        &last.gate
    }
}
