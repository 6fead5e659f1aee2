//! Someone outside of it all who sees whether anything was written.

use crate::stand::{DATABASE, Stand};
use pgsluice_fixtures::Raw;
use pgsluice_fixtures::raw::QueryResult;
use std::process::Command;
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

    /// Whether the server process with that pid has ended.
    pub fn is_gone(&mut self, pid: i32) -> bool {
        self.row(&format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}")) == ["0"]
    }

    /// What transactions with an id have written since, apart from the id itself, locks, messages to other sessions, and pages
    /// that whoever reads them tidies up: kinds of records, with their number.
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
             AND resource_manager NOT IN ('Transaction', 'Standby') AND record_type <> 'PRUNE' GROUP BY resource_manager, record_type) x",
            mark.lsn, end
        );
        match self.raw.query(&sql, LONG) {
            Ok(results) => {
                let row = results.into_iter().next().and_then(|result| result.rows.into_iter().next());
                row?.pop()?.filter(|kinds| !kinds.is_empty())
            }
            // The end of a page, too short for a record, is all there is between the two.
            Err(error) if error.to_string().contains("could not find a valid record after") => None,
            Err(error) => panic!("{sql}: {error}"),
        }
    }
}

/// Holds a logical slot: every row that anybody changes in the database from its making on.
pub struct Slot<'a> {
    stand: &'a Stand,
}

impl<'a> Slot<'a> {
    pub fn new(stand: &'a Stand) -> Slot<'a> {
        stand.psql("SELECT 1 FROM pg_create_logical_replication_slot('observer', 'test_decoding')");
        Slot { stand }
    }

    /// Rows changed, sequences aside, which test_decoding does not show, and messages written, since the last look.
    pub fn changes(&self) -> Vec<String> {
        let sql = "SELECT data FROM pg_logical_slot_get_changes('observer', NULL, NULL) \
                   WHERE data NOT LIKE 'BEGIN %' AND data NOT LIKE 'COMMIT %'";
        self.stand.psql(sql).lines().map(str::to_owned).collect()
    }
}

/// All that can be read of the server: what the dump tools write, and what they leave out.
#[derive(PartialEq)]
pub struct Snapshot {
    parts: Vec<(&'static str, String)>,
}

impl Snapshot {
    pub fn take(stand: &Stand) -> Snapshot {
        let mut parts = vec![
            ("pg_dump", dump(stand, "pg_dump", &["-d", DATABASE])),
            ("pg_dumpall --globals-only", dump(stand, "pg_dumpall", &["--globals-only"])),
        ];
        for (name, sql) in BESIDE_THE_DUMP {
            parts.push((name, stand.psql(sql)));
        }
        Snapshot { parts }
    }

    /// The parts that are not as in the other one, with the first line that differs.
    pub fn differences(&self, other: &Snapshot) -> Vec<String> {
        let pairs = self.parts.iter().zip(&other.parts).filter(|(a, b)| a != b);
        let first = |(a, b): (&(&str, String), &(&str, String))| {
            let mut lines = a.1.lines().zip(b.1.lines()).filter(|(a, b)| a != b);
            format!("{}: {:?}", a.0, lines.next())
        };
        pairs.map(first).collect()
    }

    /// How much was compared.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.1.len()).sum()
    }
}

fn dump(stand: &Stand, program: &str, args: &[&str]) -> String {
    let path = stand.cluster.installation().program(program).expect("the dump tools");
    let port = stand.cluster.primary().port().to_string();
    let output = Command::new(path)
        .args(["-h", "127.0.0.1", "-U", "dba", "-p", &port])
        .args(args)
        .env("PGPASSWORD", "dba")
        .output()
        .expect("a dump");
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // Newer ones guard a dump against hostile names with a word of their own each time.
    text.lines()
        .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"))
        .collect::<Vec<_>>()
        .join("\n")
}

const BESIDE_THE_DUMP: [(&str, &str); 8] = [
    ("sequences", "SELECT schemaname, sequencename, last_value FROM pg_sequences ORDER BY 1, 2"),
    ("pg_largeobject", "SELECT loid, pageno, md5(data) FROM pg_largeobject ORDER BY 1, 2"),
    ("pg_largeobject_metadata", "SELECT oid, lomowner::regrole, lomacl FROM pg_largeobject_metadata ORDER BY 1"),
    ("prepared transactions", "SELECT gid FROM pg_prepared_xacts ORDER BY 1"),
    ("replication slots", "SELECT slot_name FROM pg_replication_slots ORDER BY 1"),
    ("replication origins", "SELECT roname FROM pg_replication_origin ORDER BY 1"),
    ("settings of the server's files", "SELECT name, setting FROM pg_file_settings ORDER BY seqno"),
    (
        "relations and their files",
        "SELECT oid, relname, relfilenode FROM pg_class WHERE relnamespace NOT IN \
         (SELECT oid FROM pg_namespace WHERE nspname LIKE 'pg_%temp%') ORDER BY 1",
    ),
];
