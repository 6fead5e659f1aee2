//! What a statement does in its session and is no part of its transaction stays, also where the statement fails, or where only some
//! of its rows are fetched; and what is called by a message instead of a statement does the same.

use crate::stand::{Client, Place, SOON};
use pgsluice_fixtures::raw::message::{bind, close_portal, execute, function_call, parse, query, sync};
use pgsluice_fixtures::wait;

const FAILS: &str = "pg_advisory_lock(1), 1 / (random() * 0)::int";

/// Messages that take an advisory lock, and how many ReadyForQuery they are answered with.
fn ways() -> Vec<(Vec<u8>, usize)> {
    let simple = |sql: &str| (query(&sql.replace("$fails", FAILS)), 1);
    let extended = |sql: &str, rows: i32, behind: &[Vec<u8>]| {
        let sql = sql.replace("$fails", FAILS);
        let batch = [parse("", &sql, &[]), bind("p", "", &[]), execute("p", rows)].concat();
        ([batch, behind.concat(), sync()].concat(), 1)
    };
    let two = |first: &str, second: &str| ([simple(first).0, simple(second).0].concat(), 2);
    vec![
        simple("SELECT $fails"),
        simple("SELECT 1; SELECT $fails"),
        simple("SELECT 1 WHERE pg_advisory_lock(1) IS NULL OR 1 / (random() * 0)::int = 1"),
        simple("SELECT pg_try_advisory_lock_shared(1), 1 / (random() * 0)::int"),
        simple("BEGIN; SELECT $fails; COMMIT"),
        two("BEGIN; SAVEPOINT a; SELECT $fails", "ROLLBACK TO a; COMMIT"),
        simple("COPY (SELECT $fails) TO STDOUT"),
        simple("EXPLAIN ANALYZE SELECT $fails"),
        simple("DECLARE c CURSOR WITH HOLD FOR SELECT $fails"),
        simple("DO $$ BEGIN PERFORM pg_advisory_lock(1); RAISE 'failed'; END $$"),
        simple("SELECT query_to_xml('SELECT $fails', true, true, '')"),
        two("PREPARE x AS SELECT $fails", "EXECUTE x"),
        extended("SELECT $fails", 0, &[]),
        extended("SELECT pg_advisory_lock(g) FROM generate_series(1, 3) g", 1, &[]),
        extended("SELECT pg_advisory_lock(g) FROM generate_series(1, 3) g", 1, &[close_portal("p")]),
        (function_call(2880, &[Some(&1_i64.to_be_bytes())]), 1),
        (function_call(2888, &[Some(&1_i32.to_be_bytes()), Some(&2_i32.to_be_bytes())]), 1),
    ]
}

fn talk(client: &mut Client, (bytes, readies): &(Vec<u8>, usize)) {
    let seen = std::cell::Cell::new(0);
    client.0.send(bytes).unwrap();
    let all = |frame: &pgsluice_fixtures::Frame| {
        seen.set(seen.get() + usize::from(frame.tag == b'Z'));
        seen.get() == *readies
    };
    client.0.frames_until(SOON, all).unwrap();
    // In a block that has failed.
    client.ask("ROLLBACK");
}

const LOCKS: &str = "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' AND database = \
    (SELECT oid FROM pg_database WHERE datname = current_database())";

#[test]
fn a_lock_of_a_statement_that_fails_or_is_left_is_its_clients_alone() {
    let place = Place::new();
    let mut direct = place.direct();
    for (nth, way) in ways().iter().enumerate() {
        let mut one = place.client();
        talk(&mut one, way);
        assert_ne!(direct.value(LOCKS), "0", "way {nth} takes none");
        assert!(!place.pins().is_empty(), "way {nth} is not seen: {}", String::from_utf8_lossy(&way.0));
        drop(one);
        wait::until(SOON, &format!("no lock after way {nth}"), || (direct.value(LOCKS) == "0").then_some(()));
    }
}

#[test]
fn what_is_called_by_a_message_changes_nobody_elses_session() {
    let place = Place::new();
    let set = |name: &str, value: &str| {
        (function_call(2078, &[Some(name.as_bytes()), Some(value.as_bytes()), Some(&[0])]), 1)
    };
    let mut other = place.client();
    let before = other.value("SELECT concat(current_setting('work_mem'), nullif(current_setting('my.own', true), ''))");
    for way in [set("work_mem", "77kB"), set("my.own", "x"), (function_call(1599, &[Some(&0.5_f64.to_be_bytes())]), 1)]
    {
        let mut one = place.client();
        talk(&mut one, &way);
        assert_eq!(place.pins(), ["settings"]);
        drop(one);
        let now =
            other.value("SELECT concat(current_setting('work_mem'), nullif(current_setting('my.own', true), ''))");
        assert_eq!(now, before);
    }
}
