//! What is written through a member, and what becomes of it at the server.

use super::node::Transaction;
use super::world::{CALM, Event, World};
use crate::fleet::records::Desired;
use crate::fleet::{Fault, Input};
use crate::gate::OnTimeout;

impl World {
    pub(super) fn apply(&mut self, at: usize, desired: Desired) {
        let latest = self.nodes[at].wanted.as_ref() == Some(&desired);
        if !latest {
            return;
        }
        let (place, epoch) = (desired.place.clone(), desired.epoch);
        let timeout = desired.switches.in_force().filter(|terms| terms.on_timeout == OnTimeout::Cancel);
        let cancels = timeout.and_then(|terms| u64::try_from(terms.drain_timeout.as_millis()).ok());
        if self.nodes[at].apply(&desired) {
            if let Some(after) = cancels {
                self.after(after, at, Event::DrainTimeout(epoch));
            }
            self.after(1, at, Event::MayHaveDrained);
        }
        self.input(at, Input::Applied(place, epoch), false);
    }

    pub(super) fn drained(&mut self, at: usize) {
        if self.nodes[at].open.is_empty() && std::mem::take(&mut self.nodes[at].is_quieting) {
            self.input(at, Input::Quiet, false);
        }
        let Some(epoch) = self.nodes[at].draining.filter(|_| self.nodes[at].open.is_empty()) else { return };
        let ack = crate::fleet::Ack { epoch, ..Default::default() };
        let place = self.place.clone();
        self.input(at, Input::Drained(place, epoch, Box::new(ack)), false);
    }

    /// A client wants to write.
    pub(super) fn begin(&mut self, at: usize) {
        let delay = self.between(20, 500);
        self.after(delay, at, Event::Begin);
        if !self.nodes[at].may_write() || self.nodes[at].open.len() > 8 {
            return;
        }
        let lease_over = self.down_since.is_none() && !self.etcd.has_lease(self.nodes[at].lease);
        if lease_over && self.now > self.nodes[at].unfrozen_at + 150 {
            self.violated(format!("node {at} takes a write though its lease is over"));
        }
        self.next += 1;
        let id = self.next;
        let alive = self.nodes[at].pool.pop();
        self.nodes[at].open.insert(id, Transaction { connection: None, sent: false });
        match alive.filter(|_| !self.one_in(4)) {
            Some(connection) => self.use_connection(at, id, connection),
            None => {
                self.next += 1;
                let (connection, delay) = (self.next, self.between(1, 10));
                self.after(delay, at, Event::Open(id, connection));
                if !self.is_calm && self.one_in(60) {
                    // Stopped in the middle of a log-in.
                    let span = self.between(5_500, 11_000);
                    self.freeze(at, span);
                }
            }
        }
    }

    pub(super) fn opened(&mut self, at: usize, id: u64, connection: u64) {
        let node = &self.nodes[at];
        let safe = node.clock(self.now) < node.guard_until || self.has(Fault::UsesNewConnectionsUnasked);
        if !node.open.contains_key(&id) {
            self.connections.remove(&connection);
            return;
        }
        if !safe {
            // It waits for another one.
            self.connections.remove(&connection);
            self.next += 1;
            let connection = self.next;
            return self.after(30, at, Event::Open(id, connection));
        }
        self.use_connection(at, id, connection);
    }

    pub(super) fn use_connection(&mut self, at: usize, id: u64, connection: u64) {
        if !self.connections.contains_key(&connection) {
            // It was ended: another one is opened, as for a client that tries again.
            self.next += 1;
            let (connection, delay) = (self.next, self.between(1, 10));
            return self.after(delay, at, Event::Open(id, connection));
        }
        if let Some(one) = self.nodes[at].open.get_mut(&id) {
            one.connection = Some(connection);
        }
        let lasts = match self.between(0, 20) {
            0 => self.between(1_000, 14_000),
            // One that does not end by itself.
            1 if !self.is_calm && self.one_in(4) => 10 * CALM,
            2..10 => 0,
            _ => self.between(1, 300),
        };
        self.after(lasts, at, Event::Send(id, connection));
    }

    pub(super) fn send(&mut self, at: usize, id: u64, connection: u64) {
        let Some(one) = self.nodes[at].open.get_mut(&id).filter(|one| one.connection == Some(connection)) else {
            return;
        };
        one.sent = true;
        // Some take long at the server.
        let delay = if self.one_in(12) && !self.is_calm { self.between(500, 9_000) } else { self.between(1, 20) };
        self.after(delay, at, Event::Commit(id, connection));
    }

    /// At the server: whoever has sent it may be gone.
    pub(super) fn commit(&mut self, at: usize, process: String, id: u64, connection: u64) {
        if self.connections.contains_key(&connection) {
            self.order += 1;
            self.commits.push(self.order);
            let is_aware = self.aware.as_ref().is_none_or(|aware| aware.contains(&process));
            if let Some(lsn) = self.closed_from.filter(|_| is_aware) {
                self.violated(format!("write {} of node {at} behind the quiesced LSN {lsn}", self.order));
            }
        }
        let delay = self.between(1, 10);
        self.back(delay, at, process, Event::TicketBack(id));
    }
}
