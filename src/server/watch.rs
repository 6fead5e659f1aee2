//! What the pools of a server and whoever watches that server tell each other.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use tokio::sync::Notify;

/// In the place of a count, once nobody watches the server any more.
pub(super) const RETIRED: u64 = u64::MAX;

/// One for each server.
#[derive(Debug, Default)]
pub struct Watch {
    turns: AtomicU64,
    /// How often its name has come to lead to another place.
    moves: AtomicU64,
    replica: AtomicBool,
    hurry: Notify,
    seek: Notify,
}

impl Watch {
    /// How often the server was lost, contested or became something else. A connection that was opened before the last time
    /// is not lent any more, and one that a session keeps is checked before it is used.
    #[inline]
    pub fn turns(&self) -> u64 {
        self.turns.load(SeqCst)
    }

    /// The server is not what it was.
    pub fn turn(&self) {
        let next = |turns| if turns == RETIRED { None } else { Some(turns + 1) };
        let _ = self.turns.fetch_update(SeqCst, SeqCst, next);
    }

    /// The server's name leads to another place: connections to the former one are not used any more.
    pub fn move_on(&self) {
        self.moves.fetch_add(1, SeqCst);
        self.turn();
    }

    /// How often that has happened.
    pub fn moves(&self) -> u64 {
        self.moves.load(SeqCst)
    }

    /// Nobody watches the server any more: a connection to it is looked at each time before it is used.
    pub fn retire(&self) {
        self.turns.store(RETIRED, SeqCst);
    }

    /// Whether nobody watches the server any more.
    pub fn is_retired(&self) -> bool {
        self.turns() == RETIRED
    }

    /// Notes whether the server is in recovery.
    pub fn note_replica(&self, replica: bool) {
        self.replica.store(replica, SeqCst);
    }

    /// Whether it is known to be in recovery.
    pub fn is_replica(&self) -> bool {
        self.replica.load(SeqCst)
    }

    /// Asks for a look at the server now.
    pub fn look_now(&self) {
        self.hurry.notify_one();
    }

    /// Asks how far the server has come; what it is need not be looked at for that.
    pub fn seek_position(&self) {
        self.seek.notify_one();
    }

    /// Waits until somebody asks that.
    pub async fn sought(&self) {
        self.seek.notified().await;
    }

    /// Waits until somebody asks for a look.
    pub async fn hurried(&self) {
        self.hurry.notified().await;
    }
}
