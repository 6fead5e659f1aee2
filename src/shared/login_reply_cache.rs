//! What a client is told at its log-in is mostly what others were told before it: it is put together once.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use crate::server::pool::Welcome;
use crate::server::state::session_vars::Vars;

/// Log-ins that are remembered, the newest last: an application has one for each of its names.
const MOST: usize = 32;

/// What follows from a log-in that asks for no settings.
#[derive(Clone)]
pub struct Greeting {
    /// The settings that the client begins with.
    pub vars: Vars,
    /// AuthenticationOk and the ParameterStatus messages.
    pub words: Rc<[u8]>,
}

struct Known {
    welcome: Arc<Welcome>,
    application_name: Option<Box<str>>,
    read_only: bool,
    greeting: Greeting,
}

/// See the module. One thread only.
#[derive(Default)]
pub struct Greetings(VecDeque<Known>);

impl Greetings {
    /// That of a client which is welcomed so, has that name, and is told that it is read-only or not.
    pub fn get(&self, welcome: &Arc<Welcome>, application_name: Option<&str>, read_only: bool) -> Option<Greeting> {
        let same = |known: &&Known| {
            Arc::ptr_eq(&known.welcome, welcome)
                && known.read_only == read_only
                && known.application_name.as_deref() == application_name
        };
        self.0.iter().rev().find(same).map(|known| known.greeting.clone())
    }

    /// Remembers one; the oldest makes room.
    pub fn put(&mut self, welcome: Arc<Welcome>, application_name: Option<&str>, read_only: bool, greeting: Greeting) {
        if self.0.len() >= MOST {
            self.0.pop_front();
        }
        self.0.push_back(Known { welcome, application_name: application_name.map(Into::into), read_only, greeting });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_is_for_who_would_be_told_the_same() {
        let welcome = || Arc::new(Welcome { parameters: Vec::new(), read_only: None, notices: Vec::new() });
        let greeting = |word: &[u8]| Greeting { vars: Vars::default(), words: word.into() };
        let (one, other) = (welcome(), welcome());
        let mut greetings = Greetings::default();
        greetings.put(one.clone(), Some("app"), false, greeting(b"1"));
        let words = |greetings: &Greetings, welcome: &Arc<Welcome>, name: &str, read_only: bool| {
            greetings.get(welcome, Some(name), read_only).map(|greeting| greeting.words.to_vec())
        };
        assert_eq!(words(&greetings, &one, "app", false), Some(b"1".to_vec()));
        for (welcome, name, read_only) in [(&other, "app", false), (&one, "psql", false), (&one, "app", true)] {
            assert_eq!(words(&greetings, welcome, name, read_only), None);
        }
        assert!(greetings.get(&one, None, false).is_none());
        for nth in 0..2 * MOST {
            greetings.put(other.clone(), Some(&nth.to_string()), false, greeting(b"2"));
        }
        assert_eq!((greetings.0.len(), words(&greetings, &one, "app", false)), (MOST, None));
    }
}
