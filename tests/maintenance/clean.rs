//! Reads that the catalog shows to write nothing are not asked about: they reach the server as they were sent. Whatever changes the
//! catalog through the proxy ends that before whoever changed it has the answer.

use crate::stand::{LONG, Stand, query, sqlstate, talk};
use crate::ways_around_schema::run;
use pgsluice_fixtures::raw::message::{bind, execute, parse, query as q, sync};
use pgsluice_fixtures::{Raw, wait};

const SCHEMA: &str = "
CREATE FUNCTION adds(int, int) RETURNS int LANGUAGE sql AS 'SELECT $1 + $2';
CREATE FUNCTION large() RETURNS oid LANGUAGE plpgsql AS $$ BEGIN RETURN lo_create(0); END $$;
CREATE FUNCTION lower(int, int) RETURNS oid LANGUAGE sql AS 'SELECT lo_create(0)';
CREATE FUNCTION large_op(int, text) RETURNS bool LANGUAGE sql AS 'SELECT lo_create(0) > 0';
CREATE OPERATOR <= (FUNCTION = large_op, LEFTARG = int, RIGHTARG = text);
CREATE FUNCTION large_check(int) RETURNS bool LANGUAGE sql AS 'SELECT lo_create(0) > 0';
CREATE DOMAIN large_domain AS int CHECK (large_check(VALUE));
CREATE FUNCTION builds(text) RETURNS int LANGUAGE plpgsql AS $$ DECLARE n int; BEGIN EXECUTE 'SELECT ' || $1 INTO n; RETURN n; END $$;
CREATE VIEW large_view AS SELECT large() AS x;
CREATE VIEW direct_view AS SELECT lo_create(0) AS x;
CREATE VIEW harmless AS SELECT adds(id, 1) AS x FROM t;
CREATE VIEW changing AS SELECT 1 AS x;
GRANT SELECT ON large_view, direct_view, harmless, changing TO app;
";

/// What the server ran last for the application's role.
fn last(stand: &Stand) -> String {
    let sql = "SELECT query FROM pg_stat_activity WHERE usename = 'app' ORDER BY query_start DESC NULLS LAST LIMIT 1";
    stand.cluster.primary().psql_in("app", sql).expect("an observer")
}

fn large_objects(stand: &Stand) -> String {
    stand.cluster.primary().psql_in("app", "SELECT count(*) FROM pg_largeobject_metadata").expect("an observer")
}

fn stand(mode: &str) -> Stand {
    let stand = Stand::new(&format!("pool_mode = \"{mode}\""));
    run(&mut stand.operator(), SCHEMA);
    stand.on_primary();
    stand
}

/// Waits until what is known is as young as the last change that was made through the proxy.
fn settled(stand: &Stand, app: &mut Raw) {
    wait::until(LONG, "a reading of the catalog", || {
        run(app, "SELECT 4711");
        (last(stand) == "SELECT 4711").then_some(())
    });
}

fn reads_pass_as_they_are(mode: &str) {
    let stand = stand(mode);
    let mut app = stand.app();
    settled(&stand, &mut app);
    for sql in [
        "SELECT count(*) FROM t",
        "SELECT adds(1, 2), random()",
        "SELECT * FROM harmless",
        "WITH a AS (SELECT 1) SELECT row_number() OVER (ORDER BY 1) FROM a",
        "VALUES (1), (2)",
    ] {
        run(&mut app, sql);
        assert_eq!(last(&stand), sql, "{mode}, simple");
        let batch = [parse("", sql, &[]), bind("", "", &[]), execute("", 0), sync()].concat();
        assert_eq!(sqlstate(&talk(&mut app, &batch, 1)), "", "{sql}");
        assert_eq!(last(&stand), sql, "{mode}, extended");
        let named = [parse("named", sql, &[]), sync()].concat();
        talk(&mut app, &named, 1);
        let again = [bind("", "named", &[]), execute("", 0), sync()].concat();
        assert_eq!(sqlstate(&talk(&mut app, &again, 1)), "", "{sql}");
        assert_eq!(last(&stand), sql, "{mode}, prepared");
        run(&mut app, "DEALLOCATE ALL");
    }
    // Several under way at once, and one behind them that is none of the kind.
    let many =
        [q("SELECT 1"), q("SELECT adds(1, 2)"), q("SELECT large()"), q("SELECT 2"), q("INSERT INTO t VALUES (7)")];
    let frames = talk(&mut app, &many.concat(), 5);
    let errors = frames.iter().filter_map(pgsluice_fixtures::Frame::error);
    assert_eq!(errors.map(|error| error.code().to_owned()).collect::<Vec<_>>(), ["25006", "25006"], "{mode}");
    assert_eq!(frames.iter().filter(|frame| frame.tag == b'C').count(), 3, "{mode}");
    if mode != "statement" {
        run(&mut app, "BEGIN READ ONLY");
        run(&mut app, "SELECT adds(3, 4)");
        run(&mut app, "COMMIT");
        assert_eq!(last(&stand), "COMMIT", "a block of reads is not asked about");
    }
}

#[test]
fn clean_reads_are_not_asked_about_in_transaction_mode() {
    reads_pass_as_they_are("transaction");
}

#[test]
fn clean_reads_are_not_asked_about_in_session_mode() {
    reads_pass_as_they_are("session");
}

#[test]
fn clean_reads_are_not_asked_about_in_statement_mode() {
    reads_pass_as_they_are("statement");
}

#[test]
fn what_leads_to_a_writer_of_rows_is_asked_about_however_it_is_named() {
    for mode in ["transaction", "session", "statement"] {
        let stand = stand(mode);
        let mut app = stand.app();
        settled(&stand, &mut app);
        let before = large_objects(&stand);
        for sql in [
            "SELECT large()",
            "SELECT lower(1, 2)",
            "SELECT 1 <= 'a'::text",
            "SELECT 1 BETWEEN 'a'::text AND 'b'::text",
            "SELECT '1'::large_domain",
            "SELECT array_in('{1}', 'large_domain'::regtype::oid, -1)",
            "SELECT * FROM large_view",
            "SELECT * FROM direct_view",
            "SELECT builds('lo_create(0)')",
            "SELECT query_to_xml('SELECT large()', true, true, '')",
            "SELECT lo_create(0)",
        ] {
            let simple = query(&mut app, sql);
            let batch = [parse("", sql, &[]), bind("", "", &[]), execute("", 0), sync()].concat();
            let extended = talk(&mut app, &batch, 1);
            for (by, frames) in [("simple", simple), ("extended", extended)] {
                assert_ne!(sqlstate(&frames), "", "{mode}, {by}: {sql}");
            }
        }
        assert_eq!(large_objects(&stand), before, "{mode}");
    }
}

#[test]
fn a_schema_for_temporary_objects_is_not_created() {
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'pg_temp%'";
    for mode in ["transaction", "session"] {
        let stand = stand(mode);
        let mut app = stand.app();
        settled(&stand, &mut app);
        let before = stand.cluster.primary().psql_in("app", schemas).unwrap();
        run(&mut app, "SET search_path = pg_temp, public");
        for sql in [
            "SELECT current_schema()",
            "SELECT CURRENT_SCHEMA",
            "SELECT current_schema() ~ 'pg_temp'",
            "SELECT pg_catalog.current_schemas(true)",
            "SELECT U&\"current\\005fschema\"()",
        ] {
            let simple = query(&mut app, sql);
            let batch = [parse("", sql, &[]), bind("", "", &[]), execute("", 0), sync()].concat();
            let extended = talk(&mut app, &batch, 1);
            for (by, frames) in [("simple", simple), ("extended", extended)] {
                assert_eq!(sqlstate(&frames), "25006", "{mode}, {by}: {sql}");
            }
        }
        let after = stand.cluster.primary().psql_in("app", schemas).unwrap();
        assert_eq!(after, before, "{mode}");
        run(&mut app, "SET search_path = public");
        run(&mut app, "SELECT current_schema(), current_schemas(false)");
    }
}

#[test]
fn what_an_operator_changes_is_asked_about_at_once() {
    let stand = stand("transaction");
    let (mut app, mut operator) = (stand.app(), stand.operator());
    let before = large_objects(&stand);
    let read = [parse("p", "SELECT x FROM changing", &[]), sync()].concat();
    talk(&mut app, &read, 1);
    let read = [bind("", "p", &[]), execute("", 0), sync()].concat();
    for round in 0..5 {
        run(&mut operator, "CREATE OR REPLACE VIEW changing AS SELECT 1 AS x");
        settled(&stand, &mut app);
        assert_eq!(sqlstate(&talk(&mut app, &read, 1)), "", "{round}");
        assert_eq!(sqlstate(&query(&mut app, "SELECT x FROM changing")), "");
        let change = "CREATE OR REPLACE VIEW changing AS SELECT 1 + sign(lo_create(0)::int)::int AS x";
        if round % 2 == 0 {
            run(&mut operator, change);
        } else {
            let batch = [parse("", change, &[]), bind("", "", &[]), execute("", 0), sync()].concat();
            assert_eq!(sqlstate(&talk(&mut operator, &batch, 1)), "");
        }
        assert_eq!(sqlstate(&query(&mut app, "SELECT x FROM changing")), "25006", "{round}");
        assert_eq!(sqlstate(&talk(&mut app, &read, 1)), "25006", "{round}");
    }
    assert_eq!(large_objects(&stand), before);
}
