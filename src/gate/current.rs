//! The gate that a name leads to now. A reload may lead the name to another database, and sessions that are there already go
//! along; to look at it costs them no more than one load.

use super::database::Gate;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

/// Derefs to the gate in force. Earlier ones are kept as long as this lives: few, since only a reload changes it.
#[derive(Debug)]
pub struct CurrentGate {
    gate: Arc<Gate>,
    next: OnceLock<Box<CurrentGate>>,
}

impl CurrentGate {
    /// That gate, until it is changed.
    pub fn new(gate: Arc<Gate>) -> CurrentGate {
        CurrentGate { gate, next: OnceLock::new() }
    }

    /// Puts another one in its place. Only one thread at a time may call it.
    pub fn change(&self, gate: Arc<Gate>) {
        let mut last = self;
        while let Some(next) = last.next.get() {
            last = next;
        }
        let _ = last.next.set(Box::new(CurrentGate::new(gate)));
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
