//! Lines as PgBouncer writes them, for whoever reads its log by a program: time, process, level, and for what is about a client
//! `C-0: database/user@address closing because: ... (age=0s)`. What PgBouncer has no line for has our words, with its fields behind.

use std::fmt::{self, Debug, Write as _};

use jiff::Timestamp;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::text::{is_bare, on_one_line};

/// See the module.
pub struct PgBouncer;

/// What an event says.
#[derive(Default)]
struct Said {
    message: String,
    user: Option<String>,
    database: Option<String>,
    client: Option<String>,
    /// Why it ends, or is refused.
    why: Option<String>,
    seconds: u64,
    rest: String,
}

impl Said {
    fn put(&mut self, name: &str, value: &str) {
        let text = || Some(on_one_line(value));
        match name {
            "message" => self.message = on_one_line(value),
            "user" => self.user = text(),
            "database" => self.database = text(),
            "client" => self.client = text(),
            "error" | "reason" => self.why = text(),
            "event" => {}
            name if is_bare(value) => _ = write!(self.rest, " {name}={value}"),
            name => _ = write!(self.rest, " {name}={value:?}"),
        }
    }

    /// As `database/user@address`, if it is about a client.
    fn client(&self) -> Option<String> {
        let known = |part: &Option<String>| part.clone().unwrap_or_else(|| "(nouser)".to_owned());
        let client = self.client.as_ref()?;
        let database = self.database.clone().unwrap_or_else(|| "(nodb)".to_owned());
        Some(format!("C-0: {database}/{}@{client} ", known(&self.user)))
    }

    /// Its lines.
    fn lines(&self, level: Level) -> Vec<(&'static str, String)> {
        let own = match level {
            Level::ERROR => "ERROR",
            Level::WARN => "WARNING",
            Level::INFO => "LOG",
            Level::DEBUG => "DEBUG",
            Level::TRACE => "NOISE",
        };
        let who = self.client().unwrap_or_default();
        let closing = |why: &str| ("LOG", format!("{who}closing because: {why} (age={}s){}", self.seconds, self.rest));
        match (self.message.as_str(), &self.why) {
            ("log-in", _) => vec![(own, format!("{who}login attempt: db={} user={}", self.name(), self.role()))],
            ("closing" | "console closing", Some(why)) => vec![closing(why)],
            ("log-in refused", Some(why)) => vec![closing(why), (own, format!("{who}pooler error: {why}"))],
            ("session ended", Some(why)) => vec![(own, format!("{who}pooler error: {why}{}", self.rest))],
            (message, Some(why)) => vec![(own, format!("{who}{message}: {why}{}", self.rest))],
            (message, None) => vec![(own, format!("{who}{message}{}", self.rest))],
        }
    }

    fn name(&self) -> &str {
        self.database.as_deref().unwrap_or_default()
    }

    fn role(&self) -> &str {
        self.user.as_deref().unwrap_or_default()
    }
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "age_ms" {
            self.seconds = value / 1000;
        } else {
            self.put(field.name(), &value.to_string());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field.name(), &format!("{value:?}"));
    }
}

impl<S, N> FormatEvent<S, N> for PgBouncer
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut said = Said::default();
        event.record(&mut said);
        let now = Timestamp::now().strftime("%Y-%m-%d %H:%M:%S%.3f UTC").to_string();
        for (level, text) in said.lines(*event.metadata().level()) {
            writeln!(writer, "{now} [{}] {level} {text}", std::process::id())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_pgbouncers_where_it_has_any() {
        let said = |parts: &[(&str, &str)]| {
            let mut said = Said::default();
            parts.iter().for_each(|(name, value)| said.put(name, value));
            said.lines(Level::WARN).into_iter().map(|(level, text)| format!("{level} {text}")).collect::<Vec<_>>()
        };
        let of = [("user", "app"), ("database", "shop"), ("client", "127.0.0.1:5")];
        let with = |more: &[(&'static str, &'static str)]| said(&[&of[..], more].concat());
        assert_eq!(
            with(&[("message", "log-in refused"), ("error", "password authentication failed"), ("sqlstate", "28P01")]),
            [
                "LOG C-0: shop/app@127.0.0.1:5 closing because: password authentication failed (age=0s) sqlstate=28P01",
                "WARNING C-0: shop/app@127.0.0.1:5 pooler error: password authentication failed",
            ]
        );
        assert_eq!(
            with(&[("message", "closing"), ("reason", "client close request")]),
            ["LOG C-0: shop/app@127.0.0.1:5 closing because: client close request (age=0s)"]
        );
        assert_eq!(said(&[("message", "role\nERROR x"), ("to", "primary")]), ["WARNING role\\nERROR x to=primary"]);
    }
}
