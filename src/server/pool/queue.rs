//! Who waits for a connection, and who is served next.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout_at;

use super::{AcquireError, Blocked, Permit, Pool};
use crate::server::guard::{AnyConn, Kind, KindTag};
use crate::server::lines;

/// How much later a waiter of the releasing core may have come and still be served before one of another core: a hand-over
/// to another core costs a wake-up and two system calls.
pub const SLACK: Duration = Duration::from_millis(2);

#[repr(align(128))]
#[derive(Default)]
pub(super) struct Shard {
    pub(super) inner: Mutex<Queue>,
}

#[derive(Default)]
pub(super) struct Queue {
    pub(super) idle: Vec<AnyConn>,
    pub(super) waiters: VecDeque<Waiter>,
}

pub(super) struct Waiter {
    pub(super) came: Instant,
    pub(super) wants: KindTag,
    pub(super) id: u64,
    pub(super) tell: oneshot::Sender<Grant>,
}

/// What who waits is given.
pub enum Grant {
    /// A connection; it may be of another core, and dead.
    Conn(AnyConn),
    /// A place within the limits, to open one.
    Place(Permit),
}

/// A place in the line of those who wait. Who drops it leaves the line; what was granted in the last moment goes back to the
/// pool.
pub struct Place {
    pool: Arc<Pool>,
    core: usize,
    id: u64,
    /// None: its turn has come.
    told: Option<oneshot::Receiver<Grant>>,
}

impl Place {
    /// Ready when its turn has come. Nothing but that wakes who waits: deadlines are the caller's to keep.
    ///
    /// # Errors
    /// The pool has gone.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Grant, AcquireError>> {
        let Some(told) = &mut self.told else { return Poll::Ready(Err(AcquireError::Timeout)) };
        let grant = ready!(Pin::new(told).poll(cx));
        // Who serves has taken it out of the line already.
        self.told = None;
        Poll::Ready(grant.map_err(|_| self.pool.why_sent_away()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(mut told) = self.told.take() else { return };
        let mut queue = self.pool.queue(self.core);
        if let Some(at) = queue.waiters.iter().position(|waiter| waiter.id == self.id) {
            queue.waiters.remove(at);
            self.pool.waiting.fetch_sub(1, SeqCst);
        }
        drop(queue);
        self.pool.leave_line(None);
        told.close();
        if let Ok(Grant::Conn(conn)) = told.try_recv() {
            self.pool.give_back(conn);
        }
    }
}

impl Pool {
    /// Lets who waits have what lies there.
    pub fn serve(&self) {
        if self.waiting.load(SeqCst) == 0 {
            return;
        }
        // One at a time, as a waiter is out of its queue for a moment.
        self.serving.run(|| self.serve_round());
    }

    fn serve_round(&self) {
        // The usual case of who has just queued up.
        if self.is_exhausted() {
            return;
        }
        while let Some((core, waiter)) = self.pop_oldest() {
            let grant = match self.anything(core, waiter.wants, waiter.came).or_else(|blocked| self.of_others(blocked))
            {
                Ok(grant) => grant,
                Err(blocked) => {
                    let came = waiter.came;
                    self.queue(core).waiters.push_front(waiter);
                    if self.stays_blocked(blocked, came) {
                        return;
                    }
                    continue;
                }
            };
            self.waiting.fetch_sub(1, SeqCst);
            if let Err(Grant::Conn(conn)) = waiter.tell.send(grant) {
                let core = conn.peek().core;
                self.queue(core).idle.push(conn);
            }
        }
        self.leave_line(None);
    }

    /// For who is in line under a full limit already: the place of an idle connection of another pool.
    fn of_others(&self, blocked: Blocked) -> Result<Grant, Blocked> {
        match blocked {
            Blocked::Full(limit) if self.is_held_back() => {
                self.permit_of_others().map(Grant::Place).map_err(|lacks| Blocked::Full(lacks.unwrap_or(limit)))
            }
            other => Err(other),
        }
    }

    /// Waits in the line of what holds the pool's waiters back. False: it was not in that line before, so that there is another
    /// look to be taken.
    fn stays_blocked(&self, blocked: Blocked, came: Instant) -> bool {
        match blocked {
            Blocked::Own => true,
            Blocked::Full(limit) => {
                let was = self.is_in_line(&limit);
                self.join_line(&limit, came);
                was
            }
            Blocked::Behind(limit) => {
                self.join_line(&limit, came);
                // There may be places: then those ahead have them at once, or have gone.
                if limit.has_place() {
                    limit.serve();
                }
                true
            }
        }
    }

    pub(super) fn next_is_here(&self, core: usize) -> bool {
        if self.shards.len() == 1 {
            return true;
        }
        let Some(own) = self.queue(core).waiters.front().map(|waiter| waiter.came) else { return false };
        (0..self.shards.len())
            .filter(|other| *other != core)
            .all(|other| self.queue(other).waiters.front().is_none_or(|waiter| waiter.came + SLACK > own))
    }

    pub(super) fn pop_oldest(&self) -> Option<(usize, Waiter)> {
        let front = |core: usize| self.queue(core).waiters.front().map(|waiter| waiter.came);
        let core = (0..self.shards.len()).filter_map(|core| Some((front(core)?, core))).min()?.1;
        let waiter = self.queue(core).waiters.pop_front()?;
        Some((core, waiter))
    }

    pub(super) async fn wait<K: Kind>(
        self: &Arc<Self>,
        core: usize,
        came: Instant,
        deadline: Instant,
        reserve_at: Instant,
    ) -> Result<Grant, AcquireError> {
        let mut place = self.queue_up(core, K::TAG, came);
        if self.settings.reserve > 0 && reserve_at < deadline {
            match timeout_at(reserve_at.into(), poll_fn(|cx| place.poll(cx))).await {
                Ok(grant) => return grant,
                Err(_) if self.is_barred() => {}
                Err(_) => {
                    if let Ok(permit) = self.permit_in_turn(self.settings.reserve, came) {
                        lines::reserve(self);
                        return Ok(Grant::Place(permit));
                    }
                }
            }
        }
        timeout_at(deadline.into(), poll_fn(|cx| place.poll(cx))).await.unwrap_or(Err(AcquireError::Timeout))
    }

    /// A place in the line, where nothing can be had at once and nothing but a turn is waited for: every connection is in use,
    /// no more may be opened, and there is no reserve. `now` is the time.
    pub fn line_up<K: Kind>(self: &Arc<Self>, core: usize, now: Instant) -> Option<Place> {
        let waits = self.settings.reserve == 0 && (self.waiting.load(SeqCst) > 0 || self.is_exhausted());
        waits.then(|| self.queue_up(core, K::TAG, now))
    }

    /// Whether it has no connection, but for those that are being opened.
    pub(super) fn is_without_connections(&self) -> bool {
        self.own.used() <= self.opening.load(SeqCst)
    }

    /// Nobody who waits will be served: each learns why.
    pub(super) fn send_waiters_away(&self) {
        for core in 0..self.shards.len() {
            let waiters = std::mem::take(&mut self.queue(core).waiters);
            self.waiting.fetch_sub(waiters.len(), SeqCst);
        }
        self.leave_line(None);
    }

    fn queue_up(self: &Arc<Self>, core: usize, wants: KindTag, came: Instant) -> Place {
        let (tell, told) = oneshot::channel();
        let id = self.ids.fetch_add(1, SeqCst);
        let place = Place { pool: self.clone(), core, id, told: Some(told) };
        self.waiting.fetch_add(1, SeqCst);
        let waiter = Waiter { came, wants, id, tell };
        let mut queue = self.queue(core);
        // Who tries again after a failure keeps its turn.
        let at = queue.waiters.iter().rposition(|other| other.came <= came).map_or(0, |at| at + 1);
        queue.waiters.insert(at, waiter);
        drop(queue);
        self.serve();
        place
    }

    /// Whether who wants a connection now has to wait for one that others use.
    pub fn is_crowded(&self) -> bool {
        self.waiting.load(SeqCst) > 0 || self.is_exhausted()
    }

    /// Whether there is neither an idle connection of any core nor a place to open one.
    fn is_exhausted(&self) -> bool {
        self.own.is_full() && (0..self.shards.len()).all(|core| self.queue(core).idle.is_empty())
    }
}
