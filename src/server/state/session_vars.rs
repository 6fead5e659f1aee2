//! Settings of a session that follow a client from one server connection to the next.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::sql::own_statements::settings;
use crate::sql::own_statements::settings::RoleKind;

/// Settings that a server reports and a session may set. Others it reports are facts about the server.
/// <https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-ASYNC>
const REPORTED: &[&str] = &[
    "application_name",
    "client_encoding",
    "DateStyle",
    "IntervalStyle",
    "search_path",
    "standard_conforming_strings",
    "TimeZone",
];

/// The reported name that `name` is a spelling of, if a session may set it.
pub fn reported_name(name: &str) -> Option<&'static str> {
    REPORTED.iter().copied().find(|known| known.eq_ignore_ascii_case(name))
}

const ROLE: &str = "role";
const AUTHORIZATION: &str = "session_authorization";

/// Whether a setting is a role.
pub fn is_role(name: &str) -> bool {
    matches!(name, ROLE | AUTHORIZATION)
}

/// The reported settings, each with a bit of its own.
pub const ALL_REPORTED: u16 = (1 << REPORTED.len()) - 1;

/// The bit of a reported setting.
pub fn reported_bit(name: &str) -> u16 {
    let at = REPORTED.iter().position(|known| known.eq_ignore_ascii_case(name));
    at.map_or(0, |at| 1 << at)
}

/// The reported settings with these bits.
pub fn reported_names(bits: u16) -> impl Iterator<Item = &'static str> {
    REPORTED.iter().copied().enumerate().filter(move |(at, _)| bits >> at & 1 == 1).map(|(_, name)| name)
}

/// Reported settings that say how the client's bytes are read: they stay as the client was told.
const OF_TEXT: [&str; 2] = ["client_encoding", "standard_conforming_strings"];

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// The server's own value, as it reports it: no client has set it.
    Default(Box<str>),
    /// A value that a client has set, as the server reports it.
    Reported(Box<str>),
    /// The right-hand side of a SET as the client wrote it.
    Spelled(Box<str>),
    /// The value itself, as `set_config()` takes it and SHOW tells it.
    Flat(Box<str>),
}

impl Value {
    /// It, in whatever form.
    pub fn text(&self) -> &str {
        let (Self::Default(text) | Self::Reported(text) | Self::Spelled(text) | Self::Flat(text)) = self;
        text
    }

    /// Whether the server tells of it by itself.
    pub fn is_reported(&self) -> bool {
        matches!(self, Self::Default(_) | Self::Reported(_))
    }

    /// Whether it is the server's own.
    pub fn is_default(&self) -> bool {
        matches!(self, Self::Default(_))
    }
}

/// The settings of one session, or those that a server connection has now. Two that are equal have equal hashes, so
/// that the common case at check-out is one comparison. A copy is one of a pointer, until either is changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vars {
    /// Sorted by name.
    entries: Arc<Vec<(Box<str>, Value)>>,
    hash: u64,
}

/// Settings that many clients begin with alike: they lie in memory once.
#[derive(Debug, Default)]
pub struct Alike(HashMap<u64, Vars>);

/// Sets of settings that are remembered to be alike; an application's clients have one.
const MOST_ALIKE: usize = 64;

impl Alike {
    /// The same settings, shared with others that have them.
    pub fn shared(&mut self, vars: Vars) -> Vars {
        match self.0.get(&vars.hash) {
            Some(known) if *known == vars => return known.clone(),
            _ => {}
        }
        if self.0.len() >= MOST_ALIKE {
            self.0.clear();
        }
        self.0.insert(vars.hash, vars.clone());
        vars
    }
}

/// Seeded once a process, so that nobody can make two states look alike.
#[derive(Clone, Debug, Default)]
pub struct Seed(pub(crate) foldhash::quality::RandomState);

impl Vars {
    /// Its fingerprint.
    #[inline]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Current value of a setting.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.find(name).ok().and_then(|at| self.entries.get(at)).map(|(_, value)| value)
    }

    /// A reported setting's value.
    pub fn reported(&self, name: &str) -> Option<&str> {
        match self.get(name) {
            Some(Value::Default(value) | Value::Reported(value)) => Some(value),
            _ => None,
        }
    }

    /// Every setting.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(name, value)| (&**name, value))
    }

    /// Bytes of their names and values.
    pub fn bytes(&self) -> usize {
        self.iter().map(|(name, value)| name.len() + value.text().len()).sum()
    }

    /// Sets or, with None, forgets one.
    pub fn put(&mut self, seed: &Seed, name: &str, value: Option<Value>) {
        let at = self.find(name);
        if at.is_err() && value.is_none() || value.as_ref().is_some_and(|value| self.get(name) == Some(value)) {
            return;
        }
        if let Some((name, old)) = at.ok().and_then(|at| self.entries.get(at)) {
            self.hash ^= print(seed, name, old);
        }
        if let Some(value) = &value {
            self.hash ^= print(seed, name, value);
        }
        let entries = Arc::make_mut(&mut self.entries);
        match (at, value) {
            (Ok(at), Some(value)) => {
                if let Some(entry) = entries.get_mut(at) {
                    entry.1 = value;
                }
            }
            (Ok(at), None) => {
                entries.remove(at);
            }
            (Err(at), Some(value)) => entries.insert(at, (name.into(), value)),
            (Err(_), None) => {}
        }
    }

    /// Notes what the server reports; whose value it is stays as it was.
    pub fn report(&mut self, seed: &Seed, name: &str, value: &str) {
        let kind = match self.get(name) {
            Some(Value::Reported(_)) => Value::Reported,
            _ => Value::Default,
        };
        self.put(seed, name, Some(kind(value.into())));
    }

    /// A client has set a reported setting; its value is what the server reports.
    pub fn mark_set(&mut self, seed: &Seed, name: &str) {
        if let Some(Value::Default(value)) = self.get(name) {
            let value = Value::Reported(value.clone());
            self.put(seed, name, Some(value));
        }
    }

    /// A setting is the server's own again.
    pub fn unset(&mut self, seed: &Seed, name: &str) {
        match self.get(name) {
            Some(Value::Default(_)) => {}
            Some(Value::Reported(value)) => {
                let value = Value::Default(value.clone());
                self.put(seed, name, Some(value));
            }
            _ => self.put(seed, name, None),
        }
    }

    /// Every setting is the server's own again, the role too: DISCARD ALL.
    pub fn unset_all(&mut self, seed: &Seed) {
        self.unset_those(seed, |_| true);
    }

    /// The same but for the role: RESET ALL.
    pub fn reset_all(&mut self, seed: &Seed) {
        self.unset_those(seed, |name| !is_role(name));
    }

    /// Makes what clients have set the same as in `wanted`: what [`Self::to_reach`] asks for has been sent.
    pub fn take_over(&mut self, seed: &Seed, wanted: &Self) {
        self.unset_those(seed, |name| wanted.get(name).is_none_or(Value::is_default));
        for (name, value) in wanted.iter().filter(|(_, value)| !value.is_default()) {
            self.put(seed, name, Some(value.clone()));
        }
    }

    /// Whether on the way to `wanted` a reported setting goes back to the server's own value, which is reported then.
    pub fn has_to_learn(&self, wanted: &Self) -> bool {
        let resets = |name: &str| wanted.get(name).is_none_or(Value::is_default);
        self.iter().any(|(name, value)| matches!(value, Value::Reported(_)) && resets(name))
    }

    /// The server's own values that are others here than in `told`.
    pub fn other_defaults(&self, told: &Self) -> Vec<(Box<str>, Box<str>)> {
        let mut others = Vec::new();
        for (name, value) in self.iter() {
            if let Value::Default(value) = value
                && told.get(name).is_none_or(|told| matches!(told, Value::Default(told) if told != value))
            {
                others.push((name.into(), value.clone()));
            }
        }
        others
    }

    /// What the client was told of how its text is read holds for it wherever it is served: where the server's own value is
    /// another, it is as if the client had set it.
    pub fn keep_text_settings(&mut self, seed: &Seed, server: &Self) {
        for name in OF_TEXT {
            if let (Some(Value::Default(told)), Some(here)) = (self.get(name), server.get(name))
                && !matches!(here, Value::Default(here) if here == told)
            {
                self.mark_set(seed, name);
            }
        }
    }

    /// Whether a role other than the one that logged in is in force, by SET ROLE or SET SESSION AUTHORIZATION.
    pub fn has_role(&self) -> bool {
        self.get(ROLE).is_some() || self.get(AUTHORIZATION).is_some()
    }

    fn unset_those(&mut self, seed: &Seed, which: impl Fn(&str) -> bool) {
        let entries = self.entries.clone();
        for (name, _) in entries.iter().filter(|(name, value)| !value.is_default() && which(name)) {
            self.unset(seed, name);
        }
    }

    /// The statements that set what decides how a text is read, as [`Self::to_reach`] does too.
    pub fn reading_to_reach(&self, wanted: &Self) -> Vec<String> {
        let other = |name: &&&str| self.get(name) != wanted.get(name);
        let names = ["client_encoding", "standard_conforming_strings"];
        names.iter().filter(other).filter_map(|name| Some(settings::set_to(name, wanted.reported(name)?))).collect()
    }

    /// The statements that turn a server connection with these settings into one with those of `wanted`.
    ///
    /// A role decides what may be set, and what role may be taken: it is left first and taken last, the role that speaks for
    /// the session before the one that it took.
    pub fn to_reach(&self, wanted: &Self) -> String {
        let mut statements = Vec::new();
        if self.hash == wanted.hash && self == wanted {
            return String::new();
        }
        for (name, kind) in [(ROLE, RoleKind::Role), (AUTHORIZATION, RoleKind::Authorization)] {
            if self.get(name).is_some() {
                statements.push(settings::reset_role(kind));
            }
        }
        for (name, value) in self.entries.iter().filter(|(name, _)| !is_role(name)) {
            if wanted.get(name).is_none_or(Value::is_default) && !value.is_default() {
                statements.push(settings::reset(name));
            }
        }
        for (name, value) in wanted.entries.iter().filter(|(name, _)| !is_role(name)) {
            if self.get(name) == Some(value) {
                continue;
            }
            statements.push(match (&**name, value) {
                (_, Value::Default(_)) => continue,
                (name, Value::Spelled(value)) => settings::set(name, value),
                (name, Value::Flat(value)) => settings::select_set_config(name, value),
                // Its value is a list already; quoted it would be one long name. By SET it would be spelled anew.
                ("search_path", Value::Reported(value)) => settings::select_set_config("search_path", value),
                (name, Value::Reported(value)) => settings::set_to(name, value),
            });
        }
        for (name, kind) in [(AUTHORIZATION, RoleKind::Authorization), (ROLE, RoleKind::Role)] {
            match wanted.get(name) {
                Some(Value::Flat(value)) => statements.push(settings::set_role_to(kind, value)),
                Some(Value::Spelled(value) | Value::Reported(value)) => {
                    statements.push(settings::set_role(kind, value))
                }
                Some(Value::Default(_)) | None => {}
            }
        }
        statements.into_iter().map(|statement| statement + ";").collect()
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.entries.binary_search_by(|(known, _)| (**known).cmp(name))
    }
}

fn print(seed: &Seed, name: &str, value: &Value) -> u64 {
    let (kind, text) = match value {
        Value::Reported(text) => (0_u8, text),
        Value::Spelled(text) => (1, text),
        Value::Flat(text) => (2, text),
        Value::Default(text) => (3, text),
    };
    seed.0.hash_one((name, kind, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(text: &str) -> Option<Value> {
        Some(Value::Reported(text.into()))
    }

    fn own(text: &str) -> Option<Value> {
        Some(Value::Default(text.into()))
    }

    fn spelled(text: &str) -> Option<Value> {
        Some(Value::Spelled(text.into()))
    }

    #[test]
    fn equal_settings_have_equal_hashes_whatever_way_they_came() {
        let seed = Seed::default();
        let (mut a, mut b) = (Vars::default(), Vars::default());
        a.put(&seed, "TimeZone", reported("UTC"));
        a.put(&seed, "work_mem", spelled("'1MB'"));
        b.put(&seed, "work_mem", spelled("'2MB'"));
        b.put(&seed, "TimeZone", reported("UTC"));
        assert_ne!(a.hash(), b.hash());
        b.put(&seed, "work_mem", spelled("'1MB'"));
        assert_eq!(a, b);
        b.put(&seed, "work_mem", None);
        b.put(&seed, "TimeZone", None);
        assert_eq!(b, Vars::default());
    }

    #[test]
    fn settings_that_are_alike_lie_in_memory_once_until_one_changes() {
        let (seed, mut alike) = (Seed::default(), Alike::default());
        let mut set = |value: &str| {
            let mut vars = Vars::default();
            vars.put(&seed, "TimeZone", reported(value));
            alike.shared(vars)
        };
        let (a, mut b, c) = (set("UTC"), set("UTC"), set("Asia/Tokyo"));
        assert!(Arc::ptr_eq(&a.entries, &b.entries) && !Arc::ptr_eq(&a.entries, &c.entries));
        b.put(&seed, "TimeZone", reported("UTC"));
        b.put(&seed, "work_mem", None);
        assert!(Arc::ptr_eq(&a.entries, &b.entries), "nothing has changed");
        b.put(&seed, "TimeZone", reported("Asia/Tokyo"));
        assert_eq!((a.reported("TimeZone"), &b), (Some("UTC"), &c));
        for nth in 0..10 * MOST_ALIKE {
            set(&nth.to_string());
        }
        assert!(alike.0.len() <= MOST_ALIKE);
    }

    #[test]
    fn the_way_from_one_state_to_another_is_the_least() {
        let seed = Seed::default();
        let (mut have, mut want) = (Vars::default(), Vars::default());
        have.put(&seed, "TimeZone", own("UTC"));
        have.put(&seed, "DateStyle", reported("German, DMY"));
        have.put(&seed, "IntervalStyle", own("postgres"));
        have.put(&seed, "work_mem", spelled("'1MB'"));
        have.put(&seed, "role", spelled("bob"));
        want.put(&seed, "TimeZone", reported("Europe/Berlin"));
        want.put(&seed, "DateStyle", own("ISO, MDY"));
        want.put(&seed, "IntervalStyle", own("iso_8601"));
        want.put(&seed, "my.key", spelled("'it''s'"));
        want.put(&seed, "search_path", Some(Value::Flat("a, \"B\"".into())));
        assert_eq!(
            have.to_reach(&want),
            "RESET ROLE;RESET \"DateStyle\";RESET \"work_mem\";SET \"TimeZone\" TO 'Europe/Berlin';SET \"my\".\"key\" TO 'it''s';\
             SELECT pg_catalog.set_config('search_path', 'a, \"B\"', false);"
        );
        assert_eq!(want.to_reach(&want), "");
        assert!(have.has_to_learn(&want) && !want.has_to_learn(&want));
        have.take_over(&seed, &want);
        assert_eq!(have.to_reach(&want), "");
        have.report(&seed, "DateStyle", "SQL, DMY");
        let others = have.other_defaults(&want).into_iter().map(|(name, value)| format!("{name} {value}"));
        assert_eq!(others.collect::<Vec<_>>(), ["DateStyle SQL, DMY", "IntervalStyle postgres"]);
    }

    #[test]
    fn what_says_how_text_is_read_stays_as_the_client_was_told() {
        let seed = Seed::default();
        let (mut have, mut told) = (Vars::default(), Vars::default());
        for (name, here, there) in [("client_encoding", "LATIN1", "UTF8"), ("TimeZone", "UTC", "Asia/Tokyo")] {
            have.put(&seed, name, own(here));
            told.put(&seed, name, own(there));
        }
        told.keep_text_settings(&seed, &have);
        assert_eq!(have.to_reach(&told), "SET \"client_encoding\" TO 'UTF8';");
        assert_eq!(reported_names(reported_bit("timezone") | reported_bit("DateStyle")).count(), 2);
        assert_eq!(reported_names(ALL_REPORTED).count(), REPORTED.len());
    }

    #[test]
    fn a_role_is_left_first_and_taken_last() {
        let seed = Seed::default();
        let (mut have, mut want) = (Vars::default(), Vars::default());
        have.put(&seed, "role", spelled("bob"));
        want.put(&seed, "role", spelled("carol"));
        want.put(&seed, "session_authorization", spelled("alice"));
        want.put(&seed, "work_mem", spelled("'1MB'"));
        assert_eq!(
            have.to_reach(&want),
            "RESET ROLE;SET \"work_mem\" TO '1MB';SET SESSION AUTHORIZATION alice;SET ROLE carol;"
        );
        assert!(want.has_role());
        want.reset_all(&seed);
        assert!(want.has_role() && want.get("work_mem").is_none());
        want.unset_all(&seed);
        assert!(!want.has_role());
    }
}
