//! Webhooks: each event is a signed HTTP request, at least once, in order.
//!
//! [`queue`] is told of each event within [`Bus::publish`](crate::events::Bus::publish) and writes it to a file before anybody else
//! hears of it, so that kill -9 loses none. [`Webhooks`] has a task for each receiver, which goes through the queue one event after the
//! other ([`deliver`]) and notes how far it has come ([`positions`]). One that fails is tried again, further and further apart, and
//! given up after `retry_for`: then it is dead, which is counted. What is behind it waits, so that a receiver sees the events
//! of a database in their order. What a whole fleet has done one member tells for all ([`Turns`]).

mod deliver;
mod positions;
mod queue;
mod request;

use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::Webhook;
use crate::events::Bus;
use crate::fleet::Turns;
use crate::webhooks::positions::Positions;
use crate::webhooks::queue::Queue;

/// Whom events are sent to.
pub struct Webhooks {
    bus: Bus,
    queue: Arc<Queue>,
    positions: Arc<Positions>,
    running: Mutex<Vec<Running>>,
    /// In a fleet one member tells of what all have done.
    turns: watch::Sender<Option<Turns>>,
    in_fleet: bool,
}

struct Running {
    hook: Arc<Hook>,
    task: JoinHandle<()>,
}

/// One receiver.
pub(crate) struct Hook {
    pub(crate) settings: Webhook,
    /// What its position is kept under: the URL itself may be a secret.
    pub(crate) key: String,
    pub(crate) delivered: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) dead: AtomicU64,
    pub(crate) last: Mutex<Last>,
}

/// What became of the last request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Last {
    pub(crate) delivered_at: Option<Timestamp>,
    pub(crate) error: String,
}

/// A receiver as people are shown it.
#[derive(Clone, Debug)]
pub struct Status {
    /// Scheme, host and port.
    pub url: String,
    /// Names of the events it is told of; empty for all.
    pub events: Vec<String>,
    /// The databases; empty for all.
    pub databases: Vec<String>,
    /// Events that wait.
    pub waiting: u64,
    /// Events that were delivered, since the start.
    pub delivered: u64,
    /// Requests that have failed, since the start.
    pub failed: u64,
    /// Events that were given up, ever.
    pub dead: u64,
    /// When one was delivered last.
    pub delivered_at: Option<Timestamp>,
    /// Why the last request has failed; empty if it has not.
    pub error: String,
}

impl Webhooks {
    /// Takes up what an earlier life has left in files whose names begin with `base`; without one, all is in memory. From now on what
    /// is published on the bus is kept for those who are to be told. `in_fleet`: [`Webhooks::join_fleet`] follows.
    ///
    /// # Errors
    /// A file cannot be opened.
    pub fn open(base: Option<PathBuf>, bus: &Bus, in_fleet: bool) -> std::io::Result<Self> {
        let named = |end: &str| {
            base.as_ref().map(|base| {
                let mut name = base.as_os_str().to_owned();
                name.push(end);
                PathBuf::from(name)
            })
        };
        let queue = Arc::new(Queue::open(named(".events"))?);
        let positions = Arc::new(Positions::open(named(".webhooks"))?);
        bus.go_on_after(queue.last_id().max(positions.newest()));
        let journal = queue.clone();
        bus.set_journal(Box::new(move |event| journal.add(event)));
        let (running, turns) = (Mutex::default(), watch::Sender::new(None));
        Ok(Self { bus: bus.clone(), queue, positions, running, turns, in_fleet })
    }

    /// From now on it is told by turns.
    pub fn join_fleet(&self, turns: Turns) {
        self.turns.send_replace(Some(turns));
    }

    /// What the positions of those who are told are kept under.
    pub fn keys(&self) -> Vec<String> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.iter().map(|one| one.hook.key.clone()).collect()
    }

    /// Whom to tell from now on. Those who stay go on where they are; who is new is told of what happens from now on.
    pub fn apply(&self, settings: &[Webhook]) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *running);
        for one in settings {
            let same = before.iter().position(|old| old.hook.settings == *one);
            let next = match same {
                Some(at) => before.swap_remove(at),
                None => self.start(one),
            };
            running.push(next);
        }
        before.iter().for_each(|old| old.task.abort());
        let hooks: Vec<_> = running.iter().map(|one| one.hook.clone()).collect();
        self.positions.keep_only(hooks.iter().map(|hook| hook.key.as_str()));
        self.queue.set_hooks(&hooks, &self.positions);
        if let Err(error) = self.positions.save() {
            tracing::error!(event = "webhooks_not_saved", %error, "the positions of webhooks cannot be saved");
        }
    }

    /// Another process delivers what waits, and what happens from now on.
    pub fn hand_over(&self) {
        self.bus.set_journal(Box::new(|_| ()));
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.iter().for_each(|one| one.task.abort());
    }

    /// It does not.
    pub fn take_back(&self, settings: &[Webhook]) {
        let journal = self.queue.clone();
        self.bus.set_journal(Box::new(move |event| journal.add(event)));
        self.running.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.apply(settings);
    }

    fn start(&self, settings: &Webhook) -> Running {
        let key = positions::key(settings.url.expose());
        self.positions.begin(&key, self.bus.last_id());
        let hook = Arc::new(Hook {
            settings: settings.clone(),
            dead: AtomicU64::new(self.positions.dead(&key)),
            key,
            delivered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            last: Mutex::default(),
        });
        let task = deliver::Deliver {
            hook: hook.clone(),
            queue: self.queue.clone(),
            positions: self.positions.clone(),
            bus: self.bus.clone(),
            turns: self.in_fleet.then(|| self.turns.subscribe()),
        };
        Running { hook, task: tokio::spawn(task.run()) }
    }

    /// All of them, in the order of the configuration.
    pub fn status(&self) -> Vec<Status> {
        use std::sync::atomic::Ordering::Relaxed;
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let status = |one: &Running| {
            let hook = &one.hook;
            let last = hook.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
            Status {
                url: hook.settings.url.shown(),
                events: hook.settings.events.iter().map(|name| name.0.name().to_owned()).collect(),
                databases: hook.settings.databases.clone(),
                waiting: self.queue.waiting(hook, self.positions.get(&hook.key)),
                delivered: hook.delivered.load(Relaxed),
                failed: hook.failed.load(Relaxed),
                dead: hook.dead.load(Relaxed),
                delivered_at: last.delivered_at,
                error: last.error,
            }
        };
        running.iter().map(status).collect()
    }
}

impl Hook {
    /// Whether it is to be told.
    pub(crate) fn wants<'n>(&self, event: &str, mut databases: impl Iterator<Item = &'n str>) -> bool {
        let settings = &self.settings;
        // It would tell of itself for ever.
        if event == crate::events::Kind::WebhookDead.name() {
            return false;
        }
        if !settings.events.is_empty() && !settings.events.iter().any(|name| name.0.name() == event) {
            return false;
        }
        let mut databases = databases.by_ref().peekable();
        databases.peek().is_none()
            || settings.databases.is_empty()
            || databases.any(|name| settings.databases.iter().any(|wanted| wanted == name))
    }
}
