//! What a simple query on a replication connection may do.
//! <https://www.postgresql.org/docs/current/protocol-replication.html>

use crate::sql::{Analysis, Kind, Refusal, SessionEffect, Statement, TransactionVerb};

/// What it may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// It reads, and streams what is written anyway.
    Streams,
    /// It changes something: its name in PostgreSQL's error.
    Changes(&'static str),
    /// SQL that touches no table and calls nothing of anybody's: `BEGIN`, `COMMIT`, `SET search_path`, and libpq's own
    /// `SELECT pg_catalog.set_config('search_path', '', false)`.
    Harmless,
    /// Any other SQL, with the tag of the statement that weighs most.
    Sql(&'static str),
}

/// Reads a query. As in PostgreSQL its first word decides whether it is one command of replication's own or SQL.
pub(super) fn read(text: &[u8], analysis: &Analysis) -> Command {
    let text = text.trim_ascii_start();
    let end = text.iter().position(|b| !(b.is_ascii_alphanumeric() || *b == b'_')).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let is = |known: &str| word.eq_ignore_ascii_case(known.as_bytes());
    if is("IDENTIFY_SYSTEM")
        || is("START_REPLICATION")
        || is("TIMELINE_HISTORY")
        || is("READ_REPLICATION_SLOT")
        || is("UPLOAD_MANIFEST")
        || is("SHOW")
    {
        return Command::Streams;
    }
    if is("BASE_BACKUP") {
        return if stays_with_client(rest) { Command::Streams } else { Command::Changes("BASE_BACKUP") };
    }
    if is("CREATE_REPLICATION_SLOT") {
        // What pg_basebackup makes for its own time ends with its connection.
        return if is_for_a_while(rest) { Command::Streams } else { Command::Changes("CREATE_REPLICATION_SLOT") };
    }
    if is("DROP_REPLICATION_SLOT") {
        return Command::Changes("DROP_REPLICATION_SLOT");
    }
    if is("ALTER_REPLICATION_SLOT") {
        return Command::Changes("ALTER_REPLICATION_SLOT");
    }
    if !analysis.ambiguous && analysis.statements.iter().all(is_harmless) {
        return Command::Harmless;
    }
    Command::Sql(analysis.worst().map_or("this statement", |statement| statement.tag))
}

/// Whether a base backup goes to the client: a server may also be told to write it into a folder of its own.
fn stays_with_client(rest: &[u8]) -> bool {
    let rest = rest.to_ascii_lowercase();
    let count = |what: &[u8]| memchr::memmem::find_iter(&rest, what).count();
    // A label that spells it can only make it look like more.
    count(b"target") == count(b"target 'client'") && count(b"target") <= 1
}

/// `name TEMPORARY PHYSICAL`.
fn is_for_a_while(rest: &[u8]) -> bool {
    let mut words = rest.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let name = words.next().unwrap_or_default();
    let is = |word: Option<&[u8]>, known: &str| word.is_some_and(|word| word.eq_ignore_ascii_case(known.as_bytes()));
    !name.is_empty() && is(words.next(), "TEMPORARY") && is(words.next(), "PHYSICAL")
}

fn is_harmless(statement: &Statement) -> bool {
    use TransactionVerb as Verb;
    let plain = statement.refusal == Refusal::Allowed && !statement.contained;
    match &statement.kind {
        Kind::Transaction(Verb::Begin(_) | Verb::Commit { .. } | Verb::Rollback { .. }) => plain,
        Kind::Session => {
            let sets = |one: &SessionEffect| matches!(one, SessionEffect::Set { .. } | SessionEffect::Reset(_));
            plain && !statement.effects.is_empty() && statement.effects.iter().all(sets)
        }
        _ => false,
    }
}

/// What libpq's programs send first of all on a connection to a database.
pub(super) const SECURES_SEARCH_PATH: &[u8] = b"SELECT pg_catalog.set_config('search_path', '', false)";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{Analyzer, LexContext};

    fn kind(sql: &str) -> Command {
        read(sql.as_bytes(), &Analyzer::default().analyze(sql.as_bytes(), LexContext::default()))
    }

    #[test]
    fn what_replication_reads_is_told_from_what_it_changes() {
        for sql in [
            "IDENTIFY_SYSTEM",
            " identify_system;",
            "START_REPLICATION SLOT \"s\" LOGICAL 0/0",
            "BASE_BACKUP ( LABEL 'x',  TARGET 'client')",
            "BASE_BACKUP LABEL 'x' FAST",
            "CREATE_REPLICATION_SLOT \"pg_basebackup_7\" TEMPORARY PHYSICAL ( RESERVE_WAL)",
            "SHOW wal_segment_size",
        ] {
            assert_eq!(kind(sql), Command::Streams, "{sql}");
        }
        for sql in [
            "CREATE_REPLICATION_SLOT s PHYSICAL",
            "CREATE_REPLICATION_SLOT temporary physical",
            "CREATE_REPLICATION_SLOT s TEMPORARY LOGICAL p",
            "DROP_REPLICATION_SLOT s",
            "BASE_BACKUP (TARGET 'server', TARGET_DETAIL '/x')",
            "BASE_BACKUP (LABEL 'target ''client''', TARGET 'server')",
        ] {
            assert!(matches!(kind(sql), Command::Changes(_)), "{sql}");
        }
        for sql in ["BEGIN", "BEGIN READ ONLY ISOLATION LEVEL REPEATABLE READ", "COMMIT", "SET search_path = ''", ""] {
            assert_eq!(kind(sql), Command::Harmless, "{sql}");
        }
        for sql in [
            "SELECT 1",
            "INSERT INTO t VALUES (1)",
            "COPY t TO STDOUT",
            "SET default_transaction_read_only = off",
            "SET ROLE x",
            "BEGIN READ WRITE",
            "BEGIN; DROP TABLE t",
            "/* */ IDENTIFY_SYSTEM",
        ] {
            assert!(matches!(kind(sql), Command::Sql(_)), "{sql}");
        }
    }
}
