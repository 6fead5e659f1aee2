//! ParameterStatus tells each client of a flip: an idle one at once, a busy one before the end of what runs, and one that
//! connects meanwhile with its greeting.

use crate::stand::{LONG, Stand, query, sqlstate};
use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Frame, Raw, wait};

/// Name and value, if it is a ParameterStatus.
fn status(frame: &Frame) -> Option<(String, String)> {
    let mut words = frame.body.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
    (frame.tag == b'S').then(|| Some((words.next()?, words.next()?)))?
}

fn is(frame: &Frame, value: &str) -> bool {
    status(frame).is_some_and(|(name, now)| name == "default_transaction_read_only" && now == value)
}

/// The next frame, without having asked for anything, tells of the mode.
#[track_caller]
fn hears(raw: &mut Raw, value: &str) {
    let frame = raw.frame(LONG).unwrap();
    assert!(is(&frame, value), "{frame:?}");
}

fn told(raw: &Raw, name: &str) -> String {
    raw.parameters().get(name).cloned().unwrap_or_default()
}

fn until_mode(stand: &Stand, mode: &str) {
    wait::until(LONG, "the mode", || {
        let rows = stand.console("SHOW MAINTENANCE app");
        rows[0].iter().flatten().any(|value| value == mode).then_some(())
    });
}

#[test]
fn everybody_is_told_at_the_next_moment() {
    let stand = Stand::new("default_pool_size = 20");
    let [mut idle, mut used, mut writer, mut reading, mut sleeping, mut pinned] = [(); 6].map(|()| stand.app());
    for raw in [&mut used, &mut pinned] {
        assert_eq!(sqlstate(&query(raw, "SELECT 1")), "");
    }
    assert_eq!(sqlstate(&query(&mut pinned, "CREATE TEMP TABLE mine (n int)")), "");
    query(&mut writer, "BEGIN");
    assert_eq!(sqlstate(&query(&mut writer, "INSERT INTO t VALUES (300, 'x')")), "");
    // More than all buffers on the way hold: its answer is under way until it reads.
    reading.send(&message::query("SELECT repeat('x', 1000), g FROM generate_series(1, 30000) g")).unwrap();
    assert_eq!(reading.frame(LONG).unwrap().tag, b'T');
    sleeping.send(&message::query("SELECT pg_sleep(1)")).unwrap();
    stand.wait_for_sleeper();

    stand.console("MAINTENANCE ON app WITH (drain_timeout '30s') NOWAIT");
    for raw in [&mut idle, &mut used, &mut writer, &mut pinned] {
        hears(raw, "on");
    }
    let mut late = stand.app();
    assert_eq!(told(&late, "default_transaction_read_only"), "on");
    assert_eq!(told(&late, "in_hot_standby"), "off");
    // Within their answers, at the end of them, and once.
    for (raw, rows) in [(&mut reading, 30_000), (&mut sleeping, 1)] {
        let frames = raw.frames_until_ready(LONG).unwrap();
        let at = |frame: &Frame| is(frame, "on");
        assert_eq!(frames.iter().filter(|frame| frame.tag == b'D').count(), rows);
        assert_eq!(frames.iter().filter(|frame| at(frame)).count(), 1);
        assert!(at(&frames[frames.len() - 2]), "right before ReadyForQuery");
    }
    assert_eq!(sqlstate(&query(&mut writer, "COMMIT")), "");
    until_mode(&stand, "read_only");

    for raw in [&mut reading, &mut late] {
        raw.send(&message::query("BEGIN; SELECT 1")).unwrap();
        raw.frames_until_ready(LONG).unwrap();
    }
    stand.off();
    for raw in [&mut idle, &mut used, &mut writer, &mut reading, &mut sleeping, &mut pinned, &mut late] {
        hears(raw, "off");
    }
    for raw in [&mut reading, &mut late] {
        assert_eq!(sqlstate(&query(raw, "ROLLBACK")), "");
        assert_eq!(sqlstate(&query(raw, "UPDATE t SET v = v WHERE id = 300")), "");
    }
    for raw in [&idle, &used, &writer, &reading, &sleeping, &pinned, &late] {
        assert_eq!(told(raw, "in_hot_standby"), "off");
    }
    assert_eq!(told(&stand.app(), "default_transaction_read_only"), "off");
}

/// A client's own setting is not lost in what it is told.
#[test]
fn a_session_that_is_read_only_by_itself_is_told_nothing_new() {
    let stand = Stand::new("");
    let mut own = stand.app();
    let frames = query(&mut own, "SET default_transaction_read_only = on");
    assert!(frames.iter().any(|frame| is(frame, "on")), "{frames:?}");
    let mut operator = stand.operator();
    query(&mut operator, "SELECT 1");
    stand.on();
    assert_eq!(sqlstate(&query(&mut own, "SELECT 1")), "");
    stand.off();
    let frames = query(&mut own, "SELECT 1");
    assert!(!frames.iter().any(|frame| frame.tag == b'S'), "{frames:?}");
    assert!(!query(&mut operator, "SELECT 1").iter().any(|frame| frame.tag == b'S'));
}

/// What asks a server directly is answered for the whole.
#[test]
fn the_whole_is_not_in_recovery_while_there_is_a_primary() {
    let stand = Stand::new("");
    stand.console("MAINTENANCE ON app WITH (reads replica)");
    let mut app = stand.app();
    let mut one = |sql: &str| app.query(sql, LONG).unwrap()[0].rows[0][0].clone().unwrap();
    wait::until(LONG, "reads on the replica", || {
        (one("SELECT current_setting('transaction_read_only') || inet_server_port()")
            == format!("on{}", stand.cluster.replica(0).port()))
        .then_some(())
    });
    assert_eq!(one("SELECT pg_is_in_recovery()"), "f");
    assert_eq!(one("select pg_catalog.pg_is_in_recovery() as x"), "f");
    assert_eq!(one("SHOW in_hot_standby"), "off");
    assert_eq!(one("SHOW transaction_read_only"), "on");
    stand.off();
    assert_eq!(one("SHOW transaction_read_only"), "off");
}
