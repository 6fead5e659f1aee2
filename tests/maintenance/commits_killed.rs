//! Flips while clients are killed in the middle of their statements (their connections end by RST) and while the proxy itself is
//! killed (SIGKILL) and started again: no commit that a client knows of is lost or doubled, and none comes after `quiesced`.

use crate::flips::flips;
use crate::stand::{EndsAt, LONG, Stand};
use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Frame, wait};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

const LEDGER: &str = "CREATE TABLE ledger (writer int, n int); GRANT ALL ON ledger TO app";
/// Flips from one start of the proxy to its end.
const FLIPS_A_LIFE: usize = 20;

/// Where the answer of MAINTENANCE ON has it.
const QUIESCED_AT: usize = 5;

/// A row, by its writer and the writer's count.
type Row = (usize, u64);

#[derive(Default)]
struct Ledger {
    /// The client was told that it is committed.
    committed: Mutex<BTreeSet<Row>>,
    /// The client has gone before it was told anything: the row may be there or not.
    uncertain: Mutex<BTreeSet<Row>>,
    commits: AtomicU64,
    resets: AtomicU64,
    reads: AtomicU64,
}

/// A statement that takes a while, in the manner of one of these clients.
fn statement(writer: usize, n: u64) -> Vec<u8> {
    // Some sleep for so long that a reset, a flip and a kill find them at work.
    let naps = [0.0, 0.002, 0.02, 0.3];
    let nap = naps[(n as usize + writer) % naps.len()];
    let insert = format!("INSERT INTO ledger SELECT {writer}, {n} FROM pg_sleep({nap})");
    match writer % 4 {
        0 => message::query(&insert),
        1 => [message::parse("", &insert, &[]), message::bind("", "", &[]), message::execute("", 0), message::sync()]
            .concat(),
        2 => message::query(&format!("BEGIN; {insert}; COMMIT")),
        _ => message::query(&format!(
            "DO $$ BEGIN PERFORM pg_sleep({nap}); INSERT INTO ledger VALUES ({writer}, {n}); END $$"
        )),
    }
}

/// Writes until it is over, or until the proxy has gone. Each third statement ends by a reset of the connection.
fn writer(stand: &Stand, number: usize, from: u64, over: &AtomicBool, ledger: &Ledger) -> u64 {
    let mut raw = stand.app();
    let mut n = from;
    while !over.load(SeqCst) {
        n += 1;
        let row = (number, n);
        if n.is_multiple_of(3) {
            ledger.uncertain.lock().expect("the list").insert(row);
            if raw.send(&statement(number, n)).is_err() {
                return n;
            }
            std::thread::sleep(Duration::from_millis(n % 7));
            let _ = raw.reset();
            ledger.resets.fetch_add(1, SeqCst);
            let Ok(again) = stand.try_app() else { return n };
            raw = again;
            continue;
        }
        let Ok(frames) = raw.round_trip(&statement(number, n), LONG) else {
            ledger.uncertain.lock().expect("the list").insert(row);
            return n;
        };
        match frames.iter().find_map(Frame::error) {
            None => {
                ledger.committed.lock().expect("the list").insert(row);
                ledger.commits.fetch_add(1, SeqCst);
            }
            Some(error) if error.code() == "25006" => {
                // A block that was begun in the same message has failed.
                if raw.round_trip(&message::query("ROLLBACK"), LONG).is_err() {
                    return n;
                }
            }
            // The proxy's end.
            Some(error) => {
                assert!(["57P01", "08006"].contains(&error.code()), "{error}");
                ledger.uncertain.lock().expect("the list").insert(row);
                return n;
            }
        }
    }
    n
}

fn reader(stand: &Stand, over: &AtomicBool, ledger: &Ledger) {
    let mut raw = stand.app();
    while !over.load(SeqCst) {
        std::thread::sleep(Duration::from_millis(2));
        let Ok(frames) = raw.round_trip(&message::query("SELECT count(*) FROM t"), LONG) else { return };
        if let Some(error) = frames.iter().find_map(Frame::error) {
            assert_eq!(error.code(), "57P01", "{error}");
            return;
        }
        ledger.reads.fetch_add(1, SeqCst);
    }
}

fn rows(stand: &Stand) -> Vec<Row> {
    let text = stand.cluster.primary().psql_in("app", "SELECT writer, n FROM ledger ORDER BY 1, 2").expect("rows");
    let row = |line: &str| {
        let (writer, n) = line.split_once('|').expect("two columns");
        (writer.parse().expect("a number"), n.parse().expect("a number"))
    };
    text.lines().map(row).collect()
}

/// With the gate closed: what was told is there, each row once, and nothing is added for longer than any statement takes.
fn check_quiesced(stand: &Stand, ledger: &Ledger, at: &str, when: &str) {
    let late = format!("SELECT writer, n FROM ledger WHERE pg_xact_commit_timestamp(xmin) > '{at}'");
    let late = || stand.cluster.primary().psql_in("app", &late).expect("rows");
    let quiesced = rows(stand);
    let there: BTreeSet<Row> = quiesced.iter().copied().collect();
    assert_eq!(there.len(), quiesced.len(), "{when}: a row is doubled");
    let known = ledger.committed.lock().expect("the list").clone();
    assert!(known.is_subset(&there), "{when}: lost {:?}", known.difference(&there).collect::<Vec<_>>());
    let uncertain = ledger.uncertain.lock().expect("the list").clone();
    let stray: Vec<_> = there.iter().filter(|row| !known.contains(row) && !uncertain.contains(row)).collect();
    // Told only now: the answer is on its way to its client.
    wait::until(LONG, "answers on their way", || {
        let known = ledger.committed.lock().expect("the list");
        stray.iter().all(|row| known.contains(row)).then_some(())
    });
    // The longest statement sleeps for 0.3 s: a late one would have shown by then.
    std::thread::sleep(Duration::from_millis(350));
    assert_eq!(rows(stand), quiesced, "{when}: a commit after quiesced");
    assert_eq!(late(), "", "{when}: committed after {at}");
}

/// Closes the gate; from when on it is quiesced.
fn on(stand: &Stand, hold: bool) -> String {
    let writes = if hold { "hold, hold_timeout '60s'" } else { "reject" };
    let rows = stand.console(&format!("MAINTENANCE ON app WITH (message 'moving house', writes {writes})"));
    rows.into_iter().next().and_then(|row| row.into_iter().nth(QUIESCED_AT)?).expect("a time")
}

fn life(stand: &Stand, hold: bool, flips: usize, counts: &mut [u64], ledger: &Ledger) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let end = EndsAt(&over);
        let writers: Vec<_> = counts
            .iter()
            .enumerate()
            .map(|(number, from)| {
                let (over, from) = (&over, *from);
                scope.spawn(move || writer(stand, number, from, over, ledger))
            })
            .collect();
        for _ in 0..2 {
            let over = &over;
            scope.spawn(move || reader(stand, over, ledger));
        }
        for flip in 0..flips {
            let commits = ledger.commits.load(SeqCst);
            wait::until(LONG, "commits", || (ledger.commits.load(SeqCst) > commits + 5).then_some(()));
            let at = on(stand, hold);
            check_quiesced(stand, ledger, &at, &format!("flip {flip}"));
            let reads = ledger.reads.load(SeqCst);
            wait::until(LONG, "reads in maintenance", || (ledger.reads.load(SeqCst) > reads + 2).then_some(()));
            stand.off();
        }
        let commits = ledger.commits.load(SeqCst);
        wait::until(LONG, "commits", || (ledger.commits.load(SeqCst) > commits + 5).then_some(()));
        let pid = stand.proxy.pid().expect("it runs").to_string();
        let killed = std::process::Command::new("kill").args(["-9", &pid]).status().expect("kill");
        assert!(killed.success());
        drop(end);
        for (count, writer) in counts.iter_mut().zip(writers) {
            *count = writer.join().expect("a writer");
        }
    });
}

fn run(settings: &str, hold: bool) {
    let mut stand = Stand::new(settings);
    stand.operator().query(LEDGER, LONG).expect("the ledger");
    let ledger = Ledger::default();
    let mut counts = [0; 8];
    let (flips, mut done) = (flips(), 0);
    while done < flips {
        let next = FLIPS_A_LIFE.min(flips - done);
        life(&stand, hold, next, &mut counts, &ledger);
        // Statements of the process that was killed run on in the server. The next one has to know of them.
        stand.proxy.kill_9();
        stand.proxy.start_again().expect("a proxy");
        let at = on(&stand, hold);
        check_quiesced(&stand, &ledger, &at, "after a kill");
        stand.off();
        done += next;
    }
    println!(
        "{flips} flips, hold {hold}: {} commits told, {} connections reset, {} reads; none lost, doubled or late",
        ledger.commits.load(SeqCst),
        ledger.resets.load(SeqCst),
        ledger.reads.load(SeqCst)
    );
}

#[test]
fn killed_clients_with_writes_rejected() {
    run("default_pool_size = 12", false);
}

#[test]
fn killed_clients_with_writes_held() {
    run("default_pool_size = 12", true);
}

#[test]
fn killed_clients_in_session_mode() {
    run("default_pool_size = 40\npool_mode = \"session\"", false);
}
