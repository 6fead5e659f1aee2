//! What is known of a database's own functions, views and operators: whether they lead to an unseen writer.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::{Mutex, Notify};

use crate::sql::unseen::Unseen;

/// How far the catalog of a database is known.
#[derive(Debug)]
pub enum Knowledge {
    /// It has not been asked yet.
    Pending,
    /// It could not be read, and why.
    Unknown(String),
    /// What it says.
    Known(Box<Unseen>),
}

/// One database's.
#[derive(Debug)]
pub struct Catalog {
    known: ArcSwap<Knowledge>,
    changed: Notify,
    /// One question at a time, so that the youngest answer stands; and the fingerprint of what was read.
    pub asking: Mutex<Option<String>>,
}

impl Default for Catalog {
    fn default() -> Self {
        Self { known: ArcSwap::from_pointee(Knowledge::Pending), changed: Notify::new(), asking: Mutex::default() }
    }
}

impl Catalog {
    /// What is known now.
    #[inline]
    pub fn known(&self) -> Guard<Arc<Knowledge>> {
        self.known.load()
    }

    /// Puts another answer in the place of this one.
    pub fn learn(&self, knowledge: Knowledge) {
        self.known.store(Arc::new(knowledge));
        self.changed.notify_waiters();
    }

    /// Waits until there has been an answer, good or bad, but not for ever.
    pub async fn answered(&self, patience: Duration) {
        if !matches!(**self.known(), Knowledge::Pending) {
            return;
        }
        let waits = async {
            loop {
                let changed = self.changed.notified();
                if !matches!(**self.known(), Knowledge::Pending) {
                    return;
                }
                changed.await;
            }
        };
        // Boxed: sessions, which hardly ever wait for this, have no room for it.
        let _ = Box::pin(tokio::time::timeout(patience, waits)).await;
    }
}
