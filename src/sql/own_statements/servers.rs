//! Statements on connections of pgsluice's own: what a server is, who else writes, what would be in the way.

use crate::sql::lex::quote::literal;

/// One row about a server: in recovery, position (replayed, or on disk), seconds behind, version, own read-only default, insert position, timeline.
pub const LOOK: &str = "SELECT pg_catalog.pg_is_in_recovery(), \
    CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() \
    ELSE pg_catalog.pg_current_wal_flush_lsn() END, \
    CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() \
    OPERATOR(pg_catalog.-) pg_catalog.pg_last_xact_replay_timestamp()) ELSE 0 END, \
    pg_catalog.current_setting('server_version_num'), \
    coalesce((SELECT reset_val FROM pg_catalog.pg_settings \
    WHERE name OPERATOR(pg_catalog.=) 'default_transaction_read_only'), 'off'), \
    CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_current_wal_insert_lsn() END, \
    CASE WHEN NOT pg_catalog.pg_is_in_recovery() \
    THEN pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8) END";

/// The same as far as it is asked in between: in recovery, the replay position of a replica or the insert position of a primary, and
/// what the latter has on disk.
pub const POSITION: &str = "SELECT pg_catalog.pg_is_in_recovery(), \
    CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() \
    ELSE pg_catalog.pg_current_wal_insert_lsn() END, \
    CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_current_wal_flush_lsn() END";

/// What a server says of itself beside that, one row for each: `room`, further ordinary connections; `follows`, the timeline that is
/// received; `server` and `setting`, where default_transaction_read_only comes from: database, role, whether it is on.
pub const FACTS: &str = "\
    SELECT 'room', (pg_catalog.current_setting('max_connections')::pg_catalog.int8 \
    OPERATOR(pg_catalog.-) pg_catalog.current_setting('superuser_reserved_connections')::pg_catalog.int8 \
    OPERATOR(pg_catalog.-) coalesce(pg_catalog.current_setting('reserved_connections', true), '0')::pg_catalog.int8 \
    OPERATOR(pg_catalog.-) (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_get_activity(NULL) AS a \
    WHERE a.backend_type OPERATOR(pg_catalog.=) 'client backend'))::pg_catalog.text, NULL, NULL::pg_catalog.bool \
    UNION ALL SELECT 'follows', received_tli::pg_catalog.text, NULL, NULL FROM pg_catalog.pg_stat_wal_receiver \
    UNION ALL SELECT 'server', NULL, NULL, reset_val OPERATOR(pg_catalog.=) 'on' FROM pg_catalog.pg_settings \
    WHERE name OPERATOR(pg_catalog.=) 'default_transaction_read_only' \
    AND source OPERATOR(pg_catalog.<>) ALL ('{global,database,user,\"database user\",client,session}'::pg_catalog.text[]) \
    UNION ALL SELECT 'setting', d.datname::pg_catalog.text, r.rolname::pg_catalog.text, \
    pg_catalog.lower(c) OPERATOR(pg_catalog.~) '=(on|t|tr|tru|true|y|ye|yes|1)$' \
    FROM pg_catalog.pg_db_role_setting AS s CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS c \
    LEFT JOIN pg_catalog.pg_database AS d ON d.oid OPERATOR(pg_catalog.=) s.setdatabase \
    LEFT JOIN pg_catalog.pg_roles AS r ON r.oid OPERATOR(pg_catalog.=) s.setrole \
    WHERE pg_catalog.lower(c) OPERATOR(pg_catalog.~) '^default_transaction_read_only='";

/// Which server this is: its system identifier, which replicas share, and when its postmaster started, in microseconds.
pub const IDENTITY: &str = "SELECT pg_catalog.concat(c.system_identifier, ' ', \
    (pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time()) \
    OPERATOR(pg_catalog.*) 1000000::pg_catalog.float8)::pg_catalog.int8) FROM pg_catalog.pg_control_system() AS c";

/// The same as far as everybody may know it: a server is told by the microsecond of its start.
pub const STARTED: &str = "SELECT pg_catalog.concat('? ', \
    (pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time()) \
    OPERATOR(pg_catalog.*) 1000000::pg_catalog.float8)::pg_catalog.int8)";

/// Puts PostgreSQL's own schema first, and the temporary one last, for the statement in the same message. SET resolves nothing.
pub fn in_system_path(sql: &str) -> String {
    format!("SET search_path TO pg_catalog, pg_temp; {sql}")
}

/// The primary's position, how much of that is on disk, and who else writes to which database: backends with a transaction id, prepared transactions, logical
/// replication. Back ends in `ours` are not reported.
pub fn writers(ours: &[u32]) -> String {
    let ours = ours.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    format!(
        "SELECT 'lsn', NULL, pg_catalog.pg_current_wal_insert_lsn()::pg_catalog.text \
         UNION ALL SELECT 'on disk', NULL, pg_catalog.pg_current_wal_flush_lsn()::pg_catalog.text \
         UNION ALL SELECT 'backend', datname::pg_catalog.text, pg_catalog.concat(pid, ' of user ', coalesce(usename, '?'), \
         ', application ', application_name) \
         FROM pg_catalog.pg_stat_activity WHERE backend_xid IS NOT NULL \
         AND pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid() \
         AND backend_type OPERATOR(pg_catalog.=) 'client backend' \
         AND pid OPERATOR(pg_catalog.<>) ALL ('{{{ours}}}'::pg_catalog.int4[]) \
         UNION ALL SELECT backend_type, datname::pg_catalog.text, pid::pg_catalog.text FROM pg_catalog.pg_stat_activity \
         WHERE backend_type OPERATOR(pg_catalog.~~) 'logical replication %worker' \
         UNION ALL SELECT 'prepared transaction', database::pg_catalog.text, pg_catalog.concat(gid, ' of user ', owner) \
         FROM pg_catalog.pg_prepared_xacts"
    )
}

/// What MAINTENANCE CHECK asks the primary; at most so many sessions.
pub fn check(dbname: &str, most: usize) -> String {
    let name = literal(dbname);
    format!(
        "SELECT 'server', pg_catalog.current_setting('server_version'), current_user::pg_catalog.text, \
         pg_catalog.pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')::pg_catalog.text, \
         pg_catalog.current_setting('max_prepared_transactions'), \
         pg_catalog.pg_has_role(current_user, 'pg_signal_backend', 'USAGE')::pg_catalog.text, NULL, NULL, NULL \
         UNION ALL (SELECT 'session', pid::pg_catalog.text, usename::pg_catalog.text, application_name, \
         coalesce(pg_catalog.host(client_addr), 'local'), \
         pg_catalog.round({age_of_transaction}::pg_catalog.numeric, 3)::pg_catalog.text, state, \
         (backend_xid IS NOT NULL)::pg_catalog.text, \
         EXISTS (SELECT FROM pg_catalog.pg_locks l WHERE l.pid OPERATOR(pg_catalog.=) a.pid AND l.granted \
         AND l.locktype OPERATOR(pg_catalog.=) 'relation' AND l.mode OPERATOR(pg_catalog.=) ANY \
         ('{{AccessExclusiveLock,ExclusiveLock,ShareRowExclusiveLock,ShareLock,ShareUpdateExclusiveLock}}'\
         ::pg_catalog.text[]))::pg_catalog.text \
         FROM pg_catalog.pg_stat_activity a WHERE datname OPERATOR(pg_catalog.=) {name} \
         AND backend_type OPERATOR(pg_catalog.=) 'client backend' \
         AND pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid() ORDER BY xact_start NULLS LAST LIMIT {most}) \
         UNION ALL SELECT 'worker', pid::pg_catalog.text, backend_type, NULL, NULL, NULL, NULL, NULL, NULL \
         FROM pg_catalog.pg_stat_activity WHERE datname OPERATOR(pg_catalog.=) {name} \
         AND backend_type OPERATOR(pg_catalog.~~) 'logical replication %worker' \
         UNION ALL SELECT 'prepared', gid, owner::pg_catalog.text, NULL, NULL, \
         {age_prepared}::pg_catalog.int8::pg_catalog.text, NULL, NULL, NULL \
         FROM pg_catalog.pg_prepared_xacts WHERE database OPERATOR(pg_catalog.=) {name}",
        age_of_transaction = seconds_since("xact_start"),
        age_prepared = seconds_since("prepared"),
    )
}

/// What the server says of those processes: role, database, state, age and start, port of the client, and the statement, at most so
/// much of it.
pub fn back_ends(pids: &[u32], shown: usize) -> String {
    let pids = pids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    format!(
        "SELECT pid, usename, datname, state, \
         ({age} OPERATOR(pg_catalog.*) 1000000::pg_catalog.float8)::pg_catalog.int8, \
         backend_start, client_port, pg_catalog.left(query, {shown}) \
         FROM pg_catalog.pg_stat_activity WHERE pid OPERATOR(pg_catalog.=) ANY ('{{{pids}}}'::pg_catalog.int4[])",
        age = seconds_since("backend_start"),
    )
}

/// What a closed gate depends on in the database asked: kind, words, number. `setting`: where `track_counts` is off; `trigger`: a
/// login event trigger and its function; `silent`: a role without them, none for all; `superuser`; `runs`: this session's log-in ran them.
pub const GUARANTEES: &str = "\
    SELECT 'setting', pg_catalog.concat('track_counts = ', setting, ' (', source, ')'), NULL FROM pg_catalog.pg_settings \
    WHERE name OPERATOR(pg_catalog.=) 'track_counts' AND setting OPERATOR(pg_catalog.<>) 'on' \
    AND source OPERATOR(pg_catalog.<>) ALL ('{database,user,\"database user\",client,session}'::pg_catalog.text[]) \
    UNION ALL SELECT 'setting', pg_catalog.concat(c, CASE WHEN s.setrole OPERATOR(pg_catalog.<>) 0::pg_catalog.oid \
    THEN pg_catalog.concat(' of role \"', r.rolname, '\"') END, CASE WHEN s.setdatabase OPERATOR(pg_catalog.<>) 0::pg_catalog.oid \
    THEN pg_catalog.concat(' in database \"', d.datname, '\"') END), NULL \
    FROM pg_catalog.pg_db_role_setting AS s CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS c \
    LEFT JOIN pg_catalog.pg_database AS d ON d.oid OPERATOR(pg_catalog.=) s.setdatabase \
    LEFT JOIN pg_catalog.pg_roles AS r ON r.oid OPERATOR(pg_catalog.=) s.setrole \
    WHERE (s.setdatabase OPERATOR(pg_catalog.=) 0::pg_catalog.oid OR d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) \
    AND pg_catalog.lower(c) OPERATOR(pg_catalog.~) '^track_counts=' \
    AND pg_catalog.lower(c) OPERATOR(pg_catalog.!~) '=(on|t|tr|tru|true|y|ye|yes|1)$' \
    UNION ALL SELECT 'silent', r.rolname::pg_catalog.text, NULL \
    FROM pg_catalog.pg_db_role_setting AS s CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS c \
    LEFT JOIN pg_catalog.pg_database AS d ON d.oid OPERATOR(pg_catalog.=) s.setdatabase \
    LEFT JOIN pg_catalog.pg_roles AS r ON r.oid OPERATOR(pg_catalog.=) s.setrole \
    WHERE (s.setdatabase OPERATOR(pg_catalog.=) 0::pg_catalog.oid OR d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) \
    AND pg_catalog.lower(c) OPERATOR(pg_catalog.~) '^event_triggers=(of|off|f|fa|fal|fals|false|n|no|0)$' \
    UNION ALL SELECT 'superuser', rolname::pg_catalog.text, NULL FROM pg_catalog.pg_roles WHERE rolsuper \
    UNION ALL SELECT 'runs', pg_catalog.current_setting('event_triggers', true), NULL \
    UNION ALL SELECT 'trigger', pg_catalog.concat('\"', evtname, '\" (', evtfoid::pg_catalog.regprocedure, ')'), \
    evtfoid::pg_catalog.oid::pg_catalog.text FROM pg_catalog.pg_event_trigger \
    WHERE evtevent OPERATOR(pg_catalog.=) 'login' AND evtenabled OPERATOR(pg_catalog.<>) 'D'";

/// Marks this session with a number that others find.
pub fn mark(mark: i64) -> String {
    format!("SELECT pg_catalog.pg_advisory_lock_shared({mark}::pg_catalog.int8)")
}

/// Processes that are marked with that number.
pub fn marked(mark: i64) -> String {
    let bits = mark.cast_unsigned();
    let (high, low) = (bits >> 32, bits & 0xffff_ffff);
    format!(
        "SELECT DISTINCT pid FROM pg_catalog.pg_locks WHERE locktype OPERATOR(pg_catalog.=) 'advisory' \
         AND objsubid OPERATOR(pg_catalog.=) 1::pg_catalog.int2 \
         AND classid OPERATOR(pg_catalog.=) {high}::pg_catalog.oid AND objid OPERATOR(pg_catalog.=) {low}::pg_catalog.oid"
    )
}

/// Ends a server process.
pub fn terminate(pid: u32) -> String {
    format!("SELECT pg_catalog.pg_terminate_backend({pid})")
}

/// Ends a server process if it is the one that began then.
pub fn terminate_if_started(pid: u32, started: &str) -> String {
    let started = literal(started);
    format!(
        "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity \
         WHERE pid OPERATOR(pg_catalog.=) {pid} \
         AND backend_start OPERATOR(pg_catalog.=) {started}::pg_catalog.timestamptz"
    )
}

fn seconds_since(column: &str) -> String {
    format!("pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) {column})")
}

/// See [`crate::sql::own_statements::all`].
pub(super) fn all() -> Vec<(&'static str, String)> {
    vec![
        ("LOOK", LOOK.to_owned()),
        ("POSITION", POSITION.to_owned()),
        ("FACTS", FACTS.to_owned()),
        ("IDENTITY", IDENTITY.to_owned()),
        ("STARTED", STARTED.to_owned()),
        ("writers", writers(&[1, 2])),
        ("back_ends", back_ends(&[1, 2], 200)),
        ("terminate", terminate(0)),
        ("terminate_if_started", terminate_if_started(0, "2026-01-01 00:00:00+00")),
        ("GUARANTEES", GUARANTEES.to_owned()),
        ("check", check("my \"db\" \\' x", 5)),
        ("in_system_path", in_system_path(LOOK)),
    ]
}
