//! Statements of a MIGRATE on the two servers: replication between them, the fence of one database, sequences.

pub mod checks;
pub mod mirror;

use std::fmt::Display;

use crate::sql::lex::quote::{ident, literal};

/// The position up to which everything is written out that was committed before [`WRITTEN`](crate::sql::own_statements::moving::WRITTEN).
pub const FLUSHED: &str = "SELECT pg_catalog.pg_current_wal_flush_lsn()";

/// Makes a publication of all tables.
pub fn create_publication(name: &str) -> String {
    format!("CREATE PUBLICATION {} FOR ALL TABLES", ident(name))
}

/// Takes it away.
pub fn drop_publication(name: &str) -> String {
    format!("DROP PUBLICATION IF EXISTS {}", ident(name))
}

/// Whether there is such a publication, and whether it is of all tables.
pub fn publication(name: &str) -> String {
    format!(
        "SELECT puballtables FROM pg_catalog.pg_publication WHERE pubname::pg_catalog.text OPERATOR(pg_catalog.=) {}",
        literal(name)
    )
}

/// A slot: whether somebody receives, how far that is, how many bytes are left, whether its log is still there; and its database.
pub fn slot(name: &str) -> String {
    format!(
        "SELECT active, confirmed_flush_lsn, \
         pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_flush_lsn(), confirmed_flush_lsn)::pg_catalog.int8, \
         coalesce(wal_status, ''), database, active_pid FROM pg_catalog.pg_replication_slots \
         WHERE slot_name::pg_catalog.text OPERATOR(pg_catalog.=) {}",
        literal(name)
    )
}

/// Makes a slot; waits for transactions that are open.
pub fn create_slot(name: &str) -> String {
    format!("SELECT pg_catalog.pg_create_logical_replication_slot({}, 'pgoutput')", literal(name))
}

/// Takes a slot away if it is there.
pub fn drop_slot(name: &str) -> String {
    format!(
        "SELECT pg_catalog.pg_drop_replication_slot(slot_name) FROM pg_catalog.pg_replication_slots \
         WHERE slot_name::pg_catalog.text OPERATOR(pg_catalog.=) {}",
        literal(name)
    )
}

/// Leaves out everything that has been committed until now.
pub fn advance_slot(name: &str) -> String {
    format!("SELECT pg_catalog.pg_replication_slot_advance({}, pg_catalog.pg_current_wal_flush_lsn())", literal(name))
}

/// Takes away the slots of copies that a subscription with that number has left.
pub fn drop_copy_slots(subscription: u32) -> String {
    format!(
        "SELECT pg_catalog.pg_drop_replication_slot(slot_name) FROM pg_catalog.pg_replication_slots \
         WHERE slot_name::pg_catalog.text OPERATOR(pg_catalog.~) '^pg_{subscription}_sync_[0-9]+_[0-9]+$' AND NOT active \
         AND database OPERATOR(pg_catalog.=) pg_catalog.current_database()"
    )
}

/// Makes a subscription that does not run yet; its slot is made for it. It need not be that anything of it is there already.
pub fn create_subscription(name: &str, conninfo: &str, copies: bool, version: u64) -> String {
    // A server older than 16 knows no origins: the other direction is at rest before this one begins.
    let origin = if version >= 160_000 && !copies { ", origin = none" } else { "" };
    format!(
        "CREATE SUBSCRIPTION {name} CONNECTION {} PUBLICATION {name} \
         WITH (create_slot = false, slot_name = {name}, enabled = false, copy_data = {copies}{origin})",
        literal(conninfo),
        name = ident(name),
    )
}

/// Tries whether this server reaches the other one as a subscriber would, and changes nothing.
pub fn try_connection(name: &str, conninfo: &str) -> String {
    let name = ident(name);
    format!(
        "BEGIN READ WRITE; CREATE SUBSCRIPTION {name} CONNECTION {} PUBLICATION {name} \
         WITH (create_slot = false, slot_name = NONE, enabled = false, copy_data = false); ROLLBACK",
        literal(conninfo)
    )
}

/// Has a subscription run, or not any more.
pub fn run_subscription(name: &str, runs: bool) -> String {
    format!("ALTER SUBSCRIPTION {} {}", ident(name), if runs { "ENABLE" } else { "DISABLE" })
}

/// Has a subscription follow tables that its publication has got since; they are copied. It runs in no transaction block.
pub fn refresh_subscription(name: &str) -> String {
    format!("ALTER SUBSCRIPTION {} REFRESH PUBLICATION", ident(name))
}

/// Has a subscription reach its publisher by that.
pub fn connect_subscription(name: &str, conninfo: &str) -> String {
    format!("ALTER SUBSCRIPTION {} CONNECTION {}", ident(name), literal(conninfo))
}

/// Parts a subscription from its slot: it can be taken away without its publisher. It is disabled.
pub fn part_subscription(name: &str) -> String {
    format!("ALTER SUBSCRIPTION {} SET (slot_name = NONE)", ident(name))
}

/// Takes it away.
pub fn drop_subscription(name: &str) -> String {
    format!("DROP SUBSCRIPTION IF EXISTS {}", ident(name))
}

/// A subscription of this database: its number, whether it runs, its slot, and whether a worker is there.
pub fn subscription(name: &str) -> String {
    format!(
        "SELECT s.oid, s.subenabled, s.subslotname, EXISTS (SELECT FROM pg_catalog.pg_stat_subscription AS w \
         WHERE w.subid OPERATOR(pg_catalog.=) s.oid AND w.pid IS NOT NULL) \
         FROM pg_catalog.pg_subscription AS s, pg_catalog.pg_database AS d \
         WHERE d.oid OPERATOR(pg_catalog.=) s.subdbid AND d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database() \
         AND s.subname::pg_catalog.text OPERATOR(pg_catalog.=) {}",
        literal(name)
    )
}

/// Ends the workers of a subscription that is disabled.
pub fn end_workers(name: &str) -> String {
    format!(
        "SELECT pg_catalog.pg_terminate_backend(w.pid) FROM pg_catalog.pg_stat_subscription AS w, \
         pg_catalog.pg_subscription AS s WHERE w.subid OPERATOR(pg_catalog.=) s.oid AND w.pid IS NOT NULL \
         AND s.subname::pg_catalog.text OPERATOR(pg_catalog.=) {} AND s.subdbid OPERATOR(pg_catalog.=) \
         (SELECT oid FROM pg_catalog.pg_database WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database())",
        literal(name)
    )
}

/// How far the copy of a subscription is: tables, those that follow, bytes that are copied of those under way.
pub fn copied(name: &str) -> String {
    format!(
        "SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE r.srsubstate OPERATOR(pg_catalog.=) 'r'), \
         (SELECT coalesce(pg_catalog.sum(c.bytes_processed), 0)::pg_catalog.int8 FROM pg_catalog.pg_stat_progress_copy AS c \
         WHERE c.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) \
         FROM pg_catalog.pg_subscription_rel AS r, pg_catalog.pg_subscription AS s \
         WHERE r.srsubid OPERATOR(pg_catalog.=) s.oid AND s.subname::pg_catalog.text OPERATOR(pg_catalog.=) {} \
         AND s.subdbid OPERATOR(pg_catalog.=) \
         (SELECT oid FROM pg_catalog.pg_database WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database())",
        literal(name)
    )
}

/// How often the workers of a subscription have failed. Servers from version 15 on count that.
pub fn errors(name: &str) -> String {
    format!(
        "SELECT apply_error_count OPERATOR(pg_catalog.+) sync_error_count FROM pg_catalog.pg_stat_subscription_stats \
         WHERE subname::pg_catalog.text OPERATOR(pg_catalog.=) {}",
        literal(name)
    )
}

/// Tables that a subscription follows.
pub fn followed(name: &str) -> String {
    format!(
        "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) \
         FROM pg_catalog.pg_subscription_rel AS r, pg_catalog.pg_subscription AS s, pg_catalog.pg_class AS c, \
         pg_catalog.pg_namespace AS n WHERE r.srsubid OPERATOR(pg_catalog.=) s.oid AND c.oid OPERATOR(pg_catalog.=) r.srrelid \
         AND n.oid OPERATOR(pg_catalog.=) c.relnamespace AND s.subname::pg_catalog.text OPERATOR(pg_catalog.=) {} \
         AND s.subdbid OPERATOR(pg_catalog.=) \
         (SELECT oid FROM pg_catalog.pg_database WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) \
         AND r.srsubstate OPERATOR(pg_catalog.=) 'r'",
        literal(name)
    )
}

/// Tables that a publication has.
pub fn published(name: &str) -> String {
    format!(
        "SELECT pg_catalog.format('%I.%I', schemaname, tablename) FROM pg_catalog.pg_publication_tables \
         WHERE pubname::pg_catalog.text OPERATOR(pg_catalog.=) {}",
        literal(name)
    )
}

/// Sessions in this database but for those of `ours`, and transactions that are prepared there: process, role, application, whether
/// it has written, and whether it is younger than a second and so may be one of ours that is just being opened.
pub fn sessions(ours: &[u32]) -> String {
    let ours = ours.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    format!(
        "SELECT pid::pg_catalog.text, coalesce(usename::pg_catalog.text, '?'), application_name, backend_xid IS NOT NULL, \
         pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) backend_start) \
         OPERATOR(pg_catalog.<) 1::pg_catalog.float8 \
         FROM pg_catalog.pg_stat_activity WHERE backend_type OPERATOR(pg_catalog.=) 'client backend' \
         AND pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid() \
         AND pid OPERATOR(pg_catalog.<>) ALL ('{{{ours}}}'::pg_catalog.int4[]) \
         AND application_name OPERATOR(pg_catalog.!~) '^pgsluice (monitor|switchover)$' \
         AND datname OPERATOR(pg_catalog.=) pg_catalog.current_database() \
         UNION ALL SELECT NULL, owner::pg_catalog.text, gid, true, false FROM pg_catalog.pg_prepared_xacts \
         WHERE database OPERATOR(pg_catalog.=) pg_catalog.current_database()"
    )
}

/// Whether sessions of this database that begin now read only by the database's own setting.
pub const IS_DOWN: &str = "SELECT pg_catalog.count(*) FROM pg_catalog.pg_db_role_setting AS s, \
    pg_catalog.unnest(s.setconfig) AS c WHERE s.setrole OPERATOR(pg_catalog.=) 0::pg_catalog.oid \
    AND s.setdatabase OPERATOR(pg_catalog.=) (SELECT oid FROM pg_catalog.pg_database \
    WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) \
    AND c OPERATOR(pg_catalog.=) 'default_transaction_read_only=on'";

/// Sequences that have been used, with the value from which they go on elsewhere: as far beyond the last one as `margin`, but not
/// beyond their end.
pub fn sequences(margin: u64) -> String {
    let far = margin.min(1 << 40);
    format!(
        "SELECT pg_catalog.format('%I.%I', schemaname, sequencename), \
         CASE WHEN x.v OPERATOR(pg_catalog.>=) min_value AND x.v OPERATOR(pg_catalog.<=) max_value \
         THEN x.v::pg_catalog.int8 ELSE last_value END \
         FROM pg_catalog.pg_sequences, LATERAL (SELECT last_value::pg_catalog.numeric OPERATOR(pg_catalog.+) \
         (increment_by::pg_catalog.numeric OPERATOR(pg_catalog.*) {far}::pg_catalog.numeric) AS v) AS x \
         WHERE last_value IS NOT NULL ORDER BY 1"
    )
}

/// Sets sequences to those values.
pub fn set_sequences(values: &[(String, i64)]) -> String {
    let rows: Vec<_> =
        values.iter().map(|(name, value)| format!("({}, {value}::pg_catalog.int8)", literal(name))).collect();
    format!(
        "SELECT pg_catalog.count(pg_catalog.setval(x.n::pg_catalog.regclass, x.v, true)) FROM (VALUES {}) AS x(n, v)",
        rows.join(", ")
    )
}

/// Whether what is behind that slot has everything up to there.
pub fn has_confirmed(name: &str, position: impl Display) -> String {
    format!(
        "SELECT active, confirmed_flush_lsn OPERATOR(pg_catalog.>=) '{position}'::pg_catalog.pg_lsn \
         FROM pg_catalog.pg_replication_slots WHERE slot_name::pg_catalog.text OPERATOR(pg_catalog.=) {}",
        literal(name)
    )
}

/// One of each that changes nothing.
pub(super) fn all() -> Vec<(&'static str, String)> {
    let mut all = crate::sql::own_statements::named(&[("migrate::FLUSHED", FLUSHED), ("migrate::IS_DOWN", IS_DOWN)]);
    all.extend([
        ("migrate::publication", publication("it's")),
        ("migrate::slot", slot("it's")),
        ("migrate::drop_slot", drop_slot("it's")),
        ("migrate::drop_copy_slots", drop_copy_slots(1)),
        ("migrate::subscription", subscription("it's")),
        ("migrate::end_workers", end_workers("it's")),
        ("migrate::copied", copied("it's")),
        ("migrate::followed", followed("it's")),
        ("migrate::published", published("it's")),
        ("migrate::sessions", sessions(&[1, 2])),
        ("migrate::sequences", sequences(1000)),
        ("migrate::has_confirmed", has_confirmed("it's", "0/1")),
    ]);
    all
}
