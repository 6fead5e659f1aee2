//! Statements by which one of several primaries becomes the active one: databases go down on one server and up on another.

use crate::sql::lex::quote::{ident, literal};

/// Has sessions of a database that begin from now on read only. It is kept over a restart of the server.
pub fn down(dbname: &str) -> String {
    format!("ALTER DATABASE {} SET default_transaction_read_only = on", ident(dbname))
}

/// Takes that back.
pub fn up(dbname: &str) -> String {
    format!("ALTER DATABASE {} RESET default_transaction_read_only", ident(dbname))
}

fn list(dbnames: &[String]) -> String {
    let each = dbnames.iter().map(|name| literal(name)).collect::<Vec<_>>().join(", ");
    format!("ARRAY[{each}]::pg_catalog.text[]")
}

/// Databases that the role may not alter, or that are not there.
pub fn not_ours(dbnames: &[String]) -> String {
    format!(
        "SELECT n FROM pg_catalog.unnest({}) AS n WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_database AS d \
         WHERE d.datname::pg_catalog.text OPERATOR(pg_catalog.=) n \
         AND pg_catalog.pg_has_role(current_user, d.datdba, 'USAGE'))",
        list(dbnames)
    )
}

/// Subscriptions of these databases: name, database, whether it is enabled, whether it is received.
pub fn subscriptions(dbnames: &[String]) -> String {
    format!(
        "SELECT s.subname, d.datname, s.subenabled, EXISTS (SELECT FROM pg_catalog.pg_stat_subscription AS w \
         WHERE w.subid OPERATOR(pg_catalog.=) s.oid AND w.relid IS NULL AND w.pid IS NOT NULL) \
         FROM pg_catalog.pg_subscription AS s, pg_catalog.pg_database AS d \
         WHERE d.oid OPERATOR(pg_catalog.=) s.subdbid \
         AND d.datname::pg_catalog.text OPERATOR(pg_catalog.=) ANY ({})",
        list(dbnames)
    )
}

/// Logical slots of these databases: name, database, whether somebody receives, and how far that is.
pub fn slots(dbnames: &[String]) -> String {
    format!(
        "SELECT slot_name, database, active, confirmed_flush_lsn FROM pg_catalog.pg_replication_slots \
         WHERE slot_type OPERATOR(pg_catalog.=) 'logical' AND NOT temporary \
         AND database::pg_catalog.text OPERATOR(pg_catalog.=) ANY ({})",
        list(dbnames)
    )
}

/// Sessions in these databases but for those of `ours`, and transactions that are prepared there: process, role, application.
pub fn sessions(dbnames: &[String], ours: &[u32]) -> String {
    let ours = ours.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    format!(
        "SELECT pid::pg_catalog.text, coalesce(usename::pg_catalog.text, '?'), application_name \
         FROM pg_catalog.pg_stat_activity WHERE backend_type OPERATOR(pg_catalog.=) 'client backend' \
         AND pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid() \
         AND pid OPERATOR(pg_catalog.<>) ALL ('{{{ours}}}'::pg_catalog.int4[]) \
         AND application_name OPERATOR(pg_catalog.!~) '^pgsluice (monitor|switchover)$' \
         AND datname::pg_catalog.text OPERATOR(pg_catalog.=) ANY ({list}) \
         UNION ALL SELECT NULL, owner::pg_catalog.text, gid FROM pg_catalog.pg_prepared_xacts \
         WHERE database::pg_catalog.text OPERATOR(pg_catalog.=) ANY ({list})",
        list = list(dbnames)
    )
}

/// One of each that changes nothing.
pub(super) fn all() -> Vec<(&'static str, String)> {
    let names = ["app".to_owned(), "it's".to_owned()];
    vec![
        ("activate::not_ours", not_ours(&names)),
        ("activate::subscriptions", subscriptions(&names)),
        ("activate::slots", slots(&names)),
        ("activate::sessions", sessions(&names, &[1, 2])),
    ]
}
