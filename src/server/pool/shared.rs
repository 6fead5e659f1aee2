//! Limits that several pools share (`max_db_connections`, `max_user_connections`, `max_server_connections`), and who is
//! next when one of them is full.
//!
//! Each limit has a line of the pools whose oldest waiter it holds back, ordered by when that waiter came. A pool is in one
//! line at a time: that of the limit that holds it back now. Nobody opens a connection under a limit past an older waiter
//! in its line. A connection that becomes idle, in whichever pool, is closed for the first in line, and its place is
//! handed over without being free for a moment; so is one that lies idle when somebody joins the line.
//!
//! A pool may be owed places: those of its `min_pool_size`, as long as it has fewer connections ([`guaranteed`](super::guaranteed)).
//! Others leave them free, whoever has waited for how long, and never take the place of a connection that a pool has by that right.
//!
//! A pool joins a line first and then looks for idle connections once more; who gives a connection back puts it down first
//! and then looks whether anybody is in line. Whoever comes second sees the other.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::guaranteed::Owed;
use super::rounds::Rounds;
use super::{Permit, Pool};
use crate::server::guard::AnyConn;
use crate::server::limit::Limit;

/// How much earlier a waiter of another pool must have come to get the place of a connection that its own pool has waiters
/// for: to hand it over costs a log-in.
const OTHER_POOL_SLACK: Duration = Duration::from_millis(50);

/// When the oldest waiter of a pool came, and the pool's number.
type Turn = (Instant, u64);

/// How many pools are in line, under any limit: what a release looks at first.
#[derive(Debug, Default)]
pub struct InLine(AtomicUsize);

impl InLine {
    /// Whether nobody is in any line, the usual case.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.load(SeqCst) == 0
    }
}

/// See the module.
pub struct SharedLimit {
    places: Limit,
    in_line: Arc<InLine>,
    inner: Mutex<Inner>,
    serving: Rounds,
}

#[derive(Default)]
pub(super) struct Inner {
    /// Pools that have connections under it, and how many.
    pools: HashMap<u64, (Weak<Pool>, usize)>,
    line: BTreeMap<Turn, Weak<Pool>>,
    pub(super) owed: Owed,
}

impl Inner {
    /// Places that others than this pool are owed.
    pub(super) fn owed_to_others(&self, pool: u64) -> usize {
        self.owed.to_others(pool, |id| self.pools.get(&id).map_or(0, |(_, connections)| *connections))
    }
}

/// Why a pool may open no connection now.
pub(super) enum Blocked {
    /// It has as many as its own limit allows, or is not used any more.
    Own,
    /// A limit that it shares is full.
    Full(Arc<SharedLimit>),
    /// Somebody came earlier in the line of that limit.
    Behind(Arc<SharedLimit>),
}

/// The line that a pool is in, and its turn there.
pub(super) type Standing = Mutex<Option<(Arc<SharedLimit>, Turn)>>;

impl SharedLimit {
    /// A limit of `most` connections, 0 for none.
    pub fn new(most: usize, in_line: Arc<InLine>) -> Arc<Self> {
        Arc::new(Self { places: Limit::new(most), in_line, inner: Mutex::default(), serving: Rounds::default() })
    }

    /// Changes the limit; what is open stays open, and who waits for a place has it if there are more now.
    pub fn set(&self, most: usize) {
        self.places.set(most);
        self.serve();
    }

    /// Places taken.
    pub fn used(&self) -> usize {
        self.places.used()
    }

    /// The limit, 0 for none.
    pub fn most(&self) -> usize {
        self.places.most()
    }

    /// Takes a place for a pool, of which `beyond` may be had beyond the limit. Who is owed it has it before others.
    fn take(&self, pool: &Pool, beyond: usize, is_owed: bool) -> bool {
        if is_owed || beyond > 0 || self.places.most() == 0 {
            return self.places.take(beyond);
        }
        let inner = self.inner();
        self.places.take_leaving(inner.owed_to_others(pool.id))
    }

    /// Whether there is no place for that pool, beyond what it is owed.
    pub(super) fn is_full_for(&self, pool: &Pool) -> bool {
        let most = self.places.most();
        most != 0 && self.places.used() + self.inner().owed_to_others(pool.id) >= most
    }

    pub(super) fn has_place(&self) -> bool {
        !self.places.is_full()
    }

    pub(super) fn in_line(&self) -> &Arc<InLine> {
        &self.in_line
    }

    pub(super) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection of the pool counts here from now on.
    fn enter(&self, pool: &Pool) {
        self.inner().pools.entry(pool.id).or_insert_with(|| (pool.me.clone(), 0)).1 += 1;
    }

    /// One that counted here does not any more.
    fn leave(&self, pool: &Pool) {
        let mut inner = self.inner();
        if let Some((_, connections)) = inner.pools.get_mut(&pool.id) {
            *connections -= 1;
            if *connections == 0 {
                inner.pools.remove(&pool.id);
            }
        }
    }

    /// Whether another pool's waiter came earlier.
    fn is_behind(&self, pool: &Pool, came: Instant) -> bool {
        self.inner().line.keys().next().is_some_and(|first| first.1 != pool.id && *first < (came, pool.id))
    }

    /// The first in line that still waits.
    fn first(&self) -> Option<(Turn, Arc<Pool>)> {
        loop {
            let (turn, pool) = {
                let inner = self.inner();
                let (turn, pool) = inner.line.first_key_value()?;
                (*turn, pool.upgrade())
            };
            let Some(pool) = pool else {
                if self.inner().line.remove(&turn).is_some() {
                    self.in_line.0.fetch_sub(1, SeqCst);
                }
                continue;
            };
            match pool.oldest_waiter() {
                Some(came) if came <= turn.0 => return Some((turn, pool)),
                // That one has been served, or has gone.
                Some(came) => pool.move_back(self, turn, came),
                None => _ = pool.leave_line(Some(turn)),
            }
        }
    }

    /// Lets the first in line look whether there is a place for it, and those behind it for as long as there is.
    pub(super) fn serve(&self) {
        if !self.in_line.is_empty() {
            self.serving.run(|| self.serve_round());
        }
    }

    fn serve_round(&self) {
        self.serve_owed();
        while let Some((turn, pool)) = self.first() {
            if !pool.leave_line(Some(turn)) {
                // It was served meanwhile.
                continue;
            }
            pool.serve();
            // It is first again: this limit has no place for it.
            let first = self.inner().line.keys().next().copied();
            if first == Some(turn) {
                return;
            }
        }
    }

    /// Whether another pool in line is owed a connection.
    pub(super) fn has_owed_in_line(&self, pool: u64) -> bool {
        if self.inner().owed.is_empty() {
            return false;
        }
        let in_line: Vec<_> = self.inner().line.values().filter_map(Weak::upgrade).collect();
        in_line.iter().any(|other| other.id != pool && other.is_owed_one())
    }

    /// Pools in line that are owed a connection do not wait for those ahead of them.
    fn serve_owed(&self) {
        if self.inner().owed.is_empty() {
            return;
        }
        let in_line: Vec<_> = self.inner().line.values().filter_map(Weak::upgrade).collect();
        in_line.iter().filter(|pool| pool.is_owed_one()).for_each(|pool| pool.serve());
    }

    /// The pools that have connections here.
    fn pools(&self) -> Vec<Arc<Pool>> {
        self.inner().pools.values().filter_map(|(pool, _)| pool.upgrade()).collect()
    }
}

impl Permit {
    /// A place in the pool for those of other pools: what they share is handed over, and free at no time between.
    fn handed_over(mut from: Vec<Self>, to: &Arc<Pool>) -> Option<Self> {
        let owed = to.own.take_counted(0)? <= to.least();
        let mut taken = Vec::with_capacity(to.outer.len());
        for limit in &to.outer {
            let has = from.iter_mut().find_map(|permit| {
                let at = permit.pool.outer.iter().position(|theirs| Arc::ptr_eq(theirs, limit))?;
                let free = permit.handed & 1 << at == 0;
                free.then_some((permit, at))
            });
            if let Some((permit, at)) = has {
                permit.handed |= 1 << at;
            } else if !limit.take(to, 0, owed) {
                taken.iter().for_each(|limit: &&Arc<SharedLimit>| limit.places.give());
                // What was handed over stays with who had it, and goes back with it.
                from.iter_mut().for_each(|permit| permit.handed = 0);
                to.own.give();
                return None;
            } else {
                taken.push(limit);
            }
        }
        to.outer.iter().for_each(|limit| limit.enter(to));
        Some(Self { pool: to.clone(), handed: 0 })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let pool = &self.pool;
        pool.own.give();
        for (at, limit) in pool.outer.iter().enumerate() {
            limit.leave(pool);
            if self.handed & 1 << at == 0 {
                limit.places.give();
            }
        }
        pool.serve();
        pool.serve_shared();
    }
}

impl Pool {
    /// A place, of which `extra` may be had beyond the pool's own limit and `beyond` beyond those it shares.
    pub(super) fn permit(&self, extra: usize, beyond: usize) -> Result<Permit, Blocked> {
        let pool = self.me.upgrade().ok_or(Blocked::Own)?;
        let taken = self.own.take_counted(extra).ok_or(Blocked::Own)?;
        let owed = taken <= self.least();
        for (at, limit) in self.outer.iter().enumerate() {
            if !limit.take(self, beyond, owed) {
                self.outer.iter().take(at).for_each(|limit| limit.places.give());
                self.own.give();
                return Err(Blocked::Full(limit.clone()));
            }
        }
        self.outer.iter().for_each(|limit| limit.enter(&pool));
        Ok(Permit { pool, handed: 0 })
    }

    /// A place for who has waited since `came`, of which `extra` may be had beyond the pool's own limit. Nobody who came earlier
    /// is passed over.
    pub(super) fn permit_in_turn(&self, extra: usize, came: Instant) -> Result<Permit, Blocked> {
        if !self.in_line.is_empty()
            && !self.is_owed_one()
            && let Some(limit) = self.outer.iter().find(|limit| limit.is_behind(self, came))
        {
            return Err(Blocked::Behind(limit.clone()));
        }
        self.permit(extra, 0)
    }

    /// A place that idle connections of other pools had: they are closed for it. Else the full limit that has none, if
    /// there is one.
    pub(super) fn permit_of_others(&self) -> Result<Permit, Option<Arc<SharedLimit>>> {
        let me = self.me.upgrade().ok_or(None)?;
        let mut givers: Vec<Arc<Self>> = Vec::new();
        for limit in self.outer.iter().filter(|limit| limit.is_full_for(self)) {
            let counts_there = |pool: &Arc<Self>| pool.outer.iter().any(|theirs| Arc::ptr_eq(theirs, limit));
            if !givers.iter().any(counts_there) {
                givers.push(self.idle_under(limit).ok_or_else(|| Some(limit.clone()))?);
            }
        }
        let mut found: Vec<AnyConn> = Vec::new();
        for giver in givers {
            let Some(conn) = giver.take_idle_longest() else {
                // Somebody was faster.
                found.into_iter().for_each(|conn| conn.peek().permit.pool().clone().put_down(conn));
                return Err(None);
            };
            found.push(conn);
        }
        if found.is_empty() {
            return Err(None);
        }
        Permit::handed_over(found.into_iter().map(|conn| conn.because("evicted").into_permit()).collect(), &me)
            .ok_or(None)
    }

    /// The pool under that limit that has the connection that has been idle for longest.
    fn idle_under(&self, limit: &SharedLimit) -> Option<Arc<Self>> {
        let others =
            limit.pools().into_iter().filter(|pool| pool.id != self.id && pool.may_give() && !pool.is_barred());
        Some(others.filter_map(|pool| Some((pool.idle_longest()?, pool))).min_by_key(|(since, _)| *since)?.1)
    }

    fn idle_longest(&self) -> Option<Instant> {
        let oldest = |core| self.queue(core).idle.iter().map(|conn| conn.peek().idle_since).min();
        (0..self.shards.len()).filter_map(oldest).min()
    }

    fn take_idle_longest(&self) -> Option<AnyConn> {
        (0..self.shards.len()).find_map(|core| {
            let mut queue = self.queue(core);
            let at = queue.idle.iter().enumerate().min_by_key(|(_, conn)| conn.peek().idle_since)?.0;
            Some(queue.idle.swap_remove(at))
        })
    }

    /// Puts a connection back among the idle ones.
    fn put_down(&self, conn: AnyConn) {
        self.queue(conn.peek().core).idle.push(conn);
        self.serve();
        self.serve_shared();
    }

    /// Whoever is in line under a limit that this pool shares looks again: there may be a place.
    #[inline]
    pub(super) fn serve_shared(&self) {
        if !self.in_line.is_empty() {
            self.outer.iter().for_each(|limit| limit.serve());
        }
    }

    /// Whether a waiter of another pool has a better right to the place of a connection of this pool than those who wait
    /// for the connection.
    pub(super) fn owes_its_place(&self) -> bool {
        if self.in_line.is_empty() || self.is_barred() || !self.may_give() {
            return false;
        }
        if self.owes_one() {
            return true;
        }
        let Some(own) = self.oldest_waiter() else { return false };
        let firsts = self.outer.iter().filter_map(|limit| limit.first());
        firsts.into_iter().any(|(turn, pool)| pool.id != self.id && turn.0 + OTHER_POOL_SLACK < own)
    }

    /// When the waiter came that has waited for longest.
    pub(super) fn oldest_waiter(&self) -> Option<Instant> {
        (0..self.shards.len()).filter_map(|core| self.queue(core).waiters.front().map(|waiter| waiter.came)).min()
    }

    /// Whether it is in the line of a limit that is full.
    pub(super) fn is_held_back(&self) -> bool {
        self.standing().as_ref().is_some_and(|(line, _)| line.is_full_for(self))
    }

    /// Whether it is in the line of that limit.
    pub(super) fn is_in_line(&self, limit: &Arc<SharedLimit>) -> bool {
        self.standing().as_ref().is_some_and(|(line, _)| Arc::ptr_eq(line, limit))
    }

    /// Joins the line of the limit that holds its waiters back, and leaves that of any other.
    pub(super) fn join_line(&self, limit: &Arc<SharedLimit>, came: Instant) {
        let mut standing = self.standing();
        if let Some((line, turn)) = standing.take() {
            if Arc::ptr_eq(&line, limit) && turn.0 <= came {
                *standing = Some((line, turn));
                return;
            }
            self.strike(&line, turn);
        }
        let turn = (came, self.id);
        self.in_line.0.fetch_add(1, SeqCst);
        limit.inner().line.insert(turn, self.me.clone());
        *standing = Some((limit.clone(), turn));
    }

    /// Leaves the line it is in: whatever that is, if nobody waits, or if that is its turn there. False: it is not.
    pub(super) fn leave_line(&self, of: Option<Turn>) -> bool {
        let mut standing = self.standing();
        let Some((line, turn)) = standing.take() else { return false };
        let leaves = of.map_or_else(|| self.waiting.load(SeqCst) == 0, |of| of == turn);
        if leaves {
            self.strike(&line, turn);
        } else {
            *standing = Some((line, turn));
        }
        leaves
    }

    /// Its oldest waiter is another one now.
    fn move_back(&self, limit: &SharedLimit, from: Turn, came: Instant) {
        let mut standing = self.standing();
        let here = standing.as_mut().filter(|(line, turn)| std::ptr::eq(&raw const **line, limit) && *turn == from);
        match here {
            Some((_, turn)) => {
                let mut inner = limit.inner();
                inner.line.remove(&from);
                *turn = (came, self.id);
                inner.line.insert(*turn, self.me.clone());
            }
            // It has left meanwhile.
            None => {
                if limit.inner().line.remove(&from).is_some() {
                    self.in_line.0.fetch_sub(1, SeqCst);
                }
            }
        }
    }

    fn strike(&self, line: &SharedLimit, turn: Turn) {
        if line.inner().line.remove(&turn).is_some() {
            self.in_line.0.fetch_sub(1, SeqCst);
        }
    }

    fn standing(&self) -> MutexGuard<'_, Option<(Arc<SharedLimit>, Turn)>> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
