//! What a call, an operator, a keyword or the name of a type could resolve to: overloads of PostgreSQL's own among it; and what only looks like it.

use crate::stand::{LONG, Stand, query, sqlstate, talk};
use crate::ways_around_schema::attempt;
use pgsluice_fixtures::raw::message::{bind, execute, function_call, parse, query as q, sync};
use pgsluice_fixtures::{Frame, Raw};

const SCHEMA: &str = "
CREATE FUNCTION emits() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_logical_emit_message(false, 'hidden', 'message'); RETURN 1; END $$;
CREATE FUNCTION lower(int, int) RETURNS int LANGUAGE sql AS 'SELECT emits()';
CREATE FUNCTION upper(int, int DEFAULT 2) RETURNS int LANGUAGE sql AS 'SELECT emits()';
CREATE FUNCTION int_text(int, text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN PERFORM emits(); RETURN true; END $$;
CREATE OPERATOR <= (FUNCTION = int_text, LEFTARG = int, RIGHTARG = text);
CREATE OPERATOR >= (FUNCTION = int_text, LEFTARG = int, RIGHTARG = text);
CREATE OPERATOR < (FUNCTION = int_text, LEFTARG = int, RIGHTARG = text);
CREATE OPERATOR > (FUNCTION = int_text, LEFTARG = int, RIGHTARG = text);
CREATE OPERATOR = (FUNCTION = int_text, LEFTARG = int, RIGHTARG = text);
CREATE OPERATOR <> (FUNCTION = int_text, LEFTARG = int, RIGHTARG = text);
CREATE OPERATOR ~~ (FUNCTION = int_text, LEFTARG = int, RIGHTARG = text);
CREATE OPERATOR !~~ (FUNCTION = int_text, LEFTARG = int, RIGHTARG = text);
CREATE OPERATOR ~~* (FUNCTION = int_text, LEFTARG = int, RIGHTARG = text);
CREATE OPERATOR !~~* (FUNCTION = int_text, LEFTARG = int, RIGHTARG = text);
CREATE OPERATOR ~ (FUNCTION = int_text, LEFTARG = int, RIGHTARG = text);
CREATE OPERATOR !~ (FUNCTION = int_text, LEFTARG = int, RIGHTARG = text);
CREATE FUNCTION is_one(int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN PERFORM emits(); RETURN true; END $$;
CREATE DOMAIN dom AS int CHECK (is_one(VALUE));
CREATE TYPE pair AS (a int, b dom);
CREATE FUNCTION of_row(t) RETURNS int LANGUAGE sql AS 'SELECT emits()';
CREATE VIEW emview AS SELECT emits() AS x;
CREATE SCHEMA s2;
GRANT USAGE ON SCHEMA s2 TO app;
CREATE FUNCTION s2.dblink_exec(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION pg_file_write(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION s2.dblink(int) RETURNS int LANGUAGE sql AS 'SELECT emits()';
GRANT SELECT ON ALL TABLES IN SCHEMA public TO app;
";

const WAYS: &[&str] = &[
    "SELECT lower(1, 2)",
    "SELECT upper(1)",
    "SELECT upper(id) FROM t",
    "SELECT id FROM t WHERE lower(id, id) = 1",
    "SELECT 1 BETWEEN 'a'::text AND 'b'::text",
    "SELECT 1 NOT BETWEEN 'a'::text AND 'b'::text",
    "SELECT 1 BETWEEN SYMMETRIC 'a'::text AND 'b'::text",
    "SELECT 1 LIKE 'a'::text",
    "SELECT 1 NOT LIKE 'a'::text",
    "SELECT 1 ILIKE 'a'::text",
    "SELECT 1 NOT ILIKE 'a'::text",
    "SELECT 1 SIMILAR TO 'a'::text",
    "SELECT 1 NOT SIMILAR TO 'a'::text",
    "SELECT 1 IN ('a'::text, 'b'::text)",
    "SELECT 1 NOT IN ('a'::text, 'b'::text)",
    "SELECT 1 = ANY (ARRAY['a'::text])",
    "SELECT 1 IS DISTINCT FROM 'a'::text",
    "SELECT 1 IS NOT DISTINCT FROM 'a'::text",
    "SELECT NULLIF(1, 'a'::text)",
    "SELECT CASE 1 WHEN 'a'::text THEN 1 END",
    "SELECT 1 OPERATOR(public.<=) 'a'::text",
    "SELECT '1'::dom",
    "SELECT dom '1'",
    "SELECT CAST(1 AS dom)",
    "SELECT dom(1)",
    "SELECT (1).dom",
    "SELECT ARRAY['1']::dom[]",
    "SELECT '(1,1)'::pair",
    "SELECT array_in('{1}', 'dom'::regtype::oid, -1)",
    "SELECT domain_in('1', 'dom'::regtype::oid, -1)",
    "SELECT json_populate_record(null::pair, '{\"b\": 1}')",
    "SELECT * FROM json_to_record('{\"b\": 1}') AS x (a int, b dom)",
    "SELECT * FROM json_populate_recordset((SELECT null::pair), '[{\"b\": 1}]')",
    "SELECT * FROM XMLTABLE('/a' PASSING xml '<a>1</a>' COLUMNS rows dom PATH '.')",
    "SELECT t.of_row FROM t",
    "SELECT of_row(t) FROM t",
    "SELECT * FROM emview",
    "WITH emview AS (SELECT * FROM emview) SELECT * FROM emview",
    "SELECT * FROM (WITH emview AS (SELECT 1) SELECT * FROM emview) x, emview",
    "WITH x AS (SELECT 1 AS a) SELECT * FROM x, public.emview",
    "SELECT s2.dblink(1)",
    "DO $$ BEGIN EXECUTE 'SELECT pg_logical_' || 'emit_message(false, ''hidden'', ''x'')'; END $$",
    "DO $$ BEGIN EXECUTE format('SELECT %s%s(false, ''hidden'', ''x'')', 'pg_logical_emit', '_message'); END $$",
    "SELECT (0).lo_create",
    "SELECT s2.dblink_exec(1), (0).lo_create",
    "SELECT pg_file_write(1), lo_create(0)",
    "DO $$ BEGIN FOR i IN SELECT 1 FROM t LOOP PERFORM lower(1, 2); END LOOP; END $$",
    "SELECT * FROM t a JOIN t b ON a.v LIKE 'x' ESCAPE lower(1, 2)::text",
];

const FROM_16: &[&str] =
    &["SELECT pg_input_is_valid('1', 'dom')", "SELECT * FROM pg_input_error_info('1', 'public.dom')"];
const FROM_17: &[&str] = &[
    "SELECT JSON_VALUE('1', '$' RETURNING dom)",
    "SELECT JSON_QUERY('1', '$' RETURNING dom)",
    "SELECT * FROM JSON_TABLE('{\"a\": 1}', '$' COLUMNS (a dom PATH '$.a'))",
];

/// What PostgreSQL runs, and nothing of it writes.
const HARMLESS: &[&str] = &[
    "SELECT lower('x')",
    "SELECT lower(v) FROM t",
    "SELECT id FROM t WHERE id <= 5 AND id >= 1",
    "SELECT id FROM t WHERE id = 1",
    "SELECT 1 BETWEEN 0 AND 2",
    "SELECT id BETWEEN 0 AND 2 FROM t",
    "SELECT id FROM t WHERE id IN (1, 2, 3)",
    "SELECT count(*) FROM t",
    "SELECT u.id dom FROM t u",
    "SELECT id::int dom FROM t",
    "SELECT 1 dom",
    "SELECT (SELECT id dom FROM t LIMIT 1)",
    "SELECT * FROM t dom(a, b)",
    "SELECT * FROM t AS emview",
    "SELECT * FROM t lower(a, b)",
    "WITH emview AS (SELECT 1 AS a) SELECT * FROM emview",
    "WITH emview (a) AS MATERIALIZED (SELECT 1), x AS (SELECT * FROM emview) SELECT * FROM x, emview",
    "WITH RECURSIVE emview AS (SELECT 1 AS a UNION SELECT a + 1 FROM emview WHERE a < 3) SELECT * FROM emview",
    "SELECT s2.dblink_exec(1)",
    "SELECT pg_file_write(1)",
    "SELECT set_config('my.' || 'x', 'default_transaction_read_only', false)",
    "SELECT json_populate_record(null::t, '{\"id\": 1}')",
    "PREPARE aliased AS SELECT u.id dom FROM t u",
    "EXECUTE aliased",
];

fn stand(mode: &str) -> Stand {
    let stand = Stand::new(&format!("default_pool_size = 60\npool_mode = \"{mode}\""));
    let frames = query(&mut stand.operator(), SCHEMA);
    assert_eq!(sqlstate(&frames), "", "{:?}", frames.iter().find_map(Frame::error));
    stand.cluster.wait_for_replay(LONG).expect("a replica that follows");
    stand
        .cluster
        .primary()
        .psql_in("app", "SELECT pg_create_logical_replication_slot('watch', 'test_decoding')")
        .expect("a slot");
    stand
}

fn version(stand: &Stand) -> u32 {
    let number = stand.cluster.primary().psql_in("app", "SHOW server_version_num").expect("a version");
    number.trim().parse::<u32>().expect("a number") / 10_000
}

pub fn messages(stand: &Stand) -> String {
    stand.cluster.primary().psql_in("app", "CHECKPOINT").expect("what is written is on disk");
    let sql = "SELECT count(*) FROM pg_logical_slot_peek_changes('watch', NULL, NULL) WHERE data LIKE '%hidden%'";
    stand.cluster.primary().psql_in("app", sql).expect("a slot")
}

fn refused(name: &str, raw: &mut Raw, bytes: &[u8], told: &mut Vec<String>) {
    let frames = attempt(raw, bytes, 1).unwrap_or_default();
    let error = frames.iter().find_map(Frame::error);
    let read_only = error.as_ref().is_some_and(|error| error.code() == "25006");
    if !read_only {
        told.push(format!("{name}: {:?}", error.map(|error| error.message().to_owned())));
    }
}

fn what_could_be_meant_is_refused(mode: &str) {
    let stand = stand(mode);
    let mut ways = WAYS.to_vec();
    let major = version(&stand);
    ways.extend(if major >= 16 { FROM_16 } else { &[] });
    ways.extend(if major >= 17 { FROM_17 } else { &[] });
    let mut early = stand.app();
    for (at, way) in ways.iter().enumerate().filter(|(_, way)| !way.starts_with("DO")) {
        let frames = talk(&mut early, &[parse(&format!("p{at}"), way, &[]), sync()].concat(), 1);
        // PostgreSQL 14 and 15 differ in what they take; what does not parse cannot run either.
        if !sqlstate(&frames).is_empty() {
            eprintln!("not known to this version: {way}: {:?}", frames.iter().find_map(Frame::error));
        }
    }
    stand.on_primary();
    let before = messages(&stand);
    let (mut simple, mut batches, mut told) = (stand.app(), stand.app(), Vec::new());
    for (at, way) in ways.iter().enumerate() {
        refused(&format!("simple: {way}"), &mut simple, &q(way), &mut told);
        let bytes = [parse("", way, &[]), bind("", "", &[]), execute("", 0), sync()].concat();
        refused(&format!("extended: {way}"), &mut batches, &bytes, &mut told);
        if !way.starts_with("DO") {
            let bytes = [bind("", &format!("p{at}"), &[]), execute("", 0), sync()].concat();
            let frames = attempt(&mut early, &bytes, 1).unwrap_or_default();
            if !["25006", "26000"].contains(&&*sqlstate(&frames)) {
                told.push(format!("parsed before: {way}: {}", sqlstate(&frames)));
            }
        }
    }
    for name in ["array_in", "query_to_xml", "table_to_xml", "json_populate_record", "domain_in"] {
        let sql =
            format!("SELECT oid FROM pg_proc WHERE proname = '{name}' AND pronamespace = 'pg_catalog'::regnamespace");
        let oid = stand.cluster.primary().psql_in("app", &sql).expect("a number");
        let call = function_call(
            oid.trim().parse().expect("a number"),
            &[Some(b"SELECT emits()"), Some(b"t"), Some(b"t"), Some(b"")],
        );
        refused(&format!("by number: {name}"), &mut simple, &call, &mut told);
    }
    assert_eq!(messages(&stand), before, "{mode}: something was written:\n{}", told.join("\n"));
    for sql in HARMLESS {
        let frames = query(&mut simple, sql);
        if !sqlstate(&frames).is_empty() {
            told.push(format!(
                "harmless: {sql}: {:?}",
                frames.iter().find_map(Frame::error).map(|error| error.message().to_owned())
            ));
        }
    }
    let frames = query(&mut simple, "SELECT lower(1, 2)");
    let detail = frames.iter().find_map(Frame::error).map(|error| format!("{error:?}")).unwrap_or_default();
    assert!(detail.contains("public.lower() by pg_logical_emit_message"), "{detail}");
    assert!(told.is_empty(), "{mode}:\n{}", told.join("\n"));
}

#[test]
fn what_names_and_keywords_could_resolve_to_is_refused_in_transaction_mode() {
    what_could_be_meant_is_refused("transaction");
}

#[test]
fn what_names_and_keywords_could_resolve_to_is_refused_in_session_mode() {
    what_could_be_meant_is_refused("session");
}
