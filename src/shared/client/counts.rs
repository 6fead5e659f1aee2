//! How many clients each user has, for `max_user_client_connections`; those of a database are counted in the database.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use super::Client;
use crate::config::Config;
use crate::protocol::Report;

/// Clients of each user that has any, and those on the console.
#[derive(Debug, Default)]
pub struct ClientCounts {
    users: DashMap<Arc<str>, u32>,
    consoles: AtomicU32,
}

impl ClientCounts {
    pub(in crate::shared) fn add_console(&self) {
        self.consoles.fetch_add(1, SeqCst);
    }

    pub(in crate::shared) fn remove_console(&self) {
        self.consoles.fetch_sub(1, SeqCst);
    }

    pub(in crate::shared) fn add(&self, user: &Arc<str>) {
        *self.users.entry(user.clone()).or_default() += 1;
    }

    pub(in crate::shared) fn remove(&self, user: &Arc<str>) {
        // One entry from the look to its end: nobody is counted into one that is just being removed.
        let Entry::Occupied(mut count) = self.users.entry(user.clone()) else { return };
        match count.get().checked_sub(1) {
            Some(left @ 1..) => *count.get_mut() = left,
            _ => _ = count.remove(),
        }
    }

    /// How many clients a user has.
    pub fn of(&self, user: &str) -> u32 {
        self.users.get(user).map_or(0, |count| *count)
    }
}

impl Client {
    /// Refuses a client that is one too many for its database or its user; it has been counted already. Operators are let in.
    ///
    /// # Errors
    /// 53300, in PgBouncer's words.
    pub fn fits(&self, config: &Config, counts: &ClientCounts) -> Result<(), Report> {
        if self.operator {
            return Ok(());
        }
        let too_many = |key: &str| Report::fatal("53300", format!("client connections exceeded ({key})"));
        if let Some(database) = &self.database
            && database
                .peek_setup()
                .settings
                .max_db_client_connections
                .get()
                .is_some_and(|most| database.clients() > most)
        {
            return Err(too_many("max_db_client_connections"));
        }
        let consoles = config.pooling.max_db_client_connections.get().filter(|_| config.process.pgbouncer_compatible);
        if self.database.is_none() && consoles.is_some_and(|most| counts.consoles.load(SeqCst) > most) {
            return Err(too_many("max_db_client_connections"));
        }
        let most = config.max_user_client_connections(&self.user);
        if most.get().is_some_and(|most| counts.of(&self.user) > most) {
            return Err(too_many("max_user_client_connections"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_without_clients_is_forgotten() {
        let (counts, ann): (_, Arc<str>) = (ClientCounts::default(), "ann".into());
        counts.add(&ann);
        counts.add(&ann);
        assert_eq!(counts.of("ann"), 2);
        counts.remove(&ann);
        counts.remove(&ann);
        counts.remove(&ann);
        assert!(counts.of("ann") == 0 && counts.users.is_empty());
    }
}
