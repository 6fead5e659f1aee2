//! What clients cost in memory, whatever was done before.

use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Raw, wait};

use crate::stand::{LONG, Stand, begin, end};

/// Clients that wait at the same time: their buffers are many more than are kept for later use.
const CLIENTS: usize = 1000;
/// What each of them may keep resident while it waits: a few pages, where its buffer has 128 KiB (bytes).
const EACH: u64 = 24 * 1024;

/// Resident memory of the proxy (bytes).
pub fn resident(stand: &Stand) -> u64 {
    status(stand, "VmRSS:")
}

/// The most that was resident since [`forget_peak`] (bytes).
pub fn peak(stand: &Stand) -> u64 {
    status(stand, "VmHWM:")
}

/// From now on [`peak`] is measured anew.
pub fn forget_peak(stand: &Stand) {
    let pid = stand.proxy.pid().expect("it runs");
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("its peak is forgotten");
}

fn status(stand: &Stand, key: &str) -> u64 {
    let pid = stand.proxy.pid().expect("it runs");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let line = status.lines().find(|line| line.starts_with(key)).expect("a line of it");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
}

/// The memory while all of them wait for a server connection.
fn while_all_wait(stand: &Stand, holder: &mut Raw, clients: &mut [Raw]) -> u64 {
    holder.query("begin", LONG).expect("a turn");
    clients.iter_mut().for_each(|client| begin(client, "select 1"));
    let all = format!("cl_waiting={}", clients.len());
    wait::until(LONG, "all wait", || stand.shows("SHOW POOLS", &["user=u0", &all]).then_some(()));
    let resident = resident(stand);
    holder.query("commit", LONG).expect("a turn");
    clients.iter_mut().for_each(|client| _ = end(client));
    resident
}

#[test]
fn buffers_of_clients_that_wait_are_not_resident_whatever_was_done_before() {
    let stand = Stand::new(1, 1, "default_pool_size = 1", "");
    let mut holder = stand.client(0, 0);
    let mut clients: Vec<Raw> = (0..CLIENTS).map(|_| stand.client(0, 0)).collect();
    let idle = resident(&stand);
    let bound = idle + CLIENTS as u64 * EACH;
    let first = while_all_wait(&stand, &mut holder, &mut clients);
    assert!(first < bound, "{first} after {idle}");
    // Their buffers have been freed; so have larger ones, and many small things have come to stay.
    for (at, client) in clients.iter_mut().enumerate().take(200) {
        let name = format!("s{at}");
        let parse = message::parse(&name, &format!("select {at}, '{}'", "x".repeat(300)), &[]);
        client.round_trip(&[parse, message::sync()].concat(), LONG).expect("prepared");
    }
    let large = format!("select length('{}'), repeat('y', 3000000)", "z".repeat(3_000_000));
    holder.query(&large, LONG).expect("a large one");
    for round in 0..3 {
        let again = while_all_wait(&stand, &mut holder, &mut clients);
        assert!(again < bound, "round {round}: {again} after {idle}");
    }
}

/// How many clients loop, and what all of the proxy may take then (MiB).
fn loop_of() -> (usize, u64) {
    let clients = std::env::var("PGSLUICE_TEST_LOOPING").ok().and_then(|text| text.parse().ok()).unwrap_or(1000);
    // A build without optimisation has some 20 MiB of its own code in memory.
    (clients, if clients >= 5000 { 60 } else { 56 })
}

#[test]
fn looping_clients_stay_small_whatever_was_done_before() {
    let (count, bound) = loop_of();
    let top = "max_client_conn = 20000\nlog_connections = false\nlog_disconnections = false";
    let stand = Stand::new(1, 1, top, "");
    // 2,000 prepared statements by 20 clients, kept and closed.
    let mut twenty: Vec<Raw> = (0..20).map(|_| stand.client(0, 0)).collect();
    for (at, client) in twenty.iter_mut().enumerate() {
        for nth in 0..100 {
            let text = format!("select {at}, {nth}, '{}'", "x".repeat(300));
            let parse = message::parse(&format!("s{nth}"), &text, &[]);
            let run = [message::bind("", &format!("s{nth}"), &[]), message::execute("", 0), message::sync()];
            client.round_trip(&[parse, run.concat()].concat(), LONG).expect("prepared");
        }
    }
    // Large results, large queries, large values.
    let large = vec![b'v'; 10_000_000];
    for client in &mut twenty {
        client.query("select repeat('y', 1000) from generate_series(1, 20000)", LONG).expect("rows");
        client.query(&format!("select length('{}')", "z".repeat(3_000_000)), LONG).expect("a large one");
        let parse = message::parse("", "select length($1::text)", &[]);
        let run = [message::bind("", "", &[Some(&large)]), message::execute("", 0), message::sync()];
        client.round_trip(&[parse, run.concat()].concat(), LONG).expect("a large value");
    }
    drop(twenty);
    // A crowd that left, in the middle of something.
    let mut crowd: Vec<Raw> = (0..count).map(|_| stand.client(0, 0)).collect();
    crowd.iter_mut().for_each(|client| begin(client, "select repeat('c', 100000)"));
    drop(crowd);
    let mut clients: Vec<Raw> = (0..count).map(|_| stand.client(0, 0)).collect();
    let idle = resident(&stand);
    forget_peak(&stand);
    for _ in 0..5 {
        clients.iter_mut().for_each(|client| begin(client, "select 1"));
        clients.iter_mut().for_each(|client| _ = end(client));
    }
    let (peak, after) = (peak(&stand), resident(&stand));
    println!(
        "{count} clients: {} MiB idle, {} MiB at most while they loop, {} MiB after",
        idle >> 20,
        peak >> 20,
        after >> 20
    );
    assert!(peak < bound << 20, "{peak}");
}
