//! What a closed gate has kept out, or let through by a rule: counted by user, application and statement while it is closed.
//!
//! Nothing of it is on the way of a statement that passes. What is counted belongs to one epoch: each closing begins anew, and so
//! does the first that is counted in a later epoch. The numbers of a maintenance can still be read when it is over.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::rehearsal::Count;
use crate::gate::Epoch;
use crate::shared::handover::counted::{CountedKeptOut, CountedStatement};

/// Different writes that are counted apart. What comes after them is counted in one row for each fate.
const MOST: usize = 1000;
/// Different SQLSTATEs that are counted apart.
const MOST_CODES: usize = 100;

/// What has become of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fate {
    /// 25006, or its like.
    Refused,
    /// It waits, or has waited.
    Held,
    /// Answered as done.
    Discarded,
    /// Run all the same.
    Allowed,
}

/// Words for them, in their order.
pub const FATES: [&str; 4] = ["refused", "held", "discarded", "allowed"];

/// Whose write, and which.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeptOutWrite {
    /// What has become of it.
    pub fate: Fate,
    /// The role.
    pub user: Arc<str>,
    /// As the client had set it.
    pub application_name: String,
    /// The statement without its constants; None for those that found no room.
    pub statement: Option<String>,
}

/// What was counted in one epoch.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// The epoch.
    pub epoch: Epoch,
    /// For each fate.
    pub totals: [u64; 4],
    /// Each write.
    pub rows: Vec<(KeptOutWrite, Count)>,
    /// Errors other than those of refused writes, by SQLSTATE.
    pub errors: BTreeMap<String, u64>,
    /// Clients whose connection was ended, and not by themselves.
    pub dropped: u64,
}

impl Summary {
    /// Adds what was counted under another name of the same database.
    pub fn add(&mut self, other: Self) {
        if other.epoch > self.epoch {
            *self = other;
            return;
        }
        if other.epoch < self.epoch {
            return;
        }
        for (total, more) in self.totals.iter_mut().zip(other.totals) {
            *total += more;
        }
        self.rows.extend(other.rows);
        self.dropped += other.dropped;
        for (code, count) in other.errors {
            *self.errors.entry(code).or_default() += count;
        }
    }
}

/// See the module.
#[derive(Default)]
pub struct KeptOut(Mutex<Notes>);

#[derive(Default)]
struct Notes {
    epoch: Epoch,
    totals: [u64; 4],
    counts: HashMap<KeptOutWrite, Count>,
    errors: BTreeMap<String, u64>,
    dropped: u64,
}

impl Notes {
    fn put(&mut self, mut write: KeptOutWrite, more: Count) {
        if let Some(total) = self.totals.get_mut(write.fate as usize) {
            *total += more.count;
        }
        if self.counts.len() >= MOST && !self.counts.contains_key(&write) {
            write = KeptOutWrite { user: "".into(), application_name: String::new(), statement: None, ..write };
        }
        self.counts.entry(write).and_modify(|known| known.add(more)).or_insert(more);
    }

    fn put_errors(&mut self, sqlstate: &str, count: u64) {
        let is_new = !self.errors.contains_key(sqlstate);
        let code = if is_new && self.errors.len() >= MOST_CODES { "others" } else { sqlstate };
        *self.errors.entry(code.to_owned()).or_default() += count;
    }
}

impl KeptOut {
    /// Counts a write.
    pub fn count(&self, epoch: Epoch, write: KeptOutWrite) {
        let now = Timestamp::now();
        self.of(epoch).put(write, Count { count: 1, first: now, last: now });
    }

    /// Counts an error of another kind that a client was sent.
    pub fn count_error(&self, epoch: Epoch, sqlstate: &str) {
        self.of(epoch).put_errors(sqlstate, 1);
    }

    /// Counts a client whose connection was ended.
    pub fn count_dropped(&self, epoch: Epoch) {
        self.of(epoch).dropped += 1;
    }

    /// The gate has closed: what an earlier closing has kept out is forgotten.
    pub fn begin(&self, epoch: Epoch) {
        drop(self.of(epoch));
    }

    /// What was counted.
    pub fn summary(&self) -> Summary {
        let notes = self.notes();
        Summary {
            epoch: notes.epoch,
            totals: notes.totals,
            rows: notes.counts.iter().map(|(write, count)| (write.clone(), *count)).collect(),
            errors: notes.errors.clone(),
            dropped: notes.dropped,
        }
    }

    /// What was counted, for the process that takes over.
    pub fn counted(&self) -> CountedKeptOut {
        let Summary { epoch, totals: _, rows, errors, dropped } = self.summary();
        let one = |(write, count): (KeptOutWrite, Count)| {
            let fate = FATES.get(write.fate as usize).copied().unwrap_or_default().to_owned();
            let statement = CountedStatement {
                user: write.user.to_string(),
                application_name: write.application_name,
                statement: write.statement,
                ..count.counted()
            };
            (fate, statement)
        };
        CountedKeptOut { epoch, writes: rows.into_iter().map(one).collect(), errors, dropped }
    }

    /// What another process has counted before this one, unless there is a later epoch by now.
    pub fn take_counted(&self, counted: &CountedKeptOut) {
        let CountedKeptOut { epoch, writes, errors, dropped } = counted;
        let mut notes = self.of(*epoch);
        if notes.epoch > *epoch {
            return;
        }
        for (fate, one) in writes {
            let all = [Fate::Refused, Fate::Held, Fate::Discarded, Fate::Allowed];
            let Some(fate) = all.into_iter().find(|known| FATES.get(*known as usize) == Some(&fate.as_str())) else {
                continue;
            };
            let write = KeptOutWrite {
                fate,
                user: one.user.as_str().into(),
                application_name: one.application_name.clone(),
                statement: one.statement.clone(),
            };
            notes.put(write, Count::of(one));
        }
        for (code, count) in errors {
            notes.put_errors(code, *count);
        }
        notes.dropped += dropped;
    }

    fn of(&self, epoch: Epoch) -> MutexGuard<'_, Notes> {
        let mut notes = self.notes();
        // What is counted late belongs to what is counted now.
        if epoch > notes.epoch {
            *notes = Notes { epoch, ..Notes::default() };
        }
        notes
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_closing_begins_anew_also_if_it_keeps_nothing_out() {
        let kept = KeptOut::default();
        kept.begin(Epoch(1));
        kept.count_error(Epoch(1), "57P03");
        kept.begin(Epoch(1));
        assert_eq!(kept.summary().errors.len(), 1);
        kept.begin(Epoch(3));
        let summary = kept.summary();
        assert_eq!((summary.epoch, summary.errors.len()), (Epoch(3), 0));
    }

    fn write(fate: Fate, statement: usize) -> KeptOutWrite {
        let statement = Some(statement.to_string());
        KeptOutWrite { fate, user: "u".into(), application_name: "a".into(), statement }
    }

    #[test]
    fn what_finds_no_room_is_counted_together_and_a_later_epoch_begins_anew() {
        let kept = KeptOut::default();
        for n in 0..MOST + 5 {
            kept.count(Epoch(1), write(Fate::Refused, n));
            kept.count(Epoch(1), write(Fate::Refused, 7));
        }
        kept.count(Epoch(1), write(Fate::Held, 0));
        let summary = kept.summary();
        assert_eq!(summary.totals, [2 * (MOST as u64 + 5), 1, 0, 0]);
        assert_eq!(summary.rows.len(), MOST + 2);
        let others = summary.rows.iter().find(|(one, _)| one.statement.is_none() && one.fate == Fate::Refused);
        assert_eq!(others.unwrap().1.count, 5);
        kept.count_error(Epoch(2), "08006");
        kept.count_dropped(Epoch(2));
        let summary = kept.summary();
        assert_eq!((summary.epoch, summary.totals, summary.rows.len(), summary.dropped), (Epoch(2), [0; 4], 0, 1));
        assert_eq!(summary.errors["08006"], 1);
    }
}
