//! What a fleet wants of a gate: put in force here, drained here, and over when every member has come to its end.
//!
//! The fleet decides what becomes of a drain that takes too long, so a gate that follows never goes back by itself. What a person has
//! closed for this proxy alone (`WITH (local)`) stays closed until the fleet is given another command.

use super::execute::{self, Start};
use super::plan::Plan;
use super::progress::Verb;
use crate::events::{Event, Kind, publish};
use crate::gate::automatic::Automatic;
use crate::gate::database::{Claim, Gate, Move};
use crate::gate::detail::{Counters, Quiesced, Switches, Who};
use crate::gate::environment::{Job, Spare};
use crate::gate::gates::{Gates, World};
use crate::gate::server_database::ServerDatabase;
use crate::gate::state::mode::{Epoch, Mode};
use crate::gate::store::state_file::Record;
use jiff::Timestamp;
use std::sync::Arc;
use std::sync::atomic::Ordering::Release;
use tokio::time::Instant;

/// What a fleet wants of one database.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// Which.
    pub place: ServerDatabase,
    /// The fleet's epoch.
    pub epoch: u64,
    /// The two switches.
    pub switches: Switches,
    /// Since when.
    pub since: Timestamp,
    /// Set if every member has come to its end already.
    pub quiesced: Option<Quiesced>,
    /// The command.
    pub verb: Verb,
    /// Who has given it.
    pub who: Who,
}

/// What a drain has met here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// When it was over here, and the primary's LSN then.
    pub quiesced: Option<Quiesced>,
    /// Transactions that ended by themselves.
    pub finished: u64,
    /// Those made read-only.
    pub fenced: u64,
    /// Those cancelled.
    pub cancelled: u64,
    /// How long it took.
    pub waited_ms: u64,
}

/// The fleet as a transition sees it.
pub trait Fleet: Send + Sync + std::fmt::Debug {
    /// The mode of that epoch is in force here.
    fn applied(&self, place: &ServerDatabase, epoch: u64);

    /// What the drain waits for.
    fn waits_for(&self, place: &ServerDatabase, epoch: u64, text: String);

    /// The drain is over here. Ends when it is over everywhere, with what holds for all.
    fn drained<'a>(&'a self, place: &'a ServerDatabase, epoch: u64, drained: Drained) -> Job<'a, Option<Quiesced>>;
}

impl Gates {
    /// From now on modes come from a fleet.
    pub fn join_fleet(&self) {
        self.world().in_fleet.store(true, Release);
    }

    /// Every gate there is.
    pub fn all(&self) -> Vec<Arc<Gate>> {
        self.world().map().gates.values().cloned().collect()
    }

    /// The gate that a person means by a name, closed ones without a name among them.
    pub fn meant(&self, name: &str) -> Option<Arc<Gate>> {
        self.world().map().meant(name)
    }

    /// What is known of a database here: for a fleet that knows nothing of it yet.
    pub(crate) fn record(&self, place: &ServerDatabase) -> Record {
        let world = self.world();
        let map = world.map();
        if place.cluster.is_empty() && place.dbname == "*" {
            return map.all.clone();
        }
        match map.gates.get(place) {
            Some(gate) => gate.desk().record.clone(),
            None => map.all.clone(),
        }
    }

    /// Whether a command for this proxy alone has led to what holds there.
    pub fn is_apart(&self, gate: &Gate) -> bool {
        gate.desk().record.apart
    }

    /// Whether a person has opened it for this proxy alone.
    pub fn is_opened_apart(&self, gate: &Gate) -> bool {
        let desk = gate.desk();
        desk.record.apart && desk.record.switches.mode() == Mode::ReadWrite
    }

    /// Set while the fleet cannot be reached, for gates that come into being then; None: it can.
    pub fn set_fleet_lost(&self, found: Option<Automatic>) {
        self.world().fleet_lost.store(found.map(Arc::new));
    }

    /// See [`Gates::set_fleet_lost`].
    pub fn fleet_lost(&self) -> Option<Automatic> {
        self.world().fleet_lost.load().as_deref().cloned()
    }

    /// Breaks off what is being written there, and leaves alone what has only read. Whether nothing is open that may write.
    pub async fn stop_writing(&self, gate: &Arc<Gate>, spare: Spare) -> bool {
        let (world, name) = (self.world(), gate.name());
        // Counted first: what ends meanwhile is then one that is waited for once more.
        let open = gate.in_flight();
        let only_reads = world.field.stop_writing(&name, spare);
        let only_reads = tokio::time::timeout(world.limits.field_timeout, only_reads).await.unwrap_or(0);
        open <= only_reads
    }

    /// Calls off what goes on there, if anything does.
    pub fn call_off(&self, place: &ServerDatabase, who: &Who) {
        let gate = self.world().map().gates.get(place).cloned();
        if let Some(other) = gate.and_then(|gate| gate.desk().under_way.clone()) {
            other.called_off.send_replace(Some(who.clone()));
        }
    }

    /// Why what is promised of a closed gate cannot be kept there.
    pub async fn unguaranteed(&self, name: &str) -> Vec<String> {
        let world = self.world();
        let asked = world.field.unguaranteed(name);
        tokio::time::timeout(world.limits.field_timeout, asked).await.unwrap_or_default()
    }

    /// Asks the primary of that database for its LSN and for who else writes.
    ///
    /// # Errors
    /// Why it could not be asked.
    pub async fn settle(&self, place: &ServerDatabase) -> Result<crate::gate::Settled, String> {
        let world = self.world();
        let gate = world.map().gates.get(place).cloned().ok_or("the database is not known here")?;
        let name = gate.name();
        let asked = tokio::time::timeout(world.limits.field_timeout, world.field.settle(&name)).await;
        asked.unwrap_or_else(|_| Err("it did not answer in time".into()))
    }

    /// Puts in force what a fleet wants. Ends when the drain is over, here and everywhere, or something else is wanted: then it is
    /// called again meanwhile, and calls this one off.
    pub async fn follow(&self, wanted: Wanted, fleet: Arc<dyn Fleet>) {
        let world = self.world();
        if wanted.place.cluster.is_empty() && wanted.place.dbname == "*" {
            follow_all(world, &wanted).await;
            fleet.applied(&wanted.place, wanted.epoch);
            return;
        }
        let closes = wanted.switches.mode() != Mode::ReadWrite;
        let Some(gate) = world.gate_at(&wanted.place, closes) else {
            fleet.applied(&wanted.place, wanted.epoch);
            return;
        };
        let mut claim = claim(&gate, &wanted, world.now()).await;
        let before = gate.desk().record.clone();
        let mut after = after(&before, &wanted);
        let records = vec![(gate.clone(), after.clone())];
        if let Ok(Some(why)) = world.save_all(None, records, true).await {
            let text = format!("{} is not saved: {why}", wanted.verb);
            publish!(world.events, error, Event::new(Kind::NotSaved, text).about_all(gate.names()));
        }
        gate.note_came_closed(false);
        let drains = closes && after.quiesced.is_none();
        if drains && gate.name_count() == 0 && gate.in_flight() == 0 {
            // No name leads to it, so that nothing can be open.
            gate.publish(&mut after, Counters::default());
            fleet.applied(&wanted.place, wanted.epoch);
            let drained = Drained { quiesced: None, finished: 0, fenced: 0, cancelled: 0, waited_ms: 0 };
            let mut called_off = claim.mv.called_off.subscribe();
            tokio::select! {
                quiesced = fleet.drained(&wanted.place, wanted.epoch, drained) => after.quiesced = quiesced,
                _ = called_off.wait_for(Option::is_some) => return,
            }
            let _ = world.save_all(None, vec![(gate.clone(), after.clone())], true).await;
            gate.publish(&mut after, Counters::default());
            return;
        }
        claim.counters = Counters::default();
        // Before this proxy is a member of the fleet nothing is served, and nobody is asked ahead of the flip.
        let alone = world.fleet_lost.load().is_none();
        let start = Start { at: Instant::now(), alone, unsaved: None, fleet: Some((wanted.epoch, fleet)) };
        let plan = Plan { after, changed: true, drive: drains };
        execute::drive(world.clone(), plan, None, claim, start).await;
    }
}

/// What holds for databases that come into being later.
async fn follow_all(world: &Arc<World>, wanted: &Wanted) {
    let before = world.map().all.clone();
    let after = after(&before, wanted);
    let _ = world.save_all(Some(after.clone()), Vec::new(), true).await;
    world.map().all = after;
}

/// The record that a fleet's wish makes of the one that is there.
fn after(before: &Record, wanted: &Wanted) -> Record {
    let (mode, known) = (wanted.switches.mode(), before.switches.mode());
    let opens = known != Mode::ReadWrite && mode == Mode::ReadWrite;
    let by_hand = before.apart && before.followed.is_none_or(|followed| wanted.epoch <= followed);
    // A fleet that has forgotten it: etcd was put back to an older state while this proxy was down.
    let is_forgotten = before.followed.is_some_and(|followed| wanted.epoch < followed);
    if opens && (by_hand || is_forgotten) {
        return Record { followed: Some(wanted.epoch), apart: true, ..before.clone() };
    }
    let least = if mode == known { before.epoch } else { before.epoch.next() };
    Record {
        epoch: Epoch(wanted.epoch).max(least),
        since: wanted.since,
        switches: wanted.switches.clone(),
        quiesced: wanted.quiesced,
        followed: Some(wanted.epoch),
        apart: false,
    }
}

/// Becomes the one that may change the gate: whatever goes on there is called off.
async fn claim(gate: &Arc<Gate>, wanted: &Wanted, now: Timestamp) -> Claim {
    let mv = Move::new(wanted.verb, wanted.who.clone(), now, None);
    loop {
        match gate.claim(&mv) {
            Ok(claim) => return claim,
            Err(other) => {
                other.called_off.send_replace(Some(wanted.who.clone()));
                let _ = other.report.subscribe().wait_for(|report| report.done.is_some()).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::detail::Cause;
    use crate::gate::detail::tests::terms;

    fn wanted(epoch: u64, closed: bool) -> Wanted {
        let switches = Switches { maintenance: closed.then(|| terms(Cause::Command)), offline: None };
        let (place, who) = (ServerDatabase::named("app"), Who::proxy());
        Wanted { place, epoch, switches, since: Timestamp::UNIX_EPOCH, quiesced: None, verb: Verb::On, who }
    }

    #[test]
    fn what_is_closed_for_one_proxy_alone_is_opened_by_the_next_command_for_all_and_by_nothing_before() {
        let fresh = Record::fresh(Timestamp::UNIX_EPOCH);
        let open = after(&fresh, &wanted(4, false));
        let closed_apart = Record { switches: wanted(0, true).switches, apart: true, ..open.clone() };
        assert_eq!(after(&closed_apart, &wanted(4, false)).switches.mode(), closed_apart.switches.mode());
        assert_eq!(after(&closed_apart, &wanted(5, false)).switches.mode(), Mode::ReadWrite);
        // Of a proxy that has never heard of the fleet.
        let closed_before = Record { followed: None, ..closed_apart };
        let kept = after(&closed_before, &wanted(7, false));
        assert_ne!(kept.switches.mode(), Mode::ReadWrite);
        assert_eq!(after(&kept, &wanted(8, false)).switches.mode(), Mode::ReadWrite);
    }

    #[test]
    fn what_a_fleet_has_closed_is_not_opened_by_one_that_has_forgotten_it() {
        let closed = after(&Record::fresh(Timestamp::UNIX_EPOCH), &wanted(4, true));
        let kept = after(&closed, &wanted(3, false));
        assert_eq!((kept.switches.mode(), kept.apart), (closed.switches.mode(), true));
        // It says the same again, and then somebody gives a command.
        assert_eq!(after(&kept, &wanted(3, false)).switches.mode(), closed.switches.mode());
        assert_eq!(after(&kept, &wanted(4, false)).switches.mode(), Mode::ReadWrite);
    }

    #[test]
    fn what_is_opened_for_one_proxy_alone_is_closed_again() {
        let closed = after(&Record::fresh(Timestamp::UNIX_EPOCH), &wanted(4, true));
        let opened_apart = Record { switches: Switches::default(), apart: true, ..closed };
        assert_ne!(after(&opened_apart, &wanted(4, true)).switches.mode(), Mode::ReadWrite);
    }

    #[test]
    fn each_mode_has_an_epoch_of_its_own_here_though_that_of_the_fleet_is_smaller() {
        let here = Record { epoch: Epoch(9), ..Record::fresh(Timestamp::UNIX_EPOCH) };
        let closed = after(&here, &wanted(4, true));
        assert_eq!(closed.epoch, Epoch(10));
        assert_eq!(after(&closed, &wanted(4, true)).epoch, Epoch(10));
    }
}
