//! Holding: writes wait for the gate while reads flow, and nothing held is lost, sent twice, or sent after its client is gone.

use crate::stand::{LONG, Stand, query, sqlstate, talk};
use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Frame, Raw, wait};
use std::time::Duration;

const MODES: [&str; 2] = ["default_pool_size = 20", "default_pool_size = 20\npool_mode = \"session\""];

fn ok(raw: &mut Raw, sql: &str) -> Vec<Frame> {
    let frames = query(raw, sql);
    assert_eq!(sqlstate(&frames), "", "{sql}");
    frames
}

fn status(frames: &[Frame]) -> u8 {
    frames.last().expect("ReadyForQuery").body[0]
}

fn tags(frames: &[Frame]) -> Vec<String> {
    frames.iter().filter(|frame| frame.tag == b'C').map(|frame| frame.strings().concat()).collect()
}

fn parts(sql: &str) -> Vec<u8> {
    [message::parse("", sql, &[]), message::bind("", "", &[]), message::execute("", 0), message::sync()].concat()
}

fn held(stand: &Stand, count: usize) {
    wait::until(LONG, "writes to be held", || (stand.clients("held") == count).then_some(()));
}

fn answer(raw: &mut Raw, readies: usize) -> Vec<Frame> {
    (0..readies).flat_map(|_| raw.frames_until_ready(LONG).expect("an answer")).collect()
}

fn rows(stand: &Stand, condition: &str) -> String {
    stand.cluster.primary().psql_in("app", &format!("SELECT count(*) FROM t WHERE {condition}")).expect("a count")
}

/// A client, what it says before, what is held, how many ReadyForQuery that gets, and the tags.
type Case<'a> = (Raw, &'a [&'a str], Vec<u8>, usize, &'a [&'a str]);

#[test]
fn writes_wait_in_every_form_while_reads_flow() {
    for mode in MODES {
        let stand = Stand::new(mode);
        let mut named = stand.app();
        let prepare = [message::parse("ins", "INSERT INTO t VALUES ($1, 'named')", &[23]), message::sync()].concat();
        talk(&mut named, &prepare, 1);
        stand.on_with_hold("60s");
        let bind = [message::bind("", "ins", &[Some(b"704")]), message::execute("", 0), message::sync()].concat();
        let mut cases: Vec<Case<'_>> = vec![
            (stand.app(), &[], message::query("INSERT INTO t VALUES (700, 'simple')"), 1, &["INSERT 0 1"]),
            (
                stand.app(),
                &[],
                message::query("SELECT 1; INSERT INTO t VALUES (701, 'multi')"),
                1,
                &["SELECT 1", "INSERT 0 1"],
            ),
            (stand.app(), &[], parts("INSERT INTO t VALUES (702, 'extended')"), 1, &["INSERT 0 1"]),
            (
                stand.app(),
                &[],
                [
                    parts("SELECT 1"),
                    parts("INSERT INTO t VALUES (703, 'a')"),
                    parts("UPDATE t SET v = 'pipeline' WHERE id = 703"),
                ]
                .concat(),
                3,
                &["SELECT 1", "INSERT 0 1", "UPDATE 1"],
            ),
            (named, &[], bind, 1, &["INSERT 0 1"]),
            (stand.app(), &["BEGIN"], message::query("INSERT INTO t VALUES (705, 'block')"), 1, &["INSERT 0 1"]),
            (
                stand.app(),
                &["BEGIN", "SELECT count(*) FROM t"],
                parts("INSERT INTO t VALUES (706, 'block')"),
                1,
                &["INSERT 0 1"],
            ),
            (stand.app(), &[], message::query("CREATE TABLE made ()"), 1, &["CREATE TABLE"]),
        ];
        for (raw, before, bytes, ..) in &mut cases {
            for sql in *before {
                ok(raw, sql);
            }
            raw.send(bytes).expect("sent");
        }
        held(&stand, cases.len());
        let before = stand.everything();
        let mut reader = stand.app();
        for _ in 0..100 {
            ok(&mut reader, "SELECT count(*) FROM t");
        }
        assert_eq!(stand.everything(), before);
        stand.off();
        for (raw, before, _, readies, expected) in &mut cases {
            let frames = answer(raw, *readies);
            assert_eq!(sqlstate(&frames), "", "{mode}: {expected:?}");
            assert_eq!(tags(&frames), *expected, "{mode}");
            let open = !before.is_empty();
            assert_eq!(status(&frames), if open { b'T' } else { b'I' }, "{expected:?}");
            if open {
                ok(raw, "SELECT v FROM t WHERE id = 1");
                assert_eq!(tags(&query(raw, "COMMIT")), ["COMMIT"]);
            }
        }
        assert_eq!(rows(&stand, "id BETWEEN 700 AND 706"), "7", "{mode}");
        assert_eq!(rows(&stand, "v = 'pipeline'"), "1");
        assert_eq!(stand.clients("held"), 0);
    }
}

#[test]
fn after_hold_timeout_the_error_comes_as_if_at_once() {
    for mode in MODES {
        let stand = Stand::new(mode);
        stand.on_with_hold("50ms");
        let before = stand.everything();
        let mut raw = stand.app();
        let frames = query(&mut raw, "INSERT INTO t VALUES (710, 'x')");
        let error = frames.iter().find_map(Frame::error).expect("an error");
        assert_eq!(error.message(), "cannot execute INSERT in a read-only transaction", "{mode}");
        assert_eq!(error.detail(), Some("database \"app\" is in maintenance: moving house"));
        assert_eq!(status(&frames), b'I');
        let frames = talk(&mut raw, &parts("INSERT INTO t VALUES (711, 'x')"), 1);
        assert_eq!((sqlstate(&frames).as_str(), status(&frames)), ("25006", b'I'));
        for bytes in [message::query("UPDATE t SET v = 'x'"), parts("UPDATE t SET v = 'x'")] {
            ok(&mut raw, "BEGIN");
            ok(&mut raw, "SELECT 1");
            let frames = talk(&mut raw, &bytes, 1);
            assert_eq!((sqlstate(&frames).as_str(), status(&frames)), ("25006", b'E'), "{mode}");
            assert_eq!(sqlstate(&query(&mut raw, "SELECT 1")), "25P02");
            assert_eq!(tags(&query(&mut raw, "COMMIT")), ["ROLLBACK"]);
        }
        assert_eq!(stand.everything(), before);
    }
}

/// A block that cannot be begun anew without somebody noticing is not held.
#[test]
fn what_cannot_be_moved_is_refused() {
    let stand = Stand::new("");
    stand.operator().query("ALTER ROLE app SET default_transaction_isolation = 'repeatable read'", LONG).expect("set");
    let mut repeatable = stand.app();
    stand.operator().query("ALTER ROLE app RESET default_transaction_isolation", LONG).expect("reset");
    ok(&mut repeatable, "SET default_transaction_isolation = 'repeatable read'");
    stand.on_with_hold("60s");
    for (mut raw, before) in [
        (stand.app(), &["BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT 1"][..]),
        (repeatable, &["BEGIN", "SELECT 1"]),
        (stand.app(), &["BEGIN", "DECLARE c CURSOR FOR SELECT 1"]),
        (stand.app(), &["BEGIN", "SET LOCAL work_mem = '1MB'", "SELECT hides('a.b', 'c')"]),
        (stand.app(), &["BEGIN READ ONLY"]),
    ] {
        for sql in before {
            ok(&mut raw, sql);
        }
        let frames = query(&mut raw, "UPDATE t SET v = 'x'");
        assert_eq!((sqlstate(&frames).as_str(), status(&frames)), ("25006", b'E'), "{before:?}");
    }
}

#[test]
fn a_client_that_goes_takes_its_write_along_and_a_cancelled_one_is_told() {
    for mode in MODES {
        let stand = Stand::new(mode);
        stand.on_with_hold("60s");
        let (mut gone, mut cancelled, mut nested) = (stand.app(), stand.app(), stand.app());
        gone.send(&message::query("INSERT INTO t VALUES (720, 'gone')")).expect("sent");
        cancelled.send(&message::query("INSERT INTO t VALUES (721, 'cancelled')")).expect("sent");
        ok(&mut nested, "BEGIN");
        nested.send(&message::query("INSERT INTO t VALUES (722, 'nested')")).expect("sent");
        held(&stand, 3);
        drop(gone);
        for (raw, left) in [(&mut cancelled, b'I'), (&mut nested, b'E')] {
            raw.cancel(LONG).expect("a cancel request");
            let frames = answer(raw, 1);
            assert_eq!((sqlstate(&frames).as_str(), status(&frames)), ("57014", left), "{mode}");
        }
        held(&stand, 0);
        ok(&mut cancelled, "SELECT 1");
        assert_eq!(tags(&query(&mut nested, "COMMIT")), ["ROLLBACK"]);
        stand.off();
        ok(&mut cancelled, "INSERT INTO t VALUES (723, 'after')");
        assert_eq!(rows(&stand, "id BETWEEN 720 AND 723"), "1");
    }
}

#[test]
fn only_so_many_are_held() {
    let stand = Stand::new("[maintenance]\nhold_limit = 2");
    stand.on_with_hold("60s");
    let mut waiting: Vec<Raw> = (0..2).map(|_| stand.app()).collect();
    for (at, raw) in waiting.iter_mut().enumerate() {
        raw.send(&message::query(&format!("INSERT INTO t VALUES ({}, 'x')", 730 + at))).expect("sent");
    }
    held(&stand, 2);
    assert_eq!(sqlstate(&query(&mut stand.app(), "INSERT INTO t VALUES (739, 'x')")), "25006");
    stand.off();
    for raw in &mut waiting {
        assert_eq!(sqlstate(&answer(raw, 1)), "");
    }
    assert_eq!(rows(&stand, "id >= 730"), "2");
}

/// From hold to offline: who is held is told like anybody else.
#[test]
fn offline_ends_the_wait() {
    let stand = Stand::new("");
    stand.on_with_hold("60s");
    let mut raw = stand.app();
    raw.send(&message::query("INSERT INTO t VALUES (740, 'x')")).expect("sent");
    held(&stand, 1);
    stand.console("OFFLINE app WITH (drain_timeout '1s')");
    let frames = raw.frames_until_closed(Duration::from_secs(20)).expect("its end");
    assert!(["57P01", "57P03"].contains(&sqlstate(&frames).as_str()), "{frames:?}");
    assert_eq!(rows(&stand, "id = 740"), "0");
}

/// Frameworks tell the server who is asking, in the block of each request, before they write.
#[test]
fn a_block_that_was_only_set_up_is_held_and_set_up_anew() {
    for mode in MODES {
        let stand = Stand::new(mode);
        stand.on_with_hold("60s");
        let set = |sql: &str, values: &[Option<&[u8]>]| {
            [message::parse("", sql, &[]), message::bind("", "", values), message::execute("", 0), message::sync()]
                .concat()
        };
        let q = message::query;
        let mut cases = [
            vec![q("BEGIN"), q("SET LOCAL app.who = 'me'")],
            vec![q("BEGIN READ WRITE"), q("SELECT set_config('app.who', 'me', true)")],
            vec![
                parts("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"),
                set(
                    "select set_config('search_path', $1, true), set_config('app.who', $2, true)",
                    &[Some(b"public"), Some(b"me")],
                ),
            ],
            vec![q("BEGIN"), q("SELECT 1"), q("SAVEPOINT a"), parts("SET LOCAL app.who = 'me'")],
            vec![
                q("BEGIN"),
                q("SAVEPOINT a"),
                q("SET LOCAL app.who = 'other'"),
                q("ROLLBACK TO a"),
                q("SET app.who = 'me'"),
            ],
            vec![q("BEGIN; SET LOCAL app.who = 'me'")],
            vec![q("BEGIN"), q("SHOW transaction_isolation"), q("SET LOCAL app.who = 'me'"), parts("SHOW app.who")],
            vec![q("BEGIN ISOLATION LEVEL SERIALIZABLE"), q("SELECT set_config('app.who', 'me', true)")],
            vec![q("BEGIN"), q("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"), q("SET LOCAL app.who TO 'me'")],
        ]
        .map(|said| (stand.app(), said));
        for (nth, (raw, said)) in cases.iter_mut().enumerate() {
            for bytes in said.iter() {
                assert_eq!(sqlstate(&talk(raw, bytes, 1)), "", "{nth}");
            }
            let insert = format!("INSERT INTO t VALUES ({}, current_setting('app.who'))", 800 + nth);
            raw.send(&if nth % 2 == 0 { q(&insert) } else { parts(&insert) }).expect("sent");
        }
        held(&stand, cases.len());
        stand.off();
        for (nth, (raw, _)) in cases.iter_mut().enumerate() {
            let frames = answer(raw, 1);
            assert_eq!((sqlstate(&frames).as_str(), status(&frames)), ("", b'T'), "{mode} {nth}: {frames:?}");
            assert_eq!(tags(&query(raw, "COMMIT")), ["COMMIT"], "{mode} {nth}");
        }
        assert_eq!(rows(&stand, "id >= 800 AND v = 'me'"), cases.len().to_string(), "{mode}");
    }
}

#[test]
fn a_held_write_obeys_the_sessions_own_time_outs() {
    for mode in MODES {
        let stand = Stand::new(mode);
        stand.on_with_hold("60s");
        let statement = ("57014", "canceling statement due to statement timeout");
        let lock = ("55P03", "canceling statement due to lock timeout");
        for (said, left, expected) in [
            (&["SET statement_timeout = '300ms'"][..], b'I', statement),
            (&["SET lock_timeout = 300", "SET statement_timeout = '40s'"], b'I', lock),
            (&["SELECT set_config('statement_timeout', '300', false)"], b'I', statement),
            (&["BEGIN", "SET LOCAL statement_timeout = '300ms'", "SELECT 1"], b'E', statement),
            (&["SET statement_timeout = '300ms'", "BEGIN"], b'E', statement),
            (
                &[
                    "BEGIN",
                    "SET LOCAL lock_timeout = '600ms'",
                    "SAVEPOINT a",
                    "SET LOCAL statement_timeout = '250ms'",
                    "ROLLBACK TO a",
                ],
                b'E',
                lock,
            ),
        ] {
            for bytes in [message::query("UPDATE t SET v = 'x'"), parts("UPDATE t SET v = 'x'")] {
                let mut raw = stand.app();
                said.iter().for_each(|sql| drop(ok(&mut raw, sql)));
                let begun = std::time::Instant::now();
                let frames = talk(&mut raw, &bytes, 1);
                let error = frames.iter().find_map(Frame::error).expect("an error");
                assert_eq!((error.code(), error.message()), expected, "{mode}: {said:?}");
                assert_eq!(status(&frames), left, "{mode}: {said:?}");
                assert!((Duration::from_millis(300)..Duration::from_secs(20)).contains(&begun.elapsed()), "{said:?}");
                ok(&mut raw, if left == b'E' { "ROLLBACK" } else { "SELECT 1" });
            }
        }
    }
}

/// What a superuser sets, what the client says, and the error.
type TimedOut<'a> = (&'a [&'a str], &'a [&'a str], (&'a str, &'a str));

#[test]
fn a_held_write_obeys_the_time_outs_that_its_role_begins_with() {
    for mode in MODES {
        let stand = Stand::new(mode);
        let major = stand.cluster.primary().psql_in("app", "SHOW server_version_num").expect("a version");
        let has_whole = major.trim().parse::<u32>().expect("a number") >= 170_000;
        let statement = ("57014", "canceling statement due to statement timeout");
        let lock = ("55P03", "canceling statement due to lock timeout");
        let whole = ("25P04", "terminating connection due to transaction timeout");
        let mut cases: Vec<TimedOut<'_>> = vec![
            (&["ALTER ROLE app SET statement_timeout = '400ms'"], &[], statement),
            (&["ALTER DATABASE app SET lock_timeout = '400ms'"], &["BEGIN", "SELECT 1"], lock),
            (
                &["ALTER ROLE app IN DATABASE app SET lock_timeout = 400", "ALTER ROLE app SET lock_timeout = '1h'"],
                &[],
                lock,
            ),
            (&["ALTER ROLE ALL SET statement_timeout = 400"], &["SET lock_timeout = '1h'"], statement),
        ];
        if has_whole {
            cases.push((&["ALTER ROLE app SET transaction_timeout = '400ms'"], &[], whole));
            cases.push((&["ALTER ROLE app RESET transaction_timeout"], &["SET transaction_timeout = '400ms'"], whole));
            cases.push((&[], &["BEGIN", "SET LOCAL transaction_timeout = '400ms'", "SELECT 1"], whole));
        }
        for (set, said, expected) in cases {
            set.iter().for_each(|sql| drop(ok(&mut stand.operator(), sql)));
            // A client whose server connections are new.
            stand.console("RECONNECT app");
            stand.on_with_hold("60s");
            let mut raw = stand.app();
            said.iter().for_each(|sql| drop(ok(&mut raw, sql)));
            let begun = std::time::Instant::now();
            raw.send(&message::query("UPDATE t SET v = 'x'")).expect("sent");
            let frames = raw.frames_until(LONG, |frame| frame.tag == b'E').expect("an error");
            let error = frames.iter().find_map(Frame::error).expect("an error");
            assert_eq!((error.code(), error.message()), expected, "{mode}: {set:?} {said:?}");
            assert!((Duration::from_millis(300)..Duration::from_secs(20)).contains(&begun.elapsed()), "{set:?}");
            if expected != whole {
                raw.frames_until_ready(LONG).expect("the session lives");
                ok(&mut raw, "ROLLBACK");
            } else {
                assert!(raw.frames_until_ready(LONG).is_err(), "{mode}: it ends");
            }
            stand.off();
            let reset = "ALTER ROLE app RESET ALL; ALTER DATABASE app RESET ALL; ALTER ROLE app IN DATABASE app RESET ALL; \
                         ALTER ROLE ALL RESET ALL";
            reset.split(';').for_each(|sql| drop(ok(&mut stand.operator(), sql)));
        }
    }
}
