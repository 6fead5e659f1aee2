//! Clients that are turned away, and those whose session pgsluice ends.

use std::fmt;

use crate::config::Log;
use crate::protocol::Report;

/// What is known of a client, as far as it has said.
#[derive(Clone, Copy)]
pub struct Who<'w> {
    /// Its role.
    pub user: Option<&'w str>,
    /// Its database.
    pub database: Option<&'w str>,
    /// Its address.
    pub client: &'w dyn fmt::Display,
}

/// Whether those that come, those that go, and what they are told is logged.
pub fn wanted(log: &Log) -> (bool, bool, bool) {
    (log.log_connections, log.log_disconnections, log.log_pooler_errors)
}

/// The name of the event that a refused log-in is.
fn refusal(report: &Report) -> &'static str {
    match report.code {
        "3D000" => "unknown_database",
        "42501" => "console_not_allowed",
        "53300" => "too_many_clients",
        "57P01" => "shutting_down",
        "57P03" => "database_offline",
        "08P01" | "0A000" => "protocol_violation",
        "08006" => "no_server",
        _ => "login_refused",
    }
}

/// A client was not let in: why, and what it was told. `detail` is what only the log may know.
pub fn turned_away(who: Who<'_>, report: &Report, said: &str, detail: Option<&str>) {
    turned_away_as(refusal(report), who, report, said, detail);
}

/// A client was not let in, for a reason that its SQLSTATE does not tell.
pub fn turned_away_as(event: &'static str, who: Who<'_>, report: &Report, said: &str, detail: Option<&str>) {
    let detail = detail.or(report.detail.as_deref());
    tracing::warn!(
        event, user = who.user.map(display), database = who.database.map(display), client = %who.client, sqlstate = report.code, detail,
        error = said, "log-in refused"
    );
}

/// Further clients are refused for now: `times` since the last such line.
pub fn too_many(who: Who<'_>, limit: u32, times: u64) {
    tracing::warn!(
        event = "too_many_clients", user = who.user.map(display), database = who.database.map(display), client = %who.client, limit, times,
        error = "max_client_conn is reached", "log-in refused"
    );
}

/// A session was ended by pgsluice: why, and what the client was told.
pub fn ended(who: Who<'_>, report: &Report, said: &str) {
    let event = match (report.code, report.message.as_str()) {
        ("57014", "query_wait_timeout") => "query_wait_timeout",
        ("57014", "query_timeout") => "query_timeout",
        ("25P04", _) => "transaction_timeout",
        ("25P03", _) => "idle_transaction_timeout",
        ("57P05", _) => "client_idle_timeout",
        ("08006", _) => "server_lost",
        ("08P01", _) => "protocol_violation",
        _ => "session_ended",
    };
    tracing::warn!(
        event, user = who.user.map(display), database = who.database.map(display), client = %who.client, sqlstate = report.code,
        detail = report.detail.as_deref(), error = said, "session ended"
    );
}
