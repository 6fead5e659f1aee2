//! A simple query behind a batch without Sync. PostgreSQL 18 leaves its transaction open behind the Sync that follows, says that it is
//! idle, and fails with the next statement: that is the client's own, and nobody else's.

use std::cell::Cell;

use crate::stand::{Client, Place, SOON};
use pgsluice_fixtures::raw::message::{bind, execute, flush, parse, query, sync};

/// What a client is told, up to so many ReadyForQuery, without what hangs on the place in the server's source.
fn told(client: &mut Client, bytes: &[u8], readies: usize) -> Vec<String> {
    let seen = Cell::new(0);
    client.0.send(bytes).unwrap();
    let frames = client.0.frames_until(SOON, |frame| {
        seen.set(seen.get() + usize::from(frame.tag == b'Z'));
        seen.get() == readies
    });
    let words = |frame: &pgsluice_fixtures::Frame| match frame.error() {
        Some(error) => format!("{} {}", error.code(), error.message()),
        None => format!("{} {}", frame.tag as char, frame.body.escape_ascii()),
    };
    frames.unwrap().iter().map(words).collect()
}

fn run(sql: &str) -> Vec<u8> {
    [parse("", sql, &[]), bind("", "", &[]), execute("", 0)].concat()
}

#[test]
fn a_transaction_that_the_server_leaves_open_is_nobody_elses() {
    let place = Place::new();
    place.direct().ask("CREATE TABLE t (id int)");
    let ways: [(Vec<u8>, usize); 5] = [
        ([run("INSERT INTO t VALUES (1)"), query("SELECT 2"), sync()].concat(), 2),
        ([run("SELECT 1"), query("INSERT INTO t VALUES (2)"), sync(), sync()].concat(), 3),
        ([run("SELECT 1"), flush(), run("SELECT 2"), query("SELECT 3; SELECT 4"), sync()].concat(), 2),
        ([run("SELECT 1"), query("SET work_mem = '1MB'"), run("SELECT 2"), sync()].concat(), 2),
        ([run("SELECT 1"), query("BEGIN"), sync(), run("COMMIT"), sync()].concat(), 3),
    ];
    for (bytes, readies) in &ways {
        let (mut ours, mut direct, mut other) = (place.client(), place.direct(), place.client());
        assert_eq!(told(&mut ours, bytes, *readies), told(&mut direct, bytes, *readies));
        std::thread::scope(|scope| {
            let answered = scope.spawn(move || other.ask("SELECT 'another'"));
            for sql in ["SELECT 5", "SELECT count(*) FROM t WHERE id = 3", "SELECT 6"] {
                assert_eq!(told(&mut ours, &query(sql), 1), told(&mut direct, &query(sql), 1), "{sql}");
            }
            assert_eq!(answered.join().unwrap(), ["another"]);
        });
        // Who leaves it so has left nothing to the next.
        let mut leaves = place.client();
        told(&mut leaves, bytes, *readies);
        drop(leaves);
        let mut next = place.client();
        assert_eq!(next.ask("SELECT 'the next'"), ["the next"]);
        assert_eq!(next.ask("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%'"), ["0"]);
    }
}
