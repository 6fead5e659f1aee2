//! Functions in languages that nobody here reads, where those are installed: what they put together and run writes nothing, and what
//! only reads runs. Tests of a language that is missing say that they are skipped.

use crate::stand::{LONG, Stand, query, sqlstate, talk};
use crate::ways_around_schema::run;
use pgsluice_fixtures::Frame;
use pgsluice_fixtures::raw::message::{bind, execute, parse, query as q, sync};

const TABLES: &str = "
CREATE TABLE measured (a int);
INSERT INTO measured SELECT generate_series(1, 1000);
ALTER TABLE measured SET (autovacuum_enabled = off);
ALTER TABLE measured OWNER TO app;
CREATE FUNCTION emits() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_logical_emit_message(false, 'hidden', 'message'); RETURN 1; END $$;
";

const PERL: &str = r#"
CREATE FUNCTION pl_pieces() RETURNS int LANGUAGE plperl AS $$ spi_exec_query("SELECT pg_logical_emit"."_message(false,'hidden','message')"); return 1; $$;
CREATE FUNCTION pl_chr() RETURNS int LANGUAGE plperl AS $$ spi_exec_query(join('', map { chr } 65,78,65,76,89,90,69,32,109,101,97,115,117,114,101,100)); return 1; $$;
CREATE FUNCTION pl_reverse() RETURNS int LANGUAGE plperl AS $$ spi_exec_query(scalar reverse 'derusaem EZYLANA'); return 1; $$;
CREATE FUNCTION pl_symbol() RETURNS int LANGUAGE plperl AS $$ my $f = 'sp'.'i_exec_query'; &$f('ANA'.'LYZE measured'); return 1; $$;
CREATE FUNCTION pl_handler() RETURNS int LANGUAGE plperl AS $$ local $SIG{__WARN__} = sub { spi_exec_query($_[0]) }; warn 'ANA'.'LYZE measured;--'; return 1; $$;
CREATE FUNCTION pl_query() RETURNS int LANGUAGE plperl AS $$ my $c = spi_query("SELECT "."em"."its()"); while (spi_fetchrow($c)) { } return 1; $$;
CREATE FUNCTION pl_prepared() RETURNS int LANGUAGE plperl AS $$ my $p = spi_prepare('SELECT em'.'its()'); spi_exec_prepared($p); return 1; $$;
CREATE FUNCTION pl_packed() RETURNS int LANGUAGE plperl AS $$ spi_exec_query(sprintf('%c%c%c%c%c%c%c measured', 65, 78, 65, 76, 89, 90, 69)); return 1; $$;
CREATE FUNCTION pl_given(text) RETURNS int LANGUAGE plperl AS $$ spi_exec_query($_[0]); return 1; $$;
CREATE FUNCTION pl_calls() RETURNS int LANGUAGE plperl AS $$ spi_exec_query("SELECT emits()"); return 1; $$;
CREATE FUNCTION pl_analyzes() RETURNS int LANGUAGE plperl AS $$ spi_exec_query('ANALYZE measured'); return 1; $$;
CREATE FUNCTION pl_large() RETURNS int LANGUAGE plperl AS $$ spi_exec_query("SELECT lo_create(0)"); return 1; $$;
CREATE FUNCTION pl_upper(text) RETURNS text LANGUAGE plperl AS $$ return uc($_[0]) if $_[0] && 1; return 'none'; $$;
CREATE FUNCTION pl_counts() RETURNS int LANGUAGE plperl AS $$ my $r = spi_exec_query("SELECT count(*) AS n FROM t"); return $r->{rows}[0]{n}; $$;
CREATE VIEW pl_view AS SELECT pl_reverse() AS x;
"#;

const PERL_WAYS: &[&str] = &[
    "SELECT pl_pieces()",
    "SELECT pl_chr()",
    "SELECT pl_reverse()",
    "SELECT pl_symbol()",
    "SELECT pl_handler()",
    "SELECT pl_query()",
    "SELECT pl_prepared()",
    "SELECT pl_packed()",
    "SELECT pl_given('ANALYZE measured')",
    "SELECT pl_given(reverse('derusaem EZYLANA'))",
    "SELECT pl_calls()",
    "SELECT pl_analyzes()",
    "SELECT pl_analyzes() / 0",
    "SELECT pl_large()",
    "SELECT * FROM pl_view",
    r#"DO LANGUAGE plperl $$ spi_exec_query("SELECT pg_logical_emit"."_message(true,'hidden','y')") $$"#,
    "DO LANGUAGE plperl $$ spi_exec_query(scalar reverse 'derusaem EZYLANA') $$",
    "DO LANGUAGE plperl $$ spi_exec_query('ANALYZE measured') $$",
    r#"DO LANGUAGE plperl $$ spi_exec_query("SELECT emits()") $$"#,
    "DO $$ my $f = 'sp'.'i_exec_query'; &$f('ANA'.'LYZE measured') $$ LANGUAGE plperl",
    "DO LANGUAGE plperl $$ spi_exec_query('SELECT lo_cre'.'ate(0)') $$",
];

const PERL_READS: &[&str] = &[
    "SELECT pl_upper('x')",
    "SELECT pl_upper(v) FROM t",
    "SELECT pl_counts()",
    "DO LANGUAGE plperl $$ my $r = spi_exec_query('SELECT count(*) FROM t') $$",
    "DO LANGUAGE plperl $$ my $x = uc('y') $$",
];

/// Untrusted: whatever it is, nobody could tell what it does.
const PYTHON: &str = r#"
CREATE FUNCTION py_pieces() RETURNS int LANGUAGE plpython3u AS $$
plpy.execute("SELECT pg_logical_emit" + "_message(false,'hidden','message')")
return 1
$$;
CREATE FUNCTION py_chr() RETURNS int LANGUAGE plpython3u AS $$
plpy.execute("".join(map(chr, [65,78,65,76,89,90,69,32,109,101,97,115,117,114,101,100])))
return 1
$$;
CREATE FUNCTION py_getattr() RETURNS int LANGUAGE plpython3u AS $$
getattr(plpy, "exe" + "cute")("derusaem EZYLANA"[::-1])
return 1
$$;
CREATE FUNCTION py_prepared() RETURNS int LANGUAGE plpython3u AS $$
plpy.execute(plpy.prepare("SELECT em" + "its()"))
return 1
$$;
CREATE FUNCTION py_file() RETURNS int LANGUAGE plpython3u AS $$
open("/tmp/pgsluice_by_python", "a").write("x")
return 1
$$;
CREATE VIEW py_view AS SELECT py_chr() AS x;
"#;

const PYTHON_WAYS: &[&str] = &[
    "SELECT py_pieces()",
    "SELECT py_chr()",
    "SELECT py_getattr()",
    "SELECT py_prepared()",
    "SELECT py_file()",
    "SELECT * FROM py_view",
    "DO $$ BEGIN PERFORM py_chr(); END $$",
    "DO $$ BEGIN EXECUTE 'SELECT py_' || 'chr()'; END $$",
];

fn written(stand: &Stand) -> String {
    let primary = stand.cluster.primary();
    primary.psql_in("app", "CHECKPOINT").expect("what is written is on disk");
    let sql = "SELECT concat_ws(' ', (SELECT reltuples FROM pg_class WHERE relname = 'measured'), \
               (SELECT count(*) FROM pg_largeobject_metadata), \
               (SELECT count(*) FROM pg_logical_slot_peek_changes('watch', NULL, NULL) WHERE data LIKE '%hidden%'))";
    primary.psql_in("app", sql).expect("an observer")
}

fn extended(sql: &str) -> Vec<u8> {
    [parse("", sql, &[]), bind("", "", &[]), execute("", 0), sync()].concat()
}

fn told(frames: &[Frame]) -> String {
    frames.iter().find_map(Frame::error).map_or_else(String::new, |error| format!("{error:?}"))
}

fn language(language: &str, mode: &str, schema: &str, ways: &[&str], reads: &[&str]) {
    let stand = Stand::new(&format!("pool_mode = \"{mode}\""));
    // It may be listed although its library is not there.
    let created = query(&mut stand.operator(), &format!("CREATE EXTENSION {language}"));
    if !sqlstate(&created).is_empty() {
        eprintln!("SKIPPED: {language} is not installed for this PostgreSQL: {}", told(&created));
        return;
    }
    run(&mut stand.operator(), &format!("{TABLES}{schema}"));
    run(&mut stand.operator(), "GRANT SELECT ON ALL TABLES IN SCHEMA public TO app");
    let slot = "SELECT pg_create_logical_replication_slot('watch', 'test_decoding')";
    stand.cluster.primary().psql_in("app", slot).expect("a slot");
    stand.cluster.wait_for_replay(LONG).expect("a replica that follows");
    let mut early = stand.app();
    for (at, way) in ways.iter().enumerate().filter(|(_, way)| !way.starts_with("DO")) {
        talk(&mut early, &[parse(&format!("p{at}"), way, &[]), sync()].concat(), 1);
    }
    stand.on_primary();
    let before = written(&stand);
    let mut app = stand.app();
    for (at, way) in ways.iter().enumerate() {
        let mut forms = vec![("simple", q(way), false), ("extended", extended(way), false)];
        if !way.starts_with("DO") {
            forms.push(("parsed before", [bind("", &format!("p{at}"), &[]), execute("", 0), sync()].concat(), true));
        }
        for (form, bytes, by_early) in forms {
            let frames = talk(if by_early { &mut early } else { &mut app }, &bytes, 1);
            assert_eq!(sqlstate(&frames), "25006", "{mode}, {form}: {way}: {}", told(&frames));
        }
        assert_eq!(written(&stand), before, "{mode}: {way}");
    }
    for sql in reads {
        assert_eq!(told(&query(&mut app, sql)), "", "{mode}: {sql}");
        assert_eq!(told(&talk(&mut app, &extended(sql), 1)), "", "{mode}, extended: {sql}");
    }
    stand.off();
    query(&mut app, ways[1]);
    assert_ne!(written(&stand), before, "the way is one");
}

#[test]
fn trusted_perl_writes_nothing_by_text_in_pieces_in_transaction_mode() {
    language("plperl", "transaction", PERL, PERL_WAYS, PERL_READS);
}

#[test]
fn trusted_perl_writes_nothing_by_text_in_pieces_in_session_mode() {
    language("plperl", "session", PERL, PERL_WAYS, PERL_READS);
}

#[test]
fn untrusted_python_is_not_run() {
    language("plpython3u", "transaction", PYTHON, PYTHON_WAYS, &[]);
}

#[test]
fn untrusted_perl_is_not_run() {
    let schema = PERL.replace("plperl", "plperlu").split("CREATE VIEW").next().expect("functions").to_owned();
    language("plperlu", "statement", &schema, &PERL_WAYS[..12], &[]);
}
