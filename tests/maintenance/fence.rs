//! Fencing: what is open at the flip and has written nothing need not be waited for, and cannot write any more.

use crate::stand::{LONG, Stand, query, sqlstate, talk};
use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Frame, Raw, wait};

fn value(frames: &[Frame]) -> String {
    let row = frames.iter().find(|frame| frame.tag == b'D').expect("a row");
    row.values().into_iter().next().flatten().map_or_else(String::new, |v| String::from_utf8_lossy(&v).into_owned())
}

fn status(frames: &[Frame]) -> u8 {
    frames.last().expect("ReadyForQuery").body[0]
}

fn ok(raw: &mut Raw, sql: &str) -> Vec<Frame> {
    let frames = query(raw, sql);
    assert_eq!(sqlstate(&frames), "", "{sql}");
    frames
}

fn refused(raw: &mut Raw, sql: &str) {
    let frames = query(raw, sql);
    assert_eq!(sqlstate(&frames), "25006", "{sql}");
    let error = frames.iter().find_map(Frame::error).expect("an error");
    assert_eq!(error.detail(), Some("database \"app\" is in maintenance: moving house"), "{sql}");
    assert_eq!(status(&frames), b'E', "{sql}");
}

/// The answer's `fenced`.
fn fenced(row: &[Option<String>]) -> u64 {
    row[9].as_deref().and_then(|text| text.parse().ok()).expect("a number")
}

fn settings() -> [&'static str; 2] {
    ["default_pool_size = 60", "default_pool_size = 60\npool_mode = \"session\""]
}

#[test]
fn readers_are_fenced_in_every_state() {
    for settings in settings() {
        let stand = Stand::new(settings);
        // Each with what it says before the flip, and what the server's isolation level must be afterwards.
        let mut readers: Vec<(Raw, &[&str])> = [
            &["BEGIN"][..],
            &["BEGIN", "SELECT count(*) FROM t"],
            &["BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT count(*) FROM t"],
            &["START TRANSACTION READ WRITE", "SELECT 1"],
            &["BEGIN", "SET LOCAL work_mem = '1MB'"],
            &["BEGIN", "SAVEPOINT a", "SELECT 1", "RELEASE a"],
            &["BEGIN", "DECLARE c CURSOR FOR SELECT id FROM t ORDER BY id", "FETCH c"],
        ]
        .into_iter()
        .map(|said| (stand.app(), said))
        .collect();
        for (raw, said) in &mut readers {
            for sql in *said {
                ok(raw, sql);
            }
        }
        let mut extended = stand.app();
        let parts = |sql: &str| {
            [message::parse("", sql, &[]), message::bind("", "", &[]), message::execute("", 0), message::sync()]
                .concat()
        };
        talk(&mut extended, &parts("BEGIN"), 1);
        talk(&mut extended, &parts("SELECT count(*) FROM t"), 1);

        let row = stand.on();
        assert_eq!(row[1].as_deref(), Some("read_only"), "{row:?}");
        assert_eq!(fenced(&row), readers.len() as u64 + 1, "{row:?}");
        let before = stand.everything();
        for (raw, said) in &mut readers {
            match *said {
                ["BEGIN"] => {
                    // No snapshot was taken for it.
                    ok(raw, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE");
                    assert_eq!(value(&ok(raw, "SHOW transaction_isolation")), "serializable");
                }
                [first, ..] if first.contains("REPEATABLE") => {
                    assert_eq!(value(&ok(raw, "SHOW transaction_isolation")), "repeatable read");
                }
                [_, set] if set.contains("work_mem") => assert_eq!(value(&ok(raw, "SHOW work_mem")), "1MB"),
                [.., "FETCH c"] => assert_eq!(value(&ok(raw, "FETCH c")), "2"),
                _ => {}
            }
            assert_eq!(value(&ok(raw, "SELECT count(*) FROM t")), "10");
            refused(raw, "INSERT INTO t VALUES (900, 'x')");
            assert_eq!(sqlstate(&query(raw, "SELECT 1")), "25P02");
            let end = query(raw, "COMMIT");
            assert_eq!((end[0].body.as_slice(), status(&end)), (&b"ROLLBACK\0"[..], b'I'));
            // And so it is for what follows, in this message too.
            assert_eq!(sqlstate(&query(raw, "COMMIT; INSERT INTO t VALUES (901, 'x')")), "25006");
        }
        let frames = talk(&mut extended, &parts("UPDATE t SET v = 'x'"), 1);
        assert_eq!((sqlstate(&frames).as_str(), status(&frames)), ("25006", b'E'));
        let frames = talk(&mut extended, &[parts("ROLLBACK"), parts("UPDATE t SET v = 'x'")].concat(), 2);
        assert_eq!((sqlstate(&frames).as_str(), status(&frames)), ("25006", b'I'));
        assert_eq!(stand.everything(), before);
        stand.off();
        for (raw, _) in &mut readers {
            ok(raw, "UPDATE t SET v = 'after' WHERE id = 1");
        }
    }
}

/// One that goes on and on from one transaction into the next does not keep the gate from closing.
#[test]
fn a_transaction_that_follows_at_once_is_fenced_too() {
    for settings in settings() {
        let parts = |sql: &str| {
            [message::parse("", sql, &[]), message::bind("", "", &[]), message::execute("", 0), message::sync()]
                .concat()
        };
        // What the next transaction begins with, and whether it has taken a snapshot when it is fenced.
        let ways = [
            ("COMMIT AND CHAIN", false),
            ("ROLLBACK AND CHAIN", false),
            ("SAVEPOINT a; SELECT 1; COMMIT AND CHAIN", false),
            ("COMMIT; BEGIN", true),
            ("INSERT INTO t VALUES (951, 'x'); COMMIT; BEGIN ISOLATION LEVEL REPEATABLE READ", true),
            ("COMMIT AND CHAIN; SELECT 1", true),
        ];
        for (way, snapshot) in ways {
            for extended in [false, true] {
                if extended && way.contains(';') {
                    continue;
                }
                let stand = Stand::new(settings);
                let mut app = stand.app();
                ok(&mut app, "BEGIN");
                ok(&mut app, "INSERT INTO t VALUES (950, 'x')");
                let row = std::thread::scope(|scope| {
                    let on = scope.spawn(|| stand.on());
                    wait::until(LONG, "the drain", || (stand.mode() == "draining").then_some(()));
                    let frames = if extended { talk(&mut app, &parts(way), 1) } else { ok(&mut app, way) };
                    assert_eq!((sqlstate(&frames).as_str(), status(&frames)), ("", b'T'), "{way}");
                    on.join().expect("an answer")
                });
                assert_eq!((row[1].as_deref(), fenced(&row)), (Some("read_only"), 1), "{way}: {row:?}");
                let before = stand.everything();
                if !snapshot {
                    ok(&mut app, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE");
                }
                ok(&mut app, "SELECT count(*) FROM t");
                refused(&mut app, "INSERT INTO t VALUES (952, 'x')");
                ok(&mut app, "ROLLBACK AND CHAIN");
                refused(&mut app, "INSERT INTO t VALUES (953, 'x')");
                assert_eq!(stand.everything(), before, "{way}");
            }
        }
    }
}

#[test]
fn what_is_fenced_cannot_be_lifted() {
    for settings in settings() {
        let stand = Stand::new(settings);
        let ways = [
            "SET TRANSACTION READ WRITE; INSERT INTO t VALUES (910, 'x')",
            "SET transaction_read_only = off; INSERT INTO t VALUES (910, 'x')",
            "SELECT set_config('transaction_read_only', 'off', true); INSERT INTO t VALUES (910, 'x')",
            "SELECT hides('transaction_read_only', 'off'); INSERT INTO t VALUES (910, 'x')",
            "SAVEPOINT a; SET TRANSACTION READ WRITE; INSERT INTO t VALUES (910, 'x')",
            "SAVEPOINT a; SELECT 1; RELEASE a; INSERT INTO t VALUES (910, 'x')",
            "SAVEPOINT a; SELECT 1; ROLLBACK TO a; INSERT INTO t VALUES (910, 'x')",
            "COMMIT; INSERT INTO t VALUES (910, 'x')",
            "ROLLBACK; INSERT INTO t VALUES (910, 'x')",
            "COMMIT AND CHAIN; INSERT INTO t VALUES (910, 'x')",
            "ROLLBACK AND CHAIN; INSERT INTO t VALUES (910, 'x')",
            "COMMIT; BEGIN READ WRITE; INSERT INTO t VALUES (910, 'x'); COMMIT",
            "SELECT hides('default_transaction_read_only', 'off'); COMMIT; INSERT INTO t VALUES (910, 'x')",
            "SELECT hides('default_transaction_read_only', 'off'); COMMIT; BEGIN; INSERT INTO t VALUES (910, 'x'); COMMIT",
            "RESET ALL; COMMIT; INSERT INTO t VALUES (910, 'x')",
            "SELECT writes()",
            "CALL just_writes()",
            "DO 'BEGIN INSERT INTO t VALUES (910); END'",
        ];
        let mut open: Vec<(Raw, &str, bool)> =
            ways.into_iter().flat_map(|way| [(stand.app(), way, false), (stand.app(), way, true)]).collect();
        for (raw, _, queried) in &mut open {
            ok(raw, "BEGIN");
            if *queried {
                ok(raw, "SELECT v FROM t WHERE id = 1");
            }
        }
        let row = stand.on();
        assert_eq!(fenced(&row), open.len() as u64, "{row:?}");
        let before = stand.everything();
        for (raw, way, queried) in &mut open {
            assert_ne!(sqlstate(&query(raw, way)), "", "{way} ({queried})");
            query(raw, "COMMIT");
            query(raw, "INSERT INTO t VALUES (911, 'x')");
            assert_eq!(stand.everything(), before, "{way} ({queried})");
        }
    }
}

#[test]
fn writers_may_finish_and_savepoints_are_waited_for() {
    let stand = Stand::new("");
    let (mut writer, mut nested, mut failed) = (stand.app(), stand.app(), stand.app());
    ok(&mut writer, "BEGIN");
    ok(&mut writer, "UPDATE t SET v = 'written' WHERE id = 1");
    for sql in ["BEGIN", "SELECT 1", "SAVEPOINT a", "SELECT 2"] {
        ok(&mut nested, sql);
    }
    ok(&mut failed, "BEGIN");
    ok(&mut failed, "UPDATE t SET v = 'never' WHERE id = 2");
    assert_eq!(sqlstate(&query(&mut failed, "SELECT 1/0")), "22012");
    std::thread::scope(|scope| {
        let on = scope.spawn(|| stand.on());
        wait::until(LONG, "the drain", || (stand.mode() == "draining").then_some(()));
        // In the middle of it, both go on as if nothing were.
        ok(&mut writer, "UPDATE t SET v = 'written twice' WHERE id = 1");
        ok(&mut nested, "SELECT 3");
        ok(&mut nested, "RELEASE a");
        refused(&mut nested, "UPDATE t SET v = 'nested' WHERE id = 3");
        assert_eq!(stand.mode(), "draining");
        let frames = ok(&mut writer, "COMMIT");
        assert_eq!(frames[0].body, b"COMMIT\0");
        let row = on.join().expect("the answer");
        // The one that had failed was over, too.
        assert_eq!((row[1].as_deref(), row[8].as_deref()), (Some("read_only"), Some("2")), "{row:?}");
        assert_eq!((fenced(&row), row[10].as_deref()), (1, Some("0")), "{row:?}");
    });
    assert_eq!(sqlstate(&query(&mut failed, "SELECT 1")), "25P02");
    assert_eq!(query(&mut failed, "COMMIT")[0].body, b"ROLLBACK\0");
    assert_eq!(stand.cluster.primary().psql_in("app", "SELECT v FROM t WHERE id = 1").expect("a row"), "written twice");
}

/// A statement that runs at the flip is waited for; then its transaction is fenced.
#[test]
fn a_running_statement_is_waited_for_and_no_longer() {
    let stand = Stand::new("");
    let mut slow = stand.app();
    ok(&mut slow, "BEGIN");
    slow.send(&message::query("SELECT pg_sleep(0.5)")).expect("sent");
    let busy =
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND state = 'active' AND usename = 'app'";
    wait::until(LONG, "the statement to run", || {
        (stand.cluster.primary().psql(busy).ok().as_deref() == Some("1")).then_some(())
    });
    let row = stand.on();
    assert_eq!(fenced(&row), 1, "{row:?}");
    let frames = slow.frames_until(LONG, |frame| frame.tag == b'Z').expect("its answer");
    assert_eq!(sqlstate(&frames), "");
    refused(&mut slow, "DELETE FROM t");
}

#[test]
fn a_chain_behind_a_failed_transaction_that_was_fenced_cannot_write() {
    for settings in settings() {
        let stand = Stand::new(settings);
        let begins: [&[&str]; 4] = [
            &["BEGIN"],
            &["BEGIN", "SELECT count(*) FROM t"],
            &["BEGIN READ WRITE ISOLATION LEVEL SERIALIZABLE"],
            &["BEGIN", "SAVEPOINT a", "SELECT 1", "RELEASE a"],
        ];
        let chains = ["ROLLBACK AND CHAIN", "COMMIT AND CHAIN", "ABORT TRANSACTION AND CHAIN; SELECT 1"];
        let mut open: Vec<(Raw, &[&str], &str, bool)> = Vec::new();
        for begin in begins {
            for chain in chains {
                open.extend([false, true].map(|batch| (stand.app(), begin, chain, batch)));
            }
        }
        for (raw, begin, ..) in &mut open {
            begin.iter().for_each(|sql| drop(ok(raw, sql)));
        }
        stand.on();
        let before = stand.everything();
        let parts =
            |sql: &str| [message::parse("", sql, &[]), message::bind("", "", &[]), message::execute("", 0)].concat();
        for (raw, begin, chain, batch) in &mut open {
            let why = format!("{begin:?}, {chain}, {batch}");
            assert_ne!(sqlstate(&query(raw, "SELECT 1 / 0")), "", "{why}");
            if *batch && !chain.contains(';') {
                let insert = [parts(chain), parts("INSERT INTO t VALUES (970, 'x')"), message::sync()].concat();
                let frames = talk(raw, &insert, 1);
                assert_eq!(sqlstate(&frames), "25006", "{why}");
                query(raw, "ROLLBACK AND CHAIN");
            } else {
                ok(raw, chain);
            }
            let frames = query(raw, "INSERT INTO t VALUES (971, 'x')");
            assert_eq!(sqlstate(&frames), "25006", "{why}: {frames:?}");
            query(raw, "ROLLBACK AND CHAIN");
            query(raw, "SELECT nextval('pg_catalog.pg_class'), 1");
            query(raw, "ROLLBACK AND CHAIN");
            let shown = value(&ok(raw, "SHOW transaction_read_only"));
            assert_eq!(shown, "on", "{why}");
            query(raw, "COMMIT");
        }
        assert_eq!(stand.everything(), before);
    }
}
