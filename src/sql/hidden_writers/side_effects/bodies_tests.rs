use super::*;
use crate::sql::Analyzer;

/// Kinds by their first letters, settings by their names.
fn left(body: &str) -> String {
    words(&by_body(body, Analyzer::default().scope()))
}

fn words(left: &Left) -> String {
    let kinds = [
        (Kinds::LISTEN, "listen"),
        (Kinds::TEMPORARY, "temporary"),
        (Kinds::CURSOR, "cursor"),
        (Kinds::LOCK, "lock"),
        (Kinds::PREPARED, "prepared"),
        (Kinds::OTHER, "other"),
        (Kinds::ENDS, "ends"),
    ];
    let kinds = kinds.iter().filter(|(kind, _)| left.kinds.has(*kind)).map(|(_, word)| (*word).to_owned());
    let names = left.names.iter().map(|name| String::from_utf8_lossy(name).into_owned());
    kinds.chain(names).collect::<Vec<_>>().join(" ")
}

#[test]
fn what_bodies_leave_behind() {
    for (body, what) in [
        ("SELECT set_config('my.key', $1, false)", "my.key"),
        ("SELECT set_config('my.key', $1, true)", ""),
        ("SELECT set_config($1, $2, false)", "other"),
        ("BEGIN PERFORM set_config('My.Key', x, false); RETURN 1; END", "my.key"),
        ("BEGIN x := set_config('my.key', 'y', false); END", "my.key"),
        ("DECLARE x int := 1; BEGIN SET work_mem = '1MB'; SET LOCAL a.b = 1; RESET a.c; END", "work_mem a.c"),
        ("BEGIN IF x THEN SET a.b = 1; ELSE SET a.c TO 2; END IF; END", "a.b a.c"),
        ("BEGIN FOR i IN 1..2 LOOP SET a.b = i; END LOOP; END", "a.b"),
        ("BEGIN <<there>> SET a.b = 1; END", "a.b"),
        ("BEGIN UPDATE t SET a = 1; END", ""),
        ("BEGIN INSERT INTO t VALUES (1) ON CONFLICT DO UPDATE SET a = 1; END", ""),
        ("BEGIN SET ROLE x; END", "other"),
        ("BEGIN CREATE TEMP TABLE t (a int) ON COMMIT DROP; END", "temporary"),
        ("BEGIN CREATE TEMPORARY VIEW v AS SELECT 1; DROP TABLE t; END", "temporary ends"),
        ("BEGIN CREATE TABLE pg_temp.t (a int); CREATE TABLE u (a int); END", "temporary"),
        ("BEGIN ATOMIC SELECT pg_advisory_lock(1); END", "lock"),
        ("BEGIN PERFORM pg_advisory_xact_lock(1); END", ""),
        ("SELECT pg_advisory_unlock(1)", "ends"),
        ("BEGIN LISTEN x; END", "listen"),
        ("BEGIN UNLISTEN x; END", "ends"),
        ("BEGIN EXECUTE 'CREATE TEMP TABLE ' || x || ' (a int)'; END", "temporary"),
        ("BEGIN EXECUTE format('CREATE TEMP TABLE %I (a int)', x); END", "temporary"),
        ("BEGIN q := 'SET my.key = ' || quote_literal(x); EXECUTE q; END", "my.key"),
        ("BEGIN EXECUTE format('SET my.key TO %L', x); END", "my.key"),
        ("BEGIN EXECUTE format('SET %I = 1', x); END", "other"),
        ("BEGIN EXECUTE 'SET ' || x; END", "other"),
        ("BEGIN EXECUTE 'LISTEN ' || x; END", "listen"),
        ("BEGIN EXECUTE 'SELECT set_config(''my.key'', $1, false)' USING x; END", "my.key"),
        ("BEGIN EXECUTE 'DECLARE c CURSOR WITH HOLD FOR SELECT 1'; END", "cursor"),
        ("BEGIN EXECUTE 'SELECT 1'; RAISE 'Set the value of x'; END", ""),
        ("BEGIN RAISE NOTICE 'SET my.key = 1'; END", ""),
        ("BEGIN RETURN NEW; END", ""),
    ] {
        assert_eq!(left(body), what, "{body}");
    }
}

#[test]
fn languages_that_nobody_reads() {
    assert_eq!(words(&by_words("plpy.execute(\"CREATE TEMP TABLE t (a int)\")")), "temporary");
    assert_eq!(words(&by_words("temp = 1")), "");
    assert_eq!(words(&by_words("spi_exec_query('SELECT set_config($1, $2, false)')")), "other");
}

#[test]
fn no_body_takes_long() {
    for piece in ["THEN SET ", "THEN ", "SET x = ", "; ", "'", "EXECUTE '", "CREATE TEMP ", "BEGIN "] {
        let _ = left(&piece.repeat(100_000));
    }
}
