//! The register with an entry that looks at the door first and counts itself afterwards.
#[path = "../../src/gate/state/mode.rs"]
#[allow(dead_code)]
pub mod mode;
#[path = "../../src/gate/state/register.rs"]
#[allow(dead_code)]
pub mod register;

pub mod sync {
    pub use crate::real::sync::Bell;
    pub use loom::sync::Arc;
    pub use loom::sync::atomic::Ordering;

    pub struct AtomicU64(loom::sync::atomic::AtomicU64);

    impl AtomicU64 {
        pub fn new(value: u64) -> Self {
            Self(loom::sync::atomic::AtomicU64::new(value))
        }

        pub fn load(&self, order: Ordering) -> u64 {
            self.0.load(order)
        }

        pub fn store(&self, value: u64, order: Ordering) {
            self.0.store(value, order);
        }

        pub fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
            let seen = self.0.load(Ordering::Acquire);
            self.0.fetch_add(value, order);
            seen
        }

        pub fn fetch_sub(&self, value: u64, order: Ordering) -> u64 {
            self.0.fetch_sub(value, order)
        }

        pub fn compare_exchange(&self, from: u64, to: u64, set: Ordering, fetch: Ordering) -> Result<u64, u64> {
            self.0.compare_exchange(from, to, set, fetch)
        }
    }
}
