//! One member: its lease, what it has put in force, and what it acknowledges.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::keys::Keys;
use super::lead::Lead;
use super::records::{Ack, Desired, Place};
use super::steps::{Action, Errand, Fault, Input, Renewal};
use super::view::{Change, View};
use crate::gate::Mode;

/// How long things take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// The lease lasts that long from when etcd renews it.
    pub ttl: Duration,
    /// It is renewed that often.
    pub renew_every: Duration,
    /// Nothing is written that long behind the moment when the last renewal that was answered was *sent*: earlier than the lease can
    /// end, by a clock that is three tenths too slow.
    pub stop_after: Duration,
    /// What may write, and is not known to have written, may end by itself for that long from then on.
    pub calls: Duration,
    /// Before something that has failed is tried again.
    pub retry: Duration,
    /// After that long an errand counts as failed.
    pub patience: Duration,
    /// All is read again, whatever the stream of changes says.
    pub read_every: Duration,
    /// How long cancelled transactions may take to roll back.
    pub cancel_grace: Duration,
    /// A drain that is over within this is told of once, by its end.
    pub told_after: Duration,
    /// What a drain waits for is told that often at most.
    pub told_every: Duration,
}

impl Timing {
    /// Those that go with a lease of that length.
    pub fn of(ttl: Duration) -> Self {
        Self {
            ttl,
            renew_every: ttl / 5,
            stop_after: ttl * 7 / 10,
            calls: ttl / 10,
            retry: ttl / 25,
            patience: ttl,
            read_every: ttl * 2,
            cancel_grace: Duration::from_secs(10),
            told_after: Duration::from_millis(50),
            told_every: Duration::from_millis(500),
        }
    }
}

/// What was last put in force of a database.
#[derive(Debug, Clone)]
struct Followed {
    desired: Desired,
    since: Duration,
    applied: bool,
    drained: Option<Ack>,
    passed: bool,
    waits_for: Option<String>,
}

impl Followed {
    fn new(desired: &Desired, now: Duration) -> Self {
        Self {
            desired: desired.clone(),
            since: now,
            applied: false,
            drained: None,
            passed: !desired.is_draining(),
            waits_for: None,
        }
    }
}

/// What was last sent to etcd of a database.
#[derive(Debug, Clone)]
struct Said {
    ack: Ack,
    at: Duration,
    /// Etcd has answered, or nobody waits for that any more.
    is_over: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// Without a lease.
    Out,
    /// With a lease, and not registered yet.
    Registering(i64),
    /// Registered; what lies in etcd is being read.
    Reading(i64),
    /// Those modes have to be in force before anything is written.
    Following(i64, BTreeMap<Place, u64>),
    /// A member.
    In(i64),
}

/// See the module.
#[derive(Debug)]
pub struct Machine {
    pub(super) id: String,
    process: String,
    pub(super) timing: Timing,
    keys: Keys,
    pub(super) now: Duration,
    standing: Standing,
    /// Nothing may be written from then on.
    until: Option<Duration>,
    renewed: Duration,
    read: Duration,
    is_allowed: bool,
    /// Nothing that began to write before the fleet was lost is under way.
    is_quiet: bool,
    pub(super) view: View,
    followed: BTreeMap<Place, Followed>,
    /// The last that was followed, also before the lease was lost: etcd may have been put back to an older state meanwhile.
    newest: BTreeMap<Place, Desired>,
    said: BTreeMap<Place, Said>,
    /// When something is to be said that nobody is in a hurry for.
    says: Option<Duration>,
    pub(super) clusters: BTreeSet<String>,
    pub(super) lead: Lead,
    busy: BTreeMap<Errand, Duration>,
    pub(super) fault: Option<Fault>,
}

impl Machine {
    /// A member that knows nothing yet and may not write.
    pub fn new(id: &str, process: &str, keys: Keys, timing: Timing) -> Self {
        Self {
            id: id.to_owned(),
            process: process.to_owned(),
            timing,
            keys,
            now: Duration::ZERO,
            standing: Standing::Out,
            until: None,
            renewed: Duration::ZERO,
            read: Duration::ZERO,
            is_allowed: false,
            is_quiet: true,
            view: View::default(),
            followed: BTreeMap::new(),
            newest: BTreeMap::new(),
            said: BTreeMap::new(),
            says: None,
            clusters: BTreeSet::new(),
            lead: Lead::default(),
            busy: BTreeMap::new(),
            fault: None,
        }
    }

    /// The same with an error planted.
    #[cfg(test)]
    pub(super) fn with(mut self, fault: Option<Fault>) -> Self {
        self.fault = fault;
        self
    }

    /// For the reader of a schedule that failed.
    #[cfg(test)]
    pub(super) fn described(&self) -> String {
        let followed =
            self.followed.values().map(|one| (one.desired.epoch, one.applied, one.drained.is_some(), one.passed));
        let followed: Vec<_> = followed.collect();
        let epochs: Vec<_> = self.view.desired.values().map(|(_, desired)| desired.epoch).collect();
        format!(
            "{:?} quiet {} followed {followed:?} sees {epochs:?} busy {:?}",
            self.standing, self.is_quiet, self.busy
        )
    }

    /// Whether that error is planted; never outside of tests.
    pub(super) fn has(&self, fault: Fault) -> bool {
        cfg!(test) && self.fault == Some(fault)
    }

    /// What it knows of etcd.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Whether it is a member, and may write where modes allow it.
    pub fn is_allowed(&self) -> bool {
        self.is_allowed
    }

    /// The lease that it has.
    pub fn lease(&self) -> Option<i64> {
        match self.standing {
            Standing::Out | Standing::Registering(_) => None,
            Standing::Reading(lease) | Standing::Following(lease, _) | Standing::In(lease) => Some(lease),
        }
    }

    /// Whether it leads, as far as it knows.
    pub fn leads(&self) -> bool {
        self.lease().is_some() && self.view.leader.as_ref().is_some_and(|(id, _)| *id == self.id)
    }

    /// When it has something to do though nothing happens.
    pub fn wakes(&self) -> Duration {
        let busy = self.busy.values().copied();
        let renew = self.lease().map(|_| self.renewed + self.timing.renew_every);
        let next = busy
            .chain(renew)
            .chain(self.until)
            .chain(self.says)
            .chain(self.lead.wakes())
            .filter(|at| *at > self.now)
            .min();
        next.unwrap_or(self.now + self.timing.retry).min(self.now + self.timing.renew_every)
    }

    /// Takes what has happened at that time, and gives what is to be done.
    pub fn handle(&mut self, now: Duration, input: Input) -> Vec<Action> {
        self.now = self.now.max(now);
        let mut actions = Vec::new();
        // A process that was stopped finds out before it does anything else.
        self.stop_in_time(&mut actions);
        self.take(input, &mut actions);
        self.stop_in_time(&mut actions);
        self.join(&mut actions);
        self.renew(&mut actions);
        self.follow(&mut actions);
        self.acknowledge(&mut actions);
        if self.leads() {
            self.lead_on(&mut actions);
        } else {
            self.lead = Lead::default();
            self.campaign(&mut actions);
        }
        actions
    }

    /// Begins an errand, unless it goes on.
    pub(super) fn begin(&mut self, errand: Errand) -> bool {
        if self.busy.get(&errand).is_some_and(|until| *until > self.now) {
            return false;
        }
        self.busy.insert(errand, self.now + self.timing.patience);
        true
    }

    /// An errand is over; one that has failed is not begun again at once.
    pub(super) fn end(&mut self, errand: Errand, well: bool) {
        if well {
            self.busy.remove(&errand);
        } else {
            self.busy.insert(errand, self.now + self.timing.retry);
        }
    }

    fn take(&mut self, input: Input, actions: &mut Vec<Action>) {
        match input {
            Input::Tick => {}
            Input::Clusters(clusters) => self.clusters = clusters.into_iter().collect(),
            Input::Granted { sent, lease } => self.granted(sent, lease, actions),
            Input::Registered(well) => self.registered(well),
            Input::Read(changes) => self.has_read(changes),
            Input::Changed(changes) => changes.iter().for_each(|change| self.view.apply(&self.keys, change)),
            Input::WatchLost => {
                self.read = Duration::ZERO;
                self.end(Errand::Read, false);
            }
            Input::Renewed { sent, how } => self.has_renewed(sent, how, actions),
            Input::Quiet => self.is_quiet = true,
            Input::Applied(place, epoch) => {
                self.with_followed(&place, epoch, |followed| followed.applied = true);
                self.has_followed(&place, epoch);
            }
            Input::Drained(place, epoch, ack) => {
                self.with_followed(&place, epoch, |followed| followed.drained = Some(*ack));
            }
            Input::WaitsFor(place, epoch, text) => {
                self.with_followed(&place, epoch, |followed| followed.waits_for = Some(text));
            }
            Input::Done(errand) => {
                if let Errand::Ack(place) = &errand
                    && let Some(said) = self.said.get_mut(place)
                {
                    said.is_over = true;
                }
                self.end(errand, false);
            }
            Input::Fenced { id, process, cluster, revision, done } => {
                let done = done || self.has(Fault::TakesAFailedFenceForDone);
                self.end(Errand::Fence(id.clone(), process.clone(), cluster.clone()), done);
                if done {
                    self.lead.fenced.insert((id, process, cluster), revision);
                }
            }
            Input::LsnRead(place, epoch, read) => {
                self.end(Errand::Lsn(place.clone()), false);
                self.lead.read.extend(read.map(|read| ((place, epoch), *read)));
            }
        }
    }

    fn with_followed(&mut self, place: &Place, epoch: u64, change: impl FnOnce(&mut Followed)) {
        if let Some(followed) = self.followed.get_mut(place).filter(|known| known.desired.epoch == epoch) {
            change(followed);
        }
    }

    fn stop_in_time(&mut self, actions: &mut Vec<Action>) {
        if self.until.is_some_and(|until| self.now >= until) && !self.has(Fault::NeverStops) {
            self.lose(actions);
        }
    }

    /// From now on nothing is written, and another lease is asked for.
    fn lose(&mut self, actions: &mut Vec<Action>) {
        self.standing = Standing::Out;
        let until = self.until.take();
        self.busy.remove(&Errand::Join);
        self.busy.remove(&Errand::Renew);
        if std::mem::take(&mut self.is_allowed) {
            self.is_quiet = false;
            let calls_until = until.map_or(Duration::ZERO, |until| until + self.timing.calls);
            actions.push(Action::Forbid { calls_until });
        }
    }

    fn join(&mut self, actions: &mut Vec<Action>) {
        match self.standing {
            Standing::Out => {
                if self.begin(Errand::Join) {
                    actions.push(Action::Grant);
                }
            }
            Standing::Registering(lease) => {
                if self.begin(Errand::Join) {
                    actions.push(Action::Register(lease));
                }
            }
            Standing::Reading(_) | Standing::Following(..) | Standing::In(_) => {
                let due = self.read.is_zero() || self.now >= self.read + self.timing.read_every;
                if due && self.begin(Errand::Read) {
                    actions.push(Action::Read);
                }
            }
        }
        if let Standing::Following(lease, waits_for) = &self.standing
            && (waits_for.is_empty() || self.has(Fault::AllowsBeforeItFollows))
            && (self.is_quiet || self.has(Fault::ComesBackWithOldTransactions))
        {
            self.standing = Standing::In(*lease);
            self.is_allowed = true;
            actions.extend(self.until.map(Action::Extend));
            actions.push(Action::Allow);
        }
    }

    fn granted(&mut self, sent: Duration, lease: Option<i64>, actions: &mut Vec<Action>) {
        let awaited = self.standing == Standing::Out;
        self.end(Errand::Join, lease.is_some());
        if let Some(lease) = lease.filter(|_| awaited) {
            self.standing = Standing::Registering(lease);
            self.renewed = sent;
            self.extend(sent, actions);
        }
    }

    fn extend(&mut self, sent: Duration, actions: &mut Vec<Action>) {
        let from = if self.has(Fault::CountsTheLeaseFromTheAnswer) { self.now } else { sent };
        let behind = self.has(Fault::StopsBehindTheLease);
        let until = from + if behind { self.timing.ttl * 11 / 10 } else { self.timing.stop_after };
        self.until = Some(self.until.map_or(until, |known| known.max(until)));
        actions.extend(self.until.map(Action::Extend));
    }

    fn registered(&mut self, well: bool) {
        self.end(Errand::Join, well);
        if let (Standing::Registering(lease), true) = (&self.standing, well) {
            self.standing = Standing::Reading(*lease);
            // What was read before does not count: others may have flipped without us meanwhile.
            if !self.has(Fault::ReadsBeforeItRegisters) || self.view.desired.is_empty() {
                self.read = Duration::ZERO;
                self.busy.remove(&Errand::Read);
            } else {
                self.has_read_all();
            }
        }
    }

    fn has_read(&mut self, changes: Option<Vec<Change>>) {
        self.end(Errand::Read, changes.is_some());
        let Some(changes) = changes else { return };
        self.view = View::default();
        changes.iter().for_each(|change| self.view.apply(&self.keys, change));
        self.read = self.now;
        self.has_read_all();
    }

    fn has_read_all(&mut self) {
        if let Standing::Reading(lease) = self.standing {
            // All of it is put in force anew: a person may have given commands for this proxy alone meanwhile.
            self.followed.clear();
            let all = self.view.desired.values().map(|(_, desired)| desired);
            let closed = all.filter(|desired| desired.mode() != Mode::ReadWrite);
            let waits_for = closed.filter(|desired| !self.has_applied(desired));
            let waits_for = waits_for.map(|desired| (desired.place.clone(), desired.epoch)).collect();
            self.standing = Standing::Following(lease, waits_for);
        }
    }

    fn has_applied(&self, desired: &Desired) -> bool {
        self.followed.get(&desired.place).is_some_and(|known| known.applied && known.desired.epoch >= desired.epoch)
    }

    fn has_followed(&mut self, place: &Place, epoch: u64) {
        if let Standing::Following(_, waits_for) = &mut self.standing
            && waits_for.get(place).is_some_and(|wanted| *wanted <= epoch)
        {
            waits_for.remove(place);
        }
    }

    fn renew(&mut self, actions: &mut Vec<Action>) {
        let Some(lease) = self.lease() else { return };
        let due = self.now >= self.renewed + self.timing.renew_every;
        if due && self.begin(Errand::Renew) {
            self.renewed = self.now;
            actions.push(Action::Renew(lease));
        }
    }

    fn has_renewed(&mut self, sent: Duration, how: Renewal, actions: &mut Vec<Action>) {
        self.end(Errand::Renew, how == Renewal::Kept);
        match how {
            Renewal::Kept if self.lease().is_some() => self.extend(sent, actions),
            Renewal::Gone => {
                // There is no time left.
                self.until = None;
                self.lose(actions);
            }
            Renewal::Kept | Renewal::Unknown => {}
        }
    }

    /// Puts in force what is wanted and is news.
    fn follow(&mut self, actions: &mut Vec<Action>) {
        // Without a lease nobody knows how old the view is.
        if self.lease().is_none() || matches!(self.standing, Standing::Reading(_)) {
            return;
        }
        self.write_back(actions);
        for (_, desired) in self.view.desired.values() {
            let newest = self.newest.get(&desired.place);
            if newest.is_some_and(|newest| self.forgotten(newest).is_some()) {
                continue;
            }
            let known = self.followed.get(&desired.place);
            let same = known.filter(|known| known.desired.epoch == desired.epoch);
            if same.is_none_or(|known| desired.switches != known.desired.switches) {
                let same = same.filter(|known| known.desired.mode() == desired.mode()).cloned();
                let followed = match same {
                    Some(known) => Followed { desired: desired.clone(), ..known },
                    None => Followed::new(desired, self.now),
                };
                self.followed.insert(desired.place.clone(), followed);
                self.newest.insert(desired.place.clone(), desired.clone());
                actions.push(Action::Follow(Box::new(desired.clone())));
            }
            if let Some(known) = self.followed.get_mut(&desired.place)
                && let Some(quiesced) = desired.quiesced
                && known.desired.epoch == desired.epoch
                && !known.passed
            {
                known.passed = true;
                actions.push(Action::Passed(desired.place.clone(), desired.epoch, quiesced));
            }
        }
    }

    /// What is to be wanted where etcd, put back to an older state, has forgotten that a person has closed it: closed it stays, as
    /// another epoch. What that older state has closed is closed as well, so that nothing is opened by anything but a command.
    fn forgotten(&self, newest: &Desired) -> Option<Desired> {
        let opens = match self.view.desired.get(&newest.place) {
            Some((_, desired)) => desired.mode() == Mode::ReadWrite && desired.epoch <= newest.epoch,
            None => true,
        };
        if newest.mode() == Mode::ReadWrite || !opens || self.has(Fault::FollowsBackwards) {
            return None;
        }
        let quiesced = newest.quiesced.filter(|_| newest.is_for_all());
        Some(Desired { epoch: newest.epoch + 1, quiesced, before: None, ended: None, ..newest.clone() })
    }

    fn write_back(&mut self, actions: &mut Vec<Action>) {
        let forgotten: Vec<Desired> = self.newest.values().filter_map(|newest| self.forgotten(newest)).collect();
        for back in forgotten {
            let revision = self.view.desired.get(&back.place).map_or(0, |(revision, _)| *revision);
            if self.begin(Errand::WriteBack(back.place.clone())) {
                actions.push(Action::WriteBack(revision, Box::new(back)));
            }
        }
    }

    /// Says what is not said yet.
    fn acknowledge(&mut self, actions: &mut Vec<Action>) {
        let Some(lease) = self.lease() else { return };
        let mut wanted = Vec::new();
        self.says = None;
        for (place, followed) in &self.followed {
            let ack = self.ack_of(followed, lease);
            let known = self.view.acks.get(&(place.clone(), self.id.clone()));
            if known == Some(&ack) || !followed.applied {
                continue;
            }
            let said = self.said.get(place).filter(|said| said.is_over && said.ack != ack);
            // The end is told at once; what is waited for is for people.
            let due = match said.filter(|said| said.ack.epoch == ack.epoch && said.ack.lease == ack.lease) {
                _ if ack.passed => self.now,
                Some(said) => said.at + self.timing.told_every,
                None => followed.since + self.timing.told_after,
            };
            if due > self.now {
                self.says = Some(self.says.map_or(due, |known| known.min(due)));
            } else {
                wanted.push((place.clone(), ack, said.is_some()));
            }
        }
        for (place, ack, is_other) in wanted {
            if is_other {
                // Only the same thing has to wait until it is said again.
                self.busy.remove(&Errand::Ack(place.clone()));
            }
            if self.begin(Errand::Ack(place.clone())) {
                self.said.insert(place.clone(), Said { ack: ack.clone(), at: self.now, is_over: false });
                actions.push(Action::PutAck(place, Box::new(ack)));
            }
        }
    }

    fn ack_of(&self, followed: &Followed, lease: i64) -> Ack {
        let early = self.has(Fault::AcknowledgesBeforeTheDrain);
        // What was quiesced before this member followed it has nothing of its own to wait for.
        let nothing_to_drain = !followed.desired.is_draining();
        let passed = followed.applied && (followed.drained.is_some() || nothing_to_drain || early);
        Ack {
            epoch: followed.desired.epoch,
            process: self.process.clone(),
            lease,
            passed,
            waits_for: followed.waits_for.clone().filter(|_| !passed),
            ..followed.drained.clone().unwrap_or_default()
        }
    }

    fn campaign(&mut self, actions: &mut Vec<Action>) {
        let Standing::In(lease) = self.standing else { return };
        let nobody = self.view.leader.is_none() && !self.has(Fault::NobodyIsElectedAgain);
        let first = self.view.leader.is_none() && self.view.acks.is_empty();
        if (nobody || first) && self.begin(Errand::Campaign) {
            actions.push(Action::Campaign(lease));
        }
    }
}
