//! What is known of a database's own functions, views and operators: whether they lead to an unseen writer, and what they leave
//! behind in the sessions that use them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::{Mutex, Notify, watch};

use super::catalog_changes::CatalogChanges;
use crate::gate::CurrentGate;
use crate::sql::hidden_writers::{HiddenWriters, Routing, SideEffects};

/// Between two looks whether a gate has opened.
const LOOK: Duration = Duration::from_millis(10);

/// How far the catalog of a database is known.
#[derive(Debug)]
pub enum CatalogState {
    /// It has not been asked yet.
    Pending,
    /// It could not be read, and why.
    Unknown(String),
    /// What it says.
    Known(Box<HiddenWriters>),
}

/// What leaves something behind in a session, and the number of the reading, which no other reading has.
#[derive(Debug, Default)]
pub struct Reading {
    /// That number.
    pub number: u64,
    /// What was read.
    pub leavings: SideEffects,
    /// What must not run on a replica, read with it.
    pub routing: Routing,
}

/// One database's.
#[derive(Debug)]
pub struct Catalog {
    known: ArcSwap<CatalogState>,
    changed: Notify,
    /// One question at a time, so that the youngest answer stands; and the fingerprint of what was read.
    pub asking: Mutex<Option<String>>,
    reading: ArcSwap<Reading>,
    /// There is anything in that.
    leaves: AtomicBool,
    /// Some reads must not run on a replica.
    routes: AtomicBool,
    /// It has been read, or could not be.
    tried: AtomicBool,
    altered: Notify,
    /// Somebody is about to drop the database, or needs it to be empty.
    left: watch::Sender<u64>,
    /// Whether what is known is current.
    pub changes: CatalogChanges,
    /// Statements and log-ins that wait for an answer.
    waiting: AtomicUsize,
}

impl Default for Catalog {
    fn default() -> Self {
        Self {
            known: ArcSwap::from_pointee(CatalogState::Pending),
            changed: Notify::new(),
            asking: Mutex::default(),
            reading: ArcSwap::default(),
            leaves: AtomicBool::new(false),
            routes: AtomicBool::new(false),
            tried: AtomicBool::new(false),
            altered: Notify::new(),
            left: watch::Sender::new(0),
            changes: CatalogChanges::default(),
            waiting: AtomicUsize::new(0),
        }
    }
}

impl Catalog {
    /// What is known now.
    #[inline]
    pub fn known(&self) -> Guard<Arc<CatalogState>> {
        self.known.load()
    }

    /// Puts another answer in the place of this one.
    pub fn learn(&self, knowledge: Arc<CatalogState>) {
        self.known.store(knowledge);
        self.changed.notify_waiters();
    }

    /// Whether anything leaves something behind in a session.
    #[inline]
    pub fn leaves(&self) -> bool {
        self.leaves.load(Relaxed)
    }

    /// Whether there are reads that must not run on a replica.
    #[inline]
    pub fn routes(&self) -> bool {
        self.routes.load(Relaxed)
    }

    /// What does.
    pub fn reading(&self) -> Guard<Arc<Reading>> {
        self.reading.load()
    }

    /// Puts another reading in the place of this one.
    pub fn learn_leavings(&self, reading: Arc<Reading>) {
        let (leaves, routes) = (!reading.leavings.is_empty(), !reading.routing.is_empty());
        self.reading.store(reading);
        self.leaves.store(leaves, SeqCst);
        self.routes.store(routes, SeqCst);
        self.tried_leavings();
    }

    /// Whoever waits for the first reading need not wait any longer.
    pub fn tried_leavings(&self) {
        self.tried.store(true, SeqCst);
        self.changed.notify_waiters();
    }

    /// Whether there has been a first reading, good or bad.
    pub fn has_been_tried(&self) -> bool {
        self.tried.load(SeqCst)
    }

    /// Waits for the first reading, good or bad, but not for ever.
    pub async fn first_reading(&self, patience: Duration) {
        let waits = async {
            loop {
                let changed = self.changed.notified();
                if self.has_been_tried() {
                    return;
                }
                changed.await;
            }
        };
        let _ = tokio::time::timeout(patience, waits).await;
    }

    /// A client has altered what is in the catalog.
    pub fn alter(&self) {
        self.changes.outdate();
        self.altered.notify_one();
    }

    /// Waits until a client has.
    pub async fn altered(&self) {
        self.altered.notified().await;
    }

    /// A statement is about to run that fails while anybody is in the database: who asks it ends.
    pub fn leave(&self) {
        self.left.send_modify(|times| *times += 1);
    }

    /// How often that was so: what a connection to the database remembers from the time when it was opened.
    pub fn times_left(&self) -> u64 {
        *self.left.borrow()
    }

    /// Waits until it is so again, if it has not been since then.
    pub async fn left_since(&self, times: u64) {
        // The sender lives as long as this does.
        let _ = self.left.subscribe().wait_for(|now| *now != times).await;
    }

    /// Whether it has not been asked yet.
    #[inline]
    pub fn is_pending(&self) -> bool {
        matches!(**self.known(), CatalogState::Pending)
    }

    /// Whether statements or log-ins wait for an answer.
    pub fn is_awaited(&self) -> bool {
        self.waiting.load(SeqCst) > 0
    }

    /// Notes that a statement or log-in waits, as long as the result lives.
    pub fn wait_for(&self) -> Waiting<'_> {
        Waiting::new(&self.waiting)
    }

    /// Waits until there has been an answer, good or bad, but not for ever.
    pub async fn answered(&self, patience: Duration) {
        if !self.is_pending() {
            return;
        }
        let waits = async {
            loop {
                let changed = self.changed.notified();
                if !self.is_pending() {
                    return;
                }
                changed.await;
            }
        };
        // Boxed: sessions, which hardly ever wait for this, have no room for it.
        let _ = Box::pin(tokio::time::timeout(patience, waits)).await;
    }
}

impl Catalog {
    /// As [`Self::answered`], but once the gate is open nobody depends on it, and nobody may be reading it any more.
    pub async fn answered_unless_open(&self, patience: Duration, gate: &CurrentGate) {
        let opens = async {
            while gate.state().mode.reports_read_only() {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            () = self.answered(patience) => {}
            () = opens => {}
        }
    }
}

/// Counts somebody who waits.
pub struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    /// One more.
    pub fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}
