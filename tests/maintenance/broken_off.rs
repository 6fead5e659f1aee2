//! `on_timeout cancel` always comes to its end in time, whatever a client or a statement does, and says what it did.

use crate::abandoned::CATCHES;
use crate::stand::{LONG, Stand, query, sqlstate, talk};
use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Frame, Raw, wait};

fn modes() -> [&'static str; 2] {
    ["default_pool_size = 60", "default_pool_size = 60\npool_mode = \"session\""]
}

fn status(frames: &[Frame]) -> u8 {
    frames.last().expect("ReadyForQuery").body[0]
}

fn extended(sql: &str) -> Vec<u8> {
    [message::parse("", sql, &[]), message::bind("", "", &[]), message::execute("", 0)].concat()
}

fn busy(stand: &Stand, count: usize) {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND state <> 'idle'";
    stand.cluster.primary().wait_until(sql, &count.to_string(), LONG).unwrap();
}

/// Finished, fenced, cancelled.
fn counts(row: &[Option<String>]) -> [&str; 3] {
    [8, 9, 10].map(|at| row[at].as_deref().unwrap_or_default())
}

fn on(stand: &Stand) -> Vec<Option<String>> {
    let rows = stand.console("MAINTENANCE ON app WITH (drain_timeout '1s', on_timeout cancel, message 'now')");
    let row = rows.into_iter().next().expect("one row");
    assert_eq!(row[1].as_deref(), Some("read_only"), "{row:?}");
    row
}

fn nothing_late(stand: &Stand) {
    let sql = "SELECT count(*) FROM t WHERE v = 'late'";
    assert_eq!(stand.cluster.primary().psql_in("app", sql).expect("a count"), "0");
}

/// The tag of the first CommandComplete.
fn tag(frames: &[Frame]) -> String {
    frames.iter().find(|frame| frame.tag == b'C').map_or_else(String::new, |frame| frame.strings().concat())
}

fn message_of(frames: &[Frame]) -> String {
    frames.iter().find_map(Frame::error).map_or_else(String::new, |error| error.message().to_owned())
}

#[test]
fn a_silent_copy_is_broken_off_in_either_protocol() {
    for mode in modes() {
        let stand = Stand::new(mode);
        let (mut simple, mut batch, mut flushed) = (stand.app(), stand.app(), stand.app());
        simple.send(&message::query("COPY t FROM STDIN")).expect("sent");
        batch.send(&[extended("COPY t FROM STDIN"), message::sync()].concat()).expect("sent");
        flushed.send(&[extended("COPY t FROM STDIN"), message::flush()].concat()).expect("sent");
        for raw in [&mut simple, &mut batch, &mut flushed] {
            raw.frames_until(LONG, |frame| frame.tag == b'G').expect("CopyInResponse");
        }
        let row = on(&stand);
        assert_eq!(counts(&row), ["0", "0", "3"], "{row:?}");
        let frames = simple.frames_until_ready(LONG).expect("an answer");
        assert_eq!((sqlstate(&frames).as_str(), status(&frames)), ("25006", b'I'));
        for raw in [&mut batch, &mut flushed] {
            let frames = talk(raw, &message::sync(), 1);
            assert_eq!((sqlstate(&frames).as_str(), status(&frames)), ("25006", b'I'));
            assert_eq!(sqlstate(&query(raw, "SELECT 1")), "");
        }
        stand.off();
    }
}

#[test]
fn a_function_that_catches_cancellations_is_terminated() {
    for mode in modes() {
        let stand = Stand::new(mode);
        stand.operator().query(CATCHES, LONG).expect("a function");
        let (mut simple, mut block) = (stand.app(), stand.app());
        assert_eq!(sqlstate(&query(&mut block, "BEGIN")), "");
        simple.send(&message::query("SELECT catches(930)")).expect("sent");
        block.send(&message::query("SELECT catches(931)")).expect("sent");
        busy(&stand, 2);
        let row = on(&stand);
        assert_eq!(counts(&row), ["0", "0", "2"], "{row:?}");
        for raw in [&mut simple, &mut block] {
            let frames = raw.frames_until(LONG, |frame| frame.tag == b'E').expect("its end");
            assert_eq!(sqlstate(&frames), "57P01");
        }
        nothing_late(&stand);
    }
}

#[test]
fn a_client_that_reads_nothing_is_not_waited_for() {
    for mode in modes() {
        let stand = Stand::new(mode);
        let mut deaf = stand.app();
        let much = "SELECT repeat('x', 1000) FROM generate_series(1, 200000)";
        deaf.send(&message::query(much)).expect("sent");
        busy(&stand, 1);
        let row = on(&stand);
        assert_eq!(counts(&row), ["0", "0", "1"], "{row:?}");
    }
}

/// A postmaster signals the back end and then its process group (`signal_child`), so that one request to cancel may be two for
/// a statement. The function catches both before it writes.
#[test]
fn what_commits_in_the_grace_time_has_finished() {
    let stand = Stand::new("");
    let sql = "CREATE FUNCTION late_once() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
        BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN NULL; END;
        BEGIN PERFORM pg_sleep(0.3); EXCEPTION WHEN query_canceled THEN NULL; END;
        INSERT INTO public.t VALUES (940, 'in time'); RETURN 1; END $$";
    stand.operator().query(sql, LONG).expect("a function");
    let mut raw = stand.app();
    raw.send(&message::query("SELECT late_once()")).expect("sent");
    busy(&stand, 1);
    let row = on(&stand);
    assert_eq!(counts(&row), ["1", "0", "0"], "{row:?}");
    assert_eq!(sqlstate(&raw.frames_until_ready(LONG).expect("an answer")), "");
    let seen = stand.cluster.primary().psql_in("app", "SELECT v FROM t WHERE id = 940").expect("a row");
    assert_eq!(seen, "in time");
}

/// An implicit transaction that a Flush holds open: behind the client's Sync there is no block, as on a server.
#[test]
fn a_batch_held_open_by_flush_ends_without_a_block() {
    for mode in modes() {
        let stand = Stand::new(mode);
        let insert = |id: u32| extended(&format!("INSERT INTO t VALUES ({id}, 'late')"));
        let (mut idle, mut running, mut goes_on) = (stand.app(), stand.app(), stand.app());
        for (raw, id) in [(&mut idle, 950), (&mut goes_on, 951)] {
            raw.send(&[insert(id), message::flush()].concat()).expect("sent");
            raw.frames_until(LONG, |frame| frame.tag == b'C').expect("CommandComplete");
        }
        let slow = extended("INSERT INTO t SELECT 952, 'late' FROM pg_sleep(60)");
        running.send(&[slow, message::flush()].concat()).expect("sent");
        busy(&stand, 3);
        let row = on(&stand);
        assert_eq!(counts(&row), ["0", "0", "3"], "{row:?}");
        let frames = talk(&mut idle, &message::sync(), 1);
        assert_eq!((sqlstate(&frames).as_str(), status(&frames)), ("25006", b'I'));
        let frames = talk(&mut goes_on, &[insert(953), message::sync()].concat(), 1);
        assert_eq!((sqlstate(&frames).as_str(), status(&frames)), ("25006", b'I'));
        let frames = talk(&mut running, &message::sync(), 1);
        assert_eq!((sqlstate(&frames).as_str(), status(&frames)), ("25006", b'I'));
        for raw in [&mut idle, &mut running, &mut goes_on] {
            let frames = query(raw, "SELECT 1");
            assert_eq!((sqlstate(&frames).as_str(), status(&frames)), ("", b'I'));
        }
        nothing_late(&stand);
    }
}

/// The same within a block.
#[test]
fn a_batch_in_a_block_ends_in_a_failed_block() {
    let stand = Stand::new("");
    let mut raw = stand.app();
    assert_eq!(sqlstate(&query(&mut raw, "BEGIN")), "");
    raw.send(&[extended("INSERT INTO t VALUES (960, 'late')"), message::flush()].concat()).expect("sent");
    raw.frames_until(LONG, |frame| frame.tag == b'C').expect("CommandComplete");
    let row = on(&stand);
    assert_eq!(counts(&row), ["0", "0", "1"], "{row:?}");
    let frames = talk(&mut raw, &message::sync(), 1);
    assert_eq!((sqlstate(&frames).as_str(), status(&frames)), ("25006", b'E'));
    assert_eq!(tag(&query(&mut raw, "COMMIT")), "ROLLBACK");
    nothing_late(&stand);
}

#[test]
fn who_has_only_read_is_not_told_that_it_had_written() {
    let stand = Stand::new("");
    let mut raw = stand.app();
    raw.send(&message::query("SELECT pg_sleep(60)")).expect("sent");
    busy(&stand, 1);
    on(&stand);
    let frames = raw.frames_until_ready(LONG).expect("an answer");
    assert_eq!((sqlstate(&frames).as_str(), status(&frames)), ("25006", b'I'));
    assert!(!message_of(&frames).contains("it had written"), "{}", message_of(&frames));
}

/// A READ ONLY transaction that has taken its snapshot cannot write, whatever it runs.
#[test]
fn what_is_read_only_for_good_is_not_waited_for() {
    for mode in modes() {
        let stand = Stand::new(mode);
        let forms: [&[&str]; 4] = [
            &["BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "SELECT 1", "COPY (SELECT pg_sleep(4)) TO STDOUT"],
            &[
                "BEGIN",
                "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
                "SELECT count(*) FROM t, pg_sleep(4)",
            ],
            &["START TRANSACTION READ ONLY", "SELECT 1", "SAVEPOINT a", "SELECT pg_sleep(4)"],
            &["BEGIN READ ONLY", "DECLARE c CURSOR FOR SELECT pg_sleep(4)", "SELECT 1", "FETCH c"],
        ];
        let mut open: Vec<Raw> = forms.iter().map(|_| stand.app()).collect();
        for (raw, said) in open.iter_mut().zip(forms) {
            let (last, before) = said.split_last().expect("something");
            for sql in before {
                assert_eq!(sqlstate(&query(raw, sql)), "", "{sql}");
            }
            raw.send(&message::query(last)).expect("sent");
        }
        busy(&stand, forms.len());
        let began = std::time::Instant::now();
        let row = on(&stand);
        assert!(began.elapsed() < std::time::Duration::from_secs(3), "{row:?}");
        assert_eq!(counts(&row), ["0", "4", "0"], "{row:?}");
        for raw in &mut open {
            let frames = raw.frames_until_ready(LONG).expect("an answer");
            assert_eq!((sqlstate(&frames).as_str(), status(&frames)), ("", b'T'));
            let frames = query(raw, "COMMIT");
            assert_eq!((sqlstate(&frames).as_str(), status(&frames)), ("", b'I'));
            assert_eq!(sqlstate(&query(raw, "INSERT INTO t VALUES (970, 'late')")), "25006");
        }
        nothing_late(&stand);
    }
}

/// Nothing ran: nothing is waited for, and the batch goes on.
#[test]
fn who_has_only_prepared_is_not_waited_for() {
    for mode in modes() {
        let stand = Stand::new(mode);
        let prepare =
            |sql: &str| [message::parse("", sql, &[]), message::describe_statement(""), message::flush()].concat();
        let (mut reads, mut writes, mut block) = (stand.app(), stand.app(), stand.app());
        assert_eq!(sqlstate(&query(&mut block, "BEGIN")), "");
        for (raw, sql) in [
            (&mut reads, "SELECT 1"),
            (&mut block, "SELECT 2"),
            (&mut writes, "INSERT INTO t VALUES (980, 'late') RETURNING id"),
        ] {
            raw.send(&prepare(sql)).expect("sent");
            raw.frames_until(LONG, |frame| frame.tag == b'T').expect("RowDescription");
        }
        let row = on(&stand);
        assert_eq!(row[10].as_deref(), Some("0"), "{row:?}");
        let run = [message::bind("", "", &[]), message::execute("", 0), message::sync()].concat();
        assert_eq!(sqlstate(&talk(&mut reads, &run, 1)), "");
        assert_eq!(sqlstate(&talk(&mut block, &run, 1)), "");
        assert_eq!(sqlstate(&talk(&mut writes, &run, 1)), "25006");
        nothing_late(&stand);
    }
}

/// Behind such a cursor each FETCH locks rows, READ ONLY or not: it is waited for.
#[test]
fn a_cursor_that_locks_rows_is_waited_for() {
    let stand = Stand::new("");
    let lockers = "CREATE VIEW locks AS SELECT * FROM t FOR UPDATE; GRANT ALL ON locks TO app";
    stand.operator().query(lockers, LONG).expect("a view");
    for declare in [
        "DECLARE c CURSOR FOR SELECT * FROM t FOR UPDATE",
        "DECLARE c CURSOR FOR SELECT * FROM t FOR/**/KEY SHARE",
        "DECLARE c CURSOR FOR SELECT * FROM locks",
    ] {
        let mut raw = stand.app();
        for sql in ["BEGIN", declare] {
            assert_eq!(sqlstate(&query(&mut raw, sql)), "", "{sql}");
        }
        let row = on(&stand);
        assert_eq!(counts(&row), ["0", "0", "1"], "{declare}: {row:?}");
        stand.off();
    }
}

/// What was written on another server has no local transaction id, and is committed there with the local transaction.
#[test]
fn a_transaction_that_has_written_elsewhere_is_waited_for() {
    let stand = Stand::new("");
    let port = stand.cluster.primary().port();
    stand.cluster.primary().psql("CREATE DATABASE other").expect("a database");
    stand
        .cluster
        .primary()
        .psql_in("other", "CREATE TABLE far_t (v text); GRANT ALL ON far_t TO app")
        .expect("a table");
    let link = format!(
        "CREATE EXTENSION postgres_fdw;
         CREATE SERVER oth FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '{port}', dbname 'other');
         CREATE USER MAPPING FOR app SERVER oth OPTIONS (user 'app', password 'app');
         CREATE FOREIGN TABLE far_t (v text) SERVER oth;
         GRANT ALL ON far_t TO app;
         CREATE FUNCTION far() RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'INSERT INTO far_t VALUES (''f'')'; RETURN 1; END $$"
    );
    stand.operator().query(&link, LONG).expect("a foreign table");
    let far = || stand.cluster.primary().psql_in("other", "SELECT count(*) FROM far_t").expect("a count");
    for sql in ["INSERT INTO far_t VALUES ('x')", "SELECT far()", "DO 'BEGIN PERFORM far(); END'"] {
        // One ends in time, another does not.
        let (mut ends, mut stays) = (stand.app(), stand.app());
        for raw in [&mut ends, &mut stays] {
            for sql in ["BEGIN", sql] {
                let frames = query(raw, sql);
                assert_eq!(sqlstate(&frames), "", "{sql}: {}", message_of(&frames));
            }
        }
        let before: u32 = far().parse().expect("a number");
        std::thread::scope(|scope| {
            let closes = scope.spawn(|| {
                let rows =
                    stand.console("MAINTENANCE ON app WITH (drain_timeout '3s', on_timeout cancel, message 'now')");
                rows.into_iter().next().expect("one row")
            });
            wait::until(LONG, "the drain", || (stand.mode() == "draining").then_some(()));
            assert_eq!(tag(&query(&mut ends, "COMMIT")), "COMMIT", "{sql}");
            let row = closes.join().expect("the answer");
            assert_eq!(counts(&row), ["1", "0", "1"], "{sql}: {row:?}");
        });
        let frames = query(&mut stays, "COMMIT");
        assert_eq!((sqlstate(&frames).as_str(), status(&frames)), ("25006", b'I'), "{sql}");
        assert_eq!(far(), (before + 1).to_string(), "{sql}");
        stand.off();
    }
}

/// In a failed block the server answers COMMIT with ROLLBACK: nothing would tell the client that what it wrote is lost.
#[test]
fn who_commits_what_was_broken_off_behind_its_back_is_told() {
    let simple = |sql: &str| message::query(sql);
    let batch = |sql: &str| [extended(sql), message::sync()].concat();
    let commits = ["COMMIT", "END", "COMMIT AND CHAIN", "COMMIT; SELECT 1", "PREPARE TRANSACTION 'late'"];
    for mode in modes() {
        let stand = Stand::new(mode);
        let mut open: Vec<(Raw, String, Vec<u8>)> = Vec::new();
        for sql in commits {
            open.push((stand.app(), sql.to_owned(), simple(sql)));
            if !sql.contains(';') {
                open.push((stand.app(), format!("extended: {sql}"), batch(sql)));
            }
        }
        let mut rolls_back = stand.app();
        for (at, raw) in open.iter_mut().map(|(raw, ..)| raw).chain([&mut rolls_back]).enumerate() {
            assert_eq!(sqlstate(&query(raw, &format!("BEGIN; INSERT INTO t VALUES ({}, 'late')", 980 + at))), "");
        }
        on(&stand);
        assert_eq!(tag(&query(&mut rolls_back, "ROLLBACK")), "ROLLBACK");
        for (raw, what, message) in &mut open {
            let frames = raw.round_trip(message, LONG).expect("an answer");
            assert_eq!((sqlstate(&frames).as_str(), tag(&frames).as_str()), ("25006", ""), "{what}");
            assert!(message_of(&frames).contains("rolled back"), "{what}: {}", message_of(&frames));
            let failed = what.starts_with("extended");
            assert_eq!(status(&frames), if failed { b'E' } else { b'I' }, "{what}");
            if failed {
                assert_eq!(tag(&query(raw, "ROLLBACK")), "ROLLBACK", "{what}");
            }
        }
        stand.off();
        // The next error is the server's own.
        for raw in open.iter_mut().map(|(raw, ..)| raw).chain([&mut rolls_back]) {
            assert_eq!(sqlstate(&query(raw, "BEGIN; SELECT 1/0")), "22012");
            assert_eq!(sqlstate(&query(raw, "SELECT 1")), "25P02");
            assert_eq!(tag(&query(raw, "COMMIT")), "ROLLBACK");
        }
        nothing_late(&stand);
    }
}
