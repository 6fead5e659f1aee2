//! The server connections of one user to one database on one upstream, lent for a transaction at a time.
//!
//! A limit is one for all cores, but the idle connections lie with the core that used them last: taking one there and giving it
//! back locks nothing that another core uses. Who finds none takes one from another core, opens one if the limits allow it, or
//! waits. Waiting is fair: in order of arrival on a core, and across cores nobody who came earlier is passed over by more than
//! [`queue::SLACK`].
//!
//! No wake-up is lost: who gives something back puts it down first and then looks for waiters, who waits queues first and then
//! looks for something put down. Whoever comes second sees the other.

mod check;
mod dedicated;
mod guaranteed;
mod log_ins;
mod open;
mod queue;
mod refusals;
mod rounds;
mod shared;
mod turned;
mod welcome;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::backend_ledger::Ledger;
use super::connection::{Facts, Server};
use super::guard::{AnyConn, Conn, Kind, KindTag};
use super::limit::Limit;
use super::login::{Login, LoginError};
use super::state::advertised_backend::Homes;
use super::state::session_vars::Seed;
use super::watch::Watch;
pub use crate::server::pool::check::Check;
pub use crate::server::pool::log_ins::{Exempt, LogIns, LoginBar};
pub use crate::server::pool::queue::{Grant, Place};
use crate::server::pool::queue::{Queue, Shard};
use crate::server::pool::refusals::Refusals;
use crate::server::pool::rounds::Rounds;
use crate::server::pool::shared::{Blocked, Standing};
pub use crate::server::pool::shared::{InLine, SharedLimit};
pub use crate::server::pool::welcome::Welcome;

/// What a pool needs to know to open connections.
pub struct PoolSettings {
    /// How to log in. Parameters that make a connection guarded are added to it.
    pub login: Login,
    /// What a new connection is sent before anybody gets it. Empty: nothing.
    pub connect_query: String,
    /// Most connections, both kinds together.
    pub size: usize,
    /// Connections beyond `size` for those who wait longer than `reserve_after`.
    pub reserve: usize,
    /// See `reserve`.
    pub reserve_after: Duration,
    /// What a connection is asked before it is lent.
    pub check: Check,
    /// How long a role that a server has refused is not tried again.
    pub login_retry: Duration,
    /// Shared with whoever watches the server.
    pub watch: Arc<Watch>,
    /// Where those that may write are noted.
    pub ledger: Arc<Ledger>,
    /// It may write although this proxy cannot reach its fleet.
    pub keeps: bool,
    /// Shared by the pools of a database.
    pub bar: Arc<LoginBar>,
    /// Numbers of connections, of clients and servers alike.
    pub socket_ids: Arc<AtomicU64>,
    /// A connection is closed when it comes back.
    pub once: bool,
}

/// Why no connection could be had.
#[derive(Debug, thiserror::Error)]
pub enum AcquireError {
    /// Every place is taken, the operators' too.
    #[error("too many server connections")]
    NoPlace,
    /// query_wait_timeout is over.
    #[error("query_wait_timeout")]
    Timeout,
    /// The server cannot be reached or says no.
    #[error(transparent)]
    Login(#[from] LoginError),
}

/// See the module.
pub struct Pool {
    me: Weak<Self>,
    id: u64,
    /// The database's name as clients know it.
    pub database: Arc<str>,
    /// The role as clients know it.
    pub user: Arc<str>,
    /// Which upstream of the cluster.
    pub upstream: usize,
    settings: PoolSettings,
    shards: Box<[Shard]>,
    waiting: AtomicUsize,
    serving: Rounds,
    opening: AtomicUsize,
    own: Limit,
    /// See [`guaranteed`].
    least: AtomicUsize,
    outer: Vec<Arc<SharedLimit>>,
    /// Pools that wait under a limit that several share.
    in_line: Arc<InLine>,
    standing: Standing,
    generation: AtomicU64,
    closed: AtomicBool,
    ids: Arc<AtomicU64>,
    opened: AtomicU64,
    seed: Arc<Seed>,
    welcome: Mutex<Option<Arc<Welcome>>>,
    refusals: Refusals,
    /// A new log-in is to be awaited for it.
    welcome_is_stale: AtomicBool,
    homes: Mutex<Homes>,
}

/// A place within the limits. Dropping it frees the place and serves who waits for one.
pub struct Permit {
    pool: Arc<Pool>,
    /// Which of the limits that the pool shares it has handed over to another, one bit for each.
    handed: u8,
}

impl Permit {
    /// The pool it belongs to.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }
}

/// Numbers for SHOW POOLS.
#[derive(Clone, Copy, Debug, Default)]
pub struct PoolCounts {
    /// Idle unguarded connections.
    pub idle_unguarded: usize,
    /// Idle guarded connections.
    pub idle_guarded: usize,
    /// Connections in all, those being opened too.
    pub open: usize,
    /// Connections that are being opened.
    pub opening: usize,
    /// Clients that wait.
    pub waiting: usize,
    /// How long the oldest of them has waited.
    pub oldest: Duration,
}

impl Pool {
    /// A pool without connections.
    #[expect(clippy::too_many_arguments, reason = "each is one fact, given once")]
    pub fn new(
        database: Arc<str>,
        user: Arc<str>,
        upstream: usize,
        settings: PoolSettings,
        cores: usize,
        outer: Vec<Arc<SharedLimit>>,
        ids: Arc<AtomicU64>,
        seed: Arc<Seed>,
    ) -> Arc<Self> {
        let own = Limit::new(settings.size.max(1));
        let in_line = outer.first().map_or_else(Arc::default, |limit| limit.in_line().clone());
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            id: ids.fetch_add(1, SeqCst),
            database,
            user,
            upstream,
            settings,
            shards: (0..cores.max(1)).map(|_| Shard::default()).collect(),
            waiting: AtomicUsize::new(0),
            serving: Rounds::default(),
            opening: AtomicUsize::new(0),
            own,
            least: AtomicUsize::new(0),
            outer,
            in_line,
            standing: Standing::default(),
            generation: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            ids,
            opened: AtomicU64::new(0),
            seed,
            welcome: Mutex::default(),
            refusals: Refusals::default(),
            welcome_is_stale: AtomicBool::new(false),
            homes: Mutex::default(),
        })
    }

    /// How it logs in.
    pub fn login(&self) -> &Login {
        &self.settings.login
    }

    /// Takes an idle connection of this core, if that is possible without waiting or passing anybody over.
    #[inline]
    pub fn try_take<K: Kind>(&self, core: usize) -> Option<Conn<K>>
    where
        AnyConn: From<Conn<K>>,
    {
        if self.waiting.load(SeqCst) != 0 {
            return None;
        }
        loop {
            let mut conn = K::from_any(self.pop_idle(core, K::TAG)?).ok()?;
            if self.settings.check.is_due(conn.server()) {
                // That takes time: not here.
                self.queue(core).idle.push(conn.into());
                return None;
            }
            if self.is_good(conn.server()) {
                return Some(conn);
            }
            conn.close();
        }
    }

    /// Takes that very connection if it is idle on this core, if that is possible without waiting or passing anybody over.
    #[inline]
    pub fn try_take_this<K: Kind>(&self, core: usize, id: u64) -> Option<Conn<K>> {
        if self.waiting.load(SeqCst) != 0 {
            return None;
        }
        let mut queue = self.queue(core);
        let at = queue.idle.iter().rposition(|conn| conn.tag() == K::TAG && conn.peek().id == id)?;
        if self.settings.check.is_due(queue.idle.get(at)?.peek()) {
            return None;
        }
        let mut conn = K::from_any(queue.idle.swap_remove(at)).ok()?;
        drop(queue);
        if self.is_good(conn.server()) {
            return Some(conn);
        }
        conn.close();
        None
    }

    /// Takes a connection that is idle on any core, nobody waits for, and `fits`.
    pub async fn take_fitting<K: Kind>(&self, core: usize, fits: impl Fn(&Server) -> bool) -> Option<Conn<K>> {
        if self.waiting.load(SeqCst) != 0 {
            return None;
        }
        let found = (0..self.shards.len()).find_map(|shard| {
            let mut queue = self.queue(shard);
            let at = queue.idle.iter().rposition(|conn| conn.tag() == K::TAG && fits(conn.peek()))?;
            Some(queue.idle.swap_remove(at))
        });
        self.settle(found?, core).await
    }

    /// Takes that very connection if it is idle on any core and nobody waits.
    pub async fn take_this<K: Kind>(&self, core: usize, id: u64) -> Option<Conn<K>> {
        self.take_fitting(core, |server| server.id == id).await
    }

    /// Takes an idle connection, opens one, or waits for one until `deadline`.
    ///
    /// # Errors
    /// The deadline passes, or a connection cannot be opened for a reason that waiting does not cure.
    pub async fn take<K: Kind>(self: &Arc<Self>, core: usize, deadline: Instant) -> Result<Conn<K>, AcquireError> {
        self.take_with(None, core, deadline).await
    }

    /// As [`Self::take`], for who has waited in line and been granted something.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub async fn take_with<K: Kind>(
        self: &Arc<Self>,
        mut granted: Option<Grant>,
        core: usize,
        deadline: Instant,
    ) -> Result<Conn<K>, AcquireError> {
        let came = Instant::now();
        let reserve_at = came + self.settings.reserve_after;
        let mut delay = Duration::from_millis(20);
        loop {
            let grant = match granted.take().or_else(|| self.take_now::<K>(core)) {
                Some(grant) => grant,
                None => self.wait::<K>(core, came, deadline, reserve_at).await?,
            };
            let place = match grant {
                Grant::Conn(conn) => match self.settle::<K>(conn, core).await {
                    Some(conn) => return Ok(conn),
                    None => continue,
                },
                Grant::Place(permit) => permit,
            };
            match self.open(place, K::TAG, core).await {
                Ok(conn) => match K::from_any(conn) {
                    Ok(conn) => return Ok(conn),
                    Err(other) => self.give_back(other),
                },
                Err(error) if error.is_transient() && self.settings.login.timeout > Duration::ZERO => {
                    // The place was given up meanwhile: others may have better luck with it. One of its own connections may come back to
                    // it, if it has any.
                    let alone = self.own.used() <= self.opening.load(SeqCst);
                    let until = if alone { error.worth_trying_until(came, deadline) } else { deadline };
                    if Instant::now() + delay >= until {
                        return Err(error.into());
                    }
                    tokio::time::sleep(delay).await;
                    delay = (delay * 2).min(Duration::from_secs(1));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes a granted connection if that needs no waiting; the inner None means that it has turned out dead.
    ///
    /// # Errors
    /// It needs to be opened, or to be asked for a sign of life: [`Self::take_with`] does.
    pub fn take_up<K: Kind>(&self, grant: Grant, core: usize) -> Result<Option<Conn<K>>, Grant> {
        match grant {
            Grant::Conn(conn) if !self.settings.check.is_due(conn.peek()) => Ok(self.settle_now(conn, core)),
            other => Err(other),
        }
    }

    /// As [`Self::take`], but gives up at the first failure to connect: for when there is another upstream to go to.
    ///
    /// # Errors
    /// As [`Self::take`], and whenever a connection cannot be opened.
    pub async fn take_or_fail<K: Kind>(
        self: &Arc<Self>,
        mut granted: Option<Grant>,
        core: usize,
        deadline: Instant,
    ) -> Result<Conn<K>, AcquireError> {
        let came = Instant::now();
        loop {
            let grant = match granted.take().or_else(|| self.take_now::<K>(core)) {
                Some(grant) => grant,
                None => self.wait::<K>(core, came, deadline, deadline).await?,
            };
            match grant {
                Grant::Conn(conn) => {
                    if let Some(conn) = self.settle::<K>(conn, core).await {
                        return Ok(conn);
                    }
                }
                Grant::Place(permit) => {
                    if let Ok(conn) = K::from_any(self.open(permit, K::TAG, core).await?) {
                        return Ok(conn);
                    }
                }
            }
        }
    }

    /// Puts a connection back; who waits longest gets it.
    pub fn give_back(&self, conn: AnyConn) {
        self.give_back_at(conn, Instant::now());
    }

    /// The same, for who knows the time.
    pub fn give_back_at(&self, mut conn: AnyConn, now: Instant) {
        let core = conn.server().core;
        conn.server().idle_since = now;
        if !self.keeps(&mut conn) {
            conn.close();
            return;
        }
        if self.waiting.load(SeqCst) == 0 {
            self.queue(core).idle.push(conn);
            if self.waiting.load(SeqCst) != 0 {
                self.serve();
            }
            self.serve_shared();
            return;
        }
        if self.owes_its_place() {
            conn.close();
            return;
        }
        let mut conn = Some(conn);
        if self.next_is_here(core) {
            let mut queue = self.queue(core);
            while let Some(waiter) = queue.waiters.pop_front() {
                let Some(own) = conn.take() else { break };
                if waiter.wants != own.tag() {
                    queue.waiters.push_front(waiter);
                    conn = Some(own);
                    break;
                }
                self.waiting.fetch_sub(1, SeqCst);
                match waiter.tell.send(Grant::Conn(own)) {
                    Ok(()) => return,
                    Err(Grant::Conn(back)) => conn = Some(back),
                    Err(Grant::Place(_)) => return,
                }
            }
        }
        if let Some(conn) = conn {
            self.queue(core).idle.push(conn);
            self.serve();
            self.serve_shared();
        }
    }

    /// Closes idle connections that `which` names, for the reason `why`; how many there were.
    pub fn close_idle(&self, why: &'static str, which: impl Fn(&AnyConn) -> bool) -> usize {
        let mut closing = Vec::new();
        for core in 0..self.shards.len() {
            let mut queue = self.queue(core);
            let (go, stay): (Vec<_>, Vec<_>) = std::mem::take(&mut queue.idle).into_iter().partition(&which);
            queue.idle = stay;
            closing.extend(go);
        }
        let count = closing.len();
        // Outside the locks: closing serves who waits.
        closing.into_iter().for_each(|conn| conn.because(why).close());
        count
    }

    /// RECONNECT: idle connections close now, those in use when they come back.
    pub fn reconnect(&self) {
        self.generation.fetch_add(1, SeqCst);
        self.close_idle("database configuration changed", |_| true);
    }

    /// Whether a connection of that generation is closed as soon as it comes back.
    pub fn closes(&self, generation: u64) -> bool {
        self.closed.load(SeqCst) || generation != self.generation.load(SeqCst)
    }

    /// The pool is not used any more: as [`Self::reconnect`], and nothing is kept from now on.
    pub fn retire(&self) {
        self.closed.store(true, SeqCst);
        self.guarantee(0);
        self.reconnect();
    }

    /// Connections that are in use, or have been within that time.
    pub fn used_within(&self, time: Duration) -> usize {
        let idle = |core| self.queue(core).idle.iter().filter(|conn| conn.peek().idle_since.elapsed() > time).count();
        self.own.used().saturating_sub((0..self.shards.len()).map(idle).sum())
    }

    /// Whether somebody waits for a connection.
    pub fn is_pressed(&self) -> bool {
        self.waiting.load(SeqCst) != 0
    }

    /// Whether it has a connection.
    pub fn is_open(&self) -> bool {
        self.own.used() > 0
    }

    /// Whether a connection is being opened.
    pub fn is_opening(&self) -> bool {
        self.opening.load(SeqCst) != 0
    }

    /// Number of cores.
    pub fn cores(&self) -> usize {
        self.shards.len()
    }

    /// The idle connections of a core, the one that would be lent next first.
    pub(super) fn idle_on(&self, core: usize, kind: KindTag) -> Option<Arc<Facts>> {
        let queue = self.queue(core);
        let idle = queue.idle.iter().rev().filter(|conn| conn.tag() == kind).map(|conn| &conn.peek().facts);
        idle.min_by_key(|facts| facts.clients.load(std::sync::atomic::Ordering::Relaxed)).cloned()
    }

    /// Those that may be somebody's home.
    pub(super) fn homes(&self) -> MutexGuard<'_, Homes> {
        self.homes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Numbers for SHOW POOLS.
    pub fn counts(&self) -> PoolCounts {
        let mut counts = PoolCounts {
            open: self.own.used(),
            opening: self.opening.load(SeqCst),
            waiting: self.waiting.load(SeqCst),
            ..PoolCounts::default()
        };
        for core in 0..self.shards.len() {
            let queue = self.queue(core);
            let guarded = queue.idle.iter().filter(|conn| conn.tag() == KindTag::Guarded).count();
            counts.idle_guarded += guarded;
            counts.idle_unguarded += queue.idle.len() - guarded;
            if let Some(first) = queue.waiters.front() {
                counts.oldest = counts.oldest.max(first.came.elapsed());
            }
        }
        counts
    }

    /// How many connections it has opened.
    pub fn opened(&self) -> u64 {
        self.opened.load(SeqCst)
    }

    /// Shows each idle connection to `see`.
    pub fn each_idle(&self, mut see: impl FnMut(&AnyConn)) {
        for core in 0..self.shards.len() {
            self.queue(core).idle.iter().for_each(&mut see);
        }
    }

    #[expect(clippy::unreachable, reason = "a pool has at least one shard")]
    fn queue(&self, core: usize) -> MutexGuard<'_, Queue> {
        let shard = self.shards.get(core).or_else(|| self.shards.first());
        match shard {
            Some(shard) => shard.inner.lock().unwrap_or_else(PoisonError::into_inner),
            None => unreachable!("a pool has at least one shard"),
        }
    }

    fn is_good(&self, server: &mut Server) -> bool {
        if !self.is_current(server) {
            return false;
        }
        let lives = server.still_lives();
        if !lives {
            // One backend has ended, or all.
            self.settings.watch.look_now();
        }
        lives
    }

    /// A granted connection, at home on this core and alive; None if it turned out dead.
    fn settle_now<K: Kind>(&self, mut conn: AnyConn, core: usize) -> Option<Conn<K>> {
        let server = conn.server();
        if server.core != core {
            // The kernel is asked: the other core's reactor may not have been told of a goodbye yet, and one that has just been
            // told of the socket knows nothing of it.
            if !server.still_lives() || server.stream.socket().has_input() || server.stream.rebind().is_err() {
                self.settings.watch.look_now();
                conn.close();
                return None;
            }
            server.core = core;
        }
        if !self.is_good(conn.server()) {
            conn.close();
            return None;
        }
        match K::from_any(conn) {
            Ok(conn) => Some(conn),
            Err(other) => {
                other.close();
                None
            }
        }
    }

    /// As [`Self::settle_now`], and asked for a sign of life where that is wanted.
    async fn settle<K: Kind>(&self, conn: AnyConn, core: usize) -> Option<Conn<K>> {
        let mut conn = self.settle_now::<K>(conn, core)?;
        if self.settings.check.passes(conn.server()).await {
            return Some(conn);
        }
        conn.close();
        None
    }

    fn take_now<K: Kind>(self: &Arc<Self>, core: usize) -> Option<Grant> {
        if self.waiting.load(SeqCst) != 0 { None } else { self.anything(core, K::TAG, Instant::now()).ok() }
    }

    /// For who has waited since `came`: an idle connection of any core, own first, or else a place to open one.
    fn anything(&self, core: usize, tag: KindTag, came: Instant) -> Result<Grant, Blocked> {
        let cores = self.shards.len();
        if let Some(conn) = (0..cores).find_map(|step| self.pop_idle((core + step) % cores, tag)) {
            return Ok(Grant::Conn(conn));
        }
        // Without any connection it has nothing to wait for: the log-in itself says why there is none.
        if self.own.used() > 0 && self.is_barred() {
            return Err(Blocked::Own);
        }
        match self.permit_in_turn(0, came) {
            Ok(permit) => Ok(Grant::Place(permit)),
            Err(blocked) => {
                // An idle connection of the other kind makes room within this pool's own limit.
                let other = (0..cores).find_map(|step| self.queue((core + step) % cores).idle.pop());
                other.map(|conn| Grant::Place(conn.because("evicted").into_permit())).ok_or(blocked)
            }
        }
    }

    fn pop_idle(&self, core: usize, tag: KindTag) -> Option<AnyConn> {
        let mut queue = self.queue(core);
        // Last in, first out: connections beyond the need grow old and close.
        let at = queue.idle.iter().rposition(|conn| conn.tag() == tag)?;
        Some(queue.idle.swap_remove(at))
    }
}
