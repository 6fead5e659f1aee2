//! Statements of our own writing, of every kind that PostgreSQL has, before an outside observer.
//!
//! They are those of `src/sql/readonly_corpus.txt`, which the classifier's own tests read as well. Each goes through the
//! closed gate by itself, in both protocols; afterwards, with the gate open and nothing written, directly in READ ONLY.

use crate::compare::{Answer, Difference, Protocol, Tally, leave_block, run, run_by};
use crate::observer::{Slot, Snapshot};
use crate::rules;
use crate::split::Statement;
use crate::stand::{Stand, ask};
use pgsluice::sql::{Kind, LexContext, analyze};
use pgsluice_fixtures::Raw;

const CORPUS: &str = include_str!("../../src/sql/readonly_corpus.txt");
const SETUP: &str = include_str!("../../src/sql/readonly_setup.sql");

/// A statement, and whether it stands in a transaction block.
struct Case {
    in_block: bool,
    statement: Statement,
}

fn cases() -> Vec<Case> {
    let lines = CORPUS.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let case = |(at, line): (usize, &str)| {
        let marked = ["? ", "! ", "@ "].iter().any(|mark| line.starts_with(mark));
        let sql = if marked { &line[2..] } else { line };
        let statement = Statement { sql: sql.to_owned(), data: None, line: at + 1 };
        Case { in_block: line.starts_with("@ "), statement }
    };
    lines.map(case).collect()
}

/// Their texts.
pub fn statements() -> Vec<String> {
    cases().into_iter().map(|case| case.statement.sql).collect()
}

/// The statement by itself, as a session finds it that did nothing before.
fn answer(raw: &mut Raw, protocol: Protocol, case: &Case) -> Answer {
    if case.in_block {
        run(raw, &Statement { sql: "BEGIN".into(), ..Statement::default() });
    }
    let answer = run_by(protocol, raw, &case.statement);
    if answer.state != b'I' {
        leave_block(raw);
    }
    let _ = ask(raw, "DISCARD ALL");
    answer
}

/// What the statements are tried on, and one of everything else that can be altered and dropped.
fn prepare(stand: &Stand) {
    for sql in SETUP.split_inclusive(';').filter(|sql| !sql.trim().is_empty()) {
        // The first lines take away what an earlier run has left.
        let _ = ask(&mut stand.preparer(), sql);
    }
    assert_eq!(stand.psql("SELECT count(*) FROM big"), "1", "the setup");
}

/// Each case in both protocols.
fn each(cases: &[Case]) -> impl Iterator<Item = (&Case, Protocol)> {
    cases.iter().flat_map(|case| [Protocol::Simple, Protocol::Extended].map(|protocol| (case, protocol)))
}

/// The answers to all of them; some end their connection.
fn answers(connect: impl Fn() -> Raw, cases: &[Case]) -> Vec<Answer> {
    let mut raw = connect();
    let mut one = |(case, protocol): (&Case, Protocol)| {
        let said = answer(&mut raw, protocol, case);
        if said.state == b'?' {
            raw = connect();
        }
        said
    };
    each(cases).map(&mut one).collect()
}

fn against_the_truth(extra: &str, name: &str) {
    let stand = Stand::new(extra);
    prepare(&stand);
    let slot = Slot::new(&stand);
    stand.on();
    let before = Snapshot::take(&stand);
    assert_eq!(slot.changes(), [""; 0], "before anything was sent");
    let cases = cases();
    let proxy = answers(|| stand.proxied(), &cases);
    assert_eq!(slot.changes(), [""; 0], "rows were changed");
    assert_eq!(Snapshot::take(&stand).differences(&before), [""; 0], "something was changed");
    stand.off();

    let mut tally = Tally::default();
    let direct = answers(|| stand.truth(), &cases);
    let seen = (slot.changes(), Snapshot::take(&stand).differences(&before));
    assert!(!seen.0.is_empty() && !seen.1.is_empty(), "the observer is blind to what READ ONLY lets through: {seen:?}");
    for (((case, protocol), direct), proxy) in each(&cases).zip(direct).zip(proxy) {
        if direct.outcome == proxy.outcome {
            tally.same(&direct);
            continue;
        }
        let rule = rules::lifts(&proxy).or_else(|| rules::rule(&case.statement.sql, &direct, &proxy, None));
        let place = format!("readonly_corpus.txt:{} {protocol:?}", case.statement.line);
        let sql = case.statement.sql.clone();
        tally.differs(rule, Difference { place, sql, direct: direct.outcome, proxy: proxy.outcome });
    }
    tally.report(name);
    assert!(tally.unknown.is_empty(), "{} differences", tally.unknown.len());
}

#[test]
fn every_kind_of_statement() {
    against_the_truth("", "own corpus, transaction mode");
}

#[test]
fn every_kind_of_statement_in_session_mode() {
    against_the_truth("pool_mode = \"session\"", "own corpus, session mode");
}

/// PostgreSQL 15's command tags (`src/include/tcop/cmdtaglist.h`) without those that no statement can have.
#[test]
fn no_kind_is_missing() {
    let tags: Vec<_> = cases()
        .iter()
        .flat_map(|case| analyze(case.statement.sql.as_bytes(), LexContext::default()).statements.into_vec())
        .filter(|statement| statement.kind != Kind::Unknown)
        .map(|statement| statement.tag)
        .collect();
    let missing: Vec<_> = TAGS.split(';').filter(|tag| !tags.contains(tag)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

const TAGS: &str = "\
    ALTER AGGREGATE;ALTER COLLATION;ALTER CONVERSION;ALTER DATABASE;ALTER DEFAULT PRIVILEGES;ALTER DOMAIN;\
    ALTER EVENT TRIGGER;ALTER EXTENSION;ALTER FOREIGN DATA WRAPPER;ALTER FOREIGN TABLE;ALTER FUNCTION;\
    ALTER INDEX;ALTER LANGUAGE;ALTER LARGE OBJECT;ALTER MATERIALIZED VIEW;ALTER OPERATOR;ALTER OPERATOR CLASS;\
    ALTER OPERATOR FAMILY;ALTER POLICY;ALTER PROCEDURE;ALTER PUBLICATION;ALTER ROLE;ALTER ROUTINE;ALTER RULE;\
    ALTER SCHEMA;ALTER SEQUENCE;ALTER SERVER;ALTER STATISTICS;ALTER SUBSCRIPTION;ALTER SYSTEM;ALTER TABLE;\
    ALTER TABLESPACE;ALTER TEXT SEARCH CONFIGURATION;ALTER TEXT SEARCH DICTIONARY;ALTER TEXT SEARCH PARSER;\
    ALTER TEXT SEARCH TEMPLATE;ALTER TRIGGER;ALTER TYPE;ALTER USER MAPPING;ALTER VIEW;ANALYZE;BEGIN;CALL;\
    CHECKPOINT;CLOSE CURSOR;CLOSE CURSOR ALL;CLUSTER;COMMENT;COMMIT;COMMIT PREPARED;COPY;COPY FROM;\
    CREATE ACCESS METHOD;CREATE AGGREGATE;CREATE CAST;CREATE COLLATION;CREATE CONVERSION;CREATE DATABASE;\
    CREATE DOMAIN;CREATE EVENT TRIGGER;CREATE EXTENSION;CREATE FOREIGN DATA WRAPPER;CREATE FOREIGN TABLE;\
    CREATE FUNCTION;CREATE INDEX;CREATE LANGUAGE;CREATE MATERIALIZED VIEW;CREATE OPERATOR;CREATE OPERATOR CLASS;\
    CREATE OPERATOR FAMILY;CREATE POLICY;CREATE PROCEDURE;CREATE PUBLICATION;CREATE ROLE;CREATE RULE;\
    CREATE SCHEMA;CREATE SEQUENCE;CREATE SERVER;CREATE STATISTICS;CREATE SUBSCRIPTION;CREATE TABLE;\
    CREATE TABLE AS;CREATE TABLESPACE;CREATE TEXT SEARCH CONFIGURATION;CREATE TEXT SEARCH DICTIONARY;\
    CREATE TEXT SEARCH PARSER;CREATE TEXT SEARCH TEMPLATE;CREATE TRANSFORM;CREATE TRIGGER;CREATE TYPE;\
    CREATE USER MAPPING;CREATE VIEW;DEALLOCATE;DEALLOCATE ALL;DECLARE CURSOR;DELETE;DISCARD ALL;DISCARD PLANS;\
    DISCARD SEQUENCES;DISCARD TEMP;DO;DROP ACCESS METHOD;DROP AGGREGATE;DROP CAST;DROP COLLATION;\
    DROP CONVERSION;DROP DATABASE;DROP DOMAIN;DROP EVENT TRIGGER;DROP EXTENSION;DROP FOREIGN DATA WRAPPER;\
    DROP FOREIGN TABLE;DROP FUNCTION;DROP INDEX;DROP LANGUAGE;DROP MATERIALIZED VIEW;DROP OPERATOR;\
    DROP OPERATOR CLASS;DROP OPERATOR FAMILY;DROP OWNED;DROP POLICY;DROP PROCEDURE;DROP PUBLICATION;DROP ROLE;\
    DROP ROUTINE;DROP RULE;DROP SCHEMA;DROP SEQUENCE;DROP SERVER;DROP STATISTICS;DROP SUBSCRIPTION;DROP TABLE;\
    DROP TABLESPACE;DROP TEXT SEARCH CONFIGURATION;DROP TEXT SEARCH DICTIONARY;DROP TEXT SEARCH PARSER;\
    DROP TEXT SEARCH TEMPLATE;DROP TRANSFORM;DROP TRIGGER;DROP TYPE;DROP USER MAPPING;DROP VIEW;EXECUTE;EXPLAIN;\
    FETCH;GRANT;GRANT ROLE;IMPORT FOREIGN SCHEMA;INSERT;LISTEN;LOAD;LOCK TABLE;MERGE;MOVE;NOTIFY;PREPARE;\
    PREPARE TRANSACTION;REASSIGN OWNED;REFRESH MATERIALIZED VIEW;REINDEX;RELEASE;RESET;REVOKE;REVOKE ROLE;\
    ROLLBACK;ROLLBACK PREPARED;SAVEPOINT;SECURITY LABEL;SELECT;SELECT FOR KEY SHARE;SELECT FOR NO KEY UPDATE;\
    SELECT FOR SHARE;SELECT FOR UPDATE;SELECT INTO;SET;SET CONSTRAINTS;SHOW;START TRANSACTION;TRUNCATE TABLE;\
    UNLISTEN;UPDATE;VACUUM";
