//! Statements of a move on the servers that it is about: what is in its way, fence and promotion.

/// Has new transactions read only, whoever begins them. ALTER SYSTEM is sent by itself: it runs in no transaction block.
pub const FENCE: &str = "ALTER SYSTEM SET default_transaction_read_only = on";
/// Takes that back.
pub const LIFT: &str = "ALTER SYSTEM RESET default_transaction_read_only";
/// Has the server read its settings again.
pub const RELOAD: &str = "SELECT pg_catalog.pg_reload_conf()";
/// Whether a session that begins now reads only, and what says so.
pub const READ_ONLY: &str = "SELECT reset_val, source, coalesce(sourcefile, '') FROM pg_catalog.pg_settings \
    WHERE name OPERATOR(pg_catalog.=) 'default_transaction_read_only'";
/// Ends recovery; the answer comes before that is done.
pub const PROMOTE: &str = "SELECT pg_catalog.pg_promote(false)";
/// Whether it is in recovery; how far it has replayed, and received; whether its replay is paused.
pub const REPLAYED: &str = "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.pg_last_wal_replay_lsn(), \
    coalesce(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn())";
/// Commits something on a primary that leaves nothing behind but a message for logical decoding, and waits until it is written out,
/// with all that was committed before. A read-only session may do that.
pub const WRITTEN: &str = "SET synchronous_commit TO local; \
    SELECT pg_catalog.pg_logical_emit_message(true, 'pgsluice'::pg_catalog.text, 'fenced'::pg_catalog.text)";
/// The position behind that.
pub const POSITION: &str = "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.pg_current_wal_insert_lsn()";
/// Commits the same as sessions commit by default: it waits for the disk, and for standbys that are to have it. It fails on a server
/// that takes no writes.
pub const VERIFY: &str = "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('transaction_read_only'), \
    pg_catalog.pg_logical_emit_message(true, 'pgsluice'::pg_catalog.text, 'promoted'::pg_catalog.text), \
    pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8)";

/// Settings that a primary and the server in its place should share, and those that decide what a switchover may do.
const SETTINGS: &str = "'{max_connections,superuser_reserved_connections,max_worker_processes,max_wal_senders,\
    max_prepared_transactions,max_locks_per_transaction,max_replication_slots,shared_preload_libraries,wal_level,\
    archive_mode,synchronous_standby_names,synchronous_commit,wal_log_hints,data_checksums,full_page_writes,\
    recovery_min_apply_delay,default_transaction_isolation,TimeZone,lc_messages,default_text_search_config,\
    statement_timeout,idle_in_transaction_session_timeout,password_encryption,primary_slot_name,\
    server_version,server_version_num,hot_standby}'::pg_catalog.text[]";

/// What the role may do: name and whether it may. ALTER SYSTEM can be granted from version 15 on.
pub fn rights(version: u64) -> String {
    let alter = if version >= 150_000 {
        "pg_catalog.has_parameter_privilege('default_transaction_read_only', 'ALTER SYSTEM')"
    } else {
        "(SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) current_user)"
    };
    format!(
        "SELECT 'role', current_user::pg_catalog.text \
         UNION ALL SELECT 'alter system', {alter}::pg_catalog.text \
         UNION ALL SELECT 'reload', \
         pg_catalog.has_function_privilege('pg_catalog.pg_reload_conf()', 'EXECUTE')::pg_catalog.text \
         UNION ALL SELECT 'promote', pg_catalog.has_function_privilege(\
         'pg_catalog.pg_promote(pg_catalog.bool,pg_catalog.int4)', 'EXECUTE')::pg_catalog.text \
         UNION ALL SELECT 'signal', pg_catalog.pg_has_role(current_user, 'pg_signal_backend', 'USAGE')::pg_catalog.text \
         UNION ALL SELECT 'monitor', pg_catalog.pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')::pg_catalog.text"
    )
}

/// What is asked of both servers: `setting`, name, value; `connections`, how many there are.
fn both() -> String {
    format!(
        "SELECT 'setting', name, setting, NULL, NULL, NULL FROM pg_catalog.pg_settings \
         WHERE name OPERATOR(pg_catalog.=) ANY ({SETTINGS}) \
         UNION ALL SELECT 'connections', pg_catalog.count(*)::pg_catalog.text, NULL, NULL, NULL, NULL \
         FROM pg_catalog.pg_stat_activity WHERE backend_type OPERATOR(pg_catalog.=) 'client backend'"
    )
}

/// What is asked of the primary beforehand. Sessions in `ours` are not reported.
pub fn of_primary(ours: &[u32]) -> String {
    let ours = ours.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    format!(
        "{both} UNION ALL (SELECT 'transaction', pid::pg_catalog.text, coalesce(usename::pg_catalog.text, '?'), \
         application_name, pg_catalog.round({age}::pg_catalog.numeric, 1)::pg_catalog.text, \
         (backend_xid IS NOT NULL)::pg_catalog.text \
         FROM pg_catalog.pg_stat_activity WHERE backend_type OPERATOR(pg_catalog.=) 'client backend' \
         AND xact_start IS NOT NULL AND pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid() \
         AND {age} OPERATOR(pg_catalog.>) 1::pg_catalog.float8 ORDER BY xact_start LIMIT 10) \
         UNION ALL SELECT 'session', pid::pg_catalog.text, coalesce(usename::pg_catalog.text, '?'), application_name, \
         coalesce(pg_catalog.host(client_addr), 'local'), (backend_xid IS NOT NULL)::pg_catalog.text \
         FROM pg_catalog.pg_stat_activity WHERE backend_type OPERATOR(pg_catalog.=) 'client backend' \
         AND pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid() \
         AND pid OPERATOR(pg_catalog.<>) ALL ('{{{ours}}}'::pg_catalog.int4[]) \
         AND application_name OPERATOR(pg_catalog.!~) '^pgsluice (monitor|switchover)$' \
         UNION ALL SELECT 'prepared', gid, owner::pg_catalog.text, database::pg_catalog.text, NULL, NULL \
         FROM pg_catalog.pg_prepared_xacts \
         UNION ALL SELECT 'slot', slot_name::pg_catalog.text, slot_type, active::pg_catalog.text, \
         coalesce(plugin::pg_catalog.text, ''), coalesce(database::pg_catalog.text, '') \
         FROM pg_catalog.pg_replication_slots WHERE NOT temporary \
         UNION ALL SELECT 'sender', pid::pg_catalog.text, application_name, coalesce(state, '?'), \
         coalesce(sync_state, ''), coalesce(pg_catalog.host(client_addr), 'local') FROM pg_catalog.pg_stat_replication \
         UNION ALL SELECT 'subscription', subname::pg_catalog.text, NULL, NULL, NULL, NULL \
         FROM pg_catalog.pg_subscription WHERE subenabled \
         UNION ALL SELECT 'archiver', failed_count::pg_catalog.text, \
         coalesce((last_failed_time OPERATOR(pg_catalog.>) coalesce(last_archived_time, '-infinity'))::pg_catalog.text, 'false'), \
         coalesce(last_failed_wal, ''), NULL, NULL FROM pg_catalog.pg_stat_archiver \
         UNION ALL SELECT 'override', coalesce(d.datname::pg_catalog.text, ''), coalesce(r.rolname::pg_catalog.text, ''), \
         NULL, NULL, NULL FROM pg_catalog.pg_db_role_setting AS s CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS c \
         LEFT JOIN pg_catalog.pg_database AS d ON d.oid OPERATOR(pg_catalog.=) s.setdatabase \
         LEFT JOIN pg_catalog.pg_roles AS r ON r.oid OPERATOR(pg_catalog.=) s.setrole \
         WHERE pg_catalog.lower(c) OPERATOR(pg_catalog.~) '^default_transaction_read_only=(of|off|f|fa|fal|fals|false|n|no|0)$'",
        both = both(),
        age = "pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) xact_start)",
    )
}

/// What is asked of the target beforehand, which is in recovery.
pub fn of_target() -> String {
    format!(
        "{both} UNION ALL SELECT 'receiver', status, coalesce(slot_name, ''), coalesce(sender_host, ''), \
         coalesce(sender_port::pg_catalog.text, ''), coalesce(received_tli::pg_catalog.text, '') \
         FROM pg_catalog.pg_stat_wal_receiver \
         UNION ALL SELECT 'paused', pg_catalog.pg_is_wal_replay_paused()::pg_catalog.text, NULL, NULL, NULL, NULL \
         UNION ALL SELECT 'follower', pid::pg_catalog.text, application_name, NULL, NULL, NULL \
         FROM pg_catalog.pg_stat_replication",
        both = both(),
    )
}

/// Sessions that are not in `ours`: process, role, application, address, whether it has written, and whether it is younger than a
/// second and so may be one of ours that is just being opened.
pub fn others(ours: &[u32]) -> String {
    let ours = ours.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    format!(
        "SELECT pid, coalesce(usename::pg_catalog.text, '?'), application_name, \
         coalesce(pg_catalog.host(client_addr), 'local'), backend_xid IS NOT NULL, \
         pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) backend_start) \
         OPERATOR(pg_catalog.<) 1::pg_catalog.float8 \
         FROM pg_catalog.pg_stat_activity WHERE backend_type OPERATOR(pg_catalog.=) 'client backend' \
         AND pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid() \
         AND pid OPERATOR(pg_catalog.<>) ALL ('{{{ours}}}'::pg_catalog.int4[]) \
         AND application_name OPERATOR(pg_catalog.!~) '^pgsluice (monitor|switchover)$'"
    )
}

/// Whether a server process is still there.
pub fn is_there(pids: &[u32]) -> String {
    let pids = pids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    format!(
        "SELECT pid FROM pg_catalog.pg_stat_activity \
         WHERE pid OPERATOR(pg_catalog.=) ANY ('{{{pids}}}'::pg_catalog.int4[])"
    )
}

/// See [`crate::sql::own_statements::all`]: those that change nothing and run on a primary.
pub(super) fn all() -> Vec<(&'static str, String)> {
    let mut all = super::named(&[
        ("moving::READ_ONLY", READ_ONLY),
        ("moving::REPLAYED", REPLAYED),
        ("moving::WRITTEN", WRITTEN),
        ("moving::POSITION", POSITION),
        ("moving::VERIFY", VERIFY),
        ("moving::RELOAD", RELOAD),
    ]);
    all.extend([
        ("moving::rights", rights(140_000)),
        ("moving::of_primary", of_primary(&[1, 2])),
        ("moving::others", others(&[1])),
        ("moving::is_there", is_there(&[1])),
    ]);
    all
}
