//! Members, etcd and a server in one thread, by seed: partitions, delays, drifting clocks, processes that are stopped, crash and come
//! back, etcd that is down, under clients that write, and persons who give commands.
//!
//! What must hold: nothing is written behind the LSN of an epoch until a later one opens; a member that is not stopped writes nothing
//! once its lease is over; only a person opens what a person has closed; and every flip ends. The machines are those of the
//! program. Errors that are planted ([`Fault`]) are all found, or the simulation would look in the wrong places.

mod chaos;
mod clients;
mod etcd;
mod node;
mod requests;
mod world;

use super::steps::Fault;
use world::{Violation, World};

/// Each with a schedule that finds it; 0: none is kept.
const ALL: [(Fault, u64); 21] = [
    (Fault::ReadsBeforeItRegisters, 39),
    (Fault::CountsTheLeaseFromTheAnswer, 1346),
    (Fault::StopsBehindTheLease, 6),
    (Fault::NeverStops, 1),
    (Fault::DoesNotFence, 279),
    (Fault::ForgetsBeforeItHasFenced, 27),
    (Fault::TakesAFailedFenceForDone, 32),
    (Fault::AcknowledgesBeforeTheDrain, 1),
    (Fault::AcceptsAcksOfOtherEpochs, 1),
    (Fault::ReadsTheLsnFirst, 3),
    (Fault::CommitsWithoutComparing, 156),
    (Fault::CountsOldMembersOnly, 1),
    (Fault::AllowsBeforeItFollows, 33),
    (Fault::UsesNewConnectionsUnasked, 28),
    (Fault::NeverGivesUp, 9),
    (Fault::OpensWhenItGivesUp, 48),
    (Fault::NobodyIsElectedAgain, 2),
    (Fault::FollowsBackwards, 4),
    (Fault::ForgetsFencesLate, 171),
    (Fault::RegistersWithoutItsConnections, 6),
    (Fault::ComesBackWithOldTransactions, 187),
];

/// One schedule.
fn run(seed: u64, fault: Option<Fault>) -> Result<(), Violation> {
    World::new(seed, fault).run()
}

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Seeds that have found something once.
const KEPT: &[u64] = &[];

#[test]
fn schedules_keep_what_is_promised() {
    if let Ok(seed) = std::env::var("PGSLUICE_TEST_SEED") {
        let seed = seed.parse().expect("a seed");
        run(seed, None).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        return;
    }
    let (seconds, first) =
        (from_environment("PGSLUICE_TEST_SIMULATION_SECONDS", 4), from_environment("PGSLUICE_TEST_FIRST_SEED", 1));
    let until = std::time::Instant::now() + std::time::Duration::from_secs(seconds);
    let mut count = 0;
    for seed in KEPT.iter().copied().chain(first..) {
        if count > KEPT.len() && std::time::Instant::now() > until {
            break;
        }
        run(seed, None).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        count += 1;
    }
    println!("{count} schedules in {seconds} s, seeds {first} to {}", first + count as u64);
}

/// Says by which schedule an error is found.
fn find(fault: Fault, seeds: impl IntoIterator<Item = u64>) -> bool {
    let found = seeds.into_iter().find_map(|seed| Some((seed, run(seed, Some(fault)).err()?)));
    if let Some((seed, violation)) = &found {
        let text = violation.to_string();
        println!("{fault:?}: seed {seed}: {}", text.lines().next().unwrap_or_default());
    }
    found.is_some()
}

#[test]
fn planted_errors_are_found_by_the_schedules_that_are_kept() {
    let kept = ALL.into_iter().filter(|(_, seed)| *seed > 0);
    let missed: Vec<_> = kept.filter(|(fault, seed)| !find(*fault, [*seed])).collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
}

#[test]
#[ignore = "thousands of schedules: make conformance-simulation"]
fn every_planted_error_is_found() {
    let most = from_environment("PGSLUICE_TEST_SIMULATION_SEEDS", 3000);
    let missed: Vec<_> = ALL.into_iter().filter(|(fault, _)| !find(*fault, 1..=most)).collect();
    assert!(missed.is_empty(), "not found within {most} schedules: {missed:?}");
}
