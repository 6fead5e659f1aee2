//! Many clients and databases: what is asked over HTTP is answered soon, and queries do not wait for it.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use pgsluice_fixtures::Raw;
use pgsluice_fixtures::raw::message;

use crate::stand::{LONG, Stand};

const PATHS: [&str; 7] = [
    "/v1/clients",
    "/v1/clients?limit=1000&offset=5000",
    "/v1/pools",
    "/v1/databases",
    "/v1/status?database=app",
    "/status",
    "/metrics",
];
const COMMANDS: [&str; 4] = ["SHOW CLIENTS", "SHOW POOLS", "SHOW DATABASES", "SHOW STATS"];

fn number(name: &str) -> Option<usize> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Queries, one after the other: when each began, and how long it took.
fn queries(mut app: Raw, done: &AtomicBool) -> Vec<(Instant, Duration)> {
    let select = message::query("SELECT 1");
    let mut times = Vec::new();
    while !done.load(SeqCst) {
        let began = Instant::now();
        app.round_trip(&select, LONG).unwrap();
        times.push((began, began.elapsed()));
    }
    times
}

/// The times of the queries that were under way in any of these spans, sorted.
fn during(times: &[(Instant, Duration)], spans: &[(Instant, Instant)]) -> Vec<Duration> {
    let within =
        |(began, took): &&(Instant, Duration)| spans.iter().any(|(from, to)| *began <= *to && *began + *took >= *from);
    let mut found: Vec<_> = times.iter().filter(within).map(|(_, took)| *took).collect();
    found.sort_unstable();
    found
}

fn told(what: &str, times: &[Duration]) -> Duration {
    let at = |share: f64| times.get(((times.len().max(1) - 1) as f64 * share) as usize).copied().unwrap_or_default();
    println!(
        "{} queries {what}: median {:?}, 99 % {:?}, 99.9 % {:?}, longest {:?}",
        times.len(),
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
    at(1.0)
}

/// By default few of each. The limits are for PGSLUICE_TEST_IDLE=10000, PGSLUICE_TEST_DATABASES=500, PGSLUICE_TEST_ANSWER_MS=200
/// and PGSLUICE_TEST_STALL_MS=2 on a quiet machine. What the machine itself does to a query is measured in the same run, in as
/// many spans of the same length in which nothing is asked.
#[test]
fn many_clients_and_databases_are_listed_while_queries_go_on() {
    let clients = number("PGSLUICE_TEST_IDLE").unwrap_or(300);
    let databases = number("PGSLUICE_TEST_DATABASES").unwrap_or(50);
    let times_each = number("PGSLUICE_TEST_TIMES").unwrap_or(5);
    let names: String = (0..databases).map(|n| format!("[databases.d{n}]\ndbname = \"app\"\n")).collect();
    let stand = Stand::with("max_client_conn = 20000", "", &format!("[databases.app]\n[databases.other]\n{names}"), "");
    let crowd: Vec<_> = (0..clients).map(|_| stand.connect("app", "app")).collect();
    let (done, app) = (AtomicBool::new(false), stand.connect("app", "app"));
    let mut console = stand.connect("dba", "pgsluice");
    let mut slowest: Vec<(&str, Duration)> = Vec::new();
    let (mut asked, mut quiet) = (Vec::new(), Vec::new());
    let times = thread::scope(|scope| {
        let queries = scope.spawn(|| queries(app, &done));
        for what in PATHS.into_iter().chain(COMMANDS) {
            let mut longest = Duration::ZERO;
            for _ in 0..times_each {
                let began = Instant::now();
                if what.starts_with('/') {
                    let answer =
                        stand.ask("GET", what, crate::stand::READ, "Accept: text/html, application/json\r\n", "");
                    assert_eq!(answer.status, 200, "{answer:?}");
                } else {
                    console.round_trip(&message::query(what), LONG).unwrap();
                }
                let ended = Instant::now();
                asked.push((began, ended));
                longest = longest.max(ended - began);
                // What the answer has left behind is over, and then as long again with nothing.
                thread::sleep(Duration::from_millis(20));
                let alone = Instant::now();
                thread::sleep(ended - began);
                quiet.push((alone, Instant::now()));
            }
            slowest.push((what, longest));
        }
        done.store(true, SeqCst);
        queries.join().unwrap()
    });
    println!("{clients} clients, {databases} databases: {slowest:?}");
    let beside = told("beside an answer", &during(&times, &asked));
    let alone = told("beside none", &during(&times, &quiet));
    for (at, what) in PATHS.into_iter().chain(COMMANDS).enumerate() {
        let spans = asked.get(at * times_each..(at + 1) * times_each).unwrap();
        let worst = during(&times, spans).last().copied().unwrap_or_default();
        println!("{what}: a query took {worst:?} at most");
    }
    let most = Duration::from_millis(number("PGSLUICE_TEST_ANSWER_MS").unwrap_or(5000) as u64);
    assert!(slowest.iter().all(|(_, time)| *time < most), "{slowest:?}");
    if let Some(stall) = number("PGSLUICE_TEST_STALL_MS") {
        let stall = Duration::from_millis(stall as u64);
        assert!(beside <= alone + stall, "{beside:?} beside an answer, {alone:?} beside none");
    }
    drop(crowd);
}
