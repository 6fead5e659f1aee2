//! Other databases of the same server, reached by foreign tables and dblink: what stands there under a name nobody has read.

use crate::stand::{LONG, Stand, query, sqlstate, talk};
use crate::ways_around_schema::run;
use pgsluice_fixtures::raw::message::{bind, execute, parse, sync};
use pgsluice_fixtures::{Frame, Raw};

/// In the database that the gate closes.
const HERE: &str = "
CREATE TABLE journal (id serial, who text);
CREATE TABLE e (i int);
CREATE ROLE lnk LOGIN PASSWORD 'lnk';
CREATE EXTENSION postgres_fdw;
CREATE EXTENSION dblink;
CREATE FUNCTION ins(text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.journal (who) VALUES ($1); RETURN 1; END $$;
CREATE VIEW writing AS SELECT ins('view') AS i;
CREATE SERVER oth FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '$port', dbname 'other');
CREATE SERVER same FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'localhost', port '$port', dbname 'app');
CREATE USER MAPPING FOR PUBLIC SERVER oth OPTIONS (user 'lnk', password 'lnk');
CREATE USER MAPPING FOR PUBLIC SERVER same OPTIONS (user 'lnk', password 'lnk');
GRANT USAGE ON FOREIGN SERVER oth, same TO PUBLIC;
CREATE FOREIGN TABLE fv (i int) SERVER oth OPTIONS (table_name 'v');
CREATE FOREIGN TABLE fe (i int) SERVER oth OPTIONS (table_name 'e');
CREATE FOREIGN TABLE here (id int, v text) SERVER same OPTIONS (table_name 't');
CREATE VIEW over_fe AS SELECT * FROM fe;
CREATE TABLE inh (i int);
CREATE FOREIGN TABLE inhf () INHERITS (inh) SERVER oth OPTIONS (table_name 'v');
CREATE FUNCTION runs_text(text) RETURNS int LANGUAGE plpgsql AS $$ DECLARE n int; BEGIN EXECUTE $1 INTO n; RETURN n; END $$;
CREATE FUNCTION far() RETURNS int LANGUAGE sql AS $$ SELECT i FROM dblink('$other', 'SELECT i FROM v') AS x (i int) $$;
CREATE FUNCTION back() RETURNS int LANGUAGE sql AS $$ SELECT i FROM dblink('$app', 'SELECT i FROM writing') AS x (i int) $$;
CREATE VIEW far_view AS SELECT * FROM dblink('$other', 'SELECT i FROM v') AS x (i int);
CREATE FUNCTION reads_back() RETURNS bigint LANGUAGE sql AS $$ SELECT i FROM dblink('$app', 'SELECT count(*) FROM t') AS x (i bigint) $$;
GRANT ALL ON ALL TABLES IN SCHEMA public TO app, lnk;
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app, lnk;
";

/// In the other one: `v` and `e` write back.
const THERE: &str = "
CREATE EXTENSION postgres_fdw;
CREATE SERVER back FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '$port', dbname 'app');
CREATE USER MAPPING FOR PUBLIC SERVER back OPTIONS (user 'lnk', password 'lnk');
CREATE FOREIGN TABLE journal (who text) SERVER back;
CREATE FUNCTION w() RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.journal VALUES ('from there'); RETURN 1; END $$;
CREATE FUNCTION upper(int, int) RETURNS int LANGUAGE sql AS 'SELECT w()';
CREATE VIEW v AS SELECT w() AS i;
CREATE VIEW e AS SELECT w() AS i;
GRANT ALL ON ALL TABLES IN SCHEMA public TO lnk;
";

fn link(stand: &Stand, database: &str) -> String {
    format!("host=127.0.0.1 port={} dbname={database} user=lnk password=lnk", stand.cluster.primary().port())
}

fn stand(mode: &str) -> Stand {
    let stand = Stand::new(&format!("default_pool_size = 30\npool_mode = \"{mode}\""));
    let primary = stand.cluster.primary();
    let (port, other, app) = (primary.port().to_string(), link(&stand, "other"), link(&stand, "app"));
    let filled = |sql: &str| sql.replace("$port", &port).replace("$other", &other).replace("$app", &app);
    let frames = query(&mut stand.operator(), &filled(HERE));
    assert_eq!(sqlstate(&frames), "", "{:?}", frames.iter().find_map(Frame::error));
    primary.psql_in("app", "CREATE DATABASE other").expect("another database");
    primary.psql_in("other", &filled(THERE)).expect("its schema");
    stand.cluster.wait_for_replay(LONG).expect("a replica that follows");
    stand
}

fn written(stand: &Stand) -> String {
    stand.cluster.primary().psql_in("app", "SELECT count(*) FROM journal").expect("an observer")
}

fn both(raw: &mut Raw, sql: &str) -> [String; 2] {
    let simple = sqlstate(&query(raw, sql));
    [simple, sqlstate(&talk(raw, &[parse("", sql, &[]), bind("", "", &[]), execute("", 0), sync()].concat(), 1))]
}

fn other_databases(mode: &str) {
    let stand = stand(mode);
    let (other, app_link) = (link(&stand, "other"), link(&stand, "app"));
    let mut early = stand.app();
    run(&mut early, &format!("SELECT dblink_connect('old', '{other}')"));
    let before = written(&stand);
    stand.on_primary();
    for sql in [
        "SELECT * FROM dblink('old', 'SELECT i FROM v') AS x (i int)",
        "SELECT dblink_open('old', 'c', 'SELECT i FROM v')",
    ] {
        assert_eq!(both(&mut early, sql), ["25006", "25006"], "{mode}, connected before: {sql}");
    }
    let mut app = stand.app();
    for sql in [
        "SELECT * FROM fv",
        "SELECT * FROM fe",
        "SELECT * FROM over_fe",
        "SELECT * FROM inh",
        "COPY (SELECT * FROM fe) TO STDOUT",
        "EXPLAIN ANALYZE SELECT * FROM fv",
        "SELECT runs_text(reverse('vf morf i tceles'))",
        "SELECT table_to_xml('fe', true, true, '')",
        "SELECT far()",
        "SELECT back()",
        "SELECT * FROM far_view",
        "SELECT * FROM dblink('$other', 'SELECT i FROM v') AS x (i int)",
        "SELECT * FROM dblink('$other', 'SELECT i FROM e') AS x (i int)",
        "SELECT * FROM dblink('$other', 'SELECT upper(1, 2)') AS x (i int)",
        "SELECT * FROM dblink('oth', 'SELECT i FROM e') AS x (i int)",
        "SELECT dblink_connect('new', '$other')",
        "SELECT dblink_connect('oth')",
    ] {
        let sql = sql.replace("$other", &other);
        assert_eq!(both(&mut app, &sql), ["25006", "25006"], "{mode}: {sql}");
    }
    run(&mut app, &format!("SELECT dblink_connect('c', '{app_link}')"));
    for sql in [
        "SELECT count(*) FROM here",
        "SELECT reads_back()",
        "SELECT * FROM dblink('$app', 'SELECT count(*) FROM t') AS x (i bigint)",
        "SELECT * FROM dblink('c', 'SELECT count(*) FROM t') AS x (i bigint)",
        "SELECT * FROM dblink('$other', 'SELECT now()') AS x (i timestamptz)",
        "SELECT * FROM dblink('$other', 'SELECT count(*) FROM pg_catalog.pg_class') AS x (i bigint)",
        "SELECT count(*) FROM e",
    ] {
        let sql = sql.replace("$app", &app_link).replace("$other", &other);
        assert_eq!(
            both(&mut app, &sql),
            ["", ""],
            "{mode}: {sql}: {:?}",
            query(&mut app, &sql).iter().find_map(Frame::error)
        );
    }
    assert_eq!(written(&stand), before, "{mode}");
    stand.off();
    run(&mut app, "SELECT * FROM fe");
    assert_ne!(written(&stand), before, "the way is one");
}

#[test]
fn what_another_database_has_under_a_name_is_not_run_in_transaction_mode() {
    other_databases("transaction");
}

#[test]
fn what_another_database_has_under_a_name_is_not_run_in_session_mode() {
    other_databases("session");
}
