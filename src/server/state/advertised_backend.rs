//! The server process that a client in transaction mode is told of at its log-in: that of a server connection of its pool,
//! its *home*. It has one of its own while the pool has room, else it shares one; it takes its own whenever that is idle. Who
//! asks which process it has gets its home, if that can be had.

use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::Ordering::Relaxed;

use crate::server::connection::Facts;
use crate::server::guard::KindTag;
use crate::server::pool::Pool;

/// Held by a server connection as long as it lives.
pub(in crate::server) struct Presence(pub(in crate::server) Arc<Facts>);

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.open.store(false, Relaxed);
    }
}

/// A client's.
pub struct Home(Arc<Facts>);

impl Home {
    /// That server connection, for one client more.
    pub fn at(facts: &Arc<Facts>) -> Self {
        facts.clients.fetch_add(1, Relaxed);
        Self(facts.clone())
    }

    /// Number of the server connection in this process.
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// Process id of the backend.
    pub fn pid(&self) -> u32 {
        self.0.pid
    }

    /// Whether it is nobody else's.
    #[inline]
    pub fn is_own(&self) -> bool {
        self.0.clients.load(Relaxed) == 1
    }

    /// Whether the server connection has been closed.
    pub fn is_gone(&self) -> bool {
        !self.0.open.load(Relaxed)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Relaxed);
    }
}

/// The connections of a pool that may be somebody's home.
#[derive(Default)]
pub(in crate::server) struct Homes(Vec<Weak<Facts>>);

impl Homes {
    /// One more has been opened.
    pub(in crate::server) fn add(&mut self, facts: &Arc<Facts>) {
        self.0.retain(|known| known.strong_count() > 0);
        self.0.push(Arc::downgrade(facts));
    }

    fn open(&self) -> impl Iterator<Item = Arc<Facts>> {
        self.0.iter().filter_map(Weak::upgrade).filter(|facts| facts.open.load(Relaxed))
    }
}

impl Pool {
    /// Whether statements that must not write run on connections that are guarded in place: no others can be opened.
    pub fn guards_in_place(&self) -> bool {
        self.is_barred() && !self.homes().open().any(|facts| facts.kind == KindTag::Guarded)
    }

    /// The server processes behind its connections, whoever has them.
    pub fn back_ends(&self) -> Vec<u32> {
        self.homes().0.iter().filter_map(Weak::upgrade).map(|facts| facts.pid).collect()
    }

    /// Whether a process is the home of a client.
    pub fn is_home_of_any(&self, which: impl Fn(u32) -> bool) -> bool {
        self.homes().open().any(|facts| facts.clients() > 0 && which(facts.pid))
    }

    /// An idle connection that is nobody's home, for a client that has just logged in on that core: of those the one that
    /// this core would lend next.
    pub fn own_home(&self, core: usize, kind: KindTag) -> Option<Home> {
        let idle = self.idle_home(core, kind)?;
        (idle.clients.load(Relaxed) == 0).then(|| Home::at(&idle))
    }

    /// The home of a client that cannot have one of its own: an idle connection if there is one, of those the one that is home to
    /// the fewest, of those the one that this core would lend next.
    pub fn shared_home(&self, core: usize, kind: KindTag) -> Option<Home> {
        let clients = |facts: &Arc<Facts>| facts.clients.load(Relaxed);
        // Who has a busy one may keep it.
        let busy = || self.homes().open().filter(|facts| facts.kind == kind).min_by_key(clients);
        self.idle_home(core, kind).or_else(busy).map(|facts| Home::at(&facts))
    }

    /// That of a client that another process has handed over: the connection of that number. Where it has not come along, it is one
    /// that has been closed.
    pub fn handed_home(&self, core: usize, kind: KindTag, id: u64) -> Option<Home> {
        let known = self.homes().open().find(|facts| facts.id == id);
        known.map(|facts| Home::at(&facts)).or_else(|| self.shared_home(core, kind))
    }

    fn idle_home(&self, core: usize, kind: KindTag) -> Option<Arc<Facts>> {
        let others = (0..self.cores()).filter(|other| *other != core);
        let idle = std::iter::once(core).chain(others).filter_map(|core| self.idle_on(core, kind));
        idle.min_by_key(|facts| facts.clients.load(Relaxed))
    }
}
