//! What the sessions of one worker share. One thread only: nothing here is locked.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use tokio::sync::Notify;

use super::client::Client;
use super::clock::{Clock, Woken};
use super::login_reply_cache::Greetings;
use super::prepared_statement::Statements;
use super::{ProxyState, Setup};
use crate::protocol::{BufferPool, Report};
use crate::server::state::session_vars::Alike;
use crate::sql::Analyzer;
use crate::sql::cache::verdicts::VerdictCache;

/// See the module.
pub struct WorkerState {
    /// Which core.
    pub index: usize,
    /// What all cores share.
    pub proxy: Arc<ProxyState>,
    /// The time.
    pub clock: Clock,
    /// Memory for buffers.
    pub buffers: Rc<BufferPool>,
    /// Statements that were read before.
    pub verdicts: RefCell<VerdictCache>,
    /// Protocol-level prepared statements.
    pub statements: Rc<Statements>,
    /// What its clients are told at their log-in.
    pub greetings: RefCell<Greetings>,
    /// Settings that its clients begin with.
    pub alike: RefCell<Alike>,
    /// Counts transactions on replicas: equally loaded ones have their turns.
    pub replica_turn: Cell<usize>,
    clients: RefCell<HashMap<u64, Rc<Client>>>,
    stopping: Cell<bool>,
    door_closed: Cell<bool>,
    stopped: Notify,
}

impl WorkerState {
    /// The context of core number `index`.
    pub fn new(index: usize, proxy: Arc<ProxyState>, woken: Woken) -> Rc<Self> {
        let lives = proxy.lives;
        let setup = proxy.setup.load();
        let config = &setup.config;
        let buffers = BufferPool::new(config.memory.buffer_size.bytes(), 64);
        let verdicts =
            RefCell::new(VerdictCache::new(Analyzer::clone(&setup.analyzer), config.memory.verdict_cache_size.bytes()));
        drop(setup);
        Rc::new(Self {
            index,
            proxy,
            clock: Clock::new(woken),
            buffers,
            verdicts,
            statements: Statements::new(lives, index),
            greetings: RefCell::default(),
            alike: RefCell::default(),
            replica_turn: Cell::new(index),
            clients: RefCell::default(),
            stopping: Cell::new(false),
            door_closed: Cell::new(false),
            stopped: Notify::new(),
        })
    }

    /// The setup in force.
    pub fn setup(&self) -> Arc<Setup> {
        self.proxy.setup.load_full()
    }

    /// Whether pgsluice shall behave as PgBouncer.
    pub fn is_like_pgbouncer(&self) -> bool {
        self.proxy.setup.load().config.process.pgbouncer_compatible
    }

    /// An error of pgsluice's own as it is said here: in its words or in PgBouncer's.
    pub fn worded<'r>(&self, report: &'r Report) -> Cow<'r, Report> {
        let theirs = if self.is_like_pgbouncer() { report.in_pgbouncers_words() } else { None };
        theirs.map_or(Cow::Borrowed(report), Cow::Owned)
    }

    /// A number that no other client has, with this core in it, and a secret: the cancel key of a new client that speaks
    /// that minor version of the protocol.
    ///
    /// # Errors
    /// The kernel gives no randomness.
    pub fn new_key(&self, minor: u32) -> Result<(u64, Arc<[u8]>), getrandom::Error> {
        // From 3.2 on it may be longer than four bytes: as long as PostgreSQL 18 makes it.
        let mut secret = vec![0; if minor >= 2 { 32 } else { 4 }];
        getrandom::fill(&mut secret)?;
        let id = self.proxy.client_ids.fetch_add(1, SeqCst) & 0x00ff_ffff | (self.index as u64) << 24 & 0x7f00_0000;
        Ok((id, secret.into()))
    }

    /// A transaction has begun on a replica.
    #[inline]
    pub fn next_replica_turn(&self) {
        self.replica_turn.set(self.replica_turn.get().wrapping_add(1));
    }

    /// Makes a client known to who looks for it.
    pub fn enter(&self, client: &Rc<Client>) {
        match &client.database {
            Some(database) => database.count_client(1),
            None => self.proxy.client_counts.add_console(),
        }
        self.proxy.client_counts.add(&client.user);
        self.clients.borrow_mut().insert(client.id, client.clone());
    }

    /// Forgets a client that has gone.
    pub fn leave(&self, id: u64) {
        let mut clients = self.clients.borrow_mut();
        if let Some(client) = clients.remove(&id) {
            match &client.database {
                Some(database) => database.count_client(-1),
                None => self.proxy.client_counts.remove_console(),
            }
            self.proxy.client_counts.remove(&client.user);
        }
        // Memory of a crowd that has left goes back.
        if clients.capacity() > 1024 && clients.len() * 8 < clients.capacity() {
            clients.shrink_to_fit();
        }
    }

    /// A client by its number.
    pub fn client(&self, id: u64) -> Option<Rc<Client>> {
        self.clients.borrow().get(&id).cloned()
    }

    /// Its clients.
    pub fn clients(&self) -> Vec<Rc<Client>> {
        self.clients.borrow().values().cloned().collect()
    }

    /// The numbers of its clients.
    pub fn client_ids(&self) -> Vec<u64> {
        self.clients.borrow().keys().copied().collect()
    }

    /// How many clients it has.
    pub fn client_count(&self) -> usize {
        self.clients.borrow().len()
    }

    /// From now on only consoles are taken in, over the unix socket.
    pub fn close_door(&self) {
        self.door_closed.set(true);
    }

    /// Whether [`Self::close_door`] was called.
    pub fn is_door_closed(&self) -> bool {
        self.door_closed.get()
    }

    /// From now on no client is taken in, and each that is idle is sent away.
    pub fn stop(&self) {
        self.door_closed.set(true);
        self.stopping.set(true);
        self.stopped.notify_waiters();
    }

    /// Returns once [`Self::stop`] is called.
    pub async fn until_stopping(&self) {
        let stopped = self.stopped.notified();
        if !self.is_stopping() {
            stopped.await;
        }
    }

    /// Whether [`Self::stop`] was called.
    pub fn is_stopping(&self) -> bool {
        self.stopping.get()
    }
}
