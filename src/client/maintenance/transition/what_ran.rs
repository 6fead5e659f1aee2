//! The most that a statement may have done, as far as its text tells: to this transaction, and to what others can read.

use crate::sql::{CopyDirection, Kind, Proven, SessionEffect, Statement, TransactionVerb};

/// The most that the statements of a transaction may have done, as far as their texts tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ran {
    /// They read, and call nothing but what is PostgreSQL's own.
    #[default]
    Reads,
    /// They call who knows what.
    Calls,
    /// They write.
    Writes,
}

/// Whether anything may have been written, as far as reads on replicas have to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wrote {
    /// Nothing.
    #[default]
    Nothing,
    /// Perhaps.
    Perhaps,
    /// The transactions of other sessions too, which were prepared there.
    ForOthers,
}

/// Whether the function of PostgreSQL's own with that OID does nothing but read large objects: pg_dump calls those by number.
pub fn reads_large_objects(oid: u32) -> bool {
    const READERS: [u32; 7] = [952, 953, 954, 956, 958, 3170, 3171];
    READERS.contains(&oid)
}

/// The most that a statement may do, as far as its text tells.
pub fn ran(statement: &Statement) -> Ran {
    match &statement.kind {
        Kind::Write | Kind::Ddl | Kind::Unknown => Ran::Writes,
        Kind::Copy(CopyDirection::FromClient | CopyDirection::FromServer | CopyDirection::ToServer) => Ran::Writes,
        Kind::Read if statement.route == Proven::Read && statement.effects.is_empty() => Ran::Reads,
        Kind::Transaction(_) => Ran::Reads,
        Kind::Session if only_sets(statement) => Ran::Reads,
        Kind::Utility if statement.tag == "SHOW" => Ran::Reads,
        Kind::Read | Kind::Session | Kind::Utility | Kind::Copy(CopyDirection::ToClient) => Ran::Calls,
    }
}

/// Whether a statement may write what others can read.
pub fn wrote(statement: &Statement) -> Wrote {
    // They look at what is there, or change what belongs to the session.
    let of_session = ["PREPARE", "DEALLOCATE", "LISTEN", "UNLISTEN", "RESET", "DISCARD", "CLOSE"];
    let word = statement.tag.split(' ').next().unwrap_or_default();
    match &statement.kind {
        Kind::Transaction(TransactionVerb::CommitPrepared) => Wrote::ForOthers,
        Kind::Session | Kind::Utility if of_session.contains(&word) => Wrote::Nothing,
        _ if ran(statement) == Ran::Reads => Wrote::Nothing,
        _ => Wrote::Perhaps,
    }
}

/// Statements that PostgreSQL runs without a snapshot, besides transaction control.
const WITHOUT_SNAPSHOT: [&str; 11] = [
    "SHOW",
    "FETCH",
    "MOVE",
    "LOCK TABLE",
    "LISTEN",
    "UNLISTEN",
    "NOTIFY",
    "SET",
    "RESET",
    "SET CONSTRAINTS",
    "CHECKPOINT",
];

/// Whether a statement takes a snapshot when it runs: behind it the isolation level cannot be changed. FETCH takes none if its
/// cursor is of an earlier transaction; for one of this transaction, its DECLARE has.
pub fn takes_snapshot(statement: &Statement) -> bool {
    !matches!(statement.kind, Kind::Transaction(_)) && !WITHOUT_SNAPSHOT.contains(&statement.tag)
}

/// Whether a statement takes one as soon as it is parsed or bound.
pub fn takes_snapshot_to_parse(statement: &Statement) -> bool {
    match &statement.kind {
        Kind::Read => takes_snapshot(statement),
        Kind::Write => statement.tag != "TRUNCATE TABLE",
        Kind::Session => statement.tag.starts_with("DECLARE"),
        Kind::Ddl => matches!(statement.tag, "CREATE TABLE AS" | "CREATE MATERIALIZED VIEW"),
        Kind::Utility => statement.tag == "CALL",
        Kind::Transaction(_) | Kind::Copy(_) => false,
        Kind::Unknown => true,
    }
}

/// Whether it makes settings and does nothing else. DECLARE CURSOR has no effect that is known.
pub fn only_sets(statement: &Statement) -> bool {
    !statement.effects.is_empty() && statement.effects.iter().all(|e| matches!(e, SessionEffect::Set { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{Analyzer, LexContext};

    #[test]
    fn what_takes_a_snapshot_and_when() {
        let both = |sql: &str| {
            let analysis = Analyzer::default().analyze(sql.as_bytes(), LexContext::default());
            let one = analysis.single().unwrap();
            (takes_snapshot_to_parse(one), takes_snapshot(one))
        };
        for (sql, to_parse, to_run) in [
            ("SELECT 1", true, true),
            ("VALUES (1)", true, true),
            ("EXPLAIN SELECT 1", true, true),
            ("DECLARE c CURSOR FOR SELECT 1", true, true),
            ("INSERT INTO t VALUES (1)", true, true),
            ("SELECT 1 INTO n", true, true),
            ("CREATE TABLE n AS SELECT 1", true, true),
            ("CALL p()", true, true),
            ("DO 'BEGIN END'", false, true),
            ("TRUNCATE t", false, true),
            ("COPY t TO STDOUT", false, true),
            ("PREPARE x AS SELECT 1", false, true),
            ("EXECUTE x", false, true),
            ("CREATE TABLE n (a int)", false, true),
            ("FETCH c", false, false),
            ("MOVE c", false, false),
            ("LOCK TABLE t", false, false),
            ("LISTEN x", false, false),
            ("NOTIFY x", false, false),
            ("SET work_mem = 1", false, false),
            ("RESET work_mem", false, false),
            ("SET CONSTRAINTS ALL IMMEDIATE", false, false),
            ("SHOW work_mem", false, false),
            ("BEGIN", false, false),
            ("SET TRANSACTION READ ONLY", false, false),
        ] {
            assert_eq!(both(sql), (to_parse, to_run), "{sql}");
        }
    }
}
