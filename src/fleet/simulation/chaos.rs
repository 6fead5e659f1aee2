//! What goes wrong.

use super::node::Node;
use super::world::{Event, TTL, World};
use crate::fleet::Input;
use crate::gate::{Mode, Verb};

impl World {
    /// Something goes wrong, or a person does something.
    pub(super) fn chaos(&mut self) {
        // One of them is in trouble more often than the others.
        let at = if self.one_in(2) { 0 } else { usize::try_from(self.between(0, 3)).unwrap_or(0) };
        if self.puts_back {
            self.put_back();
        }
        match self.between(0, 60) {
            0..3 => self.command(Verb::On),
            3..6 => self.command(Verb::Off),
            6 | 26 => self.command(Verb::Offline),
            7 => self.command(Verb::Online),
            8 => {
                let longest = if self.one_in(2) { 11_000 } else { 4_000 };
                let span = self.between(100, longest);
                self.freeze(at, span);
            }
            9 | 10 => self.nodes[at].is_cut_off = true,
            11..15 => self.nodes[at].is_cut_off = false,
            15 => self.crash(at),
            16 | 17 => self.come_back(at),
            18 if self.one_in(3) && self.down_since.is_none() => self.down_since = Some(self.now),
            19..22 if self.down_since.is_some() => {
                self.down_since = None;
                self.etcd.restart(self.now);
            }
            22..26 => {
                // A stream of changes breaks off.
                self.nodes[at].watched = false;
                let delay = self.between(1, 1000);
                self.after(delay, at, Event::Input(Input::WatchLost));
            }
            _ => {}
        }
    }

    /// A process is stopped, perhaps together with its network.
    pub(super) fn freeze(&mut self, at: usize, span: u64) {
        let until = (self.now + span).max(self.nodes[at].frozen_until);
        self.nodes[at].frozen_until = until;
        self.nodes[at].unfrozen_at = until;
        if self.one_in(2) {
            self.nodes[at].is_cut_off = true;
        }
    }

    /// In some schedules etcd is stopped while all is closed, and put back to when it was open.
    pub(super) fn put_back(&mut self) {
        let is_closed = self.wanted.as_ref().is_some_and(|wanted| wanted.mode() != Mode::ReadWrite);
        if let Some(since) = self.down_since {
            if self.now > since + TTL && self.one_in(4) {
                self.restore();
            }
        } else if !is_closed {
            self.snapshot = Some((self.etcd.clone(), self.wanted.clone()));
        } else if self.closed_from.is_some() && self.snapshot.is_some() && self.one_in(8) {
            self.down_since = Some(self.now);
        }
    }

    /// Etcd is put back to an older state, by somebody who has waited for a lease's time before.
    pub(super) fn restore(&mut self) {
        let Some((etcd, wanted)) = self.snapshot.take() else { return };
        let epoch = self.wanted.as_ref().map_or(0, |wanted| wanted.epoch);
        let knows = |node: &&Node| node.machine.is_some() && node.closed && node.epoch >= epoch;
        self.aware = Some(self.nodes.iter().filter(knows).map(|node| node.process.clone()).collect());
        self.etcd.put_back(etcd);
        self.etcd.restart(self.now);
        (self.wanted, self.down_since, self.draining_since) = (wanted, None, None);
        for at in 0..self.nodes.len() {
            self.nodes[at].watched = false;
            let delay = self.between(1, 1000);
            self.after(delay, at, Event::Input(Input::WatchLost));
        }
    }

    pub(super) fn crash(&mut self, at: usize) {
        let open: Vec<u64> = {
            let node = &mut self.nodes[at];
            node.machine = None;
            let mut gone = node.roll_back();
            gone.append(&mut node.pool);
            gone
        };
        // What is on its way is not held back by the end of its client.
        open.iter().for_each(|connection| _ = self.connections.remove(connection));
        if self.one_in(2) {
            self.lives += 1;
            self.nodes[at].id = format!("n{at}-{}", self.lives);
        }
    }

    pub(super) fn come_back(&mut self, at: usize) {
        if self.nodes[at].machine.is_none() {
            self.start(at);
        }
    }
}
