use super::*;
use crate::sql::hidden_writers::reach::operators;

fn unseen() -> HiddenWriters {
    let mut unseen = HiddenWriters::default();
    unseen.refused.functions.add("app", "logs");
    unseen.refused.fields.add("app", "logs");
    unseen.refused.read.add("app", "journal");
    unseen.refused.written.add("pg_temp_3", "mine");
    unseen.refused.types.add("app", "checked");
    unseen.refused.operators.add("", "<~>");
    unseen.builders.add("app", "runs");
    unseen.seal()
}

fn found(unseen: &HiddenWriters, sql: &str) -> Option<String> {
    let analyzer = Analyzer::default();
    let analysis = analyzer.analyze(sql.as_bytes(), LexContext::default());
    let mut all = analysis.statements.iter();
    all.find_map(|one| {
        let reading = StatementReading::new(&analyzer, sql.as_bytes(), LexContext::default(), one);
        Some(unseen.find(&reading, "app")?.message(one.tag))
    })
}

#[test]
fn what_is_named_is_found() {
    for (sql, what) in [
        ("SELECT logs(1)", "logs()"),
        ("SELECT \"logs\" (1)", "logs()"),
        ("SELECT app.logs(1)", "logs()"),
        ("CALL logs(1)", "logs()"),
        ("SELECT t.logs FROM t", "logs()"),
        ("SELECT 1; SELECT 2 FROM f(logs(3))", "logs()"),
        ("DO $$ BEGIN PERFORM logs(1); END $$", "logs()"),
        ("DO $$ BEGIN EXECUTE 'SELECT logs(1)'; END $$", "logs()"),
        ("SELECT runs('SELECT logs(1)')", "logs()"),
        ("SELECT runs('SELECT pg_logical_emit_message(false, $1, $2)')", "pg_logical_emit_message()"),
        ("SELECT query_to_xml('SELECT * FROM journal', true, true, '')", "SELECT"),
        ("SELECT table_to_xml('journal', true, true, '')", "SELECT"),
        ("SELECT * FROM t, journal j", "SELECT"),
        ("COPY journal TO STDOUT", "COPY"),
        ("INSERT INTO mine VALUES (1)", "INSERT"),
        ("COPY mine FROM STDIN", "COPY"),
        ("INSERT INTO pg_temp.mine VALUES (1)", "INSERT"),
        ("SELECT '1'::checked", "SELECT"),
        ("SELECT checked '1'", "SELECT"),
        ("SELECT 1 <~> -2", "SELECT"),
    ] {
        let what = match found(&unseen(), sql) {
            None => panic!("{sql}"),
            Some(message) if message.starts_with("cannot execute COPY") => "COPY".into(),
            Some(message) if message.contains(what) => what.to_owned(),
            Some(message) => message,
        };
        assert!(sql.contains(what.trim_end_matches("()")), "{sql}: {what}");
    }
}

#[test]
fn what_only_resembles_it_is_not() {
    for sql in [
        "SELECT logs FROM t",
        "SELECT other.logs(1)",
        "SELECT 'logs(1)'",
        "SELECT journal FROM t",
        "SELECT journal.x, t.journal FROM t AS journal_of_days",
        "SELECT * FROM other.journal",
        "SELECT * FROM mine",
        "SELECT checked FROM t",
        "SELECT 1 <~ 2, 1 ~> 2",
        "SELECT f('SELECT logs(1)')",
        "SELECT runs('SELECT 1')",
        "SELECT runs('SELECT lo_create(0)')",
        "PREPARE x AS SELECT logs(1)",
        "BEGIN",
    ] {
        assert_eq!(found(&unseen(), sql), None, "{sql}");
    }
    assert_eq!(found(&HiddenWriters::default(), "SELECT logs(1)"), None);
}

#[test]
fn text_put_together_counts_where_a_writer_is_within_reach() {
    let sql = "DO $$ BEGIN EXECUTE 'SELECT ' || x; END $$";
    assert_eq!(found(&unseen(), sql), None);
    let reach = HiddenWriters { within_reach: true, ..unseen() };
    assert!(found(&reach, sql).is_some());
    assert!(found(&reach, "SELECT query_to_xml($1, true, true, '')").is_some());
    assert_eq!(found(&reach, "SELECT query_to_xml('SELECT 1', true, true, '')"), None);
}

#[test]
fn runs_of_operator_characters_are_cut_as_postgresql_cuts_them() {
    let cut = |run: &'static str| operators(run.as_bytes()).map(|one| str::from_utf8(one).unwrap()).collect::<Vec<_>>();
    assert_eq!(cut("<~>-"), ["<~>-"]);
    assert_eq!(cut("<-"), ["<", "-"]);
    assert_eq!(cut("=+-"), ["=", "+", "-"]);
    assert_eq!(cut("!="), ["<>"]);
    assert_eq!(cut("-"), ["-"]);
}
