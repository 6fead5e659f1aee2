//! What is known of a database's own functions, views and operators: whether they lead to an unseen writer, and what they leave
//! behind in the sessions that use them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::{Mutex, Notify};

use crate::sql::unseen::{Leavings, Unseen};

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

/// What leaves something behind in a session, and the number of the reading, which no other reading has.
#[derive(Debug, Default)]
pub struct Reading {
    /// That number.
    pub number: u64,
    /// What was read.
    pub leavings: Leavings,
}

/// One database's.
#[derive(Debug)]
pub struct Catalog {
    known: ArcSwap<Knowledge>,
    changed: Notify,
    /// One question at a time, so that the youngest answer stands; and the fingerprint of what was read.
    pub asking: Mutex<Option<String>>,
    reading: ArcSwap<Reading>,
    /// There is anything in that.
    leaves: AtomicBool,
    /// It has been read, or could not be.
    tried: AtomicBool,
    altered: Notify,
    /// Changes of the catalog that were made through here.
    changes: AtomicU64,
    /// How many of them had been made when it was read last.
    read: AtomicU64,
}

impl Default for Catalog {
    fn default() -> Self {
        Self {
            known: ArcSwap::from_pointee(Knowledge::Pending),
            changed: Notify::new(),
            asking: Mutex::default(),
            reading: ArcSwap::default(),
            leaves: AtomicBool::new(false),
            tried: AtomicBool::new(false),
            altered: Notify::new(),
            changes: AtomicU64::new(0),
            read: AtomicU64::new(0),
        }
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

    /// Whether anything leaves something behind in a session.
    #[inline]
    pub fn leaves(&self) -> bool {
        self.leaves.load(Relaxed)
    }

    /// What does.
    pub fn reading(&self) -> Guard<Arc<Reading>> {
        self.reading.load()
    }

    /// Puts another reading in the place of this one.
    pub fn learn_leavings(&self, reading: Reading) {
        let leaves = !reading.leavings.is_empty();
        self.reading.store(Arc::new(reading));
        self.leaves.store(leaves, SeqCst);
        self.tried_leavings();
    }

    /// Whoever waits for the first reading need not wait any longer.
    pub fn tried_leavings(&self) {
        self.tried.store(true, SeqCst);
        self.changed.notify_waiters();
    }

    /// Waits for the first reading, good or bad, but not for ever.
    pub async fn first_reading(&self, patience: Duration) {
        let waits = async {
            loop {
                let changed = self.changed.notified();
                if self.tried.load(SeqCst) {
                    return;
                }
                changed.await;
            }
        };
        let _ = tokio::time::timeout(patience, waits).await;
    }

    /// A client has altered what is in the catalog.
    pub fn alter(&self) {
        self.outdate();
        self.altered.notify_one();
    }

    /// What is known is out of date until the catalog has been read again.
    pub fn outdate(&self) {
        self.changes.fetch_add(1, SeqCst);
    }

    /// How many changes were made through here: to be asked for ahead of a reading, and given to [`Self::has_read`] behind it.
    pub fn changes(&self) -> u64 {
        self.changes.load(SeqCst)
    }

    /// What is known has been read after so many changes.
    pub fn has_read(&self, changes: u64) {
        self.read.store(changes, SeqCst);
    }

    /// Whether what is known is as young as the last change that was made through here.
    #[inline]
    pub fn is_current(&self) -> bool {
        self.read.load(SeqCst) == self.changes.load(SeqCst)
    }

    /// Waits until a client has.
    pub async fn altered(&self) {
        self.altered.notified().await;
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
