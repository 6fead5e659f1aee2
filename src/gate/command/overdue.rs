//! A gate must not be forgotten: past `until`, and every so often after it, an event says that it is still closed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::events::{Event, Kind, publish};
use crate::gate::database::Gate;
use crate::gate::detail::{Switches, Terms};
use crate::gate::gates::World;

/// Between two events about the same gate.
const PAUSE: Duration = Duration::from_secs(15 * 60);
/// The name of what databases are born with.
const ALL: &str = "*";

/// What has been said of gates that are overdue.
#[derive(Default)]
pub(crate) struct Overdue {
    /// By name: which promise, and when that was said last.
    said: HashMap<Arc<str>, (Timestamp, Timestamp)>,
}

impl Overdue {
    /// Publishes what is due, and tells how long nothing more will be.
    pub(crate) fn look(
        &mut self,
        world: &World,
        all: &Switches,
        gates: &[Arc<Gate>],
        now: Timestamp,
    ) -> Option<Duration> {
        let mut closed: Vec<(Vec<Arc<str>>, Switches)> =
            gates.iter().map(|gate| (gate.names(), gate.desk().record.switches.clone())).collect();
        closed.push((vec![ALL.into()], all.clone()));
        closed.retain(|(_, switches)| until(switches).is_some());
        self.said.retain(|name, _| closed.iter().any(|(names, _)| names.first() == Some(name)));
        // What `*` promises is said of its databases, if there are any.
        let only = closed.len() == 1;
        let mut next: Option<Duration> = None;
        for (names, switches) in closed {
            let Some((terms, until)) = until(&switches) else { continue };
            let Some(name) = names.first().cloned() else { continue };
            if &*name == ALL && !only {
                continue;
            }
            let said = self.said.get(&name).filter(|(promise, _)| *promise == until).map(|(_, at)| *at);
            let due = said.map_or(until, |at| at + PAUSE);
            let left = Duration::try_from(due.duration_since(now)).unwrap_or(Duration::ZERO);
            if left.is_zero() {
                say(world, names, terms, until, now);
                self.said.insert(name, (until, now));
            }
            let left = if left.is_zero() { PAUSE } else { left };
            next = Some(next.map_or(left, |next| next.min(left)));
        }
        next
    }
}

/// The promise that applications are told.
fn until(switches: &Switches) -> Option<(&Terms, Timestamp)> {
    let terms = switches.in_force()?;
    Some((terms, terms.until?))
}

fn say(world: &World, names: Vec<Arc<str>>, terms: &Terms, until: Timestamp, now: Timestamp) {
    let overdue = Duration::try_from(now.duration_since(until)).unwrap_or_default();
    let event = Event::new(Kind::Overdue, "still closed, though writes were promised back by now").about_all(names);
    publish!(
        world.events,
        warn,
        event.by(&terms.who.user),
        until = until,
        overdue_ms = u64::try_from(overdue.as_millis()).unwrap_or(u64::MAX),
        client = terms.who.address.clone(),
        maintenance_message = terms.message.as_deref(),
    );
}
