//! Lines in OpenTelemetry's log data model, with the names of its semantic conventions where it has any; the others begin with
//! `pgsluice.`. <https://opentelemetry.io/docs/specs/otel/logs/data-model/>

use std::fmt;
use std::fmt::Debug;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Our names and OpenTelemetry's.
const NAMES: [(&str, &str); 10] = [
    ("database", "db.namespace"),
    ("user", "user.name"),
    ("sqlstate", "db.response.status_code"),
    ("statement", "db.query.text"),
    ("error", "exception.message"),
    ("upstream", "server.address"),
    ("pid", "process.pid"),
    ("signal", "process.signal"),
    ("url", "url.full"),
    ("file", "file.path"),
];

/// See the module.
pub(super) struct Otel;

impl<S, N> FormatEvent<S, N> for Otel
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let (number, text) = severity(*event.metadata().level());
        let line = json!({
            "Timestamp": Timestamp::now().to_string(),
            "SeverityNumber": number,
            "SeverityText": text,
            "EventName": fields.event,
            "Body": fields.message,
            "Attributes": fields.attributes,
            "Resource": { "service.name": "pgsluice", "service.version": env!("CARGO_PKG_VERSION") },
            "InstrumentationScope": { "Name": event.metadata().target() },
        });
        writeln!(writer, "{line}")
    }
}

/// OpenTelemetry's number and word.
fn severity(level: Level) -> (u8, &'static str) {
    match level {
        Level::ERROR => (17, "ERROR"),
        Level::WARN => (13, "WARN"),
        Level::INFO => (9, "INFO"),
        Level::DEBUG => (5, "DEBUG"),
        Level::TRACE => (1, "TRACE"),
    }
}

#[derive(Default)]
struct Fields {
    event: Option<String>,
    message: String,
    attributes: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, name: &str, value: Value) {
        match name {
            "event" => self.event = value.as_str().map(str::to_owned),
            "message" => self.message = value.as_str().map_or_else(|| value.to_string(), str::to_owned),
            "client" => self.put_client(value),
            name => {
                let known = NAMES.iter().find(|(ours, _)| *ours == name).map(|(_, theirs)| (*theirs).to_owned());
                self.attributes.insert(known.unwrap_or_else(|| format!("pgsluice.{name}")), value);
            }
        }
    }

    /// Address and port are two.
    fn put_client(&mut self, value: Value) {
        let split = value.as_str().and_then(|text| text.parse::<std::net::SocketAddr>().ok());
        match split {
            Some(address) => {
                self.attributes.insert("client.address".to_owned(), address.ip().to_string().into());
                self.attributes.insert("client.port".to_owned(), address.port().into());
            }
            None => _ = self.attributes.insert("client.address".to_owned(), value),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field.name(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field.name(), value.into());
    }
}
