//! Who waits for a connection, and who is served next.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout_at;

use super::{AcquireError, Permit, Pool};
use crate::upstream::guard::{AnyConn, Kind, KindTag};

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

pub(super) enum Grant {
    Conn(AnyConn),
    Place(Permit),
}

/// Leaves the queue when dropped; what was granted in the last moment goes back to the pool.
struct Place<'a> {
    pool: &'a Arc<Pool>,
    core: usize,
    id: u64,
    told: oneshot::Receiver<Grant>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut queue = self.pool.queue(self.core);
        if let Some(at) = queue.waiters.iter().position(|waiter| waiter.id == self.id) {
            queue.waiters.remove(at);
            self.pool.waiting.fetch_sub(1, SeqCst);
        }
        drop(queue);
        self.told.close();
        if let Ok(Grant::Conn(conn)) = self.told.try_recv() {
            self.pool.clone().give_back(conn);
        }
    }
}

impl Pool {
    /// Lets who waits have what lies there.
    pub fn serve(&self) {
        if self.waiting.load(SeqCst) == 0 {
            return;
        }
        // One at a time, as a waiter is out of its queue for a moment; who comes meanwhile makes that one go round again.
        if self.serving.fetch_add(1, SeqCst) != 0 {
            return;
        }
        loop {
            let seen = self.serving.load(SeqCst);
            self.serve_round();
            if self.serving.compare_exchange(seen, 0, SeqCst, SeqCst).is_ok() {
                return;
            }
        }
    }

    fn serve_round(&self) {
        while let Some((core, waiter)) = self.pop_oldest() {
            let Some(grant) = self.anything(core, waiter.wants) else {
                self.queue(core).waiters.push_front(waiter);
                return;
            };
            self.waiting.fetch_sub(1, SeqCst);
            if let Err(Grant::Conn(conn)) = waiter.tell.send(grant) {
                let core = conn.peek().core;
                self.queue(core).idle.push(conn);
            }
        }
    }

    pub(super) fn next_is_here(&self, core: usize) -> bool {
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
        deadline: Instant,
        reserve_at: Instant,
    ) -> Result<Grant, AcquireError> {
        let (tell, told) = oneshot::channel();
        let id = self.ids.fetch_add(1, SeqCst);
        let mut place = Place { pool: self, core, id, told };
        self.waiting.fetch_add(1, SeqCst);
        self.queue(core).waiters.push_back(Waiter { came: Instant::now(), wants: K::TAG, id, tell });
        self.serve();
        if self.settings.reserve > 0 && reserve_at < deadline {
            match timeout_at(reserve_at.into(), &mut place.told).await {
                Ok(grant) => return grant.map_err(|_| AcquireError::Timeout),
                Err(_) => {
                    if let Some(permit) = self.permit(self.settings.reserve, 0) {
                        return Ok(Grant::Place(permit));
                    }
                }
            }
        }
        match timeout_at(deadline.into(), &mut place.told).await {
            Ok(grant) => grant.map_err(|_| AcquireError::Timeout),
            Err(_) => Err(AcquireError::Timeout),
        }
    }
}
