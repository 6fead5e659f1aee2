//! Giving a command: find the databases, claim their gates, plan, save, then let a task for each go to its end.
//!
//! Everything up to the claims happens in the call, all or nothing, so that a conflict changes nothing. Everything after is a
//! task that does not care whether the console is still there. All records of a command go to disk in one write, before the
//! first gate moves.

use super::follow::Fleet;
use super::options::{OnDefaults, OnOptions};
use super::plan::{Order, Plan, plan};
use super::progress::{Part, TransitionHandle, Verb, Wait};
use super::transition::{Transition, of_fleet};
use crate::events::{Event, Kind, publish};
use crate::gate::database::{Claim, Gate, Move};
use crate::gate::detail::{Counters, Who};
use crate::gate::error::GateError;
use crate::gate::gates::{Gates, World};
use crate::gate::state::mode::Mode;
use crate::gate::store::state_file::Record;
use std::sync::Arc;
use tokio::time::{Instant, timeout};

/// The databases of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// This one.
    One(String),
    /// `*`: every one, and every one that will be made on the fly or configured later.
    All,
}

impl Gates {
    /// MAINTENANCE ON. Errors here changed nothing: 3D000, 55006; later ones come with the outcome.
    pub fn maintenance_on(
        &self,
        target: Target,
        options: OnOptions,
        who: Who,
        wait: Wait,
    ) -> Result<TransitionHandle, GateError> {
        self.command(Verb::On, target, options, who, wait)
    }

    /// MAINTENANCE OFF; calls off a MAINTENANCE ON that still drains.
    pub fn maintenance_off(&self, target: Target, who: Who) -> Result<TransitionHandle, GateError> {
        self.open_again(Verb::Off, target, OnOptions::new(OnDefaults::default()), who)
    }

    /// MAINTENANCE OFF or ONLINE with its options.
    pub fn open_again(
        &self,
        verb: Verb,
        target: Target,
        options: OnOptions,
        who: Who,
    ) -> Result<TransitionHandle, GateError> {
        self.command(verb, target, options, who, Wait::Quiesced)
    }

    /// OFFLINE; the options are those of MAINTENANCE ON.
    pub fn offline(
        &self,
        target: Target,
        options: OnOptions,
        who: Who,
        wait: Wait,
    ) -> Result<TransitionHandle, GateError> {
        self.command(Verb::Offline, target, options, who, wait)
    }

    /// ONLINE; calls off an OFFLINE that still drains.
    pub fn online(&self, target: Target, who: Who) -> Result<TransitionHandle, GateError> {
        self.command(Verb::Online, target, OnOptions::new(OnDefaults::default()), who, Wait::Quiesced)
    }

    fn command(
        &self,
        verb: Verb,
        target: Target,
        options: OnOptions,
        who: Who,
        wait: Wait,
    ) -> Result<TransitionHandle, GateError> {
        let now = self.world().now();
        give(self.world(), target, Order { verb, options, who, now, only_expired: false }, wait)
    }
}

/// A gate that a command will change.
enum Seat {
    Claimed(Box<Claim>),
    /// The opposite command holds it and is called off first.
    CallsOff {
        gate: Arc<Gate>,
        other: Arc<Move>,
        mv: Arc<Move>,
    },
    /// The same command holds it: wait for that one.
    Joined,
}

fn take(gate: &Arc<Gate>, order: &Order) -> Result<(Seat, Part), GateError> {
    if order.verb.opposite().is_some() {
        gate.note_came_closed(false);
    }
    let mv = Move::new(order.verb, order.who.clone(), order.now, Some(order.options.clone()));
    match gate.claim(&mv) {
        Ok(claim) => Ok((Seat::Claimed(Box::new(claim)), mv.part(gate, false))),
        Err(other) if other.verb.opposite() == Some(order.verb) => {
            let part = mv.part(gate, false);
            Ok((Seat::CallsOff { gate: gate.clone(), other, mv }, part))
        }
        // Whoever lost the console gives the command again to wait for its end.
        Err(other)
            if other.verb == order.verb
                && (order.options.is_bare() || other.options.as_ref() == Some(&order.options)) =>
        {
            Ok((Seat::Joined, other.part(gate, true)))
        }
        Err(other) => Err(other.conflict(&gate.name())),
    }
}

/// The right to change `*`; given back when dropped.
struct ClaimAll {
    world: Arc<World>,
    mv: Arc<Move>,
}

impl ClaimAll {
    fn take(world: &Arc<World>, order: &Order) -> Result<ClaimAll, GateError> {
        let mv = Move::new(order.verb, order.who.clone(), order.now, None);
        let mut map = world.map();
        if let Some(other) = &map.all_under_way {
            return Err(other.conflict("*"));
        }
        map.all_under_way = Some(mv.clone());
        Ok(ClaimAll { world: world.clone(), mv })
    }
}

impl Drop for ClaimAll {
    fn drop(&mut self) {
        let mut map = self.world.map();
        if map.all_under_way.as_ref().is_some_and(|mv| Arc::ptr_eq(mv, &self.mv)) {
            map.all_under_way = None;
        }
    }
}

/// The gates that the order is about.
fn pick(world: &World, target: &Target, order: &Order) -> Result<Vec<Arc<Gate>>, GateError> {
    let map = world.map();
    let picked: Vec<_> = match target {
        Target::All => map.gates.values().cloned().collect(),
        Target::One(name) => {
            let gate = map.meant(name).ok_or_else(|| GateError::UnknownDatabase(name.clone()))?;
            let left = if order.verb.opposite().is_none() { map.left_by_names_of(&gate) } else { Vec::new() };
            std::iter::once(gate).chain(left).collect()
        }
    };
    // The clock must not even call off a drain that has time left.
    let due = |gate: &Arc<Gate>| !order.only_expired || plan(&gate.desk().record, order).changed;
    Ok(picked.into_iter().filter(due).collect())
}

pub(crate) fn give(
    world: &Arc<World>,
    target: Target,
    order: Order,
    wait: Wait,
) -> Result<TransitionHandle, GateError> {
    let all = if target == Target::All { Some(ClaimAll::take(world, &order)?) } else { None };
    let gates = pick(world, &target, &order)?;
    let mut seats = vec![];
    let mut parts = vec![];
    for gate in &gates {
        let (seat, part) = take(gate, &order)?;
        seats.push(seat);
        parts.push(part);
    }
    if let Target::One(name) = &target {
        parts.iter_mut().take(1).for_each(|part| part.keep_row_of(name));
    }
    let handle = TransitionHandle { parts, wait, who: order.who.clone() };
    world.runtime.spawn(run(world.clone(), Instant::now(), order, all, gates, seats));
    Ok(handle)
}

async fn run(
    world: Arc<World>,
    started: Instant,
    order: Order,
    all: Option<ClaimAll>,
    listed: Vec<Arc<Gate>>,
    seats: Vec<Seat>,
) {
    let claims = claims(&order, seats).await;
    let planned: Vec<_> = claims
        .into_iter()
        .map(|claim| {
            let before = claim.gate.desk().record.clone();
            let mut plan = plan(&before, &order);
            plan.after.apart |= plan.changed && world.in_fleet.load(std::sync::atomic::Ordering::Acquire);
            (plan, before, claim)
        })
        .collect();
    let planned = if order.verb == Verb::On && !order.options.accept_unchecked {
        without_unguaranteed(&world, planned).await
    } else {
        planned
    };
    let records: Vec<_> = planned
        .iter()
        .filter(|(plan, before, _)| plan.after != *before)
        .map(|(plan, _, claim)| (claim.gate.clone(), plan.after.clone()))
        .collect();
    let after_all = all.as_ref().map(|_| plan(&world.map().all, &order).after);
    let saved = world.save_all(after_all.clone(), records, order.options.unsaved).await;
    if let Ok(Some(why)) = &saved {
        let text =
            format!("{} is not saved, and until the disk takes it a restart closes the gate again: {why}", order.verb);
        let names = planned.iter().flat_map(|(_, _, claim)| claim.gate.names()).collect();
        publish!(world.events, error, Event::new(Kind::NotSaved, text).about_all(names).by(&order.who.user));
    }
    let unsaved = saved.as_ref().ok().cloned().flatten();
    if let Err(error) = saved {
        for (_, _, claim) in planned {
            let gate = claim.gate.clone();
            claim.finish(Err(error.clone()));
            // A drain that was called off for this has nobody now.
            resume_if_unfinished(&world, &gate);
        }
        return;
    }
    let late = after_all.map(|after| put_all_in_force(&world, after, &listed)).unwrap_or_default();
    drop(all);
    let alone = planned.len() == 1;
    for (plan, before, claim) in planned {
        world.runtime.spawn(drive(
            world.clone(),
            plan,
            Some(before),
            claim,
            Start { at: started, alone, unsaved: unsaved.clone(), fleet: None },
        ));
    }
    if order.only_expired {
        return;
    }
    for gate in late {
        let mv = Move::new(order.verb, order.who.clone(), order.now, None);
        let seat = match gate.claim(&mv) {
            Ok(claim) => Seat::Claimed(Box::new(claim)),
            Err(other) if other.verb == order.verb => continue,
            Err(other) => Seat::CallsOff { gate, other, mv },
        };
        world.runtime.spawn(Box::pin(run_late(world.clone(), order.clone(), seat)));
    }
}

/// How many databases of one command are asked what they guarantee before they are closed: of more, none, for they close first.
const ASKED_BEFORE: usize = 16;

type Planned = (Plan, Record, Claim);

/// Leaves open what cannot be closed as promised.
async fn without_unguaranteed(world: &World, planned: Vec<Planned>) -> Vec<Planned> {
    if planned.len() > ASKED_BEFORE {
        return planned;
    }
    let mut kept = Vec::new();
    for (plan, before, claim) in planned {
        let closes = plan.drive && plan.changed && before.switches.mode() == Mode::ReadWrite;
        let name = claim.gate.name();
        let asked = async { if closes { world.field.unguaranteed(&name).await } else { Vec::new() } };
        let reasons = timeout(world.limits.field_timeout, asked).await.unwrap_or_default();
        if reasons.is_empty() {
            kept.push((plan, before, claim));
        } else {
            let database = name.to_string();
            claim.finish(Err(GateError::Unchecked { database, reasons }));
        }
    }
    kept
}

/// As [`run`] for one gate; a function of its own since a future cannot contain itself.
async fn run_late(world: Arc<World>, order: Order, seat: Seat) {
    for claim in claims(&order, vec![seat]).await {
        let before = claim.gate.desk().record.clone();
        let plan = plan(&before, &order);
        match world.save(vec![(claim.gate.clone(), plan.after.clone())]).await {
            Ok(()) => drive(world.clone(), plan, Some(before), claim, Start::of_many()).await,
            Err(error) => claim.finish(Err(error)),
        }
    }
}

/// From here on new names are born with `after`; returns those that were born after the command had listed the names.
fn put_all_in_force(world: &World, after: Record, listed: &[Arc<Gate>]) -> Vec<Arc<Gate>> {
    let mut map = world.map();
    map.all = after;
    let known = |gate: &Arc<Gate>| listed.iter().any(|other| Arc::ptr_eq(other, gate));
    map.gates.values().filter(|gate| !known(gate)).cloned().collect()
}

/// Calls off what stands in the way and claims what is left.
async fn claims(order: &Order, seats: Vec<Seat>) -> Vec<Claim> {
    let mut claims = vec![];
    let mut waiting = vec![];
    for seat in seats {
        match seat {
            Seat::Claimed(claim) => claims.push(*claim),
            Seat::CallsOff { gate, other, mv } => {
                other.called_off.send_replace(Some(order.who.clone()));
                waiting.push((gate, other, mv));
            }
            Seat::Joined => {}
        }
    }
    for (gate, mut other, mv) in waiting {
        // A third command may come first; it is called off too if it can be, but not for ever.
        for attempt in 0.. {
            let _ = other.report.subscribe().wait_for(|report| report.done.is_some()).await;
            match gate.claim(&mv) {
                Ok(claim) => {
                    claims.push(claim);
                    break;
                }
                Err(next) if next.verb.opposite() == Some(order.verb) && attempt < 3 => {
                    next.called_off.send_replace(Some(order.who.clone()));
                    other = next;
                }
                Err(next) => {
                    mv.report.send_modify(|report| report.done = Some(Err(next.conflict(&gate.name()))));
                    break;
                }
            }
        }
    }
    claims
}

/// How a transition begins.
pub(super) struct Start {
    pub(super) at: Instant,
    /// No other gate closes with it.
    pub(super) alone: bool,
    /// Why its record is in memory alone.
    pub(super) unsaved: Option<String>,
    /// It is one of a fleet's.
    pub(super) fleet: Option<(u64, Arc<dyn Fleet>)>,
}

impl Start {
    fn of_many() -> Start {
        Start { at: Instant::now(), alone: false, unsaved: None, fleet: None }
    }
}

pub(super) async fn drive(world: Arc<World>, plan: Plan, before: Option<Record>, mut claim: Claim, start: Start) {
    let fleet_epoch = start.fleet.as_ref().map(|(epoch, _)| *epoch);
    let transition = Transition {
        world: &world,
        claim: &mut claim,
        before,
        plan,
        started: start.at,
        alone: start.alone,
        open_at_flip: 0,
        fleet: start.fleet,
    };
    let mut answer = transition.run().await;
    if let (Ok(outcome), Some(why)) = (&mut answer, start.unsaved) {
        outcome.warning =
            Some(format!("this is not saved, and until the disk takes it a restart closes the gate again: {why}"));
    }
    let gate = claim.gate.clone();
    if let Err(error) = &answer {
        publish_failure(&world, &claim, error, fleet_epoch);
    }
    let reverted = matches!(answer, Err(GateError::StillBusy { .. }));
    claim.finish(answer);
    if reverted {
        resume_if_unfinished(&world, &gate);
    }
}

/// A transition that was not carried through, and whom it waited for in vain.
fn publish_failure(world: &World, claim: &Claim, error: &GateError, fleet_epoch: Option<u64>) {
    let own = &claim.mv.who;
    if matches!(error, GateError::CalledOff { by, .. } if by == own && own.address.is_none()) {
        // A move has what it needs, and opens before the rest is known: nobody has called anything off.
        let databases: Vec<_> = claim.gate.names().iter().map(ToString::to_string).collect();
        tracing::debug!(event = "drain_not_needed", databases = databases.join(", "), "{error}");
        return;
    }
    let (kind, message) = match error {
        GateError::StillBusy { .. } => (Kind::DrainGaveUp, "the drain gave up, and the mode is what it was before"),
        GateError::CalledOff { .. } => (Kind::DrainCalledOff, "the drain was called off"),
        _ => (Kind::TransitionFailed, "the command failed, and the mode is what it was before"),
    };
    let event = Event::new(kind, message).about_all(claim.gate.names()).by(&claim.mv.who.user);
    publish!(
        world.events,
        warn,
        of_fleet(event, claim, fleet_epoch),
        command = claim.mv.verb.to_string(),
        client = claim.mv.who.address.clone(),
        detail = error.detail(),
        error = error.to_string(),
    );
}

/// Nothing closed is left without a task that brings it to quiesced.
fn resume_if_unfinished(world: &Arc<World>, gate: &Arc<Gate>) {
    if gate.desk().record.quiesced.is_none() {
        resume(world, gate);
    }
}

/// Takes up what a crash, or a call-off that failed, left closed but not quiesced. For a gate that needs nothing, tells the
/// world its mode.
pub(crate) fn resume(world: &Arc<World>, gate: &Arc<Gate>) {
    let record = gate.desk().record.clone();
    let Some(terms) = record.switches.in_force() else { return };
    let verb = if record.switches.mode() == Mode::Offline { Verb::Offline } else { Verb::On };
    let mv = Move::new(verb, terms.who.clone(), world.now(), None);
    let Ok(claim) = gate.claim(&mv) else { return };
    let drive_on = record.quiesced.is_none_or(|quiesced| quiesced.lsn.is_none());
    let world = world.clone();
    world.clone().runtime.spawn(async move {
        // `changed` makes the view be shown to the world once more.
        let plan = Plan { after: record, changed: true, drive: drive_on };
        drive(world, plan, None, claim, Start::of_many()).await;
    });
}

/// Closes a gate in this call, without a command: whoever asks finds it closed. Drain and settling follow as after a command; one
/// that is under way already decides instead.
pub(crate) fn close_now(world: &Arc<World>, gate: &Arc<Gate>, record: Record) {
    let Some(terms) = record.switches.in_force() else { return };
    let verb = if record.switches.mode() == Mode::Offline { Verb::Offline } else { Verb::On };
    let mv = Move::new(verb, terms.who.clone(), world.now(), None);
    let Ok(claim) = gate.claim(&mv) else { return };
    let mut record = record;
    gate.publish(&mut record, Counters::default());
    let world = world.clone();
    world.clone().runtime.spawn(async move {
        if let Some(why) = world.save_or_keep(&claim.gate, record.clone()).await {
            let event = Event::new(Kind::NotSaved, why).about_all(claim.gate.names());
            publish!(world.events, error, event);
        }
        drive(world, Plan { after: record, changed: true, drive: true }, None, claim, Start::of_many()).await;
    });
}
