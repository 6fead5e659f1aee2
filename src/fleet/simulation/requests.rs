//! Requests to etcd, which may get lost on their way, as their answers may.

use std::time::Duration;

use jiff::Timestamp;

use super::world::{Event, World};
use crate::fleet::records::{Backends, Desired, Member};
use crate::fleet::view::Change;
use crate::fleet::{Errand, Fault, Input, Renewal};

/// A request to etcd.
#[derive(Debug, Clone)]
pub(super) enum Request {
    Grant(Duration),
    Register(i64),
    Read,
    Renew(Duration, i64),
    Put(Errand, String, Vec<u8>, i64),
    Campaign(i64),
    Forget(String, String, i64),
    Commit(i64, Box<Desired>),
    WriteBack(i64, Box<Desired>),
}

impl World {
    /// What etcd makes of a request. It may get lost on its way, and so may its answer.
    pub(super) fn answer(&mut self, at: usize, process: String, request: Request) {
        let lost = |world: &mut Self| {
            world.nodes[at].is_cut_off || world.down_since.is_some() || world.one_in(60) && !world.is_calm
        };
        let failed = match &request {
            Request::Grant(sent) => Input::Granted { sent: *sent, lease: None },
            Request::Register(_) => Input::Registered(false),
            Request::Read => Input::Read(None),
            Request::Renew(sent, _) => Input::Renewed { sent: *sent, how: Renewal::Unknown },
            Request::Put(errand, ..) => Input::Done(errand.clone()),
            Request::Campaign(_) => Input::Done(Errand::Campaign),
            Request::Forget(id, life, _) => Input::Done(Errand::Forget(id.clone(), life.clone())),
            Request::Commit(_, desired) => Input::Done(Errand::Commit(desired.place.clone())),
            Request::WriteBack(_, desired) => Input::Done(Errand::WriteBack(desired.place.clone())),
        };
        if lost(self) {
            return self.back(1000, at, process, Event::Input(failed));
        }
        let renews = matches!(request, Request::Renew(..));
        let answer = self.carry_out(at, &process, request, &failed);
        if renews && !self.is_calm && self.one_in(80) {
            // Stopped before the answer.
            let span = self.between(500, 3_400);
            self.freeze(at, span);
        }
        // Some are slow, but not so slow that nobody waits for them.
        let delay = if self.one_in(10) && !self.is_calm { self.between(200, 950) } else { self.between(1, 40) };
        if lost(self) {
            return self.back(1000, at, process, Event::Input(failed));
        }
        let due = if matches!(answer, Input::Read(_)) {
            // Changes come behind what was read.
            self.nodes[at].watch += 1;
            self.nodes[at].watched = true;
            self.nodes[at].last_delivery = self.now + delay;
            delay
        } else {
            delay
        };
        self.back(due, at, process, Event::Input(answer));
    }

    pub(super) fn carry_out(&mut self, at: usize, process: &str, request: Request, failed: &Input) -> Input {
        let leads = |world: &Self| world.etcd.value(&world.keys.leader()) == Some(world.nodes[at].id.as_bytes());
        match request {
            Request::Grant(sent) => Input::Granted { sent, lease: Some(self.etcd.grant(self.now)) },
            Request::Register(lease) => {
                if !self.etcd.has_lease(lease) {
                    return Input::Registered(false);
                }
                self.nodes[at].lease = lease;
                let id = self.nodes[at].id.clone();
                let key = self.keys.member(&id);
                let known = self.etcd.value(&key).and_then(|value| serde_json::from_slice::<Member>(value).ok());
                if known.is_some_and(|known| known.process != *process) {
                    return Input::Registered(false);
                }
                let member = Member {
                    id: id.clone(),
                    process: process.to_owned(),
                    lease,
                    since: Timestamp::UNIX_EPOCH,
                    address: String::new(),
                    version: String::new(),
                    databases: Vec::new(),
                    clients: 0,
                    apart: Vec::new(),
                    joined: Timestamp::UNIX_EPOCH,
                    hooks: Vec::new(),
                };
                let mut changes: Vec<Change> = Vec::new();
                if !self.has(Fault::RegistersWithoutItsConnections) {
                    let backends = serde_json::to_vec(&Backends::default()).unwrap_or_default();
                    changes.extend(self.etcd.put(&self.keys.backends(&id, process), backends, 0));
                }
                let member = serde_json::to_vec(&member).unwrap_or_default();
                changes.extend(self.etcd.put(&key, member, lease));
                self.tell(changes);
                Input::Registered(true)
            }
            Request::Read => Input::Read(Some(self.etcd.read())),
            Request::Renew(sent, lease) => {
                let kept = self.etcd.renew(self.now, lease);
                Input::Renewed { sent, how: if kept { Renewal::Kept } else { Renewal::Gone } }
            }
            Request::Put(_, key, value, lease) => {
                let change = self.etcd.put(&key, value, lease);
                self.tell(change.into_iter().collect());
                failed.clone()
            }
            Request::Campaign(lease) => {
                let key = self.keys.leader();
                if self.etcd.revision_of(&key) == 0 {
                    let change = self.etcd.put(&key, self.nodes[at].id.clone().into_bytes(), lease);
                    self.tell(change.into_iter().collect());
                }
                failed.clone()
            }
            Request::Forget(id, life, revision) => {
                let key = self.keys.backends(&id, &life);
                if self.etcd.revision_of(&key) == revision && leads(self) {
                    let change = self.etcd.delete(&key);
                    self.tell(vec![change]);
                }
                failed.clone()
            }
            Request::Commit(revision, desired) => {
                let same = self.etcd.revision_of(&self.keys.desired(&desired.place)) == revision;
                if (same || revision < 0) && leads(self) {
                    self.write(*desired, false);
                }
                failed.clone()
            }
            Request::WriteBack(revision, desired) => {
                if self.etcd.revision_of(&self.keys.desired(&desired.place)) == revision {
                    self.write(*desired, false);
                }
                failed.clone()
            }
        }
    }
}
