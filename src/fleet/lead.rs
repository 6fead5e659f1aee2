//! The one who leads: what a flip still waits for, and how it ends.

use std::collections::BTreeMap;
use std::time::Duration;

use super::machine::Machine;
use super::records::{Before, Desired, Ended, Finding, How, Member, Place};
use super::steps::{Action, Errand, Fault};
use crate::gate::OnTimeout;

/// What only the one who leads keeps.
#[derive(Debug, Default)]
pub(super) struct Lead {
    /// Since when a flip is led.
    since: BTreeMap<(Place, u64), Duration>,
    /// Lives of members whose connections are ended in a cluster, with the revision of what was known of them.
    pub(super) fenced: BTreeMap<(String, String, String), i64>,
    /// What the primary has told behind all acknowledgements.
    pub(super) read: BTreeMap<(Place, u64), Finding>,
    /// When the next flip is given up.
    gives_up: Option<Duration>,
    /// Planted: members that were there when this one began to lead.
    first_members: Option<Vec<String>>,
}

impl Lead {
    pub(super) fn wakes(&self) -> Option<Duration> {
        self.gives_up
    }
}

/// Where a flip is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// These members have not acknowledged.
    Draining(Vec<String>),
    /// Connections of these are not ended.
    Fencing(Vec<(String, String)>),
    /// The LSN is to be read.
    Reading,
    /// The result is to be written.
    Writing(Finding),
}

impl Machine {
    pub(super) fn lead_on(&mut self, actions: &mut Vec<Action>) {
        if self.lead.first_members.is_none() {
            self.lead.first_members = Some(self.view.members.keys().cloned().collect());
        }
        self.fence(actions);
        let draining = self.view.desired.values().filter(|(_, desired)| desired.is_draining());
        let draining: Vec<(i64, Desired)> = draining.cloned().collect();
        let is_led = |(place, epoch): &(Place, u64)| {
            draining.iter().any(|(_, desired)| desired.place == *place && desired.epoch == *epoch)
        };
        self.lead.since.retain(|flip, _| is_led(flip));
        self.lead.read.retain(|flip, _| is_led(flip));
        self.lead.gives_up = None;
        for (revision, desired) in draining {
            self.lead_one(revision, &desired, actions);
        }
    }

    fn lead_one(&mut self, revision: i64, desired: &Desired, actions: &mut Vec<Action>) {
        let flip = (desired.place.clone(), desired.epoch);
        let since = *self.lead.since.entry(flip).or_insert(self.now);
        let revision = if self.has(Fault::CommitsWithoutComparing) { -1 } else { revision };
        let gives_up = since + self.longest(desired);
        if self.now >= gives_up && !self.has(Fault::NeverGivesUp) {
            let waited = self.now.saturating_sub(since);
            let back = self.given_up(desired, waited);
            if self.begin(Errand::Commit(desired.place.clone())) {
                actions.push(Action::Commit(revision, Box::new(back)));
            }
            return;
        }
        self.lead.gives_up = Some(self.lead.gives_up.map_or(gives_up, |known| known.min(gives_up)));
        match self.step(desired) {
            Step::Draining(_) | Step::Fencing(_) => {
                // What was read before somebody came back does not count.
                if !self.has(Fault::ReadsTheLsnFirst) {
                    self.lead.read.remove(&(desired.place.clone(), desired.epoch));
                } else if self.begin(Errand::Lsn(desired.place.clone())) {
                    actions.push(Action::ReadLsn(desired.place.clone(), desired.epoch));
                }
            }
            Step::Reading => {
                if self.begin(Errand::Lsn(desired.place.clone())) {
                    actions.push(Action::ReadLsn(desired.place.clone(), desired.epoch));
                }
            }
            Step::Writing(found) => {
                if self.begin(Errand::Commit(desired.place.clone())) {
                    let done = Desired {
                        quiesced: Some(found.quiesced),
                        foreign_writers: found.foreign_writers,
                        warning: found.warning,
                        before: None,
                        ..desired.clone()
                    };
                    actions.push(Action::Commit(revision, Box::new(done)));
                }
            }
        }
    }

    /// What a flip waits for.
    pub(super) fn step(&self, desired: &Desired) -> Step {
        let counts = |member: &&Member| {
            let first = self.lead.first_members.as_ref();
            !self.has(Fault::CountsOldMembersOnly) || first.is_none_or(|known| known.contains(&member.id))
        };
        let members = self.view.members.values().filter(counts);
        let silent: Vec<String> =
            members.filter(|member| !self.has_passed(desired, member)).map(|member| member.id.clone()).collect();
        if !silent.is_empty() {
            return Step::Draining(silent);
        }
        let left: Vec<_> = self
            .view
            .unfenced()
            .filter(|((id, process), (revision, _))| {
                let key = (id.clone(), process.clone(), desired.place.cluster.clone());
                !self.is_fenced(&key, *revision) && !self.has(Fault::DoesNotFence)
            })
            .map(|(key, _)| key.clone())
            .collect();
        if !left.is_empty() {
            return Step::Fencing(left);
        }
        match self.lead.read.get(&(desired.place.clone(), desired.epoch)) {
            Some(read) => Step::Writing(read.clone()),
            None => Step::Reading,
        }
    }

    /// Whether what was known of a life's connections at that revision is ended in a cluster.
    fn is_fenced(&self, key: &(String, String, String), revision: i64) -> bool {
        let late = self.has(Fault::ForgetsFencesLate);
        self.lead.fenced.get(key).is_some_and(|known| *known == revision || late)
    }

    fn has_passed(&self, desired: &Desired, member: &Member) -> bool {
        if self.has(Fault::AcceptsAcksOfOtherEpochs) {
            let ack = self.view.acks.get(&(desired.place.clone(), member.id.clone()));
            return ack.is_some_and(|ack| ack.passed);
        }
        self.view.ack(&desired.place, desired.epoch, member).is_some_and(|ack| ack.passed)
    }

    /// How long a flip may take.
    fn longest(&self, desired: &Desired) -> Duration {
        let Some(terms) = desired.switches.in_force() else { return Duration::ZERO };
        let grace = match terms.on_timeout {
            OnTimeout::Cancel => self.timing.cancel_grace,
            OnTimeout::Revert => Duration::ZERO,
        };
        // Who was killed is waited for until its lease has ended, and then for the end of what it had open.
        terms.drain_timeout + grace
    }

    /// What holds again behind a flip that was given up.
    fn given_up(&self, desired: &Desired, waited: Duration) -> Desired {
        let waiting = match self.step(desired) {
            Step::Draining(silent) => silent
                .into_iter()
                .map(|id| {
                    let ack = self.view.acks.get(&(desired.place.clone(), id.clone()));
                    match ack.filter(|ack| ack.epoch == desired.epoch).and_then(|ack| ack.waits_for.clone()) {
                        Some(text) => format!("member \"{id}\": {text}"),
                        None => format!("member \"{id}\""),
                    }
                })
                .collect(),
            Step::Fencing(left) => left
                .into_iter()
                .map(|(id, _)| format!("connections that member \"{id}\" has left on the primary"))
                .collect(),
            Step::Reading | Step::Writing(_) => vec!["the primary".to_owned()],
        };
        let before = desired.before.clone().unwrap_or_else(|| Before {
            // Nobody knows: it stays closed.
            switches: desired.switches.clone(),
            quiesced: None,
        });
        let opens = self.has(Fault::OpensWhenItGivesUp);
        Desired {
            epoch: desired.epoch + 1,
            switches: if opens { crate::gate::Switches::default() } else { before.switches },
            quiesced: if opens { None } else { before.quiesced },
            before: None,
            ended: Some(Ended {
                epoch: desired.epoch,
                verb: desired.verb,
                how: How::TimedOut { waited_ms: u64::try_from(waited.as_millis()).unwrap_or(u64::MAX), waiting },
            }),
            ..desired.clone()
        }
    }

    /// Has the connections ended of members that have gone, and forgets them.
    fn fence(&mut self, actions: &mut Vec<Action>) {
        let left: Vec<_> = self.view.unfenced().map(|(key, (revision, _))| (key.clone(), *revision)).collect();
        for ((id, process), revision) in left {
            // Where no cluster is known yet nothing is ended.
            let mut done = !self.clusters.is_empty();
            let unfenced = self.has(Fault::ForgetsBeforeItHasFenced);
            for cluster in self.clusters.iter().filter(|_| !unfenced).cloned().collect::<Vec<_>>() {
                let key = (id.clone(), process.clone(), cluster.clone());
                if self.is_fenced(&key, revision) {
                    continue;
                }
                done = false;
                if self.begin(Errand::Fence(id.clone(), process.clone(), cluster.clone())) {
                    actions.push(Action::Fence { id: id.clone(), process: process.clone(), cluster, revision });
                }
            }
            if done && self.begin(Errand::Forget(id.clone(), process.clone())) {
                actions.push(Action::Forget { id, process, revision });
            }
        }
    }
}
