//! One event.

use std::sync::Arc;

use jiff::Timestamp;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::kind::{Kind, Severity};

/// A value that goes with an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Text.
    Text(String),
    /// A whole number.
    Number(u64),
    /// A point in time.
    Time(Timestamp),
    /// Nothing: it is left out.
    None,
}

impl Value {
    /// In the form in which the log takes it.
    pub(crate) fn logged(&self) -> Box<dyn tracing::field::Value + '_> {
        match self {
            Self::Text(text) => Box::new(text.as_str()),
            Self::Number(number) => Box::new(*number),
            Self::Time(at) => Box::new(tracing::field::display(at)),
            Self::None => Box::new(tracing::field::Empty),
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Number(number) => serializer.serialize_u64(*number),
            Self::Time(at) => serializer.collect_str(at),
            Self::None => serializer.serialize_none(),
        }
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Number(number as u64)
    }
}

impl From<Timestamp> for Value {
    fn from(at: Timestamp) -> Self {
        Self::Time(at)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::None, Into::into)
    }
}

/// See the module above. Its JSON form ([`Event::json`]) has the keys `id`, `at`, `event`, `severity`, `database`, `databases`,
/// `cluster`, `upstream`, `message` and `fields`, an object of the named values.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Increases from event to event; 0 before it is published.
    pub id: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: Kind,
    /// How grave.
    pub severity: Severity,
    /// The database it is about, by every name that clients have for it; the one that people are shown is first.
    pub databases: Vec<Arc<str>>,
    /// The cluster.
    pub cluster: Option<String>,
    /// The server's address.
    pub upstream: Option<String>,
    /// One sentence for people.
    pub text: String,
    /// Values for programs.
    pub fields: Vec<(&'static str, Value)>,
}

impl Event {
    /// Of that kind, about nothing in particular.
    pub fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self {
            id: 0,
            at: Timestamp::now(),
            kind,
            severity: Severity::Info,
            databases: Vec::new(),
            cluster: None,
            upstream: None,
            text: text.into(),
            fields: Vec::new(),
        }
    }

    /// About a database of that name.
    pub fn about(self, database: &str) -> Self {
        self.about_all(vec![database.into()])
    }

    /// About a database of those names.
    pub fn about_all(mut self, databases: Vec<Arc<str>>) -> Self {
        self.databases = databases;
        self
    }

    /// About a server of a cluster.
    pub fn about_server(mut self, cluster: &str, upstream: Option<String>) -> Self {
        self.cluster = Some(cluster.to_owned());
        self.upstream = upstream;
        self
    }

    /// Caused by that role.
    pub fn by(self, user: &str) -> Self {
        self.with("user", user)
    }

    /// As grave as that.
    pub fn of(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// With a value; [`Value::None`] is left out.
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        let value = value.into();
        if value != Value::None {
            self.fields.push((name, value));
        }
        self
    }

    /// The name by which people are shown the database.
    pub fn database(&self) -> Option<&str> {
        self.databases.first().map(|name| &**name)
    }

    /// The role that has caused it.
    pub fn user(&self) -> Option<&str> {
        match self.value("user") {
            Some(Value::Text(user)) => Some(user),
            _ => None,
        }
    }

    /// A named value.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.fields.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// The named values as a JSON object.
    pub fn fields_json(&self) -> String {
        serde_json::to_string(&Fields(&self.fields)).unwrap_or_default()
    }

    /// As one line of JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Named values as an object.
struct Fields<'a>(&'a [(&'static str, Value)]);

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("at", &Value::Time(self.at))?;
        map.serialize_entry("event", self.kind.name())?;
        map.serialize_entry("severity", self.severity.as_str())?;
        map.serialize_entry("database", &self.database())?;
        let names: Vec<&str> = self.databases.iter().map(|name| &**name).collect();
        map.serialize_entry("databases", &names)?;
        map.serialize_entry("cluster", &self.cluster)?;
        map.serialize_entry("upstream", &self.upstream)?;
        map.serialize_entry("message", &self.text)?;
        map.serialize_entry("fields", &Fields(&self.fields))?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_kinds_in_json() {
        let event = Event::new(Kind::DrainEnded, "done \"now\"")
            .about("app")
            .with("waited_ms", 12_u64)
            .with("user", "o'neil")
            .with("quiesced_lsn", None::<String>);
        let json: serde_json::Value = serde_json::from_str(&event.json()).unwrap();
        assert_eq!(json["event"], "drain_ended");
        assert_eq!(json["database"], "app");
        assert_eq!(json["message"], "done \"now\"");
        assert_eq!(json["fields"], serde_json::json!({ "waited_ms": 12, "user": "o'neil" }));
        assert!(json["cluster"].is_null());
    }
}
