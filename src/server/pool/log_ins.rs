//! Whether a pool may log in now. Login event triggers (PostgreSQL 17 and later) run at each log-in: where they may write, no server
//! connection is opened while the gate is closed. Those that are there are kept, and shared.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};

use super::Pool;

/// What a log-in would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogIns {
    /// Nothing of its own.
    Free,
    /// It would run triggers that may write, but the role may switch them off.
    WithoutTriggers,
    /// It would run them.
    Barred,
}

/// Roles at whose log-ins no trigger runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exempt {
    /// Everybody: the database or the server has `event_triggers` off.
    pub all: bool,
    /// These have `event_triggers` off.
    pub roles: HashSet<String>,
    /// These may set it.
    pub superusers: HashSet<String>,
}

/// One database's.
#[derive(Debug, Default)]
pub struct LoginBar {
    up: AtomicBool,
    exempt: Mutex<Exempt>,
}

impl LoginBar {
    /// From now on nobody logs in but who is exempt.
    pub fn raise(&self, exempt: Exempt) {
        *self.exempt.lock().unwrap_or_else(PoisonError::into_inner) = exempt;
        self.up.store(true, SeqCst);
    }

    /// Everybody may log in again. False: nobody was kept from it.
    pub fn lower(&self) -> bool {
        self.up.swap(false, SeqCst)
    }

    /// Whether it is up.
    #[inline]
    pub fn is_up(&self) -> bool {
        self.up.load(SeqCst)
    }

    /// What a log-in of that role would do while it is up.
    pub fn of(&self, role: &str) -> LogIns {
        let exempt = self.exempt.lock().unwrap_or_else(PoisonError::into_inner);
        if exempt.all || exempt.roles.contains(role) {
            LogIns::Free
        } else if exempt.superusers.contains(role) {
            LogIns::WithoutTriggers
        } else {
            LogIns::Barred
        }
    }
}

impl Pool {
    /// What a log-in would do now. A server in recovery writes nothing.
    pub fn log_ins(&self) -> LogIns {
        if !self.settings.bar.is_up() || self.settings.watch.is_replica() {
            return LogIns::Free;
        }
        self.settings.bar.of(&self.settings.login.user)
    }

    /// Whether it has to do with the connections that it has.
    pub fn is_barred(&self) -> bool {
        self.log_ins() == LogIns::Barred
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_exempt_logs_in() {
        let bar = LoginBar::default();
        let name = |name: &str| HashSet::from([name.to_owned()]);
        bar.raise(Exempt { all: false, roles: name("quiet"), superusers: name("dba") });
        assert!(bar.is_up());
        assert_eq!(
            ["app", "quiet", "dba"].map(|role| bar.of(role)),
            [LogIns::Barred, LogIns::Free, LogIns::WithoutTriggers]
        );
        bar.raise(Exempt { all: true, ..Exempt::default() });
        assert_eq!(bar.of("app"), LogIns::Free);
        assert!(bar.lower() && !bar.lower());
    }
}
