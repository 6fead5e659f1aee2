//! Webhooks of what the whole fleet has done: one member tells, and another one goes on when that is gone.

use std::collections::BTreeMap;

use pgsluice_fixtures::wait;

use crate::receiver::{Manner, Receiver};
use crate::stand::{LONG, More, Stand, program};

/// What was told of the database, in the order in which it came: epoch of the fleet, event, mode.
fn told(receiver: &Receiver) -> Vec<(u64, String, String)> {
    let all = receiver.all();
    let taken = all.iter().filter(|one| one.manner == Manner::Takes).map(|one| one.json());
    let of_fleet = taken.filter(|one| one["fields"]["fleet_database"] == "main.app");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    of_fleet
        .map(|one| (one["fields"]["fleet_epoch"].as_u64().unwrap(), text(&one["event"]), text(&one["fields"]["mode"])))
        .collect()
}

fn stand(receiver: &Receiver) -> Option<Stand> {
    let program = program()?;
    let tables = format!(
        "[[webhook]]\nurl = \"{}\"\nsecret = \"sixteen characters\"\nevents = [\"mode\", \"drain_began\", \"drain_ended\"]\n",
        receiver.url()
    );
    let more = More { tables, fleet: "lease_ttl = \"2s\"".to_owned(), ..More::default() };
    Some(Stand::with(pgsluice_fixtures::Etcd::start(program, 1).expect("etcd"), 3, &more))
}

fn until_told(receiver: &Receiver, epoch: u64, mode: &str) {
    wait::until_ok(LONG, mode, || {
        let all = told(receiver);
        if all.iter().any(|(known, _, known_mode)| *known == epoch && known_mode == mode) {
            Ok(())
        } else {
            Err(format!("{all:?}"))
        }
    });
}

/// How often each was told; and that they came in order.
fn counted(receiver: &Receiver) -> BTreeMap<(u64, String, String), usize> {
    let all = told(receiver);
    let epochs: Vec<_> = all.iter().map(|(epoch, ..)| *epoch).collect();
    assert!(epochs.is_sorted(), "{all:?}");
    let mut counts = BTreeMap::new();
    all.into_iter().for_each(|one| *counts.entry(one).or_default() += 1);
    counts
}

#[test]
fn a_flip_of_all_is_told_once() {
    let receiver = Receiver::start();
    let Some(stand) = stand(&receiver) else { return };
    stand.members[1].console("MAINTENANCE ON app");
    stand.members[2].console("MAINTENANCE OFF app");
    stand.members[0].console("MAINTENANCE ON app");
    until_told(&receiver, 3, "read_only");
    wait::until_ok(LONG, "its end", || {
        let all = told(&receiver);
        if all.last().is_some_and(|(epoch, event, _)| *epoch == 3 && event == "drain_ended") {
            Ok(())
        } else {
            Err(format!("{all:?}"))
        }
    });
    let counts = counted(&receiver);
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
    let modes: Vec<_> =
        counts.keys().filter(|(_, event, _)| event == "mode").map(|(epoch, _, mode)| (*epoch, mode.as_str())).collect();
    assert_eq!(modes, [(1, "draining"), (1, "read_only"), (2, "read_write"), (3, "draining"), (3, "read_only")]);
}

#[test]
fn a_member_that_tells_and_is_killed_hands_over_without_loss() {
    let receiver = Receiver::start();
    let Some(mut stand) = stand(&receiver) else { return };
    stand.members[1].console("MAINTENANCE ON app");
    until_told(&receiver, 1, "read_only");
    // Nobody takes what happens now; then the one who tells, which has been there for the longest, is killed.
    receiver.is_to(Manner::Fails);
    stand.members[1].console("MAINTENANCE OFF app");
    stand.members[1].console("MAINTENANCE ON app");
    stand.members[0].proxy.kill_9();
    receiver.is_to(Manner::Takes);
    until_told(&receiver, 3, "read_only");
    let counts = counted(&receiver);
    for wanted in [(2, "read_write"), (3, "draining"), (3, "read_only")] {
        assert!(counts.keys().any(|(epoch, _, mode)| (*epoch, mode.as_str()) == wanted), "{wanted:?}: {counts:?}");
    }
}
