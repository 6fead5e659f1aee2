//! How long a flip of the gate keeps clients that are at work waiting, beside a crowd of idle ones that are told of it.
//!
//! `PGSLUICE_TEST_IDLE`, `PGSLUICE_TEST_ACTIVE` and `PGSLUICE_TEST_FLIPS` make it larger.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use pgsluice_fixtures::Raw;
use pgsluice_fixtures::raw::message::{bind, execute, parse, query, sync};

use crate::stand::{LONG, Stand};

/// Between two questions of a client.
const THINKS: Duration = Duration::from_millis(50);

/// What follows a flip within this is the flip's.
const AFTER: Duration = Duration::from_millis(1500);

fn from_environment(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Asks again and again: when each answer was waited for from, and how long.
fn ask(client: &mut Raw, nth: usize, over: &AtomicBool) -> Vec<(Instant, Duration)> {
    let sql = format!("select v from public.t where id = {}", nth % 1000);
    client.round_trip(&[parse("s", &sql, &[]), sync()].concat(), LONG).expect("prepared");
    let messages = [query(&sql), [bind("", "s", &[]), execute("", 0), sync()].concat()];
    let mut waits = Vec::new();
    while !over.load(SeqCst) {
        let began = Instant::now();
        let frames = client.round_trip(&messages[nth % 2], LONG).expect("an answer");
        assert!(frames.iter().all(|frame| frame.error().is_none()), "{frames:?}");
        waits.push((began, began.elapsed()));
        thread::sleep(THINKS);
    }
    waits
}

#[test]
fn a_flip_keeps_clients_that_are_at_work_waiting_for_a_moment_only() {
    let idle = from_environment("PGSLUICE_TEST_IDLE", 1000);
    let active = from_environment("PGSLUICE_TEST_ACTIVE", 40);
    let flips = from_environment("PGSLUICE_TEST_FLIPS", 2);
    let bound = from_environment("PGSLUICE_TEST_STALL_MS", 10_000);
    let stand = Stand::new(1, 1, "max_client_conn = 20000\nlog_connections = false\nlog_disconnections = false", "");
    let table = "create table public.t(id int primary key, v text); insert into public.t select n, 'v' from generate_series(0, 999) n; \
                 grant all on public.t to public; analyze public.t";
    stand.superuser(0, table);
    let crowd: Vec<Raw> = (0..idle).map(|_| stand.client(0, 0)).collect();
    let over = AtomicBool::new(false);
    let (waits, flipped) = thread::scope(|scope| {
        let start = |nth| {
            let (stand, over) = (&stand, &over);
            scope.spawn(move || ask(&mut stand.client(0, 0), nth, over))
        };
        let asking: Vec<_> = (0..active).map(start).collect();
        thread::sleep(AFTER * 2);
        let mut flipped = Vec::new();
        for nth in 0..flips {
            let command = if nth % 2 == 0 { "MAINTENANCE ON d0" } else { "MAINTENANCE OFF d0" };
            let began = Instant::now();
            stand.console(command);
            flipped.push((command, began, began.elapsed()));
            thread::sleep(AFTER * 2);
        }
        over.store(true, SeqCst);
        let waits = asking.into_iter().flat_map(|one| one.join().expect("a client that is answered"));
        (waits.collect::<Vec<_>>(), flipped)
    });
    drop(crowd);
    let longest = |from: Instant, to: Instant| {
        let within = waits.iter().filter(|(began, wait)| *began < to && *began + *wait > from);
        within.map(|(_, wait)| *wait).max().unwrap_or_default()
    };
    let mut worst = Duration::ZERO;
    for (command, began, took) in flipped {
        let quiet = longest(began - AFTER, began - Duration::from_millis(100));
        let stall = longest(began, began + AFTER);
        println!(
            "{idle} idle, {active} active: {command} took {took:?}; longest wait {stall:?}, before that {quiet:?}"
        );
        worst = worst.max(stall);
    }
    assert!(worst < Duration::from_millis(bound as u64), "{worst:?}");
}
