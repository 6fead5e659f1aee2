//! Functions with text that is put together: what only reads whatever its pieces are runs for everybody, also for a role that owns
//! tables. What can be anything is refused. And objects that a SELECT never runs refuse none.

use crate::stand::{Stand, query, sqlstate};
use pgsluice_fixtures::Frame;

/// Parameters, body, and how it is called: reports as many an application has them.
const READS: &[(&str, &str, &str)] = &[
    ("tab regclass", "EXECUTE 'SELECT count(*) FROM ' || tab INTO r", "oid::regclass) FROM pg_class WHERE relname = ('t'"),
    ("tab regclass", "EXECUTE format('SELECT count(*) FROM %s', tab) INTO r", "'t'"),
    ("tab text", "EXECUTE 'SELECT count(*) FROM ' || quote_ident(tab) INTO r", "'t'"),
    ("tab text, lowest int", "EXECUTE format('SELECT count(*) FROM %I WHERE id > $1', tab) INTO r USING lowest", "'t', 3"),
    ("tab name, n int", "EXECUTE format('SELECT count(*) FROM (SELECT 1 FROM %I ORDER BY id LIMIT %s) x', tab, n) INTO r", "'t', 3"),
    ("n int", "EXECUTE 'SELECT count(*) FROM part_' || n INTO r", "1"),
    ("n int", "EXECUTE format('SELECT count(*) FROM part_%s', n) INTO r", "1"),
    ("n int", "EXECUTE 'SELECT ' || (n + 1) || ' + ' || n * 2 INTO r", "id) FROM t WHERE id = (1"),
    ("u uuid", "EXECUTE 'SELECT 1 WHERE ''' || u || ''' IS NOT NULL' INTO r", "'00000000-0000-0000-0000-000000000000'"),
    ("d timestamptz", "EXECUTE 'SELECT count(*) FROM t WHERE now() > ''' || d || '''' INTO r", "now()"),
    ("ids int[]", "EXECUTE 'SELECT count(*) FROM t WHERE id IN (' || array_to_string(ids, ',') || ')' INTO r", "'{1,2}'"),
    ("a int", "r := 0; FOR x IN SELECT table_schema AS s, table_name AS n FROM information_schema.tables WHERE table_name = 't'
        LOOP EXECUTE format('SELECT count(*) FROM %I.%I', x.s, x.n) INTO r; END LOOP", "1"),
    ("a int", "FOR x IN SELECT oid::regclass AS rel FROM pg_class WHERE relname = 't'
        LOOP EXECUTE format('SELECT count(*) FROM %s', x.rel) INTO r; END LOOP", "1"),
    ("a int", "FOR x IN SELECT format('SELECT count(*) FROM %I', relname) AS q FROM pg_class WHERE relname = 't'
        LOOP EXECUTE x.q INTO r; END LOOP", "1"),
    ("a int", "SELECT string_agg(format('SELECT count(*) AS n FROM %I', relname), ' UNION ALL ' ORDER BY relname) INTO q FROM pg_class
        WHERE relname = 't'; EXECUTE 'SELECT sum(n) FROM (' || q || ') x' INTO r", "1"),
    ("a int", "EXECUTE (SELECT string_agg(format('SELECT count(*) FROM %I', relname), ' UNION ALL ') FROM pg_class
        WHERE relname = 't') INTO r", "1"),
    ("a int", "q := ''; FOR x IN SELECT relname FROM pg_class WHERE relname IN ('t', 'part_1') LOOP IF q <> '' THEN q := q || ' UNION ALL '; END IF;
        q := q || format('SELECT count(*) AS n FROM %I', x.relname); END LOOP; EXECUTE 'SELECT sum(n) FROM (' || q || ') x' INTO r", "1"),
    ("a int", "SELECT string_agg(quote_ident(attname), ', ') INTO q FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0;
        EXECUTE 'SELECT count(*) FROM (SELECT ' || q || ' FROM t) x' INTO r", "1"),
    ("a int", "SELECT array_agg(quote_ident(attname)) INTO cols FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0;
        EXECUTE 'SELECT count(*) FROM (SELECT ' || array_to_string(cols, ', ') || ' FROM t) x' INTO r", "1"),
    ("f jsonb", "cols := '{}'; FOR k, v IN SELECT * FROM jsonb_each_text(f) LOOP cols := cols || format('%I = %L', k, v); END LOOP;
        EXECUTE 'SELECT count(*) FROM t WHERE ' || array_to_string(cols, ' AND ') INTO r", "'{\"id\": 1}'"),
    ("tab text", "EXECUTE replace('SELECT count(*) FROM $t$', '$t$', quote_ident(tab)) INTO r", "'t'"),
    ("tab text, descends bool", "EXECUTE 'SELECT id FROM ' || quote_ident(tab) || ' ORDER BY id ' || CASE WHEN descends THEN 'DESC' ELSE 'ASC' END || ' LIMIT 1'
        INTO r", "'t', true"),
    ("a int", "DECLARE rel text := oid::regclass FROM pg_class WHERE relname = 't'; BEGIN EXECUTE 'SELECT count(*) FROM ' || rel INTO r; END", "1"),
    ("a int", "DECLARE n text := quote_ident(relname) AS n FROM pg_class WHERE relname = 't'; BEGIN EXECUTE 'SELECT count(*) FROM ' || n INTO r; END", "1"),
    ("a int", "q := format('SELECT count(*) FROM %I', relname) FROM pg_class WHERE relname = 't'; EXECUTE q INTO r", "1"),
    ("sort text, dir text", "EXECUTE format('SELECT id FROM t ORDER BY %I %s LIMIT 1', sort, CASE dir WHEN 'desc' THEN 'DESC' ELSE 'ASC' END) INTO r", "'id', 'desc'"),
    ("tab text", "DECLARE sql constant text := 'SELECT count(*) FROM %I'; BEGIN EXECUTE format(sql, tab) INTO r; END", "'t'"),
    ("a int", "q := $q$ SELECT v FROM t WHERE id = %s $q$; q := format(q, a); EXECUTE q INTO r", "1"),
    ("tab text", "q := 'SELECT count(*) FROM :tab'; q := replace(q, ':tab', quote_ident(tab)); EXECUTE q INTO r", "'t'"),
    ("lowest int, tab text", "IF lowest IS NULL THEN lowest := 0; END IF; EXECUTE format('SELECT count(*) FROM %I WHERE id > %s', tab, lowest) INTO r", "1, 't'"),
    ("tab text", "IF tab IS NULL THEN tab := 't'; END IF; EXECUTE 'SELECT count(*) FROM ' || quote_ident(tab) INTO r", "'t'"),
    ("vacuum bool, cluster int", "vacuum := true; cluster := 2; IF vacuum THEN r := cluster; END IF", "true, 1"),
    ("a int", "DECLARE vacuum boolean; reindex int = 3; BEGIN vacuum := true; reindex = 4; r := reindex; END", "1"),
];

/// The same of text that can be anything: each of these would change a relation in place.
const ANYTHING: &[(&str, &str, &str)] = &[
    ("s text", "EXECUTE s", "reverse('t EZYLANA')"),
    ("a int", "SELECT sql INTO q FROM commands; EXECUTE q", "1"),
    ("a int", "SELECT format('%s', sql) INTO q FROM commands; EXECUTE q", "1"),
    ("a int", "EXECUTE (SELECT string_agg(sql, '; ') FROM commands)", "1"),
    (
        "a int",
        "SELECT quote_ident('x') INTO q FROM commands UNION SELECT sql FROM commands ORDER BY 1 LIMIT 1; EXECUTE q",
        "1",
    ),
    ("a int", "FOR x IN SELECT sql AS q FROM commands LOOP EXECUTE x.q; END LOOP", "1"),
    ("a int", "FOR x IN SELECT commands.sql AS q, quote_ident(sql) AS q FROM commands LOOP EXECUTE x.q; END LOOP", "1"),
    ("a int", "cols := ARRAY['ANA', 'LYZE t']; EXECUTE array_to_string(cols, '')", "1"),
    ("a int", "EXECUTE 'SELECT 1 AS ' || (SELECT string_agg('LYZE', '; ANA') FROM generate_series(1, 2))", "1"),
    ("a int", "EXECUTE left('ANALYZEt', 7) || ' t'", "1"),
    ("a int", "EXECUTE rtrim('ANALYZEx', 'x') || ' t'", "1"),
    ("a int", "EXECUTE replace('ANAxLYZE t', 'x', '')", "1"),
    ("a int", "DECLARE a text := reverse('t EZYLANA'); BEGIN EXECUTE a; END", "1"),
    ("a int", "EXECUTE 'SELECT runs_' || a || '()'", "1"),
    ("s text", "IF s IS NULL THEN s := 'SELECT 1'; END IF; EXECUTE s", "reverse('t EZYLANA')"),
    ("s text", "s := coalesce(s, 'SELECT 1'); EXECUTE s", "reverse('t EZYLANA')"),
    ("s text", "s := s || ' '; EXECUTE s", "reverse('t EZYLANA')"),
    ("INOUT s text, OUT n int", "IF false THEN s := 'SELECT 1'; n := 1; END IF; EXECUTE s", "reverse('t EZYLANA')"),
    (
        "text",
        "DECLARE s ALIAS FOR $1; BEGIN IF s IS NULL THEN s := 'SELECT 1'; END IF; EXECUTE s; END",
        "reverse('t EZYLANA')",
    ),
    ("s text", "DECLARE y ALIAS FOR $1; BEGIN y := (SELECT sql FROM commands); EXECUTE s; END", "'SELECT 1'"),
    ("s text", "DECLARE y ALIAS FOR $1; BEGIN y := (SELECT sql FROM commands); EXECUTE $1; END", "'SELECT 1'"),
    ("s text", "q := '%s'; q := format(q, s); EXECUTE q", "reverse('t EZYLANA')"),
    (
        "s text",
        "q := 'SELECT 1 AS %I'; FOR i IN 1 .. 2 LOOP q := format(q, s, 'x'); END LOOP; EXECUTE q",
        "'x%2$s; ANA' || 'LYZE t; SELECT 1 AS x'",
    ),
    (
        "s text",
        "q := 'SELECT 1 AS %I'; q := format(q, s, 'x'); q := format(q, reverse(';t EZYLANA;')); EXECUTE q",
        "'x%s'",
    ),
    ("a int", "DECLARE a text := sql FROM commands; BEGIN EXECUTE a; END", "1"),
    ("a int", "q := sql AS oid FROM commands; EXECUTE q", "1"),
];

fn schema(all: &[(&str, &str, &str)], name: &str) -> String {
    let one = |(at, (parameters, body, _)): (usize, &(&str, &str, &str))| {
        let (returns, ends) = if parameters.contains("OUT ") { ("", "") } else { ("RETURNS text", "RETURN r;") };
        format!(
            "CREATE FUNCTION {name}_{at}({parameters}) {returns} LANGUAGE plpgsql AS $f$
             DECLARE r text; q text; x record; k text; v text; cols text[]; BEGIN {body}; {ends} END $f$;"
        )
    };
    all.iter().enumerate().map(one).collect()
}

fn why(frames: &[Frame]) -> String {
    frames.iter().find_map(Frame::error).map_or_else(String::new, |error| format!("{error} {:?}", error.detail()))
}

#[test]
fn text_that_only_reads_whatever_its_pieces_are_runs_and_what_can_be_anything_does_not() {
    let stand = Stand::new("");
    let schema = [
        "CREATE TABLE part_1 (a int); CREATE TABLE commands (sql text); INSERT INTO commands VALUES ('ANALYZE t');
         GRANT SELECT ON part_1, commands TO app; ALTER TABLE t SET (autovacuum_enabled = off);
         CREATE FUNCTION runs_1() RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE reverse('t EZYLANA'); RETURN 1; END $$;",
        &schema(READS, "reads"),
        &schema(ANYTHING, "anything"),
    ]
    .concat();
    stand.cluster.primary().psql_in("app", &schema).unwrap();
    stand.on_primary();
    let before = stand.everything();
    let (mut app, mut direct) = (stand.app(), stand.direct(true));
    let mut refused = Vec::new();
    for (at, (_, body, call)) in READS.iter().enumerate() {
        let sql = format!("SELECT reads_{at}({call})");
        let theirs = query(&mut direct, &sql);
        assert_eq!(why(&theirs), "", "{sql}: {body}");
        let ours = query(&mut app, &sql);
        if !why(&ours).is_empty() {
            refused.push(format!("{body}: {}", why(&ours)));
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    for (at, (_, body, call)) in ANYTHING.iter().enumerate() {
        assert_eq!(sqlstate(&query(&mut app, &format!("SELECT anything_{at}({call})"))), "25006", "{body}");
    }
    assert_eq!(stand.everything(), before);
}

#[test]
fn what_a_select_does_not_run_of_a_table_refuses_no_select() {
    let stand = Stand::new("");
    let schema = "
        CREATE FUNCTION dynamic(v text) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN EXECUTE reverse('1 TCELES'); RETURN v <> ''; END $$;
        CREATE FUNCTION plain(v text) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT CASE WHEN dynamic(v) THEN v END $$;
        CREATE TABLE checked (id int, v text, w varchar(9), CHECK (dynamic(v)), CHECK (dynamic(w)));
        CREATE TABLE indexed (id int, v text); CREATE INDEX ON indexed (dynamic(v)); CREATE INDEX ON indexed (id) WHERE dynamic(v);
        CREATE TABLE folded (id int, v text, CHECK (dynamic('x') OR id > 0));
        CREATE TABLE inlined (id int, v text, CHECK (plain('x') = v));
        GRANT SELECT, INSERT ON checked, indexed, folded, inlined TO app;";
    stand.cluster.primary().psql_in("app", schema).unwrap();
    stand.on_primary();
    let mut app = stand.app();
    for table in ["checked", "indexed"] {
        for sql in [
            "SELECT * FROM @ WHERE id = 1",
            "SELECT count(*) FROM @ a JOIN @ b USING (id)",
            "COPY @ TO STDOUT",
            "COPY (SELECT v FROM @) TO STDOUT",
        ] {
            let sql = sql.replace('@', table);
            assert_eq!(why(&query(&mut app, &sql)), "", "{sql}");
        }
    }
    // These run it: the planner works out what has constant arguments.
    for sql in [
        "SELECT * FROM folded",
        "SELECT * FROM inlined",
        "SELECT dynamic(v) FROM checked",
        "SELECT * FROM indexed WHERE dynamic(v)",
    ] {
        assert_eq!(sqlstate(&query(&mut app, sql)), "25006", "{sql}");
    }
    assert_eq!(sqlstate(&query(&mut app, "INSERT INTO checked VALUES (1, 'x', 'y')")), "25006");
}
