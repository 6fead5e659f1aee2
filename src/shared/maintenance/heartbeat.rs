//! What the write heartbeat of a database has found.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use jiff::Timestamp;

/// Since when writes fail, for longer than a moment.
#[derive(Debug, Default)]
pub struct Heartbeat(ArcSwapOption<Timestamp>);

impl Heartbeat {
    /// Since when, if that is so.
    pub fn failing(&self) -> Option<Timestamp> {
        self.0.load().as_deref().copied()
    }

    /// Notes that; None: they work, or nothing is known.
    pub fn note(&self, since: Option<Timestamp>) {
        self.0.store(since.map(Arc::new));
    }
}
