//! What happens when, and what must hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use super::etcd::Etcd;
use super::node::Node;
use super::requests::Request;
use crate::fleet::command::{Decision, decide};
use crate::fleet::machine::Timing;
use crate::fleet::records::{Desired, Finding, Place};
use crate::fleet::view::Change;
use crate::fleet::{Action, Errand, Fault, Input, Keys};
use crate::gate::{Given, Lsn, Mode, OnDefaults, OnOptions, OnTimeout, Order, Quiesced, Record, Verb, Who};

/// Milliseconds.
pub(super) const TTL: u64 = 5_000;
const DRAIN_TIMEOUT: u64 = 8_000;
const CANCEL_GRACE: u64 = 2_000;
/// As long things go wrong.
const CHAOS: u64 = 30_000;
/// As long a flip may take once all is well.
pub(super) const CALM: u64 = DRAIN_TIMEOUT + CANCEL_GRACE + 6 * TTL;

/// What did not hold.
#[derive(Debug)]
pub(super) struct Violation(String);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What happens. Those of a node are of one life of it, and wait while it is stopped.
#[derive(Debug, Clone)]
pub(super) enum Event {
    Tick,
    Input(Input),
    /// A change that was watched, by the number of the stream.
    Changed(u64, Vec<Change>),
    Apply(Box<Desired>),
    MayHaveDrained,
    DrainTimeout(u64),
    Forbid,
    Begin,
    Opened(u64, u64),
    Send(u64, u64),
    TicketBack(u64),
    /// At etcd.
    Asked(Request),
    /// At the server.
    Open(u64, u64),
    Commit(u64, u64),
    Fence(String, String, String, i64),
    ReadLsn(Place, u64),
}

/// See the module.
pub(super) struct World {
    pub(super) random: u64,
    pub(super) now: u64,
    /// Numbers all that happens at the server and at etcd.
    pub(super) order: u64,
    pub(super) sequence: u64,
    pub(super) queue: BTreeMap<(u64, u64), (usize, String, Event)>,
    pub(super) nodes: Vec<Node>,
    pub(super) etcd: Etcd,
    /// Of etcd; None: it runs.
    pub(super) down_since: Option<u64>,
    pub(super) puts_back: bool,
    /// What etcd may be put back to, and what was wanted then.
    pub(super) snapshot: Option<(Etcd, Option<Desired>)>,
    /// Since etcd was put back: lives of members that know what was promised before. Others cannot.
    pub(super) aware: Option<BTreeSet<String>>,
    pub(super) keys: Keys,
    pub(super) timing: Timing,
    pub(super) fault: Option<Fault>,
    pub(super) place: Place,
    /// Connections at the server, with the life of the member that has each.
    pub(super) connections: BTreeMap<u64, String>,
    pub(super) next: u64,
    pub(super) lives: u64,
    /// Commits at the server, by number.
    pub(super) commits: Vec<u64>,
    /// Nothing may be written from that number on.
    pub(super) closed_from: Option<u64>,
    pub(super) wanted: Option<Desired>,
    pub(super) draining_since: Option<u64>,
    pub(super) is_calm: bool,
    pub(super) violation: Option<Violation>,
}

impl World {
    pub(super) fn new(seed: u64, fault: Option<Fault>) -> Self {
        let timing =
            Timing { cancel_grace: Duration::from_millis(CANCEL_GRACE), ..Timing::of(Duration::from_millis(TTL)) };
        let mut world = Self {
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            now: 0,
            order: 0,
            sequence: 0,
            queue: BTreeMap::new(),
            nodes: Vec::new(),
            etcd: Etcd::new(TTL),
            down_since: None,
            puts_back: seed.is_multiple_of(4),
            snapshot: None,
            aware: None,
            keys: Keys::below("/s"),
            timing,
            fault,
            place: Place { cluster: "main".into(), dbname: "app".into() },
            connections: BTreeMap::new(),
            next: 0,
            lives: 0,
            commits: Vec::new(),
            closed_from: None,
            wanted: None,
            draining_since: None,
            is_calm: false,
            violation: None,
        };
        for at in 0..3 {
            let (rate, offset) = (world.between(970, 1030), world.between(0, 1_000_000));
            world.nodes.push(Node::new(format!("n{at}"), rate, offset));
            world.start(at);
        }
        world
    }

    /// A number of that range, its end excluded.
    pub(super) fn between(&mut self, from: u64, to: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        from + self.random % (to - from).max(1)
    }

    pub(super) fn one_in(&mut self, count: u64) -> bool {
        self.between(0, count) == 0
    }

    pub(super) fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    pub(super) fn violated(&mut self, text: String) {
        let node = |node: &Node| {
            let machine = node.machine.as_ref().map(|machine| machine.described()).unwrap_or_default();
            format!(
                "\n  {} {}: closed {} epoch {} draining {:?} open {:?} cut off {} stopped until {} watches {}: {machine}",
                node.id,
                node.process,
                node.closed,
                node.epoch,
                node.draining,
                node.open,
                node.is_cut_off,
                node.frozen_until,
                node.watched
            )
        };
        let nodes: String = self.nodes.iter().map(node).collect();
        self.violation.get_or_insert(Violation(format!("at {} ms: {text}{nodes}", self.now)));
    }

    pub(super) fn after(&mut self, delay: u64, node: usize, event: Event) {
        self.sequence += 1;
        let process = self.nodes[node].process.clone();
        self.queue.insert((self.now + delay, self.sequence), (node, process, event));
    }

    pub(super) fn start(&mut self, at: usize) {
        self.lives += 1;
        let process = format!("life{}", self.lives);
        let (timing, keys, fault) = (self.timing, self.keys.clone(), self.fault);
        self.nodes[at].start(process, timing, keys, fault);
        self.after(1, at, Event::Tick);
        let delay = self.between(1, 200);
        self.after(delay, at, Event::Begin);
    }

    pub(super) fn run(mut self) -> Result<(), Violation> {
        while self.now < CHAOS && self.violation.is_none() {
            let until = self.now + 250;
            self.pass(until);
            self.chaos();
        }
        self.calm();
        if let Some(violation) = self.violation {
            return Err(violation);
        }
        Ok(())
    }

    /// All that happens until then.
    pub(super) fn pass(&mut self, until: u64) {
        while let Some((&(at, number), _)) = self.queue.first_key_value() {
            if at > until || self.violation.is_some() {
                break;
            }
            let Some((node, process, event)) = self.queue.remove(&(at, number)) else { break };
            self.now = self.now.max(at);
            self.expire();
            self.happen(node, process, event);
        }
        self.now = until;
        self.expire();
        self.check_end();
    }

    pub(super) fn expire(&mut self) {
        if self.down_since.is_none() {
            let changes = self.etcd.expire(self.now);
            self.tell(changes);
        }
    }

    /// All is mended: every flip ends, one that is begun now is carried through, and all members are of one mind.
    pub(super) fn calm(&mut self) {
        self.is_calm = true;
        if self.down_since.take().is_some() {
            self.etcd.restart(self.now);
        }
        for at in 0..self.nodes.len() {
            self.nodes[at].frozen_until = 0;
            self.nodes[at].is_cut_off = false;
            self.come_back(at);
        }
        let until = self.now + CALM;
        while self.now < until && self.violation.is_none() {
            self.pass(self.now + 250);
        }
        self.command(Verb::Online);
        self.pass(self.now + CALM);
        self.command(Verb::On);
        let until = self.now + CALM;
        while self.now < until && self.violation.is_none() && self.is_draining() {
            self.pass(self.now + 250);
        }
        let is_on = self.wanted.as_ref().is_some_and(|wanted| wanted.mode() != Mode::ReadWrite);
        if !is_on || self.is_draining() {
            self.violated(format!("a flip is not carried through though all is well: {:?}", self.wanted));
        }
        self.pass(self.now + 2 * TTL);
        self.command(Verb::Off);
        self.pass(self.now + 3 * TTL);
        for at in 0..self.nodes.len() {
            if !self.nodes[at].may_write() {
                let (closed, allowed) = (self.nodes[at].closed, self.nodes[at].is_allowed);
                self.violated(format!(
                    "node {at} does not write though all is well: closed {closed}, allowed {allowed}"
                ));
            }
        }
    }

    pub(super) fn is_draining(&self) -> bool {
        self.wanted.as_ref().is_some_and(Desired::is_draining)
    }

    /// A flip ends in bounded time as long as somebody can lead.
    pub(super) fn check_end(&mut self) {
        if !self.is_draining() {
            self.draining_since = None;
            return;
        }
        let since = *self.draining_since.get_or_insert(self.now);
        if self.is_calm && self.now > since.max(CHAOS) + CALM {
            self.violated("a flip does not end".to_owned());
        }
    }

    pub(super) fn command(&mut self, verb: Verb) {
        if self.down_since.is_some() {
            return;
        }
        let mut options = OnOptions::new(OnDefaults::default());
        let is_short = !self.is_calm && self.one_in(2);
        let drain_timeout = if is_short { DRAIN_TIMEOUT / 4 } else { DRAIN_TIMEOUT };
        options.drain_timeout = Some(Duration::from_millis(drain_timeout));
        let reverts = self.one_in(2) && !self.is_calm;
        options.on_timeout = Some(if reverts { OnTimeout::Revert } else { OnTimeout::Cancel });
        options.message = Given::Not;
        let who = Who { user: "person".into(), address: None };
        let now =
            i64::try_from(self.now).ok().and_then(|now| Timestamp::from_millisecond(now).ok()).unwrap_or_default();
        let order = Order { verb, options, who, now, only_expired: false };
        let known = Record::fresh(Timestamp::UNIX_EPOCH);
        let decision = decide(&self.place, "app", self.wanted.as_ref(), &known, &order, false);
        if let Ok(Decision::Write(desired)) = decision {
            self.write(*desired, true);
        }
    }

    /// What is wanted changes, by a person or by whoever leads.
    pub(super) fn write(&mut self, desired: Desired, by_person: bool) {
        let opens = desired.mode() == Mode::ReadWrite;
        let was_closed = self.wanted.as_ref().is_some_and(|wanted| wanted.mode() != Mode::ReadWrite);
        if opens && was_closed && !by_person {
            let before = self.wanted.as_ref().and_then(|wanted| wanted.before.as_ref());
            if before.is_none_or(|before| before.switches.mode() != Mode::ReadWrite) {
                self.violated("what a person has closed is opened by itself".to_owned());
            }
        }
        self.order += 1;
        if opens {
            self.closed_from = None;
        }
        if let Some(quiesced) = desired.quiesced.filter(|_| !by_person)
            && let Some(Lsn(lsn)) = quiesced.lsn
        {
            self.closed_from = Some(lsn);
            self.aware = None;
            if let Some(late) = self.commits.iter().find(|number| **number > lsn) {
                self.violated(format!("write {late} lies behind the quiesced LSN {lsn} of epoch {}", desired.epoch));
            }
        }
        let value = serde_json::to_vec(&desired).unwrap_or_default();
        self.wanted = Some(desired);
        self.draining_since = None;
        let key = self.keys.desired(&self.place);
        let change = self.etcd.put(&key, value, 0);
        self.tell(change.into_iter().collect());
    }

    /// Whoever watches is told, in order.
    pub(super) fn tell(&mut self, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        for at in 0..self.nodes.len() {
            if !self.nodes[at].watched {
                continue;
            }
            if self.nodes[at].is_cut_off || self.down_since.is_some() {
                self.nodes[at].watched = false;
                let delay = self.between(100, 1000);
                self.after(delay, at, Event::Input(Input::WatchLost));
                continue;
            }
            let delay = self.between(1, 30);
            let due = (self.now + delay).max(self.nodes[at].last_delivery);
            self.nodes[at].last_delivery = due;
            let stream = self.nodes[at].watch;
            self.after(due - self.now, at, Event::Changed(stream, changes.clone()));
        }
    }

    pub(super) fn happen(&mut self, at: usize, process: String, event: Event) {
        match event {
            Event::Asked(request) => self.answer(at, process, request),
            Event::Open(id, connection) => {
                self.connections.insert(connection, process.clone());
                let delay = self.between(1, 10);
                self.back(delay, at, process, Event::Opened(id, connection));
            }
            Event::Commit(id, connection) => self.commit(at, process, id, connection),
            Event::Fence(id, life, cluster, revision) => {
                let done = !self.one_in(5);
                if done {
                    self.connections.retain(|_, owner| *owner != life);
                }
                let input = Input::Fenced { id, process: life, cluster, revision, done };
                let delay = self.between(1, 30);
                self.back(delay, at, process, Event::Input(input));
            }
            Event::ReadLsn(place, epoch) => {
                self.order += 1;
                let quiesced = Quiesced { at: Timestamp::UNIX_EPOCH, lsn: Some(Lsn(self.order)) };
                let found = Finding { quiesced, foreign_writers: Vec::new(), warning: None };
                let found = Some(Box::new(found)).filter(|_| !self.one_in(10));
                let delay = self.between(1, 30);
                self.back(delay, at, process, Event::Input(Input::LsnRead(place, epoch, found)));
            }
            of_node => self.at_node(at, process, of_node),
        }
    }

    pub(super) fn back(&mut self, delay: u64, at: usize, process: String, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.now + delay, self.sequence), (at, process, event));
    }

    /// Something that a process does itself: not while it is stopped, and not in another life.
    pub(super) fn at_node(&mut self, at: usize, process: String, event: Event) {
        if self.nodes[at].machine.is_none() || self.nodes[at].process != process {
            return;
        }
        if self.now < self.nodes[at].frozen_until {
            // Its threads go on in any order.
            let delay = self.nodes[at].frozen_until - self.now + self.between(0, 4);
            return self.back(delay, at, process, event);
        }
        match event {
            Event::Tick => self.input(at, Input::Tick, true),
            Event::Input(input) => self.input(at, input, false),
            Event::Changed(stream, changes) if self.nodes[at].watched && self.nodes[at].watch == stream => {
                self.input(at, Input::Changed(changes), false);
            }
            Event::Apply(desired) => self.apply(at, *desired),
            Event::MayHaveDrained => self.drained(at),
            Event::DrainTimeout(epoch) if self.nodes[at].draining == Some(epoch) => self.roll_back(at),
            Event::Forbid => {
                self.nodes[at].is_quieting = true;
                self.roll_back(at);
            }
            Event::Begin => self.begin(at),
            Event::Opened(id, connection) => self.opened(at, id, connection),
            Event::Send(id, connection) => self.send(at, id, connection),
            Event::TicketBack(id) => {
                if let Some(one) = self.nodes[at].open.remove(&id)
                    && let Some(connection) = one.connection
                {
                    self.nodes[at].pool.push(connection);
                }
                self.drained(at);
            }
            _ => {}
        }
    }

    pub(super) fn roll_back(&mut self, at: usize) {
        let gone = self.nodes[at].roll_back();
        gone.iter().for_each(|connection| _ = self.connections.remove(connection));
        self.drained(at);
    }

    pub(super) fn input(&mut self, at: usize, input: Input, is_tick: bool) {
        let node = &mut self.nodes[at];
        let clock = node.clock(self.now);
        let Some(machine) = &mut node.machine else { return };
        let actions = machine.handle(clock, input);
        let wakes = machine.wakes().saturating_sub(clock);
        if is_tick {
            let delay = node.true_millis(wakes).clamp(20, 200);
            self.after(delay, at, Event::Tick);
        }
        for action in actions {
            self.act(at, clock, action);
        }
    }

    pub(super) fn ask(&mut self, at: usize, request: Request) {
        let delay = self.between(1, 20);
        self.after(delay, at, Event::Asked(request));
    }

    pub(super) fn act(&mut self, at: usize, clock: Duration, action: Action) {
        match action {
            Action::Grant => self.ask(at, Request::Grant(clock)),
            Action::Register(lease) => self.ask(at, Request::Register(lease)),
            Action::Read => self.ask(at, Request::Read),
            Action::Renew(lease) => self.ask(at, Request::Renew(clock, lease)),
            Action::Extend(until) => {
                let node = &mut self.nodes[at];
                if node.machine.as_ref().is_some_and(|machine| machine.is_allowed()) {
                    node.guard_until = until;
                }
            }
            Action::Allow => self.nodes[at].is_allowed = true,
            Action::Forbid { .. } => {
                self.nodes[at].is_allowed = false;
                self.nodes[at].guard_until = Duration::ZERO;
                // What goes on at a server may take long to be broken off.
                let delay = if self.one_in(3) && !self.is_calm { self.between(50, 6_000) } else { self.between(0, 50) };
                self.after(delay, at, Event::Forbid);
            }
            Action::Follow(desired) => {
                self.nodes[at].wanted = Some((*desired).clone());
                let delay = self.between(1, 60);
                self.after(delay, at, Event::Apply(desired));
            }
            Action::Passed(_, epoch, _) => {
                if self.nodes[at].draining == Some(epoch) {
                    self.nodes[at].draining = None;
                }
            }
            Action::PutAck(place, ack) => {
                let key = self.keys.ack(&place, &self.nodes[at].id);
                let (bytes, lease) = (serde_json::to_vec(&ack).unwrap_or_default(), ack.lease);
                self.ask(at, Request::Put(Errand::Ack(place), key, bytes, lease));
            }
            Action::Campaign(lease) => self.ask(at, Request::Campaign(lease)),
            Action::Fence { id, process, cluster, revision } => {
                let delay = self.between(1, 50);
                self.after(delay, at, Event::Fence(id, process, cluster, revision));
            }
            Action::Forget { id, process, revision } => self.ask(at, Request::Forget(id, process, revision)),
            Action::ReadLsn(place, epoch) => {
                let delay = self.between(1, 20);
                self.after(delay, at, Event::ReadLsn(place, epoch));
            }
            Action::Commit(revision, desired) => self.ask(at, Request::Commit(revision, desired)),
            Action::WriteBack(revision, desired) => self.ask(at, Request::WriteBack(revision, desired)),
        }
    }
}
