//! The log: how lines are written ([`start`]), what is written only once in a while ([`Occasionally`], [`RefusedStatements`]), and
//! the lines about clients that are turned away or time out ([`clients`]).
//!
//! Every line has an `event`, a name that does not change, and its values in fields of their own. RefusedKind comes from a peer is
//! escaped in both forms, so that nobody writes a line or a field of their own.

pub mod clients;
mod level;
mod occasionally;
mod otel;
mod pgbouncer;
mod refused_statements;
mod sink;
mod slow_statements;
mod text;

pub use crate::log::level::Level;
pub use crate::log::occasionally::Occasionally;
pub use crate::log::refused_statements::{Counted, Refused, RefusedKind, RefusedStatements};
pub use crate::log::slow_statements::SlowStatements;

use std::io::IsTerminal;
use std::time::Duration;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt, reload};

use crate::config::{Log, LogFormat};
use crate::log::sink::Sink;

/// Begins to log.
///
/// # Errors
/// There is no way to where the log shall go.
pub fn start(log: &Log) -> std::io::Result<Level> {
    let sink = Sink::of(log)?;
    let (filter, handle) = reload::Layer::new(level::filter(log));
    let lines = fmt::layer().with_target(false).with_writer(sink.clone());
    let lines = match log.log_format {
        LogFormat::Json => lines.json().boxed(),
        LogFormat::Otel => lines.event_format(otel::Otel).boxed(),
        LogFormat::Pgbouncer => lines.event_format(crate::log::pgbouncer::PgBouncer).boxed(),
        LogFormat::Text => {
            let colours = matches!(sink, Sink::Stderr) && std::io::stderr().is_terminal();
            lines.with_ansi(colours).fmt_fields(crate::log::text::Fields).boxed()
        }
    };
    // Fails only if somebody has set up logging before: then that stays.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
    Ok(Level::new(handle, log.log_level, sink))
}

/// The targets of lines about server connections that come and go: debug, but in PgBouncer's format like any other line.
pub const SERVER_OPENED: &str = "pgsluice::server::opened";
/// See [`SERVER_OPENED`].
pub const SERVER_CLOSED: &str = "pgsluice::server::closed";

/// A duration for a field whose name ends in `_ms`.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// An error with what has caused it, which alone says anything.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
