//! What the register needs of threads: atomics, `Arc` and a bell.
//!
//! The register names nothing else, so that `tests/loom` can compile the very same `register.rs` upon loom's
//! versions of these and walk through its interleavings.

pub(crate) use std::sync::Arc;
pub(crate) use std::sync::atomic::{AtomicU64, Ordering};

/// Wakes whoever waits for a condition that other threads make true.
#[derive(Debug, Default)]
pub(crate) struct Bell(tokio::sync::Notify);

impl Bell {
    /// Lets every waiter look at its condition again.
    pub(crate) fn ring(&self) {
        self.0.notify_waiters();
    }

    /// Returns once `reached` says so; it is asked at once and after each ring. Dropping the future is harmless.
    pub(crate) async fn wait_until(&self, mut reached: impl FnMut() -> bool) {
        loop {
            // Made before the look: a ring between look and await would be lost otherwise.
            let ring = self.0.notified();
            if reached() {
                return;
            }
            ring.await;
        }
    }
}
