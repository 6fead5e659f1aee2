//! Asking for READ WRITE through a closed gate is accepted, runs READ ONLY underneath, and the first write is refused.

use crate::stand::{Stand, query, sqlstate, talk};
use pgsluice_fixtures::raw::message::{bind, describe_portal, execute, parse, query as q, sync};
use pgsluice_fixtures::{Frame, Login, Raw};

/// What a session says before it reads, and whether a block is open behind it.
const ASKS: &[(&[&str], bool)] = &[
    (&["BEGIN READ WRITE"], true),
    (&["begin transaction isolation level serializable, read write"], true),
    (&["START TRANSACTION ISOLATION LEVEL REPEATABLE READ READ WRITE"], true),
    (&["BEGIN", "SET TRANSACTION READ WRITE"], true),
    (&["BEGIN", "SELECT 1", "SET TRANSACTION READ WRITE"], true),
    (&["BEGIN READ ONLY", "SET TRANSACTION READ WRITE"], true),
    (&["BEGIN", "SAVEPOINT a", "SET LOCAL transaction_read_only = off"], true),
    (&["BEGIN", "RESET transaction_read_only"], true),
    (&["BEGIN", "SET transaction_read_only TO DEFAULT"], true),
    (&["BEGIN", "SELECT set_config('transaction_read_only', 'off', true)"], true),
    (&["BEGIN READ WRITE", "COMMIT AND CHAIN"], true),
    (&["BEGIN READ /* and */ WRITE", "ROLLBACK AND CHAIN"], true),
    (&["BEGIN; SET TRANSACTION READ WRITE; SELECT 1"], true),
    (&["SET default_transaction_read_only = off"], false),
    (&["SET default_transaction_read_only = off", "BEGIN READ WRITE"], true),
    (&["SET SESSION default_transaction_read_only TO 'f'", "COMMIT"], false),
    (&["SET \"default_transaction_read_only\" TO 00"], false),
    (&["RESET default_transaction_read_only", "BEGIN"], true),
    (&["SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE"], false),
    (&["SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ WRITE", "BEGIN"], true),
    (&["SELECT pg_catalog.set_config('default_transaction_read_only', 'no', false)"], false),
    (&["SET default_transaction_read_only = off; COMMIT; SELECT 1"], false),
    (&["SET default_transaction_read_only = off; BEGIN READ WRITE; SELECT 1"], true),
];

fn extended(name: &str, sql: &str) -> Vec<u8> {
    [parse(name, sql, &[]), bind("", name, &[]), describe_portal(""), execute("", 0), sync()].concat()
}

fn value(frames: &[Frame]) -> String {
    let row = frames.iter().find(|frame| frame.tag == b'D').expect("a row");
    row.values().into_iter().next().flatten().map_or_else(String::new, |v| String::from_utf8_lossy(&v).into_owned())
}

fn is_fine(frames: &[Frame], what: &str) {
    assert_eq!(frames.iter().find_map(Frame::error), None, "{what}");
}

/// Reads, is told the truth, and is refused its write as by PostgreSQL.
fn reads_and_cannot_write(raw: &mut Raw, block: bool, send: &dyn Fn(&str) -> Vec<u8>, what: &str) {
    is_fine(&talk(raw, &send("SELECT count(*) FROM t"), 1), what);
    assert_eq!(value(&talk(raw, &send("SHOW transaction_read_only"), 1)), "on", "{what}");
    let frames = talk(raw, &send("INSERT INTO t VALUES (900, 'through')"), 1);
    let error = frames.iter().find_map(Frame::error).unwrap_or_else(|| panic!("{what}: {frames:?}"));
    assert_eq!(
        (error.code(), error.message()),
        ("25006", "cannot execute INSERT in a read-only transaction"),
        "{what}"
    );
    assert_eq!(error.detail(), Some("database \"app\" is in maintenance: moving house"), "{what}");
    assert_eq!(frames.last().unwrap().body[0], if block { b'E' } else { b'I' }, "{what}");
    assert_eq!(sqlstate(&talk(raw, &send("SELECT writes()"), 1)), if block { "25P02" } else { "25006" }, "{what}");
    if block {
        is_fine(&talk(raw, &send("ROLLBACK"), 1), what);
        assert_eq!(sqlstate(&talk(raw, &send("SELECT writes()"), 1)), "25006", "{what}");
    }
}

fn every_spelling(mode: &str) {
    let stand = Stand::new(mode);
    // Prepared before the flip, on the server too.
    let mut before = stand.app();
    for (nth, (asks, _)) in ASKS.iter().enumerate() {
        for (step, sql) in asks.iter().enumerate().filter(|(_, sql)| !sql.contains(';')) {
            is_fine(&talk(&mut before, &[parse(&format!("s{nth}_{step}"), sql, &[]), sync()].concat(), 1), sql);
        }
    }
    stand.on();
    let everything = stand.everything();
    for (nth, (asks, block)) in ASKS.iter().enumerate() {
        let single = !asks.iter().any(|sql| sql.contains(';'));
        let what = format!("{mode}: {asks:?}");
        let mut raw = stand.app();
        for sql in *asks {
            is_fine(&query(&mut raw, sql), &what);
        }
        reads_and_cannot_write(&mut raw, *block, &q, &what);
        if !single {
            continue;
        }
        for sql in *asks {
            is_fine(&talk(&mut before, &extended("", sql), 1), &what);
        }
        reads_and_cannot_write(&mut before, *block, &|sql| extended("", sql), &what);
        for step in 0..asks.len() {
            let bytes = [bind("", &format!("s{nth}_{step}"), &[]), execute("", 0), sync()].concat();
            is_fine(&talk(&mut before, &bytes, 1), &what);
        }
        reads_and_cannot_write(&mut before, *block, &q, &what);
        // All in one batch: its last statement is the first to fail.
        let one = |sql: &str| [parse("", sql, &[]), bind("", "", &[]), execute("", 0)].concat();
        let batch: Vec<u8> = asks.iter().flat_map(|sql| one(sql)).collect();
        let batch = [batch, one("SELECT count(*) FROM t"), one("DELETE FROM t"), sync()].concat();
        let frames = talk(&mut before, &batch, 1);
        let error = frames.iter().find_map(Frame::error).unwrap_or_else(|| panic!("{what}: {frames:?}"));
        assert_eq!(error.message(), "cannot execute DELETE in a read-only transaction", "{what}");
        assert_eq!(frames.iter().filter(|frame| frame.tag == b'C').count(), asks.len() + 1, "{what}");
        query(&mut before, "ROLLBACK");
        assert_eq!(stand.everything(), everything, "{what}");
    }
    stand.off();
    is_fine(&query(&mut before, "BEGIN READ WRITE"), "open");
    is_fine(&query(&mut before, "INSERT INTO t VALUES (900, 'through')"), "open");
    is_fine(&query(&mut before, "COMMIT"), "open");
}

#[test]
fn read_write_in_any_spelling_is_accepted_and_runs_read_only() {
    every_spelling("");
}

#[test]
fn read_write_in_any_spelling_is_accepted_on_a_connection_of_its_own() {
    every_spelling("pool_mode = \"session\"");
}

#[test]
fn it_is_too_late_to_ask_for_read_write_where_postgresql_says_so() {
    let stand = Stand::new("");
    stand.on();
    let late = "transaction read-write mode must be set before any query";
    let inside = "cannot set transaction read-write mode inside a read-only transaction";
    let form: [fn(&str) -> Vec<u8>; 2] = [q, |sql| extended("", sql)];
    for send in form {
        for (asks, message) in [
            (&["BEGIN READ ONLY", "SELECT 1", "SET TRANSACTION READ WRITE"][..], late),
            (&["BEGIN READ ONLY", "SELECT 1", "SET transaction_read_only = off"], late),
            (&["BEGIN", "SET TRANSACTION READ ONLY", "SELECT 1", "BEGIN READ WRITE"], late),
            (&["BEGIN READ ONLY", "SAVEPOINT a", "SET TRANSACTION READ WRITE"], inside),
            (&["SET default_transaction_read_only = on", "BEGIN", "SELECT 1", "SET TRANSACTION READ WRITE"], late),
        ] {
            let (last, first) = asks.split_last().unwrap();
            let (mut raw, mut direct) = (stand.app(), stand.direct(false));
            for raw in [&mut raw, &mut direct] {
                for sql in first {
                    is_fine(&talk(raw, &send(sql), 1), sql);
                }
                let frames = talk(raw, &send(last), 1);
                let error = frames.iter().find_map(Frame::error).unwrap_or_else(|| panic!("{asks:?}: {frames:?}"));
                assert_eq!((error.code(), error.message()), ("25001", message), "{asks:?}");
                assert_eq!(frames.last().unwrap().body, b"E", "{asks:?}");
            }
        }
    }
}

#[test]
fn what_a_session_chose_in_maintenance_is_in_force_when_the_gate_opens() {
    for mode in ["", "pool_mode = \"session\""] {
        let stand = Stand::new(mode);
        let with = |options: &str| {
            let login = Login::new("app", "app").password("app").parameter("options", options);
            Raw::connect(&stand.address(), &login).expect("a connection")
        };
        let mut sessions = [
            (stand.app(), &["SET default_transaction_read_only = on"][..], true),
            (
                stand.app(),
                &["SET default_transaction_read_only = on", "SET default_transaction_read_only = off"],
                false,
            ),
            (stand.app(), &["BEGIN", "SET default_transaction_read_only = on", "ROLLBACK"], false),
            (
                stand.app(),
                &["BEGIN", "SAVEPOINT a", "SET default_transaction_read_only = on", "ROLLBACK TO a", "COMMIT"],
                false,
            ),
            (stand.app(), &["SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"], true),
            (stand.app(), &["SELECT set_config('default_transaction_read_only', 'on', false)"], true),
            (stand.app(), &["SET default_transaction_read_only = on", "RESET ALL"], false),
            (with("-c default_transaction_read_only=off"), &["SELECT 1"], false),
            (with("-c default_transaction_read_only=on"), &["SELECT 1"], true),
            (with("-c default_transaction_read_only=on"), &["SET default_transaction_read_only = off"], false),
            (
                with("-c default_transaction_read_only=on"),
                &["SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE", "RESET default_transaction_read_only"],
                true,
            ),
            (
                with("-c default_transaction_read_only=on"),
                &["SELECT set_config('default_transaction_read_only', 'off', false)"],
                false,
            ),
        ];
        stand.on();
        for (raw, says, _) in &mut sessions {
            for sql in *says {
                is_fine(&query(raw, sql), sql);
                assert_eq!(value(&query(raw, "SHOW transaction_read_only")), "on", "{says:?}");
            }
        }
        stand.off();
        for (nth, (raw, says, read_only)) in sessions.iter_mut().enumerate() {
            let what = format!("{mode} {nth}: {says:?}");
            let word = if *read_only { "on" } else { "off" };
            assert_eq!(value(&query(raw, "SHOW default_transaction_read_only")), word, "{what}");
            let frames = query(raw, &format!("INSERT INTO t VALUES ({}, 'x')", 3000 + nth));
            assert_eq!(sqlstate(&frames), if *read_only { "25006" } else { "" }, "{what}");
        }
    }
}

#[test]
fn a_block_that_asks_for_read_write_is_not_held_but_its_write_is() {
    let stand = Stand::new("");
    stand.on_with_hold("30s");
    let mut raw = stand.app();
    is_fine(&query(&mut raw, "BEGIN READ WRITE"), "BEGIN");
    is_fine(&query(&mut raw, "SELECT count(*) FROM t"), "SELECT");
    raw.send(&q("INSERT INTO t VALUES (950, 'held')")).unwrap();
    pgsluice_fixtures::wait::until(crate::stand::LONG, "a held client", || (stand.clients("held") == 1).then_some(()));
    stand.off();
    let frames = raw.frames_until(crate::stand::LONG, |frame| frame.tag == b'Z').unwrap();
    is_fine(&frames, "the held write");
    is_fine(&query(&mut raw, "COMMIT"), "COMMIT");
    assert_eq!(stand.cluster.primary().psql_in("app", "SELECT count(*) FROM t WHERE id = 950").unwrap().trim(), "1");
}
