//! The register upon loom's atomics as they are.
#[path = "../../src/gate/state/mode.rs"]
#[allow(dead_code)]
pub mod mode;
#[path = "../../src/gate/state/register.rs"]
#[allow(dead_code)]
pub mod register;

pub mod sync {
    pub use loom::sync::Arc;
    pub use loom::sync::atomic::{AtomicU64, Ordering};

    /// The bell in loom's terms: one waiter is enough for the model.
    #[derive(Default)]
    pub struct Bell(loom::future::AtomicWaker);

    impl Bell {
        pub fn ring(&self) {
            self.0.wake();
        }

        pub async fn wait_until(&self, mut reached: impl FnMut() -> bool) {
            std::future::poll_fn(|context| {
                self.0.register_by_ref(context.waker());
                if reached() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
            })
            .await;
        }
    }
}
