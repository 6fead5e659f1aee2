//! Ways to write that PostgreSQL 16, 17 and 18 have added, in every form: nothing is written, and the layer that stopped it is the
//! one that `ways_around_later.<mode>.expected` names, with the letters of `ways_around_matrix`.
//!
//! `PGSLUICE_TEST_UPDATE=1` with `PGSLUICE_TEST_POSTGRES=18` writes the files anew.

use crate::stand::{LONG, Stand, query, sqlstate, talk};
use crate::ways_around_matrix::{same, table};
use crate::ways_around_schema::{Observer, attempt, close, run, stand};
use pgsluice_fixtures::raw::message::{bind, copy_data, copy_done, execute, function_call, parse, query as q, sync};
use pgsluice_fixtures::{Frame, Postgres, Raw};

/// Each with the version that has brought it.
const WAYS: &[(u32, &str)] = &[
    (16, "SELECT pg_log_standby_snapshot()"),
    (16, "SELECT later()"),
    (16, "SELECT later_in_pieces()"),
    (16, "SELECT * FROM later_view"),
    (16, "SELECT 1::later_domain"),
    (16, "SELECT pg_input_is_valid('1', 'later_domain')"),
    (16, "SELECT JSON_OBJECTAGG(id: later()) FROM t"),
    (16, "SELECT JSON_ARRAY(later() RETURNING text)"),
    (16, "SELECT any_value(later()) FROM t"),
    (16, "VACUUM (ONLY_DATABASE_STATS)"),
    (16, "REINDEX DATABASE"),
    (16, "COPY t FROM STDIN (DEFAULT '\\D')"),
    (17, "SELECT pg_logical_emit_message(true, 'later', 'message', true)"),
    (17, "SELECT pg_create_logical_replication_slot('x', 'test_decoding', false, false, true)"),
    (17, "SELECT pg_sync_replication_slots()"),
    (
        17,
        "MERGE INTO t USING (VALUES (900)) n (id) ON t.id = n.id WHEN NOT MATCHED THEN INSERT VALUES (n.id, 'x') RETURNING merge_action(), t.id",
    ),
    (17, "MERGE INTO t USING (VALUES (900)) n (id) ON t.id = n.id WHEN NOT MATCHED BY SOURCE THEN DELETE"),
    (
        17,
        "WITH x AS (MERGE INTO t USING (VALUES (1)) n (id) ON t.id = n.id WHEN MATCHED THEN DELETE RETURNING t.id) SELECT * FROM x",
    ),
    (17, "COPY t FROM STDIN (ON_ERROR ignore, LOG_VERBOSITY verbose)"),
    (17, "SELECT JSON_VALUE('1', '$' RETURNING later_domain)"),
    (17, "SELECT JSON_VALUE('{}', '$.a' RETURNING int DEFAULT later() ON EMPTY)"),
    (17, "SELECT * FROM JSON_TABLE('[1]', '$[*]' COLUMNS (a later_domain PATH '$'))"),
    (17, "SELECT * FROM JSON_TABLE('[1]', '$[*]' COLUMNS (a int PATH '$.x' DEFAULT later() ON EMPTY))"),
    (17, "EXPLAIN (ANALYZE, SERIALIZE, MEMORY) SELECT later()"),
    (17, "EXPLAIN (ANALYZE, SERIALIZE) CREATE TABLE n AS SELECT 1"),
    (18, "SELECT pg_clear_relation_stats('public', 'measured')"),
    (18, "SELECT U&\"pg_clear\\005frelation_stats\"('public', 'measured')"),
    (18, "SELECT pg_clear_attribute_stats('public', 'measured', 'a', false)"),
    (18, "SELECT pg_restore_relation_stats('schemaname', 'public', 'relname', 'measured', 'reltuples', 7::real)"),
    (
        18,
        "SELECT pg_restore_attribute_stats('schemaname', 'public', 'relname', 'measured', 'attname', 'a', 'inherited', false, 'null_frac', 0.5::real)",
    ),
    (18, "INSERT INTO t VALUES (900, 'x') RETURNING WITH (OLD AS o, NEW AS n) o.id, n.id"),
    (18, "UPDATE t SET v = 'x' RETURNING old.v, new.v"),
    (18, "ANALYZE ONLY t"),
    (18, "VACUUM ONLY t"),
];

/// What a READ ONLY transaction may run although it writes, of PostgreSQL's own, by version: rows of a catalog.
const WRITERS: [(u32, &str, &str); 2] = [
    (16, "pg_replication_origin_create('later' || clock_timestamp())", "pg_replication_origin_create(text)"),
    (18, "pg_clear_relation_stats('public', 'measured')", "pg_clear_relation_stats(text, text)"),
];

/// A slot cannot be made while a transaction is prepared.
const SCHEMA: &str = "
ROLLBACK PREPARED 'waiting';
CREATE TABLE measured (a int);
INSERT INTO measured SELECT generate_series(1, 100);
ANALYZE measured;
ALTER TABLE measured OWNER TO app;
CREATE FUNCTION later() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM $writer; RETURN 1; END $$;
CREATE FUNCTION later_in_pieces() RETURNS int LANGUAGE plpgsql AS $p$ BEGIN EXECUTE 'SELECT pg_' || $$$rest$$; RETURN 1; END $p$;
CREATE VIEW later_view AS SELECT later();
CREATE FUNCTION later_check(int) RETURNS bool LANGUAGE sql AS 'SELECT later() = 1';
CREATE DOMAIN later_domain AS int CHECK (later_check(VALUE));
GRANT SELECT ON later_view TO app;
GRANT EXECUTE ON FUNCTION pg_log_standby_snapshot() TO app;
GRANT EXECUTE ON FUNCTION $function TO app;
ALTER ROLE app REPLICATION;
SELECT pg_create_logical_replication_slot('watch', 'test_decoding');
";

/// What these ways change, that others do not.
const CHANGES: [&str; 4] = [
    "SELECT concat_ws(' ', relpages, reltuples) FROM pg_class WHERE relname = 'measured'",
    "SELECT string_agg(s.stanullfrac::text, ' ' ORDER BY s.staattnum) FROM pg_statistic s WHERE s.starelid = 'measured'::regclass",
    "SELECT count(*)::text FROM pg_replication_origin",
    "SELECT count(*)::text FROM pg_logical_slot_peek_changes('watch', NULL, NULL) WHERE data LIKE '%message%'",
];

/// Functions that may be called by a message, with the version that has brought them and what they are given.
const CALLS: [(u32, &str, &[&[u8]]); 4] = [
    (16, "pg_log_standby_snapshot()", &[]),
    (16, "later()", &[]),
    (17, "pg_logical_emit_message(bool, text, text, bool)", &[b"t", b"later", b"message", b"t"]),
    (18, "pg_clear_relation_stats(text, text)", &[b"public", b"measured"]),
];

/// What they have added that writes nothing, or only to a session's own tables.
const HARMLESS: &[(u32, &str)] = &[
    (16, "SELECT any_value(id) > 0 FROM t"),
    (16, "SELECT array_length(array_shuffle(ARRAY[1, 2]), 1), array_length(array_sample(ARRAY[1, 2], 1), 1)"),
    (16, "SELECT random_normal() IS NOT NULL"),
    (16, "SELECT pg_input_is_valid('1', 'int4'), pg_input_is_valid('x', 'int4')"),
    (16, "SELECT * FROM pg_input_error_info('x', 'int4')"),
    (16, "SELECT '{}' IS JSON OBJECT, JSON_OBJECT('a': 1), JSON_ARRAY(1, 2)"),
    (16, "SELECT JSON_ARRAYAGG(id), JSON_OBJECTAGG(id: v) FROM t"),
    (16, "SELECT SYSTEM_USER IS NOT NULL, date_add('2026-01-01 00:00+00', '1 day', 'UTC') IS NOT NULL"),
    (16, "EXPLAIN (GENERIC_PLAN, COSTS OFF) SELECT * FROM t WHERE id = $1"),
    (16, "COPY mine FROM STDIN (DEFAULT 'x')"),
    (17, "SELECT random(1, 5) > 0, to_bin(5), xmltext('a')"),
    (17, "SELECT JSON_VALUE('{\"a\": 1}', '$.a' RETURNING int), JSON_QUERY('[1]', '$'), JSON_EXISTS('[1]', '$[0]')"),
    (17, "SELECT JSON('{}'), JSON_SCALAR(1), JSON_SERIALIZE('{}')"),
    (17, "SELECT * FROM JSON_TABLE('[1, 2]', '$[*]' COLUMNS (n FOR ORDINALITY, a int PATH '$'))"),
    (17, "SELECT count(*) > 0 FROM pg_get_wait_events()"),
    (
        17,
        "EXPLAIN (ANALYZE, SERIALIZE, COSTS OFF, TIMING OFF, SUMMARY OFF, BUFFERS OFF) SELECT count(*) FROM t WHERE id < 0",
    ),
    (
        17,
        "MERGE INTO mine USING (VALUES (1)) n (a) ON mine.a = n.a WHEN NOT MATCHED THEN INSERT VALUES (n.a) RETURNING merge_action(), mine.a",
    ),
    (17, "MERGE INTO mine USING (VALUES (2)) n (a) ON mine.a = n.a WHEN NOT MATCHED BY SOURCE THEN DELETE"),
    (17, "COPY mine FROM STDIN (ON_ERROR ignore)"),
    (18, "SELECT uuidv7() IS NOT NULL, uuidv4() IS NOT NULL, array_sort(ARRAY[3, 1]), array_reverse(ARRAY[1, 2])"),
    (18, "SELECT crc32('x'::bytea), reverse('x'::bytea), gamma(5)"),
    (18, "SELECT last_value FROM pg_get_sequence_data('s')"),
    (18, "INSERT INTO mine VALUES (7) RETURNING old.a, new.a"),
    (18, "UPDATE mine SET a = 8 WHERE a = 7 RETURNING WITH (OLD AS o) o.a, mine.a"),
];

/// A stand with all of it, its major version, and None where that has none of it.
fn later_stand(mode: &str) -> Option<(Stand, u32)> {
    let major = Postgres::any().expect("a server").version.major;
    let Some((_, writer, function)) = WRITERS.iter().rfind(|(since, ..)| major >= *since) else {
        println!("SKIPPED: PostgreSQL {major} has none of them");
        return None;
    };
    let stand = stand(mode);
    let rest = writer.strip_prefix("pg_").expect("a function of PostgreSQL's own");
    let sql = SCHEMA.replace("$writer", writer).replace("$rest", rest).replace("$function", function);
    let mut operator = stand.operator();
    for sql in sql.split(";\n").filter(|sql| !sql.trim().is_empty()) {
        let frames = query(&mut operator, sql);
        assert_eq!(sqlstate(&frames), "", "{sql}: {:?}", frames.iter().find_map(Frame::error));
    }
    drop(operator);
    stand.cluster.wait_for_replay(LONG).expect("a replica that follows");
    Some((stand, major))
}

fn later_ways(mode: &str) {
    let Some((stand, major)) = later_stand(mode) else { return };
    let ways: Vec<&str> = WAYS.iter().filter(|(since, _)| major >= *since).map(|(_, way)| *way).collect();
    let observer = Observer::with(&stand, &CHANGES);
    let (found, _) = table(mode, stand, observer, &ways, 1);
    let path = format!("{}/tests/maintenance/ways_around_later.{mode}.expected", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("PGSLUICE_TEST_UPDATE").is_some() && major >= 18 {
        std::fs::write(&path, &found).unwrap();
    }
    let of_others = |line: &&str| WAYS.iter().any(|(since, way)| *since > major && line.ends_with(&format!("| {way}")));
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    let expected: Vec<&str> = expected.lines().filter(|line| !of_others(line)).collect();
    same(&expected.join("\n"), &found);
}

#[test]
fn later_writers_are_refused_in_transaction_mode() {
    later_ways("transaction");
}

#[test]
fn later_writers_are_refused_in_session_mode() {
    later_ways("session");
}

#[test]
fn later_writers_are_refused_in_statement_mode() {
    later_ways("statement");
}

#[test]
fn later_writers_are_refused_by_message_too() {
    for mode in ["transaction", "session", "statement"] {
        let Some((stand, major)) = later_stand(mode) else { return };
        let oid = |name: &str| {
            let sql = format!("SELECT '{name}'::regprocedure::oid");
            stand.cluster.primary().psql_in("app", &sql).expect("a number").trim().parse().expect("a number")
        };
        let calls = CALLS.iter().filter(|(since, ..)| major >= *since);
        let calls = calls.map(|(_, name, given)| {
            let given: Vec<Option<&[u8]>> = given.iter().copied().map(Some).collect();
            (name, function_call(oid(name), &given))
        });
        let calls: Vec<_> = calls.collect();
        close(&stand);
        let mut observer = Observer::with(&stand, &CHANGES);
        let before = observer.everything();
        for (name, call) in &calls {
            let mut raw = stand.app();
            assert_eq!(sqlstate(&talk(&mut raw, call, 1)), "25006", "{mode}: {name}");
            let behind = [parse("", "SELECT 1", &[]), bind("", "", &[]), execute("", 0), call.clone(), sync()].concat();
            attempt(&mut raw, &behind, 1);
            let in_block = [q("BEGIN"), call.clone(), q("COMMIT")].concat();
            attempt(&mut raw, &in_block, 3);
            assert_eq!(observer.everything(), before, "{mode}: {name} has written");
        }
    }
}

#[test]
fn what_later_versions_read_with_runs() {
    for mode in ["transaction", "session"] {
        let Some((stand, major)) = later_stand(mode) else { return };
        let mut pair = [stand.app(), stand.direct(false)];
        for raw in &mut pair {
            run(raw, "CREATE TEMP TABLE mine (a int)");
        }
        close(&stand);
        let [ours, direct] = &mut pair;
        run(direct, "SET default_transaction_read_only = on");
        let said = |raw: &mut Raw, bytes: &[u8]| {
            let frames = talk(raw, bytes, 1);
            let frames = frames.iter().filter(|frame| frame.tag != b'S');
            frames.map(|frame| (frame.tag as char, frame.error().map(|error| error.to_string()))).collect::<Vec<_>>()
        };
        let mut told = Vec::new();
        for (_, sql) in HARMLESS.iter().filter(|(since, _)| major >= *since) {
            let data = if sql.starts_with("COPY") { [copy_data(b"5\nx\n"), copy_done()].concat() } else { Vec::new() };
            let batch = [parse("", sql, &[]), bind("", "", &[]), execute("", 0), data.clone(), sync()].concat();
            for bytes in [[q(sql), data].concat(), batch] {
                let (ours, direct) = (said(ours, &bytes), said(direct, &bytes));
                if ours != direct {
                    told.push(format!("{mode}: {sql}: {ours:?}, direct {direct:?}"));
                }
            }
        }
        assert!(told.is_empty(), "{}", told.join("\n"));
    }
}
