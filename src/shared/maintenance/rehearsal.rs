//! MAINTENANCE REHEARSE: what would have been refused in a maintenance, counted while the gate is open.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::shared::handover::counted::CountedStatement;

/// Different statements of different users that are counted apart. What comes after them is counted in one row.
const MOST: usize = 1000;

/// Whose statement it is, and which.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Refused {
    /// The role.
    pub user: Arc<str>,
    /// As the client had set it.
    pub application_name: String,
    /// PostgreSQL's tag of the statement.
    pub tag: String,
    /// The statement without its constants.
    pub statement: String,
}

/// How often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// How often.
    pub count: u64,
    /// For the first time.
    pub first: Timestamp,
    /// For the last time.
    pub last: Timestamp,
}

impl Count {
    /// The same, of another process.
    pub fn of(counted: &CountedStatement) -> Self {
        let at = |micros| Timestamp::from_microsecond(micros).unwrap_or_default();
        Self { count: counted.count, first: at(counted.times.0), last: at(counted.times.1) }
    }

    /// Of no statement in particular, for the process that takes over.
    pub fn counted(self) -> CountedStatement {
        let times = (self.first.as_microsecond(), self.last.as_microsecond());
        CountedStatement { count: self.count, times, ..CountedStatement::default() }
    }

    /// With others.
    pub fn and(self, other: Self) -> Self {
        Self { count: self.count + other.count, first: self.first.min(other.first), last: self.last.max(other.last) }
    }

    /// Adds others.
    pub fn add(&mut self, other: Self) {
        *self = self.and(other);
    }
}

/// The rehearsal of one database.
#[derive(Default)]
pub struct Rehearsal {
    on: AtomicBool,
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    until: Option<Instant>,
    counts: HashMap<Refused, Count>,
    /// What found no room.
    others: Option<Count>,
}

impl Rehearsal {
    /// Whether one runs: one relaxed load. It may have come to its end a moment ago.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.on.load(Relaxed)
    }

    /// Starts one that lasts so long; what an earlier one has counted is forgotten.
    pub fn start(&self, lasts: Duration) {
        let mut notes = self.notes();
        *notes = Notes { until: Instant::now().checked_add(lasts), ..Notes::default() };
        self.on.store(true, Relaxed);
    }

    /// Ends it; what it has counted can still be read.
    pub fn stop(&self) {
        let _notes = self.notes();
        self.on.store(false, Relaxed);
    }

    /// Counts a statement.
    pub fn count(&self, refused: Refused) {
        let mut notes = self.notes();
        if notes.until.is_none_or(|until| Instant::now() >= until) {
            self.on.store(false, Relaxed);
            return;
        }
        let now = Timestamp::now();
        let notes = &mut *notes;
        let room = notes.counts.len() < MOST;
        let count = match notes.counts.get_mut(&refused) {
            Some(known) => known,
            None if room => notes.counts.entry(refused).or_insert(Count { count: 0, first: now, last: now }),
            None => notes.others.get_or_insert(Count { count: 0, first: now, last: now }),
        };
        count.count += 1;
        count.last = now;
    }

    /// How long it goes on, if one runs; for the process that takes over.
    pub fn remains(&self) -> Option<Duration> {
        let notes = self.notes();
        let until = notes.until.filter(|_| self.is_on())?;
        Some(until.saturating_duration_since(Instant::now()))
    }

    /// What was counted, for the process that takes over.
    pub fn counted(&self) -> Vec<CountedStatement> {
        let (counts, others) = self.counts();
        let one = |(refused, count): (Refused, Count)| CountedStatement {
            user: refused.user.to_string(),
            application_name: refused.application_name,
            tag: refused.tag,
            statement: Some(refused.statement),
            ..count.counted()
        };
        counts.into_iter().map(one).chain(others.map(Count::counted)).collect()
    }

    /// What another process has counted before this one.
    pub fn take_counted(&self, counted: &[CountedStatement]) {
        let mut notes = self.notes();
        let notes = &mut *notes;
        for one in counted {
            let more = Count::of(one);
            let refused = one.statement.as_ref().map(|statement| Refused {
                user: one.user.as_str().into(),
                application_name: one.application_name.clone(),
                tag: one.tag.clone(),
                statement: statement.clone(),
            });
            let room = notes.counts.len() < MOST;
            match refused {
                Some(refused) if room || notes.counts.contains_key(&refused) => {
                    notes.counts.entry(refused).and_modify(|known| known.add(more)).or_insert(more);
                }
                _ => _ = notes.others.replace(notes.others.map_or(more, |known| known.and(more))),
            }
        }
    }

    /// What was counted, most often first, and what found no room.
    pub fn counts(&self) -> (Vec<(Refused, Count)>, Option<Count>) {
        let notes = self.notes();
        let mut counts: Vec<_> = notes.counts.iter().map(|(refused, count)| (refused.clone(), *count)).collect();
        counts.sort_by(|(a, n), (b, m)| m.count.cmp(&n.count).then_with(|| a.cmp(b)));
        (counts, notes.others)
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(statement: usize) -> Refused {
        let (user, tag) = ("u".into(), "INSERT".to_owned());
        Refused { user, application_name: String::new(), tag, statement: statement.to_string() }
    }

    #[test]
    fn what_finds_no_room_is_counted_together() {
        let rehearsal = Rehearsal::default();
        rehearsal.start(Duration::from_secs(60));
        for n in 0..MOST + 5 {
            rehearsal.count(refused(n));
            rehearsal.count(refused(7));
        }
        let (counts, others) = rehearsal.counts();
        assert_eq!((counts.len(), others.unwrap().count), (MOST, 5));
        assert_eq!((counts[0].0.statement.as_str(), counts[0].1.count), ("7", MOST as u64 + 6));
        rehearsal.start(Duration::from_secs(60));
        assert!(rehearsal.counts().0.is_empty(), "a new one begins anew");
    }

    #[test]
    fn it_ends_by_itself() {
        let rehearsal = Rehearsal::default();
        rehearsal.start(Duration::ZERO);
        assert!(rehearsal.is_on());
        rehearsal.count(refused(1));
        assert!(!rehearsal.is_on() && rehearsal.counts().0.is_empty());
    }
}
