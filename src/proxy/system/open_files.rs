//! How many files the process may have open: each connection is one.

use std::io;

use crate::config::Config;

/// What helps.
pub const REMEDY: &str = "raise the limit (LimitNOFILE= of the service, ulimit -n) or lower max_client_conn";
/// Files that are no connections of clients or pools: the log, the state, listeners, monitors, runtimes.
const OTHERS: u64 = 100;

/// Raises the soft limit to the hard one. Gives that.
#[expect(unsafe_code, reason = "limits are read and set by the C library")]
#[allow(clippy::unnecessary_cast, reason = "rlim_t has other widths elsewhere")]
fn raise() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a struct of our own, of the type that is asked for.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if limit.rlim_cur < limit.rlim_max {
        let raised = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
        // SAFETY: as above; it is only read.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) } != 0 {
            return Ok(limit.rlim_cur as u64);
        }
    }
    Ok(limit.rlim_max as u64)
}

/// Files that a configuration may come to need: clients, and as many server connections as are sure to be allowed.
fn needed(config: &Config) -> u64 {
    let servers = match config.pooling.max_server_connections.get() {
        Some(most) => most,
        None => {
            config.pooling.default_pool_size.saturating_mul(u32::try_from(config.databases.len()).unwrap_or(u32::MAX))
        }
    };
    u64::from(config.pooling.max_client_conn) + u64::from(servers) + OTHERS
}

/// Raises the limit as far as it goes, and says so if that is not enough.
pub fn raise_limit(config: &Config) {
    match raise() {
        Ok(limit) if limit < needed(config) => tracing::warn!(
            event = "open_files",
            limit,
            needed = needed(config),
            max_client_conn = config.pooling.max_client_conn,
            "the limit of open files is too low for max_client_conn: {REMEDY}"
        ),
        Ok(limit) => tracing::debug!(event = "open_files", limit, "limit of open files"),
        Err(error) => tracing::warn!(event = "open_files", %error, "the limit of open files cannot be read"),
    }
}

/// Whether the process, or the system, has as many files open as it may.
pub fn is_limit(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}
