//! Many sessions, each of which writes now and then and reads what it wrote, while the replica's replay stops and goes on at random.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Login, Raw};

use crate::own_writes::on_replicas;
use crate::stand::{LONG, Stand, fine, rows, sqlstate};

const SESSIONS: u64 = 32;
/// The longest that replay stands still.
const LONGEST_DELAY: u64 = 200;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Own reads in all: a slice of the acceptance's million, unless the environment says otherwise.
fn wanted() -> u64 {
    number("PGSLUICE_TEST_READS").unwrap_or(100_000)
}

/// Between two writes of a session.
fn between_writes() -> Duration {
    Duration::from_millis(number("PGSLUICE_TEST_WRITE_MS").unwrap_or(3000))
}

/// Numbers that look random, from a seed that the output names.
fn next(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

#[derive(Default)]
struct Counts {
    reads: AtomicU64,
    stale: AtomicU64,
    writes: AtomicU64,
    /// For how many microseconds the replica did not have what sessions had written, all sessions together.
    behind: AtomicU64,
    /// What each session has written that the replica was not seen to have yet.
    awaited: Mutex<HashMap<u64, (u64, Instant)>>,
    over: AtomicBool,
}

impl Counts {
    fn wrote(&self, id: u64, value: u64) {
        self.writes.fetch_add(1, SeqCst);
        let before = self.awaited.lock().unwrap().insert(id, (value, Instant::now()));
        before.iter().for_each(|(_, since)| self.was_behind(*since));
    }

    fn was_behind(&self, since: Instant) {
        self.behind.fetch_add(since.elapsed().as_micros() as u64, SeqCst);
    }

    fn is_over(&self, wanted: u64) -> bool {
        self.over.load(SeqCst) || self.reads.load(SeqCst) >= wanted
    }
}

/// Reads its own value again and again, and writes it now and then. What it reads counts as stale only if it is `exact`.
fn session(mut raw: Raw, id: u64, counts: &Counts, wanted: u64, exact: bool) {
    let mut value = 0;
    let between = between_writes();
    // Not all of them at once.
    let mut written = Instant::now().checked_sub(between * id as u32 / SESSIONS as u32);
    let read = format!("SELECT n FROM own WHERE id = {id}");
    let extended =
        [message::parse("", &read, &[]), message::bind("", "", &[]), message::execute("", 0), message::sync()];
    let (simple, extended) = (message::query(&read), extended.concat());
    let mut turn = 0_u64;
    while !counts.is_over(wanted) {
        if written.is_none_or(|at| at.elapsed() > between) {
            value += 1;
            let sql = match value % 3 {
                0 => format!("UPDATE own SET n = {value} WHERE id = {id}"),
                1 => format!("BEGIN; UPDATE own SET n = {value} WHERE id = {id}; COMMIT"),
                _ => format!("SELECT sets({id}, {value})"),
            };
            fine(&mut raw, &sql);
            counts.wrote(id, value);
            written = Some(Instant::now());
        }
        turn += 1;
        let frames = raw.round_trip(if turn.is_multiple_of(2) { &simple } else { &extended }, LONG).unwrap();
        assert_eq!(sqlstate(&frames), "");
        let seen: u64 = rows(&frames)[0][0].parse().unwrap();
        counts.reads.fetch_add(1, SeqCst);
        if exact && seen != value {
            counts.stale.fetch_add(1, SeqCst);
        }
    }
}

/// Sessions at work, a replica whose replay stops and goes on, and somebody who looks what it has.
struct Run {
    counts: Arc<Counts>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Run {
    fn start(stand: &Stand, wanted: u64, exact: bool) -> Run {
        let schema = format!(
            "CREATE TABLE own (id int PRIMARY KEY, n int); INSERT INTO own SELECT i, 0 FROM generate_series(1, {SESSIONS}) i;
             CREATE FUNCTION sets(int, int) RETURNS void LANGUAGE plpgsql AS 'BEGIN UPDATE own SET n = $2 WHERE id = $1; END';
             GRANT ALL ON own TO PUBLIC"
        );
        stand.cluster.primary().psql_in("app", &schema).unwrap();
        stand.cluster.wait_for_replay(LONG).unwrap();
        let counts = Arc::new(Counts::default());
        let mut threads: Vec<_> = (1..=SESSIONS)
            .map(|id| {
                let raw = Raw::connect(&stand.proxy.tcp(), &Login::new("app", "app")).unwrap();
                let counts = counts.clone();
                thread::spawn(move || session(raw, id, &counts, wanted, exact))
            })
            .collect();
        let (mut replay, mut looks) = (
            stand.cluster.replica(0).connect("dba", "postgres").unwrap(),
            stand.cluster.replica(0).connect("dba", "app").unwrap(),
        );
        let delays = counts.clone();
        threads.push(thread::spawn(move || {
            let mut seed = 0x9e37_79b9_7f4a_7c15;
            while !delays.is_over(wanted) {
                fine(&mut replay, "SELECT pg_wal_replay_pause()");
                thread::sleep(Duration::from_millis(next(&mut seed) % LONGEST_DELAY));
                fine(&mut replay, "SELECT pg_wal_replay_resume()");
                thread::sleep(Duration::from_millis(next(&mut seed) % 50));
            }
        }));
        let seen = counts.clone();
        threads.push(thread::spawn(move || {
            while !seen.is_over(wanted) {
                for row in fine(&mut looks, "SELECT id, n FROM own") {
                    let [id, n] = [0, 1].map(|at| row[at].parse::<u64>().unwrap());
                    let mut awaited = seen.awaited.lock().unwrap();
                    if awaited.get(&id).is_some_and(|(value, _)| *value <= n) {
                        awaited.remove(&id).iter().for_each(|(_, since)| seen.was_behind(*since));
                    }
                }
                thread::sleep(Duration::from_millis(2));
            }
        }));
        Run { counts, threads }
    }

    fn end(self) -> Arc<Counts> {
        self.threads.into_iter().for_each(|one| one.join().unwrap());
        self.counts
    }
}

/// While the replica does not have what a session wrote, the primary has to show it. How long that is depends on the replica and on
/// how often sessions write: with a write each three seconds it leaves more than nine tenths.
#[test]
fn sessions_always_read_their_own_writes_and_nine_of_ten_reads_are_on_replicas() {
    let stand = Stand::with("default_pool_size = 40", "", "reads = \"prefer_replica\"", &[]);
    let before = on_replicas(&stand);
    let begun = Instant::now();
    let counts = Run::start(&stand, wanted(), true).end();
    let took = begun.elapsed();
    let [reads, stale, writes] = [&counts.reads, &counts.stale, &counts.writes].map(|one| one.load(SeqCst));
    let there = (on_replicas(&stand) - before) as f64 / reads as f64;
    let possible = 1.0 - counts.behind.load(SeqCst) as f64 / 1e6 / (took.as_secs_f64() * SESSIONS as f64);
    println!(
        "{reads} own reads and {writes} writes by {SESSIONS} sessions in {took:?}: {stale} stale, {:.1} % of reads on the replica; \
         for {:.1} % of the time it had what they had written",
        there * 100.0,
        possible * 100.0
    );
    assert_eq!(stale, 0);
    assert!(there >= possible - 0.05, "{there} of the reads on the replica, {possible} could have been");
    if between_writes() >= Duration::from_secs(3) {
        assert!(there >= 0.9, "{there} of the reads on the replica");
    }
}

/// Processor time of all threads of the proxy, in microseconds.
fn cpu(stand: &Stand) -> f64 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", stand.proxy.pid().unwrap())).unwrap();
    let ran = |task: std::fs::DirEntry| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok()).unwrap_or(0)
    };
    tasks.flatten().map(ran).sum::<u64>() as f64 / 1e3
}

/// A few spans by default, and nothing but that it can be measured; `make conformance-replicas` asks for more and for the figure.
#[test]
fn reading_ones_own_writes_costs_little_processor_time() {
    let pairs = number("PGSLUICE_TEST_PAIRS").unwrap_or(2);
    let mut stand = Stand::with("default_pool_size = 40", "", "reads = \"prefer_replica\"\ncausal = \"session\"", &[]);
    let ports = [stand.cluster.primary().port(), stand.cluster.replica(0).port()];
    let run = Run::start(&stand, u64::MAX, false);
    let mut span = |causal: &str| {
        stand.rewrite(&ports, &[("causal = \"session\"", &format!("causal = \"{causal}\""))]);
        stand.console("RELOAD");
        thread::sleep(Duration::from_millis(300));
        let before = (cpu(&stand), run.counts.reads.load(SeqCst));
        thread::sleep(Duration::from_secs(1));
        (cpu(&stand) - before.0) / (run.counts.reads.load(SeqCst) - before.1) as f64
    };
    span("session");
    let mut more: Vec<(f64, f64, f64)> = (0..pairs)
        .map(|pair| {
            let (on, off) = if pair % 2 == 0 {
                let on = span("session");
                (on, span("off"))
            } else {
                let off = span("off");
                (span("session"), off)
            };
            (on / off - 1.0, on, off)
        })
        .collect();
    run.counts.over.store(true, SeqCst);
    run.end();
    more.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (share, on, off) = more[more.len() / 2];
    println!(
        "{on:.2} µs of processor time for each read with causal = session, {off:.2} µs with off: {:+.1} % in the median of {pairs} pairs",
        share * 100.0
    );
    if pairs >= 10 {
        assert!(share <= 0.1, "{share}");
    }
}
