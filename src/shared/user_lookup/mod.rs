//! What is asked of a server about users before they are let in: their secrets (`auth_query`) and their roles (`+role` in
//! the HBA file).
//!
//! For each database that is asked, and each role that asks, there is a [`clerk`]: a task with few connections of its own,
//! which no client ever uses, so that nothing that clients set can change what the question finds. Log-ins of one user at
//! the same time share a question that was asked after the last of them had come. What was answered is kept, within
//! bounds, for when no server answers.

mod answers;
mod clerk;
mod place;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use self::clerk::Ask;
pub use self::clerk::{Answer, Failure, Found, Question};
use self::place::{Key, Place};
use super::ProxyState;

/// Clerks at a time. With `[databases."*"]` clients choose the names that are asked: the one used longest ago goes.
const MOST_CLERKS: usize = 100;
/// Questions that may wait for a clerk to take them; further log-ins wait until there is room.
const QUEUE: usize = 1000;

/// All clerks.
pub struct Lookups {
    /// The runtime that they live on: connections belong to the reactor of one thread.
    runtime: Option<Handle>,
    clerks: Mutex<HashMap<Key, Clerk>>,
}

struct Clerk {
    queue: mpsc::Sender<Ask>,
    used: Instant,
}

impl Default for Lookups {
    fn default() -> Self {
        Self { runtime: Handle::try_current().ok(), clerks: Mutex::default() }
    }
}

impl Lookups {
    /// Another configuration holds: clerks finish what they have been asked, and new ones take their place.
    pub fn forget(&self) {
        self.clerks.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn queue(&self, place: Place) -> Option<mpsc::Sender<Ask>> {
        let mut clerks = self.clerks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(clerk) = clerks.get_mut(&place.key).filter(|clerk| !clerk.queue.is_closed()) {
            clerk.used = Instant::now();
            return Some(clerk.queue.clone());
        }
        if clerks.len() >= MOST_CLERKS {
            let oldest = clerks.iter().min_by_key(|(_, clerk)| clerk.used).map(|(key, _)| key.clone());
            oldest.and_then(|key| clerks.remove(&key));
        }
        let (queue, asked) = mpsc::channel(QUEUE);
        clerks.insert(place.key.clone(), Clerk { queue: queue.clone(), used: Instant::now() });
        self.runtime.as_ref()?.spawn(clerk::run(place, asked));
        Some(queue)
    }

    async fn ask(&self, place: Place, question: Question, fresh: bool) -> Result<Found, Failure> {
        let gone = || Failure::Unreachable("pgsluice is shutting down".to_owned());
        let queue = self.queue(place).ok_or_else(gone)?;
        let (tell, told) = oneshot::channel();
        queue.send(Ask { question, fresh, tell }).await.map_err(|_| gone())?;
        drop(queue);
        told.await.map_err(|_| gone())?
    }
}

impl ProxyState {
    /// Asks for the secret of a user who wants that database. `fresh`: an answer of before does not do, unless no server
    /// answers. None: the configuration names nobody to ask.
    ///
    /// # Errors
    /// No server could be asked and there is no answer of before, or `auth_query` failed.
    pub async fn look_up_secret(&self, database: &str, user: &str, fresh: bool) -> Option<Result<Found, Failure>> {
        let setup = self.setup.load();
        if setup.config.asks_servers()
            && let Some(name) = setup.config.auth_dbname(database)
        {
            if setup.config.database(name).is_none() {
                let why = format!("authentication database \"{name}\" is not configured");
                return Some(Err(Failure::Failed(why)));
            }
            if self.databases.known(name).is_some_and(|database| database.is_disabled()) {
                return Some(Err(Failure::Disabled(format!("authentication database \"{name}\" is disabled"))));
            }
        }
        drop(setup);
        let place = Place::of_auth_query(self, database)?;
        Some(self.lookups.ask(place, Question::Secret(user.into()), fresh).await)
    }

    /// Asks for the roles that a user who wants that database is a member of, itself among them.
    ///
    /// # Errors
    /// No server could be asked.
    pub async fn look_up_roles(&self, database: &str, user: &str) -> Result<Arc<[String]>, Failure> {
        let nobody = || Failure::Failed("no role that could ask is known: set auth_user or monitor_user".to_owned());
        let place = Place::of_roles(self, database).ok_or_else(nobody)?;
        match self.lookups.ask(place, Question::Roles(user.into()), true).await?.answer {
            Answer::Roles(roles) => Ok(roles),
            Answer::Secret(_) => Err(nobody()),
        }
    }
}
