//! Faults of servers and of networks under load: no acknowledged write is lost or there twice, no client is dropped that a driver
//! with several hosts would have kept, and writes are back about as soon as with such a driver. `docs/FAULTS.md` has the figures.

#![allow(dead_code, reason = "the stand has more than is used here")]

mod faults;
mod load;
mod stand;

use faults::{ALL, Fault};
use stand::Stand;

/// Time to recover may be this much longer than the driver's.
const SLACK_MS: u128 = 1_000;

fn run(fault: &Fault) -> Result<String, String> {
    let Some(stand) = Stand::new(fault.world) else { return Ok(format!("{}: not on this machine", fault.name)) };
    let outcome = stand.under_load(fault);
    let mut wrong = Vec::new();
    if outcome.lost > 0 || outcome.doubled > 0 {
        wrong.push(format!("{} acknowledged writes lost, {} doubled", outcome.lost, outcome.doubled));
    }
    if outcome.dropped > 0 {
        wrong.push(format!("{} clients dropped that the driver kept", outcome.dropped));
    }
    if outcome.ours.as_millis() > outcome.drivers.as_millis() + SLACK_MS {
        wrong.push(format!(
            "{} ms to recover, the driver needs {} ms",
            outcome.ours.as_millis(),
            outcome.drivers.as_millis()
        ));
    }
    let line = format!(
        "| {} | {} | {} | {} | {} | {} ms | {} ms | {} |",
        fault.name,
        outcome.acknowledged,
        outcome.lost,
        outcome.doubled,
        outcome.dropped,
        outcome.ours.as_millis(),
        outcome.drivers.as_millis(),
        outcome.logged.join(", ")
    );
    if wrong.is_empty() { Ok(line) } else { Err(format!("{line}\n  {}", wrong.join("; "))) }
}

fn run_named(names: &[&str]) {
    for name in names {
        let fault = ALL.iter().find(|fault| fault.name == *name).unwrap_or_else(|| panic!("no fault {name}"));
        match run(fault) {
            Ok(line) => println!("{line}"),
            Err(why) => panic!("{why}"),
        }
    }
}

#[test]
fn a_primary_that_is_killed_and_replaced_costs_no_acknowledged_write() {
    run_named(&["primary killed, replica promoted"]);
}

#[test]
fn a_fence_by_alter_database_that_is_lifted_costs_no_client() {
    run_named(&["fenced by ALTER DATABASE, lifted"]);
}

#[test]
fn a_network_that_swallows_everything_for_a_while_costs_no_acknowledged_write() {
    run_named(&["primary black-holed for 2 s"]);
}

/// All of them, one after the other: `make conformance-faults`.
#[test]
#[ignore = "takes minutes"]
fn every_fault_of_the_table() {
    let only = std::env::var("PGSLUICE_TEST_FAULT").unwrap_or_default();
    println!(
        "| fault | acknowledged | lost | doubled | dropped | back after | driver | logged |\n| --- | --- | --- | --- | --- | --- | --- | --- |"
    );
    let mut wrong = Vec::new();
    for fault in ALL.iter().filter(|fault| fault.name.contains(&only)) {
        match run(fault) {
            Ok(line) => println!("{line}"),
            Err(why) => {
                println!("{why}");
                wrong.push(fault.name);
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}: {wrong:?}", wrong.len(), ALL.len());
}
