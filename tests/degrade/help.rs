//! What these tests ask of a client and of the console.

use std::time::{Duration, Instant};

use pgsluice_fixtures::{Raw, wait};

use crate::stand::{LONG, Stand, detail, fine, query, sqlstate};

pub const WRITE: &str = "INSERT INTO w(who) VALUES ('x')";

/// One row of SHOW MAINTENANCE: mode, cause, reason.
pub fn maintenance(stand: &Stand) -> [String; 3] {
    let rows = stand.console("SHOW MAINTENANCE app");
    let row = &rows[0];
    [row[1].clone(), row[22].clone(), row[23].clone()]
}

pub fn wait_for_mode(stand: &Stand, mode: &str, cause: &str) {
    wait::until_ok(LONG, "the mode", || {
        let [is, why, reason] = maintenance(stand);
        if is == mode && why == cause { Ok(()) } else { Err(format!("{is} {why} {reason}, not {mode} {cause}")) }
    });
}

/// A write is refused as by a server that is read-only; its DETAIL.
pub fn refused(raw: &mut Raw) -> String {
    let frames = query(raw, WRITE);
    assert_eq!(sqlstate(&frames), "25006", "{:?}", frames.iter().find_map(pgsluice_fixtures::Frame::error));
    detail(&frames)
}

/// Waits for the write to be refused.
pub fn until_refused(raw: &mut Raw, within: Duration) -> String {
    wait::until(within, "a refused write", || {
        let frames = query(raw, WRITE);
        (sqlstate(&frames) == "25006").then(|| detail(&frames))
    })
}

/// Waits for the write to succeed.
pub fn until_written(raw: &mut Raw, within: Duration) {
    wait::until_ok(within, "a write", || {
        let frames = query(raw, WRITE);
        if sqlstate(&frames).is_empty() { Ok(()) } else { Err(format!("{} {}", sqlstate(&frames), detail(&frames))) }
    });
}

/// Waits, without asking for anything, until the client has been told this of `default_transaction_read_only`.
pub fn until_told(raw: &mut Raw, word: &str) {
    let deadline = Instant::now() + LONG;
    while raw.parameters().get("default_transaction_read_only").map(String::as_str) != Some(word) {
        assert!(Instant::now() < deadline, "never told {word}");
        let _ = raw.frame(Duration::from_millis(100));
    }
}

/// What has to be answered in a database that only takes no writes.
pub fn reads_go_on(raw: &mut Raw) {
    assert_eq!(fine(raw, "SELECT count(*) FROM t"), [["10"]]);
    assert_eq!(fine(raw, "SELECT counts()"), [["10"]]);
    assert_eq!(fine(raw, "SHOW server_encoding"), [["UTF8"]]);
    assert_eq!(fine(raw, "SHOW default_transaction_read_only"), [["on"]]);
    fine(raw, "BEGIN; SELECT v FROM t WHERE id = 1; COMMIT");
}
