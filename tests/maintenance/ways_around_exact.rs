//! What PostgreSQL allows in READ ONLY works in maintenance, byte for byte as on a direct READ ONLY connection.

use crate::stand::{Stand, query, talk};
use crate::ways_around_schema::{attempt, close, run, stand};
use pgsluice_fixtures::raw::message::{
    bind, copy_data, copy_done, describe_portal, execute, function_call, parse, query as q, sync,
};
use pgsluice_fixtures::{Frame, Raw};

/// What a session does before the gate closes, so that it has something of its own to write to.
const BEFORE: &[&str] = &[
    "CREATE TEMP TABLE mine (a int PRIMARY KEY, b text)",
    "CREATE TEMP SEQUENCE own",
    "CREATE TEMP TABLE late (a int UNIQUE DEFERRABLE INITIALLY DEFERRED)",
    "INSERT INTO t VALUES (700, 'just before')",
    "DELETE FROM t WHERE id = 700",
    "PREPARE put AS INSERT INTO mine VALUES ($1, 'prepared')",
    "PREPARE look AS SELECT count(*) FROM t",
];

/// Single statements that run, or fail for a reason of their own.
const STATEMENTS: &[&str] = &[
    "SELECT count(*) FROM t",
    "SELECT counts()",
    "SELECT locks()",
    "SELECT asks()",
    "SELECT 1 AS a, NULL, 'x'",
    "VALUES (1), (2)",
    "TABLE mine",
    "",
    "SET application_name = 'x'",
    "SET LOCAL work_mem = '1MB'",
    "SET work_mem = '5MB'",
    "SHOW work_mem",
    "RESET work_mem",
    "SELECT set_config('application_name', 'y', false)",
    "LISTEN c",
    "UNLISTEN c",
    "PREPARE again AS SELECT counts()",
    "EXECUTE again",
    "EXECUTE look",
    "DEALLOCATE again",
    "EXPLAIN (COSTS OFF) SELECT * FROM t",
    "EXPLAIN (COSTS OFF) INSERT INTO mine VALUES (1)",
    "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT counts()",
    "DO $$ BEGIN PERFORM count(*) FROM t; END $$",
    "DO $$ BEGIN RAISE NOTICE 'said'; END $$",
    "DO $$ BEGIN INSERT INTO mine VALUES (90, 'do'); END $$",
    "CALL reads()",
    "CALL calls('DELETE FROM mine WHERE a = 90')",
    "COPY t TO STDOUT",
    "COPY (SELECT counts()) TO STDOUT",
    "COPY (VALUES (1)) TO STDOUT",
    "LOCK TABLE locked IN ACCESS SHARE MODE",
    "LOCK TABLE locked",
    "SELECT pg_advisory_lock_shared(7)",
    "SELECT pg_advisory_unlock_shared(7)",
    "SELECT pg_try_advisory_xact_lock_shared(8)",
    "SELECT txid_current() > 0",
    "INSERT INTO mine VALUES (1, 'one')",
    "INSERT INTO mine VALUES (2, 'two') RETURNING a, b",
    "INSERT INTO mine VALUES (2, 'again')",
    "INSERT INTO late VALUES (1)",
    "INSERT INTO late VALUES (1)",
    "UPDATE mine SET b = 'changed' WHERE a = 1",
    "DELETE FROM mine WHERE a = 2",
    "EXECUTE put(3)",
    "SELECT nextval('own')",
    "SELECT * FROM mine ORDER BY a FOR UPDATE",
    "DECLARE c CURSOR FOR SELECT 1",
    "DECLARE h CURSOR WITH HOLD FOR SELECT id, counts() FROM t ORDER BY id",
    "FETCH 2 FROM h",
    "MOVE 1 FROM h",
    "CLOSE h",
    "DECLARE h CURSOR WITH HOLD FOR SELECT 1 / (id - 3) FROM t ORDER BY id",
    "SELECT * FROM mine ORDER BY a",
    "SELECT * FROM missing",
    "SELECT 1/0",
    "SELECT 'not done",
    "SELECT 1 +",
    "SELECT count(*) FROM t -- to the end",
    "SELECT 1 /* not done",
    "SELECT count(*) FROM t ; ; -- and nothing",
    "SELECT no_such_column, 1 FROM t",
    "SELECT lower(1 FROM t",
    "SAVEPOINT a",
    "RELEASE a",
    "COMMIT",
    "ROLLBACK",
    "DISCARD PLANS",
    "DISCARD SEQUENCES",
];

/// More than one statement, of which some are in blocks; each is sent by itself.
const SEQUENCES: &[&[&str]] = &[
    &[
        "BEGIN",
        "INSERT INTO mine VALUES (10, 'x')",
        "SAVEPOINT a",
        "INSERT INTO mine VALUES (11, 'x')",
        "ROLLBACK TO a",
        "COMMIT",
    ],
    &["BEGIN", "SELECT counts()", "SELECT 1/0", "SELECT 2", "COMMIT"],
    &[
        "BEGIN",
        "SELECT counts()",
        "SAVEPOINT a",
        "SELECT 1/0",
        "ROLLBACK TO a",
        "SELECT counts()",
        "COMMIT AND CHAIN",
        "SELECT counts()",
        "ROLLBACK",
    ],
    &[
        "BEGIN",
        "DECLARE c CURSOR FOR SELECT id, counts() FROM t ORDER BY id",
        "FETCH 2 FROM c",
        "MOVE 1 FROM c",
        "FETCH c",
        "CLOSE c",
        "COMMIT",
    ],
    &[
        "BEGIN",
        "DECLARE k CURSOR WITH HOLD FOR SELECT id, counts() FROM t ORDER BY id",
        "FETCH 2 FROM k",
        "COMMIT",
        "FETCH 1 FROM k",
        "CLOSE k",
    ],
    &["BEGIN", "LOCK TABLE locked IN ROW EXCLUSIVE MODE", "SELECT counts()", "COMMIT"],
    &["BEGIN", "LISTEN d", "NOTIFY d, 'in a block'", "SELECT counts()", "COMMIT", "UNLISTEN d"],
    &[
        "BEGIN",
        "INSERT INTO late VALUES (7), (7)",
        "SELECT counts()",
        "COMMIT",
        "SELECT count(*) FROM late WHERE a = 7",
    ],
    &["BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE", "SELECT counts()", "COMMIT"],
    &["SELECT 1; SELECT counts(); SELECT 2"],
    &["SELECT counts(); COMMIT; SELECT counts()"],
    &["COMMIT; LOCK TABLE t IN ACCESS SHARE MODE", "SELECT 1"],
    &["BEGIN; ROLLBACK; SET LOCAL work_mem = '1MB'", "SHOW work_mem"],
    &["COMMIT; /* é */ SELECT no_such_column FROM t"],
    &["COMMIT; DECLARE c CURSOR FOR SELECT 1", "FETCH c"],
    &["BEGIN; SELECT counts(); COMMIT; BEGIN; SELECT counts(); ROLLBACK; SELECT counts()"],
    &["SELECT counts(); SELECT 1/0; SELECT 2"],
    &["SELECT counts(); BEGIN; SELECT counts()", "COMMIT"],
    &["SELECT counts(); SAVEPOINT a"],
    &[
        "INSERT INTO mine VALUES (20, 'x'); INSERT INTO mine VALUES (20, 'again')",
        "SELECT count(*) FROM mine WHERE a = 20",
    ],
    &["BEGIN; INSERT INTO mine VALUES (21, 'x'); COMMIT; SELECT count(*) FROM mine WHERE a = 21"],
];

fn extended(sql: &str) -> Vec<u8> {
    [parse("", sql, &[]), bind("", "", &[]), describe_portal(""), execute("", 0)].concat()
}

fn plain(frames: &[Frame]) -> Vec<String> {
    // Both listen to the same channels: notifications have a test of their own.
    frames.iter().filter(|frame| !matches!(frame.tag, b'S' | b'A')).map(normal).collect()
}

fn normal(frame: &Frame) -> String {
    match frame.tag {
        b'E' | b'N' => {
            let mut fields = frame.error_fields();
            fields.retain(|letter, _| !matches!(letter, 'D' | 'H' | 'F' | 'L' | 'R' | 's'));
            format!("{} {fields:?}", frame.tag as char)
        }
        b'T' => format!("T {:?}", columns(&frame.body)),
        _ => format!("{frame:?}"),
    }
}

/// A row description without the numbers of tables, which are each session's own.
fn columns(body: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rest = &body[2..];
    let mut columns = Vec::new();
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        columns.push((rest[..end].to_vec(), rest[end + 5..end + 19].to_vec()));
        rest = &rest[end + 19..];
    }
    columns
}

/// Both connections do the same; a difference is told.
fn both(name: &str, pair: &mut [Raw; 2], bytes: &[u8], readies: usize, told: &mut Vec<String>) {
    let [ours, direct] = pair;
    let ours = attempt(ours, bytes, readies).map(|frames| plain(&frames));
    let direct = attempt(direct, bytes, readies).map(|frames| plain(&frames));
    if ours != direct {
        told.push(format!("{name}\n  proxy  {ours:?}\n  direct {direct:?}"));
    }
}

fn pair(stand: &Stand) -> [Raw; 2] {
    let mut pair = [stand.app(), stand.direct(false)];
    for raw in &mut pair {
        BEFORE.iter().for_each(|sql| run(raw, sql));
    }
    pair
}

fn exact(mode: &str) {
    let stand = stand(mode);
    let mut pairs: Vec<[Raw; 2]> = (0..4).map(|_| pair(&stand)).collect();
    close(&stand);
    for [_, direct] in &mut pairs {
        run(direct, "SET default_transaction_read_only = on");
    }
    let mut told = Vec::new();
    let [simple, prepared, blocks, pipelines] = &mut pairs[..] else { unreachable!() };
    for sql in STATEMENTS {
        both(&format!("{mode}, simple: {sql}"), simple, &q(sql), 1, &mut told);
        both(&format!("{mode}, extended: {sql}"), prepared, &[extended(sql), sync()].concat(), 1, &mut told);
    }
    for sequence in SEQUENCES {
        for sql in *sequence {
            both(&format!("{mode}, sequence {sequence:?}: {sql}"), blocks, &q(sql), 1, &mut told);
        }
        both(&format!("{mode}, after {sequence:?}"), blocks, &q("ROLLBACK"), 1, &mut told);
        let bytes: Vec<u8> = sequence.iter().flat_map(|sql| extended(sql)).collect();
        both(&format!("{mode}, one pipeline {sequence:?}"), pipelines, &[bytes, sync()].concat(), 1, &mut told);
        let bytes: Vec<u8> = sequence.iter().flat_map(|sql| [extended(sql), sync()].concat()).collect();
        both(&format!("{mode}, pipelines {sequence:?}"), pipelines, &bytes, sequence.len(), &mut told);
        both(&format!("{mode}, after pipelines {sequence:?}"), pipelines, &q("ROLLBACK"), 1, &mut told);
    }
    // COPY into the session's own table, in both protocols and in a block.
    let data = [copy_data(b"50\tcopied\n"), copy_data(b"51\tcopied\n"), copy_done()].concat();
    let more = [copy_data(b"52\tcopied\n"), copy_done()].concat();
    let copy = "COPY mine FROM STDIN";
    let count = "SELECT count(*) FROM mine WHERE a BETWEEN 50 AND 59";
    for (name, bytes, readies) in [
        ("simple COPY", [q(copy), data.clone()].concat(), 1),
        ("COPY that fails", [q(copy), data].concat(), 1),
        ("COPY in the extended protocol", [extended(copy), sync(), more, sync()].concat(), 1),
        ("what was copied", q(count), 1),
        ("a function by its number", function_call(1397, &[Some(&[0, 0, 0, 7])]), 1),
    ] {
        copies(&format!("{mode}, {name}"), blocks, &bytes, readies, &mut told);
    }
    assert!(told.is_empty(), "{} differences:\n{}", told.len(), told.join("\n"));
    stand.off();
    for [ours, _] in &mut pairs {
        run(ours, "UPDATE t SET v = v WHERE id = 1");
        assert!(talk(ours, &q("SELECT count(*) FROM mine"), 1).iter().all(|frame| frame.tag != b'E'));
    }
}

/// As [`both`], with COPY data that is sent ahead.
fn copies(name: &str, pair: &mut [Raw; 2], bytes: &[u8], readies: usize, told: &mut Vec<String>) {
    let [ours, direct] = pair;
    let ours = plain(&talk(ours, bytes, readies));
    let direct = plain(&talk(direct, bytes, readies));
    if ours != direct {
        told.push(format!("{name}\n  proxy  {ours:?}\n  direct {direct:?}"));
    }
}

#[test]
fn what_is_harmless_works_in_transaction_mode() {
    exact("transaction");
}

#[test]
fn what_is_harmless_works_in_session_mode() {
    exact("session");
}

#[test]
fn notifications_arrive_in_maintenance() {
    let stand = stand("transaction");
    let mut listener = stand.app();
    run(&mut listener, "LISTEN c");
    close(&stand);
    let mut sender = stand.app();
    run(&mut sender, "SELECT counts(), pg_notify('c', 'by a function')");
    run(&mut sender, "BEGIN; SELECT counts(); NOTIFY c, 'in words'; COMMIT");
    let heard: std::cell::RefCell<Vec<String>> = std::cell::RefCell::default();
    let frames = listener.frames_until(crate::stand::LONG, |frame| {
        heard.borrow_mut().extend((frame.tag == b'A').then(|| format!("{frame:?}")));
        heard.borrow().len() == 2
    });
    assert!(frames.is_ok(), "{:?}", heard.borrow());
    assert!(query(&mut listener, "SELECT 1").iter().all(|frame| frame.tag != b'E'));
}
