//! 15 to 18 and back under load: nobody is told an error, nothing is lost or doubled.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use crate::load::{Load, Tally};
use crate::stand::{Answer, Stand};

/// Nobody was told an error, what was acknowledged is there, and what is there was acknowledged.
pub fn verify(there: &str, writers: &[&Tally], readers: &[&Tally]) {
    for tally in writers.iter().chain(readers) {
        assert!(tally.errors.is_empty(), "{} errors: {:?}", tally.errors.len(), tally.errors.first());
    }
    let told: Vec<u64> = writers.iter().flat_map(|tally| tally.written.iter().copied()).collect();
    let set: BTreeSet<u64> = told.iter().copied().collect();
    assert_eq!(told.len(), set.len(), "no id was given twice");
    let there: BTreeSet<u64> = there.lines().filter_map(|id| id.parse().ok()).collect();
    assert_eq!(there.len(), set.len(), "as many rows as were acknowledged");
    assert_eq!(there, set);
}

const IDS: &str = "SELECT id FROM w";

/// The steps while writes were held, each with its milliseconds.
fn steps(answer: &Answer) -> Vec<(&'static str, u64)> {
    let steps = ["hold", "fence", "replay", "sequences", "reverse", "verify", "repoint", "release"];
    let took = |step: &str| answer.rows.iter().filter(|row| row[1] == step).filter_map(|row| row[4].parse().ok()).max();
    steps.into_iter().map(|step| (step, took(step).unwrap_or(0))).collect()
}

fn say(text: &str) {
    println!("{}  {text}", jiff::Timestamp::now().strftime("%H:%M:%S%.3f"));
}

#[test]
fn a_major_upgrade_and_the_way_back_lose_nothing_and_tell_nobody_an_error() {
    let rows = std::env::var("PGSLUICE_TEST_MIGRATE_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(10_000);
    let stand = Stand::new(rows);
    stand.blue("SELECT nextval('\"Down\"'), nextval('\"Down\"')");
    let address = stand.proxy.tcp();
    let first = Load::begin(&address, "a", 6, 2);
    say("MIGRATE app TO green: PostgreSQL 15 to 18, with 8 clients at work");
    let there = stand.command("MIGRATE app TO green").fine();
    assert_eq!(stand.version_of_clients(), "18");
    assert_eq!(stand.green("SELECT count(*) FROM t"), rows.to_string());
    thread::sleep(Duration::from_millis(500));
    let (writers, readers) = first.end();
    verify(&stand.green(IDS), &[&writers], &[&readers]);
    let said = |what: &str, answer: &Answer, writers: &Tally, readers: &Tally| {
        let steps = steps(answer);
        let pause: u64 = steps.iter().map(|(_, took)| took).sum();
        let words: Vec<_> = steps.iter().map(|(step, took)| format!("{step} {took}")).collect();
        println!("  {} (ms)", words.join(", "));
        println!(
            "{what}: {} writes, held for {pause} ms; longest wait: writer {} ms, reader {} ms",
            writers.written.len(),
            writers.longest.as_millis(),
            readers.longest.as_millis()
        );
    };
    said("there", &there, &writers, &readers);
    // Sequences go on behind what was given out, in their direction.
    assert!(stand.green("SELECT nextval('\"Down\"')").parse::<i64>().unwrap() < -1000);

    // What is written on the new side is on the old one before clients are led back.
    let second = Load::begin(&address, "b", 6, 2);
    thread::sleep(Duration::from_millis(500));
    say("MIGRATE app BACK: none of what was written meanwhile may be lost");
    let back = stand.command("MIGRATE app BACK").fine();
    assert_eq!(stand.version_of_clients(), "15");
    thread::sleep(Duration::from_millis(500));
    let (more, others) = second.end();
    verify(&stand.blue(IDS), &[&writers, &more], &[&readers, &others]);
    said("back", &back, &more, &others);

    // The way there again needs no copy.
    let third = Load::begin(&address, "c", 6, 2);
    let began = Instant::now();
    let again = stand.command("MIGRATE app TO green").fine();
    say(&format!("MIGRATE app TO green again: {} ms in all", began.elapsed().as_millis()));
    assert_eq!(stand.version_of_clients(), "18");
    let (last, rest) = third.end();
    verify(&stand.green(IDS), &[&writers, &more, &last], &[&readers, &others, &rest]);
    said("again", &again, &last, &rest);

    stand.command("MIGRATE app FINISH").fine();
    assert_eq!(stand.left_behind(), "");
    assert_eq!(stand.command("SHOW MIGRATIONS").rows.len(), 0);
    assert_eq!(stand.version_of_clients(), "18");
    assert_eq!(stand.command("MIGRATE app BACK").sqlstate, "55000");
}
