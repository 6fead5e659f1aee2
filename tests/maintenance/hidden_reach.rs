//! How far the catalog's word goes: text that is put together, other servers, changes while the gate is closed, the
//! configuration, a restart.

use crate::stand::{LONG, Stand, query, sqlstate, talk};
use crate::ways_around_schema::run;
use pgsluice_fixtures::raw::message::{bind, execute, parse, sync};
use pgsluice_fixtures::{Raw, wait};

const SCHEMA: &str = "
CREATE EXTENSION dblink;
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC;
CREATE FUNCTION loops(text DEFAULT 'INSERT INTO t VALUES (6000, ''looped'')') RETURNS text LANGUAGE sql AS
    $$ SELECT dblink_exec('host=127.0.0.1 port=$port dbname=app user=dba password=dba', $1) $$;
CREATE FUNCTION emits() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_logical_emit_message(false, 'a', 'b'); RETURN 1; END $$;
CREATE FUNCTION builds(text) RETURNS int LANGUAGE plpgsql AS $$ DECLARE n int; BEGIN EXECUTE 'SELECT ' || $1 INTO n; RETURN n; END $$;
CREATE FUNCTION lends(text) RETURNS int SECURITY DEFINER LANGUAGE plpgsql AS $$ DECLARE n int; BEGIN EXECUTE 'SELECT ' || $1 INTO n; RETURN n; END $$;
CREATE FUNCTION counts() RETURNS int LANGUAGE sql AS 'SELECT count(*)::int FROM t';
";

/// A stand with that; `more` is run behind it.
fn stand(config: &str, more: &str) -> Stand {
    let stand = Stand::new(config);
    let port = stand.cluster.primary().port().to_string();
    run(&mut stand.operator(), &format!("{SCHEMA}{more}").replace("$port", &port));
    stand.cluster.wait_for_replay(LONG).expect("a replica that follows");
    stand
}

fn said(raw: &mut Raw, sql: &str) -> String {
    let frames = query(raw, sql);
    frames.iter().find_map(pgsluice_fixtures::Frame::error).map_or_else(String::new, |error| error.message().to_owned())
}

fn rows(stand: &Stand) -> String {
    stand.cluster.primary().psql_in("app", "SELECT count(*) FROM t").expect("a count")
}

const REFUSED: &str = "cannot execute loops() in a read-only transaction";

#[test]
fn text_put_together_is_refused_where_a_writer_is_within_reach() {
    let dynamic = "DO $$ DECLARE n int; BEGIN EXECUTE 'SELECT ' || 'counts()' INTO n; END $$";
    // pg_logical_emit_message is everybody's, and not enough.
    let near = stand("", "");
    near.on_primary();
    let mut app = near.app();
    assert_eq!(said(&mut app, "SELECT builds('counts()')"), "");
    assert_eq!(said(&mut app, dynamic), "");
    assert_eq!(said(&mut app, "SELECT emits()"), "cannot execute emits() in a read-only transaction");
    assert!(said(&mut app, "SELECT builds('emits()')").starts_with("cannot execute "), "what is handed to it is read");
    assert!(
        said(&mut app, "SELECT lends('counts()')").starts_with("cannot execute lends()"),
        "a superuser's rights are lent"
    );
    near.off();
    drop(app);
    run(&mut near.operator(), "GRANT EXECUTE ON FUNCTION dblink_exec(text, text) TO app");
    near.on_primary();
    let mut app = near.app();
    assert!(said(&mut app, "SELECT builds('counts()')").starts_with("cannot execute builds()"));
    assert!(said(&mut app, dynamic).starts_with("cannot execute DO"));
    assert_eq!(said(&mut app, "DO $$ BEGIN PERFORM counts(); EXECUTE 'SELECT 1'; END $$"), "");
    assert_eq!(said(&mut app, "SELECT counts()"), "");
}

#[test]
fn a_replica_is_no_way_around_either() {
    let mut stand = stand("", "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO PUBLIC");
    stand.configure("reads = \"prefer_replica\"");
    stand.console("RELOAD");
    let before = rows(&stand);
    // A block that is on the replica already when the gate closes.
    let mut early = stand.app();
    let replica = stand.cluster.replica(0).port().to_string();
    wait::until(LONG, "a block on the replica", || {
        run(&mut early, "BEGIN READ ONLY");
        let frames = query(&mut early, "SELECT setting FROM pg_settings WHERE name = 'port'");
        let there =
            frames.iter().any(|frame| frame.tag == b'D' && frame.values()[0].as_deref() == Some(replica.as_bytes()));
        there.then_some(()).or_else(|| {
            run(&mut early, "ROLLBACK");
            None
        })
    });
    stand.console("MAINTENANCE ON app WITH (reads replica)");
    for sql in ["SELECT loops()", "SELECT dblink_exec('x', 'y')"] {
        run(&mut early, "SAVEPOINT a");
        assert!(said(&mut early, sql).starts_with("cannot execute "), "in a block from before: {sql}");
        run(&mut early, "ROLLBACK TO a");
    }
    let mut app = stand.app();
    for sql in ["SELECT loops()", "SELECT loops() FROM t", "SELECT builds('loops()')"] {
        assert!(said(&mut app, sql).starts_with("cannot execute "), "{sql}");
    }
    assert_eq!(said(&mut app, "SELECT counts()"), "");
    assert_eq!(rows(&stand), before);
}

#[test]
fn what_operators_change_counts_at_once_and_a_restart_forgets_nothing() {
    let mut stand = stand("", "");
    stand.on();
    let mut app = stand.app();
    assert_eq!(said(&mut app, "SELECT loops()"), REFUSED);
    let mut operator = stand.operator();
    run(
        &mut operator,
        "CREATE FUNCTION late() RETURNS text LANGUAGE sql AS 'SELECT loops()'; CREATE VIEW late_view AS SELECT late()",
    );
    run(&mut operator, "GRANT SELECT ON late_view TO app");
    let refused = |app: &mut Raw, sql: &str| said(app, sql).starts_with("cannot execute ").then_some(());
    // Until it is known the function fails otherwise: dblink is not the application's to call.
    wait::until(LONG, "a new function", || refused(&mut app, "SELECT late()"));
    wait::until(LONG, "a new view", || refused(&mut app, "TABLE late_view"));
    run(&mut operator, "CREATE OR REPLACE FUNCTION late() RETURNS text LANGUAGE sql AS 'SELECT v FROM t LIMIT 1'");
    wait::until(LONG, "a function that is harmless now", || said(&mut app, "SELECT late()").is_empty().then_some(()));
    stand.proxy.kill_9();
    stand.proxy.start_again().expect("started again");
    let mut app = stand.app();
    assert_eq!(said(&mut app, "SELECT counts()"), "");
    assert_eq!(said(&mut app, "SELECT loops()"), REFUSED);
}

#[test]
fn the_configuration_widens_and_narrows() {
    let mut stand = stand("", "");
    let unseen = |stand: &Stand| {
        let rows = stand.console("MAINTENANCE CHECK app");
        let row = rows.into_iter().find(|row| row[1].as_deref() == Some("unseen writers")).expect("a row");
        format!("{} {}", row[2].clone().unwrap_or_default(), row[3].clone().unwrap_or_default())
    };
    let found = unseen(&stand);
    assert!(found.starts_with("warn") && found.contains("public.loops() by dblink_exec"), "{found}");
    run(&mut stand.operator(), "GRANT EXECUTE ON FUNCTION dblink_exec(text) TO app");
    assert!(unseen(&stand).contains("REVOKE EXECUTE ON FUNCTION public.dblink_exec"), "{}", unseen(&stand));
    run(&mut stand.operator(), "REVOKE EXECUTE ON FUNCTION dblink_exec(text) FROM app");
    assert!(!unseen(&stand).contains("REVOKE"), "{}", unseen(&stand));
    stand.configure("[refusals]\nremove_functions = [\"emits\", \"public.lends\"]\nadd_functions = [\"counts\"]");
    stand.console("RELOAD");
    let found = unseen(&stand);
    assert!(!found.contains("emits") && !found.contains("lends") && found.contains("loops"), "{found}");
    stand.on_primary();
    let mut app = stand.app();
    assert_eq!(said(&mut app, "SELECT lends('1')"), "");
    assert_eq!(said(&mut app, "SELECT counts()"), "cannot execute counts() in a read-only transaction");
    stand.configure("[refusals]\nremove_functions = [\"loops\"]");
    stand.console("RELOAD");
    wait::until(LONG, "the other list", || {
        (said(&mut app, "SELECT loops()") == "permission denied for function dblink_exec").then_some(())
    });
}

#[test]
fn a_cursor_from_before_the_flip_is_waited_for() {
    let stand = stand("", "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO app");
    let before = rows(&stand);
    let (mut cursor, mut reader, mut portal) = (stand.app(), stand.app(), stand.app());
    run(&mut cursor, "BEGIN; DECLARE c CURSOR FOR SELECT id, loops() FROM t");
    run(&mut reader, "BEGIN; SELECT count(*) FROM t");
    run(&mut portal, "BEGIN");
    let bound = [parse("p", "SELECT loops()", &[]), bind("b", "p", &[]), sync()].concat();
    assert_eq!(sqlstate(&talk(&mut portal, &bound, 1)), "");
    let row = stand.console("MAINTENANCE ON app WITH (reads primary, drain_timeout '1s', on_timeout cancel)");
    // The reader was fenced, the others were waited for, and ended.
    assert_eq!((row[0][9].as_deref(), row[0][10].as_deref()), (Some("1"), Some("2")), "{row:?}");
    assert!(!said(&mut cursor, "FETCH 1 FROM c").is_empty());
    assert_ne!(sqlstate(&talk(&mut portal, &[execute("b", 0), sync()].concat(), 1)), "");
    assert_eq!(said(&mut reader, "SELECT count(*) FROM t"), "");
    assert_eq!(said(&mut reader, "SELECT loops()"), REFUSED);
    assert_eq!(rows(&stand), before);
}

#[test]
fn foreign_tables_that_lead_back_are_refused() {
    let more = "
CREATE EXTENSION postgres_fdw;
CREATE EXTENSION file_fdw;
CREATE FUNCTION writes_far() RETURNS int LANGUAGE sql AS 'INSERT INTO t VALUES (6100, ''by a view'') RETURNING id';
CREATE VIEW writing_view AS SELECT writes_far() AS x;
CREATE VIEW reading_view AS SELECT count(*) AS x FROM t;
CREATE SCHEMA far;
CREATE SERVER back FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '$port', dbname 'app');
CREATE USER MAPPING FOR app SERVER back OPTIONS (user 'app', password 'app');
CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
CREATE FOREIGN TABLE far.writing (x int) SERVER back OPTIONS (schema_name 'public', table_name 'writing_view');
CREATE FOREIGN TABLE far.reading (x bigint) SERVER back OPTIONS (schema_name 'public', table_name 'reading_view');
CREATE FOREIGN TABLE far.plain (id int, v text) SERVER back OPTIONS (schema_name 'public', table_name 't');
CREATE FOREIGN TABLE far.program (line text) SERVER files OPTIONS (program 'echo ran');
GRANT USAGE ON SCHEMA far TO app;
GRANT SELECT ON ALL TABLES IN SCHEMA far TO app;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO app;
GRANT EXECUTE ON FUNCTION writes_far() TO app;
";
    let stand = stand("", more);
    let before = rows(&stand);
    stand.on_primary();
    let mut app = stand.app();
    for sql in ["SELECT * FROM far.writing", "SELECT * FROM far.program", "COPY (TABLE far.writing) TO STDOUT"] {
        assert!(said(&mut app, sql).starts_with("cannot execute "), "{sql}: {}", said(&mut app, sql));
    }
    for sql in ["SELECT * FROM far.reading", "SELECT * FROM far.plain", "SELECT * FROM reading_view"] {
        assert_eq!(said(&mut app, sql), "", "{sql}");
    }
    assert_eq!(rows(&stand), before);
}

#[test]
fn with_the_gate_open_a_view_over_what_may_write_goes_to_the_primary() {
    let more = "
CREATE FUNCTION inserts() RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO t SELECT 7000 + count(*), 'x' FROM t; RETURN 1; END $$;
CREATE FUNCTION shy() RETURNS int STABLE LANGUAGE plpgsql AS $$ BEGIN RETURN inserts(); END $$;
CREATE VIEW inserting AS SELECT inserts() AS x;
CREATE VIEW over_inserting AS SELECT x FROM inserting;
CREATE VIEW shy_view AS SELECT shy() AS x;
CREATE VIEW moving AS SELECT nextval('s') AS x;
CREATE TABLE guarded_rows (a int);
INSERT INTO guarded_rows VALUES (1);
ALTER TABLE guarded_rows ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON guarded_rows USING (inserts() = 1);
CREATE FUNCTION op(int, text) RETURNS int LANGUAGE sql AS 'SELECT inserts()';
CREATE OPERATOR <~> (FUNCTION = op, LEFTARG = int, RIGHTARG = text);
CREATE FUNCTION lower(int, int) RETURNS int LANGUAGE sql AS 'SELECT inserts()';
CREATE VIEW calm AS SELECT count(*) AS x FROM t;
GRANT ALL ON ALL TABLES IN SCHEMA public TO app;
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO app;
";
    let mut stand = stand("catalog_check_interval = \"1s\"", more);
    stand.configure("reads = \"replica\"");
    stand.console("RELOAD");
    let replica = stand.cluster.replica(0).port().to_string();
    let mut app = stand.app();
    let port = "SELECT current_setting('port')";
    let there = |app: &mut Raw, sql: &str| {
        let frames = query(app, sql);
        frames.iter().any(|frame| frame.tag == b'D' && frame.values()[0].as_deref() == Some(replica.as_bytes()))
    };
    wait::until(LONG, "reads on the replica", || there(&mut app, port).then_some(()));
    for sql in [
        "TABLE inserting",
        "SELECT * FROM over_inserting",
        "SELECT x FROM shy_view",
        "SELECT * FROM moving",
        "SELECT * FROM guarded_rows",
        "SELECT 1 <~> 'x'",
        "SELECT lower(1, 2)",
    ] {
        wait::until(LONG, sql, || said(&mut app, sql).is_empty().then_some(()));
        assert_eq!(said(&mut app, sql), "", "{sql}");
        let bytes = [parse("", sql, &[]), bind("", "", &[]), execute("", 0), sync()].concat();
        assert_eq!(sqlstate(&talk(&mut app, &bytes, 1)), "", "{sql}");
    }
    // What only reads goes to the replica again, once that has what the session has written.
    for sql in ["SELECT current_setting('port') FROM calm", port] {
        wait::until(LONG, sql, || there(&mut app, sql).then_some(()));
    }
}
