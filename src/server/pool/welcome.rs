//! What a server reports at a log-in: new clients are told the same.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, MutexGuard, PoisonError};

use super::Pool;
use crate::server::login::Fresh;

/// What a server reports at a log-in.
#[derive(Clone, Debug)]
pub struct Welcome {
    /// Every parameter, in the server's order.
    pub parameters: Vec<(String, String)>,
    /// The role's own default_transaction_read_only. None when the connection was opened with another, or the server does
    /// not report it.
    pub read_only: Option<bool>,
    /// Notices and warnings, as the server wrote them.
    pub notices: Vec<Vec<u8>>,
}

impl Welcome {
    /// A parameter's value; empty if it was not reported.
    pub fn get(&self, name: &str) -> &str {
        self.parameters.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

impl Pool {
    /// What the server reported at the last log-in, unless that is [stale](Self::make_welcome_stale).
    pub fn fresh_welcome(&self) -> Option<Arc<Welcome>> {
        if self.welcome_is_stale.load(SeqCst) { None } else { self.welcome() }
    }

    /// New clients are told what a new log-in says, if one can be had.
    pub fn make_welcome_stale(&self) {
        self.welcome_is_stale.store(true, SeqCst);
    }

    /// What the server reported at the last log-in.
    pub fn welcome(&self) -> Option<Arc<Welcome>> {
        self.lock_welcome().clone()
    }

    /// Notes what the server has reported at a log-in. A guarded connection does not tell the role's own read_only.
    pub(super) fn remember_welcome(&self, fresh: &Fresh, read_only: Option<bool>) {
        let parameters = &fresh.parameters;
        self.welcome_is_stale.store(false, SeqCst);
        let mut known = self.lock_welcome();
        let same = |known: &Arc<Welcome>| {
            let own = |(name, _): &&(String, String)| name != READ_ONLY;
            known.notices == fresh.notices && known.parameters.iter().filter(own).eq(parameters.iter().filter(own))
        };
        let read_only = read_only.or_else(|| known.as_ref()?.read_only);
        // The same words stay the same: greetings that were made of them are used again.
        if known.as_ref().is_some_and(|known| known.read_only == read_only && same(known)) {
            return;
        }
        let notices = fresh.notices.clone();
        *known = Some(Arc::new(Welcome { parameters: parameters.clone(), read_only, notices }));
    }

    /// What another process has been told, where this one knows nothing yet.
    pub(in crate::server) fn take_over_welcome(&self, welcome: Welcome) {
        self.lock_welcome().get_or_insert_with(|| Arc::new(welcome));
    }

    /// A connection has a new default, after the server's configuration was reloaded.
    pub fn learn_default(&self, name: &str, value: &str) {
        let mut known = self.lock_welcome();
        let Some(welcome) = known.as_ref() else { return };
        let mut next = Welcome::clone(welcome);
        if name == READ_ONLY {
            next.read_only = Some(value == "on");
        } else if let Some(entry) = next.parameters.iter_mut().find(|(known, _)| known == name) {
            value.clone_into(&mut entry.1);
        }
        *known = Some(Arc::new(next));
    }

    fn lock_welcome(&self) -> MutexGuard<'_, Option<Arc<Welcome>>> {
        self.welcome.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const READ_ONLY: &str = "default_transaction_read_only";
