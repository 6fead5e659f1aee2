//! Opens by itself what was closed with `expire`, also when its time came while the proxy was down, and has it said when
//! `until` has passed.

use super::execute;
use super::execute::Target;
use super::overdue::Overdue;
use super::progress::{Verb, Wait};
use crate::gate::detail::Switches;
use crate::gate::gates::{World, expired};
use jiff::Timestamp;
use std::sync::Weak;
use std::time::Duration;

/// The wall clock may be set, and machines sleep: never trust one long timer.
const LONGEST_NAP: Duration = Duration::from_secs(30);
/// After an expiry that could not be carried out (the disk is full, another command holds the gate).
const AGAIN: Duration = Duration::from_secs(1);

fn times(switches: &Switches) -> impl Iterator<Item = (Verb, Timestamp)> {
    let time = |verb, terms: &Option<crate::gate::detail::Terms>| Some((verb, terms.as_ref()?.expire_at?));
    [time(Verb::Off, &switches.maintenance), time(Verb::Online, &switches.offline)].into_iter().flatten()
}

/// Runs until the gates are gone.
pub(crate) async fn watch(world: Weak<World>) {
    let mut overdue = Overdue::default();
    while let Some(world) = world.upgrade() {
        let expiry = world.expiry.clone();
        let changed = expiry.notified();
        let now = world.now();
        let mut nap = LONGEST_NAP;
        let (all, gates) = {
            let map = world.map();
            let gates: Vec<_> = map.gates.values().cloned().collect();
            (map.all.switches.clone(), gates)
        };
        if let Some(left) = overdue.look(&world, &all, &gates, now) {
            nap = nap.min(left);
        }
        let singles = gates.iter().flat_map(|gate| {
            let switches = gate.desk().record.switches.clone();
            times(&switches).map(|(verb, at)| (Target::One(gate.name().to_string()), verb, at)).collect::<Vec<_>>()
        });
        // `*` first: its databases expire with it, in one write.
        let due = times(&all).map(|(verb, at)| (Target::All, verb, at)).chain(singles);
        // What a fleet has closed only that opens.
        let due = due.filter(|_| !world.in_fleet.load(std::sync::atomic::Ordering::Acquire));
        for (target, verb, at) in due {
            let left = Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO);
            if left.is_zero() {
                // Its own task goes on with it; a failure is met by looking again.
                let _ = execute::give(&world, target, expired(verb, now), Wait::Quiesced);
                nap = nap.min(AGAIN);
            } else {
                nap = nap.min(left);
            }
        }
        // The gates must be able to go while this sleeps.
        drop((gates, world));
        tokio::select! {
            () = changed => {}
            () = tokio::time::sleep(nap) => {}
        }
    }
}
