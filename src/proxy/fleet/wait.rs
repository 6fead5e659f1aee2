//! Waiting for all members, and telling of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Context;
use super::command::{SECOND, until};
use crate::fleet::{Ack, Answer, Desired, Ended, How, Member, MemberRow, Place, Reply, View};
use crate::gate::{DrainTo, Epoch, GateError, Mode, Outcome, Verb, Wait};

/// What a command has come to for one database, and what is waited for.
#[derive(Debug, Clone)]
pub(super) struct Goal {
    pub(super) place: Place,
    /// What the database is called.
    pub(super) shown: String,
    pub(super) epoch: u64,
    pub(super) changed: bool,
    /// What was written; None if it was so already, or the same command is under way.
    pub(super) written: Option<Desired>,
}

/// See the module.
pub(super) struct Waits {
    context: Arc<Context>,
    goals: Vec<Goal>,
    wait: Wait,
    verb: Verb,
    since: Instant,
    until: Instant,
}

/// How a goal stands.
enum Standing {
    Waits,
    Over,
    Failed(GateError),
}

impl Waits {
    pub(super) fn new(context: Arc<Context>, goals: Vec<Goal>, wait: Wait, verb: Verb) -> Self {
        let longest = goals.iter().filter_map(|goal| goal.written.as_ref()?.switches.in_force());
        let longest = longest.map(|terms| terms.drain_timeout).max().unwrap_or_default();
        let timing = context.timing;
        // Whoever leads gives up before; this is for the case that nobody does.
        let closes = longest + timing.cancel_grace + timing.ttl * 6 + Duration::from_secs(10);
        let opens = timing.ttl * 2;
        let since = Instant::now();
        let until = since + if verb.opposite().is_some() { closes } else { opens };
        Self { context, goals, wait, verb, since, until }
    }

    pub(super) async fn run(self, reply: &mpsc::Sender<Reply>) -> Vec<Answer> {
        let mut seen = self.context.shown.subscribe();
        let last = loop {
            let next = (Instant::now() + SECOND).min(self.until);
            let over = until(&mut seen, next, |shown| self.is_over(&shown.view)).await;
            let last = seen.borrow().clone();
            if over || Instant::now() >= self.until {
                break last;
            }
            for text in self.goals.iter().filter_map(|goal| self.progress(&last.view, goal)) {
                let _ = reply.try_send(Reply::Progress(text));
            }
        };
        self.goals.iter().map(|goal| self.answer(&last.view, goal)).collect()
    }

    fn is_over(&self, view: &View) -> bool {
        self.goals.iter().all(|goal| !matches!(self.standing(view, goal), Standing::Waits))
    }

    fn standing(&self, view: &View, goal: &Goal) -> Standing {
        let Some((_, desired)) = view.desired.get(&goal.place) else {
            // Nothing is wanted, and nothing was written: it was never closed.
            return if goal.written.is_none() { Standing::Over } else { Standing::Waits };
        };
        if desired.epoch < goal.epoch {
            return Standing::Waits;
        }
        if desired.epoch > goal.epoch {
            return Standing::Failed(self.failed(goal, desired));
        }
        let all_passed = self.waited_for(view, goal).is_empty();
        let over = match (desired.is_draining(), self.wait) {
            (true, Wait::Flipped) => {
                view.members.values().all(|member| view.ack(&goal.place, goal.epoch, member).is_some())
            }
            (true, Wait::Quiesced) => false,
            // What is quiesced every member has acknowledged; one that has come since starts so.
            (false, _) => desired.mode() != Mode::ReadWrite || all_passed,
        };
        if over { Standing::Over } else { Standing::Waits }
    }

    fn failed(&self, goal: &Goal, desired: &Desired) -> GateError {
        let database = goal.shown.clone();
        match &desired.ended {
            Some(Ended { epoch, verb, how }) if *epoch == goal.epoch => match how {
                How::CalledOff(by) => GateError::CalledOff { database, verb: *verb, by: by.clone() },
                How::TimedOut { waited_ms, waiting } => {
                    GateError::FleetBusy { database, verb: *verb, waited_ms: *waited_ms, waiting: waiting.clone() }
                }
            },
            _ => GateError::CalledOff { database, verb: self.verb, by: desired.who.clone() },
        }
    }

    /// Members that have not come to their end.
    fn waited_for<'v>(&self, view: &'v View, goal: &Goal) -> Vec<(&'v Member, Option<&'v Ack>)> {
        let acks = view.members.values().map(|member| (member, view.ack(&goal.place, goal.epoch, member)));
        acks.filter(|(_, ack)| !ack.is_some_and(|ack| ack.passed)).collect()
    }

    fn progress(&self, view: &View, goal: &Goal) -> Option<String> {
        if !matches!(self.standing(view, goal), Standing::Waits) {
            return None;
        }
        let waited = (self.since.elapsed() + SECOND / 2).as_secs();
        let left = self.waited_for(view, goal);
        let gone: Vec<_> = view.unfenced().map(|((id, _), _)| id.as_str()).collect();
        let text = match (left.len(), gone.as_slice()) {
            (0, []) => "waiting for the primary to tell its LSN".to_owned(),
            (0, gone) => format!("ending what members that have gone left on the primary: {}", gone.join(", ")),
            (count, _) => format!("waiting for {count} of {} members", view.members.len()),
        };
        let mut text = format!("database \"{}\": {text} ({waited} s)", goal.shown);
        for (member, ack) in left.iter().take(3) {
            let what = ack.and_then(|ack| ack.waits_for.as_deref()).unwrap_or("it has not answered yet");
            text.push_str(&format!("\n  member \"{}\": {what}", member.id));
        }
        if left.len() > 3 {
            text.push_str(&format!("\n  and {} more", left.len() - 3));
        }
        Some(text)
    }

    fn answer(&self, view: &View, goal: &Goal) -> Answer {
        match self.standing(view, goal) {
            Standing::Failed(error) => return Answer { whole: Err(error), members: Vec::new() },
            Standing::Waits if self.verb.opposite().is_some() => {
                let error = self.context.shown.borrow().error.clone();
                let why = if error.is_empty() { "nobody leads; the command goes on".to_owned() } else { error };
                return Answer { whole: Err(GateError::FleetLost(why)), members: Vec::new() };
            }
            Standing::Waits | Standing::Over => {}
        }
        let known = view.desired.get(&goal.place).map(|(_, desired)| desired).or(goal.written.as_ref());
        let Some(desired) = known else { return Answer { whole: Ok(self.nothing(goal)), members: Vec::new() } };
        let late: Vec<_> = self.waited_for(view, goal).iter().map(|(member, _)| member.id.as_str()).collect();
        let is_late = !late.is_empty() && desired.mode() == Mode::ReadWrite;
        let acks: Vec<_> = view
            .members
            .values()
            .map(|member| (member, view.ack(&goal.place, goal.epoch, member).cloned().unwrap_or_default()))
            .collect();
        let sum = |of: fn(&Ack) -> u64| acks.iter().map(|(_, ack)| of(ack)).sum();
        let whole = Outcome {
            waited_ms: u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX),
            finished: sum(|ack| ack.finished),
            fenced: sum(|ack| ack.fenced),
            cancelled: sum(|ack| ack.cancelled),
            foreign_writers: desired.foreign_writers.clone(),
            warning: desired
                .warning
                .clone()
                .or_else(|| is_late.then(|| format!("these members have not answered yet: {}", late.join(", ")))),
            ..self.outcome(goal, desired)
        };
        let row = |(member, ack): (&Member, Ack)| MemberRow {
            member: member.id.clone(),
            outcome: Outcome {
                mode: if ack.passed { whole.mode } else { draining(desired.mode()) },
                quiesced_at: ack.at,
                quiesced_lsn: ack.lsn,
                waited_ms: ack.waited_ms,
                finished: ack.finished,
                fenced: ack.fenced,
                cancelled: ack.cancelled,
                foreign_writers: Vec::new(),
                warning: None,
                ..whole.clone()
            },
        };
        let members = acks.into_iter().map(row).collect();
        Answer { whole: Ok(whole), members }
    }

    fn outcome(&self, goal: &Goal, desired: &Desired) -> Outcome {
        Outcome {
            database: goal.shown.clone(),
            mode: if desired.is_draining() { draining(desired.mode()) } else { desired.mode() },
            changed: goal.changed,
            epoch: Epoch(desired.epoch),
            since: desired.since,
            quiesced_at: desired.quiesced.map(|quiesced| quiesced.at),
            quiesced_lsn: desired.quiesced.and_then(|quiesced| quiesced.lsn),
            message: desired.switches.in_force().and_then(|terms| terms.message.clone()),
            ..self.nothing(goal)
        }
    }

    /// Of a database that was never closed.
    fn nothing(&self, goal: &Goal) -> Outcome {
        Outcome {
            database: goal.shown.clone(),
            mode: Mode::ReadWrite,
            changed: goal.changed,
            epoch: Epoch(goal.epoch),
            since: jiff::Timestamp::UNIX_EPOCH,
            quiesced_at: None,
            quiesced_lsn: None,
            waited_ms: 0,
            finished: 0,
            fenced: 0,
            cancelled: 0,
            foreign_writers: Vec::new(),
            message: None,
            warning: None,
        }
    }
}

fn draining(mode: Mode) -> Mode {
    match mode {
        Mode::ReadOnly { writes } => Mode::Draining { to: DrainTo::ReadOnly { writes } },
        Mode::Offline => Mode::Draining { to: DrainTo::Offline },
        other => other,
    }
}
