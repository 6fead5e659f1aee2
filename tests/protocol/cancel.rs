//! A cancel request reaches the statement of the client that asked, and never the next one's, whoever has the server
//! connection by then.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use pgsluice_fixtures::raw::{BackendKey, message};
use pgsluice_fixtures::{Address, Frame, Raw, wait};

use crate::stand::{SOON, Stand, extended, login, simple};

/// How long the race goes on.
const RACE: Duration = Duration::from_secs(3);

fn code(frames: &[Frame]) -> Option<String> {
    frames.iter().find_map(Frame::error).map(|error| error.code().to_owned())
}

/// Sends the cancel requests it is told of, each after its delay.
fn shoot(address: &Address, orders: &mpsc::Receiver<(BackendKey, Duration)>) {
    while let Ok((key, delay)) = orders.recv() {
        std::thread::sleep(delay);
        let Ok(mut gun) = Raw::open(address) else { continue };
        let _ = gun.send(&message::cancel_request(key.pid, &key.secret));
        let _ = gun.frames_until_closed(SOON);
    }
}

#[test]
fn a_cancel_hits_nobody_else() {
    // One connection for four pairs, then one for each pair: cancelled while they wait, and while they run.
    for (database, size) in [("one", 1), ("four", 4)] {
        let table = format!("[databases.{database}]\npool_size = {size}\n");
        let stand = Stand::new("", &table, &[database]);
        race(&stand.proxy.tcp(), database);
    }
}

#[test]
fn who_waits_for_a_connection_can_be_cancelled() {
    let stand = Stand::shared();
    let mut holder = Raw::connect(&stand.proxy.tcp(), &login("cancel", &[])).unwrap();
    simple(&mut holder, "BEGIN");
    let mut waiting = Raw::connect(&stand.proxy.tcp(), &login("cancel", &[])).unwrap();
    for (bytes, rest) in [
        (message::query("SELECT 1"), None),
        ([message::parse("", "SELECT 1", &[]), message::bind("", "", &[])].concat(), Some(message::sync())),
    ] {
        waiting.send(&bytes).unwrap();
        let answer = wait::until(SOON, "an error", || {
            waiting.cancel(SOON).unwrap();
            waiting.frame(Duration::from_millis(20)).ok()
        });
        assert_eq!(code(&[answer]).as_deref(), Some("57014"));
        waiting.send(&rest.unwrap_or_default()).unwrap();
        assert_eq!(waiting.frame(SOON).unwrap().body, b"I");
    }
    simple(&mut holder, "COMMIT");
    assert_eq!(code(&simple(&mut waiting, "SELECT 1")), None);
}

#[test]
fn a_portal_bound_earlier_and_a_function_call_can_be_cancelled() {
    let stand = Stand::shared();
    let mut client = Raw::connect(&stand.proxy.tcp(), &login("cancel", &[])).unwrap();
    simple(&mut client, "BEGIN");
    let bound = [message::parse("s", "SELECT pg_sleep(20)", &[]), message::bind("p", "s", &[]), message::sync()];
    client.round_trip(&bound.concat(), SOON).unwrap();
    // The number of pg_advisory_lock(bigint); somebody else has the lock.
    const LOCK: u32 = 2880;
    let mut holder = Raw::connect(&stand.server(), &login("cancel", &[])).unwrap();
    simple(&mut holder, "SELECT pg_advisory_lock(4711)");
    for bytes in [
        [message::execute("p", 0), message::sync()].concat(),
        message::function_call(LOCK, &[Some(&4711_i64.to_be_bytes())]),
    ] {
        client.send(&bytes).unwrap();
        let answer = wait::until(SOON, "an error", || {
            client.cancel(SOON).unwrap();
            client.frame(Duration::from_millis(20)).ok()
        });
        assert_eq!(code(&[answer]).as_deref(), Some("57014"));
        client.frames_until_ready(SOON).unwrap();
        simple(&mut client, "ROLLBACK");
    }
}

fn race(address: &Address, database: &str) {
    let (over, hits, misses, innocent) =
        (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let shared = (&over, &hits, &misses, &innocent, address);
    std::thread::scope(|scope| {
        for number in 0..4_u32 {
            scope.spawn(move || {
                let (over, hits, misses, _, address) = shared;
                let mut client = Raw::connect(address, &login(database, &[])).unwrap();
                let key = client.key().unwrap().clone();
                let (order, orders) = mpsc::channel();
                std::thread::scope(|inner| {
                    inner.spawn(move || shoot(address, &orders));
                    let mut round = number;
                    while !over.load(SeqCst) {
                        round = round.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        // About when the statement ends: before, while another waits for the connection, or after.
                        let _ = order.send((key.clone(), Duration::from_micros(u64::from(round >> 16) % 9000)));
                        let frames = match round >> 8 & 1 {
                            0 => simple(&mut client, "SELECT pg_sleep(0.004)"),
                            _ => extended(&mut client, &["SELECT pg_sleep(0.004)"]),
                        };
                        match code(&frames).as_deref() {
                            None => misses.fetch_add(1, SeqCst),
                            Some("57014") => hits.fetch_add(1, SeqCst),
                            Some(other) => panic!("{other}"),
                        };
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    drop(order);
                });
            });
        }
        for number in 0..4 {
            scope.spawn(move || {
                let (over, _, _, innocent, address) = shared;
                let mut client = Raw::connect(address, &login(database, &[])).unwrap();
                while !over.load(SeqCst) {
                    let frames = match number % 2 {
                        0 => simple(&mut client, "SELECT pg_sleep(0.002)"),
                        _ => extended(&mut client, &["SELECT pg_sleep(0.001)", "SELECT pg_sleep(0.001)"]),
                    };
                    assert_eq!(code(&frames), None, "somebody else's cancel request has hit");
                    innocent.fetch_add(1, SeqCst);
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
        }
        let began = Instant::now();
        while began.elapsed() < RACE {
            std::thread::sleep(Duration::from_millis(20));
        }
        over.store(true, SeqCst);
    });
    let [hits, misses, innocent] = [hits, misses, innocent].map(AtomicUsize::into_inner);
    println!("{database}: {hits} hit, {misses} came too early or too late, {innocent} statements of others");
    assert!(hits > 10 && misses > 0 && innocent > 50, "{hits} hit, {misses} missed, {innocent} of others");
}
