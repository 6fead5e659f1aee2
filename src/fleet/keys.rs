//! Under which keys they lie.

use super::records::Place;

/// The keys below one prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys(String);

/// What a key is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum About {
    Member(String),
    Backends(String, String),
    Desired(Place),
    Ack(Place, String),
    Leader,
    Told(String, String),
}

impl Keys {
    /// Those below that prefix.
    pub fn below(prefix: &str) -> Self {
        Self(format!("{}/", prefix.trim_end_matches('/')))
    }

    /// What all of them begin with.
    pub fn prefix(&self) -> &str {
        &self.0
    }

    /// Of a member.
    pub fn member(&self, id: &str) -> String {
        format!("{}members/{}", self.0, escaped(id))
    }

    /// Of the connections of one life of a member.
    pub fn backends(&self, id: &str, process: &str) -> String {
        format!("{}backends/{}/{}", self.0, escaped(id), escaped(process))
    }

    /// Of what is wanted of a database.
    pub fn desired(&self, place: &Place) -> String {
        format!("{}desired/{}/{}", self.0, escaped(&place.cluster), escaped(&place.dbname))
    }

    /// Of what a member says of a database.
    pub fn ack(&self, place: &Place, id: &str) -> String {
        format!("{}acks/{}/{}/{}", self.0, escaped(&place.cluster), escaped(&place.dbname), escaped(id))
    }

    /// Of who leads.
    pub fn leader(&self) -> String {
        format!("{}leader", self.0)
    }

    /// Of what a receiver of webhooks was told of a database.
    pub fn told(&self, hook: &str, database: &str) -> String {
        format!("{}told/{}/{}", self.0, escaped(hook), escaped(database))
    }

    /// What that key is about; None: not one of ours.
    pub(super) fn about(&self, key: &str) -> Option<About> {
        let parts: Vec<&str> = key.strip_prefix(&self.0)?.split('/').collect();
        let place =
            |cluster: &str, dbname: &str| Some(Place { cluster: unescaped(cluster)?, dbname: unescaped(dbname)? });
        Some(match parts.as_slice() {
            ["members", id] => About::Member(unescaped(id)?),
            ["backends", id, process] => About::Backends(unescaped(id)?, unescaped(process)?),
            ["desired", cluster, dbname] => About::Desired(place(cluster, dbname)?),
            ["acks", cluster, dbname, id] => About::Ack(place(cluster, dbname)?, unescaped(id)?),
            ["leader"] => About::Leader,
            ["told", hook, database] => About::Told(unescaped(hook)?, unescaped(database)?),
            _ => return None,
        })
    }
}

/// A name without what would end a part of a key.
fn escaped(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

fn unescaped(part: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_name_holds_a_key_is_read_as_it_was_written() {
        let keys = Keys::below("/x");
        for name in ["app", "a/b", "ä %2F", "", "%", "..", "a\nb"] {
            let place = Place { cluster: name.to_owned(), dbname: "d".to_owned() };
            assert_eq!(keys.about(&keys.desired(&place)), Some(About::Desired(place.clone())));
            assert_eq!(keys.about(&keys.ack(&place, name)), Some(About::Ack(place, name.to_owned())));
            assert_eq!(keys.about(&keys.member(name)), Some(About::Member(name.to_owned())));
            assert_eq!(keys.about(&keys.backends(name, "p")), Some(About::Backends(name.to_owned(), "p".to_owned())));
            let told = About::Told(name.to_owned(), name.to_owned());
            assert_eq!(keys.about(&keys.told(name, name)), Some(told));
        }
        assert_eq!(keys.about(&keys.leader()), Some(About::Leader));
        assert_eq!(keys.about("/y/leader"), None);
        assert_eq!(Keys::below("/x/"), keys);
    }
}
