//! A database whose gate is closed is not changed from within another one, as an object of the server.

use crate::stand::{Stand, query, sqlstate, talk};
use pgsluice_fixtures::raw::message::{bind, execute, parse, sync};

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

/// Nothing of that.
const HARMLESS: &[&str] = &[
    "ALTER DATABASE other SET work_mem = '7MB'",
    "COMMENT ON DATABASE other IS 'beside app'",
    "GRANT SELECT ON app TO lesser",
    "CREATE TABLE IF NOT EXISTS app (database int)",
    "SELECT 'DROP DATABASE app'",
    "DO $$ BEGIN PERFORM current_database(), 'app'; END $$",
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
    stand.configure("[databases.other]");
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
    assert_eq!(shared(), before);
    for sql in HARMLESS {
        assert_eq!(sqlstate(&query(&mut client, sql)), "", "{sql}");
    }
    // An operator does what the maintenance is for, and nobody is kept from it when the gate is open.
    let mut operator = stand.connect("dba", "dba", "other");
    assert_eq!(sqlstate(&query(&mut operator, "ALTER DATABASE app SET work_mem = '8MB'")), "");
    stand.console("MAINTENANCE OFF app");
    assert_eq!(sqlstate(&query(&mut client, "ALTER DATABASE app SET work_mem = '9MB'")), "");
}
