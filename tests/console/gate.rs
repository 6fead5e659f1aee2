//! MAINTENANCE and OFFLINE from the console.

use std::time::Instant;

use pgsluice_fixtures::raw::message::query;
use pgsluice_fixtures::{Frame, Raw, wait};

use crate::stand::{SOON, client, cluster, config, console, proxy, proxy_with, psql, refusal, rows, table};

fn notices(frames: &[Frame]) -> Vec<String> {
    frames.iter().filter(|frame| frame.tag == b'N').map(|frame| frame.error_fields()[&'M'].clone()).collect()
}

#[test]
fn on_and_off() {
    let proxy = proxy();
    let mut console = console(&proxy);
    let mut app = client(&proxy);
    let on =
        table(&mut console, "MAINTENANCE ON app WITH (message 'upgrade', until '2036-12-01 14:00Z', drain_timeout 5s)");
    let columns = "database|mode|changed|epoch|since|quiesced_at|quiesced_lsn|waited_ms|finished|fenced|cancelled|\
                   foreign_writers|message";
    assert_eq!(on.columns.join("|"), columns);
    let app_row = [("database", "app")];
    let facts =
        ["mode", "changed", "epoch", "message", "finished", "cancelled"].map(|column| on.value(&app_row, column));
    assert_eq!(facts, ["read_only", "t", "1", "upgrade", "0", "0"]);
    assert!(on.value(&app_row, "quiesced_lsn").contains('/') && on.value(&app_row, "quiesced_at").ends_with("+00"));
    assert_eq!(refusal(&mut app, "insert into t values (1)"), "25006");

    let again = table(&mut console, "MAINTENANCE ON app");
    assert_eq!(["changed", "epoch", "message"].map(|column| again.value(&app_row, column)), ["f", "1", "upgrade"]);
    let status = table(&mut console, "SHOW MAINTENANCE app");
    let facts = ["mode", "message", "until", "writes", "reads", "on_timeout", "drain_timeout", "who", "maintenance"]
        .map(|column| status.value(&app_row, column));
    let until = "2036-12-01 14:00:00+00";
    assert_eq!(facts, ["read_only", "upgrade", until, "reject", "any", "cancel", "5s", "admin", "t"]);

    let frames = console.round_trip(&query("MAINTENANCE OFF app"), SOON).unwrap();
    let tag = frames.iter().find(|frame| frame.tag == b'C').unwrap();
    assert_eq!(tag.strings(), ["MAINTENANCE"]);
    rows(&mut app, "insert into t values (1)");
    assert_eq!(table(&mut console, "MAINTENANCE OFF app").value(&app_row, "changed"), "f");
    let log = proxy.log();
    for line in ["MAINTENANCE ON app", "mode: read_only", "MAINTENANCE OFF app", "mode: read_write"] {
        assert!(log.lines().any(|logged| logged.contains("WARN") && logged.contains(line)), "{line}: {log}");
    }
}

#[test]
fn all_databases_at_once() {
    let proxy = proxy();
    let mut console = console(&proxy);
    let on = table(&mut console, "MAINTENANCE ON *");
    assert_eq!(on.matching(&[("mode", "read_only"), ("changed", "t")]).len(), 2);
    assert_eq!(table(&mut console, "SHOW MAINTENANCE").matching(&[("mode", "read_only")]).len(), 3);
    let off = table(&mut console, "MAINTENANCE OFF *");
    assert_eq!(off.matching(&[("mode", "read_write"), ("changed", "t")]).len(), 2);
}

#[test]
fn a_drain_tells_what_it_waits_for() {
    let proxy = proxy();
    let mut first = console(&proxy);
    let mut second = console(&proxy);
    let mut app = client(&proxy);
    rows(&mut app, "begin; insert into t values (2)");
    first.send(&query("MAINTENANCE ON app")).unwrap();
    let told = first.frames_until(SOON, |frame| frame.tag == b'N').unwrap();
    assert!(notices(&told)[0].contains("waiting for 1 open transaction ("), "{told:?}");
    assert!(notices(&told)[0].contains("user \"app\""), "{told:?}");
    let status = table(&mut second, "SHOW MAINTENANCE app");
    assert_eq!(status.value(&[("database", "app")], "mode"), "draining");
    assert_eq!(status.value(&[("database", "app")], "in_flight"), "1");
    assert_eq!(status.value(&[("database", "app")], "under_way"), "MAINTENANCE ON by \"admin\"");
    assert_eq!(refusal(&mut second, "OFFLINE app"), "55006");
    rows(&mut app, "commit");
    let frames = first.frames_until_ready(SOON).unwrap();
    assert!(frames.iter().any(|frame| frame.tag == b'D'), "{frames:?}");
    rows(&mut second, "MAINTENANCE OFF app");
}

#[test]
fn a_console_that_is_lost_loses_nothing() {
    let proxy = proxy();
    let mut other = console(&proxy);
    let mut app = client(&proxy);
    rows(&mut app, "begin; insert into t values (3)");
    let mut lost = console(&proxy);
    lost.send(&query("MAINTENANCE ON app")).unwrap();
    lost.frames_until(SOON, |frame| frame.tag == b'N').unwrap();
    drop(lost);
    wait::until(SOON, "the console to be gone", || {
        (table(&mut other, "SHOW CLIENTS").matching(&[("user", "admin")]).len() == 1).then_some(())
    });
    assert_eq!(table(&mut other, "SHOW MAINTENANCE app").value(&[("database", "app")], "mode"), "draining");
    rows(&mut app, "commit");
    wait::until(SOON, "quiesced", || {
        (table(&mut other, "SHOW MAINTENANCE app").value(&[("database", "app")], "mode") == "read_only").then_some(())
    });
}

#[test]
fn a_command_can_be_cancelled_and_the_transition_goes_on() {
    let proxy = proxy();
    let mut first = console(&proxy);
    let mut other = console(&proxy);
    let mut app = client(&proxy);
    rows(&mut app, "begin; insert into t values (4)");
    first.send(&query("MAINTENANCE ON app")).unwrap();
    first.frames_until(SOON, |frame| frame.tag == b'N').unwrap();
    first.cancel(SOON).unwrap();
    let frames = first.frames_until_ready(SOON).unwrap();
    let error = frames.iter().find_map(Frame::error).unwrap();
    assert_eq!(error.code(), "57014");
    assert_eq!(table(&mut first, "SHOW MAINTENANCE app").value(&[("database", "app")], "mode"), "draining");
    rows(&mut other, "MAINTENANCE OFF app");
    rows(&mut app, "commit");
}

#[test]
fn nowait_and_a_drain_that_cancels() {
    let proxy = proxy();
    let mut console = console(&proxy);
    let mut app = client(&proxy);
    rows(&mut app, "begin; insert into t values (5)");
    let began = Instant::now();
    let on = table(&mut console, "MAINTENANCE ON app WITH (drain_timeout '1s') NOWAIT");
    assert_eq!(on.value(&[("database", "app")], "mode"), "draining");
    assert!(began.elapsed() < SOON);
    let joined = table(&mut console, "MAINTENANCE ON app");
    assert_eq!(joined.value(&[("database", "app")], "cancelled"), "1");
    assert_eq!(refusal(&mut app, "select 1"), "25006");
    assert_eq!(cluster().primary().psql("select count(*) from t where n = 5").unwrap(), "0");
}

#[test]
fn a_drain_that_reverts_tells_what_was_in_the_way() {
    let proxy = proxy();
    let mut console = console(&proxy);
    let mut app = client(&proxy);
    rows(&mut app, "begin; insert into t values (6)");
    let sql = "MAINTENANCE ON app WITH (drain_timeout '100ms', on_timeout revert)";
    let frames = console.round_trip(&query(sql), SOON).unwrap();
    let fields = frames.iter().find(|frame| frame.tag == b'E').unwrap().error_fields();
    assert_eq!(fields[&'C'], "55P03");
    assert!(fields[&'D'].contains("user \"app\"") && fields[&'H'].contains("drain_timeout"), "{fields:?}");
    rows(&mut app, "commit");
}

#[test]
fn what_the_configuration_says_holds() {
    let proxy = proxy_with(&config(
        "",
        "[databases.app.maintenance]\nmessage = 'back soon'\non_timeout = 'revert'\ndrain_timeout = '7s'\nreads = 'primary'",
    ));
    let mut console = console(&proxy);
    rows(&mut console, "MAINTENANCE ON app");
    let status = table(&mut console, "SHOW MAINTENANCE app");
    let facts = ["message", "on_timeout", "drain_timeout", "reads"].map(|c| status.value(&[("database", "app")], c));
    assert_eq!(facts, ["back soon", "revert", "7s", "primary"]);
    // A second command without a message leaves the one that is there.
    rows(&mut console, "MAINTENANCE ON app WITH (message 'late')");
    let again = table(&mut console, "MAINTENANCE ON app WITH (reads any)");
    assert_eq!(again.value(&[("database", "app")], "message"), "late");
}

#[test]
fn offline_and_online() {
    let proxy = proxy();
    let mut console = console(&proxy);
    let mut app = client(&proxy);
    let off = table(&mut console, "OFFLINE app WITH (message 'moving house')");
    assert_eq!(off.value(&[("database", "app")], "mode"), "offline");
    let frames = app.frames_until_closed(SOON).unwrap();
    assert_eq!(frames.iter().find_map(Frame::error).unwrap().code(), "57P01");
    let refused = psql(&proxy, "app", "app", &["-c", "select 1"]);
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(words.contains("database \"app\" is offline: moving house"), "{words}");
    assert_eq!(table(&mut console, "ONLINE app").value(&[("database", "app")], "mode"), "read_write");
    client(&proxy);
}

#[test]
fn mistakes_change_nothing() {
    let proxy = proxy();
    let mut console = console(&proxy);
    for (sql, code) in [
        ("MAINTENANCE ON", "42601"),
        ("MAINTENANCE ON nosuch", "3D000"),
        ("MAINTENANCE ON app WITH (colour 'red')", "22023"),
        ("MAINTENANCE ON app WITH (drain_timeout '30')", "22023"),
        ("MAINTENANCE ON app WITH (until 'tomorrow')", "22007"),
        ("MAINTENANCE CHECK nosuch", "3D000"),
        ("MAINTENANCE CHECK app now", "42601"),
        ("MAINTENANCE REHEARSE nosuch FOR '10min'", "3D000"),
        ("MAINTENANCE REHEARSE app FOR 'ever'", "22023"),
        ("MAINTENANCE REHEARSE app FOR '8d'", "22023"),
        ("MAINTENANCE REHEARSE app", "42601"),
        ("SHOW MAINTENANCE nosuch", "3D000"),
        ("OFFLINE pgsluice", "3D000"),
    ] {
        assert_eq!(refusal(&mut console, sql), code, "{sql}");
    }
    // Read as a whole before anything runs.
    assert_eq!(refusal(&mut console, "MAINTENANCE ON app; MAINTENANCE UP app"), "42601");
    assert_eq!(table(&mut console, "SHOW MAINTENANCE").matching(&[("epoch", "0")]).len(), 2);
}

/// Insert by one batch of the extended protocol.
fn inserts(session: &mut Raw) -> Option<String> {
    use pgsluice_fixtures::raw::message::{bind, execute, parse, sync};
    let batch = [parse("", "insert into t values (60)", &[]), bind("", "", &[]), execute("", 0), sync()].concat();
    session.send(&batch).unwrap();
    let frames = session.frames_until(SOON, |frame| matches!(frame.tag, b'E' | b'Z')).unwrap();
    frames.iter().find(|frame| frame.tag == b'E').map(|error| error.error_fields()[&'C'].clone())
}

#[test]
fn no_session_stays_on_the_replica_of_a_maintenance_that_is_over() {
    for mode in ["session", "transaction"] {
        let proxy = proxy_with(&config(&format!("pool_mode = \"{mode}\""), ""));
        let mut admin = console(&proxy);
        rows(&mut admin, "MAINTENANCE ON app WITH (reads replica)");
        let mut sessions = [0, 1, 2].map(|_| {
            wait::until(SOON, "the replica has come as far", || {
                let mut session = client(&proxy);
                let there = rows(&mut session, "select setseed(0.5), inet_server_port()");
                (there[0][1] == Some(cluster().replica(0).port().to_string())).then_some(session)
            })
        });
        rows(&mut admin, "MAINTENANCE OFF app");
        let [simple, extended, reads] = &mut sessions;
        if mode == "session" {
            rows(simple, "insert into t values (60)");
            assert_eq!(inserts(extended), None);
            let primary = cluster().primary().port().to_string();
            assert_eq!(rows(reads, "select inet_server_port()")[0][0], Some(primary));
        } else {
            // What it has left there is lost, and it is told so.
            assert_eq!(inserts(extended).as_deref(), Some("57P01"));
            simple.send(&query("insert into t values (60)")).unwrap();
            let frames = simple.frames_until(SOON, |frame| frame.tag == b'E').unwrap();
            let fields = frames.last().unwrap().error_fields();
            assert_eq!(fields[&'C'], "57P01");
            assert!(fields[&'D'].contains("on a replica"), "{fields:?}");
        }
    }
}
