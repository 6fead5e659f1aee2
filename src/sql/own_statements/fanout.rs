//! Statements of a fan-out: one unit of work on several servers, committed on all of them or on none.

use crate::sql::lex::quote::{ident, literal};

/// Opens a block that may write, whatever the database's own default is.
pub const BEGIN_READ_WRITE: &str = "BEGIN READ WRITE";
/// The same for a block that is open already, before its first query.
pub const READ_WRITE: &str = "SET TRANSACTION READ WRITE";
/// The id of the open transaction; NULL if it has changed nothing.
pub const ASSIGNED: &str = "SELECT pg_catalog.pg_current_xact_id_if_assigned()::pg_catalog.text";
/// How many transactions can stand prepared.
pub const MOST_PREPARED: &str = "SELECT pg_catalog.current_setting('max_prepared_transactions')";
/// What the session's client has set, as far as it stands between transactions; who it has become comes last.
pub const SET_HERE: &str = "SELECT name, setting FROM pg_catalog.pg_settings \
    WHERE source OPERATOR(pg_catalog.=) 'session' AND context OPERATOR(pg_catalog.<>) 'internal' \
    AND name OPERATOR(pg_catalog.<>) ALL ('{transaction_isolation,transaction_read_only,transaction_deferrable}'::pg_catalog.text[]) \
    UNION ALL SELECT 'session_authorization', pg_catalog.current_setting('session_authorization') \
    UNION ALL SELECT 'role', pg_catalog.current_setting('role')";
/// A row with `t` if no other session fans out to this server; the lock is the session's.
pub const LOCK: &str = "SELECT pg_catalog.pg_try_advisory_lock(1885825388, 1717661300)";
/// Units that stand prepared in this database.
pub const LEFT: &str = "SELECT gid FROM pg_catalog.pg_prepared_xacts \
    WHERE database OPERATOR(pg_catalog.=) pg_catalog.current_database() \
    AND pg_catalog.starts_with(gid, 'pgsluice_fanout_')";
/// Names of the database's subscriptions that are enabled.
pub const SUBSCRIPTIONS: &str = "SELECT s.subname FROM pg_catalog.pg_subscription AS s, pg_catalog.pg_database AS d \
    WHERE s.subenabled AND d.oid OPERATOR(pg_catalog.=) s.subdbid \
    AND d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database() ORDER BY s.subname";

/// What became of a transaction: `committed`, `aborted`, `in progress`, or NULL if it is too long ago.
pub fn outcome(id: u64) -> String {
    format!("SELECT pg_catalog.pg_xact_status('{id}'::pg_catalog.xid8)")
}

/// First half of a commit.
pub fn prepare(unit: &str) -> String {
    format!("PREPARE TRANSACTION {}", literal(unit))
}

/// Second half.
pub fn commit_prepared(unit: &str) -> String {
    format!("COMMIT PREPARED {}", literal(unit))
}

/// Or not.
pub fn roll_back_prepared(unit: &str) -> String {
    format!("ROLLBACK PREPARED {}", literal(unit))
}

/// Gives a setting the value that it has elsewhere.
pub fn set(name: &str, value: &str) -> String {
    format!("SELECT pg_catalog.set_config({}, {}, false)", literal(name), literal(value))
}

/// A row where the session's next transaction reads only by default: whether the session itself has set it so.
pub const READS_ONLY: &str = "SELECT source OPERATOR(pg_catalog.=) 'session' FROM pg_catalog.pg_settings \
    WHERE name OPERATOR(pg_catalog.=) 'default_transaction_read_only' AND setting OPERATOR(pg_catalog.=) 'on'";

/// Has a subscription take in tables that are new at its publisher. What is in them was put there by the unit itself.
pub fn refresh(subscription: &str) -> String {
    format!("ALTER SUBSCRIPTION {} REFRESH PUBLICATION WITH (copy_data = false)", ident(subscription))
}

/// One of each, as it is sent, but for [`LOCK`]: of two sessions that run it one is told no.
pub(super) fn all() -> Vec<(&'static str, String)> {
    super::named(&[
        ("fanout::ASSIGNED", ASSIGNED),
        ("fanout::MOST_PREPARED", MOST_PREPARED),
        ("fanout::SET_HERE", SET_HERE),
        ("fanout::LEFT", LEFT),
        ("fanout::SUBSCRIPTIONS", SUBSCRIPTIONS),
        ("fanout::READS_ONLY", READS_ONLY),
    ])
    .into_iter()
    .chain([("fanout::outcome", outcome(1)), ("fanout::set", set("work_mem", "4MB"))])
    .collect()
}
