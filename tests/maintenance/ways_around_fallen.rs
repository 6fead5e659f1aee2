//! The server tells of a guard that fell: its connection is closed before anything else runs on it, logged and counted.

use crate::stand::{LONG, Stand, query, sqlstate};
use crate::ways_around_schema::{Layers, Observer, attempt, close, stand};
use pgsluice_fixtures::raw::message::{bind, execute, function_call, parse, query as q, sync};
use pgsluice_fixtures::{Frame, Raw, wait};

fn extended(sql: &str) -> Vec<u8> {
    [parse("", sql, &[]), bind("", "", &[]), execute("", 0), sync()].concat()
}

/// From PostgreSQL 16 on the server itself refuses to write large objects, which is what hides here: then nothing is left to be proved.
fn server_refuses(stand: &Stand) -> bool {
    stand.cluster.installation().version.major >= 16
}

fn a_connection_whose_guard_fell_is_closed_before_anything_runs_on_it(stand: &Stand) {
    let (mut layers, mut observer) = (Layers::new(stand), Observer::new(stand));
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
        let row = |frame: &&Frame| frame.tag == b'D';
        let (first, last) = (frames.iter().find(row).unwrap(), frames.iter().rfind(row).unwrap());
        assert_ne!(first.values(), last.values(), "the server connection is another one");
        let layers = layers.since(&mut counts);
        assert_eq!(layers, if server_refuses(stand) { "SG" } else { "SPG" }, "form {nth}");
        assert_eq!(observer.everything(), before);
    }
    wait::until(LONG, "a warning in the log", || {
        let log = stand.proxy.log();
        (log.contains("a guard fell") && log.contains("WARN")).then_some(())
    });
}

/// One cluster for all of them: it is what takes the time.
#[test]
fn nothing_gets_past_the_guard_and_the_proof() {
    let stand = stand("transaction");
    // It stays to the end: what its table leaves in the catalog goes with it.
    let mut raw = temporary_table(&stand);
    close(&stand);
    a_trigger_on_a_temporary_table_does_not_write(&stand, &mut raw);
    a_connection_whose_guard_fell_is_closed_before_anything_runs_on_it(&stand);
    ddl_does_not_reach_an_event_trigger(&stand);
    if !server_refuses(&stand) {
        a_commit_that_is_not_proved_is_one_that_failed(&stand);
    }
    no_order_of_messages_dodges_the_proof(&stand);
}

/// Its state lies in the connection that is closed, so it ends; what PostgreSQL itself does not mean as an attempt does not end it.
#[test]
fn a_pinned_session_whose_guard_fell_ends_before_anything_more_runs() {
    let stand = stand("session");
    close(&stand);
    let (mut layers, mut observer) = (Layers::new(&stand), Observer::new(&stand));
    let (mut counts, before) = (layers.counts(), observer.everything());
    for form in [q as fn(&str) -> Vec<u8>, extended] {
        let mut raw = stand.app();
        let bytes = ["RESET ALL", "SELECT lifts()", "SELECT writes()", "INSERT INTO t VALUES (1, 'x')"].map(form);
        raw.send(&bytes.concat()).unwrap();
        let frames = raw.frames_until_closed(LONG).unwrap();
        let readies = frames.iter().filter(|frame| frame.tag == b'Z').count();
        assert_eq!(readies, 2, "RESET ALL and what lifted it are answered: {frames:?}");
        let last = frames.last().and_then(Frame::error).unwrap();
        assert_eq!((last.severity(), last.code()), ("FATAL", "57P01"), "{frames:?}");
        assert!(last.detail().unwrap().ends_with("made its server connection writable."), "{frames:?}");
        assert_eq!(layers.since(&mut counts), "G");
        assert_eq!(observer.everything(), before);
    }
    let mut raw = stand.app();
    assert_eq!(sqlstate(&query(&mut raw, "RESET ALL; SELECT 1")), "");
    assert_eq!(sqlstate(&query(&mut raw, "PREPARE x AS SELECT 1; COPY t FROM STDIN")), "25006");
    assert_eq!(sqlstate(&query(&mut raw, "RESET ALL")), "", "also behind a message that had to be watched");
    assert_eq!(sqlstate(&query(&mut raw, "INSERT INTO t VALUES (1, 'x')")), "25006");
    assert_eq!(sqlstate(&query(&mut raw, "SELECT count(*) FROM t")), "");
}

fn ddl_does_not_reach_an_event_trigger(stand: &Stand) {
    let mut observer = Observer::new(stand);
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

/// A session's own table, with code that writes around it.
fn temporary_table(stand: &Stand) -> Raw {
    let mut raw = stand.app();
    for sql in [
        "CREATE TEMP TABLE mine (a int, b int DEFAULT hidden())",
        "CREATE TRIGGER one BEFORE UPDATE ON mine FOR EACH ROW EXECUTE FUNCTION on_row()",
        "CREATE CONSTRAINT TRIGGER two AFTER INSERT ON mine DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (new.a = 5) EXECUTE FUNCTION on_row()",
        "INSERT INTO mine VALUES (1, 1)",
    ] {
        assert_eq!(sqlstate(&query(&mut raw, sql)), "", "{sql}");
    }
    raw
}

fn a_trigger_on_a_temporary_table_does_not_write(stand: &Stand, raw: &mut Raw) {
    let (mut layers, mut observer) = (Layers::new(stand), Observer::new(stand));
    let (mut counts, before) = (layers.counts(), observer.everything());
    let by = if server_refuses(stand) { "S" } else { "P" };
    for sql in ["INSERT INTO mine (a) VALUES (2)", "UPDATE mine SET a = 3", "INSERT INTO mine VALUES (5, 5)"] {
        for bytes in [q(sql), extended(sql)] {
            let frames = attempt(raw, &bytes, 1).expect("the client stays connected");
            assert_eq!(sqlstate(&frames), "25006", "{sql}");
            assert_eq!(layers.since(&mut counts), by, "{sql}");
        }
        for sql in ["BEGIN", sql, "COMMIT"] {
            attempt(raw, &q(sql), 1).expect("the client stays connected");
        }
        assert_eq!(layers.since(&mut counts), by, "{sql}");
        assert_eq!(observer.everything(), before);
        assert_eq!(sqlstate(&query(raw, "INSERT INTO mine VALUES (4, 4)")), "", "and the harmless goes on");
    }
}

/// What ends a transaction so that no question could stand ahead of it, tried in odd orders.
fn no_order_of_messages_dodges_the_proof(stand: &Stand) {
    let oid: u32 =
        stand.cluster.primary().psql_in("app", "SELECT 'hidden'::regproc::oid").unwrap().trim().parse().unwrap();
    let mut observer = Observer::new(stand);
    let before = observer.everything();
    let run = |sql: &str| [parse("", sql, &[]), bind("", "", &[]), execute("", 0)].concat();
    let call = || function_call(oid, &[]);
    let in_savepoint = ["BEGIN", "SELECT hidden()", "SAVEPOINT a", "SELECT 1/0", "SELECT 1"].map(q).concat();
    let rows = [parse("", "SELECT hidden() FROM t", &[]), bind("p", "", &[]), execute("p", 1)].concat();
    let planned = [parse("", "SELECT hidden_immutable()", &[]), bind("", "", &[]), sync()].concat();
    let hold = "DECLARE c CURSOR WITH HOLD FOR SELECT * FROM hidden_view";
    let ways: Vec<(&str, Vec<u8>, usize)> = vec![
        ("a savepoint", [in_savepoint.clone(), q("ROLLBACK TO a"), q("COMMIT")].concat(), 7),
        ("a savepoint, one query", [in_savepoint.clone(), q("ROLLBACK TO a; COMMIT")].concat(), 6),
        ("a savepoint, one batch", [in_savepoint, run("ROLLBACK TO a"), run("COMMIT"), sync()].concat(), 6),
        ("a refused statement behind", q("SELECT hidden(); COMMIT; SELECT lo_create(0)"), 1),
        ("only planned", planned, 1),
        ("some rows only", [rows.clone(), sync()].concat(), 1),
        ("some rows only, in a block", [q("BEGIN"), rows, sync(), q("END")].concat(), 3),
        ("SET behind a batch", [run("SELECT hidden()"), q("SET a.b = 1"), sync()].concat(), 1),
        ("COMMIT behind a batch", [run("SELECT hidden()"), q("COMMIT"), sync()].concat(), 1),
        (
            "a function call behind a batch",
            [run("SELECT hidden()"), function_call(1397, &[Some(&[0, 0, 0, 7])]), sync()].concat(),
            1,
        ),
        ("a function call", call(), 1),
        ("a function call in a block", [q("BEGIN"), call(), q("COMMIT")].concat(), 3),
        ("a function call in a batch", [run("SELECT 1"), call(), sync()].concat(), 1),
        ("a cursor", q(hold), 1),
        ("a cursor in a block", [q("BEGIN"), q(hold), q("COMMIT")].concat(), 3),
        ("a cursor in a batch", [run(hold), sync()].concat(), 1),
        ("a cursor in a block of a batch", [run("BEGIN"), run(hold), run("COMMIT"), sync()].concat(), 1),
        ("a cursor among others", q(&format!("SELECT 1; {hold}")), 1),
        ("a cursor in a function", q("SELECT runs('DECLARE c CURSOR WITH HOLD FOR SELECT hidden()')"), 1),
        (
            "two cursors",
            q("DECLARE d CURSOR WITH HOLD FOR SELECT runs('DECLARE c CURSOR WITH HOLD FOR SELECT hidden()')"),
            1,
        ),
        ("chained", [q("BEGIN"), q("SELECT hidden()"), q("COMMIT AND CHAIN"), q("COMMIT")].concat(), 4),
    ];
    for (name, bytes, readies) in ways {
        let mut raw = stand.app();
        let frames = attempt(&mut raw, &bytes, readies).unwrap_or_default();
        let codes: Vec<String> = frames.iter().filter_map(Frame::error).map(|error| error.code().to_owned()).collect();
        assert!(codes.iter().any(|code| code == "25006"), "{name}: {codes:?} {frames:?}");
        assert_eq!(observer.everything(), before, "{name} has written");
        drop(raw);
        assert_eq!(observer.everything(), before, "{name} has written at its end");
    }
}

/// What the client sees in place of COMMIT is what PostgreSQL shows when a COMMIT fails.
fn a_commit_that_is_not_proved_is_one_that_failed(stand: &Stand) {
    let mut raw = stand.app();
    for commit in ["COMMIT", "END", "COMMIT AND CHAIN"] {
        attempt(&mut raw, &[q("BEGIN"), q("SELECT hidden()")].concat(), 2).unwrap();
        let frames = query(&mut raw, commit);
        let shape: String = frames.iter().map(|frame| frame.tag as char).collect();
        assert_eq!((shape.as_str(), frames.last().unwrap().body.as_slice()), ("EZ", &b"I"[..]), "{commit}: {frames:?}");
        let error = frames[0].error().unwrap();
        assert_eq!((error.code(), error.message()), ("25006", "cannot execute COMMIT in a read-only transaction"));
        assert!(error.detail().unwrap().starts_with("database \"app\" is in maintenance: moving house\n"));
        assert_eq!(sqlstate(&query(&mut raw, "SELECT txid_current() > 0")), "", "nothing is left of it");
    }
    let frames = query(&mut raw, "SELECT 1; SELECT hidden(); SELECT 2");
    let shape: String = frames.iter().map(|frame| frame.tag as char).collect();
    assert_eq!(shape, "TDCTDCTDEZ", "the last CommandComplete gives way to the error");
}
