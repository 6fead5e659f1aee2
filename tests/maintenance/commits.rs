//! Writers that verify their own commits: across flips every commit that a client was told of is in the database, none appears
//! after `quiesced`, none is lost or doubled, with writes rejected and with writes held.

use crate::flips::flips;
use crate::stand::{EndsAt, LONG, Stand};
use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Frame, Raw, wait};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

const LEDGER: &str = "CREATE TABLE ledger (writer int, n int); GRANT ALL ON ledger TO app";

/// What a client thinks between transactions: see `flips`.
const THINKS: Duration = Duration::from_millis(2);

#[derive(Default)]
struct Told {
    committed: Mutex<BTreeSet<(usize, u64)>>,
    commits: AtomicU64,
    refused: AtomicU64,
    reads: AtomicU64,
}

/// Sends one message and says whether it was done; false: refused because the database is read-only, or the block has failed.
fn said(raw: &mut Raw, sql: &str, extended: bool) -> bool {
    let bytes = if extended {
        [message::parse("", sql, &[]), message::bind("", "", &[]), message::execute("", 0), message::sync()].concat()
    } else {
        message::query(sql)
    };
    let frames = raw.round_trip(&bytes, LONG).unwrap_or_else(|error| panic!("{sql}: {error}"));
    match frames.iter().find_map(Frame::error) {
        None => frames.iter().any(|frame| frame.tag == b'C' && frame.body != b"ROLLBACK\0"),
        Some(error) => {
            assert!(["25006", "25P02"].contains(&error.code()), "{sql}: {error}");
            false
        }
    }
}

fn writer(stand: &Stand, number: usize, over: &AtomicBool, told: &Told) {
    let mut raw = stand.app();
    for n in 0.. {
        if over.load(SeqCst) {
            return;
        }
        std::thread::sleep(THINKS);
        let insert = format!("INSERT INTO ledger VALUES ({number}, {n})");
        let extended = number.is_multiple_of(2);
        let done = match number % 4 {
            0 => said(&mut raw, &insert, false),
            1 => said(&mut raw, &insert, true),
            2 => {
                said(&mut raw, "BEGIN", extended);
                let _ = said(&mut raw, &insert, extended);
                said(&mut raw, "COMMIT", extended)
            }
            _ => {
                said(&mut raw, "BEGIN", extended);
                said(&mut raw, "SELECT count(*) FROM ledger WHERE writer = 0", extended);
                said(&mut raw, "SAVEPOINT s", extended);
                said(&mut raw, "SELECT 1", extended);
                said(&mut raw, "RELEASE s", extended);
                let _ = said(&mut raw, &insert, extended);
                said(&mut raw, "SELECT 1", extended);
                said(&mut raw, "COMMIT", extended)
            }
        };
        if done {
            told.committed.lock().expect("the list").insert((number, n));
            told.commits.fetch_add(1, SeqCst);
        } else {
            told.refused.fetch_add(1, SeqCst);
        }
    }
}

fn reader(stand: &Stand, over: &AtomicBool, told: &Told) {
    let mut raw = stand.app();
    while !over.load(SeqCst) {
        std::thread::sleep(THINKS);
        assert!(said(&mut raw, "SELECT count(*) FROM t", true));
        told.reads.fetch_add(1, SeqCst);
    }
}

/// What is in the ledger, by a connection of its own.
fn ledger(stand: &Stand) -> Vec<(usize, u64)> {
    let text = stand.cluster.primary().psql_in("app", "SELECT writer, n FROM ledger ORDER BY 1, 2").expect("rows");
    let row = |line: &str| {
        let (writer, n) = line.split_once('|').expect("two columns");
        (writer.parse().expect("a number"), n.parse().expect("a number"))
    };
    text.lines().map(row).collect()
}

fn run(settings: &str, hold: bool, writers: usize) {
    let stand = Stand::new(settings);
    stand.operator().query(LEDGER, LONG).expect("the ledger");
    let (told, over) = (Told::default(), AtomicBool::new(false));
    let flips = flips();
    std::thread::scope(|scope| {
        let _end = EndsAt(&over);
        for number in 0..writers {
            let (stand, told, over) = (&stand, &told, &over);
            scope.spawn(move || writer(stand, number, over, told));
        }
        for _ in 0..2 {
            let (stand, told, over) = (&stand, &told, &over);
            scope.spawn(move || reader(stand, over, told));
        }
        for flip in 0..flips {
            if hold {
                stand.on_with_hold("60s");
            } else {
                stand.on();
            }
            let (quiesced, reads) = (ledger(&stand), told.reads.load(SeqCst));
            wait::until(LONG, "reads in maintenance", || (told.reads.load(SeqCst) > reads + 5).then_some(()));
            // Everything that clients were told of so far is there: commits are told before the gate is quiesced.
            let known = told.committed.lock().expect("the list").clone();
            let there: BTreeSet<_> = quiesced.iter().copied().collect();
            assert!(known.is_subset(&there), "flip {flip}: lost {:?}", known.difference(&there).collect::<Vec<_>>());
            assert_eq!(ledger(&stand), quiesced, "flip {flip}: a commit after quiesced");
            let commits = told.commits.load(SeqCst);
            stand.off();
            wait::until(LONG, "commits after it", || (told.commits.load(SeqCst) > commits + 3).then_some(()));
        }
    });
    let there = ledger(&stand);
    let committed: Vec<_> = told.committed.into_inner().expect("the list").into_iter().collect();
    assert_eq!(there, committed, "what is there is what clients were told, each once");
    println!(
        "{flips} flips, {writers} writers, hold {hold}: {} commits, {} refused, {} reads; none lost, doubled or late",
        committed.len(),
        told.refused.load(SeqCst),
        told.reads.load(SeqCst)
    );
}

#[test]
fn commits_with_writes_rejected() {
    run("default_pool_size = 8", false, 12);
}

#[test]
fn commits_with_writes_held() {
    run("default_pool_size = 8", true, 12);
}

#[test]
fn commits_in_session_mode() {
    run("default_pool_size = 30\npool_mode = \"session\"", true, 8);
}
