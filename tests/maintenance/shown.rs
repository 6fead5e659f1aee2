//! `SHOW pgsluice.mode` and its like: what a client sees is what a server would say of a setting of its own.

use crate::stand::{LONG, Stand, query, sqlstate, talk};
use pgsluice_fixtures::raw::message::{
    bind, close_statement, describe_portal, describe_statement, execute, flush, parse, sync,
};
use pgsluice_fixtures::{Frame, Raw, wait};

/// Tags of the answer, with the SQLSTATE of errors, the values of rows, and the status of ReadyForQuery.
fn told(frames: &[Frame]) -> String {
    let one = |frame: &Frame| match frame.tag {
        b'E' => format!("E{}", frame.error().unwrap().code()),
        b'D' => {
            let values = frame.values().into_iter().map(|value| value.unwrap_or_default());
            format!("D[{}]", values.map(|value| String::from_utf8(value).unwrap()).collect::<Vec<_>>().join(","))
        }
        b'C' => format!("C[{}]", String::from_utf8_lossy(&frame.body[..frame.body.len() - 1])),
        b'Z' => format!("Z{}", char::from(frame.body[0])),
        tag => char::from(tag).to_string(),
    };
    frames.iter().filter(|frame| frame.tag != b'S').map(one).collect::<Vec<_>>().join(" ")
}

fn ask(raw: &mut Raw, sql: &str) -> String {
    told(&query(raw, sql))
}

fn batch(raw: &mut Raw, messages: &[Vec<u8>], readies: usize) -> String {
    told(&talk(raw, &messages.concat(), readies))
}

const MODE: &str = "SHOW pgsluice.mode";

/// A statement from Parse to Execute.
fn whole(sql: &str) -> Vec<u8> {
    [parse("", sql, &[]), bind("", "", &[]), describe_portal(""), execute("", 0)].concat()
}

fn simple(raw: &mut Raw, mode: &str) {
    let row = format!("T D[{mode}] C[SHOW]");
    assert_eq!(ask(raw, MODE), format!("{row} ZI"));
    assert_eq!(ask(raw, "/* in */ show PGSLUICE.Mode;"), format!("{row} ZI"));
    assert_eq!(ask(raw, "BEGIN"), "C[BEGIN] ZT");
    assert_eq!(ask(raw, MODE), format!("{row} ZT"));
    assert_eq!(ask(raw, "SET pgsluice.mode = 'x'"), "E55P02 ZE");
    assert_eq!(ask(raw, MODE), "E25P02 ZE");
    assert_eq!(ask(raw, "SET pgsluice.mode = 'x'"), "E25P02 ZE");
    assert_eq!(ask(raw, "ROLLBACK"), "C[ROLLBACK] ZI");
    assert_eq!(ask(raw, "RESET pgsluice.epoch"), "E55P02 ZI");
    assert_eq!(ask(raw, "SHOW pgsluice.nonsense"), "E42704 ZI");
    // Among others in one message, and behind others in a pipeline.
    assert_eq!(
        ask(raw, "SELECT 1; SHOW pgsluice.mode; SELECT 2"),
        format!("T D[1] C[SELECT 1] {row} T D[2] C[SELECT 1] ZI")
    );
    assert_eq!(
        ask(raw, "BEGIN; SHOW pgsluice.mode; SET pgsluice.mode = 1; SELECT 2"),
        format!("C[BEGIN] {row} E55P02 ZE")
    );
    let pipeline =
        ["ROLLBACK", MODE, "BEGIN", "SELECT 1/0", MODE, "COMMIT", MODE].map(pgsluice_fixtures::raw::message::query);
    assert_eq!(
        batch(raw, &pipeline, 7),
        format!("C[ROLLBACK] ZI {row} ZI C[BEGIN] ZT E22012 ZE E25P02 ZE C[ROLLBACK] ZI {row} ZI")
    );
}

fn extended(raw: &mut Raw, mode: &str) {
    let row = format!("D[{mode}] C[SHOW]");
    assert_eq!(batch(raw, &[whole(MODE), sync()], 1), format!("1 2 T {row} ZI"));
    // As asyncpg does it; the value is that of the execution.
    assert_eq!(batch(raw, &[parse("s", MODE, &[]), describe_statement("s"), sync()], 1), "1 t T ZI");
    for _ in 0..2 {
        assert_eq!(batch(raw, &[bind("", "s", &[]), execute("", 0), sync()], 1), format!("2 {row} ZI"));
    }
    assert_eq!(batch(raw, &[parse("s", MODE, &[]), sync()], 1), "E42P05 ZI");
    assert_eq!(batch(raw, &[bind("", "s", &[Some(b"1")]), execute("", 0), sync()], 1), "E08P01 ZI");
    // Between others, before and behind them, in one batch and in several.
    let mixed = [whole("SELECT 1"), whole(MODE), whole("SELECT 2"), sync()];
    assert_eq!(batch(raw, &mixed, 1), format!("1 2 T D[1] C[SELECT 1] 1 2 T {row} 1 2 T D[2] C[SELECT 1] ZI"));
    let mixed = [whole(MODE), whole("SELECT 1/0"), whole(MODE), sync(), whole(MODE), sync()];
    assert_eq!(batch(raw, &mixed, 2), format!("1 2 T {row} 1 E22012 ZI 1 2 T {row} ZI"));
    let block = [
        whole("BEGIN"),
        sync(),
        whole("SELECT 1/0"),
        sync(),
        whole(MODE),
        whole("ROLLBACK"),
        sync(),
        whole("ROLLBACK"),
        sync(),
    ];
    assert_eq!(batch(raw, &block, 4), "1 2 n C[BEGIN] ZT 1 E22012 ZE E25P02 ZE 1 2 n C[ROLLBACK] ZI");
    // Its own error ends the batch and the block, as any.
    let set = [whole("BEGIN"), whole("SET pgsluice.until = 1"), whole("SELECT 1"), sync(), whole("ROLLBACK"), sync()];
    assert_eq!(batch(raw, &set, 2), "1 2 n C[BEGIN] 1 2 n E55P02 ZE 1 2 n C[ROLLBACK] ZI");
    assert_eq!(batch(raw, &[whole("SET pgsluice.until = 1"), whole(MODE), sync()], 1), "1 2 n E55P02 ZI");
    assert_eq!(batch(raw, &[close_statement("s"), sync()], 1), "3 ZI");
    assert_eq!(batch(raw, &[bind("", "s", &[]), sync()], 1), "E26000 ZI");
    // With Flush the answers come before any Sync.
    raw.send(&[parse("s", MODE, &[]), describe_statement("s"), flush()].concat()).unwrap();
    assert_eq!(told(&raw.frames_until(LONG, |frame| frame.tag == b'T').unwrap()), "1 t T");
    assert_eq!(batch(raw, &[bind("", "s", &[]), execute("", 0), sync()], 1), format!("2 {row} ZI"));
    // By SQL it is dropped as any other.
    assert_eq!(ask(raw, "DEALLOCATE s"), "C[DEALLOCATE] ZI");
    assert_eq!(batch(raw, &[bind("", "s", &[]), sync()], 1), "E26000 ZI");
    assert_eq!(batch(raw, &[parse("s", MODE, &[]), sync()], 1), "1 ZI");
    assert_eq!(ask(raw, "DEALLOCATE ALL"), "C[DEALLOCATE ALL] ZI");
    assert_eq!(batch(raw, &[bind("", "s", &[]), sync()], 1), "E26000 ZI");
    // Skipped, so it has not happened.
    let skipped = [parse("", "no sql", &[]), parse("t", MODE, &[]), sync(), bind("", "t", &[]), sync()];
    assert_eq!(batch(raw, &skipped, 2), "E42601 ZI E26000 ZI");
}

/// A client that asks for binary results gets a description that says so.
fn binary(raw: &mut Raw, mode: &str) {
    let mut bound = bind("", "", &[]);
    // One result format, binary, in place of none.
    bound.truncate(bound.len() - 2);
    bound.extend([0, 1, 0, 1]);
    let length = u32::try_from(bound.len() - 1).unwrap().to_be_bytes();
    bound[1..5].copy_from_slice(&length);
    let frames = talk(raw, &[parse("", MODE, &[]), bound, describe_portal(""), execute("", 0), sync()].concat(), 1);
    assert_eq!(told(&frames), format!("1 2 T D[{mode}] C[SHOW] ZI"));
    assert_eq!(frames[2].body.last(), Some(&1), "binary");
    assert!(frames[2].body.starts_with(b"\0\x01pgsluice.mode\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\x01"));
}

#[test]
fn shown_in_every_protocol_form_and_mode() {
    let stand = Stand::new("");
    let (mut app, mut operator) = (stand.app(), stand.operator());
    for mode in ["read_write", "read_only"] {
        if mode == "read_only" {
            stand.on();
        }
        simple(&mut app, mode);
        extended(&mut app, mode);
        binary(&mut app, mode);
        assert_eq!(ask(&mut operator, MODE), format!("T D[{mode}] C[SHOW] ZI"));
        operator.query("BEGIN", LONG).unwrap();
        assert_eq!(ask(&mut operator, MODE), format!("T D[{mode}] C[SHOW] ZT"));
        let between = [whole(MODE), whole("SELECT 1"), whole(MODE), sync()];
        let row = format!("1 2 T D[{mode}] C[SHOW]");
        assert_eq!(batch(&mut operator, &between, 1), format!("{row} 1 2 T D[1] C[SELECT 1] {row} ZT"));
        operator.query("ROLLBACK", LONG).unwrap();
    }
    assert_eq!(ask(&mut app, "SHOW pgsluice.message"), "T D[moving house] C[SHOW] ZI");
    assert_eq!(ask(&mut app, "SHOW pgsluice.until"), "T D[2031-12-01 14:00:00+00] C[SHOW] ZI");
    assert_eq!(ask(&mut app, "SHOW pgsluice.epoch"), "T D[1] C[SHOW] ZI");
    stand.off();
    assert_eq!(ask(&mut app, "SHOW pgsluice.message"), "T D[] C[SHOW] ZI");
    assert_eq!(ask(&mut app, "SHOW pgsluice.epoch"), "T D[2] C[SHOW] ZI");
    assert_eq!(sqlstate(&query(&mut app, "INSERT INTO t VALUES (77, 'x')")), "");
}

#[test]
fn session_mode() {
    let stand = Stand::new("pool_mode = \"session\"");
    let mut app = stand.app();
    simple(&mut app, "read_write");
    extended(&mut app, "read_write");
    stand.on();
    simple(&mut app, "read_only");
    extended(&mut app, "read_only");
}

#[test]
fn no_server_at_all() {
    let stand = Stand::new("query_wait_timeout = \"60s\"");
    let mut fresh = stand.app();
    stand.on();
    stand.cluster.replica(0).kill_9();
    stand.cluster.primary().kill_9();
    wait::until(LONG, "both are seen to be down", || {
        let rows = stand.console("SHOW UPSTREAMS");
        rows.iter().all(|row| row.iter().flatten().any(|value| value == "down")).then_some(())
    });
    assert_eq!(ask(&mut fresh, MODE), "T D[read_only] C[SHOW] ZI");
    assert_eq!(batch(&mut fresh, &[whole(MODE), sync()], 1), "1 2 T D[read_only] C[SHOW] ZI");
}

#[test]
fn a_message_of_nothing_else_is_bounded() {
    let stand = Stand::new("");
    let mut app = stand.app();
    let frames = query(&mut app, &"SHOW pgsluice.mode;".repeat(150));
    assert_eq!(frames.iter().filter(|frame| frame.tag == b'D').count(), 100);
    assert_eq!(sqlstate(&frames), "42704");
    assert_eq!(ask(&mut app, MODE), "T D[read_write] C[SHOW] ZI");
}
