//! Roles that could have a text write where no ROLLBACK undoes it: ANALYZE and REINDEX of what they own, and the like.

use foldhash::fast::RandomState;
use hashbrown::HashSet;

/// See the module.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(in crate::sql::hidden_writers) struct Keepers {
    roles: HashSet<Box<str>, RandomState>,
    /// Text can name a foreign table that leads nobody knows where, and not only superusers may read it.
    pub everybody: bool,
}

impl Keepers {
    /// A role that may log in.
    pub fn add(&mut self, role: &str) {
        self.roles.insert(role.into());
    }

    #[inline]
    pub fn has(&self, role: &str) -> bool {
        self.everybody || self.roles.contains(role)
    }

    pub fn is_empty(&self) -> bool {
        self.roles.is_empty() && !self.everybody
    }

    /// Some of them, for people.
    pub fn words(&self) -> String {
        if self.everybody {
            return "all, since some may read a foreign table that leads elsewhere".to_owned();
        }
        let mut all: Vec<&str> = self.roles.iter().map(|role| &**role).collect();
        all.sort_unstable();
        let more = all.len().saturating_sub(5);
        all.truncate(5);
        let all = all.join(", ");
        if more == 0 { all } else { format!("{all} and {more} others") }
    }
}
