//! Statements around a read that is mirrored: on connections of pgsluice's own, by the client's role.

use std::fmt::Display;

use crate::sql::lex::quote::literal;
use crate::sql::own_statements::named;

/// Ahead of the read. Nothing can be written behind it, and nothing takes long.
pub const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; SET LOCAL statement_timeout = '5s'; \
    SET LOCAL lock_timeout = '1s'; SET LOCAL idle_in_transaction_session_timeout = '30s'; \
    SET LOCAL application_name = 'pgsluice mirror'";

/// Behind it.
pub const END: &str = "ROLLBACK";

/// A position behind everything that anybody can see.
pub const POSITION: &str = "SELECT pg_catalog.pg_current_wal_insert_lsn()";

/// What the server would do for that read; views, policies and the like are seen in it.
pub fn explain(read: &[u8]) -> Vec<u8> {
    [&b"EXPLAIN (VERBOSE, COSTS OFF) "[..], read].concat()
}

/// How many volatile functions have one of these names.
pub fn volatile(names: &[String]) -> String {
    let names: Vec<_> = names.iter().map(|name| literal(name)).collect();
    format!(
        "SELECT pg_catalog.count(*) FROM pg_catalog.pg_proc \
         WHERE provolatile OPERATOR(pg_catalog.=) 'v'::pg_catalog.\"char\" \
         AND proname::pg_catalog.text OPERATOR(pg_catalog.=) ANY (ARRAY[{}]::pg_catalog.text[])",
        names.join(", ")
    )
}

/// Whether whoever receives that slot has applied everything up to a position.
pub fn has_applied(slot: &str, position: impl Display) -> String {
    format!(
        "SELECT pg_catalog.count(*) FROM pg_catalog.pg_replication_slots AS s, pg_catalog.pg_stat_replication AS r \
         WHERE s.slot_name::pg_catalog.text OPERATOR(pg_catalog.=) {} AND r.pid OPERATOR(pg_catalog.=) s.active_pid \
         AND r.replay_lsn OPERATOR(pg_catalog.>=) '{position}'::pg_catalog.pg_lsn",
        literal(slot)
    )
}

pub(in crate::sql::own_statements) fn all() -> Vec<(&'static str, String)> {
    let mut all = named(&[("mirror::begin", BEGIN), ("mirror::end", END), ("mirror::position", POSITION)]);
    let explain = String::from_utf8_lossy(&explain(b"SELECT 1")).into_owned();
    all.push(("mirror::explain", explain));
    all.push(("mirror::volatile", volatile(&["random".to_owned(), "it's".to_owned()])));
    all.push(("mirror::has_applied", has_applied("pgsluice", "0/1")));
    all
}
