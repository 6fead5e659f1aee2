//! The log: how lines are written ([`start`]), what is written only once in a while ([`Occasionally`], [`RefusedStatements`]), and
//! the lines about clients that are turned away or time out ([`clients`]).
//!
//! Every line has an `event`, a name that does not change, and its values in fields of their own. RefusedKind comes from a peer is
//! escaped in both forms, so that nobody writes a line or a field of their own.

pub mod clients;
mod occasionally;
mod pgbouncer;
mod refused_statements;
mod sink;
mod text;

pub use crate::log::occasionally::Occasionally;
pub use crate::log::refused_statements::{Counted, Refused, RefusedKind, RefusedStatements};

use std::io::IsTerminal;
use std::time::Duration;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, Registry, fmt, reload};

use crate::config::{Log, LogFormat, LogLevel};
use crate::log::sink::Sink;

/// Sets how much is logged from now on, and where.
pub struct Level(reload::Handle<Targets, Registry>, Sink);

impl Level {
    /// Logs that much.
    pub fn set(&self, level: LogLevel) {
        // Fails only if the log is gone.
        let _ = self.0.reload(filter(level));
    }

    /// Opens the log file again, if there is one.
    pub fn reopen(&self) {
        self.1.reopen();
    }
}

/// RefusedKind other crates have to say is for their developers.
fn filter(level: LogLevel) -> Targets {
    let own = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let others = own.min(LevelFilter::WARN);
    Targets::new().with_default(others).with_target(env!("CARGO_CRATE_NAME"), own)
}

/// Begins to log.
///
/// # Errors
/// There is no way to where the log shall go.
pub fn start(log: &Log) -> std::io::Result<Level> {
    let sink = Sink::of(log)?;
    let (filter, handle) = reload::Layer::new(filter(log.log_level));
    let lines = fmt::layer().with_target(false).with_writer(sink.clone());
    let lines = match log.log_format {
        LogFormat::Json => lines.json().boxed(),
        LogFormat::Pgbouncer => lines.event_format(crate::log::pgbouncer::PgBouncer).boxed(),
        LogFormat::Text => {
            let colours = matches!(sink, Sink::Stderr) && std::io::stderr().is_terminal();
            lines.with_ansi(colours).fmt_fields(crate::log::text::Fields).boxed()
        }
    };
    // Fails only if somebody has set up logging before: then that stays.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
    Ok(Level(handle, sink))
}

/// A duration for a field whose name ends in `_ms`.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
