//! Writers that leave no row behind, hidden in whatever a database's own can hide them in: none runs in maintenance, and what
//! stands beside them does. The writers are a loop back to the same server by dblink, which really inserts a row, and a
//! message in the write-ahead log.

use crate::stand::{Stand, query, sqlstate, talk};
use crate::ways_around_schema::{attempt, run};
use pgsluice_fixtures::raw::message::{bind, execute, function_call, parse, query as q, sync};
use pgsluice_fixtures::{Frame, Raw};

/// What hides `$writer`: a statement, made to return an int, of one of the two kinds.
const HIDING: &str = "
CREATE FUNCTION h_plain() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM $writer; RETURN 1; END $$;
CREATE FUNCTION h_sql() RETURNS int LANGUAGE sql AS $$ SELECT 1 FROM (SELECT $writer) x $$;
CREATE FUNCTION h_atomic() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1 FROM (SELECT $writer) x; END;
CREATE FUNCTION h_immutable() RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM $writer; RETURN 1; END $$;
CREATE FUNCTION h_quoted() RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'SELECT $quoted'; RETURN 1; END $$;
CREATE FUNCTION h_later() RETURNS int LANGUAGE plpgsql AS $$ DECLARE s text := 'SELECT $quoted'; BEGIN EXECUTE s; RETURN 1; END $$;
CREATE FUNCTION h_nested() RETURNS int LANGUAGE sql AS 'SELECT h_plain()';
CREATE FUNCTION h_nested_more(int DEFAULT 1) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN h_nested(); END $$;
CREATE FUNCTION h_default(int DEFAULT h_plain()) RETURNS int LANGUAGE sql AS 'SELECT $1';
CREATE PROCEDURE h_procedure() LANGUAGE plpgsql AS $$ BEGIN PERFORM h_plain(); END $$;
CREATE VIEW h_view AS SELECT h_plain() AS x;
CREATE VIEW h_view_of_view AS SELECT x + 1 AS x FROM h_view;
CREATE VIEW h_direct AS SELECT $writer AS x;
CREATE FUNCTION h_by_view() RETURNS int LANGUAGE sql AS 'SELECT x FROM h_view_of_view';
CREATE TABLE h_secret (a int);
INSERT INTO h_secret VALUES (1);
ALTER TABLE h_secret ENABLE ROW LEVEL SECURITY;
CREATE POLICY h_policy ON h_secret USING (h_plain() = 1);
CREATE FUNCTION h_op(int, text) RETURNS int LANGUAGE sql AS 'SELECT h_plain()';
CREATE OPERATOR <~> (FUNCTION = h_op, LEFTARG = int, RIGHTARG = text);
CREATE TYPE h_odd AS (a int);
CREATE FUNCTION h_cast(h_odd) RETURNS text LANGUAGE sql AS 'SELECT h_plain()::text';
CREATE CAST (h_odd AS text) WITH FUNCTION h_cast(h_odd);
CREATE FUNCTION h_step(int, int) RETURNS int LANGUAGE sql AS 'SELECT h_plain()';
CREATE AGGREGATE h_sum(int) (SFUNC = h_step, STYPE = int, INITCOND = '0');
CREATE FUNCTION h_check(int) RETURNS bool LANGUAGE sql AS 'SELECT h_plain() = 1';
CREATE DOMAIN h_checked AS int CHECK (h_check(VALUE));
CREATE FUNCTION h_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM h_plain(); RETURN NEW; END $$;
CREATE TABLE h_audited (a int);
CREATE TRIGGER h_audit AFTER INSERT ON h_audited FOR EACH ROW EXECUTE FUNCTION h_row();
";

/// What is harmless, beside it and like it.
const BESIDE: &str = "
CREATE EXTENSION IF NOT EXISTS dblink;
CREATE EXTENSION IF NOT EXISTS pgcrypto;
CREATE SCHEMA other;
GRANT USAGE ON SCHEMA other TO app;
CREATE FUNCTION counts() RETURNS int LANGUAGE sql AS 'SELECT count(*)::int FROM t';
CREATE FUNCTION other.h_plain() RETURNS int LANGUAGE sql AS 'SELECT 7';
CREATE VIEW plain_view AS SELECT id, counts() AS c FROM t;
CREATE TABLE h_names (h_plain int, h_view text);
INSERT INTO h_names VALUES (1, 'h_plain()');
CREATE FUNCTION looks(h_plain int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN h_plain + (SELECT count(*) FROM h_names); END $$;
CREATE FUNCTION says() RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'SELECT 1'; RETURN 1; END $$;
CREATE OPERATOR <~ (FUNCTION = int4eq, LEFTARG = int, RIGHTARG = int);
CREATE VIEW far AS SELECT * FROM dblink('host=127.0.0.1 port=$port dbname=app user=dba password=dba', 'SELECT count(*) FROM t') AS x (n bigint);
";

/// Statements that would write, in a session that has made [`OWN`].
const WAYS: &[&str] = &[
    "SELECT h_plain()",
    "SELECT public.h_plain()",
    "SELECT \"h_plain\" ()",
    "SELECT h_sql()",
    "SELECT h_atomic()",
    "SELECT h_immutable()",
    "SELECT h_quoted()",
    "SELECT h_later()",
    "SELECT h_nested()",
    "SELECT h_nested_more()",
    "SELECT h_default()",
    "CALL h_procedure()",
    "SELECT * FROM h_view",
    "SELECT count(*) FROM t, h_view_of_view",
    "SELECT * FROM (t JOIN h_direct ON true)",
    "TABLE h_view",
    "COPY (SELECT h_plain()) TO STDOUT",
    "SELECT h_by_view()",
    "SELECT * FROM h_secret",
    "SELECT 1 <~> 'x'",
    "SELECT 1 OPERATOR(public.<~>) 'x'",
    "SELECT ROW(1)::h_odd::text",
    "SELECT h_sum(id) FROM t",
    "SELECT '1'::h_checked",
    "SELECT CAST(1 AS h_checked)",
    "INSERT INTO own VALUES (1)",
    "INSERT INTO defaulted DEFAULT VALUES",
    "INSERT INTO narrow VALUES (1)",
    "DO $$ BEGIN PERFORM h_plain(); END $$",
    "DO $$ BEGIN EXECUTE 'SELECT h_plain()'; END $$",
    "SELECT query_to_xml('SELECT h_plain()', true, true, '')",
    "SELECT table_to_xml('h_view', true, true, '')",
    "EXPLAIN ANALYZE SELECT h_plain()",
    "SELECT 1; SELECT h_plain()",
];

/// Statements that run, or fail for a reason that is not the gate's.
const HARMLESS: &[&str] = &[
    "SELECT counts()",
    "SELECT * FROM plain_view",
    "SELECT other.h_plain()",
    "SELECT h_plain, h_view FROM h_names",
    "SELECT n.h_plain FROM h_names AS n WHERE n.h_view = 'h_plain()'",
    "SELECT looks(1)",
    "SELECT says()",
    "SELECT 'SELECT h_plain()'",
    "SELECT 1 <~ 2",
    "SELECT digest('x', 'md5')",
    "DO $$ BEGIN PERFORM counts(); END $$",
    "SELECT count(*) FROM h_audited",
    "SELECT count(*) FROM own",
    "INSERT INTO mine VALUES (1)",
    "SELECT query_to_xml('SELECT 1', true, true, '')",
    "SHOW work_mem",
    "PREPARE later AS SELECT h_plain()",
    "DEALLOCATE later",
    "BEGIN; SELECT counts(); COMMIT",
];

/// What a session makes for itself before the gate closes.
const OWN: &[&str] = &[
    "CREATE TEMP TABLE own (a int)",
    "CREATE TRIGGER own_audit BEFORE INSERT ON own FOR EACH ROW EXECUTE FUNCTION h_row()",
    "CREATE TEMP TABLE defaulted (a int DEFAULT h_plain())",
    "CREATE TEMP TABLE narrow (a h_checked)",
    "CREATE TEMP TABLE mine (a int)",
];

fn must(frames: &[Frame], sql: &str) {
    assert!(frames.iter().all(|frame| frame.tag != b'E'), "{sql}: {:?}", frames.iter().find_map(Frame::error));
}

fn stand(mode: &str, writer: &str) -> Stand {
    let stand = Stand::new(&format!("default_pool_size = 60\npool_mode = \"{mode}\""));
    let port = stand.cluster.primary().port().to_string();
    let writer = writer.replace("$port", &port);
    let sql = format!("{BESIDE}{HIDING}").replace("$writer", &writer).replace("$quoted", &writer.replace('\'', "''"));
    let mut operator = stand.operator();
    let sql = sql.replace("$port", &port);
    must(&query(&mut operator, &sql), "the schema");
    run(&mut operator, "GRANT ALL ON ALL TABLES IN SCHEMA public TO app");
    // Whoever may not call dblink cannot put a call of it together either.
    run(&mut operator, "REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC");
    run(&mut operator, "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO app");
    for function in ["dblink(text)", "dblink(text, text)", "dblink(text, boolean)", "dblink(text, text, boolean)"] {
        run(&mut operator, &format!("REVOKE EXECUTE ON FUNCTION {function} FROM app"));
    }
    stand
}

const DBLINK: &str = "dblink_exec('host=127.0.0.1 port=$port dbname=app user=dba password=dba', 'INSERT INTO t SELECT 5000 + count(*), ''looped'' FROM t')";
const EMIT: &str = "pg_logical_emit_message(false, 'hidden', 'message')";

fn extended(sql: &str) -> Vec<u8> {
    [parse("", sql, &[]), bind("", "", &[]), execute("", 0)].concat()
}

fn written(stand: &Stand) -> String {
    stand.cluster.primary().psql_in("app", "SELECT count(*) FROM t").expect("an observer")
}

fn messages(stand: &Stand) -> String {
    stand.cluster.primary().psql_in("app", "CHECKPOINT").expect("what is written is on disk");
    let sql = "SELECT count(*) FROM pg_logical_slot_peek_changes('watch', NULL, NULL) WHERE data LIKE '%hidden%'";
    stand.cluster.primary().psql_in("app", sql).expect("a slot")
}

fn refused(name: &str, raw: &mut Raw, bytes: &[u8], readies: usize, told: &mut Vec<String>) {
    let frames = attempt(raw, bytes, readies).unwrap_or_default();
    let code = sqlstate(&frames);
    if code != "25006" {
        told.push(format!(
            "{name}: {code:?} {:?}",
            frames.iter().find_map(Frame::error).map(|error| error.message().to_owned())
        ));
    }
}

fn nothing_hidden_runs(mode: &str, writer: &str) {
    let stand = stand(mode, writer);
    let own = |stand: &Stand| {
        let mut raw = stand.app();
        OWN.iter().for_each(|sql| run(&mut raw, sql));
        raw
    };
    let (mut simple, mut batches) = (own(&stand), own(&stand));
    let mut early = own(&stand);
    let single: Vec<&str> = WAYS.iter().copied().filter(|way| !way.contains("; SELECT h_plain()")).collect();
    let prepares: Vec<&str> =
        single.iter().copied().filter(|way| way.starts_with("SELECT") || way.starts_with("INSERT")).collect();
    for (at, way) in single.iter().enumerate() {
        must(&talk(&mut early, &[parse(&format!("p{at}"), way, &[]), sync()].concat(), 1), way);
    }
    for (at, way) in prepares.iter().enumerate() {
        run(&mut early, &format!("PREPARE x{at} AS {way}"));
    }
    stand
        .cluster
        .primary()
        .psql_in("app", "SELECT pg_create_logical_replication_slot('watch', 'test_decoding')")
        .expect("a slot");
    stand.on_primary();
    let before = (written(&stand), messages(&stand));
    let mut told = Vec::new();
    for way in WAYS {
        refused(&format!("simple: {way}"), &mut simple, &q(way), 1, &mut told);
    }
    for way in &single {
        refused(&format!("extended: {way}"), &mut batches, &[extended(way), sync()].concat(), 1, &mut told);
        run(&mut simple, "BEGIN");
        refused(&format!("in a block: {way}"), &mut simple, &q(way), 1, &mut told);
        run(&mut simple, "ROLLBACK");
    }
    for (at, way) in single.iter().enumerate() {
        let bytes = [bind("", &format!("p{at}"), &[]), execute("", 0), sync()].concat();
        refused(&format!("parsed before: {way}"), &mut early, &bytes, 1, &mut told);
    }
    for (at, way) in prepares.iter().enumerate() {
        refused(&format!("prepared before: {way}"), &mut early, &q(&format!("EXECUTE x{at}")), 1, &mut told);
        let bytes = [bind("", &format!("x{at}"), &[]), execute("", 0), sync()].concat();
        refused(&format!("prepared before, bound: {way}"), &mut early, &bytes, 1, &mut told);
        let both = format!("PREPARE y{at} AS {way}; EXECUTE y{at}");
        refused(&format!("prepared and executed: {way}"), &mut simple, &q(&both), 1, &mut told);
    }
    for name in ["h_plain()", "h_sql()", "dblink_exec(text)", "dblink(text)"] {
        let oid =
            stand.cluster.primary().psql_in("app", &format!("SELECT '{name}'::regprocedure::oid")).expect("a number");
        let arguments: &[Option<&[u8]>] =
            if name.ends_with("(text)") { &[Some(b"INSERT INTO t VALUES (1)")] } else { &[] };
        let call = function_call(oid.trim().parse().expect("a number"), arguments);
        refused(&format!("by number: {name}"), &mut simple, &call, 1, &mut told);
    }
    run(&mut simple, "BEGIN");
    refused(
        "a cursor",
        &mut simple,
        &[q("DECLARE c CURSOR FOR SELECT h_plain()"), q("ROLLBACK")].concat(),
        2,
        &mut told,
    );
    assert_eq!((written(&stand), messages(&stand)), before, "{mode}: something was written");
    for sql in HARMLESS {
        if !sql.contains("later") {
            let frames = attempt(
                &mut batches,
                &if sql.starts_with("BEGIN") { q(sql) } else { [extended(sql), sync()].concat() },
                1,
            );
            must(&frames.expect("an answer"), sql);
        }
        must(&query(&mut simple, sql), sql);
    }
    assert!(told.is_empty(), "{mode}, not refused:\n{}", told.join("\n"));
    assert!(stand.layer("refused_by_catalog") > WAYS.len() as u64);
    // What was refused runs once the gate is open.
    stand.off();
    must(&query(&mut simple, "SELECT count(*) FROM plain_view"), "a view");
    must(&query(&mut simple, "SELECT h_plain()"), "the writer itself");
    assert_ne!((written(&stand), messages(&stand)), before, "the writer does write");
}

#[test]
fn nothing_hidden_runs_in_transaction_mode() {
    nothing_hidden_runs("transaction", DBLINK);
}

#[test]
fn nothing_hidden_runs_in_session_mode() {
    nothing_hidden_runs("session", EMIT);
}
