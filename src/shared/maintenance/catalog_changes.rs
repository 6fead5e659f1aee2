//! Whether what was read of a database's catalog is current: it was read from the primary, and nothing that went through this proxy
//! has changed the catalog since or is about to.
//!
//! A change counts twice: it is under way from before its statement is sent, and made once the server has answered. A reading that
//! began before a change was made does not cover it, whichever of the two the server ran first.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};

use crate::shared::Database;

/// No server.
const NONE: usize = usize::MAX;

/// See the module.
#[derive(Debug)]
pub struct CatalogChanges {
    under_way: AtomicUsize,
    made: AtomicU64,
    /// How many were made when the last reading began, and the server that it was read from.
    read: AtomicU64,
    read_from: AtomicUsize,
}

impl Default for CatalogChanges {
    fn default() -> Self {
        let (under_way, read_from) = (AtomicUsize::new(0), AtomicUsize::new(NONE));
        Self { under_way, made: AtomicU64::new(0), read: AtomicU64::new(0), read_from }
    }
}

impl CatalogChanges {
    /// Changes made so far: to be asked for ahead of a reading, and given to [`Self::has_read`] behind it.
    pub fn made(&self) -> u64 {
        self.made.load(SeqCst)
    }

    /// The catalog has been read from that server, after so many changes.
    pub fn has_read(&self, made: u64, server: usize) {
        self.read.store(made, SeqCst);
        self.read_from.store(server, SeqCst);
    }

    /// What was read no longer counts, until it has been read again.
    pub fn forget(&self) {
        self.read_from.store(NONE, SeqCst);
    }

    /// What was read is out of date.
    pub fn outdate(&self) {
        self.made.fetch_add(1, SeqCst);
    }

    /// Whether what was read is current, where that server is the primary.
    #[inline]
    pub fn is_current(&self, primary: Option<usize>) -> bool {
        // In this order: a change that is no longer under way has been made.
        self.under_way.load(SeqCst) == 0
            && self.read_from.load(SeqCst) == primary.unwrap_or(NONE - 1)
            && self.read.load(SeqCst) == self.made()
    }
}

/// Something is under way that may change a catalog, for as long as this lives.
pub struct ChangeUnderWay(Box<[Arc<Database>]>);

impl ChangeUnderWay {
    /// It begins, under whatever names the database is known here.
    pub fn begin(databases: impl IntoIterator<Item = Arc<Database>>) -> Self {
        let databases: Box<[_]> = databases.into_iter().collect();
        databases.iter().for_each(|one| _ = one.catalog.changes.under_way.fetch_add(1, SeqCst));
        Self(databases)
    }
}

impl Drop for ChangeUnderWay {
    fn drop(&mut self) {
        for database in &self.0 {
            // Counted first: see `is_current`.
            database.catalog.alter();
            database.catalog.changes.under_way.fetch_sub(1, SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_is_current_until_something_changes() {
        let changes = CatalogChanges::default();
        assert!(!changes.is_current(None) && !changes.is_current(Some(0)));
        changes.has_read(changes.made(), 1);
        assert!(changes.is_current(Some(1)));
        assert!(!changes.is_current(Some(0)) && !changes.is_current(None));
        changes.outdate();
        assert!(!changes.is_current(Some(1)));
    }

    #[test]
    fn a_reading_that_began_before_a_change_was_made_does_not_cover_it() {
        let changes = CatalogChanges::default();
        changes.under_way.fetch_add(1, SeqCst);
        let made = changes.made();
        changes.has_read(made, 0);
        assert!(!changes.is_current(Some(0)), "it is under way");
        changes.outdate();
        changes.under_way.fetch_sub(1, SeqCst);
        assert!(!changes.is_current(Some(0)), "it was made behind the reading");
        changes.has_read(changes.made(), 0);
        assert!(changes.is_current(Some(0)));
    }
}
