//! What a statement can run by its form: a dump of a table is not refused for what only a write to it would run.

use crate::stand::{Stand, sqlstate, talk};
use crate::ways_around_schema::run;
use pgsluice_fixtures::raw::message::{bind, execute, parse, query as q, sync};

const SCHEMA: &str = "
CREATE FUNCTION emits() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_logical_emit_message(true, 'a', 'b'); RETURN 1; END $$;
CREATE FUNCTION emits(int) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_logical_emit_message(true, 'a', 'b'); RETURN true; END $$;
CREATE FUNCTION outbox() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_logical_emit_message(true, 'outbox', new::text); RETURN new; END $$;
CREATE TABLE msg (id int DEFAULT emits(), body text);
INSERT INTO msg VALUES (1, 'one'), (2, 'two');
CREATE TRIGGER outbox BEFORE INSERT OR UPDATE OR DELETE ON msg FOR EACH ROW EXECUTE FUNCTION outbox();
CREATE TABLE policed (id int);
INSERT INTO policed VALUES (1);
ALTER TABLE policed ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON policed USING (emits() = 1);
CREATE TABLE checked (id int CHECK (emits(id)));
CREATE VIEW emitting AS SELECT emits() AS x;
CREATE FUNCTION prepares() RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'PREPARE unseen AS SELECT emits()'; RETURN 1; END $$;
GRANT ALL ON ALL TABLES IN SCHEMA public TO app;
";

/// What reads a table without running anything of it that writes.
const RUNS: &[&str] = &[
    "COPY public.msg TO STDOUT",
    "COPY public.msg (id, body) TO STDOUT",
    "COPY msg TO STDOUT WITH (FORMAT csv, HEADER)",
    "COPY (SELECT * FROM public.msg) TO STDOUT",
    "COPY (SELECT id FROM msg WHERE body = 'from') TO STDOUT (FORMAT binary)",
    "SELECT * FROM msg",
    "LOCK TABLE public.msg IN ACCESS SHARE MODE",
    "LOCK msg, checked IN ACCESS SHARE MODE",
];

/// What runs a writer all the same, or is a write.
const REFUSED: &[&str] = &[
    "COPY policed TO STDOUT",
    "COPY (SELECT * FROM policed) TO STDOUT",
    "COPY (SELECT * FROM emitting) TO STDOUT",
    "COPY (SELECT emits()) TO STDOUT",
    "COPY (INSERT INTO msg VALUES (3) RETURNING id) TO STDOUT",
    "COPY (WITH w AS (DELETE FROM msg RETURNING id) SELECT * FROM w) TO STDOUT",
    "COPY msg TO PROGRAM 'cat'",
    "COPY msg FROM STDIN",
    "INSERT INTO msg VALUES (3)",
    "SELECT * FROM emitting",
];

#[test]
fn a_table_is_dumped_though_a_write_to_it_would_run_an_unseen_writer() {
    let stand = Stand::new("default_pool_size = 4\ncatalog_check_interval = \"1s\"");
    run(&mut stand.operator(), SCHEMA);
    stand.console("MAINTENANCE ON app WITH (reads primary)");
    let extended = |sql: &str| [parse("", sql, &[]), bind("", "", &[]), execute("", 0), sync()].concat();
    for (statements, right) in [(RUNS, ""), (REFUSED, "25006")] {
        for sql in statements {
            for by_extended in [false, true] {
                let mut app = stand.app();
                assert_eq!(sqlstate(&talk(&mut app, &q("BEGIN"), 1)), "");
                let bytes = if by_extended { extended(sql) } else { q(sql) };
                assert_eq!(sqlstate(&talk(&mut app, &bytes, 1)), right, "{sql}, extended: {by_extended}");
            }
        }
    }
    stand.console("MAINTENANCE OFF app");
}

#[test]
fn a_name_that_was_never_prepared_is_unknown_and_what_a_function_has_prepared_is_refused() {
    let stand = Stand::new("default_pool_size = 4\npool_mode = \"session\"\ncatalog_check_interval = \"1s\"");
    run(&mut stand.operator(), SCHEMA);
    let mut app = stand.app();
    assert_eq!(sqlstate(&talk(&mut app, &q("SELECT prepares()"), 1)), "");
    stand.console("MAINTENANCE ON app WITH (reads primary)");
    let by_extended = |sql: &str| [parse("", sql, &[]), bind("", "", &[]), execute("", 0), sync()].concat();
    let by_name = |name: &str| [bind("", name, &[]), execute("", 0), sync()].concat();
    for (name, right) in [("nope", "26000"), ("unseen", "25006"), ("\"No pe\"", "26000")] {
        let sql = format!("EXECUTE {name}");
        for bytes in [q(&sql), by_extended(&sql), by_name(name.trim_matches('"'))] {
            let frames = talk(&mut app, &bytes, 1);
            assert_eq!(sqlstate(&frames), right, "{sql}: {}", bytes.escape_ascii());
            assert_eq!(sqlstate(&talk(&mut app, &q("SELECT 1"), 1)), "");
        }
        assert_eq!(sqlstate(&talk(&mut app, &q("BEGIN"), 1)), "");
        assert_eq!(sqlstate(&talk(&mut app, &q(&sql), 1)), right, "{sql} in a block");
        assert_eq!(sqlstate(&talk(&mut app, &q("ROLLBACK"), 1)), "");
    }
    stand.console("MAINTENANCE OFF app");
}
