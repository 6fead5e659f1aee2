//! Every way around `default_transaction_read_only = on` that one client can type, tried in maintenance: nothing is written.

use crate::stand::{LONG, Stand, query, sqlstate, talk};
use pgsluice_fixtures::raw::message::{bind, execute, function_call, parse, query as q, sync};
use pgsluice_fixtures::{Frame, Login, Raw, RawError};
use std::cell::Cell;

const W: &str = "INSERT INTO t VALUES (900, 'through')";

/// Simple queries, one after the other on one connection; writes at the end that must not get through.
const SIMPLE: &[&[&str]] = &[
    &["SET default_transaction_read_only = off", W],
    &["SET default_transaction_read_only TO 0", W],
    &["SET default_transaction_read_only = 'false'", W],
    &["SET default_transaction_read_only = 'of'", W],
    &["SET SESSION default_transaction_read_only = off", W],
    &["SET \"default_transaction_read_only\" = off", W],
    &["SET U&\"default_transaction_read\\005fonly\" = off", W],
    &["RESET default_transaction_read_only", W],
    &["RESET ALL", W],
    &["DISCARD ALL", W],
    &["SET default_transaction_read_only TO DEFAULT", W],
    &["SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE", W],
    &["SELECT set_config('default_transaction_read_only', 'off', false)", W],
    &["SELECT set_config('default_' || 'transaction_read_only', 'off', false)", W, "SELECT writes()"],
    &["SELECT lifts()", W, "SELECT writes()"],
    &["SELECT lifts()", "SELECT writes()"],
    &["SELECT hides('default_transaction_read_only', 'off')", "SELECT writes()"],
    &["SELECT hides('default_transaction_read_only', 'off'); COMMIT; SELECT writes()"],
    &["BEGIN; SELECT lifts(); COMMIT; SELECT writes()"],
    &["BEGIN; SELECT lifts(); COMMIT; BEGIN; SELECT writes(); COMMIT"],
    &["BEGIN READ WRITE", W, "COMMIT"],
    &["START TRANSACTION READ WRITE", "SELECT writes()", "COMMIT"],
    &["BEGIN ISOLATION LEVEL SERIALIZABLE, READ WRITE", W, "COMMIT"],
    &["BEGIN", "SET TRANSACTION READ WRITE", W, "COMMIT"],
    &["BEGIN", "SET TRANSACTION READ WRITE", "SELECT writes()", "COMMIT"],
    &["BEGIN", "SET transaction_read_only = off", "SELECT writes()", "COMMIT"],
    &["BEGIN", "SET LOCAL transaction_read_only = off", "SELECT writes()", "COMMIT"],
    &["BEGIN", "RESET transaction_read_only", "SELECT writes()", "COMMIT"],
    &["BEGIN", "SET transaction_read_only TO DEFAULT", "SELECT writes()", "COMMIT"],
    &["BEGIN; SET TRANSACTION READ WRITE; SELECT writes(); COMMIT"],
    &["SET TRANSACTION READ WRITE; SELECT writes()"],
    &["BEGIN READ WRITE; COMMIT AND CHAIN; SELECT writes(); COMMIT"],
    &["SET default_transaction_read_only = off; COMMIT; INSERT INTO t VALUES (901, 'x')"],
    &["SET default_transaction_read_only = off; COMMIT; SELECT writes()"],
    &["CALL commits()"],
    &["BEGIN", "CALL commits()", "COMMIT"],
    &["DO $$ BEGIN COMMIT; SET TRANSACTION READ WRITE; INSERT INTO t VALUES (902, 'x'); END $$"],
    &[
        "DO $$ BEGIN PERFORM set_config('default_transaction_read_only', 'off', false); COMMIT; INSERT INTO t VALUES (903, 'x'); END $$",
    ],
    &["DO $$ BEGIN EXECUTE 'set default_transaction_read_only = off'; END $$", "SELECT writes()"],
    &["SELECT 1; CALL commits()"],
    &["COMMIT; CALL commits()"],
    &["PREPARE x AS SELECT set_config('default_transaction_read_only', 'off', false)", "EXECUTE x", "SELECT writes()"],
    &["PREPARE x AS SELECT lo_create(0)", "EXECUTE x"],
    &["PREPARE x AS INSERT INTO t VALUES (904, 'x')", "EXECUTE x"],
    &["UPDATE pg_settings SET setting = 'off' WHERE name = 'default_transaction_read_only'", W],
    &["ALTER ROLE app SET default_transaction_read_only = off", W],
    &["ALTER DATABASE app SET default_transaction_read_only = off", W],
    &["ALTER SYSTEM SET default_transaction_read_only = off"],
    &["CREATE FUNCTION z() RETURNS int LANGUAGE sql SET default_transaction_read_only = off AS 'SELECT 1'"],
    &["SELECT lo_create(0)"],
    &["SELECT lo_creat(131072)"],
    &["SELECT \"lo_create\"(0)"],
    &["SELECT pg_catalog.lo_create(0)"],
    &["SELECT U&\"lo\\005fcreate\"(0)"],
    &["SELECT lo_from_bytea(0, 'x')"],
    &["SELECT lo_put(4711, 0, 'gone')"],
    &["SELECT lowrite(lo_open(4711, 131072), 'gone')"],
    &["BEGIN", "SELECT lo_open(4711, 131072)", "SELECT lowrite(0, 'gone')", "COMMIT"],
    &["SELECT lo_truncate(lo_open(4711, 131072), 0)"],
    &["SELECT lo_unlink(4711)"],
    &["BEGIN", "SELECT lo_unlink(4711)", "COMMIT"],
    &["SELECT lo_import('/etc/hostname')"],
    &["EXPLAIN ANALYZE SELECT lo_create(0)"],
    &["EXPLAIN ANALYZE CREATE TABLE n AS SELECT 1"],
    &["EXPLAIN (ANALYZE) SELECT * INTO n FROM t"],
    &["EXPLAIN ANALYZE CREATE MATERIALIZED VIEW n AS SELECT 1"],
    &["COPY (SELECT lo_create(0)) TO STDOUT"],
    &["COPY (SELECT writes()) TO STDOUT"],
    &["BEGIN", "DECLARE c CURSOR FOR SELECT lo_create(0)", "FETCH ALL FROM c", "COMMIT"],
    &["SELECT pg_logical_emit_message(false, 'a', 'b')"],
    &["SELECT pg_create_physical_replication_slot('x')"],
    &["SELECT nextval('s')"],
    &["SELECT setval('s', 99)"],
    &["VACUUM t"],
    &["ANALYZE t"],
    &["REINDEX TABLE t"],
    &["CLUSTER t USING t_pkey"],
    &["REFRESH MATERIALIZED VIEW m"],
    &["PREPARE TRANSACTION 'x'"],
    &["BEGIN", "PREPARE TRANSACTION 'x'"],
    &["COMMIT PREPARED 'waiting'"],
    &["ROLLBACK PREPARED 'waiting'"],
    &["INSERT INTO w VALUES (905, 'rule')"],
    &["SET ROLE app; SELECT writes()"],
    &["SET standard_conforming_strings = off", "SELECT 'a\\' ; delete from t; --'"],
    &["SELECT 'a\\'' ; delete from t; --'"],
    &["/* /* */ SELECT 1; */ DELETE FROM t"],
    &["SELECT $a$ $b$ $a$; DELETE FROM t"],
    &["CREATE TABLE n (a int)"],
    &["CREATE ROLE n"],
    &["DROP TABLE t"],
    &["TRUNCATE t"],
    &["GRANT SELECT ON t TO PUBLIC"],
    &["COMMENT ON TABLE t IS 'x'"],
    &["SELECT query_to_xml('select lo_create(0)', true, true, '')"],
];

fn all(stand: &Stand, form: &str, mut try_it: impl FnMut(&[&str])) {
    let before = stand.everything();
    let mut through = Vec::new();
    for way in SIMPLE {
        try_it(way);
        let after = stand.everything();
        if after != before {
            through.push(format!("{form}: {way:?}\n   before {before:?}\n   after  {after:?}"));
            break;
        }
    }
    assert!(through.is_empty(), "written in maintenance:\n{}", through.join("\n"));
}

fn attempt(raw: &mut Raw, sql: &str) {
    talk(raw, &q(sql), 1);
}

fn extended(sql: &str) -> Vec<u8> {
    [parse("", sql, &[]), bind("", "", &[]), execute("", 0)].concat()
}

fn closed(mode: &str) -> Stand {
    let stand = Stand::new(&format!("default_pool_size = 50\npool_mode = \"{mode}\""));
    stand
        .operator()
        .query("BEGIN; INSERT INTO t VALUES (800, 'prepared'); PREPARE TRANSACTION 'waiting'", crate::stand::LONG)
        .expect("prepared");
    let row = stand.on();
    assert_eq!(row[1].as_deref(), Some("read_only"));
    stand
}

/// The call of a function that sets what it is told to.
const HIDES: &[u8] = b"hides(";

/// Sends each of `messages` and awaits its answer, as long as the session lives. Only one whose guard fell may end, and only
/// where the server connection was its own: in session mode, and behind a function that sets what it is told to.
fn lives(raw: &mut Raw, stand: &Stand, messages: impl IntoIterator<Item = (Vec<u8>, usize)>) -> bool {
    messages.into_iter().all(|(bytes, readies)| {
        let seen = Cell::new(0);
        let all = |frame: &Frame| {
            seen.set(seen.get() + usize::from(frame.tag == b'Z'));
            seen.get() >= readies
        };
        match raw.send(&bytes).and_then(|()| raw.frames_until(LONG, all)) {
            Ok(_) => true,
            Err(RawError::Closed { frames }) => {
                let end = frames.last().and_then(Frame::error).map(|error| error.code().to_owned());
                let own = stand.pins_all() || bytes.windows(HIDES.len()).any(|word| word == HIDES);
                assert_eq!((end.as_deref(), own), (Some("57P01"), true), "{}", bytes.escape_ascii());
                false
            }
            Err(error) => panic!("{}: {error}", bytes.escape_ascii()),
        }
    })
}

fn try_all_ways(stand: &Stand) {
    let whole = |sql: &&str| (q(sql), 1);
    let synced = |sql: &&str| ([extended(sql), sync()].concat(), 1);
    let rest = ["ROLLBACK", "SELECT count(*) FROM t"];
    all(stand, "simple", |way| {
        let mut raw = stand.app();
        if lives(&mut raw, stand, way.iter().map(whole)) {
            rest.iter().for_each(|sql| assert_eq!(sqlstate(&query(&mut raw, sql)), "", "{way:?} broke the connection"));
        }
    });
    all(stand, "extended", |way| {
        let mut raw = stand.app();
        if lives(&mut raw, stand, way.iter().map(synced)) {
            rest.iter().for_each(|sql| assert_eq!(sqlstate(&query(&mut raw, sql)), "", "{way:?} broke the connection"));
        }
    });
    all(stand, "one pipeline", |way| {
        let one = way.iter().flat_map(|sql| extended(sql)).chain(sync()).collect();
        let many = way.iter().flat_map(|sql| synced(sql).0).collect();
        lives(&mut stand.app(), stand, [(one, 1), (many, way.len())]);
    });
    all(stand, "pipelined queries", |way| {
        lives(&mut stand.app(), stand, [(way.iter().flat_map(|sql| q(sql)).collect(), way.len())]);
    });
    all(stand, "one message", |way| {
        let texts = [way.join("; "), format!("COMMIT; {}", way.join("; COMMIT; "))];
        lives(&mut stand.app(), stand, texts.map(|text| (q(&text), 1)));
    });
}

#[test]
fn no_way_around_in_transaction_mode() {
    try_all_ways(&closed("transaction"));
}

#[test]
fn no_way_around_in_session_mode() {
    try_all_ways(&closed("session"));
}

#[test]
fn start_up_options_do_not_open_the_gate() {
    let stand = closed("transaction");
    let before = stand.everything();
    let logins = [
        Login::new("app", "app").parameter("options", "-c default_transaction_read_only=off"),
        Login::new("app", "app").parameter("default_transaction_read_only", "off"),
        Login::new("app", "app").parameter("options", "--default-transaction-read-only=off"),
        Login::new("app", "app").parameter("replication", "database"),
    ];
    for login in logins {
        if let Ok(mut raw) = Raw::connect(&stand.address(), &login.password("app")) {
            assert_eq!(sqlstate(&query(&mut raw, W)), "25006");
            attempt(&mut raw, "SELECT writes()");
        }
    }
    assert_eq!(stand.everything(), before);
}

#[test]
fn function_calls_by_message_do_not_write() {
    let stand = closed("transaction");
    let before = stand.everything();
    let (zero, oid) = (0_u32.to_be_bytes(), 4711_u32.to_be_bytes());
    let write = 0x0002_0000_u32.to_be_bytes();
    for in_block in [false, true] {
        let calls = [
            function_call(957, &[Some(&write)]),
            function_call(715, &[Some(&zero)]),
            function_call(964, &[Some(&oid)]),
            function_call(955, &[Some(&zero), Some(b"gone")]),
            function_call(1004, &[Some(&zero), Some(&zero)]),
            function_call(3577, &[Some(b"\0"), Some(b"a"), Some(b"b")]),
            function_call(2078, &[Some(b"default_transaction_read_only"), Some(b"off"), Some(b"\0")]),
        ];
        for call in calls {
            let mut raw = stand.app();
            if in_block {
                attempt(&mut raw, "BEGIN");
                talk(&mut raw, &function_call(952, &[Some(&oid), Some(&write)]), 1);
            }
            let frames = talk(&mut raw, &call, 1);
            assert_eq!(sqlstate(&frames), "25006", "in a block: {in_block}");
            attempt(&mut raw, "COMMIT");
            attempt(&mut raw, "SELECT writes()");
        }
    }
    assert_eq!(stand.everything(), before);
}

#[test]
fn settings_made_before_the_flip_do_not_outlive_it() {
    let stand = Stand::new("default_pool_size = 10");
    let mut sessions: Vec<Raw> = Vec::new();
    for sql in [
        "SET default_transaction_read_only = off",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
        "SELECT lifts()",
        "CREATE TEMP TABLE mine (a int)",
        "LISTEN c",
    ] {
        let mut raw = stand.app();
        assert_eq!(sqlstate(&query(&mut raw, sql)), "", "{sql}");
        sessions.push(raw);
    }
    stand.on();
    let before = stand.everything();
    for raw in &mut sessions {
        for sql in [W, "SELECT writes()", "CALL just_writes()", "BEGIN READ WRITE; SELECT writes()", "ROLLBACK"] {
            attempt(raw, sql);
        }
        assert_eq!(sqlstate(&query(raw, W)), "25006");
        assert_eq!(sqlstate(&query(raw, "SELECT count(*) FROM t")), "");
    }
    // Its own temporary table is the session's to write, on a primary.
    assert_eq!(sqlstate(&query(&mut sessions[3], "INSERT INTO mine VALUES (1)")), "");
    assert_eq!(stand.everything()[0], before[0]);
    stand.off();
    for raw in &mut sessions {
        assert_eq!(sqlstate(&query(raw, "UPDATE t SET v = v")), "", "writes are back");
    }
}
