//! Webhooks: who is told of events over HTTP.

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeValue;

use super::list::Item;
use super::setting::{Key, Kind, Setting, text};
use crate::config::file::section::settings;
use crate::config::values::plain::Secret;
use crate::events;

const SECOND: u64 = 1_000_000;
const HOUR: u64 = 3_600 * SECOND;

/// A URL whose path may be a secret: it is shown without that.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct WebhookUrl(String);

impl WebhookUrl {
    /// All of it, for the one who connects.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it is not protected by TLS.
    pub fn is_plain(&self) -> bool {
        self.0.starts_with("http://")
    }

    /// Scheme, host and port.
    pub fn shown(&self) -> String {
        let Some((scheme, rest)) = self.0.split_once("://") else { return String::new() };
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if host.len() == rest.len() { self.0.clone() } else { format!("{scheme}://{host}/...") }
    }
}

impl std::fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.shown())
    }
}

impl Setting for WebhookUrl {
    const KIND: Kind = Kind::new("URL");
    fn from_value(value: &DeValue<'_>, _: &Key, _: &Path) -> Result<Self, String> {
        let url = text(value)?;
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
        let visible = url.bytes().all(|byte| byte.is_ascii_graphic());
        if host.is_empty() || host.contains('@') || !visible || url.parse::<hyper::Uri>().is_err() {
            return Err("must be a URL such as https://example.org/hook, without a user or password".to_owned());
        }
        Ok(Self(url.to_owned()))
    }
    fn plain(&self) -> String {
        self.shown()
    }
}

/// The name of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventName(pub events::Kind);

impl Item for EventName {
    const KIND: Kind = Kind::new("list of events");
    fn from_text(name: &str) -> Result<Self, String> {
        events::Kind::of_name(name).map(Self).ok_or_else(|| {
            let names: Vec<_> = events::Kind::ALL.iter().map(|kind| kind.name()).collect();
            format!("must be the name of an event, one of {}", names.join(", "))
        })
    }
    fn show(&self) -> String {
        self.0.name().to_owned()
    }
}

settings! {
    /// Somebody who is told of events by an HTTP request for each.
    pub struct Webhook titled "A webhook: an HTTP request for each event" {
        /// Where requests go: POST with the event as JSON. Whatever is behind the host is not shown anywhere.
        url: WebhookUrl = WebhookUrl::default(), { example: "\"https://example.org/hook\"" };
        /// The key of the signature, at least 16 characters. The header Pgsluice-Signature is t=TIME,v1=HEX: the HMAC-SHA256 of TIME, a
        /// dot, and the body.
        secret: Secret = Secret::default(), { example: "\"at least 16 characters\"" };
        /// Only these events. Empty: all of them.
        events: Vec<EventName> = Vec::new(), { example: "[\"mode\", \"drain_gave_up\", \"maintenance_overdue\"]" };
        /// Only events of these databases, and those that are about none. Empty: all databases.
        databases: Vec<String> = Vec::new();
        /// How long one request may take.
        timeout: Duration = Duration::from_secs(10), { min: SECOND / 10, max: 300 * SECOND };
        /// How long an event is tried again, from 1 s to 1 min apart, before it is given up and counted as dead.
        retry_for: Duration = Duration::from_secs(86_400), { min: SECOND / 10, max: 30 * 24 * HOUR };
        /// The certificates of those who may have signed the receiver's. Empty: those that the system trusts.
        ca_file: Option<PathBuf> = None;
    }
}
