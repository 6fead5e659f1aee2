//! Settings of a session that follow a client from one server connection to the next.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use crate::sql::own_statements::settings::{self, RoleKind};

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

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A value as the server reports it.
    Reported(Box<str>),
    /// The right-hand side of a SET as the client wrote it.
    Spelled(Box<str>),
    /// The value itself, as `set_config()` takes it and SHOW tells it.
    Flat(Box<str>),
}

impl Value {
    /// It, in whatever form.
    pub fn text(&self) -> &str {
        let (Self::Reported(text) | Self::Spelled(text) | Self::Flat(text)) = self;
        text
    }

    /// Whether the server tells of it by itself.
    pub fn is_reported(&self) -> bool {
        matches!(self, Self::Reported(_))
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
            Some(Value::Reported(value)) => Some(value),
            _ => None,
        }
    }

    /// Every setting.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(name, value)| (&**name, value))
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

    /// Forgets every setting that the server does not report: DISCARD ALL.
    pub fn forget_unreported(&mut self, seed: &Seed) {
        self.forget(seed, |_| true);
    }

    /// The same but for the role: RESET ALL.
    pub fn reset_unreported(&mut self, seed: &Seed) {
        self.forget(seed, |name| !is_role(name));
    }

    /// Whether a role other than the one that logged in is in force, by SET ROLE or SET SESSION AUTHORIZATION.
    pub fn has_role(&self) -> bool {
        self.get(ROLE).is_some() || self.get(AUTHORIZATION).is_some()
    }

    fn forget(&mut self, seed: &Seed, which: impl Fn(&str) -> bool) {
        let names: Vec<Box<str>> = self
            .entries
            .iter()
            .filter(|(name, value)| !value.is_reported() && which(name))
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            self.put(seed, &name, None);
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
            if wanted.get(name).is_none() && !value.is_reported() {
                statements.push(settings::reset(name));
            }
        }
        for (name, value) in wanted.entries.iter().filter(|(name, _)| !is_role(name)) {
            if self.get(name) == Some(value) {
                continue;
            }
            statements.push(match (&**name, value) {
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
                None => {}
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
    };
    seed.0.hash_one((name, kind, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(text: &str) -> Option<Value> {
        Some(Value::Reported(text.into()))
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
        have.put(&seed, "TimeZone", reported("UTC"));
        have.put(&seed, "work_mem", spelled("'1MB'"));
        have.put(&seed, "role", spelled("bob"));
        want.put(&seed, "TimeZone", reported("Europe/Berlin"));
        want.put(&seed, "my.key", spelled("'it''s'"));
        want.put(&seed, "search_path", Some(Value::Flat("a, \"B\"".into())));
        assert_eq!(
            have.to_reach(&want),
            "RESET ROLE;RESET \"work_mem\";SET \"TimeZone\" TO 'Europe/Berlin';SET \"my\".\"key\" TO 'it''s';\
             SELECT pg_catalog.set_config('search_path', 'a, \"B\"', false);"
        );
        assert_eq!(want.to_reach(&want), "");
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
        want.reset_unreported(&seed);
        assert!(want.has_role() && want.get("work_mem").is_none());
        want.forget_unreported(&seed);
        assert!(!want.has_role());
    }
}
