//! Brings one gate from the mode it is in to the mode of its record, which is on disk already: flip, drain, settle.

use crate::gate::database::Claim;

use super::follow::{Drained, Fleet};
use super::plan::Plan;
use super::progress::{Outcome, Progress, Seen, Step, Verb};
use crate::events::{Event, Kind, publish};
use crate::gate::detail::{GateView, OnTimeout, Quiesced, Who};
use crate::gate::environment::{ForeignWriter, OpenTransaction};
use crate::gate::error::GateError;
use crate::gate::gates::World;
use crate::gate::state::lsn::Lsn;
use crate::gate::state::mode::{DrainTo, Mode};
use crate::gate::store::state_file::Record;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// How often an offline drain looks for sessions that are still in a transaction.
const LOOK: Duration = Duration::from_millis(250);
/// How often progress is told (SPEC 2.1), and the primary asked again.
const SECOND: Duration = Duration::from_secs(1);

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) struct Transition<'a> {
    pub(crate) world: &'a World,
    pub(crate) claim: &'a mut Claim,
    /// What a revert goes back to; None after a restart, when nobody knows.
    pub(crate) before: Option<Record>,
    pub(crate) plan: Plan,
    pub(crate) started: Instant,
    /// It closes by itself, so that what has to be known may be asked ahead of the flip. Many that close at once do not wait for that.
    pub(crate) alone: bool,
    /// Transactions open right after the flip; 0 before it.
    pub(crate) open_at_flip: u64,
    /// The fleet whose epoch this is; that decides when all have come to their end, and what becomes of it if they do not.
    pub(crate) fleet: Option<(u64, Arc<dyn Fleet>)>,
}

/// Why the mode changes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    /// As the transition's command says.
    Command,
    /// Something was in the way for longer than drain_timeout.
    Revert,
}

/// The event of a flip of a fleet: every member has one of those, and one of them tells of it.
pub(super) fn of_fleet(event: Event, claim: &Claim, epoch: Option<u64>) -> Event {
    match epoch {
        Some(epoch) => event.with("fleet_database", claim.gate.place().to_string()).with("fleet_epoch", epoch),
        None => event,
    }
}

enum Waited {
    Quiet,
    TimedOut,
}

impl Transition<'_> {
    pub(crate) async fn run(mut self) -> Result<Outcome, GateError> {
        if !self.plan.changed && !self.plan.drive {
            return Ok(self.outcome(vec![], None));
        }
        if self.plan.drive && self.destination().is_some() {
            let name = self.claim.gate.name();
            if self.alone {
                let prepared = self.world.field.prepare(&name);
                let _ = timeout(self.world.limits.field_timeout.min(self.drain_timeout()), prepared).await;
            } else if self.plan.after.quiesced.is_none() {
                self.world.field.forget_prepared(&name);
            }
        }
        // What was broken off before for other reasons is not counted.
        let _ = self.claim.gate.take_cancelled();
        let open_before = self.claim.gate.in_flight() as u64;
        let ahead = self.open_ahead().await;
        self.show_with(Why::Command, ahead).await;
        let flipped = self.outcome(vec![], None);
        self.claim.mv.report.send_modify(|report| report.flipped = Some(flipped));
        let Some(to) = self.destination().filter(|_| self.plan.drive) else {
            return Ok(self.outcome(vec![], None));
        };
        if self.plan.after.quiesced.is_none() {
            self.open_at_flip = self.count_open(to).await.max(open_before);
            self.publish_began();
            let drained = self.drain(to).await;
            self.claim.counters.fenced += self.claim.gate.take_fenced();
            self.claim.counters.cancelled += self.claim.gate.take_cancelled();
            drained?;
            let at = self.world.now();
            self.plan.after.quiesced = Some(Quiesced { at, lsn: None });
        }
        let (lsn, foreign, mut warning) = self.settle().await?;
        if let Some(quiesced) = &mut self.plan.after.quiesced {
            quiesced.lsn = lsn;
        }
        self.pass_with_all().await?;
        self.claim.counters.foreign_writers = foreign.len() as u64;
        // The mode is closed on disk already; without this a restart would only settle once more.
        if let Err(e) = self.world.save_settled(&self.claim.gate, self.plan.after.clone()).await {
            warning.get_or_insert(e.to_string());
        }
        self.show(Why::Command).await;
        if to == DrainTo::Offline {
            self.tell(Step::Disconnecting, vec![]);
            let text = self.claim.gate.view().offline_text();
            let name = self.claim.gate.name();
            let jobs = self.world.field.disconnect(&name, &text);
            if timeout(self.world.limits.field_timeout, jobs).await.is_err() {
                warning.get_or_insert("not every session was disconnected in time".into());
            }
        }
        let outcome = self.outcome(foreign, warning);
        self.publish_ended(&outcome);
        Ok(outcome)
    }

    /// Waits until every member of the fleet has come to its end, and takes over what holds for all.
    async fn pass_with_all(&mut self) -> Result<(), GateError> {
        let Some((epoch, fleet)) = self.fleet.clone() else { return Ok(()) };
        let quiesced = self.plan.after.quiesced;
        let counters = self.claim.counters;
        let drained = Drained {
            quiesced,
            finished: self.open_at_flip.saturating_sub(counters.cancelled + counters.fenced),
            fenced: counters.fenced,
            cancelled: counters.cancelled,
            waited_ms: millis(self.started.elapsed()),
        };
        let this = &*self;
        let passed = tokio::select! {
            biased;
            passed = fleet.drained(this.claim.gate.place(), epoch, drained) => Ok(passed),
            called_off = this.called_off() => Err(called_off),
        }?;
        self.plan.after.quiesced = passed.or(quiesced);
        Ok(())
    }

    fn drain_timeout(&self) -> Duration {
        self.plan.after.switches.in_force().map_or(Duration::ZERO, |terms| terms.drain_timeout)
    }

    fn destination(&self) -> Option<DrainTo> {
        match self.plan.after.switches.mode() {
            Mode::ReadOnly { writes } => Some(DrainTo::ReadOnly { writes }),
            Mode::Offline => Some(DrainTo::Offline),
            Mode::ReadWrite | Mode::Draining { .. } => None,
        }
    }

    /// Server connections of the kind that is wanted behind the flip. Many that flip at once do not wait for them.
    async fn open_ahead(&self) -> Option<Box<dyn Send>> {
        if !self.alone || !self.plan.changed {
            return None;
        }
        let name = self.claim.gate.name();
        let opened = self.world.field.open_ahead(&name, self.destination().is_some());
        timeout(self.world.limits.field_timeout, opened).await.ok()
    }

    async fn show(&mut self, why: Why) {
        self.show_with(why, None).await;
    }

    /// Puts the record into force and tells the world. What was opened ahead serves from then on.
    async fn show_with(&mut self, why: Why, ahead: Option<Box<dyn Send>>) {
        let view = self.claim.gate.publish(&mut self.plan.after, self.claim.counters);
        if let Some((epoch, fleet)) = &self.fleet {
            fleet.applied(self.claim.gate.place(), *epoch);
        }
        self.world.expiry.notify_one();
        drop(ahead);
        let name = self.claim.gate.name();
        self.log_mode(&view, why);
        let seen = self.world.field.flip_seen(&name, view);
        // A world that is slow to see it cannot make the gate leak: the doors are shut by now.
        let _ = timeout(self.world.limits.field_timeout, seen).await;
    }

    /// The one line that every change of mode leaves in the log, whoever caused it.
    fn log_mode(&self, view: &GateView, why: Why) {
        let mv = &self.claim.mv;
        let opens = matches!(mv.verb, Verb::Off | Verb::Online);
        let cause = match why {
            Why::Revert => "revert".to_owned(),
            // Only the time of `expire` opens a gate by the proxy's own hand.
            Why::Command if opens && mv.who == Who::proxy() => "expire".to_owned(),
            // What was found closed, or left so by a command that could not be undone.
            Why::Command if self.before.is_none() && self.fleet.is_none() => "taken up again".to_owned(),
            Why::Command => mv.verb.to_string(),
        };
        let message = view.in_force().and_then(|terms| terms.message.as_deref());
        let lsn = view.quiesced.and_then(|quiesced| quiesced.lsn).map(|lsn| lsn.to_string());
        publish!(
            self.world.events,
            warn,
            self.event(Kind::Mode, format!("mode: {}", view.state.mode)),
            mode = view.state.mode.as_str(),
            epoch = view.state.epoch.0,
            cause = cause,
            client = mv.who.address.clone(),
            maintenance_message = message,
            until = view.switches.in_force().and_then(|terms| terms.until),
            quiesced_lsn = lsn,
        );
    }

    /// An event of this command about its database.
    fn event(&self, kind: Kind, text: String) -> Event {
        let event = Event::new(kind, text).about_all(self.claim.gate.names()).by(&self.claim.mv.who.user);
        of_fleet(event, self.claim, self.fleet.as_ref().map(|(epoch, _)| *epoch))
    }

    fn publish_began(&self) {
        let verb = self.claim.mv.verb;
        publish!(
            self.world.events,
            info,
            self.event(Kind::DrainBegan, format!("{verb}: waiting for open transactions")),
            command = verb.to_string(),
            epoch = self.plan.after.epoch.0,
            client = self.claim.mv.who.address.clone(),
            in_flight = self.open_at_flip,
            drain_timeout_ms = millis(self.drain_timeout()),
        );
    }

    fn publish_ended(&self, outcome: &Outcome) {
        self.claim.gate.count_drained([outcome.finished, outcome.fenced, outcome.cancelled]);
        let verb = self.claim.mv.verb;
        publish!(
            self.world.events,
            info,
            self.event(Kind::DrainEnded, format!("{verb}: nothing changes any more")),
            command = verb.to_string(),
            epoch = outcome.epoch.0,
            client = self.claim.mv.who.address.clone(),
            quiesced_at = outcome.quiesced_at,
            quiesced_lsn = outcome.quiesced_lsn.map(|lsn| lsn.to_string()),
            waited_ms = outcome.waited_ms,
            finished = outcome.finished,
            fenced = outcome.fenced,
            cancelled = outcome.cancelled,
            foreign_writers = outcome.foreign_writers.len(),
        );
    }

    async fn drain(&mut self, to: DrainTo) -> Result<(), GateError> {
        let terms = self.plan.after.switches.in_force().cloned();
        let patience = terms.as_ref().map_or(Duration::ZERO, |t| t.drain_timeout);
        let on_timeout = terms.map_or(OnTimeout::Revert, |t| t.on_timeout);
        // Ends with quiet, with a call-off, or with a revert; only a revert that cannot be saved goes round again.
        loop {
            if let Waited::Quiet = self.wait(to, Step::Draining, patience).await? {
                return Ok(());
            }
            if on_timeout == OnTimeout::Cancel {
                let epoch = self.plan.after.epoch;
                let name = self.claim.gate.name();
                let stop = self.world.field.cancel_open(&name, epoch, to);
                let stopped = timeout(self.world.limits.field_timeout, stop).await.unwrap_or(0);
                self.claim.counters.cancelled += stopped;
                if let Waited::Quiet = self.wait(to, Step::Cancelling, self.world.limits.cancel_grace).await? {
                    return Ok(());
                }
            }
            if let Some(before) = self.before.clone() {
                self.revert(before, to).await?;
            }
        }
    }

    /// Returns Ok only if the way back could not be made durable: then the gate stays closed.
    async fn revert(&mut self, before: Record, to: DrainTo) -> Result<(), GateError> {
        let in_the_way = self.open(to).await.unwrap_or_default();
        let left = self.claim.gate.in_flight().max(in_the_way.len());
        let back = Record { epoch: self.plan.after.epoch.next(), since: self.world.now(), ..before };
        if self.world.save(vec![(self.claim.gate.clone(), back.clone())]).await.is_err() {
            return Ok(());
        }
        self.plan.after = back;
        self.show(Why::Revert).await;
        Err(GateError::StillBusy {
            database: self.claim.gate.name().to_string(),
            verb: self.claim.mv.verb,
            waited: self.started.elapsed(),
            left,
            in_the_way,
        })
    }

    async fn wait(&mut self, to: DrainTo, step: Step, patience: Duration) -> Result<Waited, GateError> {
        let this = &*self;
        tokio::select! {
            biased;
            () = this.quiet(to) => Ok(Waited::Quiet),
            called_off = this.called_off() => Err(called_off),
            () = sleep(patience) => Ok(Waited::TimedOut),
            () = this.tell_each_second(to, step) => Ok(Waited::TimedOut),
        }
    }

    async fn quiet(&self, to: DrainTo) {
        self.claim.gate.register.drained().await;
        self.strays_gone().await;
        if to != DrainTo::Offline {
            return;
        }
        while self.open(to).await.is_none_or(|open| !open.is_empty()) {
            sleep(LOOK).await;
        }
    }

    /// Returns when no back end that was left is at work any more. As long as its server cannot be asked nobody knows what it
    /// commits, so that is waited for as well.
    async fn strays_gone(&self) {
        loop {
            let name = self.claim.gate.name();
            let ask = self.world.field.strays(&name);
            if let Ok(Ok(at_work)) = timeout(self.world.limits.field_timeout, ask).await
                && at_work.is_empty()
            {
                return;
            }
            sleep(LOOK).await;
        }
    }

    async fn called_off(&self) -> GateError {
        let mut signal = self.claim.mv.called_off.subscribe();
        let by = signal.wait_for(Option::is_some).await.ok().and_then(|by| by.clone());
        // The sender lives as long as the claim, so `by` is there.
        GateError::CalledOff {
            database: self.claim.gate.name().to_string(),
            verb: self.claim.mv.verb,
            by: by.unwrap_or_else(crate::gate::detail::Who::proxy),
        }
    }

    async fn tell_each_second(&self, to: DrainTo, step: Step) {
        loop {
            let open = self.open(to).await.unwrap_or_default();
            self.tell(step, open);
            sleep(SECOND).await;
            if step == Step::Cancelling {
                let name = self.claim.gate.name();
                let again = self.world.field.cancel_open(&name, self.plan.after.epoch, to);
                let _ = timeout(self.world.limits.field_timeout, again).await;
            }
        }
    }

    fn tell(&self, step: Step, open: Vec<OpenTransaction>) {
        let progress = Progress {
            database: self.claim.gate.name().to_string(),
            step,
            waited: self.started.elapsed(),
            in_flight: self.claim.gate.in_flight(),
            open,
        };
        if let Some((epoch, fleet)) = &self.fleet {
            fleet.waits_for(self.claim.gate.place(), *epoch, progress.to_string());
        }
        self.claim.mv.report.send_modify(|report| report.progress = Some(Seen { progress, at: Instant::now() }));
    }

    /// None if the world did not answer in time: nobody may take that for "nothing is open".
    async fn open(&self, to: DrainTo) -> Option<Vec<OpenTransaction>> {
        let name = self.claim.gate.name();
        let ask = self.world.field.open_transactions(&name, to);
        timeout(self.world.limits.field_timeout, ask).await.ok()
    }

    async fn count_open(&self, to: DrainTo) -> u64 {
        let known = match to {
            DrainTo::ReadOnly { .. } => 0,
            DrainTo::Offline => self.open(to).await.map_or(0, |open| open.len()),
        };
        known.max(self.claim.gate.in_flight()) as u64
    }

    async fn settle(&mut self) -> Result<(Option<Lsn>, Vec<ForeignWriter>, Option<String>), GateError> {
        self.tell(Step::Settling, vec![]);
        let this = &*self;
        let asked = async {
            // With servers that cannot be asked, a command takes no longer than the drain might have taken.
            let left = this.drain_timeout().saturating_sub(this.started.elapsed()).max(SECOND);
            let left = left.min(this.world.limits.settle_timeout);
            let patience = Instant::now() + left;
            loop {
                let name = this.claim.gate.name();
                let ask = this.world.field.settle(&name);
                let why = match timeout(this.world.limits.field_timeout.min(left), ask).await {
                    Ok(Ok(settled)) => return (Some(settled.lsn), settled.foreign_writers, settled.warning),
                    Ok(Err(why)) => why,
                    Err(_) => "it did not answer in time".into(),
                };
                if Instant::now() + SECOND >= patience {
                    let warning = format!("the primary could not be asked for its LSN and for foreign writers: {why}");
                    return (None, vec![], Some(warning));
                }
                sleep(SECOND).await;
            }
        };
        tokio::select! {
            biased;
            answer = asked => Ok(answer),
            called_off = this.called_off() => Err(called_off),
        }
    }

    fn outcome(&self, foreign_writers: Vec<ForeignWriter>, warning: Option<String>) -> Outcome {
        let view = self.claim.gate.view();
        let counters = self.claim.counters;
        let stays_closed = || view.state_words().filter(|_| view.is_automatic()).map(|words| format!("it {words}"));
        let warning = warning.or_else(stays_closed);
        Outcome {
            database: view.database.to_string(),
            mode: view.state.mode,
            changed: self.plan.changed,
            epoch: view.state.epoch,
            since: view.since,
            quiesced_at: view.quiesced.map(|q| q.at),
            quiesced_lsn: view.quiesced.and_then(|q| q.lsn),
            waited_ms: millis(self.started.elapsed()),
            finished: if view.quiesced.is_some() {
                self.open_at_flip.saturating_sub(counters.cancelled + counters.fenced)
            } else {
                0
            },
            fenced: counters.fenced,
            cancelled: counters.cancelled,
            foreign_writers,
            message: view.in_force().and_then(|terms| terms.message.clone()),
            warning,
        }
    }
}
