//! Commands that take longer than a request: each is an operation that can be looked at, waited for, followed and broken off.
//!
//! A command is carried out whether or not anybody waits for it. What has become of it is kept for a while, and so is the key by
//! which a client that has lost its answer asks again ([`Operations::begin`]): the same key and the same command are the same
//! operation, not a second one.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use axum::http::StatusCode;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::problem::Problem;
use crate::admin::commands;
use crate::admin::commands::Caller;
use crate::admin::language::command::Command;
use crate::admin::table::Table;
use crate::gate::Who;
use crate::protocol::Report;
use crate::shared::ProxyState;

/// Operations that are kept, those that are over among them.
const KEPT: usize = 1000;
/// Operations that may go on at once.
const MOST_RUNNING: usize = 100;
/// Notices that are kept of each.
const NOTICES: usize = 50;
/// How long a key stands for its operation.
const KEY_LIFE: Duration = Duration::from_secs(24 * 3600);

/// How far an operation has come.
#[derive(Clone, Debug)]
pub enum State {
    /// It goes on.
    Running,
    /// It is done, with this table if it has one.
    Done(Timestamp, Option<Arc<Table>>),
    /// It has failed.
    Failed(Timestamp, Arc<Report>),
}

/// A command on its way.
pub struct Operation {
    /// No other has it, in this life of the process or another.
    pub id: String,
    /// What is done.
    pub command: Command,
    /// By whom.
    pub who: Who,
    /// Since when.
    pub started_at: Timestamp,
    state: watch::Sender<State>,
    notices: Mutex<VecDeque<Report>>,
    task: OnceLock<AbortHandle>,
}

impl Operation {
    /// How far it has come.
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Whether it goes on.
    pub fn is_running(&self) -> bool {
        matches!(*self.state.borrow(), State::Running)
    }

    /// What the person who gave it was told so far.
    pub fn notices(&self) -> Vec<Report> {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Waits until it is over.
    pub async fn over(&self) {
        // The sender is here: it cannot be gone.
        let _ = self.state.subscribe().wait_for(|state| !matches!(state, State::Running)).await;
    }

    /// Breaks it off. What a transition of the gate has begun goes on: that is called off by its opposite.
    pub fn break_off(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
        self.end(Err(Report::error("57014", "canceling statement due to user request")));
    }

    fn note(&self, notice: Report) {
        let mut notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        if notices.len() >= NOTICES {
            notices.pop_front();
        }
        notices.push_back(notice);
    }

    fn end(&self, answer: Result<Option<Table>, Report>) {
        let now = Timestamp::now();
        let state = match answer {
            Ok(table) => State::Done(now, table.map(Arc::new)),
            Err(report) => State::Failed(now, Arc::new(report)),
        };
        self.state.send_if_modified(|known| {
            let running = matches!(known, State::Running);
            if running {
                *known = state;
            }
            running
        });
    }

    async fn run(self: Arc<Self>, proxy: Arc<ProxyState>) {
        let (caller, mut notices) = Caller::new(proxy, self.who.clone());
        let mut running = Box::pin(commands::run(&caller, &self.command));
        let answer = loop {
            tokio::select! {
                biased;
                Some(notice) = notices.recv() => self.note(notice),
                answer = &mut running => break answer,
            }
        };
        while let Ok(notice) = notices.try_recv() {
            self.note(notice);
        }
        self.end(answer);
    }
}

#[derive(Default)]
struct Known {
    /// Oldest first.
    operations: VecDeque<Arc<Operation>>,
    keys: HashMap<(String, String), (Instant, Arc<Operation>)>,
}

/// See the module.
pub struct Operations {
    life: u64,
    next: AtomicU64,
    known: Mutex<Known>,
}

impl Operations {
    /// None yet, in a process that began then.
    pub fn new(began: SystemTime) -> Self {
        let life = began.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self { life, next: AtomicU64::new(1), known: Mutex::default() }
    }

    /// Begins an operation, or finds the one that the same person has begun with that key.
    ///
    /// # Errors
    /// 422: the key stands for another command. 503: too many go on.
    pub fn begin(
        &self,
        proxy: &Arc<ProxyState>,
        who: Who,
        key: Option<String>,
        command: Command,
    ) -> Result<Arc<Operation>, Problem> {
        let mut known = self.known();
        let key = key.map(|key| (who.user.clone(), key));
        if let Some((_, operation)) =
            key.as_ref().and_then(|key| known.keys.get(key)).filter(|(at, _)| at.elapsed() < KEY_LIFE)
        {
            if operation.command == command {
                return Ok(operation.clone());
            }
            let text = "this Idempotency-Key was used for another command";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, text).of_operation(&operation.id));
        }
        if known.operations.iter().filter(|one| one.is_running()).count() >= MOST_RUNNING {
            return Err(Problem::later(StatusCode::SERVICE_UNAVAILABLE, "too many operations go on", 1));
        }
        let operation = Arc::new(Operation {
            id: format!("{:x}-{}", self.life, self.next.fetch_add(1, Relaxed)),
            command,
            who,
            started_at: Timestamp::now(),
            state: watch::Sender::new(State::Running),
            notices: Mutex::default(),
            task: OnceLock::new(),
        });
        if known.operations.len() >= KEPT
            && let Some(at) = known.operations.iter().position(|one| !one.is_running())
        {
            known.operations.remove(at);
        }
        known.operations.push_back(operation.clone());
        if let Some(key) = key {
            if known.keys.len() >= KEPT {
                let oldest = known.keys.iter().min_by_key(|(_, (at, _))| *at).map(|(key, _)| key.clone());
                oldest.map(|key| known.keys.remove(&key));
            }
            known.keys.insert(key, (Instant::now(), operation.clone()));
        }
        drop(known);
        let task = tokio::spawn(operation.clone().run(proxy.clone()));
        let _ = operation.task.set(task.abort_handle());
        Ok(operation)
    }

    /// One by its id.
    pub fn get(&self, id: &str) -> Option<Arc<Operation>> {
        self.known().operations.iter().find(|one| one.id == id).cloned()
    }

    /// All that are kept, newest first.
    pub fn all(&self) -> Vec<Arc<Operation>> {
        self.known().operations.iter().rev().cloned().collect()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
