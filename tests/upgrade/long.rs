//! Many clients and many upgrades: a slice of it always, the whole by `make conformance-upgrade`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use pgsluice_fixtures::raw::message;

use crate::stand::{SOON, Stand, Writers, config, rows, value};

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn a_crowd_in_all_states_lives_through_many_upgrades() {
    let (clients, upgrades) = (number("PGSLUICE_UPGRADE_CLIENTS", 100), number("PGSLUICE_UPGRADES", 3));
    let stand = Stand::new(&config("", ""));
    let mut crowd: Vec<_> = (0..clients).map(|_| stand.raw("app", "app")).collect();
    for (nth, raw) in crowd.iter_mut().enumerate() {
        match nth % 20 {
            0 if nth < 400 => drop(rows(raw, &format!("listen crowd{nth}"))),
            1..=4 => drop(rows(raw, &format!("set application_name = 'c{nth}'"))),
            5..=8 => {
                let parse = message::parse("p", &format!("select {}", nth % 50), &[]);
                raw.round_trip(&[parse, message::sync()].concat(), SOON).unwrap();
            }
            9..=10 => drop(rows(raw, &format!("prepare q as select {nth}"))),
            _ => {}
        }
    }
    let writers = Writers::start(&stand, 8, "app");
    // Every one of the crowd is asked again and again how long an answer takes.
    let stop = Arc::new(AtomicBool::new(false));
    let askers: Vec<_> = (0..8.min(clients))
        .map(|nth| {
            let mut own: Vec<_> = crowd.drain(..crowd.len() / (8.min(clients) - nth)).collect();
            let stop = stop.clone();
            std::thread::spawn(move || {
                let mut times = Vec::new();
                while !stop.load(SeqCst) {
                    for raw in &mut own {
                        let began = Instant::now();
                        assert_eq!(value(raw, "select 1"), "1");
                        times.push(began.elapsed());
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
                times
            })
        })
        .collect();
    let began = Instant::now();
    for _ in 0..upgrades {
        stand.upgrade();
    }
    let took = began.elapsed();
    stop.store(true, SeqCst);
    let mut times: Vec<Duration> = askers.into_iter().flat_map(|asker| asker.join().unwrap()).collect();
    let written = writers.finish();
    times.sort_unstable();
    let at = |share: usize| times.get(times.len() * share / 1000).copied().unwrap_or_default();
    for line in stand.proxy.log().lines().filter(|line| line.contains("upgrade") || line.contains("is ready")) {
        println!("{line}");
    }
    println!(
        "{clients} clients, {upgrades} upgrades in {took:?}: {} answers, p50 {:?}, p99 {:?}, p99.9 {:?}, longest {:?}; \
         {} writes acknowledged, none lost or doubled, the slowest {:?}",
        times.len(),
        at(500),
        at(990),
        at(999),
        times.last().copied().unwrap_or_default(),
        written.iter().map(|one| one.acknowledged).sum::<u32>(),
        written.iter().map(|one| one.longest).max().unwrap_or_default(),
    );
}
