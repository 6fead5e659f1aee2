//! Lines of the log about server connections. PgBouncer has them among the others, and so has its format of lines; elsewhere they are
//! for `log_level = debug`.

use std::time::{Instant, SystemTime};

use super::connection::Server;
use super::guard::KindTag;
use super::login::{Login, LoginError};
use super::pool::Pool;
use crate::log::{SERVER_CLOSED, SERVER_OPENED, millis};
use crate::protocol::ErrorFields;

/// A server connection is there.
pub(super) fn opened(pool: &Pool, server: &Server, tag: KindTag, began: SystemTime) {
    tracing::debug!(
        target: SERVER_OPENED,
        event = "server_connection_opened", upstream = %pool.login().address, database = %pool.database, user = %pool.login().user,
        pid = server.key.0, guarded = tag == KindTag::Guarded, took_ms = millis(began.elapsed().unwrap_or_default()),
        local = server.facts.local.map(tracing::field::display), tls = server.facts.tls.as_deref(), "server connection opened"
    );
}

/// It is closed.
pub(super) fn closed(server: &Server) {
    let pool = server.permit.pool();
    tracing::debug!(
        target: SERVER_CLOSED,
        event = "server_connection_closed", upstream = %pool.login().address, database = %pool.database, user = %pool.login().user,
        pid = server.key.0, age_ms = millis(server.opened.elapsed()), reason = server.closing_because, "server connection closed"
    );
}

/// It could not be opened. Here is a line for each attempt; what is at fault is told once in a while.
pub(super) fn failed(pool: &Pool, login: &Login, error: &LoginError, began: Instant) {
    let (why, said) = match error {
        LoginError::Io(error) if error.to_string().contains("lookup") => ("server DNS lookup failed".into(), None),
        LoginError::Io(_) => ("connect failed".into(), None),
        LoginError::Timeout(_) => ("connect timeout".into(), None),
        LoginError::Refused(body) => {
            let message = ErrorFields::new(body).get(b'M').unwrap_or_default();
            let message = String::from_utf8_lossy(message).into_owned();
            (message.clone(), Some(message))
        }
        LoginError::Tls(error) if error.contains("certificate") => {
            (format!("TLS startup failed: certificate verify failed: {error}"), None)
        }
        LoginError::Tls(error) => (format!("TLS startup failed: {error}"), None),
        LoginError::NoPassword { .. } | LoginError::Auth(_) => ("login failed".to_owned(), None),
        LoginError::InRecovery | LoginError::Barred | LoginError::FleetLost | LoginError::Protocol(_) => {
            (error.to_string(), None)
        }
    };
    tracing::debug!(
        target: SERVER_CLOSED,
        event = "server_connection_failed", upstream = %login.address, database = %pool.database, user = %login.user, refused = said,
        age_ms = millis(began.elapsed()), reason = why, "server connection failed"
    );
}

/// A client that has waited for too long gets one beyond the pool's size.
pub(super) fn reserve(pool: &Pool) {
    tracing::debug!(
        target: SERVER_OPENED,
        event = "reserve_pool", database = %pool.database, user = %pool.login().user, "taking connection from reserve_pool"
    );
}
