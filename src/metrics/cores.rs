//! What each core knows of its clients, counted there: ten thousand of them are not carried about.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::shared::{Client, Phase, ProxyState, WorkerState};

/// Database and user.
pub(super) type Key = (Arc<str>, Arc<str>);

/// Clients of one pair of database and user.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) idle: usize,
    pub(super) active: usize,
    pub(super) idle_in_transaction: usize,
    pub(super) waiting: usize,
    pub(super) held: usize,
    pub(super) streaming: usize,
    pub(super) cancelling: usize,
    /// Those that have a server connection.
    pub(super) linked: usize,
    pub(super) longest_wait: Duration,
    pub(super) longest_hold: Duration,
    pub(super) longest_transaction: Duration,
}

impl Counts {
    pub(super) fn add(&mut self, other: &Self) {
        self.idle += other.idle;
        self.active += other.active;
        self.idle_in_transaction += other.idle_in_transaction;
        self.waiting += other.waiting;
        self.held += other.held;
        self.streaming += other.streaming;
        self.cancelling += other.cancelling;
        self.linked += other.linked;
        self.longest_wait = self.longest_wait.max(other.longest_wait);
        self.longest_hold = self.longest_hold.max(other.longest_hold);
        self.longest_transaction = self.longest_transaction.max(other.longest_transaction);
    }

    /// All that are not in line for a server connection.
    pub(super) fn served(&self) -> usize {
        self.idle + self.active + self.idle_in_transaction + self.streaming
    }
}

/// One core.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OneCore {
    pub(super) clients: usize,
    pub(super) verdicts: usize,
    pub(super) verdict_bytes: usize,
    pub(super) hits: u64,
    pub(super) misses: u64,
    pub(super) evictions: u64,
    pub(super) statements: usize,
}

/// All cores.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) clients: BTreeMap<Key, Counts>,
    pub(super) pinned: BTreeMap<&'static str, usize>,
    pub(super) consoles: usize,
    pub(super) operators: usize,
    pub(super) cores: Vec<OneCore>,
}

pub(super) async fn look(proxy: &ProxyState) -> Seen {
    let mut seen = Seen { cores: proxy.on_every_core(look_at_core).await, ..Seen::default() };
    for part in proxy.look_at_clients(count).await {
        for (key, counts) in part.clients {
            seen.clients.entry(key).or_default().add(&counts);
        }
        for (why, count) in part.pinned {
            *seen.pinned.entry(why).or_default() += count;
        }
        seen.consoles += part.consoles;
        seen.operators += part.operators;
    }
    seen
}

fn look_at_core(core: &Rc<WorkerState>) -> OneCore {
    let stats = core.verdicts.borrow().stats();
    OneCore {
        clients: core.client_count(),
        verdicts: stats.entries,
        verdict_bytes: stats.bytes,
        hits: stats.hits,
        misses: stats.misses,
        evictions: stats.evictions,
        statements: core.statements.len(),
    }
}

fn count(clients: &mut dyn Iterator<Item = Rc<Client>>) -> Seen {
    let mut found = Seen::default();
    for client in clients {
        if client.database.is_none() {
            found.consoles += 1;
            continue;
        }
        found.operators += usize::from(client.operator);
        if !client.pinned.get().is_empty() {
            *found.pinned.entry(client.pinned.get()).or_default() += 1;
        }
        let counts = found.clients.entry((client.database_name.clone(), client.user.clone())).or_default();
        let since = client.phase_since.get().elapsed();
        match client.phase.get() {
            Phase::Idle => counts.idle += 1,
            Phase::Active | Phase::Abandoned => counts.active += 1,
            Phase::IdleInTransaction => counts.idle_in_transaction += 1,
            Phase::Streams => counts.streaming += 1,
            Phase::Waiting => {
                counts.waiting += 1;
                counts.longest_wait = counts.longest_wait.max(since);
            }
            Phase::Held => {
                counts.held += 1;
                counts.longest_hold = counts.longest_hold.max(since);
            }
        }
        if let Some(since) = client.transaction_since.get() {
            counts.longest_transaction = counts.longest_transaction.max(since.elapsed());
        }
        counts.cancelling += client.cancelling.get() as usize;
        counts.linked += usize::from(client.cancel.borrow().is_some());
    }
    found
}
