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
