//! What the configuration says of a database, and what a reload may change of it.

use std::sync::Arc;
use std::time::Duration;

use crate::config;
use crate::gate::Gate;
use crate::tls::ServerTls;
use crate::topology::{Cluster, LastWrite};

/// What a reload may change of a database.
pub struct DatabaseSetup {
    /// Its settings.
    pub settings: config::Database,
    /// Where it lives.
    pub cluster: Arc<Cluster>,
    /// TLS towards the cluster's servers.
    pub tls: Arc<ServerTls>,
    /// The gate of what lives there.
    pub gate: Arc<Gate>,
    /// How its pools open and check connections.
    pub opening: Opening,
    /// The last write that all its readers have to see.
    pub last_write: Arc<LastWrite>,
}

impl DatabaseSetup {
    /// The user whose pool serves that one.
    pub fn pool_user(&self, user: &Arc<str>) -> Arc<str> {
        match self.settings.server_login() {
            config::ServerLogin::Forced { user: forced, .. } if self.opening.shares_forced => forced.into(),
            _ => user.clone(),
        }
    }

    /// The user for whom min_pool_size connections are kept although nobody has come yet.
    pub fn warm_user(&self) -> Option<Arc<str>> {
        match self.settings.server_login() {
            config::ServerLogin::Forced { user, .. }
                if self.opening.shares_forced && self.settings.min_pool_size > 0 =>
            {
                Some(user.into())
            }
            _ => None,
        }
    }
}

/// What the configuration says at its top about opening and checking server connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    pub(super) timeout: Duration,
    pub(super) login_retry: Duration,
    pub(super) reserve_after: Option<Duration>,
    pub(super) check_query: String,
    pub(super) check_after: Duration,
    /// Whoever comes to a database with a user of its own shares that user's pool, as in PgBouncer.
    pub(super) shares_forced: bool,
}

impl Opening {
    pub(super) fn of(config: &config::Config) -> Self {
        Self {
            timeout: config.timeouts.server_connect_timeout,
            login_retry: config.timeouts.server_login_retry,
            reserve_after: config.pooling.reserve_pool_timeout.get(),
            check_query: config.pooling.server_check_query.clone(),
            check_after: config.timeouts.server_check_delay,
            shares_forced: config.process.pgbouncer_compatible,
        }
    }
}

/// What a database's server connections ask for in their start-up packets.
pub(super) fn first_settings(settings: &config::Database) -> Vec<(String, String)> {
    let all = [
        ("client_encoding", &settings.client_encoding),
        ("datestyle", &settings.datestyle),
        ("timezone", &settings.timezone),
    ];
    all.into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name.to_owned(), value.clone()))
        .collect()
}

/// 0 stands for no limit.
pub fn limit_of(limit: config::Limit) -> usize {
    limit.get().map_or(0, |most| most as usize)
}
