//! One member: the machine of the program, a model of its gate, and clients that write through it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::fleet::machine::{Machine, Timing};
use crate::fleet::records::Desired;
use crate::fleet::{Fault, Keys};
use crate::gate::Mode;

/// A transaction that may write.
#[derive(Debug, Clone)]
pub(super) struct Transaction {
    pub(super) connection: Option<u64>,
    /// COMMIT is on its way: nobody holds that back.
    pub(super) sent: bool,
}

/// See the module.
#[expect(clippy::struct_excessive_bools, reason = "a model of what others keep apart")]
pub(super) struct Node {
    pub(super) id: String,
    pub(super) process: String,
    /// None: it does not run.
    pub(super) machine: Option<Machine>,
    /// Its clock, in thousandths of the true one.
    pub(super) rate: u64,
    pub(super) offset: u64,
    pub(super) frozen_until: u64,
    pub(super) unfrozen_at: u64,
    pub(super) is_cut_off: bool,
    pub(super) is_allowed: bool,
    pub(super) lease: i64,
    /// By its own clock.
    pub(super) guard_until: Duration,
    pub(super) wanted: Option<Desired>,
    /// What its state file says.
    pub(super) closed: bool,
    pub(super) epoch: u64,
    pub(super) draining: Option<u64>,
    pub(super) open: BTreeMap<u64, Transaction>,
    pub(super) pool: Vec<u64>,
    pub(super) watch: u64,
    pub(super) watched: bool,
    pub(super) last_delivery: u64,
    /// It is waited for the end of all that had begun before the fleet was lost.
    pub(super) is_quieting: bool,
}

impl Node {
    pub(super) fn new(id: String, rate: u64, offset: u64) -> Self {
        Self {
            id,
            process: String::new(),
            machine: None,
            rate,
            offset,
            frozen_until: 0,
            unfrozen_at: 0,
            is_cut_off: false,
            is_allowed: false,
            lease: 0,
            guard_until: Duration::ZERO,
            wanted: None,
            closed: false,
            epoch: 0,
            draining: None,
            open: BTreeMap::new(),
            pool: Vec::new(),
            watch: 0,
            watched: false,
            last_delivery: 0,
            is_quieting: false,
        }
    }

    pub(super) fn start(&mut self, process: String, timing: Timing, keys: Keys, fault: Option<Fault>) {
        let mut machine = Machine::new(&self.id, &process, keys, timing).with(fault);
        machine.clusters.insert("main".to_owned());
        self.machine = Some(machine);
        self.process = process;
        self.is_allowed = false;
        self.guard_until = Duration::ZERO;
        self.wanted = None;
        self.draining = None;
        self.open.clear();
        self.pool.clear();
        self.watched = false;
        self.is_quieting = false;
    }

    /// Its own time.
    pub(super) fn clock(&self, now: u64) -> Duration {
        Duration::from_millis(self.offset + now * self.rate / 1000)
    }

    /// How long that is by the true clock.
    pub(super) fn true_millis(&self, span: Duration) -> u64 {
        u64::try_from(span.as_millis()).unwrap_or(u64::MAX) * 1000 / self.rate
    }

    pub(super) fn may_write(&self) -> bool {
        self.machine.is_some() && self.is_allowed && !self.closed
    }

    /// Puts in force what is wanted; whether it is to be drained.
    pub(super) fn apply(&mut self, desired: &Desired) -> bool {
        self.closed = desired.mode() != Mode::ReadWrite;
        self.epoch = desired.epoch;
        self.draining = desired.is_draining().then_some(desired.epoch);
        self.draining.is_some()
    }

    /// Rolls back whatever is not on its way to its end; their connections.
    pub(super) fn roll_back(&mut self) -> Vec<u64> {
        let open: Vec<u64> = self.open.iter().filter(|(_, one)| !one.sent).map(|(id, _)| *id).collect();
        open.into_iter().filter_map(|id| self.open.remove(&id)?.connection).collect()
    }
}
