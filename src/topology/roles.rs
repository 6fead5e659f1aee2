//! Roles that a cluster may be watched through, where it has none of its own for that: those that pools log in as.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};

use crate::auth::Credential;

/// Roles of clients that are remembered.
const MOST: usize = 4;

/// A role, what it logs in with, and where.
#[derive(Clone)]
pub struct Role {
    /// Its name.
    pub user: Arc<str>,
    /// What it logs in with.
    pub credential: Credential,
    /// The database that it connects to.
    pub dbname: String,
}

impl Role {
    /// Whether it is the same role and database; with another password perhaps.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.user == other.user && self.dbname == other.dbname
    }
}

/// What clients have come with.
pub struct Roles {
    known: Mutex<VecDeque<Role>>,
    wanted: AtomicBool,
}

impl Default for Roles {
    /// Whether one is needed is known once the monitor has logged in.
    fn default() -> Self {
        Self { known: Mutex::default(), wanted: AtomicBool::new(true) }
    }
}

impl Roles {
    /// The monitor has no role to log in as, or is refused as each that it knows: what clients come with may serve.
    pub fn want(&self, wanted: bool) {
        self.wanted.store(wanted, SeqCst);
    }

    /// Whether any is wanted.
    #[inline]
    pub fn are_wanted(&self) -> bool {
        self.wanted.load(SeqCst)
    }

    /// A client has come with this one; true if it was wanted and is news.
    pub fn offer(&self, role: Role) -> bool {
        if !self.are_wanted() {
            return false;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let news = !known.iter().any(|one| one.is_same_as(&role));
        known.retain(|one| !one.is_same_as(&role));
        known.push_front(role);
        known.truncate(MOST);
        news
    }

    /// The server lets this one in: it is tried first from now on.
    pub fn let_in(&self, role: Role) {
        self.want(false);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|one| !one.is_same_as(&role));
        known.push_front(role);
        known.truncate(MOST);
    }

    /// Those that were offered, the last one first.
    pub fn known(&self) -> Vec<Role> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wanted_is_kept_and_no_more_than_a_few() {
        let roles = Roles::default();
        let role = |user: &str| Role { user: user.into(), credential: Credential::None, dbname: "app".into() };
        roles.want(false);
        assert!(!roles.offer(role("a")) && roles.known().is_empty());
        roles.want(true);
        let news: Vec<_> = ["a", "b", "c", "d", "e", "b"].map(|user| roles.offer(role(user))).to_vec();
        assert_eq!(news, [true, true, true, true, true, false]);
        let names: Vec<_> = roles.known().iter().map(|role| role.user.to_string()).collect();
        assert_eq!(names, ["b", "e", "d", "c"]);
    }
}
