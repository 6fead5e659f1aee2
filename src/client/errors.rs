//! The catalogue of what pgsluice itself tells a client: each error with its SQLSTATE, in PostgreSQL's or PgBouncer's words
//! where they have any. What a server says has its own words; what the gate adds (DETAIL, HINT) is in `src/gate/detail.rs`.

use std::sync::Arc;

use crate::protocol::error_fields::Place;
use crate::protocol::{Report, Severity};

/// Where in PostgreSQL's source an error of that kind comes from: drivers know some by it.
fn place(file: &[u8], routine: &[u8]) -> Option<Arc<Place>> {
    Some(Arc::new(Place { file: file.into(), line: b"0".into(), routine: routine.into() }))
}

// Log-in.

/// 08P01: the start-up packet or a message of the log-in has not the form it should have.
pub(in crate::client) fn malformed_login(text: impl Into<String>) -> Report {
    Report::fatal("08P01", text)
}

/// 08P01: TLS could not be agreed on.
pub(in crate::client) fn tls_failed(why: &str) -> Report {
    Report::fatal("08P01", format!("could not accept TLS connection: {why}"))
}

/// 08P01: something came ahead of the answer to a request for encryption.
pub(in crate::client) fn early_data(request: &str) -> Report {
    let detail = "This could be either a client-software bug or evidence of an attempted man-in-the-middle attack.";
    let report = Report::fatal("08P01", format!("received unencrypted data after {request}"));
    report.with_detail(Some(detail.to_owned()))
}

/// 08P01: a question about a user has failed.
pub(in crate::client) fn lookup_failed() -> Report {
    Report::fatal("08P01", "bouncer config error")
}

/// 28000: no rule lets the client in, or one keeps it out.
pub(in crate::client) fn not_let_in(text: impl Into<String>) -> Report {
    Report::fatal("28000", text)
}

/// 28P01 or 28000: the client could not prove who it is.
pub(in crate::client) fn authentication_failed(code: &'static str, what: &str, user: &str) -> Report {
    Report::fatal(code, format!("{what} authentication failed for user \"{user}\""))
}

/// 57014: the log-in has taken too long.
pub(in crate::client) fn client_login_timeout() -> Report {
    Report::fatal("57014", "client_login_timeout")
}

/// 08006: the client has gone while its log-in waited.
pub(in crate::client) fn client_gone() -> Report {
    Report::fatal("08006", "client unexpected eof")
}

/// 58000: the system has no random bytes.
pub(in crate::client) fn no_cancel_key() -> Report {
    Report::fatal("58000", "could not generate random cancel key")
}

/// 3D000: the configuration has no such database.
pub(in crate::client) fn no_such_database(name: &str) -> Report {
    Report::fatal("3D000", format!("database \"{name}\" does not exist"))
}

/// 55000: what the log-in needs is disabled.
pub(in crate::client) fn unavailable(text: impl Into<String>) -> Report {
    Report::fatal("55000", text)
}

/// 55000: the database is disabled.
pub(in crate::client) fn disabled(name: &str) -> Report {
    Report::fatal("55000", format!("database \"{name}\" is not currently accepting connections"))
}

/// The words of [`too_many_clients`].
pub(in crate::client) const TOO_MANY_CLIENTS: &str = "sorry, too many clients already";

/// 53300: max_client_conn.
pub(in crate::client) fn too_many_clients() -> Report {
    Report::fatal("53300", TOO_MANY_CLIENTS)
}

/// 42622: a name is longer than PostgreSQL keeps.
pub(in crate::client) fn identifier_truncated(name: &str, kept: &str) -> Report {
    let text = format!("identifier \"{name}\" will be truncated to \"{kept}\"");
    let notice = Report { severity: Severity::Notice, ..Report::error("42622", text) };
    notice.with_place(place(b"scansup.c", b"truncate_identifier"))
}

/// 22023: a start-up parameter has a value that it cannot have.
pub(in crate::client) fn invalid_parameter(text: impl Into<String>, hint: &str) -> Report {
    Report::fatal("22023", text).with_hint(Some(hint.to_owned()))
}

// Server connections.

/// 57014: no server connection could be had in time.
pub(in crate::client) fn query_wait_timeout() -> Report {
    Report::fatal("57014", "query_wait_timeout")
}

/// 08006: no server can be reached. Hosts and ports are nobody's business: the log has them.
pub(in crate::client) fn no_server(severity: Severity) -> Report {
    Report { severity, ..Report::error("08006", "could not connect to the database server") }
}

/// 08006: the server connection has failed.
pub(in crate::client) fn server_lost(why: Option<String>) -> Report {
    Report::fatal("08006", "server closed the connection unexpectedly").with_detail(why)
}

/// 53300: the servers let nobody in any more.
pub(in crate::client) fn too_many_server_connections() -> Report {
    Report::fatal("53300", "too many server connections")
}

/// The same of a session that goes on.
pub(in crate::client) fn no_server_connection_left() -> Report {
    Report::error("53300", "too many server connections, those kept for operators too")
}

/// 57P01: the session is ended.
pub(in crate::client) fn terminated(detail: Option<String>) -> Report {
    Report::fatal("57P01", "terminating connection due to administrator command").with_detail(detail)
}

/// 08006: the server asks for what cannot be given; in the words of PgBouncer.
pub(in crate::client) fn wrong_password_type() -> Report {
    Report::fatal("08006", "server login failed: wrong password type")
}

/// 57P01: the process ends.
pub(in crate::client) fn proxy_stops() -> Report {
    Report::error("57P01", "the proxy is shutting down")
}

/// 57014: a cancel request, or a time-out that works like one; 55P03: lock_timeout.
pub(in crate::client) fn cancelled(code: &'static str, why: &str) -> Report {
    Report::error(code, format!("canceling statement due to {why}"))
}

/// 25P04: transaction_timeout.
pub(in crate::client) fn transaction_timeout() -> Report {
    Report::fatal("25P04", "terminating connection due to transaction timeout")
}

// Messages and statements.

/// 08P01: a message has not the form it should have.
pub(in crate::client) fn protocol_violation(text: impl Into<String>) -> Report {
    Report::error("08P01", text)
}

/// The same, and the connection is closed.
pub(in crate::client) fn fatal_protocol_violation(text: impl Into<String>) -> Report {
    Report::fatal("08P01", text)
}

/// 54000: the client asks for more than is kept for it.
pub(in crate::client) fn limit_exceeded(text: impl Into<String>) -> Report {
    Report::error("54000", text)
}

/// 0A000: the way in which the session is pooled has no such thing.
pub(in crate::client) fn not_supported(text: impl Into<String>) -> Report {
    Report::error("0A000", text)
}

/// 25006: the gate is closed.
pub(in crate::client) fn read_only(text: impl Into<String>) -> Report {
    Report::error("25006", text)
}

/// 42501: the database is being migrated, and its schema stays as it is.
pub(in crate::client) fn is_migrated(text: impl Into<String>) -> Report {
    Report::error("42501", text)
}

/// 25001: what comes too late in a transaction.
pub(in crate::client) fn too_late_in_transaction(text: impl Into<String>) -> Report {
    Report::error("25001", text)
}

/// 25P01: what makes sense only in a block.
pub(in crate::client) fn outside_of_block(name: &str) -> Report {
    Report::error("25P01", format!("{name} can only be used in transaction blocks"))
}

/// 25P01: COMMIT or ROLLBACK where there is no block.
pub(in crate::client) fn no_transaction() -> Report {
    Report::warning("25P01", "there is no transaction in progress")
}

/// 25P02: the transaction has failed.
pub(in crate::client) fn transaction_aborted() -> Report {
    Report::error("25P02", "current transaction is aborted, commands ignored until end of transaction block")
}

/// 26000: the client has no unnamed statement.
pub(in crate::client) fn no_unnamed_statement() -> Report {
    Report::error("26000", "unnamed prepared statement does not exist")
}

/// 42P05: a name is taken.
pub(in crate::client) fn statement_exists(name: &[u8]) -> Report {
    let report =
        Report::error("42P05", format!("prepared statement \"{}\" already exists", String::from_utf8_lossy(name)));
    report.with_place(place(b"prepare.c", b"StorePreparedStatement"))
}

/// 0A000: a statement's rows are not what they were. Drivers know it by its routine, and prepare the statement anew.
pub(in crate::client) fn plan_changed() -> Report {
    let report = Report::error("0A000", "cached plan must not change result type");
    report.with_place(place(b"plancache.c", b"RevalidateCachedQuery"))
}

/// 22023: a setting cannot have that value.
pub(in crate::client) fn invalid_value(name: &str, value: &str) -> Report {
    Report::error("22023", format!("invalid value for parameter \"{name}\": {value}"))
}

/// 42704: the configuration has no such cluster.
pub(in crate::client) fn no_such_cluster(name: &str) -> Report {
    Report::error("42704", format!("cluster \"{name}\" does not exist"))
}

/// 42704: nobody knows the setting.
pub(in crate::client) fn unrecognized_parameter(name: &str) -> Report {
    Report::error("42704", format!("unrecognized configuration parameter \"{name}\""))
}

/// 42501: a setting is for others to change.
pub(in crate::client) fn parameter_not_permitted(name: &str) -> Report {
    Report::error("42501", format!("permission denied to set parameter \"{name}\""))
}

/// 55P02: a setting is only to be read.
pub(in crate::client) fn parameter_not_changeable(name: &str) -> Report {
    Report::error("55P02", format!("parameter \"{name}\" cannot be changed"))
}

/// 01000: a warning of the gate.
pub(in crate::client) fn gate_warning(text: impl Into<String>) -> Report {
    Report::warning("01000", text)
}
