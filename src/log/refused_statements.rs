//! Statements that pgsluice refuses, and writes that a closed gate keeps out: one line in a second for each user, application and
//! kind, with a count.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two lines about the same.
const PAUSE: Duration = Duration::from_secs(1);
/// Kinds that are told apart; what comes beyond is one kind.
const MOST: usize = 1000;
/// Stands for what is not told apart any more.
const OTHERS: &str = "(others)";
/// Characters of an error's message: what a client named may be in it.
const LONGEST: usize = 200;

/// Who was refused what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Refused {
    /// The database.
    pub database: Arc<str>,
    /// The role.
    pub user: Arc<str>,
    /// As the client has named itself.
    pub application_name: String,
    /// What was refused.
    pub kind: RefusedKind,
}

/// What was refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RefusedKind {
    /// A write, by the tag of its statement, such as `INSERT`.
    Write(String),
    /// Anything else that pgsluice itself answers with an error.
    Error {
        /// The error's SQLSTATE.
        sqlstate: &'static str,
        /// Its message.
        message: String,
    },
}

impl RefusedKind {
    /// An error of that code and message.
    pub fn error(sqlstate: &'static str, message: &str) -> Self {
        Self::Error { sqlstate, message: message.chars().take(LONGEST).collect() }
    }

    /// What stands for all others of the kind.
    fn others(&self) -> Self {
        match self {
            Self::Write(_) => Self::Write(OTHERS.to_owned()),
            Self::Error { .. } => Self::error("", OTHERS),
        }
    }
}

struct Seen {
    logged: Instant,
    /// How often since.
    more: u64,
    /// The last one's address.
    client: String,
}

/// See the module.
#[derive(Default)]
pub struct RefusedStatements {
    seen: Mutex<HashMap<Refused, Seen>>,
    totals: Mutex<HashMap<Counted, u64>>,
}

/// What is counted since the start: fewer kinds than are logged, since they stay.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Counted {
    /// The database.
    pub database: Arc<str>,
    /// As the client has named itself.
    pub application_name: String,
    /// The tag of a write's statement, or the SQLSTATE of another error.
    pub reason: String,
}

/// What is counted apart at most.
const COUNTED: usize = 500;

impl RefusedStatements {
    /// It was refused. True if that is to be logged now.
    fn note(&self, refused: &Refused, client: &str, now: Instant) -> bool {
        let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = all.get_mut(refused) {
            if now.saturating_duration_since(seen.logged) < PAUSE || seen.more > 0 {
                seen.more += 1;
                client.clone_into(&mut seen.client);
                return false;
            }
            seen.logged = now;
            return true;
        }
        if all.len() < MOST {
            all.insert(refused.clone(), Seen { logged: now, more: 0, client: client.to_owned() });
            return true;
        }
        let others = Refused {
            database: OTHERS.into(),
            user: OTHERS.into(),
            application_name: OTHERS.to_owned(),
            kind: refused.kind.others(),
        };
        all.entry(others).or_insert(Seen { logged: now, more: 0, client: String::new() }).more += 1;
        false
    }

    /// RefusedKind has not been logged yet and is due; what was quiet for a while is forgotten.
    fn due(&self, now: Instant) -> Vec<(Refused, String, u64)> {
        let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, seen| seen.more > 0 || now.saturating_duration_since(seen.logged) < PAUSE);
        let due = all.iter_mut().filter(|(_, seen)| now.saturating_duration_since(seen.logged) >= PAUSE);
        due.map(|(refused, seen)| {
            seen.logged = now;
            (refused.clone(), std::mem::take(&mut seen.client), std::mem::take(&mut seen.more))
        })
        .collect()
    }

    /// Logs that something was refused, now or with others.
    pub fn log(&self, refused: &Refused, client: &str) {
        self.count(refused);
        if self.note(refused, client, Instant::now()) {
            line(refused, client, 1);
        }
    }

    fn count(&self, refused: &Refused) {
        let reason = match &refused.kind {
            RefusedKind::Write(tag) => tag.clone(),
            RefusedKind::Error { sqlstate, .. } => (*sqlstate).to_owned(),
        };
        let application_name = refused.application_name.clone();
        let mut counted = Counted { database: refused.database.clone(), application_name, reason };
        let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        if totals.len() >= COUNTED && !totals.contains_key(&counted) {
            OTHERS.clone_into(&mut counted.application_name);
            if totals.len() >= 2 * COUNTED && !totals.contains_key(&counted) {
                counted = Counted { database: OTHERS.into(), reason: OTHERS.to_owned(), ..counted };
            }
        }
        *totals.entry(counted).or_default() += 1;
    }

    /// What has been refused since the start.
    pub fn totals(&self) -> Vec<(Counted, u64)> {
        let totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        let mut totals: Vec<_> = totals.iter().map(|(counted, times)| (counted.clone(), *times)).collect();
        totals.sort();
        totals
    }

    /// Logs what has been refused since the last lines; called about once a second.
    pub fn log_due(&self) {
        self.due(Instant::now()).iter().for_each(|(refused, client, times)| line(refused, client, *times));
    }
}

fn line(refused: &Refused, client: &str, times: u64) {
    let Refused { database, user, application_name, kind } = refused;
    match kind {
        RefusedKind::Write(statement) => tracing::info!(
            event = "write_refused", %database, %user, %application_name, %statement, client, times, "write refused"
        ),
        RefusedKind::Error { sqlstate, message } => tracing::warn!(
            event = "error_sent", %database, %user, %application_name, sqlstate, client, times, error = message,
            "error sent to client"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(application_name: &str, statement: &str) -> Refused {
        Refused {
            database: "db".into(),
            user: "app".into(),
            application_name: application_name.to_owned(),
            kind: RefusedKind::Write(statement.to_owned()),
        }
    }

    #[test]
    fn one_line_in_a_second_for_each_kind_counts_all() {
        let (all, now) = (RefusedStatements::default(), Instant::now());
        let at = |ms| now + Duration::from_millis(ms);
        assert!(all.note(&refused("a", "INSERT"), "c1", at(0)));
        assert!(all.note(&refused("a", "UPDATE"), "c1", at(0)));
        assert!(all.note(&refused("b", "INSERT"), "c1", at(0)));
        assert!(!all.note(&refused("a", "INSERT"), "c2", at(10)));
        assert!(!all.note(&refused("a", "INSERT"), "c3", at(20)));
        assert!(all.due(at(500)).is_empty());
        assert_eq!(all.due(at(1000)), [(refused("a", "INSERT"), "c3".to_owned(), 2)]);
        assert!(!all.note(&refused("a", "INSERT"), "c4", at(1500)), "a second has not passed since");
        assert_eq!(all.due(at(2000)).len(), 1);
        assert!(all.due(at(9000)).is_empty());
        assert!(all.seen.lock().unwrap().is_empty(), "what is quiet is forgotten");
        assert!(all.note(&refused("a", "INSERT"), "c1", at(9001)));
    }

    #[test]
    fn a_thousand_names_are_told_apart_and_no_more() {
        let (all, now) = (RefusedStatements::default(), Instant::now());
        let logged = (0..5000).filter(|n| all.note(&refused(&n.to_string(), "INSERT"), "c", now)).count();
        assert_eq!((logged, all.seen.lock().unwrap().len()), (MOST, MOST + 1));
        let due = all.due(now + PAUSE);
        assert_eq!(due.iter().map(|(_, _, times)| times).sum::<u64>(), 4000);
        assert!(due.iter().any(|(refused, _, _)| &*refused.user == OTHERS));
    }
}
