//! The register of open write-capable transactions, and the barrier: the one place where "no write can pass between
//! registering a transaction and flipping the mode" is decided.
//!
//! Each core has a shard on a cache line of its own: one word with the epoch, a CLOSED bit and a count. To enter is one
//! `fetch_add`, and the value it returns says whether the door was open at that very moment; to close is one read-modify-write
//! of the same word. Changes of one word have one order that all threads agree on, so of an entry and a closing one is
//! first: either the flipper counts the entry, or the entry sees CLOSED and undoes itself. No second word has to be
//! looked at, hence no store-load fence is needed on the hot path.
//!
//! `tests/loom` runs this file, unchanged, through the interleavings of its threads.

use super::mode::{Epoch, State};
use super::sync::{Arc, AtomicU64, Bell, Ordering};
use std::fmt;

const COUNT_BITS: u32 = 23;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
const CLOSED: u64 = 1 << COUNT_BITS;
const EPOCH_SHIFT: u32 = COUNT_BITS + 1;
const _: () = assert!(EPOCH_SHIFT + Epoch::BITS == u64::BITS);

/// The door of one core. Aligned to two cache lines, since processors fetch lines in pairs.
#[repr(align(128))]
struct Shard {
    word: AtomicU64,
    common: Arc<Common>,
}

/// What all shards share; read often, written at a flip.
#[repr(align(128))]
struct Common {
    state: AtomicU64,
    left: Bell,
}

impl Common {
    fn state(&self) -> State {
        State::unpack(self.state.load(Ordering::Acquire))
    }
}

impl Shard {
    /// Keeps the count and replaces the rest.
    fn set_door(&self, epoch: Epoch, closed: bool) {
        let door = epoch.min(Epoch::MAX).0 << EPOCH_SHIFT | if closed { CLOSED } else { 0 };
        let mut seen = self.word.load(Ordering::Relaxed);
        // AcqRel: whoever sees the door closed also sees the mode stored before, and what left before is seen here.
        while let Err(now) =
            self.word.compare_exchange(seen, door | (seen & COUNT), Ordering::AcqRel, Ordering::Relaxed)
        {
            seen = now;
        }
    }

    fn count(&self) -> u64 {
        // Acquire: what a transaction did before it left is seen by whoever sees it gone.
        self.word.load(Ordering::Acquire) & COUNT
    }

    fn enter(&self) -> Result<Epoch, Closed> {
        loop {
            let door = self.word.fetch_add(1, Ordering::AcqRel);
            debug_assert!(door & COUNT < COUNT, "more transactions on one core than there can be connections");
            if door & CLOSED == 0 {
                return Ok(Epoch(door >> EPOCH_SHIFT));
            }
            self.leave();
            let state = self.common.state();
            // Opened between the two looks: try again, once for each such flip.
            if state.mode != super::mode::Mode::ReadWrite {
                return Err(Closed { state });
            }
        }
    }

    fn leave(&self) {
        // Release: see `count`. Only a closed door has someone waiting behind it.
        if self.word.fetch_sub(1, Ordering::AcqRel) & CLOSED != 0 {
            self.common.left.ring();
        }
    }
}

/// The gate is closed to write-capable transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    /// The mode and epoch that closed it.
    pub state: State,
}

/// A session's place at the door of its core, taken once per session: entering from it costs one atomic add, where
/// [`Register::enter`] adds another one for the reference.
pub struct Lane(Arc<Shard>);

impl Lane {
    /// Registers a write-capable transaction, or gives the lane back if the gate is closed.
    pub fn enter(self) -> Result<WriteTicket, (Lane, Closed)> {
        match self.0.enter() {
            Ok(epoch) => Ok(WriteTicket { shard: Some(self.0), epoch }),
            Err(closed) => Err((self, closed)),
        }
    }

    /// The mode and epoch, by one atomic load.
    pub fn state(&self) -> State {
        self.0.common.state()
    }

    /// Whether it leads through that register's doors.
    #[inline]
    pub fn is_of(&self, register: &Register) -> bool {
        Arc::ptr_eq(&self.0.common, &register.common)
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").finish_non_exhaustive()
    }
}

/// The right to have a write-capable transaction open. As long as it lives, no drain is over. Drop it only after the server
/// has confirmed the end of the transaction, or after the server connection is gone.
#[must_use = "the transaction is registered only as long as its ticket lives"]
pub struct WriteTicket {
    shard: Option<Arc<Shard>>,
    epoch: Epoch,
}

impl WriteTicket {
    /// The epoch in which the transaction was let in.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Deregisters and gives the session its lane back.
    pub fn leave(mut self) -> Option<Lane> {
        let shard = self.shard.take()?;
        shard.leave();
        Some(Lane(shard))
    }
}

impl Drop for WriteTicket {
    fn drop(&mut self) {
        if let Some(shard) = self.shard.take() {
            shard.leave();
        }
    }
}

impl fmt::Debug for WriteTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteTicket").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

/// The doors of one database: one for each core, and the mode.
pub struct Register {
    shards: Box<[Arc<Shard>]>,
    common: Arc<Common>,
}

impl Register {
    /// A register for `shards` cores (at least one), in the given state.
    pub fn new(shards: usize, state: State) -> Register {
        let common = Arc::new(Common { state: AtomicU64::new(state.pack()), left: Bell::default() });
        let shards = (0..shards.max(1))
            .map(|_| Arc::new(Shard { word: AtomicU64::new(0), common: common.clone() }))
            .collect::<Box<[_]>>();
        let register = Register { shards, common };
        for shard in &register.shards {
            shard.set_door(state.epoch, state.mode != super::mode::Mode::ReadWrite);
        }
        register
    }

    /// The mode and epoch: the gate's check, one atomic load.
    pub fn state(&self) -> State {
        self.common.state()
    }

    /// A place at the door of that core; any number will do, it is taken modulo the number of shards.
    #[expect(
        clippy::indexing_slicing,
        reason = "there is at least one shard, and the place is taken modulo their number"
    )]
    pub fn lane(&self, shard: usize) -> Lane {
        let place = shard.checked_rem(self.shards.len()).unwrap_or(0);
        Lane(self.shards[place].clone())
    }

    /// Registers a write-capable transaction.
    pub fn enter(&self, shard: usize) -> Result<WriteTicket, Closed> {
        self.lane(shard).enter().map_err(|(_, closed)| closed)
    }

    /// How many write-capable transactions are registered: an estimate while the gate is open.
    pub fn in_flight(&self) -> usize {
        self.shards.iter().map(|shard| shard.count() as usize).sum()
    }

    /// Changes the mode. Only one thread at a time may call it.
    ///
    /// Closing shows the mode first, then shuts the doors, so that whoever is turned away learns why; opening is the other
    /// way round. In between, what enters is counted either way.
    pub(crate) fn flip(&self, state: State) {
        let closed = state.mode != super::mode::Mode::ReadWrite;
        if closed {
            self.common.state.store(state.pack(), Ordering::Release);
        }
        for shard in &self.shards {
            shard.set_door(state.epoch, closed);
        }
        if !closed {
            self.common.state.store(state.pack(), Ordering::Release);
        }
    }

    /// Returns when every write-capable transaction has left. Call it only after a flip that closed the doors and before
    /// the one that opens them: behind a closed door a shard seen at zero stays empty.
    pub(crate) async fn drained(&self) {
        let mut next = 0;
        let reached = || {
            while self.shards.get(next).is_some_and(|shard| shard.count() == 0) {
                next += 1;
            }
            next == self.shards.len()
        };
        self.common.left.wait_until(reached).await;
    }
}

impl fmt::Debug for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Register")
            .field("state", &self.state())
            .field("shards", &self.shards.len())
            .field("in_flight", &self.in_flight())
            .finish()
    }
}
