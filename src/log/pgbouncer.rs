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
    event: String,
    user: Option<String>,
    database: Option<String>,
    client: Option<String>,
    /// Why it ends, or is refused.
    why: Option<String>,
    seconds: u64,
    /// What only the log may know.
    detail: Option<String>,
    /// The server, and our end of the connection to it.
    upstream: Option<String>,
    local: Option<String>,
    tls: Option<String>,
    /// A command of the console and what it is for, and the name of a signal.
    command: Option<String>,
    target: Option<String>,
    /// What a server has said to a log-in.
    refused: Option<String>,
    rest: String,
    /// Numbers, for the line of sums.
    numbers: Vec<(&'static str, u64)>,
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
            "event" => self.event = on_one_line(value),
            "detail" => self.detail = text(),
            "upstream" => self.upstream = text(),
            "local" => self.local = text(),
            "tls" => self.tls = text(),
            "command" | "signal" => self.command = text(),
            "target" => self.target = text(),
            "refused" => self.refused = text(),
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

    /// As `database/user@address`, of a server connection.
    fn server(&self) -> String {
        let address = self.upstream.as_deref().unwrap_or("(nohost)");
        format!("S-0: {}/{}@{address} ", self.name(), self.role())
    }

    /// Lines of events that PgBouncer has too. None: it has nothing like this one.
    fn known(&self) -> Option<Vec<(&'static str, String)>> {
        let age = format!("(age={}s)", self.seconds);
        let why = self.why.as_deref().unwrap_or_default();
        let command = self.command.as_deref().unwrap_or_default();
        let one = |level, text: String| Some(vec![(level, text)]);
        match self.event.as_str() {
            "server_connection_opened" => {
                let from = self.local.as_ref().map_or_else(String::new, |local| format!(" (from {local})"));
                one("LOG", format!("{}new connection to server{from}", self.server()))
            }
            "server_connection_closed" => one("LOG", format!("{}closing because: {why} {age}", self.server())),
            "server_connection_failed" => {
                let refused =
                    self.refused.as_ref().map(|said| ("WARNING", format!("server login failed: FATAL {said}")));
                let closing = ("LOG", format!("{}closing because: {why} {age}", self.server()));
                Some(refused.into_iter().chain([closing]).collect())
            }
            "reserve_pool" => one("WARNING", format!("{}{}", self.server(), self.message)),
            "auto_database" => one("LOG", format!("registered new auto-database: {}", self.name())),
            "idle_pool" => {
                let (user, database) = (self.role(), self.name());
                let age = format!("(age= {}s)", self.seconds);
                let text =
                    format!("cleaning up idle pool for user {user} on db {database} because: pool idle timeout {age}");
                one("LOG", text)
            }
            "too_many_clients" => {
                let who = self.client().unwrap_or_default();
                let why = "no more connections allowed (max_client_conn)";
                Some(vec![
                    ("LOG", format!("{who}closing because: {why} {age}{}", self.rest)),
                    ("WARNING", format!("{who}pooler error: {why}")),
                ])
            }
            "server_lost" => {
                let detail = self.why.as_deref().unwrap_or_default();
                let why = match detail {
                    tls if tls.contains("certificate") => "TLS startup failed: certificate verify failed",
                    name if name.contains("lookup") => "server DNS lookup failed",
                    _ => "connect failed",
                };
                one("LOG", format!("{}closing because: {why} {age} {detail}", self.server()))
            }
            "not_reloaded" if why.contains("_tls_") => {
                // What the system says, as it spells it.
                let why = why.replace("no such file or", "No such file or").replace("permission den", "Permission den");
                Some(vec![("ERROR", format!("TLS setup failed: {why}")), ("ERROR", format!("{}: {why}", self.message))])
            }
            "console_command" => {
                let target = self.target.as_ref().map_or_else(String::new, |target| format!(" '{target}'"));
                one("LOG", format!("{command}{target} command issued"))
            }
            "signal_ignored" => one("LOG", format!("got {command} while shutting down, ignoring")),
            "signal_again" => one("LOG", format!("got {command} while shutting down, fast exit")),
            "stats" => one("LOG", self.sums()),
            _ => None,
        }
    }

    /// The line of sums.
    fn sums(&self) -> String {
        let number =
            |name: &str| self.numbers.iter().find(|(known, _)| *known == name).map_or(0, |(_, number)| *number);
        format!(
            "stats: {} xacts/s, {} queries/s, {} client parses/s, {} server parses/s, {} binds/s, {} client logins/s, in {} B/s, \
             out {} B/s, xact {} us, query {} us, wait {} us",
            number("xacts_per_s"),
            number("queries_per_s"),
            number("client_parses_per_s"),
            number("server_parses_per_s"),
            number("binds_per_s"),
            number("logins_per_s"),
            number("received_per_s"),
            number("sent_per_s"),
            number("xact_us"),
            number("query_us"),
            number("wait_us"),
        )
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
        if let Some(known) = self.known() {
            return known;
        }
        let who = self.client().unwrap_or_default();
        let tls = self.tls.as_deref().unwrap_or("no");
        let detail = self.detail.as_ref().map(|detail| ("ERROR", format!("{who}{detail}")));
        let closing = |why: &str| ("LOG", format!("{who}closing because: {why} (age={}s){}", self.seconds, self.rest));
        match (self.message.as_str(), &self.why) {
            ("log-in", _) => {
                let (database, user) = (self.name(), self.role());
                vec![(own, format!("{who}login attempt: db={database} user={user} tls={tls} replication=no"))]
            }
            ("closing" | "console closing", Some(why)) => vec![closing(why)],
            ("log-in refused", Some(why)) => {
                let told = [closing(why), (own, format!("{who}pooler error: {why}"))];
                detail.into_iter().chain(told).collect()
            }
            ("session ended", Some(why)) => vec![(own, format!("{who}pooler error: {why}{}", self.rest))],
            (message, Some(why)) => vec![(own, format!("{who}{message}: {why}{}", self.more()))],
            (message, None) => vec![(own, format!("{who}{message}{}", self.more()))],
        }
    }

    /// The fields that stand nowhere else in a line of ours.
    fn more(&self) -> String {
        let fields = [
            ("upstream", &self.upstream),
            ("command", &self.command),
            ("target", &self.target),
            ("tls", &self.tls),
            ("detail", &self.detail),
        ];
        let mut more = self.rest.clone();
        for (name, value) in fields {
            match value {
                Some(value) if is_bare(value) => _ = write!(more, " {name}={value}"),
                Some(value) => _ = write!(more, " {name}={value:?}"),
                None => {}
            }
        }
        more
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
            self.numbers.push((field.name(), value));
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
        let server = [("user", "app"), ("database", "shop"), ("upstream", "10.0.0.1:5432")];
        let with = |more: &[(&'static str, &'static str)]| said(&[&server[..], more].concat());
        assert_eq!(
            with(&[("event", "server_connection_opened"), ("local", "10.0.0.2:5")]),
            ["LOG S-0: shop/app@10.0.0.1:5432 new connection to server (from 10.0.0.2:5)"]
        );
        assert_eq!(
            with(&[("event", "server_connection_failed"), ("reason", "no"), ("refused", "no")]),
            ["WARNING server login failed: FATAL no", "LOG S-0: shop/app@10.0.0.1:5432 closing because: no (age=0s)"]
        );
        assert_eq!(
            said(&[("event", "console_command"), ("command", "PAUSE"), ("target", "shop")]),
            ["LOG PAUSE 'shop' command issued"]
        );
    }
}
