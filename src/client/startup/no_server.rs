//! What a client is told whom no server serves.

use std::sync::Arc;

use crate::client::errors;
use crate::protocol::{ErrorFields, Report, Severity};
use crate::server::AcquireError;
use crate::server::login::LoginError;
use crate::shared::WorkerState;

/// A server's error in words of our own, without its position in a text that the client does not know.
pub(in crate::client) fn report_of(body: &[u8], severity: Severity) -> Report {
    let fields = ErrorFields::new(body);
    let text = |code| fields.get(code).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let code = crate::client::checkout::acquire::known_code(fields.code());
    Report { severity, ..Report::error(code, text(b'M').unwrap_or_default()) }
        .with_detail(text(b'D'))
        .with_hint(text(b'H'))
        .with_place(fields.place().map(Arc::new))
}

/// A client waits in vain as long as nobody lets the monitor in.
pub(super) fn monitor_refused(why: String) -> Report {
    let hint = "Set monitor_user, monitor_password and monitor_database of the cluster; SHOW UPSTREAMS tells more.";
    errors::no_server(Severity::Fatal)
        .with_detail(Some(format!("The monitor of pgsluice cannot log in to {why}")))
        .with_hint(Some(hint.to_owned()))
}

/// Why there is no server connection, as the client is told.
pub(in crate::client) fn fatal(core: &WorkerState, error: &AcquireError) -> Report {
    match error {
        AcquireError::Login(LoginError::Refused(body)) => report_of(body, Severity::Fatal),
        AcquireError::Login(LoginError::Barred) => {
            Report { severity: Severity::Fatal, ..crate::client::maintenance::barred::barred() }
        }
        AcquireError::Login(LoginError::Auth(_) | LoginError::NoPassword { .. }) if core.is_like_pgbouncer() => {
            errors::wrong_password_type()
        }
        AcquireError::NoPlace => errors::too_many_server_connections(),
        AcquireError::Timeout => errors::query_wait_timeout(),
        AcquireError::Login(_) => errors::no_server(Severity::Fatal),
    }
}
