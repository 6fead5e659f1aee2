//! While the gate closes, a transaction that may write ends, and no other begins behind it: not in the same message, not in the same
//! batch, not in a message that was sent before the last one was answered.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::stand::{EndsAt, LONG, Stand, query, sqlstate, talk};
use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Frame, Raw, wait};

/// What the drain is given here, in seconds: far more than it needs.
const DRAIN: u64 = 20;

fn execute(sql: &str) -> Vec<u8> {
    [message::parse("", sql, &[]), message::bind("", "", &[]), message::execute("", 0)].concat()
}

/// How the statements of a round are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// In one simple query.
    Message,
    /// Each in a simple query of its own, all in one send.
    Messages,
    /// In one batch of the extended protocol.
    Batch,
    /// In batches that no Sync ends, only Flush.
    EndlessBatch,
    /// Each in a batch of its own, all in one send.
    Batches,
}

impl Way {
    fn bytes(self, statements: &[String]) -> (Vec<u8>, usize) {
        let each = |one: &String| match self {
            Way::Messages => message::query(one),
            Way::Batches => [execute(one), message::sync()].concat(),
            _ => execute(one),
        };
        let all: Vec<u8> = statements.iter().flat_map(each).collect();
        match self {
            Way::Message => (message::query(&statements.join("; ")), 1),
            Way::Messages | Way::Batches => (all, statements.len()),
            Way::Batch => ([all, message::sync()].concat(), 1),
            Way::EndlessBatch => ([all, message::flush()].concat(), 0),
        }
    }
}

/// What a client runs again and again; `#` is a number that no other row has.
const ROUNDS: [&[&str]; 7] = [
    &["COMMIT AND CHAIN", "INSERT INTO t VALUES (#, 'x')"],
    &["INSERT INTO t VALUES (#, 'x')", "COMMIT AND CHAIN"],
    &["COMMIT", "BEGIN", "INSERT INTO t VALUES (#, 'x')"],
    &["ROLLBACK AND CHAIN", "INSERT INTO t VALUES (#, 'x')"],
    &["ROLLBACK", "START TRANSACTION", "UPDATE t SET v = v || 'x' WHERE id = 1"],
    &["INSERT INTO t VALUES (#, 'x')", "COMMIT", "BEGIN"],
    &["SAVEPOINT a", "INSERT INTO t VALUES (#, 'x')", "RELEASE a", "COMMIT", "BEGIN ISOLATION LEVEL SERIALIZABLE"],
];

fn errors(frames: &[Frame]) -> Vec<String> {
    frames.iter().filter_map(Frame::error).map(|error| error.code().to_owned()).collect()
}

/// Runs rounds until one is refused, and never lets the server rest: one round is under way when the next is sent. Gives the
/// SQLSTATEs of the refusal.
fn go_on(raw: &mut Raw, way: Way, round: &[&str], numbers: &AtomicU32, over: &AtomicBool) -> Vec<String> {
    let mut owed = Vec::new();
    while !over.load(SeqCst) {
        let number = numbers.fetch_add(1, SeqCst).to_string();
        let statements: Vec<String> = round.iter().map(|one| one.replace('#', &number)).collect();
        let (bytes, readies) = way.bytes(&statements);
        raw.send(&bytes).expect("sent");
        owed.push((readies, statements.len()));
        let ahead = usize::from(matches!(way, Way::Messages | Way::Batches));
        if owed.len() <= ahead {
            continue;
        }
        let (readies, statements) = owed.remove(0);
        let (seen, done, failed) = (Cell::new(0), Cell::new(0), Cell::new(false));
        let frames = raw.frames_until(LONG, |frame| {
            seen.set(seen.get() + usize::from(frame.tag == b'Z'));
            done.set(done.get() + usize::from(frame.tag == b'C'));
            failed.set(failed.get() | (frame.tag == b'E'));
            if readies > 0 { seen.get() == readies } else { done.get() == statements || failed.get() }
        });
        let found = errors(&frames.unwrap_or_else(|error| panic!("{way:?} {round:?}: {error}")));
        if !found.is_empty() {
            let rest: usize = owed.iter().map(|(readies, _)| readies).sum();
            if rest > 0 {
                talk(raw, &[], rest);
            } else if way == Way::EndlessBatch {
                talk(raw, &message::sync(), 1);
            }
            return found;
        }
    }
    panic!("{way:?} {round:?}: never refused");
}

fn ways_of(round: &[&str]) -> Vec<Way> {
    // In one message with others BEGIN of an isolation level is no different; a batch by batch SAVEPOINT is.
    let all = [Way::Message, Way::Messages, Way::Batch, Way::EndlessBatch, Way::Batches];
    all.into_iter().filter(|way| !(round.len() == 5 && *way == Way::Messages)).collect()
}

#[test]
fn one_client_that_goes_on_and_on_does_not_keep_the_gate_from_closing() {
    for settings in ["default_pool_size = 40", "default_pool_size = 40\npool_mode = \"session\""] {
        let stand = Stand::new(settings);
        let numbers = AtomicU32::new(1000);
        let rounds = ROUNDS.iter().step_by(if stand.pins_all() { 3 } else { 1 });
        for round in rounds.copied() {
            for way in ways_of(round) {
                let mut app = stand.app();
                query(&mut app, "BEGIN");
                query(&mut app, "INSERT INTO t VALUES (999, 'first') ON CONFLICT DO NOTHING");
                let over = AtomicBool::new(false);
                let (row, found) = std::thread::scope(|scope| {
                    let _ends = EndsAt(&over);
                    let client = scope.spawn(|| go_on(&mut app, way, round, &numbers, &over));
                    let before = numbers.load(SeqCst);
                    wait::until(LONG, "some rounds", || (numbers.load(SeqCst) > before + 3).then_some(()));
                    let on = format!("MAINTENANCE ON app WITH (drain_timeout '{DRAIN}s', on_timeout revert)");
                    let began = Instant::now();
                    let row = stand.console(&on).remove(0);
                    assert!(began.elapsed() < Duration::from_secs(DRAIN / 2), "{way:?} {round:?}: {row:?}");
                    (row, client.join().expect("a client"))
                });
                assert_eq!(row[1].as_deref(), Some("read_only"), "{way:?} {round:?}: {row:?}");
                let first = found.first().map(String::as_str);
                assert_eq!(first, Some("25006"), "{way:?} {round:?}: {found:?}");
                let before = stand.everything();
                query(&mut app, "ROLLBACK");
                assert_eq!(sqlstate(&query(&mut app, "INSERT INTO t VALUES (998, 'x')")), "25006");
                assert_eq!(stand.everything(), before, "{way:?} {round:?}");
                stand.off();
                assert_eq!(sqlstate(&query(&mut app, "UPDATE t SET v = 'open' WHERE id = 2")), "", "{way:?} {round:?}");
            }
        }
    }
}

/// The gate is closing, and this client has written.
fn draining(stand: &Stand, before: &[&str], then: impl FnOnce(&mut Raw)) -> Vec<Option<String>> {
    let mut app = stand.app();
    for sql in before {
        assert_eq!(sqlstate(&query(&mut app, sql)), "", "{sql}");
    }
    std::thread::scope(|scope| {
        let on = scope.spawn(|| stand.on());
        wait::until(LONG, "the drain", || (stand.mode() == "draining").then_some(()));
        // Its session knows of it when its own mode tells so.
        wait::until(LONG, "the news", || {
            let frames = query(&mut app, "SHOW pgsluice.mode");
            let row = frames.iter().find(|frame| frame.tag == b'D')?.values();
            (row[0].as_deref() == Some(b"draining")).then_some(())
        });
        then(&mut app);
        on.join().expect("an answer")
    })
}

fn tags(frames: &[Frame]) -> String {
    let shown = frames.iter().filter(|frame| !matches!(frame.tag, b'S' | b'N'));
    shown.map(|frame| frame.tag as char).collect()
}

#[test]
fn a_message_that_is_cut_is_answered_as_one() {
    for settings in ["default_pool_size = 40", "default_pool_size = 40\npool_mode = \"session\""] {
        let stand = Stand::new(settings);
        stand.operator().query(DEFERRED, LONG).expect("a table");
        let writes = ["BEGIN", "INSERT INTO t VALUES (2000, 'kept')"];
        // What is behind the end is refused where it writes, runs where it reads, and has its place in errors.
        for (sql, seen, code, position) in [
            ("COMMIT; INSERT INTO t VALUES (2001, 'x')", "CEZ", "25006", None),
            ("COMMIT AND CHAIN; SELECT 1; UPDATE t SET v = 'x'", "CTDCEZ", "25006", None),
            ("ROLLBACK; SELECT 'y'; SELECT 'z'", "CTDCTDCZ", "", None),
            ("/* a */ COMMIT ; SELECT nosuch", "CEZ", "42703", Some("25")),
            ("SELECT nosuch; COMMIT; SELECT 1", "EZ", "42703", Some("8")),
            ("COMMIT; BEGIN; COMMIT; BEGIN; INSERT INTO t VALUES (2002, 'x')", "CCCCEZ", "25006", None),
            ("COMMIT;", "CZ", "", None),
            ("COMMIT; ;; -- nothing", "CZ", "", None),
        ] {
            let row = draining(&stand, &writes, |app| {
                let frames = query(app, sql);
                assert_eq!(tags(&frames), seen, "{sql}: {frames:?}");
                assert_eq!(sqlstate(&frames), code, "{sql}");
                let error = frames.iter().find(|frame| frame.tag == b'E').map(Frame::error_fields);
                let found = error.as_ref().and_then(|fields| fields.get(&'P')).map(String::as_str);
                assert_eq!(found, position, "{sql}");
                let end = if sql.starts_with("SELECT nosuch") { "ROLLBACK" } else { "ROLLBACK; SELECT 1" };
                assert_eq!(tags(&query(app, end)).matches('Z').count(), 1, "{sql}");
            });
            assert_eq!(row[1].as_deref(), Some("read_only"), "{sql}: {row:?}");
            stand.off();
            query(&mut stand.app(), "DELETE FROM t WHERE id >= 2000");
        }
        // What fails at COMMIT keeps the rest from running.
        let broken = ["BEGIN", "INSERT INTO deferred VALUES (1), (1)"];
        let row = draining(&stand, &broken, |app| {
            let frames = query(app, "COMMIT; SELECT 1; INSERT INTO t VALUES (2003, 'x')");
            assert_eq!((tags(&frames).as_str(), sqlstate(&frames).as_str()), ("EZ", "23505"));
            assert_eq!(tags(&query(app, "SELECT 1")), "TDCZ");
        });
        assert_eq!(row[1].as_deref(), Some("read_only"), "{row:?}");
        stand.off();
        let row = draining(&stand, &broken, |app| {
            let batch = [execute("COMMIT"), execute("SELECT 1"), message::sync()].concat();
            let frames = talk(app, &batch, 1);
            assert_eq!((tags(&frames).as_str(), sqlstate(&frames).as_str()), ("12EZ", "23505"));
            assert_eq!(tags(&query(app, "SELECT 1")), "TDCZ");
        });
        assert_eq!(row[1].as_deref(), Some("read_only"), "{row:?}");
        stand.off();
        // A batch is one answer too, and what was prepared in it ahead of the cut is there behind it.
        let row = draining(&stand, &writes, |app| {
            let batch = [
                message::parse("later", "SELECT $1::int + 1", &[]),
                execute("COMMIT"),
                message::bind("", "later", &[Some(b"41")]),
                message::execute("", 0),
                execute("INSERT INTO t VALUES (2004, 'x')"),
                execute("SELECT 1"),
                message::sync(),
            ];
            let frames = talk(app, &batch.concat(), 1);
            let (seen, code) = (tags(&frames), sqlstate(&frames));
            assert!(seen.starts_with("112C2DC") && seen.ends_with("EZ"), "{seen}");
            assert_eq!(code, "25006");
            assert_eq!(tags(&query(app, "SELECT 1")), "TDCZ");
        });
        assert_eq!(row[1].as_deref(), Some("read_only"), "{row:?}");
        stand.off();
    }
}

#[test]
fn a_session_that_goes_offline_begins_no_other_transaction() {
    for settings in ["default_pool_size = 40", "default_pool_size = 40\npool_mode = \"session\""] {
        let stand = Stand::new(settings);
        // The last one reads, in a session that keeps its server connection.
        for (begins, round, codes) in [
            (
                "BEGIN; INSERT INTO t VALUES (3000, 'x')",
                "COMMIT AND CHAIN; INSERT INTO t VALUES (#, 'x')",
                &["57P01"][..],
            ),
            ("BEGIN; INSERT INTO t VALUES (3000, 'x')", "COMMIT; BEGIN; SELECT 1", &["57P03", "57P01"]),
            ("CREATE TEMP TABLE mine (n int)", "BEGIN; SELECT * FROM mine; COMMIT", &["57P03", "57P01"]),
            ("CREATE TEMP TABLE mine (n int)", "SELECT 1", &["57P03", "57P01"]),
        ] {
            let mut app = stand.app();
            assert_eq!(sqlstate(&query(&mut app, begins)), "", "{begins}");
            std::thread::scope(|scope| {
                let (stand, began) = (&stand, Instant::now());
                let off = format!("OFFLINE app WITH (drain_timeout '{DRAIN}s', on_timeout revert)");
                let off = scope.spawn(move || stand.console(&off).remove(0));
                // Never without a transaction for long, until it is refused.
                let mut number = 3100;
                let found = loop {
                    number += 1;
                    app.send(&message::query(&round.replace('#', &number.to_string()))).expect("sent");
                    let frames = app.frames_until(LONG, |frame| matches!(frame.tag, b'E' | b'Z')).expect("an answer");
                    if let Some(code) = errors(&frames).pop() {
                        break code;
                    }
                };
                assert!(codes.contains(&found.as_str()), "{round}: {found}");
                let row = off.join().expect("an answer");
                assert_eq!(row[1].as_deref(), Some("offline"), "{round}: {row:?}");
                assert!(began.elapsed() < Duration::from_secs(DRAIN / 2), "{round}: {row:?}");
            });
            stand.console("ONLINE app");
            query(&mut stand.app(), "DELETE FROM t WHERE id >= 3000");
        }
    }
}

const DEFERRED: &str =
    "CREATE TABLE deferred (n int UNIQUE DEFERRABLE INITIALLY DEFERRED); GRANT ALL ON deferred TO app";
