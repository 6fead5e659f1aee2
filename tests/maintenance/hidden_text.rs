//! Text that is put together when it runs, in ways that nobody can read: where a role could have it change a relation in place, or
//! put a message into the write-ahead log, behind every ROLLBACK, it is refused; what can be read, and what could not, runs.

use crate::stand::{LONG, Stand, query, sqlstate, talk};
use crate::ways_around_schema::run;
use pgsluice_fixtures::raw::message::{bind, execute, function_call, parse, query as q, sync};
use pgsluice_fixtures::{Frame, Raw, wait};

const SCHEMA: &str = "
CREATE TABLE measured (a int, words tsvector);
INSERT INTO measured SELECT i, to_tsvector('word' || i) FROM generate_series(1, 1000) i;
CREATE INDEX measured_brin ON measured USING brin (a) WITH (pages_per_range = 1);
CREATE INDEX measured_gin ON measured USING gin (words);
ALTER TABLE measured SET (autovacuum_enabled = off);
ALTER TABLE measured OWNER TO app;
CREATE TABLE commands (sql text);
INSERT INTO commands VALUES ('ANALYZE measured');
GRANT SELECT ON commands TO app;
CREATE FUNCTION dyn(sql text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE sql; RETURN 1; END $$;
CREATE FUNCTION dyn_default(sql text DEFAULT reverse('derusaem EZYLANA')) RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE sql; RETURN 1; END $$;
CREATE FUNCTION selects(what text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'SELECT ' || what; RETURN 1; END $$;
CREATE FUNCTION joins(a text, b text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE a || b; RETURN 1; END $$;
CREATE FUNCTION passes_on(a text) RETURNS int LANGUAGE sql AS 'SELECT dyn($1)';
CREATE FUNCTION by_reverse() RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE reverse('derusaem EZYLANA'); RETURN 1; END $$;
CREATE FUNCTION by_chr() RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE chr(82) || 'EINDEX TABLE measured'; RETURN 1; END $$;
CREATE FUNCTION by_row() RETURNS int LANGUAGE plpgsql AS $$ DECLARE s text; BEGIN SELECT sql INTO s FROM commands; EXECUTE s; RETURN 1; END $$;
CREATE FUNCTION by_loop() RETURNS int LANGUAGE plpgsql AS $$ DECLARE r record; BEGIN FOR r IN SELECT sql FROM commands LOOP EXECUTE r.sql; END LOOP; RETURN 1; END $$;
CREATE FUNCTION by_hex() RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE convert_from(decode('414e414c595a45206d65617375726564', 'hex'), 'UTF8'); RETURN 1; END $$;
CREATE FUNCTION by_translate() RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE translate('BOBMZAF nfbtvsfe', 'BOMZAFnfbtvse', 'ANLYZEmeasurd'); RETURN 1; END $$;
CREATE FUNCTION by_handing() RETURNS int LANGUAGE sql AS $$ SELECT dyn(reverse('derusaem EZYLANA')) $$;
CREATE FUNCTION by_chain() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM passes_on(reverse('derusaem EZYLANA')); RETURN 1; END $$;
CREATE FUNCTION by_brin() RETURNS int LANGUAGE plpgsql AS $$ DECLARE s text := reverse('(egnar_eziremmused_nirb TCELES'); BEGIN EXECUTE s || '''measured_brin'', 0)'; RETURN 1; END $$;
CREATE VIEW over_text AS SELECT dyn(sql) AS x FROM commands;
CREATE VIEW over_function AS SELECT by_reverse() AS x;
CREATE FUNCTION is_fine(int) RETURNS bool LANGUAGE sql AS 'SELECT by_reverse() = 1';
CREATE DOMAIN checked AS int CHECK (is_fine(VALUE));
CREATE FUNCTION plus(text, int) RETURNS int LANGUAGE sql AS 'SELECT by_row()';
CREATE OPERATOR <~~> (FUNCTION = plus, LEFTARG = text, RIGHTARG = int);
CREATE FUNCTION lent() RETURNS int SECURITY DEFINER LANGUAGE plpgsql AS $$ BEGIN EXECUTE reverse('derusaem EZYLANA'); RETURN 1; END $$;
CREATE FUNCTION counts_rows(of text) RETURNS bigint LANGUAGE plpgsql AS $$ DECLARE n bigint; BEGIN EXECUTE format('SELECT count(*) FROM %I', of) INTO n; RETURN n; END $$;
CREATE FUNCTION counts_all() RETURNS bigint LANGUAGE plpgsql AS $$ DECLARE n bigint; r record; BEGIN
    FOR r IN SELECT oid, relname FROM pg_class WHERE relname = 't' LOOP EXECUTE 'SELECT count(*) FROM ' || quote_ident(r.relname) || ' WHERE ' || quote_literal(r.oid) || ' <> ''x''' INTO n; END LOOP; RETURN n; END $$;
CREATE FUNCTION searches(cond text DEFAULT NULL) RETURNS bigint LANGUAGE plpgsql AS $$ DECLARE n bigint; s text := 'SELECT count(*) FROM t WHERE true'; BEGIN
    IF cond IS NOT NULL THEN s := s || ' AND v = ' || quote_literal(cond); END IF; EXECUTE s INTO n; RETURN n; END $$;
CREATE FUNCTION plain() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN reverse('x') || (SELECT v FROM t LIMIT 1); END $$;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO app, plain_role;
ALTER FUNCTION lent() OWNER TO app;
";

/// Text that nobody can read and that changes a relation in place.
const WAYS: &[&str] = &[
    "SELECT dyn(reverse('derusaem EZYLANA'))",
    "SELECT dyn(chr(65) || 'NALYZE measured')",
    "SELECT dyn(sql) FROM commands",
    "SELECT dyn((SELECT sql FROM commands))",
    "SELECT dyn_default()",
    "SELECT selects(reverse(')''nirb_derusaem''(seulav_wen_eziremmus_nirb'))",
    "SELECT selects('1; ANA' || chr(76) || 'YZE measured')",
    "SELECT joins('LYZE measured', 'ANA') + joins('ANA', 'LYZE measured')",
    "SELECT joins(left('ANALYSE', 5), 'ZE measured')",
    "SELECT passes_on(reverse('derusaem EZYLANA'))",
    "SELECT passes_on('ANALYZE measured')",
    "SELECT by_reverse()",
    "SELECT by_chr()",
    "SELECT by_row()",
    "SELECT by_loop()",
    "SELECT by_hex()",
    "SELECT by_translate()",
    "SELECT by_handing()",
    "SELECT by_chain()",
    "SELECT by_brin()",
    "SELECT * FROM over_text",
    "SELECT * FROM over_function",
    "SELECT '1'::checked",
    "SELECT 'x'::text <~~> 1",
    "SELECT lent()",
    "SELECT count(*), by_reverse() / 0 FROM t",
    "DO $$ BEGIN EXECUTE reverse('derusaem EZYLANA'); END $$",
    "DO $$ BEGIN EXECUTE reverse('derusaem RETSULC'); END $$",
    "DO $$ DECLARE s text; BEGIN SELECT sql INTO s FROM commands; EXECUTE s; RAISE EXCEPTION 'x'; END $$",
    "DO $$ BEGIN PERFORM dyn(sql) FROM commands; END $$",
    "SELECT query_to_xml(reverse(')''nirb_derusaem''(seulav_wen_eziremmus_nirb TCELES'), true, true, '')",
    "SELECT query_to_xml(reverse(')(esrever_yb TCELES'), true, true, '')",
    "SELECT * FROM ts_stat(reverse('xs )a( )rotcevst::''x''( SEULAV( MORF * TCELES'))",
];

/// What PostgreSQL runs and writes nothing, and what can be read.
const HARMLESS: &[&str] = &[
    "SELECT dyn('SELECT count(*) FROM t')",
    "SELECT selects('count(*) FROM t WHERE v = ''analysis''')",
    "SELECT passes_on('SELECT 1')",
    "SELECT counts_rows('t')",
    "SELECT counts_rows(relname::text) FROM pg_class WHERE relname = 't'",
    "SELECT counts_all()",
    "SELECT searches(), searches(v) FROM t",
    "SELECT plain()",
    "DO $$ DECLARE r record; BEGIN FOR r IN SELECT relname FROM pg_class WHERE relname = 't' LOOP EXECUTE format('SELECT count(*) FROM %I', r.relname); END LOOP; END $$",
    "SELECT query_to_xml(format('SELECT count(*) FROM %I', relname), true, true, '') FROM pg_class WHERE relname = 't'",
    "SELECT table_to_xml(oid::regclass, true, true, '') FROM pg_class WHERE relname = 't'",
];

fn stand(mode: &str) -> Stand {
    let stand = Stand::new(&format!("default_pool_size = 60\npool_mode = \"{mode}\""));
    stand.cluster.primary().psql("CREATE ROLE plain_role LOGIN PASSWORD 'app'").expect("a role");
    run(&mut stand.operator(), SCHEMA);
    stand.cluster.wait_for_replay(LONG).expect("a replica that follows");
    stand
}

/// What an observer sees of all that the writers here write.
fn written(stand: &Stand) -> String {
    let sql = "SELECT concat_ws(' ', (SELECT string_agg(relname || ' ' || reltuples || ' ' || relpages || ' ' || relfilenode, ',' ORDER BY relname) \
               FROM pg_class WHERE relname LIKE 'measured%'), (SELECT count(*) FROM pg_largeobject_metadata), (SELECT count(*) FROM t))";
    stand.cluster.primary().psql_in("app", sql).expect("an observer")
}

fn extended(sql: &str) -> Vec<u8> {
    [parse("", sql, &[]), bind("", "", &[]), execute("", 0), sync()].concat()
}

fn told(frames: &[Frame]) -> String {
    frames.iter().find_map(Frame::error).map_or_else(String::new, |error| format!("{error:?}"))
}

fn text_that_nobody_can_read(mode: &str) {
    let stand = stand(mode);
    let mut early = stand.app();
    for (at, way) in WAYS.iter().enumerate() {
        talk(&mut early, &[parse(&format!("p{at}"), way, &[]), sync()].concat(), 1);
    }
    for prepare in ["PREPARE hands(text) AS SELECT dyn($1)", "PREPARE open AS SELECT by_reverse()"] {
        assert_eq!(sqlstate(&query(&mut early, prepare)), "", "{prepare}");
    }
    let before = written(&stand);
    stand.on_primary();
    let (mut app, mut problems) = (stand.app(), Vec::new());
    let mut refused = |name: &str, raw: &mut Raw, bytes: &[u8], readies: usize| {
        let frames = talk(raw, bytes, readies);
        let state = sqlstate(&frames);
        if !["25006", "26000"].contains(&&*state) {
            problems.push(format!("{name}: {}", told(&frames)));
        }
        assert_eq!(written(&stand), before, "{mode}: {name}: {}", told(&frames));
    };
    for (at, way) in WAYS.iter().enumerate() {
        refused(&format!("simple: {way}"), &mut app, &q(way), 1);
        refused(&format!("extended: {way}"), &mut app, &extended(way), 1);
        let named = [bind("", &format!("p{at}"), &[]), execute("", 0), sync()].concat();
        refused(&format!("parsed before: {way}"), &mut early, &named, 1);
        refused(&format!("pipelined: {way}"), &mut app, &[q("SELECT 1"), q(way)].concat(), 2);
        if mode != "statement" {
            query(&mut app, "BEGIN");
            refused(&format!("in a block: {way}"), &mut app, &q(way), 1);
            query(&mut app, "ROLLBACK");
        }
    }
    for sql in ["EXECUTE hands('ANALYZE measured')", "EXECUTE hands(reverse('derusaem EZYLANA'))", "EXECUTE open"] {
        refused(sql, &mut early, &q(sql), 1);
        refused(&format!("extended: {sql}"), &mut early, &extended(sql), 1);
    }
    for (sql, values) in [
        ("SELECT dyn($1)", vec!["ANALYZE measured"]),
        ("SELECT dyn($1)", vec!["SELECT 1; ANALYZE measured"]),
        ("SELECT dyn($1)", vec!["SELECT by_reverse()"]),
        ("SELECT dyn($1)", vec!["DO $x$ BEGIN EXECUTE reverse('derusaem EZYLANA'); END $x$"]),
        ("SELECT dyn($1 || $2)", vec!["ANA", "LYZE measured"]),
        ("SELECT joins($1, $2)", vec!["ANA", "LYZE measured"]),
        ("SELECT dyn(reverse($1))", vec!["derusaem EZYLANA"]),
        ("SELECT passes_on($1)", vec!["ANALYZE measured"]),
        ("SELECT selects($1)", vec!["by_reverse()"]),
    ] {
        let types = vec![25; values.len()];
        let values: Vec<_> = values.iter().map(|value| Some(value.as_bytes())).collect();
        let batch = [parse("", sql, &types), bind("", "", &values), execute("", 0), sync()].concat();
        refused(&format!("{sql}, {values:?}"), &mut app, &batch, 1);
    }
    for (name, value) in [
        ("dyn(text)", "ANALYZE measured"),
        ("dyn(text)", "SELECT by_reverse()"),
        ("selects(text)", "by_reverse()"),
        ("passes_on(text)", "ANALYZE measured"),
        ("by_reverse()", ""),
    ] {
        let sql = format!("SELECT '{name}'::regprocedure::oid");
        let oid = stand.cluster.primary().psql_in("app", &sql).expect("a number").trim().parse().expect("a number");
        let arguments: &[Option<&[u8]>] = if value.is_empty() { &[] } else { &[Some(value.as_bytes())] };
        refused(&format!("by number: {name}, {value}"), &mut app, &function_call(oid, arguments), 1);
    }
    assert_eq!(written(&stand), before, "{mode}: something was written:\n{}", problems.join("\n"));
    for sql in HARMLESS {
        for frames in [query(&mut app, sql), talk(&mut app, &extended(sql), 1)] {
            if !sqlstate(&frames).is_empty() {
                problems.push(format!("harmless: {sql}: {}", told(&frames)));
            }
        }
    }
    let batch =
        [parse("", "SELECT dyn($1)", &[25]), bind("", "", &[Some(b"SELECT count(*) FROM t")]), execute("", 0), sync()];
    assert_eq!(sqlstate(&talk(&mut app, &batch.concat(), 1)), "");
    assert_eq!(sqlstate(&query(&mut early, "EXECUTE hands('SELECT count(*) FROM t')")), "");
    assert!(problems.is_empty(), "{mode}:\n{}", problems.join("\n"));
    let detail = told(&query(&mut app, "SELECT by_reverse()"));
    assert!(detail.contains("public.by_reverse() by text that nobody can read"), "{detail}");
}

#[test]
fn text_that_nobody_can_read_changes_nothing_in_place_in_transaction_mode() {
    text_that_nobody_can_read("transaction");
}

#[test]
fn text_that_nobody_can_read_changes_nothing_in_place_in_session_mode() {
    text_that_nobody_can_read("session");
}

#[test]
fn text_that_nobody_can_read_changes_nothing_in_place_in_statement_mode() {
    text_that_nobody_can_read("statement");
}

/// A role that owns nothing reaches nothing in place: whatever text it puts together runs, but what runs with another's rights.
#[test]
fn text_of_a_role_that_reaches_nothing_in_place_runs() {
    let stand = stand("transaction");
    let users = "\"app\" \"app\"\n\"dba\" \"dba\"\n\"plain_role\" \"app\"\n";
    std::fs::write(stand.proxy.dir().join("userlist.txt"), users).expect("another list of users");
    stand.console("RELOAD");
    let findings = |stand: &Stand| {
        let rows = stand.console("MAINTENANCE CHECK app");
        let row = rows.into_iter().find(|row| row[1].as_deref() == Some("unseen writers")).expect("a row");
        format!("{row:?}")
    };
    let found = findings(&stand);
    assert!(found.contains("text that nobody can read") && found.contains("public.by_reverse()"), "{found}");
    assert!(found.contains("REVOKE") && found.contains("app"), "{found}");
    stand.on_primary();
    let mut plain = stand.connect("plain_role", "app", "app");
    for sql in [
        "SELECT dyn(reverse('1 TCELES'))",
        "SELECT dyn(substr(sql, 99) || 'SELECT 1') FROM commands",
        "DO $$ BEGIN EXECUTE reverse('1 TCELES'); END $$",
        "SELECT query_to_xml(reverse('1 TCELES'), true, true, '')",
    ] {
        assert_eq!(told(&query(&mut plain, sql)), "", "{sql}");
    }
    let before = written(&stand);
    assert_eq!(sqlstate(&query(&mut plain, "SELECT by_reverse()")), "", "it is skipped with a warning");
    assert_eq!(sqlstate(&query(&mut plain, "SELECT lent()")), "25006");
    assert_eq!(written(&stand), before);
    // Membership counts, and so does a slot that gives out messages.
    stand.cluster.primary().psql("GRANT app TO plain_role").expect("a membership");
    let refused = |sql: &str, plain: &mut Raw| (sqlstate(&query(plain, sql)) == "25006").then_some(());
    wait::until(LONG, "a member", || refused("SELECT dyn(reverse('1 TCELES'))", &mut plain));
    stand.cluster.primary().psql("REVOKE app FROM plain_role").expect("no membership");
    let passes = |sql: &str, plain: &mut Raw| sqlstate(&query(plain, sql)).is_empty().then_some(());
    wait::until(LONG, "no member", || passes("SELECT dyn(reverse('1 TCELES'))", &mut plain));
    let slot = "SELECT pg_create_logical_replication_slot('watch', 'test_decoding')";
    stand.cluster.primary().psql_in("app", slot).expect("a slot");
    wait::until(LONG, "a slot", || refused("SELECT dyn(reverse('1 TCELES'))", &mut plain));
    let revoke = "DO $$ DECLARE f regprocedure; BEGIN FOR f IN SELECT oid FROM pg_proc WHERE proname = 'pg_logical_emit_message' LOOP \
                  EXECUTE 'REVOKE EXECUTE ON FUNCTION ' || f || ' FROM PUBLIC'; END LOOP; END $$";
    stand.cluster.primary().psql_in("app", revoke).expect("revoked");
    wait::until(LONG, "revoked", || passes("SELECT dyn(reverse('1 TCELES'))", &mut plain));
}
