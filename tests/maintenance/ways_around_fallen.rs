//! The server tells of a guard that fell: its connection is closed before anything else runs on it, logged and counted.

use crate::stand::{query, sqlstate};
use crate::ways_around_schema::{Layers, Observer, attempt, close, stand};
use pgsluice_fixtures::raw::message::{bind, execute, parse, query as q, sync};

fn extended(sql: &str) -> Vec<u8> {
    [parse("", sql, &[]), bind("", "", &[]), execute("", 0), sync()].concat()
}

#[test]
fn a_connection_whose_guard_fell_is_closed_before_anything_runs_on_it() {
    let stand = stand("transaction");
    close(&stand);
    let (mut layers, mut observer) = (Layers::new(&stand), Observer::new(&stand));
    let before = observer.everything();
    let pid = "SELECT pg_backend_pid()";
    let send: [fn(&str) -> Vec<u8>; 2] = [q, extended];
    for (nth, form) in send.into_iter().enumerate() {
        let mut counts = layers.counts();
        let mut raw = stand.app();
        // All at once: what stands behind the statement has left the client before the guard falls.
        let bytes = [form(pid), form("SELECT lifts()"), form("SELECT writes()"), form("SELECT hidden()"), form(pid)];
        let frames = attempt(&mut raw, &bytes.concat(), 5).expect("the client stays connected");
        assert_eq!(sqlstate(&frames), "25006", "what writes is refused");
        let row = |frame: &&pgsluice_fixtures::Frame| frame.tag == b'D';
        let (first, last) = (frames.iter().find(row).unwrap(), frames.iter().rfind(row).unwrap());
        assert_ne!(first.values(), last.values(), "the server connection is another one");
        assert_eq!(layers.since(&mut counts), "SPG", "form {nth}");
        assert_eq!(observer.everything(), before);
    }
    let log = stand.proxy.log();
    assert!(log.contains("a guard fell") && log.contains("WARN"), "{log}");
}

#[test]
fn in_a_pinned_session_it_is_put_up_again_before_anything_runs() {
    let stand = stand("session");
    close(&stand);
    let mut observer = Observer::new(&stand);
    let before = observer.everything();
    let mut raw = stand.app();
    let bytes =
        [q("SELECT lifts()"), q("SELECT writes()"), q("RESET ALL"), q("INSERT INTO t VALUES (1, 'x')")].concat();
    let frames = attempt(&mut raw, &bytes, 4).expect("the client stays connected");
    assert_eq!(sqlstate(&frames), "25006");
    assert_eq!(observer.everything(), before);
    assert_eq!(sqlstate(&query(&mut raw, "SELECT count(*) FROM t")), "");
}

#[test]
fn ddl_does_not_reach_an_event_trigger() {
    let stand = stand("transaction");
    close(&stand);
    let mut observer = Observer::new(&stand);
    let before = observer.everything();
    let mut raw = stand.app();
    for sql in [
        "BEGIN",
        "CREATE TABLE n (a int)",
        "ROLLBACK",
        "SELECT 1; CREATE TABLE n (a int)",
        "SELECT runs('DROP TABLE t')",
    ] {
        attempt(&mut raw, &q(sql), 1);
    }
    assert_eq!(observer.everything(), before);
}

#[test]
fn a_trigger_on_a_temporary_table_does_not_write() {
    let stand = stand("transaction");
    let mut raw = stand.app();
    for sql in [
        "CREATE TEMP TABLE mine (a int, b int DEFAULT hidden())",
        "CREATE TRIGGER one BEFORE UPDATE ON mine FOR EACH ROW EXECUTE FUNCTION on_row()",
        "CREATE CONSTRAINT TRIGGER two AFTER INSERT ON mine DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (new.a = 5) EXECUTE FUNCTION on_row()",
        "INSERT INTO mine VALUES (1, 1)",
    ] {
        assert_eq!(sqlstate(&query(&mut raw, sql)), "", "{sql}");
    }
    close(&stand);
    let (mut layers, mut observer) = (Layers::new(&stand), Observer::new(&stand));
    let (mut counts, before) = (layers.counts(), observer.everything());
    for sql in ["INSERT INTO mine (a) VALUES (2)", "UPDATE mine SET a = 3", "INSERT INTO mine VALUES (5, 5)"] {
        for bytes in [q(sql), extended(sql)] {
            let frames = attempt(&mut raw, &bytes, 1).expect("the client stays connected");
            assert_eq!(sqlstate(&frames), "25006", "{sql}");
            assert_eq!(layers.since(&mut counts), "P", "{sql}");
        }
        for sql in ["BEGIN", sql, "COMMIT"] {
            attempt(&mut raw, &q(sql), 1).expect("the client stays connected");
        }
        assert_eq!(layers.since(&mut counts), "P", "{sql}");
        assert_eq!(observer.everything(), before);
        assert_eq!(sqlstate(&query(&mut raw, "INSERT INTO mine VALUES (4, 4)")), "", "and the harmless goes on");
    }
}
