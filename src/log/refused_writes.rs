//! Writes that the gate refuses: one line in a second for each user, application and kind of statement, with a count.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two lines about the same.
const PAUSE: Duration = Duration::from_secs(1);
/// Kinds that are told apart; what comes beyond is one kind.
const MOST: usize = 1000;
/// Stands for what is not told apart any more.
const OTHERS: &str = "(others)";

/// Who writes what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Writer {
    /// The database.
    pub database: Arc<str>,
    /// The role.
    pub user: Arc<str>,
    /// As the client has named itself.
    pub application_name: String,
    /// Such as `INSERT`.
    pub statement: String,
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
pub struct RefusedWrites(Mutex<HashMap<Writer, Seen>>);

impl RefusedWrites {
    /// A write was refused. True if that is to be logged now.
    fn note(&self, writer: &Writer, client: &str, now: Instant) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = all.get_mut(writer) {
            if now.saturating_duration_since(seen.logged) < PAUSE || seen.more > 0 {
                seen.more += 1;
                client.clone_into(&mut seen.client);
                return false;
            }
            seen.logged = now;
            return true;
        }
        if all.len() < MOST {
            all.insert(writer.clone(), Seen { logged: now, more: 0, client: client.to_owned() });
            return true;
        }
        let others = Writer {
            database: OTHERS.into(),
            user: OTHERS.into(),
            application_name: OTHERS.to_owned(),
            statement: OTHERS.to_owned(),
        };
        all.entry(others).or_insert(Seen { logged: now, more: 0, client: String::new() }).more += 1;
        false
    }

    /// What has not been logged yet and is due; what was quiet for a while is forgotten.
    fn due(&self, now: Instant) -> Vec<(Writer, String, u64)> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, seen| seen.more > 0 || now.saturating_duration_since(seen.logged) < PAUSE);
        let due = all.iter_mut().filter(|(_, seen)| now.saturating_duration_since(seen.logged) >= PAUSE);
        due.map(|(writer, seen)| {
            seen.logged = now;
            (writer.clone(), std::mem::take(&mut seen.client), std::mem::take(&mut seen.more))
        })
        .collect()
    }

    /// Logs that a write was refused, now or with others.
    pub fn log(&self, writer: &Writer, client: &str) {
        if self.note(writer, client, Instant::now()) {
            line(writer, client, 1);
        }
    }

    /// Logs what has been refused since the last lines; called about once a second.
    pub fn log_due(&self) {
        self.due(Instant::now()).iter().for_each(|(writer, client, times)| line(writer, client, *times));
    }
}

fn line(writer: &Writer, client: &str, times: u64) {
    tracing::info!(
        event = "write_refused", database = %writer.database, user = %writer.user,
        application_name = %writer.application_name, statement = %writer.statement, client, times, "write refused"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(application_name: &str, statement: &str) -> Writer {
        Writer {
            database: "db".into(),
            user: "app".into(),
            application_name: application_name.to_owned(),
            statement: statement.to_owned(),
        }
    }

    #[test]
    fn one_line_in_a_second_for_each_kind_counts_all() {
        let (refused, now) = (RefusedWrites::default(), Instant::now());
        let at = |ms| now + Duration::from_millis(ms);
        assert!(refused.note(&writer("a", "INSERT"), "c1", at(0)));
        assert!(refused.note(&writer("a", "UPDATE"), "c1", at(0)));
        assert!(refused.note(&writer("b", "INSERT"), "c1", at(0)));
        assert!(!refused.note(&writer("a", "INSERT"), "c2", at(10)));
        assert!(!refused.note(&writer("a", "INSERT"), "c3", at(20)));
        assert!(refused.due(at(500)).is_empty());
        assert_eq!(refused.due(at(1000)), [(writer("a", "INSERT"), "c3".to_owned(), 2)]);
        assert!(!refused.note(&writer("a", "INSERT"), "c4", at(1500)), "a second has not passed since");
        assert_eq!(refused.due(at(2000)).len(), 1);
        assert!(refused.due(at(9000)).is_empty());
        assert!(refused.0.lock().unwrap().is_empty(), "what is quiet is forgotten");
        assert!(refused.note(&writer("a", "INSERT"), "c1", at(9001)));
    }

    #[test]
    fn a_thousand_names_are_told_apart_and_no_more() {
        let (refused, now) = (RefusedWrites::default(), Instant::now());
        let logged = (0..5000).filter(|n| refused.note(&writer(&n.to_string(), "INSERT"), "c", now)).count();
        assert_eq!((logged, refused.0.lock().unwrap().len()), (MOST, MOST + 1));
        let due = refused.due(now + PAUSE);
        assert_eq!(due.iter().map(|(_, _, times)| times).sum::<u64>(), 4000);
        assert!(due.iter().any(|(writer, _, _)| &*writer.user == OTHERS));
    }
}
