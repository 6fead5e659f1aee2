//! PAUSE, RESUME, SUSPEND, DISABLE and ENABLE: of one database, and of all.

use std::sync::PoisonError;
use std::sync::atomic::Ordering::SeqCst;

use super::database::{Database, Databases};

impl Database {
    /// Whether PAUSE holds new transactions back.
    pub fn is_paused(&self) -> bool {
        self.paused.load(SeqCst)
    }

    /// PAUSE: true if it was not paused before.
    pub fn pause(&self) -> bool {
        !self.paused.swap(true, SeqCst)
    }

    /// RESUME: true if it was paused before.
    pub fn resume(&self) -> bool {
        let was = self.paused.swap(false, SeqCst);
        self.resumed.notify_waiters();
        was
    }

    /// DISABLE (true) and ENABLE: whether new clients are refused.
    pub fn disable(&self, disabled: bool) {
        self.disabled.store(disabled, SeqCst);
    }

    /// Whether new clients are refused.
    pub fn is_disabled(&self) -> bool {
        self.disabled.load(SeqCst)
    }

    /// Waits for RESUME.
    pub async fn until_resumed(&self) {
        loop {
            let resumed = self.resumed.notified();
            if !self.is_paused() {
                return;
            }
            resumed.await;
        }
    }
}

impl Databases {
    /// PAUSE of all databases, those that come into being later too.
    pub fn pause_all(&self) {
        self.suspended.store(false, SeqCst);
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.paused.store(true, SeqCst);
        self.all().iter().for_each(|database| _ = database.pause());
    }

    /// RESUME of all databases: false if none was paused.
    pub fn resume_all(&self) -> bool {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let was = self.paused.swap(false, SeqCst);
        self.all().iter().fold(was, |was, database| database.resume() | was)
    }

    /// SUSPEND: as [`Self::pause_all`], but nobody closes server connections.
    pub fn suspend_all(&self) {
        self.pause_all();
        self.suspended.store(true, SeqCst);
    }

    /// Whether the pause is a SUSPEND.
    pub fn are_suspended(&self) -> bool {
        self.are_paused() && self.suspended.load(SeqCst)
    }

    /// Whether PAUSE holds all databases.
    pub fn are_paused(&self) -> bool {
        self.paused.load(SeqCst)
    }
}
