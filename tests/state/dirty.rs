//! Whatever way a setting was made or a temporary object came into being: it follows its own client, and nobody else sees it.

use crate::stand::{Client, Place, SOON};
use pgsluice_fixtures::raw::message::{bind, execute, parse, sync};
use pgsluice_fixtures::wait;

/// What a client that has set nothing sees.
fn shown(client: &mut Client) -> [String; 3] {
    ["work_mem", "search_path", "statement_timeout"].map(|name| client.value(&format!("SHOW {name}")))
}

const CHANGED: [&str; 3] = ["7MB", "nowhere", "77s"];

#[test]
fn settings_made_by_other_ways_than_set_follow_their_client_alone() {
    let place = Place::new();
    let mut dba = place.direct();
    dba.ask(
        "CREATE TABLE touched (a int);
         CREATE FUNCTION by_view() RETURNS void LANGUAGE plpgsql AS $$BEGIN
            UPDATE pg_settings SET setting = '7MB' WHERE name = 'work_mem';
            UPDATE pg_settings SET setting = 'nowhere' WHERE name = 'search_path';
            UPDATE pg_settings SET setting = '77s' WHERE name = 'statement_timeout'; END$$;
         CREATE FUNCTION by_trigger() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM by_view(); RETURN NULL; END$$;
         CREATE TRIGGER t AFTER INSERT ON touched EXECUTE FUNCTION by_trigger();
         CREATE PROCEDURE by_call() LANGUAGE plpgsql AS $$BEGIN PERFORM by_view(); END$$;
         CREATE FUNCTION by_text() RETURNS text LANGUAGE sql AS $$SELECT query_to_xml(
            'SELECT set_config(''work_mem'',''7MB'',false),set_config(''search_path'',''nowhere'',false),set_config(''statement_timeout'',''77s'',false)',
            true, true, '')::text$$;
         CREATE VIEW own_settings AS SELECT * FROM pg_settings",
    );
    // Found before anybody uses them.
    let (mut one, mut other) = (place.client(), place.client());
    let before = shown(&mut other);
    let in_text = "SELECT set_config('work_mem','7MB',false),set_config('search_path','nowhere',false),\
                   set_config('statement_timeout','77s',false)";
    let quoted = in_text.replace('\'', "''");
    let ways = [
        "UPDATE pg_settings SET setting = CASE name WHEN 'work_mem' THEN '7MB' WHEN 'search_path' THEN 'nowhere' ELSE '77s' END \
         WHERE name IN ('work_mem', 'search_path', 'statement_timeout')"
            .to_owned(),
        "WITH u AS (SELECT 1) UPDATE pg_catalog.pg_settings SET setting = CASE name WHEN 'work_mem' THEN '7MB' WHEN 'search_path' \
         THEN 'nowhere' ELSE '77s' END WHERE name IN ('work_mem', 'search_path', 'statement_timeout')"
            .to_owned(),
        format!("SELECT query_to_xml('{quoted}', true, true, '')"),
        format!("SELECT * FROM ts_stat('SELECT to_tsvector(x.a||x.b||x.c) FROM ({quoted}) x(a, b, c)')"),
        format!("SELECT ts_rewrite('a'::tsquery, 'SELECT ''a''::tsquery, plainto_tsquery(x.a||x.b||x.c) FROM ({}) x(a,b,c)')", quoted),
        "SELECT by_view()".to_owned(),
        "SELECT by_text()".to_owned(),
        "INSERT INTO touched VALUES (1)".to_owned(),
        "CALL by_call()".to_owned(),
        "DO $$BEGIN UPDATE pg_settings SET setting = '7MB' WHERE name = 'work_mem'; SET search_path = nowhere; PERFORM \
         set_config('statement_timeout', '77s', false); END$$"
            .to_owned(),
        format!("PREPARE p AS {in_text}; EXECUTE p"),
        "UPDATE own_settings SET setting = CASE name WHEN 'work_mem' THEN '7MB' WHEN 'search_path' THEN 'nowhere' ELSE '77s' END \
         WHERE name IN ('work_mem', 'search_path', 'statement_timeout')"
            .to_owned(),
    ];
    for way in &ways {
        one.ask(way);
        assert!(place.pins().is_empty(), "{way}: {:?}", place.pins());
        assert_eq!(shown(&mut other), before, "the other's, after {way}");
        assert_eq!(shown(&mut one), CHANGED, "{way}");
        one.ask("DISCARD ALL");
        assert_eq!(shown(&mut one), before, "{way}");
        // A transaction that is rolled back has set nothing.
        if !way.starts_with("PREPARE") {
            one.ask(&format!("BEGIN; {way}; ROLLBACK"));
            assert_eq!((shown(&mut one), shown(&mut other)), (before.clone(), before.clone()), "{way}");
        }
    }
}

#[test]
fn what_runs_a_text_that_is_put_together_keeps_its_server_connection() {
    let place = Place::new();
    let mut dba = place.direct();
    dba.ask("CREATE FUNCTION runs(text) RETURNS void LANGUAGE plpgsql AS $$BEGIN EXECUTE $1; END$$");
    let (mut one, mut other) = (place.client(), place.client());
    let before = shown(&mut other);
    let ways = [
        "SELECT runs('SET work_mem = ''7MB'';SET search_path = nowhere;SET statement_timeout = ''77s'';SET my.own = 1')",
        "SELECT query_to_xml('SELECT set_config(''work_' || 'mem'',''7MB'',false), set_config(''search_path'',''nowhere'',false), \
         set_config(''statement_timeout'',''77s'',false)', true, true, '')",
    ];
    for (way, pin) in ways.into_iter().zip(["function", "settings"]) {
        one.ask(way);
        assert_eq!(place.pins(), [pin], "{way}");
        assert_eq!(shown(&mut one), CHANGED, "{way}");
        one.ask("DISCARD ALL");
        assert!(place.pins().is_empty(), "{way}");
        assert_eq!(shown(&mut other), before, "{way}");
    }
    let text = "SELECT query_to_xml($1, true, true, '')";
    let value = "SELECT set_config('work_mem','7MB',false)";
    let batch = [parse("", text, &[]), bind("", "", &[Some(value.as_bytes())]), execute("", 0), sync()];
    one.0.round_trip(&batch.concat(), SOON).unwrap();
    assert_eq!(place.pins(), ["settings"]);
    one.ask("DISCARD ALL");
    assert_eq!(shown(&mut other), before);
}

#[test]
fn a_seed_is_ones_own_however_it_was_set() {
    let place = Place::new();
    let (mut one, mut other) = (place.client(), place.client());
    for seeds in ["SET seed TO 0.5", "SET seed = 0.5", "SELECT set_config('seed', '0.5', false)", "SELECT setseed(0.5)"]
    {
        let mut direct = place.direct();
        direct.ask(seeds);
        one.ask(seeds);
        for _ in 0..2 {
            assert_eq!(one.value("SELECT random()"), direct.value("SELECT random()"), "{seeds}");
        }
        one.ask("DISCARD ALL");
        other.ask("SELECT 1");
    }
}

#[test]
fn what_comes_into_the_temporary_schema_without_a_word_keeps_its_server_connection() {
    let place = Place::new();
    let mut dba = place.direct();
    dba.ask(
        "CREATE FUNCTION makes() RETURNS void LANGUAGE plpgsql SET search_path = pg_temp, public AS $$BEGIN CREATE TABLE imp (a int); END$$;
         CREATE FUNCTION makes_text(text) RETURNS void LANGUAGE plpgsql AS $$BEGIN EXECUTE 'CREATE ' || $1; END$$;
         CREATE TABLE src (a int)",
    );
    let (mut one, mut other) = (place.client(), place.client());
    let none = "SELECT count(*) FROM pg_class WHERE relname = 'imp'";
    let path = "SET search_path = pg_temp, public";
    for makes in [
        format!("{path}; CREATE TABLE imp (a int)"),
        format!("{path}; CREATE TABLE imp AS SELECT 1 AS a"),
        format!("{path}; SELECT 1 AS a INTO imp"),
        format!("{path}; CREATE VIEW imp AS SELECT 1 AS a"),
        format!("{path}; CREATE SEQUENCE imp"),
        format!("{path}; CREATE TYPE imp AS (a int)"),
        "SELECT set_config('search_path', 'pg_temp, public', false); CREATE TABLE imp (a int)".to_owned(),
        "BEGIN; SET LOCAL search_path = pg_temp, public; CREATE TABLE imp (a int); COMMIT".to_owned(),
        "SELECT makes()".to_owned(),
        format!("{path}; SELECT makes_text('TABLE imp (a int)')"),
        format!("{path}; DO $$BEGIN CREATE TABLE imp (a int); END$$"),
        format!("{path}; EXPLAIN ANALYZE CREATE TABLE imp AS SELECT 1 AS a"),
        format!("{path}; EXPLAIN ANALYZE SELECT 1 AS a INTO imp"),
    ] {
        one.ask(&makes);
        assert_eq!(place.pins(), ["temporary table"], "{makes}");
        one.ask("DISCARD ALL");
        assert!(place.pins().is_empty(), "{makes}");
        assert_eq!(other.value(none), "0", "{makes}");
    }
    for (kind, made) in [
        ("FUNCTION", "imp() RETURNS int LANGUAGE sql AS 'SELECT 1'"),
        ("DOMAIN", "imp AS int"),
        ("TYPE", "imp AS ENUM ('a')"),
    ] {
        one.ask(&format!("{path}; CREATE {kind} {made}"));
        assert_eq!(place.pins(), ["temporary table"], "{kind}");
        one.ask("DISCARD ALL");
        assert!(place.pins().is_empty(), "{kind}");
    }
    // What is not temporary keeps nothing.
    for makes in
        ["CREATE TABLE imp (a int)", "SELECT a INTO imp2 FROM src", "BEGIN; CREATE VIEW imp3 AS SELECT 1; COMMIT"]
    {
        one.ask(makes);
        wait::until(SOON, makes, || place.pins().is_empty().then_some(()));
    }
    one.ask("DROP TABLE imp, imp2; DROP VIEW imp3");
}

/// Each sets what it sets in its own way, in something that is not named in the statement or is not what it looks like.
#[test]
fn settings_made_out_of_sight_follow_their_client_alone() {
    let place = Place::new();
    let mut dba = place.direct();
    dba.ask(
        "CREATE VIEW looks AS SELECT set_config('work_mem', '7MB', false) AS x;
         CREATE VIEW looks_again AS SELECT x FROM looks;
         CREATE TABLE defaulted (a int, b text DEFAULT set_config('work_mem', '7MB', false));
         CREATE TABLE checked (a text CHECK (set_config('work_mem', a, false) IS NOT NULL));
         CREATE DOMAIN sets AS text CHECK (set_config('work_mem', VALUE, false) IS NOT NULL);
         CREATE TABLE ruled (a int); CREATE RULE r AS ON INSERT TO ruled DO ALSO SELECT set_config('work_mem', '7MB', false);
         CREATE TABLE fired (a int); CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE TRIGGER t BEFORE INSERT ON fired FOR EACH ROW
            WHEN (set_config('work_mem', '7MB', false) IS NOT NULL) EXECUTE FUNCTION nothing();
         CREATE FUNCTION defaults(a text DEFAULT set_config('work_mem', '7MB', false)) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
         CREATE FUNCTION adds(int, int) RETURNS int LANGUAGE plpgsql AS $$BEGIN SET work_mem = '7MB'; RETURN 1; END$$;
         CREATE OPERATOR <+> (LEFTARG = int, RIGHTARG = int, FUNCTION = adds);
         CREATE AGGREGATE sums(int) (SFUNC = adds, STYPE = int, INITCOND = '0');
         CREATE FUNCTION begins() RETURNS text BEGIN ATOMIC SELECT set_config('work_mem', '7MB', false); END;
         CREATE FUNCTION resets() RETURNS void LANGUAGE plpgsql AS $$BEGIN RESET work_mem; END$$",
    );
    let (mut one, mut other) = (place.client(), place.client());
    let before = shown(&mut other);
    for way in [
        "SELECT * FROM looks",
        "SELECT * FROM looks_again",
        "INSERT INTO defaulted (a) VALUES (1)",
        "INSERT INTO checked VALUES ('7MB')",
        "SELECT '7MB'::sets",
        "INSERT INTO ruled VALUES (1)",
        "INSERT INTO fired VALUES (1)",
        "SELECT defaults()",
        "SELECT 1 <+> 1",
        "SELECT sums(x) FROM (VALUES (1)) v (x)",
        "SELECT begins()",
        "BEGIN; SET LOCAL work_mem = '7MB'; SET work_mem FROM CURRENT; COMMIT",
        "UPDATE \"pg_settings\" SET setting = '7MB' WHERE name = 'work_mem'",
        "UPDATE U&\"pg\\005fsettings\" SET setting = '7MB' WHERE name = 'work_mem'",
        "UPDATE ONLY pg_settings AS s SET setting = '7MB' WHERE name = 'work_mem'",
        "EXPLAIN ANALYZE UPDATE pg_settings SET setting = '7MB' WHERE name = 'work_mem'",
        "EXPLAIN ANALYZE SELECT set_config('work_mem', '7MB', false)",
        "COPY (SELECT set_config('work_mem', '7MB', false)) TO STDOUT",
        "BEGIN; DECLARE c CURSOR FOR SELECT set_config('work_mem', '7MB', false); FETCH c; COMMIT",
        "CREATE TEMP TABLE t ON COMMIT DROP AS SELECT set_config('work_mem', '7MB', false)",
        "SELECT set_config(n, v, false) FROM (VALUES ('work_mem', '7MB')) x (n, v)",
        "SELECT table_to_xml('looks', true, true, '')",
        "SELECT query_to_xml('TABLE looks', true, true, '')",
        "DO $$BEGIN EXECUTE 'SET work_mem = ''7MB'''; END$$",
        "DO $$DECLARE x text := 'work_' || 'mem'; BEGIN EXECUTE format('SET %I = %L', x, '7MB'); END$$",
    ] {
        one.ask(way);
        let pinned = !place.pins().is_empty();
        assert!(pinned || shown(&mut other) == before, "the other's, after {way}");
        assert_eq!(shown(&mut one)[0], "7MB", "{way}");
        one.ask("DISCARD ALL");
        assert_eq!(shown(&mut other), before, "{way}");
        assert_eq!(shown(&mut one), before, "{way}");
    }
    for way in [
        "SELECT set_config('work_mem', '7MB', false) WHERE false",
        "SELECT CASE WHEN pg_backend_pid() < 0 THEN set_config('work_mem', '7MB', false) END",
        "EXPLAIN SELECT set_config('work_mem', '7MB', false)",
        "BEGIN; DECLARE c CURSOR FOR SELECT set_config('work_mem', '7MB', false); COMMIT",
        "PREPARE p AS SELECT set_config('work_mem', '7MB', false)",
        "SET work_mem = '7MB'; SELECT resets()",
    ] {
        one.ask(way);
        let pinned = !place.pins().is_empty();
        assert!(pinned || shown(&mut other) == before, "the other's, after {way}");
        assert_eq!(shown(&mut one), before, "nothing was set, after {way}");
        one.ask("DISCARD ALL");
    }
}
