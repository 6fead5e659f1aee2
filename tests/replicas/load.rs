//! Many sessions, each of which writes now and then and reads what it wrote, while the replica's replay stops and goes on at random.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Login, Raw};

use crate::own_writes::on_replicas;
use crate::stand::{LONG, Stand, fine, rows, sqlstate};

const SESSIONS: u64 = 32;
/// The longest that replay stands still.
const LONGEST_DELAY: u64 = 200;
/// Between two writes of a session.
const BETWEEN_WRITES: Duration = Duration::from_secs(3);

/// Own reads in all: a slice of the acceptance's million, unless the environment says otherwise.
fn wanted() -> u64 {
    std::env::var("PGSLUICE_TEST_READS").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000)
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
}

fn session(mut raw: Raw, id: u64, counts: &Counts, wanted: u64, over: &AtomicBool) {
    let mut value = 0;
    // Not all of them at once.
    let mut written =
        Some(Instant::now()).and_then(|now| now.checked_sub(BETWEEN_WRITES * id as u32 / SESSIONS as u32));
    let read = format!("SELECT n FROM own WHERE id = {id}");
    let extended =
        [message::parse("", &read, &[]), message::bind("", "", &[]), message::execute("", 0), message::sync()];
    let (simple, extended) = (message::query(&read), extended.concat());
    let mut turn = 0_u64;
    while counts.reads.load(SeqCst) < wanted && !over.load(SeqCst) {
        if written.is_none_or(|at| at.elapsed() > BETWEEN_WRITES) {
            value += 1;
            let sql = match value % 3 {
                0 => format!("UPDATE own SET n = {value} WHERE id = {id}"),
                1 => format!("BEGIN; UPDATE own SET n = {value} WHERE id = {id}; COMMIT"),
                _ => format!("SELECT sets({id}, {value})"),
            };
            fine(&mut raw, &sql);
            counts.writes.fetch_add(1, SeqCst);
            written = Some(Instant::now());
        }
        turn += 1;
        let frames = raw.round_trip(if turn.is_multiple_of(2) { &simple } else { &extended }, LONG).unwrap();
        assert_eq!(sqlstate(&frames), "");
        let seen: u64 = rows(&frames)[0][0].parse().unwrap();
        counts.reads.fetch_add(1, SeqCst);
        if seen != value {
            counts.stale.fetch_add(1, SeqCst);
        }
    }
}

#[test]
fn sessions_always_read_their_own_writes_and_nine_of_ten_reads_are_on_replicas() {
    let stand = Stand::with("default_pool_size = 40", "", "reads = \"prefer_replica\"", &[]);
    let schema = format!(
        "CREATE TABLE own (id int PRIMARY KEY, n int); INSERT INTO own SELECT i, 0 FROM generate_series(1, {SESSIONS}) i;
         CREATE FUNCTION sets(int, int) RETURNS void LANGUAGE plpgsql AS 'BEGIN UPDATE own SET n = $2 WHERE id = $1; END';
         GRANT ALL ON own TO PUBLIC"
    );
    stand.cluster.primary().psql_in("app", &schema).unwrap();
    stand.cluster.wait_for_replay(LONG).unwrap();
    let wanted = wanted();
    let (counts, over) = (Arc::new(Counts::default()), Arc::new(AtomicBool::new(false)));
    let before = on_replicas(&stand);
    let begun = Instant::now();
    let threads: Vec<_> = (1..=SESSIONS)
        .map(|id| {
            let raw = Raw::connect(&stand.proxy.tcp(), &Login::new("app", "app")).unwrap();
            let (counts, over) = (counts.clone(), over.clone());
            thread::spawn(move || session(raw, id, &counts, wanted, &over))
        })
        .collect();
    let mut seed = 0x9e37_79b9_7f4a_7c15;
    let mut replay = stand.cluster.replica(0).connect("dba", "postgres").unwrap();
    while counts.reads.load(SeqCst) < wanted && threads.iter().all(|one| !one.is_finished()) {
        fine(&mut replay, "SELECT pg_wal_replay_pause()");
        thread::sleep(Duration::from_millis(next(&mut seed) % LONGEST_DELAY));
        fine(&mut replay, "SELECT pg_wal_replay_resume()");
        thread::sleep(Duration::from_millis(next(&mut seed) % 50));
    }
    threads.into_iter().for_each(|one| one.join().unwrap());
    over.store(true, SeqCst);
    let [reads, stale, writes] = [&counts.reads, &counts.stale, &counts.writes].map(|one| one.load(SeqCst));
    let there = on_replicas(&stand) - before;
    println!(
        "{reads} own reads and {writes} writes by {SESSIONS} sessions in {:?}: {stale} stale, {:.1} % of reads on the replica",
        begun.elapsed(),
        there as f64 * 100.0 / reads as f64
    );
    assert_eq!(stale, 0);
    assert!(there * 10 >= reads * 9, "{there} of {reads} reads on the replica");
}
