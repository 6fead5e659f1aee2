//! From a client's first byte to its first ReadyForQuery: [`negotiate`], in which it proves who it is (`authenticate`), then
//! [`open`].

mod authenticate;
pub(in crate::client) mod ended;
pub(in crate::client) mod handed;
mod login_rule;
pub(in crate::client) mod login_wait;
pub mod negotiate;
pub(in crate::client) mod no_server;
pub mod open;
mod outside;
pub(in crate::client) mod startup_parameters;

use std::sync::Arc;
use std::time::Duration;

use crate::auth::Credential;
use crate::config::{PoolMode, Reads};

/// What follows from the configuration for a user on a database.
#[derive(Clone, Copy)]
struct SessionPolicy {
    pool_mode: PoolMode,
    reads: Reads,
    query_wait: Option<Duration>,
    most_prepared: u32,
    largest: usize,
    /// Statements that would bind the session to its server connection are refused.
    refuses_pins: bool,
    /// The session wants a server connection that nobody has used, and leaves it to nobody.
    fresh: bool,
}

/// Who has logged in.
pub(in crate::client) struct Account {
    user: Arc<str>,
    credential: Credential,
    /// Parameters of its start-up packet, where a connection of its own is opened with them.
    startup_parameters: Arc<[(String, String)]>,
    policy: SessionPolicy,
}

impl Account {
    /// The role.
    #[inline]
    pub(in crate::client) fn user(&self) -> &Arc<str> {
        &self.user
    }

    /// What its server connections are opened with.
    pub(in crate::client) fn credential(&self) -> &Credential {
        &self.credential
    }

    /// What a server connection of its own is opened with.
    pub(in crate::client) fn startup_parameters(&self) -> Arc<[(String, String)]> {
        self.startup_parameters.clone()
    }

    /// A server connection is waited for so long from now on.
    pub(in crate::client) fn set_query_wait(&mut self, patience: Option<Duration>) {
        self.policy.query_wait = patience;
    }

    /// When a server connection is given back.
    #[inline]
    pub(in crate::client) fn pool_mode(&self) -> PoolMode {
        self.policy.pool_mode
    }

    /// Where its reads may go.
    #[inline]
    pub(in crate::client) fn reads(&self) -> Reads {
        self.policy.reads
    }

    /// How long a server connection is waited for.
    pub(in crate::client) fn query_wait(&self) -> Option<Duration> {
        self.policy.query_wait
    }

    /// How many statements are kept prepared on a server connection.
    pub(in crate::client) fn most_prepared(&self) -> u32 {
        self.policy.most_prepared
    }

    /// How large a message may be that is read whole.
    #[inline]
    pub(in crate::client) fn largest(&self) -> usize {
        self.policy.largest
    }

    /// Whether statements are refused that would bind the session to its server connection.
    #[inline]
    pub(in crate::client) fn refuses_pins(&self) -> bool {
        self.policy.refuses_pins
    }

    /// Whether the session wants a server connection that nobody has used, and leaves it to nobody.
    pub(in crate::client) fn fresh(&self) -> bool {
        self.policy.fresh
    }
}
