//! Switchovers back and forth under writers and readers: nobody sees an error, nothing is lost, nothing is there twice.
//! `PGSLUICE_TEST_SWITCHOVERS` makes it more of them.

use std::time::Duration;

use crate::load::{Load, nothing_lost_or_doubled, percentile};
use crate::stand::{Stand, ask};

#[test]
fn clients_see_a_pause_and_no_error_and_no_row_is_lost_or_doubled() {
    let times = std::env::var("PGSLUICE_TEST_SWITCHOVERS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    let stand = Stand::new();
    let load = Load::start(&stand.proxy.tcp(), 8, 4);
    load.wait_for_more(50);
    let (mut pauses, mut steps) = (Vec::new(), Vec::new());
    let (mut primary, mut replica) = (0, 1);
    for nth in 0..times {
        load.take_longest();
        let answer = stand.switch_to(replica, "").fine();
        load.wait_for_more(20);
        pauses.push(load.take_longest());
        let taken = answer.rows.iter().filter(|row| row[0] != "check");
        steps.push(taken.map(|row| format!("{} {}", row[0], row[4])).collect::<Vec<_>>().join(", "));
        assert!(!stand.is_writable(primary), "switchover {nth}: the old primary is fenced");
        assert!(stand.is_writable(replica), "switchover {nth}: the new one is not");
        assert_eq!(stand.modes(), ["read_write", "read_write"]);
        let old = stand.ids(primary);
        let new = stand.ids(replica);
        let strayed: Vec<_> = old.iter().filter(|id| new.binary_search(id).is_err()).collect();
        assert!(strayed.is_empty(), "switchover {nth}: written on the old primary alone: {strayed:?}");
        stand.bring_back(primary, replica);
        std::mem::swap(&mut primary, &mut replica);
        let roles = if primary == 0 { ["primary", "replica"] } else { ["replica", "primary"] };
        stand.wait_for_roles(&roles);
        load.wait_for_more(50);
    }
    let mut seen = load.stop();
    println!("steps in ms: {}", steps.join("\n             "));
    println!(
        "{times} switchovers, {} writes acknowledged, write pause p50 {:?}, p99 {:?}, longest {:?}; {} reads, p99 {:?}, longest {:?}",
        seen.acknowledged.len(),
        percentile(&mut pauses, 0.5),
        percentile(&mut pauses, 0.99),
        pauses.iter().max().copied().unwrap_or_default(),
        seen.reads.len(),
        percentile(&mut seen.reads, 0.99),
        seen.reads.iter().max().copied().unwrap_or_default(),
    );
    assert!(seen.errors.is_empty() && seen.read_errors.is_empty(), "{:?} {:?}", seen.errors, seen.read_errors);
    nothing_lost_or_doubled(&seen, stand.ids(primary));
    assert!(percentile(&mut pauses, 0.5) < Duration::from_secs(5), "{pauses:?}");
}

#[test]
fn a_transaction_that_only_reads_goes_on_over_it_and_a_session_keeps_what_it_has_set() {
    let stand = Stand::new();
    let mut reads = stand.client("app");
    ask(&mut reads, "BEGIN ISOLATION LEVEL REPEATABLE READ").fine();
    assert_eq!(ask(&mut reads, "SELECT count(*) FROM written").fine().rows, [["0"]]);
    let mut settings = stand.client("app");
    ask(&mut settings, "SET search_path = pg_catalog, public").fine();
    ask(&mut settings, "PREPARE adds AS INSERT INTO written VALUES ($1)").fine();
    stand.switch_to(1, "").fine();
    ask(&mut settings, "EXECUTE adds(1)").fine();
    assert_eq!(ask(&mut settings, "SHOW search_path").fine().rows, [["pg_catalog, public"]]);
    // Its snapshot is that of the old primary.
    assert_eq!(ask(&mut reads, "SELECT count(*) FROM written").fine().rows, [["0"]]);
    ask(&mut reads, "COMMIT").fine();
    ask(&mut reads, "INSERT INTO written VALUES (2)").fine();
    assert_eq!(stand.ids(1), [1, 2]);
}
