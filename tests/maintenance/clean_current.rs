//! What is known of the catalog has to be current for a read to pass without a question: whatever changes what a text comes to, by
//! whoever and however, ends that, and until the change is known nothing of the kind passes.

use crate::stand::{LONG, Stand, query, sqlstate, talk};
use crate::ways_around_schema::run;
use pgsluice_fixtures::cluster::Mode;
use pgsluice_fixtures::raw::message::{bind, describe_portal, execute, function_call, parse, query as q, sync};
use pgsluice_fixtures::{Raw, wait};
use std::time::Duration;

const SCHEMA: &str = "
CREATE FUNCTION large() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN CASE WHEN lo_create(0) > 0 THEN 1 END; END $$;
CREATE FUNCTION large_if(boolean) RETURNS int LANGUAGE plpgsql AS $$ BEGIN IF $1 THEN RETURN large(); END IF; RETURN 1; END $$;
CREATE FUNCTION now_large(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN EXECUTE $1; RETURN $1; END $$;
CREATE TABLE protected (id int, v text);
INSERT INTO protected VALUES (1, 'x');
ALTER TABLE protected ENABLE ROW LEVEL SECURITY;
CREATE POLICY everybody ON protected USING (id > 0);
CREATE FUNCTION plain(int) RETURNS int LANGUAGE sql AS 'SELECT $1 + 1';
CREATE FUNCTION calls_plain(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN plain($1); END';
CREATE VIEW changing AS SELECT 1 AS x;
CREATE DOMAIN word AS text;
CREATE TABLE words (w word);
GRANT ALL ON protected, changing, words TO app;
";

/// What an operator may do, each with a read that it makes a writer.
const CHANGES: [(&str, &str); 11] = [
    ("CREATE FUNCTION lower(int, int) RETURNS int LANGUAGE sql AS 'SELECT large()'", "SELECT lower(1, 2)"),
    (
        "CREATE FUNCTION is_large(int, text) RETURNS bool LANGUAGE sql AS 'SELECT large() > 0'",
        "SELECT is_large(1, 'x')",
    ),
    ("CREATE OPERATOR < (FUNCTION = is_large, LEFTARG = int, RIGHTARG = text)", "SELECT 1 < 'a'::text"),
    ("CREATE FUNCTION pg_catalog.abs(text) RETURNS int LANGUAGE sql AS 'SELECT large()'", "SELECT abs('a'::text)"),
    ("CREATE DOMAIN large_one AS int CHECK (is_large(VALUE, ''))", "SELECT '1'::large_one"),
    ("ALTER DOMAIN word ADD CHECK (is_large(1, VALUE))", "SELECT 'a'::word"),
    ("CREATE OR REPLACE VIEW changing AS SELECT large() AS x", "SELECT x FROM changing"),
    ("CREATE OR REPLACE FUNCTION plain(int) RETURNS int LANGUAGE sql AS 'SELECT large()'", "SELECT calls_plain(1)"),
    ("ALTER POLICY everybody ON protected USING (large() > 0)", "SELECT v FROM protected"),
    ("CREATE AGGREGATE max(int, int) (SFUNC = lower_of, STYPE = int)", "SELECT max(1, 2)"),
    ("CREATE CAST (text AS point) WITH FUNCTION to_point(text) AS IMPLICIT", "SELECT 'a'::text::point"),
];

const FOR_CHANGES: &str = "
CREATE FUNCTION lower_of(int, int, int) RETURNS int LANGUAGE sql AS 'SELECT large()';
CREATE FUNCTION to_point(text) RETURNS point LANGUAGE sql AS 'SELECT point(large(), 1)';
";

fn large_objects(stand: &Stand) -> String {
    stand.cluster.primary().psql_in("app", "SELECT count(*) FROM pg_largeobject_metadata").expect("an observer")
}

/// What the server ran last for the application's role.
fn last(stand: &Stand) -> String {
    let sql = "SELECT query FROM pg_stat_activity WHERE usename = 'app' ORDER BY query_start DESC NULLS LAST LIMIT 1";
    stand.cluster.primary().psql_in("app", sql).expect("an observer")
}

/// Whether a read passes as it is.
fn passes(stand: &Stand, app: &mut Raw, sql: &str) -> bool {
    run(app, sql);
    last(stand) == sql
}

/// Waits until what is known is current.
fn settled(stand: &Stand, app: &mut Raw) {
    wait::until(LONG, "knowledge of the catalog", || passes(stand, app, "SELECT 4711").then_some(()));
}

fn extended(sql: &str) -> Vec<u8> {
    [parse("", sql, &[]), bind("", "", &[]), describe_portal(""), execute("", 0), sync()].concat()
}

fn stand(extra: &str) -> Stand {
    let stand = Stand::new(extra);
    run(&mut stand.operator(), SCHEMA);
    run(&mut stand.operator(), FOR_CHANGES);
    stand.on_primary();
    stand
}

fn every_way_of_changing(mode: &str) {
    let stand = stand(&format!("pool_mode = \"{mode}\""));
    let (mut app, mut operator) = (stand.app(), stand.operator());
    let before = large_objects(&stand);
    for (number, (change, read)) in CHANGES.into_iter().enumerate() {
        // Some of it is not there before the change: then it is not known, and asked about.
        let name = format!("p{number}");
        let prepared = talk(&mut app, &[parse(&name, read, &[]), sync()].concat(), 1);
        settled(&stand, &mut app);
        match number % 5 {
            0 => run(&mut operator, change),
            1 => assert_eq!(sqlstate(&talk(&mut operator, &extended(change), 1)), ""),
            2 => run(&mut operator, &format!("SELECT now_large($${change}$$)")),
            3 => run(&mut operator, &format!("BEGIN; {change}; COMMIT; SELECT 1")),
            _ => {
                let many = [q("SELECT 1"), q("BEGIN"), q(change), q("COMMIT")].concat();
                assert_eq!(sqlstate(&talk(&mut operator, &many, 4)), "");
            }
        }
        let simple = query(&mut app, read);
        assert_eq!(sqlstate(&simple), "25006", "{mode}, simple: {read}");
        assert_eq!(sqlstate(&talk(&mut app, &extended(read), 1)), "25006", "{mode}, extended: {read}");
        if sqlstate(&prepared).is_empty() {
            let again = [bind("", &name, &[]), execute("", 0), sync()].concat();
            // PostgreSQL plans nothing anew for a cast: what was prepared fails by itself then.
            assert_ne!(sqlstate(&talk(&mut app, &again, 1)), "", "{mode}, prepared: {read}");
        }
        assert_eq!(large_objects(&stand), before, "{mode}: {read}");
    }
    // Once it is known the same is refused. A cast between types of PostgreSQL's own could be anywhere: nothing is clean with one.
    assert!(!passes(&stand, &mut app, "SELECT 4711"));
    run(&mut operator, "DROP CAST (text AS point)");
    settled(&stand, &mut app);
    for (_, read) in CHANGES.into_iter().rev().skip(1) {
        assert_eq!(sqlstate(&query(&mut app, read)), "25006", "{mode}, known: {read}");
    }
    assert_eq!(large_objects(&stand), before);
}

#[test]
fn what_an_operator_makes_counts_at_once_in_transaction_mode() {
    every_way_of_changing("transaction");
}

#[test]
fn what_an_operator_makes_counts_at_once_in_session_mode() {
    every_way_of_changing("session");
}

#[test]
fn what_an_operator_makes_counts_at_once_in_statement_mode() {
    every_way_of_changing("statement");
}

#[test]
fn while_an_operator_has_a_transaction_open_reads_are_asked_about() {
    let stand = stand("");
    let (mut app, mut operator) = (stand.app(), stand.operator());
    settled(&stand, &mut app);
    run(&mut operator, "SELECT 1");
    assert!(passes(&stand, &mut app, "SELECT 2"), "a plain read of an operator's changes nothing");
    for begin in ["BEGIN", "BEGIN; SELECT 1"] {
        run(&mut operator, begin);
        run(&mut operator, "SELECT count(*) FROM t");
        assert!(!passes(&stand, &mut app, "SELECT 3"), "it may commit at any moment");
        run(&mut operator, "COMMIT");
        settled(&stand, &mut app);
    }
    // A function is called by its number, and a client goes in the middle of a transaction.
    let oid: u32 = stand.cluster.primary().psql_in("app", "SELECT 'now_large'::regproc::oid").unwrap().parse().unwrap();
    let before = large_objects(&stand);
    let change = b"CREATE OR REPLACE VIEW changing AS SELECT large() AS x";
    assert_eq!(sqlstate(&talk(&mut operator, &function_call(oid, &[Some(change)]), 1)), "");
    assert_eq!(sqlstate(&query(&mut app, "SELECT x FROM changing")), "25006");
    assert_eq!(large_objects(&stand), before);
    run(&mut operator, "BEGIN");
    run(&mut operator, "CREATE TABLE halfway (id int)");
    drop(operator);
    settled(&stand, &mut app);
}

#[test]
fn what_is_changed_under_another_name_of_the_database_counts_at_once() {
    let mut stand = Stand::new("");
    stand.configure("[databases.alias]\ndbname = \"app\"");
    stand.console("RELOAD");
    run(&mut stand.operator(), SCHEMA);
    stand.on_primary();
    let (mut app, mut operator) = (stand.app(), stand.connect("dba", "dba", "alias"));
    let before = large_objects(&stand);
    for _ in 0..3 {
        run(&mut operator, "CREATE OR REPLACE VIEW changing AS SELECT 1 AS x");
        wait::until(LONG, "a read that passes", || passes(&stand, &mut app, "SELECT x FROM changing").then_some(()));
        run(&mut operator, "CREATE OR REPLACE VIEW changing AS SELECT large() AS x");
        assert_eq!(sqlstate(&query(&mut app, "SELECT x FROM changing")), "25006");
    }
    assert_eq!(large_objects(&stand), before);
}

#[test]
fn what_is_changed_past_the_proxy_counts_a_moment_later() {
    let stand = stand("");
    let mut app = stand.app();
    settled(&stand, &mut app);
    assert!(passes(&stand, &mut app, "SELECT x FROM changing"));
    // It writes nothing yet, but could.
    stand.cluster.primary().psql_in("app", "CREATE OR REPLACE VIEW changing AS SELECT large_if(false) AS x").unwrap();
    wait::until(Duration::from_secs(2), "the change is known", || {
        (!passes(&stand, &mut app, "SELECT x FROM changing")).then_some(())
    });
    // What it does not concern passes.
    settled(&stand, &mut app);
    let before = large_objects(&stand);
    stand.cluster.primary().psql_in("app", "CREATE OR REPLACE VIEW changing AS SELECT large_if(true) AS x").unwrap();
    assert_eq!(sqlstate(&query(&mut app, "SELECT x FROM changing")), "25006");
    assert_eq!(large_objects(&stand), before);
}

#[test]
fn what_a_session_has_set_does_not_change_what_is_clean() {
    for mode in ["transaction", "session"] {
        let stand = stand(&format!("pool_mode = \"{mode}\""));
        let mut operator = stand.operator();
        run(&mut operator, "CREATE SCHEMA hostile; GRANT ALL ON SCHEMA hostile TO app");
        run(&mut operator, "CREATE FUNCTION hostile.lower(text) RETURNS text LANGUAGE sql AS 'SELECT large()::text'");
        run(&mut operator, "CREATE VIEW hostile.t AS SELECT large() AS id");
        run(&mut operator, "GRANT ALL ON hostile.t TO app");
        let mut app = stand.app();
        settled(&stand, &mut app);
        let before = large_objects(&stand);
        run(&mut app, "SET search_path = hostile, pg_catalog, public");
        for sql in ["SELECT lower('X')", "SELECT id FROM t", "SELECT * FROM hostile.t", "TABLE t"] {
            assert_eq!(sqlstate(&query(&mut app, sql)), "25006", "{mode}: {sql}");
            assert_eq!(sqlstate(&talk(&mut app, &extended(sql), 1)), "25006", "{mode}: {sql}");
        }
        assert_eq!(sqlstate(&query(&mut app, "SELECT count(*) FROM public.t")), "");
        // What lowers the guard is none of the kind, and a clean read behind it does not lift it further.
        let _ = query(&mut app, "SELECT lifts()");
        if mode == "transaction" {
            run(&mut app, "SELECT 1");
            assert_eq!(sqlstate(&query(&mut app, "INSERT INTO public.t VALUES (77)")), "25006");
        }
        assert_eq!(large_objects(&stand), before, "{mode}");
    }
}

#[test]
fn a_promoted_replica_is_believed_once_its_own_catalog_has_been_read() {
    let stand = Stand::new("");
    let (primary, replica) = (stand.cluster.primary(), stand.cluster.replica(0));
    run(&mut stand.operator(), SCHEMA);
    run(&mut stand.operator(), "CREATE OR REPLACE VIEW changing AS SELECT large() AS x");
    stand.cluster.wait_for_replay(LONG).expect("a replica that follows");
    stand.on_primary();
    replica.stop(Mode::Fast).expect("a replica that stops");
    // The replica never hears of it.
    run(&mut stand.operator(), "CREATE OR REPLACE VIEW changing AS SELECT 1 AS x");
    let mut app = stand.app();
    wait::until(LONG, "a read that passes", || passes(&stand, &mut app, "SELECT x FROM changing").then_some(()));
    primary.stop(Mode::Immediate).expect("a primary that stops");
    replica.start().expect("a replica that starts");
    replica.promote().expect("a replica that is promoted");
    let large = "SELECT count(*) FROM pg_largeobject_metadata";
    let before = replica.psql_in("app", large).expect("an observer");
    for _ in 0..200 {
        let mut app = stand.app();
        assert_eq!(sqlstate(&query(&mut app, "SELECT x FROM changing")), "25006");
    }
    assert_eq!(replica.psql_in("app", large).expect("an observer"), before);
}
