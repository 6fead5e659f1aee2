//! Someone outside of it all who sees whether anything was written.

use crate::stand::{DATABASE, Stand};
use pgsluice_fixtures::Raw;
use pgsluice_fixtures::raw::QueryResult;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(30);

/// Looks into the write-ahead log for records of transactions that came and went between two moments.
pub struct WriteWatch {
    raw: Raw,
}

/// A moment: the next transaction id, and the end of the write-ahead log.
pub struct Mark {
    next: String,
    lsn: String,
}

impl WriteWatch {
    pub fn new(stand: &Stand) -> WriteWatch {
        WriteWatch { raw: stand.cluster.primary().connect("dba", DATABASE).expect("an observer") }
    }

    fn row(&mut self, sql: &str) -> Vec<String> {
        let results: Vec<QueryResult> = self.raw.query(sql, LONG).unwrap_or_else(|error| panic!("{sql}: {error}"));
        let row = results.into_iter().next().and_then(|result| result.rows.into_iter().next()).unwrap_or_default();
        row.into_iter().map(|value| value.unwrap_or_default()).collect()
    }

    pub fn mark(&mut self) -> Mark {
        let mut row = self.row("SELECT pg_snapshot_xmax(pg_current_snapshot()), pg_current_wal_insert_lsn()");
        let (lsn, next) = (row.pop().unwrap_or_default(), row.pop().unwrap_or_default());
        Mark { next, lsn }
    }

    /// What transactions with an id have written since, apart from the id itself, locks and messages to other
    /// sessions: kinds of records, with their number.
    pub fn written_since(&mut self, mark: &Mark) -> Option<String> {
        // What was not flushed did not commit.
        let now = self.row(&format!(
            "SELECT pg_snapshot_xmax(pg_current_snapshot()), pg_current_wal_flush_lsn(), \
             pg_current_wal_flush_lsn() > '{}'",
            mark.lsn
        ));
        let [next, end, more] = now.as_slice() else { return None };
        if *next == mark.next || more != "t" {
            return None;
        }
        let sql = format!(
            "SELECT string_agg(kind, ', ') FROM (SELECT resource_manager || ' ' || record_type || ': ' || count(*) AS kind \
             FROM pg_get_wal_records_info('{}', '{}') WHERE xid <> '0' \
             AND resource_manager NOT IN ('Transaction', 'Standby') GROUP BY resource_manager, record_type) x",
            mark.lsn, end
        );
        self.row(&sql).pop().filter(|kinds| !kinds.is_empty())
    }
}
