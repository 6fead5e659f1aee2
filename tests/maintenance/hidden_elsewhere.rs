//! Work that goes over another connection: foreign tables, dblink, programs, and who may reach them by text that is put together.

use crate::stand::{LONG, Stand, query, sqlstate};
use crate::ways_around_schema::run;
use pgsluice_fixtures::{Frame, Raw};

const SCHEMA: &str = "
CREATE TABLE journal (id serial, who text);
CREATE ROLE lnk LOGIN PASSWORD 'lnk';
GRANT ALL ON ALL TABLES IN SCHEMA public TO app, lnk;
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app, lnk;
CREATE FUNCTION ins(text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.journal (who) VALUES ($1); RETURN 1; END $$;
CREATE FUNCTION upper(int, int) RETURNS int LANGUAGE sql AS $$ SELECT ins('overload') $$;
CREATE FUNCTION adds(text, text) RETURNS int LANGUAGE sql AS $$ SELECT ins('operator') $$;
CREATE OPERATOR + (FUNCTION = adds, LEFTARG = text, RIGHTARG = text);
CREATE VIEW wv AS SELECT ins('view') AS x;
CREATE VIEW reading_view AS SELECT count(*) AS x FROM t;
CREATE VIEW moving_view AS SELECT nextval('s') AS x;
CREATE TABLE rls (a int);
INSERT INTO rls VALUES (1);
ALTER TABLE rls ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON rls USING (ins('policy') = 1);
CREATE FUNCTION builds(text) RETURNS int LANGUAGE plpgsql AS $$ DECLARE n int; BEGIN EXECUTE 'SELECT ' || $1 INTO n; RETURN n; END $$;
CREATE EXTENSION postgres_fdw;
CREATE SCHEMA far;
GRANT USAGE ON SCHEMA far TO app;
CREATE SERVER back FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '$port', dbname 'app');
CREATE USER MAPPING FOR app SERVER back OPTIONS (user 'lnk', password 'lnk');
GRANT USAGE ON FOREIGN SERVER back TO app;
CREATE FOREIGN TABLE far.plain (id int, v text) SERVER back OPTIONS (schema_name 'public', table_name 't');
CREATE FOREIGN TABLE far.reading (x bigint) SERVER back OPTIONS (schema_name 'public', table_name 'reading_view');
GRANT SELECT ON ALL TABLES IN SCHEMA public TO app, lnk;
GRANT SELECT ON ALL TABLES IN SCHEMA far TO app;
";

const FOREIGN: &str = "
CREATE FOREIGN TABLE far.rls (a int) SERVER back OPTIONS (schema_name 'public', table_name 'rls');
CREATE FOREIGN TABLE far.wv (x int) SERVER back OPTIONS (schema_name 'public', table_name 'wv');
CREATE VIEW over_far AS SELECT * FROM far.wv;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO app;
GRANT SELECT ON ALL TABLES IN SCHEMA far TO app;
";

fn stand(mode: &str, more: &str) -> Stand {
    let stand = Stand::new(&format!("default_pool_size = 30\npool_mode = \"{mode}\""));
    let port = stand.cluster.primary().port().to_string();
    let frames = query(&mut stand.operator(), &format!("{SCHEMA}{more}").replace("$port", &port));
    assert_eq!(sqlstate(&frames), "", "{:?}", frames.iter().find_map(Frame::error));
    stand.cluster.wait_for_replay(LONG).expect("a replica that follows");
    stand
}

fn said(raw: &mut Raw, sql: &str) -> String {
    let frames = query(raw, sql);
    frames
        .iter()
        .find_map(Frame::error)
        .map_or_else(String::new, |error| format!("{} {}", error.code(), error.message()))
}

fn written(stand: &Stand) -> String {
    let sql =
        "SELECT concat_ws(' ', (SELECT count(*) FROM journal), (SELECT count(*) FROM t), (SELECT last_value FROM s))";
    stand.cluster.primary().psql_in("app", sql).expect("an observer")
}

fn all_refused(raw: &mut Raw, ways: &[&str]) {
    let passed: Vec<_> =
        ways.iter().map(|way| (way, said(raw, way))).filter(|(_, said)| !said.starts_with("25006")).collect();
    assert!(passed.is_empty(), "{passed:#?}");
}

fn foreign_tables(mode: &str) {
    let stand = stand(mode, FOREIGN);
    let mut app = stand.app();
    run(
        &mut app,
        "CREATE FOREIGN TABLE pg_temp.ft (who text) SERVER back OPTIONS (schema_name 'public', table_name 'journal')",
    );
    run(&mut app, "CREATE TEMP TABLE mine (who text)");
    run(&mut app, "CREATE TEMP VIEW over_ft AS SELECT * FROM pg_temp.ft");
    let before = written(&stand);
    stand.on_primary();
    all_refused(
        &mut app,
        &[
            "INSERT INTO pg_temp.ft VALUES ('x')",
            "INSERT INTO ft VALUES ('x')",
            "COPY ft FROM STDIN",
            "DELETE FROM ft",
            "UPDATE ft SET who = 'x'",
            "INSERT INTO over_ft VALUES ('x')",
            "DO $$ BEGIN EXECUTE 'INSERT INTO pg_temp.' || 'ft VALUES (''x'')'; END $$",
            "DO $$ BEGIN INSERT INTO ft VALUES ('x'); END $$",
            "SELECT * FROM far.rls",
            "SELECT * FROM far.wv",
            "SELECT * FROM over_far",
            "SELECT builds('x FROM far.' || 'wv')",
            "SELECT query_to_xml('SELECT * FROM far.' || 'wv', true, true, '')",
            "SELECT table_to_xml(('far.' || 'rls')::text::regclass, true, true, '')",
        ],
    );
    for sql in [
        "SELECT * FROM far.plain",
        "SELECT * FROM far.reading",
        "INSERT INTO mine VALUES ('x')",
        "SELECT * FROM public.wv LIMIT 0",
    ] {
        assert_eq!(said(&mut app, sql), "", "{sql}");
    }
    assert_eq!(written(&stand), before, "{mode}");
    stand.off();
    assert_eq!(said(&mut app, "SELECT * FROM far.wv"), "");
    assert_ne!(written(&stand), before, "the way is one");
}

#[test]
fn foreign_tables_that_write_at_the_other_end_are_refused_in_transaction_mode() {
    foreign_tables("transaction");
}

#[test]
fn foreign_tables_that_write_at_the_other_end_are_refused_in_session_mode() {
    foreign_tables("session");
}

fn dblink(mode: &str) {
    let stand = stand(mode, "CREATE EXTENSION dblink;");
    let link = format!("host=127.0.0.1 port={} dbname=app user=lnk password=lnk", stand.cluster.primary().port());
    let mut early = stand.app();
    run(&mut early, &format!("SELECT dblink_connect('{link}')"));
    run(&mut early, "SELECT dblink_open('cur', 'SELECT 1')");
    run(&mut early, "SELECT dblink_exec('INSERT INTO journal (who) VALUES (''early'')')");
    let before = written(&stand);
    stand.on_primary();
    let mut app = stand.app();
    run(&mut app, &format!("SELECT dblink_connect('c', '{link}')"));
    let ways = [
        "SELECT * FROM dblink('$link', 'SELECT x FROM wv') AS x (a int)",
        "SELECT * FROM dblink('$link', 'SELECT a FROM rls') AS x (a int)",
        "SELECT * FROM dblink('$link', 'SELECT x FROM moving_view') AS x (a int)",
        "SELECT * FROM dblink('$link', 'SELECT upper(1, 2)') AS x (a int)",
        "SELECT * FROM dblink('$link', 'SELECT ''a''::text + ''b''::text') AS x (a int)",
        "SELECT dblink_send_query('c', 'SELECT x FROM wv')",
        "SELECT dblink_open('c', 'values', 'SELECT ins(''v'')')",
        "SELECT dblink_open('c', 'values', 'SELECT x FROM wv', true)",
        "SELECT dblink_open('c', 'cur CURSOR FOR SELECT 1; INSERT INTO journal (who) VALUES (''n''); DECLARE x', 'SELECT 1')",
        "SELECT * FROM dblink_fetch('c', 'cur; INSERT INTO journal (who) VALUES (''f''); FETCH 1 FROM cur', 1) AS x (a text)",
        "SELECT dblink_close('c', 'cur; INSERT INTO journal (who) VALUES (''c'')')",
    ];
    let ways: Vec<_> = ways.iter().map(|way| way.replace("$link", &link)).collect();
    all_refused(&mut app, &ways.iter().map(String::as_str).collect::<Vec<_>>());
    all_refused(&mut early, &["SELECT dblink_close('cur')", "SELECT * FROM dblink_fetch('cur', 1) AS x (a int)"]);
    for sql in [
        "SELECT * FROM dblink('$link', 'SELECT count(*) FROM t') AS x (a bigint)",
        "SELECT * FROM dblink('c', 'SELECT x FROM reading_view') AS x (a bigint)",
        "SELECT dblink_open('c', 'cur', 'SELECT 1')",
        "SELECT * FROM dblink_fetch('c', 'cur', 1) AS x (a int)",
        "SELECT dblink_close('c', 'cur')",
    ] {
        assert_eq!(said(&mut app, &sql.replace("$link", &link)), "", "{mode}: {sql}");
    }
    assert_eq!(written(&stand), before, "{mode}");
}

#[test]
fn only_reads_of_what_is_clean_pass_through_dblink_in_transaction_mode() {
    dblink("transaction");
}

#[test]
fn only_reads_of_what_is_clean_pass_through_dblink_in_session_mode() {
    dblink("session");
}

#[test]
fn a_role_that_is_nested_in_a_servers_own_makes_text_suspect() {
    let stand = stand("transaction", "CREATE ROLE between NOLOGIN; CREATE ROLE upper_role NOLOGIN;");
    let program = "DO $$ BEGIN EXECUTE 'COPY (SELECT 1) TO PRO' || 'GRAM ''touch /tmp/x'''; END $$";
    stand.on_primary();
    let mut app = stand.app();
    assert_eq!(said(&mut app, "SELECT builds('1')"), "", "nothing is within reach");
    stand.off();
    run(
        &mut stand.operator(),
        "GRANT pg_execute_server_program TO upper_role; GRANT upper_role TO between; GRANT between TO app",
    );
    stand.on_primary();
    let mut app = stand.app();
    all_refused(&mut app, &[program, "SELECT builds('1')"]);
    assert_eq!(said(&mut app, "DO $$ BEGIN PERFORM count(*) FROM t; END $$"), "");
}

/// A name or an address by which this very server answers, that nobody would take for it; and a kind of foreign data of which nothing
/// is known.
#[test]
fn foreign_tables_of_other_hosts_and_kinds_are_refused_unless_they_are_allowed() {
    const FAR: &str = "
CREATE SERVER zero FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '0.0.0.0', port '$port', dbname 'app');
CREATE SERVER listed FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1,0.0.0.0', port '$port,$port', dbname 'app');
CREATE USER MAPPING FOR app SERVER zero OPTIONS (user 'lnk', password 'lnk');
CREATE USER MAPPING FOR app SERVER listed OPTIONS (user 'lnk', password 'lnk');
CREATE FOREIGN TABLE far.zero_view (x int) SERVER zero OPTIONS (schema_name 'public', table_name 'wv');
CREATE FOREIGN TABLE far.zero_other (a int) SERVER zero OPTIONS (schema_name 'elsewhere', table_name 'rls');
CREATE FOREIGN TABLE far.zero_plain (id int, v text) SERVER zero OPTIONS (schema_name 'public', table_name 't');
CREATE FOREIGN TABLE far.listed_view (x int) SERVER listed OPTIONS (schema_name 'public', table_name 'wv');
CREATE FOREIGN DATA WRAPPER unknown_kind;
CREATE SERVER unknown FOREIGN DATA WRAPPER unknown_kind;
CREATE FOREIGN TABLE far.unknown (x int) SERVER unknown;
CREATE VIEW over_zero AS SELECT count(*) AS x FROM far.zero_view;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO app;
GRANT SELECT ON ALL TABLES IN SCHEMA far TO app;
";
    for mode in ["transaction", "session"] {
        let mut stand = stand(mode, FAR);
        let before = written(&stand);
        stand.on_primary();
        let mut app = stand.app();
        all_refused(
            &mut app,
            &[
                "SELECT * FROM far.zero_view",
                "SELECT * FROM far.zero_other",
                "SELECT * FROM far.zero_plain",
                "SELECT * FROM far.listed_view",
                "SELECT * FROM far.unknown",
                "SELECT * FROM over_zero",
                "SELECT builds('x FROM far.zero_view')",
                "SELECT builds(reverse('weiv_orez.raf MORF x'))",
                "SELECT query_to_xml(reverse('weiv_orez.raf MORF x TCELES'), true, true, '')",
                "SELECT table_to_xml(('far.zero' || '_view')::regclass, true, true, '')",
                "DO $$ BEGIN EXECUTE reverse('weiv_orez.raf MORF x TCELES'); END $$",
            ],
        );
        for sql in ["SELECT * FROM far.plain", "SELECT count(*) FROM t"] {
            assert_eq!(said(&mut app, sql), "", "{sql}");
        }
        assert_eq!(written(&stand), before, "{mode}");
        stand.configure("[refusals]\nremove_functions = [\"far.zero_plain\"]");
        stand.console("RELOAD");
        pgsluice_fixtures::wait::until(LONG, "a foreign table that is allowed", || {
            said(&mut app, "SELECT count(*) FROM far.zero_plain").is_empty().then_some(())
        });
        assert_eq!(written(&stand), before, "{mode}");
    }
}

/// Where such a table may stand for nothing of this database, text that can be read runs.
#[test]
fn text_that_could_name_a_foreign_table_of_another_host_has_to_be_read() {
    const FAR: &str = "
CREATE SERVER other FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'db.example', dbname 'app');
CREATE FOREIGN TABLE far.other_thing (a int) SERVER other OPTIONS (schema_name 'elsewhere', table_name 'nothing_here');
GRANT SELECT ON far.other_thing TO app;
";
    let stand = stand("transaction", FAR);
    stand.on_primary();
    let mut app = stand.app();
    all_refused(
        &mut app,
        &[
            "SELECT * FROM far.other_thing",
            "SELECT builds('x FROM far.other_thing')",
            "SELECT builds(reverse('1'))",
            "SELECT query_to_xml(reverse('1 TCELES'), true, true, '')",
        ],
    );
    for sql in [
        "SELECT builds('count(*)::int FROM t')",
        "SELECT * FROM far.plain",
        "SELECT * FROM reading_view",
        "DO $$ BEGIN EXECUTE 'SELECT count(*)' || ' FROM t'; END $$",
    ] {
        assert_eq!(said(&mut app, sql), "", "{sql}");
    }
}
