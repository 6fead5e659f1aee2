//! Settings made in the open transaction: they share its fate, and that of the savepoint they stand behind.

use crate::server::state::session_vars::{Seed, Value, Vars};
use crate::sql::Name;

/// See the module.
#[derive(Default)]
pub struct Undo {
    /// In order.
    made: Vec<Made>,
}

enum Made {
    /// A setting's new value; None: its default.
    Put(Box<str>, Option<Value>),
    /// The session's own default_transaction_read_only, while the gate keeps it from being in force; None: as at log-in.
    ReadOnlyDefault(Option<bool>),
    /// RESET ALL, which leaves the role alone.
    ResetAll,
    /// DISCARD ALL.
    ForgetAll,
    /// SAVEPOINT. One before which nothing was set needs no mark: going back to it takes back everything.
    Savepoint(Name),
}

/// Settings and savepoints of one transaction that are remembered; who makes more gets a connection of its own.
const MOST_MADE: usize = 256;

impl Undo {
    /// Whether nothing was set.
    pub fn is_empty(&self) -> bool {
        self.made.is_empty()
    }

    /// Bytes of the names and values.
    pub fn bytes(&self) -> usize {
        let bytes = |made: &Made| match made {
            Made::Put(name, value) => name.len() + value.as_ref().map_or(0, |value| value.text().len()),
            _ => 0,
        };
        self.made.iter().map(bytes).sum()
    }

    /// A setting has a new value, or with None its default. Of one that is reported the server tells the value itself. False
    /// if there are too many to remember.
    pub fn put(&mut self, name: &str, value: Option<Value>) -> bool {
        self.note(Made::Put(name.into(), value))
    }

    /// The session has chosen a default_transaction_read_only. False as for [`Self::put`].
    pub fn set_read_only_default(&mut self, default: Option<bool>) -> bool {
        self.note(Made::ReadOnlyDefault(default))
    }

    /// The last such choice.
    pub fn read_only_default(&self) -> Option<Option<bool>> {
        self.made.iter().rev().find_map(|made| match made {
            Made::ReadOnlyDefault(default) => Some(*default),
            _ => None,
        })
    }

    /// RESET ALL has run. False as for [`Self::put`].
    pub fn reset_all(&mut self) -> bool {
        self.note(Made::ResetAll)
    }

    /// DISCARD ALL has run: no transaction block can be open.
    pub fn forget_all(&mut self) -> bool {
        self.note(Made::ForgetAll)
    }

    /// SAVEPOINT has run. False as for [`Self::put`].
    pub fn savepoint(&mut self, name: &Name) -> bool {
        self.made.is_empty() || self.note(Made::Savepoint(name.clone()))
    }

    /// RELEASE has run: what was set behind the savepoint belongs to what is around it.
    pub fn release(&mut self, name: &Name) {
        let at = self.find(name).unwrap_or(0);
        let mut index = 0;
        self.made.retain(|made| {
            index += 1;
            index <= at || !matches!(made, Made::Savepoint(_))
        });
    }

    /// ROLLBACK TO has run: what was set behind the savepoint is not so; the savepoint stays.
    pub fn roll_back_to(&mut self, name: &Name) {
        self.made.truncate(self.find(name).map_or(0, |at| at + 1));
    }

    /// The transaction has been committed: its settings hold, for the session and for the server connection.
    pub fn commit(&mut self, mut to: [&mut Vars; 2], seed: &Seed) {
        for made in self.made.drain(..) {
            for vars in &mut to {
                match &made {
                    Made::Put(name, Some(Value::Reported(_))) => vars.mark_set(seed, name),
                    Made::Put(name, None) => vars.unset(seed, name),
                    Made::Put(name, value) => vars.put(seed, name, value.clone()),
                    Made::ResetAll => vars.reset_all(seed),
                    Made::ForgetAll => vars.unset_all(seed),
                    Made::Savepoint(_) | Made::ReadOnlyDefault(_) => {}
                }
            }
        }
    }

    /// The transaction has been rolled back.
    pub fn roll_back(&mut self) {
        self.made.clear();
    }

    fn note(&mut self, made: Made) -> bool {
        let room = self.made.len() < MOST_MADE;
        if room {
            self.made.push(made);
        }
        room
    }

    fn find(&self, name: &Name) -> Option<usize> {
        self.made.iter().rposition(|made| matches!(made, Made::Savepoint(known) if known == name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.as_bytes().into()
    }

    /// What is set after these steps and a COMMIT: `a=1` sets, `!` resets all, `+s`, `-s`, `<s` are a savepoint, its release
    /// and going back to it.
    fn after(steps: &str) -> String {
        let (seed, mut undo) = (Seed::default(), Undo::default());
        for step in steps.split_whitespace() {
            match step.split_at(1) {
                ("+", savepoint) => assert!(undo.savepoint(&name(savepoint))),
                ("-", savepoint) => undo.release(&name(savepoint)),
                ("<", savepoint) => undo.roll_back_to(&name(savepoint)),
                ("!", _) => assert!(undo.reset_all()),
                _ => {
                    let (setting, value) = step.split_once('=').unwrap();
                    assert!(undo.put(setting, Some(Value::Spelled(value.into()))));
                }
            }
        }
        let (mut vars, mut other) = (Vars::default(), Vars::default());
        undo.commit([&mut vars, &mut other], &seed);
        assert!(undo.is_empty());
        assert_eq!(vars, other);
        let set = vars.iter().map(|(name, value)| match value {
            Value::Spelled(value) | Value::Reported(value) | Value::Flat(value) | Value::Default(value) => {
                format!("{name}={value}")
            }
        });
        set.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_setting_shares_the_fate_of_its_savepoint() {
        assert_eq!(after("a=1 b=2 a=3"), "a=3 b=2");
        assert_eq!(after("a=1 +s a=2 <s"), "a=1");
        assert_eq!(after("a=1 +s a=2 -s"), "a=2");
        assert_eq!(after("+s a=2 <s b=1"), "b=1");
        assert_eq!(after("a=1 +s a=2 +t a=3 <s"), "a=1");
        assert_eq!(after("a=1 +s a=2 +t a=3 -t <s"), "a=1");
        assert_eq!(after("a=1 +s a=2 <s a=3 <s"), "a=1");
        // The inner one of two that share a name.
        assert_eq!(after("a=1 +s a=2 +s a=3 <s"), "a=2");
        assert_eq!(after("a=1 +s a=2 +s a=3 -s <s"), "a=1");
        assert_eq!(after("+s a=1 +s a=2 -s <s b=1"), "b=1");
        assert_eq!(after("a=1 role=x !"), "role=x");
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let mut undo = Undo::default();
        assert!((0..MOST_MADE).all(|at| undo.put(&format!("a.b{at}"), None)));
        assert!(!undo.put("a.b", None));
        assert!(!undo.savepoint(&name("s")));
    }
}
