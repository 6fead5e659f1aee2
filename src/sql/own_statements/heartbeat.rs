//! The write heartbeat: a table of one row in a schema of pgsluice's own.

use crate::sql::lex::quote::ident;

/// Writes; one row in the answer if there is the row to be written.
pub const BEAT: &str = "UPDATE pgsluice.heartbeat SET at = pg_catalog.clock_timestamp() RETURNING 1";

/// The same in a transaction that is taken back: nothing is changed.
pub const TRIAL: &str = "BEGIN; UPDATE pgsluice.heartbeat SET at = pg_catalog.clock_timestamp() RETURNING 1; ROLLBACK";

/// Makes schema and table, for that role to write. What is there stays.
pub fn init(role: &str) -> String {
    let role = ident(role);
    format!(
        "BEGIN READ WRITE; \
         CREATE SCHEMA IF NOT EXISTS pgsluice; \
         CREATE TABLE IF NOT EXISTS pgsluice.heartbeat \
         (one pg_catalog.bool PRIMARY KEY DEFAULT true CHECK (one), at pg_catalog.timestamptz NOT NULL); \
         INSERT INTO pgsluice.heartbeat(at) VALUES (pg_catalog.clock_timestamp()) ON CONFLICT DO NOTHING; \
         REVOKE ALL ON pgsluice.heartbeat FROM PUBLIC; \
         GRANT USAGE ON SCHEMA pgsluice TO {role}; \
         GRANT SELECT, UPDATE ON pgsluice.heartbeat TO {role}; \
         COMMIT"
    )
}
