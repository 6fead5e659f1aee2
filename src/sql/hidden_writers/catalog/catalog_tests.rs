use super::*;
use crate::sql::hidden_writers::side_effects::bodies::Kinds;
use crate::sql::hidden_writers::statement_reading::StatementReading;
use crate::sql::hidden_writers::verdict::WriteRisk;
use crate::sql::{LexContext, RefusalList};
use std::sync::Arc;

fn function(oid: u32, name: &str, language: &str, flags: &str, extension: &str, body: &str) -> Row {
    ["f", &oid.to_string(), "app", name, language, flags, extension, body].map(|text| Some(text.to_owned())).to_vec()
}

fn row(fields: &[&str]) -> Row {
    fields.iter().map(|text| Some((*text).to_owned())).collect()
}

fn plpgsql(oid: u32, name: &str, statement: &str) -> Row {
    function(oid, name, "plpgsql", "vx", "", &format!("BEGIN {statement}; END"))
}

fn names(found: &HiddenWriters) -> Vec<&str> {
    let mut names: Vec<_> = found.refused.function_oids.values().map(|name| &**name).collect();
    names.sort_unstable();
    names
}

fn unseen(rows: &[Row]) -> HiddenWriters {
    read(rows, &Analyzer::default()).unwrap()
}

fn emit() -> Row {
    row(&["f", "3577", "pg_catalog", "pg_logical_emit_message", "internal", "b", "", ""])
}

#[test]
fn what_names_a_writer_is_found_to_the_end_of_the_chain() {
    let rows = [
        emit(),
        plpgsql(1, "logs", "PERFORM pg_logical_emit_message(false, 'a', 'b')"),
        plpgsql(2, "outer", "PERFORM app.logs()"),
        function(3, "outermost", "sql", "vx", "", "SELECT outer()"),
        plpgsql(4, "elsewhere", "PERFORM other.logs()"),
        plpgsql(5, "reads", "PERFORM logs FROM t WHERE note = 'logs'"),
        plpgsql(6, "quotes", "EXECUTE 'SELECT logs()'"),
        function(7, "large", "sql", "vx", "", "SELECT lo_create(0)"),
    ];
    assert_eq!(names(&unseen(&rows)), ["logs", "outer", "outermost", "quotes"]);
}

#[test]
fn dependencies_lead_on() {
    let rows = [
        emit(),
        plpgsql(1, "logs", "PERFORM pg_logical_emit_message(false, 'a', 'b')"),
        row(&["e", "f", "1", "r", "20"]),
        row(&["e", "r", "20", "r", "21"]),
        row(&["e", "f", "3577", "o", "30"]),
        row(&["e", "f", "1", "w", "22"]),
        row(&["n", "r", "20", "app", "view"]),
        row(&["n", "r", "21", "app", "view_of_view"]),
        row(&["n", "w", "22", "pg_temp_3", "mine"]),
        row(&["n", "o", "30", "", "<~>"]),
        plpgsql(2, "by_view", "PERFORM count(*) FROM view_of_view"),
        plpgsql(3, "by_operator", "RETURN 1 <~> 2"),
        plpgsql(4, "writes", "INSERT INTO mine VALUES (1)"),
        plpgsql(5, "reads", "PERFORM count(*) FROM mine"),
    ];
    let found = unseen(&rows);
    assert_eq!(names(&found), ["by_operator", "by_view", "logs", "writes"]);
    assert!(found.refused.read.has(None, b"view_of_view") && found.refused.written.has(Some(b"pg_temp"), b"mine"));
    assert!(found.refused.operators.has(None, b"<~>") && !found.refused.everywhere && !found.within_reach);
}

#[test]
fn text_put_together_is_suspect_where_a_writer_is_within_reach() {
    let builds = || plpgsql(9, "builds", "EXECUTE 'SELECT ' || x");
    let dblink = |flags: &str| function(2, "dblink_exec", "c", flags, "dblink", "");
    // PostgreSQL's own that is everybody's is not enough.
    let found = unseen(&[emit(), builds()]);
    assert!(names(&found).is_empty() && !found.within_reach && found.builders.has(None, b"builds"));
    let weak = plpgsql(1, "logs", "PERFORM pg_logical_emit_message(false, 'a', 'b')");
    assert_eq!(names(&unseen(&[emit(), weak, builds()])), ["logs"]);
    // dblink is, while it is granted.
    assert_eq!(names(&unseen(&[dblink("vx"), builds()])), ["builds", "dblink_exec"]);
    assert_eq!(names(&unseen(&[dblink("v"), builds()])), ["dblink_exec"]);
    // What calls it with its owner's rights takes its place.
    let lends = function(3, "lends", "plpgsql", "vxd", "", "BEGIN PERFORM dblink_exec('x', 'y'); END");
    assert_eq!(names(&unseen(&[dblink("v"), lends, builds()])), ["builds", "dblink_exec", "lends"]);
    let slot = row(&["f", "3779", "pg_catalog", "pg_create_physical_replication_slot", "internal", "bg", "", ""]);
    assert_eq!(names(&unseen(&[slot, builds()])), ["builds"]);
    let own = function(4, "own", "plpgsql", "vxd", "", "BEGIN EXECUTE x; END");
    assert_eq!(names(&unseen(&[own, builds()])), ["own"]);
}

#[test]
fn languages_and_extensions() {
    let rows = [
        function(1, "python", "plpython3u", "vxu", "", "plpy.execute('select 1')"),
        function(2, "c_code", "c", "x", "", ""),
        function(3, "gen_random_bytes", "c", "vx", "pgcrypto", ""),
        function(4, "launch", "c", "vx", "pg_background", ""),
        function(5, "distance", "c", "x", "some_extension", ""),
        function(6, "perl", "plperl", "vx", "", "spi_exec_query(\"SELECT dblink_exec('x')\");"),
        function(7, "alias", "internal", "vxp", "", ""),
        function(8, "harmless", "plpgsql", "vx", "", "BEGIN RETURN 1; END"),
    ];
    assert_eq!(names(&unseen(&rows)), ["alias", "c_code", "launch", "perl", "python"]);
}

#[test]
fn what_runs_elsewhere_is_judged_by_its_text() {
    let rows = [
        function(1, "dblink", "c", "v", "dblink", ""),
        function(2, "reads", "sql", "vx", "", "SELECT * FROM dblink('x', 'SELECT 1') AS t (a int)"),
        function(3, "writes", "sql", "vx", "", "SELECT * FROM dblink('x', 'DELETE FROM t RETURNING 1') AS t (a int)"),
        row(&["v", "r", "20", "SELECT * FROM dblink('x', 'SELECT 1') AS t (a int)"]),
        row(&["v", "r", "21", "SELECT * FROM dblink('x', 'SELECT f()') AS t (a int)"]),
        row(&["n", "r", "20", "app", "harmless"]),
        row(&["n", "r", "21", "app", "view"]),
    ];
    let found = unseen(&rows);
    assert_eq!(names(&found), ["dblink", "writes"]);
    assert!(found.refused.read.has(None, b"view") && !found.refused.read.has(None, b"harmless"));
}

#[test]
fn configuration_widens_and_narrows() {
    let rows = [
        emit(),
        plpgsql(1, "logs", "PERFORM pg_logical_emit_message(false, 'a', 'b')"),
        plpgsql(2, "outer", "PERFORM logs()"),
        plpgsql(3, "sends", "PERFORM net_post('x')"),
    ];
    let by = |change: fn(&mut RefusalList)| {
        let mut list = RefusalList::default();
        change(&mut list);
        let found = read(&rows, &Analyzer::new(Arc::new(list))).unwrap();
        names(&found).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(by(|_| ()), ["logs", "outer"]);
    assert!(by(|list| list.narrow("pg_logical_emit_message()").unwrap()).is_empty());
    assert!(by(|list| list.narrow("app.logs()").unwrap()).is_empty());
    assert_eq!(by(|list| list.narrow("outer()").unwrap()), ["logs"]);
    assert_eq!(by(|list| list.widen("net_post()").unwrap()), ["logs", "outer", "sends"]);
}

#[test]
fn chains_that_end_in_themselves_end() {
    let rows = [
        emit(),
        plpgsql(1, "a", "PERFORM b()"),
        plpgsql(2, "b", "PERFORM a(); PERFORM pg_logical_emit_message(false, 'a', 'b')"),
        row(&["e", "f", "1", "r", "20"]),
        row(&["e", "r", "20", "f", "1"]),
        row(&["nonsense"]),
        row(&[]),
    ];
    let found = unseen(&rows);
    assert_eq!(names(&found), ["a", "b"]);
    let _ = LexContext::default();
}

#[test]
fn what_is_left_behind_is_found_to_the_end_of_the_chain() {
    let rows = [
        plpgsql(1, "enters", "PERFORM set_config('my.key', x, false)"),
        plpgsql(2, "locks", "PERFORM pg_advisory_lock(1), enters(2)"),
        plpgsql(3, "plain", "PERFORM now()"),
        plpgsql(4, "by_table", "INSERT INTO things VALUES (1)"),
        plpgsql(5, "by_view", "PERFORM count(*) FROM view"),
        function(6, "python", "plpython3u", "vxu", "", "plpy.execute('select set_config(1, 2, false)')"),
        row(&["e", "f", "2", "w", "20"]),
        row(&["e", "f", "1", "r", "21"]),
        row(&["e", "f", "1", "o", "30"]),
        row(&["n", "w", "20", "app", "things"]),
        row(&["n", "r", "21", "app", "view"]),
        row(&["n", "o", "30", "", "<~>"]),
        // A chain that ends in itself.
        row(&["e", "w", "20", "f", "2"]),
    ];
    let analyzer = Analyzer::default();
    let found = read_leavings(&rows, &analyzer).unwrap().0;
    let left = |sql: &str| {
        let analysis = analyzer.analyze(sql.as_bytes(), LexContext::default());
        let mut marks = Marks::default();
        for one in &analysis.statements {
            marks.extend(found.of(&StatementReading::new(&analyzer, sql.as_bytes(), LexContext::default(), one)));
        }
        let settings = found.settings(marks).map(|name| String::from_utf8_lossy(name).into_owned());
        let kinds = [(Kinds::LOCK, "lock"), (Kinds::OTHER, "other")];
        let kinds = kinds.iter().filter(|(kind, _)| marks.kinds().has(*kind)).map(|(_, word)| (*word).to_owned());
        settings.chain(kinds).collect::<Vec<_>>().join(" ")
    };
    for (sql, what) in [
        ("SELECT enters(1)", "my.key"),
        ("SELECT app.locks()", "my.key lock"),
        ("SELECT other.enters(1)", ""),
        ("SELECT plain()", ""),
        ("SELECT by_table()", "my.key lock"),
        ("SELECT by_view()", "my.key"),
        ("SELECT python()", "other"),
        ("SELECT * FROM things", ""),
        ("INSERT INTO things VALUES (1)", "my.key lock"),
        ("COPY things FROM STDIN", "my.key lock"),
        ("SELECT * FROM view v", "my.key"),
        ("SELECT 1 <~> 2", "my.key"),
        ("DO $$ BEGIN PERFORM enters(1); END $$", "my.key"),
        ("PREPARE p AS SELECT enters(1)", ""),
        ("SELECT 1; SELECT locks()", "my.key lock"),
        ("SELECT 'enters(1)', enters FROM t", ""),
    ] {
        assert_eq!(left(sql), what, "{sql}");
    }
    assert_eq!(found.of_function(1).kinds(), Kinds::default());
    assert!(!found.of_function(1).is_nothing() && found.of_function(3).is_nothing());
    assert!(!found.is_empty() && read_leavings(&rows[2..3], &analyzer).unwrap().0.is_empty());
}

#[test]
fn more_settings_than_there_is_room_for_bind_the_session() {
    let body = |at: u32| format!("PERFORM set_config('my.key{at}', x, false)");
    let rows: Vec<Row> = (0..70).map(|at| plpgsql(at + 1, &format!("sets{at}"), &body(at))).collect();
    let found = read_leavings(&rows, &Analyzer::default()).unwrap().0;
    let other = (1..=70).filter(|oid| found.of_function(*oid).kinds().has(Kinds::OTHER)).count();
    let named = (1..=70).filter(|oid| found.settings(found.of_function(*oid)).count() == 1).count();
    assert_eq!((other, named), (18, 52));
}

/// What is known of a statement in a database with these rows.
fn risk(found: &HiddenWriters, sql: &str) -> &'static str {
    let analyzer = Analyzer::default();
    let analysis = analyzer.analyze(sql.as_bytes(), LexContext::default());
    let of = |one| found.risk(&StatementReading::new(&analyzer, sql.as_bytes(), LexContext::default(), one), &[]);
    let risks: Vec<_> = analysis.statements.iter().map(of).collect();
    match &*risks {
        [WriteRisk::Clean] => "clean",
        [WriteRisk::MayWrite] => "asked",
        [WriteRisk::Refused(_)] => "refused",
        other => panic!("{sql}: {other:?}"),
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "to be divided")]
fn only_what_is_shown_to_write_nothing_is_clean() {
    let rows = [
        emit(),
        row(&["f", "715", "pg_catalog", "lo_create", "internal", "b", "", ""]),
        plpgsql(1, "adds", "RETURN $1 + abs($2)"),
        function(2, "doubles", "sql", "x", "", "SELECT app.adds($1, $1) FROM t WHERE random() > 0"),
        plpgsql(3, "large", "PERFORM lo_create(0)"),
        function(4, "outer", "sql", "vx", "", "SELECT large()"),
        plpgsql(5, "builds", "EXECUTE 'SELECT ' || x"),
        plpgsql(6, "constant", "EXECUTE 'SELECT adds(1, 2)' INTO x"),
        plpgsql(7, "hidden", "EXECUTE 'SELECT lo_create(0)'"),
        plpgsql(8, "lifts", "PERFORM set_config('default_transaction_read_only', 'off', false)"),
        plpgsql(9, "sets", "SET default_transaction_read_only = off"),
        plpgsql(10, "holds", "EXECUTE 'DECLARE c CURSOR WITH HOLD FOR SELECT 1'"),
        plpgsql(11, "foreign_call", "PERFORM nobodys()"),
        function(12, "perl", "plperl", "vx", "", "return 1;"),
        function(14, "distance", "c", "x", "some_extension", ""),
        function(15, "digest", "c", "x", "pgcrypto", ""),
        function(16, "gen_salt", "c", "vx", "pgcrypto", ""),
        function(17, "lower", "sql", "vx", "", "SELECT lo_create($1)"),
        function(18, "total", "internal", "a", "", ""),
        function(19, "spoilt", "internal", "a", "", ""),
        function(20, "alias", "internal", "x", "", ""),
        plpgsql(21, "writes", "INSERT INTO t VALUES (1)"),
        plpgsql(22, "stats", "PERFORM pg_clear_relation_stats('public', 't')"),
        plpgsql(23, "emits", "PERFORM pg_logical_emit_message(false, 'a', 'b')"),
        row(&["e", "f", "3", "f", "19"]),
        row(&["e", "f", "1", "r", "40"]),
        row(&["e", "f", "715", "r", "41"]),
        row(&["e", "r", "41", "r", "42"]),
        row(&["e", "f", "3", "o", "50"]),
        row(&["e", "f", "1", "o", "51"]),
        row(&["e", "f", "3", "c", "60"]),
        row(&["n", "r", "40", "app", "view"]),
        row(&["n", "r", "41", "app", "large_view"]),
        row(&["n", "r", "42", "app", "view_of_view"]),
        row(&["n", "o", "50", "", "<~>"]),
        row(&["n", "o", "51", "", "<+>"]),
        row(&["n", "c", "60", "app", "checked"]),
        plpgsql(24, "by_view", "PERFORM count(*) FROM view_of_view"),
    ];
    let found = unseen(&rows);
    for sql in [
        "SELECT 1",
        "SELECT upper(v), count(*) OVER (PARTITION BY a) FROM t",
        "SELECT adds(1, 2)",
        "SELECT app.doubles(1), random(), now()",
        "SELECT constant()",
        "SELECT * FROM view",
        "SELECT 1 <+> 2",
        "SELECT digest('a', 'md5'), gen_salt('bf')",
        "SELECT total(v) FROM t",
        "SELECT pg_catalog.lower(v) FROM t",
        "VALUES (adds(1, 2))",
        "WITH x AS MATERIALIZED (SELECT adds(1, 2)) SELECT * FROM x",
    ] {
        assert_eq!(risk(&found, sql), "clean", "{sql}");
    }
    for sql in [
        "SELECT large()",
        "SELECT outer()",
        "SELECT builds()",
        "SELECT hidden()",
        "SELECT lifts()",
        "SELECT sets()",
        "SELECT holds()",
        "SELECT foreign_call()",
        "SELECT perl()",
        "SELECT distance(1, 2)",
        "SELECT lower(1)",
        "SELECT spoilt(v) FROM t",
        "SELECT alias()",
        "SELECT writes()",
        "SELECT by_view()",
        "SELECT * FROM t, large_view",
        "SELECT * FROM view_of_view",
        "SELECT 1 <~> 2",
        "SELECT '1'::checked",
        "SELECT nobodys()",
        "SELECT lo_create(0)",
        "SELECT query_to_xml('SELECT 1', true, true, '')",
        "SELECT array_in('{1}', 'checked'::regtype::oid, -1)",
        "SELECT set_config('a.b', 'c', true)",
        "SELECT pg_notify('a', 'b')",
        "SELECT v FROM t FOR UPDATE",
        "FETCH c",
        "CALL adds(1, 2)",
        "DO $$ BEGIN PERFORM 1; END $$",
        "INSERT INTO t VALUES (1)",
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
        "EXECUTE p",
        "SHOW all",
        "what is this",
    ] {
        assert_eq!(risk(&found, sql), "asked", "{sql}");
    }
    for sql in ["SELECT stats()", "SELECT emits()"] {
        assert_eq!(risk(&found, sql), "refused", "{sql}");
    }
    // Where nothing is doubtful a statement is not looked through.
    assert_eq!(risk(&HiddenWriters::default(), "SELECT lower(v) FROM t"), "clean");
}

#[test]
fn commands_that_stay_though_rolled_back_are_refused_before_they_run() {
    let rows = [
        plpgsql(1, "an", "ANALYZE mine"),
        plpgsql(2, "re", "IF true THEN REINDEX TABLE mine; END IF"),
        plpgsql(3, "loops", "FOR i IN 1..2 LOOP ANALYZE mine; END LOOP"),
        plpgsql(4, "quotes", "EXECUTE 'ANALYZE ' || x"),
        function(5, "in_sql", "sql", "vx", "", "ANALYZE mine; SELECT 1"),
        plpgsql(6, "columns", "RETURN (SELECT cluster FROM t WHERE t.vacuum = 1 AND comment = 'analyze')"),
        plpgsql(7, "clusters", "CLUSTER mine"),
    ];
    let found = unseen(&rows);
    assert_eq!(names(&found), ["an", "clusters", "in_sql", "loops", "quotes", "re"]);
    assert_eq!(risk(&found, "SELECT columns()"), "asked");
    assert_eq!(risk(&found, "SELECT an()"), "refused");
}

#[test]
fn what_a_function_is_given_is_read_where_it_is_called() {
    let with_signature = |mut row: Row, signature: &str| {
        row.push(Some(signature.to_owned()));
        row
    };
    let rows = [
        row(&["o", "app"]),
        with_signature(plpgsql(1, "runs", "EXECUTE $1; EXCEPTION WHEN OTHERS THEN RETURN 1"), "1 1 s"),
        plpgsql(2, "calls", "EXECUTE $1"),
        plpgsql(3, "open", "EXECUTE reverse('x')"),
        with_signature(plpgsql(4, "by_default", "EXECUTE $1"), "0 1 s"),
    ];
    let found = unseen(&rows);
    let analyzer = Analyzer::default();
    let of = |sql: &str, role: &str| {
        let analysis = analyzer.analyze(sql.as_bytes(), LexContext::default());
        let find =
            |one| found.find(&StatementReading::new(&analyzer, sql.as_bytes(), LexContext::default(), one), role);
        analysis.statements.iter().find_map(find).is_some()
    };
    for sql in [
        "SELECT runs('INSERT INTO t VALUES (1)')",
        "CALL calls('DELETE FROM t')",
        "DO $do$ BEGIN EXECUTE $e$SELECT runs('INSERT INTO t VALUES (902, ''x'')')$e$; END $do$",
        "SELECT by_default('SELECT 1')",
    ] {
        assert!(!of(sql, "app") && !of(sql, "other"), "{sql}");
    }
    for sql in [
        "SELECT runs(v) FROM t",
        "CALL calls(reverse('x'))",
        "SELECT open()",
        "SELECT by_default()",
        "DO $$ BEGIN PERFORM runs(v) FROM t; END $$",
        "DO $do$ BEGIN EXECUTE $e$SELECT runs(v) FROM t$e$; END $do$",
    ] {
        assert!(of(sql, "app") && !of(sql, "other"), "{sql}");
    }
}
