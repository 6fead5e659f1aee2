//! A name without a schema can only be what stands in the session's search_path; the server is asked for that.

use crate::hidden_resolution::messages;
use crate::stand::{LONG, Stand, query, sqlstate, talk};
use pgsluice_fixtures::raw::message::{bind, execute, parse, query as q, sync};
use pgsluice_fixtures::{Frame, Raw};

const SCHEMA: &str = "
CREATE SCHEMA evil; CREATE SCHEMA good; CREATE SCHEMA \"Odd \"\"one\"\"\"; CREATE SCHEMA app;
GRANT USAGE ON SCHEMA evil, good, app, \"Odd \"\"one\"\"\" TO app;
CREATE FUNCTION evil.emits(int) RETURNS int LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_logical_emit_message(false, 'hidden', 'message'); RETURN $1; END $$;
CREATE FUNCTION evil.lower(text) RETURNS text LANGUAGE sql AS 'SELECT evil.emits(1)::text';
CREATE FUNCTION evil.of_row(t) RETURNS int LANGUAGE sql AS 'SELECT evil.emits(1)';
CREATE FUNCTION evil.adds(int, int) RETURNS int LANGUAGE sql AS 'SELECT evil.emits(1)';
CREATE OPERATOR evil.+ (FUNCTION = evil.adds, LEFTARG = int, RIGHTARG = int);
CREATE VIEW evil.shown AS SELECT evil.emits(1) AS x;
CREATE DOMAIN evil.checked AS int CHECK (evil.emits(VALUE) > 0);
CREATE FUNCTION good.emits(int) RETURNS int LANGUAGE sql AS 'SELECT 42';
CREATE FUNCTION good.of_row(t) RETURNS int LANGUAGE sql AS 'SELECT 42';
CREATE VIEW good.shown AS SELECT 42 AS x;
CREATE DOMAIN good.checked AS int;
CREATE FUNCTION good.into_evil() RETURNS text LANGUAGE sql AS $$ SELECT set_config('search_path', 'evil', false) $$;
CREATE FUNCTION good.lo_export(int) RETURNS int LANGUAGE sql AS 'SELECT 42';
CREATE FUNCTION good.lo_unlink(oid, int DEFAULT 1) RETURNS int LANGUAGE sql AS 'SELECT 42';
CREATE FUNCTION \"Odd \"\"one\"\"\".emits(int) RETURNS int LANGUAGE sql AS 'SELECT 42';
CREATE FUNCTION app.emits(int) RETURNS int LANGUAGE sql AS 'SELECT 42';
GRANT SELECT ON ALL TABLES IN SCHEMA evil, good TO app;
";

/// Statements that mean another thing in each schema.
const NAMES: &[&str] = &[
    "SELECT emits(1)",
    "SELECT (1).emits",
    "SELECT * FROM emits(1)",
    "SELECT x FROM shown",
    "TABLE shown",
    "SELECT '1'::checked",
    "SELECT checked '1'",
    "SELECT CAST(1 AS checked)",
    "SELECT of_row(t) FROM t",
    "SELECT t.of_row FROM t",
    "SELECT 1 + 1",
    "SELECT lower(v) FROM t",
    "COPY (SELECT emits(1)) TO STDOUT",
    "SELECT count(*) FROM t WHERE emits(id) = 42",
];

/// Ways to make it the path; `{}` is the schema.
const SETS: &[&[&str]] = &[
    &["SET search_path = {}, public"],
    &["SET search_path TO {}, public, pg_catalog"],
    &["SELECT set_config('search_path', '{},public', false)"],
    &["SET search_path = public", "BEGIN", "SET LOCAL search_path = {}, public"],
    &["BEGIN", "SELECT set_config('search_path', '{}, public', true)"],
    &["SET SCHEMA '{}'", "SET search_path TO {}, public"],
];

fn stand(mode: &str) -> Stand {
    let stand = Stand::new(mode);
    let frames = query(&mut stand.operator(), SCHEMA);
    assert_eq!(sqlstate(&frames), "", "{:?}", frames.iter().find_map(Frame::error));
    stand.cluster.wait_for_replay(LONG).expect("a replica that follows");
    let slot = "SELECT pg_create_logical_replication_slot('watch', 'test_decoding')";
    stand.cluster.primary().psql_in("app", slot).expect("a slot");
    stand.on_primary();
    stand
}

fn extended(sql: &str) -> Vec<u8> {
    [parse("", sql, &[]), bind("", "", &[]), execute("", 0), sync()].concat()
}

fn named(sql: &str) -> Vec<u8> {
    [parse("mine", sql, &[]), sync(), bind("", "mine", &[]), execute("", 0), sync()].concat()
}

fn code(raw: &mut Raw, sql: &str, form: usize) -> String {
    let (bytes, readies) = match form {
        0 => (q(sql), 1),
        1 => (extended(sql), 1),
        _ => (named(sql), 2),
    };
    sqlstate(&talk(raw, &bytes, readies))
}

/// What was written, messages in the write-ahead log too.
fn written(stand: &Stand) -> Vec<String> {
    let mut all = stand.everything();
    all.push(messages(stand));
    all
}

fn by_path(mode: &str) {
    let stand = stand(mode);
    let before = written(&stand);
    for sql in NAMES {
        for set in SETS {
            for form in 0..3 {
                for (schema, wanted) in [("good", ""), ("evil", "25006")] {
                    let last = set.last().unwrap();
                    // Ahead of PostgreSQL's own only where it is said so.
                    let own = sql.contains('+') || sql.contains("lower");
                    if own && schema == "evil" && !last.contains("pg_catalog") {
                        continue;
                    }
                    let mut raw = stand.app();
                    for one in *set {
                        let told = talk(&mut raw, &q(&one.replace("{}", schema)), 1);
                        assert_eq!(sqlstate(&told), "", "{one}");
                    }
                    assert_eq!(
                        code(&mut raw, sql, form),
                        wanted,
                        "{mode} {sql} under {schema} by {set:?}, form {form}"
                    );
                }
            }
        }
    }
    assert_eq!(written(&stand), before);
}

#[test]
fn a_name_is_judged_by_the_path_of_its_session_in_transaction_mode() {
    by_path("");
}

#[test]
fn a_name_is_judged_by_the_path_of_its_session_in_session_mode() {
    by_path("pool_mode = \"session\"");
}

#[test]
fn a_path_that_changes_on_the_way_finds_nothing_that_writes() {
    let stand = stand("");
    let before = written(&stand);
    let run = |sql: &str| [parse("", sql, &[]), bind("", "", &[]), execute("", 0)].concat();
    let evil = "SET search_path = evil, public";
    for (what, bytes, readies) in [
        ("a message of two", q(&format!("{evil}; SELECT emits(1)")), 1),
        ("a batch", [run(evil), run("SELECT emits(1)"), sync()].concat(), 1),
        (
            "a batch by set_config",
            [run("SELECT set_config('search_path', 'evil', false)"), run("SELECT emits(1)"), sync()].concat(),
            1,
        ),
        ("a batch by a function", [run("SELECT good.into_evil()"), run("SELECT emits(1)"), sync()].concat(), 1),
        ("messages", [q(evil), q("SELECT emits(1)")].concat(), 2),
        ("a function's, and the next message", [q("SELECT good.into_evil()"), q("SELECT emits(1)")].concat(), 2),
        (
            "bound under the other",
            [parse("s", "SELECT emits(1)", &[]), sync(), q(evil), bind("", "s", &[]), execute("", 0), sync()].concat(),
            3,
        ),
        (
            "executed under the other",
            [
                run("BEGIN"),
                sync(),
                q(evil),
                parse("s", "SELECT emits(1)", &[]),
                bind("c", "s", &[]),
                run("SET search_path = good"),
                execute("c", 0),
                sync(),
            ]
            .concat(),
            3,
        ),
        ("prepared in SQL", [q("PREPARE p AS SELECT emits(1)"), q(evil), q("EXECUTE p")].concat(), 3),
        (
            "while it runs",
            q("SELECT set_config('search_path', 'evil', false), array_in('{1}', 'checked'::regtype::oid, -1)"),
            1,
        ),
        (
            "text that is run",
            q("SELECT set_config('search_path', 'evil', false), query_to_xml('SELECT emits(1)', true, true, '')"),
            1,
        ),
        ("a DO", q("DO $$ BEGIN SET search_path = evil; PERFORM emits(1); END $$"), 1),
        ("by its schema", q("SELECT evil.emits(1)"), 1),
        ("a relation by its schema", q("SELECT x FROM evil.shown"), 1),
    ] {
        let mut raw = stand.app();
        assert_eq!(sqlstate(&talk(&mut raw, &q("SET search_path = good, public"), 1)), "");
        let told: Vec<Frame> = talk(&mut raw, &bytes, readies);
        assert!(!sqlstate(&told).is_empty(), "{what}");
        assert_eq!(written(&stand), before, "{what}");
    }
}

#[test]
fn a_sessions_own_path_is_found_by_role_and_quoted_names() {
    let stand = stand("");
    for (set, wanted) in [
        ("SET search_path = \"$user\", public", ""),
        ("SET search_path = \"Odd \"\"one\"\"\", good", ""),
        ("SET search_path = \"EVIL\", app", ""),
        ("SET search_path = EVIL, app", "25006"),
        ("RESET search_path", ""),
        ("SET search_path = ''", "42883"),
    ] {
        let mut raw = stand.app();
        assert_eq!(sqlstate(&talk(&mut raw, &q(set), 1)), "", "{set}");
        assert_eq!(sqlstate(&talk(&mut raw, &q("SELECT emits(1)"), 1)), wanted, "{set}");
    }
    stand.off();
    query(&mut stand.operator(), "ALTER ROLE app SET search_path = evil");
    stand.console("RECONNECT app");
    stand.on_primary();
    assert_eq!(sqlstate(&talk(&mut stand.app(), &q("SELECT emits(1)"), 1)), "25006", "of the role");
}

#[test]
fn what_only_has_the_name_of_a_writer_of_postgresqls_own_is_told_by_its_arguments() {
    let stand = stand("");
    for path in ["good, public", "good, pg_catalog", "public, good"] {
        for (sql, wanted) in [
            ("SELECT lo_export(1)", ""),
            ("SELECT lo_unlink(1::oid, 2)", ""),
            ("SELECT lo_export(1) FROM public.t", ""),
            ("SELECT lo_export(1::oid, '/nowhere/file')", "25006"),
            ("SELECT lo_unlink(1::oid)", "25006"),
            ("SELECT lo_export(1), lo_create(0)", "25006"),
        ] {
            for form in 0..3 {
                let mut raw = stand.app();
                assert_eq!(sqlstate(&talk(&mut raw, &q(&format!("SET search_path = {path}")), 1)), "");
                let told = code(&mut raw, sql, form);
                // Its right to call it is looked at when a statement is bound.
                let right = wanted == "25006" && form > 0 && told == "42501";
                assert!(told == wanted || right, "{sql} under {path}, form {form}: {told}");
            }
        }
    }
}
