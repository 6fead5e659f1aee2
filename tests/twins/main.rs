//! Two clients that take turns on a pool of one server connection, and their twins, who have connections of their own: at
//! random, whatever the two do in transaction mode, they are told what their twins are told.
//!
//! `PGSLUICE_TEST_STEPS` says for how many steps: 100,000 in `make conformance-twins`, a few seconds' worth in every test
//! run. A case is a number; `seeds.txt` keeps those that once found something, and `PGSLUICE_TEST_SEED` runs one alone.

mod stand;
mod steps;

use pgsluice_fixtures::mutate::Dice;
use stand::{Stand, Twins};
use std::time::{SystemTime, UNIX_EPOCH};
use steps::{Turn, turns};

const SEEDS: &str = include_str!("seeds.txt");
/// In every test run.
const FEW: usize = 1_500;

/// What the twins were told otherwise, if anything.
fn difference(stand: &Stand, turns: &[Turn]) -> Option<String> {
    let mut twins = Twins::new(stand);
    for (nth, turn) in turns.iter().enumerate() {
        for (at, step) in turn.steps().enumerate() {
            let (ours, theirs) = twins.say(turn.who, step);
            if ours != theirs {
                return Some(format!("turn {nth}, step {at}:\n  proxy  {ours:#?}\n  direct {theirs:#?}"));
            }
        }
    }
    None
}

/// Leaves out what the difference does not need.
fn shrunk(stand: &Stand, mut turns: Vec<Turn>) -> Vec<Turn> {
    loop {
        let differs = |less: &Vec<Turn>| difference(stand, less).is_some();
        let without_turn = (0..turns.len()).rev().map(|t| {
            let mut less = turns.clone();
            less.remove(t);
            less
        });
        let places =
            (0..turns.len()).rev().flat_map(|t| turns[t].places().into_iter().rev().map(move |place| (t, place)));
        let without_message = places.map(|(t, place)| {
            let mut less = turns.clone();
            less[t].leave_out(place);
            less
        });
        match without_turn.chain(without_message).find(differs) {
            Some(less) => turns = less,
            None => return turns,
        }
    }
}

#[test]
fn nobody_can_tell_that_its_server_connection_is_anothers_too() {
    let wanted = std::env::var("PGSLUICE_TEST_STEPS").ok().and_then(|steps| steps.parse().ok());
    let stand = Stand::new();
    let only: Option<u64> = std::env::var("PGSLUICE_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let kept = SEEDS.lines().filter_map(|line| line.split('#').next()?.trim().parse::<u64>().ok());
    // Every long run looks elsewhere, a test run sees what it saw before.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let first = wanted.map_or(1, |_: usize| now.as_micros() as u64);
    let (mut steps, mut cases) = (0, 0);
    let seeds: Box<dyn Iterator<Item = u64>> = match only {
        Some(seed) => Box::new(std::iter::once(seed)),
        None => Box::new(kept.chain((0..).map(|n| first + n))),
    };
    for seed in seeds {
        if steps >= wanted.unwrap_or(FEW) {
            break;
        }
        let turns = turns(&mut Dice::new(seed));
        steps += turns.iter().map(|turn| turn.steps().count()).sum::<usize>();
        cases += 1;
        if let Some(first) = difference(&stand, &turns) {
            eprintln!("found by: {seed}\n{first}");
            let least = shrunk(&stand, turns);
            let shown: String = least.iter().map(|turn| turn.to_string()).collect();
            panic!("found by: {seed}\n{shown}{}", difference(&stand, &least).unwrap_or_default());
        }
    }
    println!("{steps} steps in {cases} cases");
}
