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
    let pid = stand.proxy.pid().expect("it runs");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
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
