//! What automation has found of a database: the second source of its mode, beside a person's switches.
//!
//! It lives in memory only, since it is found out again after a restart. The mode in force is a function of both sources: as long as
//! a person's switch closes the database, what automation has found is not seen. So automation never opens what a person has closed,
//! and a person's command never opens what automation has closed.

use super::database::Gate;
use super::detail::{Cause, Counters, GateView, OnTimeout, Reads, Terms, Who};
use super::gates::Gates;
use super::state::lsn::Lsn;
use super::state::mode::{Mode, Writes};
use crate::events::{Event, Kind, publish};
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How far it closes the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Closes {
    /// Nothing can be written.
    Writes,
    /// Nothing can be read either.
    All,
}

/// A finding for which a database takes no writes.
#[derive(Debug, Clone, PartialEq)]
pub struct Automatic {
    /// What is closed.
    pub closes: Closes,
    /// Why and since when, in the form of a person's words.
    pub terms: Terms,
    /// The position that a replica must have replayed to serve reads, so that no read steps back.
    pub floor: Lsn,
}

impl Automatic {
    /// A finding of the proxy's own.
    pub fn new(closes: Closes, cause: Cause, since: Timestamp, floor: Lsn) -> Self {
        let terms = Terms {
            cause,
            who: Who::proxy(),
            since,
            message: None,
            until: None,
            expire_at: None,
            writes: Writes::Reject,
            hold_timeout: Duration::ZERO,
            drain_timeout: Duration::ZERO,
            on_timeout: OnTimeout::Revert,
            reads: Reads::Any,
        };
        Self { closes, terms, floor }
    }

    /// The mode that it leads to where no person's switch is on.
    pub fn mode(&self) -> Mode {
        match self.closes {
            Closes::Writes => Mode::ReadOnly { writes: Writes::Reject },
            Closes::All => Mode::Offline,
        }
    }
}

/// Who has found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Who looks at the servers.
    Servers,
    /// Who looks at the fleet.
    Fleet,
}

impl Gate {
    /// Nobody has looked at its servers for it meanwhile: what holds now is found out again.
    pub(super) fn forget_found(&self, now: Timestamp) {
        drop(self.set_automatic(Source::Servers, None, now));
    }

    /// Puts a finding into force, or takes the last one back. Gives what was before and what is shown now, if that is news.
    fn set_automatic(
        &self,
        source: Source,
        found: Option<Automatic>,
        now: Timestamp,
    ) -> Option<(Arc<GateView>, Arc<GateView>)> {
        let mut desk = self.desk();
        let known = match source {
            Source::Servers => &mut desk.automatic,
            Source::Fleet => &mut desk.unreachable,
        };
        if *known == found {
            return None;
        }
        *known = found;
        let before = self.view().clone();
        let mode = desk.mode();
        if mode != before.state.mode && desk.record.switches.mode() == Mode::ReadWrite {
            desk.record.epoch = desk.record.epoch.next();
            desk.record.since = now;
        }
        Some((before, self.show(&desk, Counters::default())))
    }
}

impl Gate {
    /// It comes into being while the fleet cannot be reached.
    pub(crate) fn start_unreachable(&self, found: Option<&Automatic>) {
        if found.is_some() {
            self.set_automatic(Source::Fleet, found.cloned(), Timestamp::now());
        }
    }
}

impl Gates {
    /// What automation has found of the database behind that gate; None: nothing keeps it from being written to. Whether the mode
    /// is another one now.
    pub fn set_automatic(&self, gate: &Arc<Gate>, found: Option<Automatic>) -> bool {
        self.set_found(Source::Servers, gate, found)
    }

    /// The same of the fleet: while it cannot be reached, the database takes no writes.
    pub fn set_unreachable(&self, gate: &Arc<Gate>, found: Option<Automatic>) -> bool {
        self.set_found(Source::Fleet, gate, found)
    }

    fn set_found(&self, source: Source, gate: &Arc<Gate>, found: Option<Automatic>) -> bool {
        let world = self.world().clone();
        let now = world.now();
        let Some((before, view)) = gate.set_automatic(source, found, now) else { return false };
        if view.state.mode == before.state.mode {
            return false;
        }
        let terms = view.in_force().or(before.in_force());
        let about = |kind: Kind, text: String| Event::new(kind, text).about_all(gate.names()).by(&Who::proxy().user);
        let (mode, cause) = (view.state.mode.as_str(), terms.map(|terms| terms.cause.word()));
        let event = about(Kind::Mode, format!("mode: {mode}"));
        publish!(world.events, warn, event, mode = mode, epoch = view.state.epoch.0, cause = cause);
        match (before.is_automatic(), view.is_automatic()) {
            (_, true) => {
                let event = about(Kind::Degraded, "degraded".to_owned());
                publish!(world.events, warn, event, mode = mode, cause = cause, reason = view.reason());
            }
            (true, false) => {
                let event = about(Kind::Recovered, "recovered".to_owned());
                publish!(world.events, warn, event, mode = mode, cause = cause);
            }
            (false, false) => {}
        }
        let gate = gate.clone();
        world.clone().runtime.spawn(async move {
            let record = gate.desk().record.clone();
            if let Some(why) = world.save_or_keep(&gate, record).await {
                publish!(world.events, error, Event::new(Kind::NotSaved, why).about_all(gate.names()));
            }
            let name = gate.name();
            let seen = world.field.flip_seen(&name, view);
            let _ = timeout(world.limits.field_timeout, seen).await;
        });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::detail::tests::terms;

    fn found(closes: Closes) -> Option<Automatic> {
        Some(Automatic::new(closes, Cause::Degraded, Timestamp::UNIX_EPOCH, Lsn(7)))
    }

    fn modes(gate: &Gate) -> (&'static str, Option<Cause>) {
        let view = gate.view();
        assert_eq!(view.state, gate.state());
        (view.state.mode.as_str(), view.in_force().map(|terms| terms.cause))
    }

    #[test]
    fn a_persons_mode_hides_what_automation_has_found_and_neither_opens_the_other() {
        let gate = Gate::new("app", 2);
        let now = Timestamp::UNIX_EPOCH;
        assert!(gate.enter(0).is_ok());
        assert!(gate.set_automatic(Source::Servers, found(Closes::Writes), now).is_some());
        assert_eq!(modes(&gate), ("read_only", Some(Cause::Degraded)));
        assert!(gate.set_automatic(Source::Servers, found(Closes::Writes), now).is_none(), "no news");
        assert!(gate.enter(1).is_err());
        let epoch = gate.state().epoch;

        let mut record = gate.desk().record.clone();
        record.switches.maintenance = Some(terms(Cause::Command));
        record.epoch = epoch.next();
        gate.publish(&mut record, Counters::default());
        assert_eq!(modes(&gate), ("draining", Some(Cause::Command)));
        gate.set_automatic(Source::Servers, found(Closes::All), now);
        assert_eq!(modes(&gate), ("draining", Some(Cause::Command)));
        record.switches.maintenance = None;
        record.epoch = record.epoch.next();
        gate.publish(&mut record, Counters::default());
        assert_eq!(modes(&gate), ("offline", Some(Cause::Degraded)), "OFF does not open what automation has closed");

        record.switches.maintenance = Some(terms(Cause::Command));
        record.epoch = record.epoch.next();
        gate.publish(&mut record, Counters::default());
        gate.set_automatic(Source::Servers, None, now);
        assert_eq!(
            modes(&gate),
            ("draining", Some(Cause::Command)),
            "automation does not open what a person has closed"
        );
        record.switches.maintenance = None;
        record.epoch = record.epoch.next();
        gate.publish(&mut record, Counters::default());
        assert_eq!(modes(&gate), ("read_write", None));
        assert!(gate.enter(0).is_ok());
    }

    #[test]
    fn an_epoch_stands_for_one_mode_also_if_automation_comes_between_a_plan_and_its_flip() {
        let gate = Gate::new("app", 1);
        let mut planned = gate.desk().record.clone();
        planned.switches.offline = Some(terms(Cause::Command));
        planned.epoch = planned.epoch.next();
        gate.set_automatic(Source::Servers, found(Closes::Writes), Timestamp::UNIX_EPOCH);
        let automatic = gate.state();
        gate.publish(&mut planned, Counters::default());
        assert!(gate.state().epoch > automatic.epoch && planned.epoch == gate.state().epoch);
        let settled = gate.state();
        gate.publish(&mut planned, Counters::default());
        assert_eq!(gate.state(), settled, "what is shown again is the same");
    }
}
