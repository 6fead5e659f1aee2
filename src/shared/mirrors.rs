//! Reads that are mirrored: of what clients read on a database that is being migrated, a sample is kept for whoever compares the
//! answers of both sides (`proxy/moving/migrate/mirror`).
//!
//! A client puts its sample into a queue when its answer has come, and never waits: what finds no room is not mirrored.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};

use super::Database;
use crate::auth::Credential;
use crate::gate::ServerDatabase;
use crate::server::state::session_vars::Vars;
use crate::sql::LexContext;

/// Samples that may wait for one of those who compare.
const WAITING: usize = 64;
/// A statement and its parameters that are longer are not mirrored (bytes).
pub const LONGEST_SAMPLE: usize = 64 * 1024;
/// Parts of a whole in which a share is given.
pub const WHOLE: u32 = 10_000;
/// Statements with different answers that are listed.
pub const MOST_LISTED: usize = 100;

/// A read that a client has had its answer to.
pub struct Sample {
    /// Its text.
    pub text: Box<[u8]>,
    /// How that is read.
    pub context: LexContext,
    /// Type OIDs of its parameters, as the client gave them.
    pub oids: Box<[u8]>,
    /// Formats and values of its parameters, as in Bind.
    pub values: Box<[u8]>,
    /// Settings of the session.
    pub vars: Vars,
    /// The client's role.
    pub user: Arc<str>,
    /// What it logs in with.
    pub credential: Credential,
    /// The database.
    pub database: Arc<Database>,
}

/// In which way two answers differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// One side gives an error, or another one.
    Error,
    /// Names or types of columns.
    Columns,
    /// The rows.
    Rows,
    /// The same rows in another order than ORDER BY gives on the old side.
    Order,
}

impl Difference {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Columns => "columns",
            Self::Rows => "rows",
            Self::Order => "order",
        }
    }
}

/// A statement whose answers differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Without what it compares.
    pub statement: String,
    /// In which way.
    pub difference: Difference,
    /// How often that was seen.
    pub count: u64,
    /// When last.
    pub last: Timestamp,
}

/// What has become of samples.
#[derive(Debug, Default)]
pub struct Tally {
    /// Both sides have answered.
    pub compared: AtomicU64,
    /// Of those, answers that differ.
    pub different: AtomicU64,
    /// Of those, answers whose rows differ in their order alone.
    pub reordered: AtomicU64,
    /// The rows changed while they were asked for, so nothing can be said.
    pub unclear: AtomicU64,
    /// Not asked for: volatile functions, an answer that is too long, no room in the queue.
    pub left_out: AtomicU64,
    /// A side could not be asked.
    pub failed: AtomicU64,
    found: Mutex<Vec<Found>>,
}

impl Tally {
    /// Statements with different answers, in the order in which they came.
    pub fn found(&self) -> Vec<Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes one. True: it is listed, and was not before.
    pub fn note(&self, statement: String, difference: Difference) -> bool {
        self.different.fetch_add(1, Relaxed);
        if difference == Difference::Order {
            self.reordered.fetch_add(1, Relaxed);
        }
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = found.iter_mut().find(|one| one.difference == difference && one.statement == statement) {
            (known.count, known.last) = (known.count + 1, Timestamp::now());
            return false;
        }
        let room = found.len() < MOST_LISTED;
        if room {
            found.push(Found { statement, difference, count: 1, last: Timestamp::now() });
        }
        room
    }
}

/// Reads of one database are mirrored.
pub struct Mirror {
    /// The database.
    pub place: ServerDatabase,
    /// How many of [`WHOLE`] reads.
    pub share: u32,
    /// What has come of it.
    pub tally: Tally,
    seen: AtomicU64,
    queues: Vec<mpsc::Sender<Sample>>,
    stopped: watch::Sender<bool>,
}

impl Mirror {
    /// One with so many queues, whose other ends it gives.
    pub fn new(place: ServerDatabase, share: u32, queues: usize) -> (Arc<Self>, Vec<mpsc::Receiver<Sample>>) {
        let (queues, ends) = (0..queues).map(|_| mpsc::channel(WAITING)).unzip();
        let (tally, seen, stopped) = (Tally::default(), AtomicU64::new(0), watch::Sender::new(false));
        let one = Self { place, share, tally, seen, queues, stopped };
        (Arc::new(one), ends)
    }

    /// For whoever takes samples: true once that is over. It is kept until they have ended.
    pub fn stopped(&self) -> watch::Receiver<bool> {
        self.stopped.subscribe()
    }

    /// Nothing is asked any more.
    pub fn stop(&self) {
        self.stopped.send_replace(true);
    }

    /// Waits until nobody has what [`Self::stopped`] gave.
    pub async fn ended(&self) {
        self.stopped.closed().await;
    }

    /// Whether the next read is in the sample: of [`WHOLE`], as many as the share says.
    pub fn takes_next(&self) -> bool {
        let (seen, share) = (self.seen.fetch_add(1, Relaxed), u64::from(self.share));
        seen.wrapping_mul(share) % u64::from(WHOLE) + share >= u64::from(WHOLE)
    }

    /// Hands a sample over, if there is room. Samples of one role go to one end, which keeps its connections.
    pub fn offer(&self, sample: Sample) {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(&sample.user);
        let at = usize::try_from(hash).unwrap_or(0).checked_rem(self.queues.len()).unwrap_or(0);
        if self.queues.get(at).is_none_or(|queue| queue.try_send(sample).is_err()) {
            self.tally.left_out.fetch_add(1, Relaxed);
        }
    }
}

/// All that are mirrored now: hardly ever more than none.
#[derive(Default)]
pub struct Mirrors {
    any: AtomicBool,
    all: ArcSwap<Vec<Arc<Mirror>>>,
}

impl Mirrors {
    /// Whether there is any. Asked for each statement.
    #[inline]
    pub fn is_any(&self) -> bool {
        self.any.load(Relaxed)
    }

    /// The one of a database.
    pub fn of(&self, place: &ServerDatabase) -> Option<Arc<Mirror>> {
        self.all.load().iter().find(|one| one.place == *place).cloned()
    }

    /// From now on that one is asked, in the place of another one of its database.
    pub fn put(&self, one: Arc<Mirror>) {
        self.change(|all| {
            all.retain(|known| known.place != one.place);
            all.push(one.clone());
        });
    }

    /// That database's reads are mirrored no more.
    pub fn remove(&self, place: &ServerDatabase) {
        self.change(|all| all.retain(|known| known.place != *place));
    }

    fn change(&self, change: impl Fn(&mut Vec<Arc<Mirror>>)) {
        let after = self.all.rcu(|all| {
            let mut all = Vec::clone(all);
            change(&mut all);
            all
        });
        drop(after);
        self.any.store(!self.all.load().is_empty(), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> ServerDatabase {
        ServerDatabase { cluster: "blue".into(), dbname: name.into() }
    }

    #[test]
    fn of_a_hundred_thousand_as_many_are_taken_as_the_share_says() {
        for share in [1, 7, 100, 5_000, WHOLE] {
            let (one, _ends) = Mirror::new(place("app"), share, 1);
            assert_eq!((0..100_000).filter(|_| one.takes_next()).count(), share as usize * 10);
        }
    }

    #[test]
    fn what_differs_is_listed_once_for_each_statement_and_not_without_end() {
        let tally = Tally::default();
        assert!(tally.note("SELECT $1".into(), Difference::Rows) && tally.note("SELECT $1".into(), Difference::Order));
        assert!(!tally.note("SELECT $1".into(), Difference::Rows));
        for nth in 0..2 * MOST_LISTED {
            tally.note(format!("SELECT {nth}"), Difference::Columns);
        }
        let found = tally.found();
        assert_eq!((found.len(), found[0].count), (MOST_LISTED, 2));
        assert_eq!(tally.different.load(Relaxed), 3 + 2 * MOST_LISTED as u64);
    }

    #[test]
    fn there_is_one_for_a_database_and_none_at_the_end() {
        let mirrors = Mirrors::default();
        assert!(!mirrors.is_any());
        for share in [1, 2] {
            mirrors.put(Mirror::new(place("app"), share, 1).0);
        }
        assert!(mirrors.is_any() && mirrors.of(&place("other")).is_none());
        assert_eq!(mirrors.of(&place("app")).unwrap().share, 2);
        mirrors.remove(&place("app"));
        assert!(!mirrors.is_any() && mirrors.of(&place("app")).is_none());
    }
}
