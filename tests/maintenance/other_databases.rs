//! A database whose gate is closed is not changed from within another one, as an object of the server.

use crate::stand::{Stand, query, sqlstate, talk};
use pgsluice_fixtures::raw::message::{bind, execute, function_call, parse, sync};

/// What is known of the database in the catalog that all databases share.
const SHARED: &str = "SELECT md5(concat((SELECT d::text FROM pg_database d WHERE datname = 'app'), \
    (SELECT string_agg(s::text, ',') FROM pg_db_role_setting s), \
    (SELECT string_agg(d.description, ',') FROM pg_shdescription d)))";

/// Each changes the database `app`.
const CHANGES: &[&str] = &[
    "DROP DATABASE app",
    "DROP DATABASE IF EXISTS \"app\" WITH (FORCE)",
    "ALTER DATABASE app RENAME TO app_x",
    "ALTER DATABASE app SET work_mem = '7MB'",
    "ALTER DATABASE app RESET ALL",
    "ALTER DATABASE app CONNECTION LIMIT 33",
    "ALTER DATABASE app OWNER TO lesser",
    "GRANT CONNECT ON DATABASE other, app TO lesser",
    "REVOKE ALL ON DATABASE app FROM PUBLIC",
    "COMMENT ON DATABASE app IS 'x'",
    "ALTER ROLE app IN DATABASE app SET work_mem = '7MB'",
    "BEGIN; ALTER DATABASE app SET work_mem = '7MB'; COMMIT",
    "DO $$ BEGIN ALTER DATABASE app SET work_mem = '7MB'; END $$",
    "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = %L', 'app', '7MB'); END $$",
    "REASSIGN OWNED BY app TO lesser",
    "DROP OWNED BY app",
];

/// In `other`: each of these changes the database `app` by what it calls.
const FUNCTIONS: &str = "
CREATE FUNCTION alters() RETURNS int SECURITY DEFINER LANGUAGE plpgsql AS $$ BEGIN ALTER DATABASE app SET work_mem = '7MB'; RETURN 1; END $$;
CREATE FUNCTION alters_any(d text) RETURNS int SECURITY DEFINER LANGUAGE plpgsql AS $$ BEGIN EXECUTE format('ALTER ROLE app IN DATABASE %I SET work_mem = %L', d, '7MB'); RETURN 1; END $$;
CREATE FUNCTION alters_in_pieces() RETURNS int SECURITY DEFINER LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'COMMENT ON DATA' || 'BASE app IS NULL'; RETURN 1; END $$;
CREATE FUNCTION in_sql() RETURNS void SECURITY DEFINER LANGUAGE sql AS 'GRANT CONNECT ON DATABASE app TO lesser';
CREATE FUNCTION leads() RETURNS int LANGUAGE sql AS 'SELECT alters()';
CREATE PROCEDURE by_call() LANGUAGE plpgsql AS $$ BEGIN PERFORM leads(); END $$;
CREATE VIEW looks AS SELECT leads() AS x;
CREATE FUNCTION fires() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM alters(); RETURN NEW; END $$;
CREATE TABLE fired (i int); CREATE TRIGGER x BEFORE INSERT ON fired FOR EACH ROW EXECUTE FUNCTION fires();
CREATE FUNCTION where_am_i() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN current_database(); END $$;
GRANT ALL ON looks, fired TO app;
";

const BY_FUNCTIONS: &[&str] = &[
    "SELECT alters()",
    "SELECT alters_any('app')",
    "SELECT alters_in_pieces()",
    "SELECT in_sql()",
    "SELECT leads()",
    "CALL by_call()",
    "SELECT * FROM looks",
    "INSERT INTO fired VALUES (1)",
    "EXECUTE prepared",
    "DO $$ BEGIN PERFORM leads(); END $$",
];

/// Nothing of that.
const HARMLESS: &[&str] = &[
    "ALTER DATABASE other SET work_mem = '7MB'",
    "COMMENT ON DATABASE other IS 'beside app'",
    "GRANT SELECT ON app TO lesser",
    "CREATE TABLE IF NOT EXISTS app (database int)",
    "SELECT 'DROP DATABASE app'",
    "DO $$ BEGIN PERFORM current_database(), 'app'; END $$",
    "SELECT where_am_i()",
];

#[test]
fn a_database_with_a_closed_gate_is_not_changed_from_within_another() {
    let mut stand = Stand::new("");
    let primary = stand.cluster.primary();
    for sql in ["CREATE DATABASE other OWNER app", "ALTER DATABASE app OWNER TO app", "CREATE ROLE lesser"] {
        primary.psql_in("app", sql).expect(sql);
    }
    primary.psql_in("app", "GRANT lesser TO app").expect("a member");
    primary.psql_in("other", "CREATE TABLE app (i int); ALTER TABLE app OWNER TO app").expect("a table");
    primary.psql_in("other", FUNCTIONS).expect("functions");
    stand.configure("[databases.other]\n[databases.sessions]\ndbname = \"other\"\npool_mode = \"session\"");
    stand.console("RELOAD");
    stand.console("MAINTENANCE ON app");
    let shared = || stand.cluster.primary().psql_in("postgres", SHARED).expect("an observer");
    let before = shared();
    let mut client = stand.connect("app", "app", "other");
    for sql in CHANGES {
        let frames = query(&mut client, sql);
        assert_eq!(sqlstate(&frames), "25006", "{sql}");
        let error = frames.iter().find_map(|frame| frame.error()).expect("an error");
        assert!(error.to_string().contains("read-only transaction"), "{sql}: {error}");
        query(&mut client, "ROLLBACK");
        if !sql.starts_with("BEGIN") {
            let batch = [parse("", sql, &[]), bind("", "", &[]), execute("", 0), sync()].concat();
            assert_eq!(sqlstate(&talk(&mut client, &batch, 1)), "25006", "by messages, {sql}");
        }
    }
    let number = stand.cluster.primary().psql_in("other", "SELECT 'leads'::regproc::oid").expect("its number");
    for database in ["other", "sessions"] {
        let mut client = stand.connect("app", "app", database);
        query(&mut client, "PREPARE prepared AS SELECT leads()");
        for sql in BY_FUNCTIONS {
            assert_eq!(sqlstate(&query(&mut client, sql)), "25006", "{database}, {sql}");
            let batch = [parse("", sql, &[]), bind("", "", &[]), execute("", 0), sync()].concat();
            assert_eq!(sqlstate(&talk(&mut client, &batch, 1)), "25006", "{database}, by messages, {sql}");
        }
        let call = function_call(number.trim().parse().expect("a number"), &[]);
        assert_eq!(sqlstate(&talk(&mut client, &call, 1)), "25006", "{database}, by its number");
        assert_eq!(shared(), before, "{database}");
    }
    for sql in HARMLESS {
        assert_eq!(sqlstate(&query(&mut client, sql)), "", "{sql}");
    }
    // An operator does what the maintenance is for, and nobody is kept from it when the gate is open.
    let mut operator = stand.connect("dba", "dba", "other");
    assert_eq!(sqlstate(&query(&mut operator, "ALTER DATABASE app SET work_mem = '8MB'")), "");
    stand.console("MAINTENANCE OFF app");
    assert_eq!(sqlstate(&query(&mut client, "ALTER DATABASE app SET work_mem = '9MB'")), "");
}
