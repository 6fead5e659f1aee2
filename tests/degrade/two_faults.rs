//! Two faults at once, and one in the midst of something else.

use std::time::{Duration, Instant};

use pgsluice_fixtures::cluster::Mode;
use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Login, Raw};

use crate::help::{WRITE, maintenance, reads_go_on, refused, until_refused, until_told, until_written, wait_for_mode};
use crate::stand::{LONG, Later, SOON, Stand, fine, query, signal, sqlstate};

const AFTER: &str = "primary_lost_after = \"1500ms\"";
const FENCE: &str = "ALTER DATABASE app SET default_transaction_read_only = on";

fn by_superuser(stand: &Stand, sql: &str) {
    stand.cluster.primary().psql_in("postgres", sql).unwrap();
}

#[test]
fn a_fence_on_a_primary_that_is_then_lost_holds_on_the_new_one_until_it_is_lifted_there() {
    let stand = Stand::with("", AFTER, "", &[]);
    let (mut app, mut idle) = (stand.connect("app"), stand.connect("app"));
    fine(&mut app, WRITE);
    by_superuser(&stand, FENCE);
    wait_for_mode(&stand, "read_only", "own_setting");
    stand.cluster.wait_for_replay(LONG).unwrap();
    stand.cluster.primary().stop(Mode::Fast).unwrap();
    wait_for_mode(&stand, "read_only", "primary_lost");
    reads_go_on(&mut app);
    assert!(refused(&mut app).contains("the primary has been lost since"));
    stand.cluster.replica(0).promote().unwrap();
    // The setting was replicated with everything else.
    wait_for_mode(&stand, "read_only", "own_setting");
    assert!(refused(&mut app).contains("is read-only by its own setting"));
    until_told(&mut idle, "on");
    let lifts = "ALTER DATABASE app RESET default_transaction_read_only";
    stand.cluster.replica(0).psql_in("postgres", lifts).unwrap();
    until_written(&mut app, SOON);
    until_told(&mut idle, "off");
    wait_for_mode(&stand, "read_write", "");
}

#[test]
fn a_fence_that_is_set_and_lifted_behind_a_closed_gate_opens_nothing_and_leaves_nothing() {
    let stand = Stand::with("", AFTER, "", &[]);
    let mut app = stand.connect("app");
    fine(&mut app, WRITE);
    stand.console("MAINTENANCE ON app WITH (message 'work')");
    by_superuser(&stand, FENCE);
    stand.cluster.primary().restart().unwrap();
    assert!(refused(&mut app).contains("work"));
    stand.wait_for_roles(&["primary", "replica"]);
    assert_eq!(maintenance(&stand)[..2], ["read_only", "command"]);
    by_superuser(&stand, "ALTER DATABASE app RESET default_transaction_read_only");
    std::thread::sleep(Duration::from_millis(800));
    assert!(refused(&mut app).contains("work"));
    stand.console("MAINTENANCE OFF app");
    until_written(&mut app, SOON);
}

#[test]
fn a_primary_that_is_lost_during_a_drain_ends_the_drain_and_no_write_passes_afterwards() {
    for freezes in [false, true] {
        let stand = Stand::with("", "monitor_timeout = \"500ms\"\nprimary_lost_after = \"1500ms\"", "", &[]);
        let (mut block, mut bound) = (stand.connect("app"), stand.connect("sess"));
        fine(&mut block, "BEGIN");
        fine(&mut block, WRITE);
        fine(&mut bound, "CREATE TEMPORARY TABLE mine (id int)");
        stand.cluster.wait_for_replay(LONG).unwrap();
        let address = stand.proxy.tcp();
        let closes = Later::run("MAINTENANCE ON", move || {
            let mut raw = Raw::connect(&address, &Login::new("dba", "pgsluice")).map_err(|error| error.to_string())?;
            let frames = query(&mut raw, "MAINTENANCE ON app WITH (drain_timeout '20s')");
            Ok((raw, frames))
        });
        std::thread::sleep(Duration::from_millis(300));
        let old = stand.cluster.primary();
        if freezes {
            signal(old, "-STOP")
        } else {
            old.stop(Mode::Immediate).unwrap()
        }
        stand.cluster.replica(0).promote().unwrap();
        let (_, frames) = closes.by(Instant::now() + LONG);
        let code = sqlstate(&frames);
        assert!(code.is_empty() || code == "55P03", "freezes {freezes}: {code}");
        let closed = maintenance(&stand)[0] == "read_only";
        assert_eq!(closed, code.is_empty(), "freezes {freezes}");
        let mut fresh = stand.connect("late");
        if closed {
            refused(&mut fresh);
            let ends = block.round_trip(&message::query("COMMIT"), LONG);
            assert!(ends.is_err() || !sqlstate(&ends.unwrap()).is_empty() || freezes, "freezes {freezes}");
            assert_eq!(stand.written_on_the_new_one(), Vec::<String>::new(), "freezes {freezes}");
            stand.console("MAINTENANCE OFF app");
        }
        until_written(&mut fresh, LONG);
        if freezes {
            signal(old, "-CONT");
        }
    }
}

#[test]
fn a_site_of_replicas_alone_answers_clients_in_every_state() {
    let mut stand = Stand::new("");
    let replica = stand.cluster.replica(0).port();
    let (mut idle, mut block, mut failed) = (stand.connect("app"), stand.connect("app"), stand.connect("app"));
    let (mut bound, mut pinned, mut named) = (stand.connect("sess"), stand.connect("app"), stand.connect("app"));
    fine(&mut block, "BEGIN");
    fine(&mut block, "SELECT count(*) FROM t");
    fine(&mut failed, "BEGIN");
    assert_eq!(sqlstate(&query(&mut failed, "SELECT 1/0")), "22012");
    fine(&mut bound, "SELECT 1");
    fine(&mut pinned, "CREATE TEMPORARY TABLE mine (id int)");
    let prepares = [message::parse("n", "SELECT count(*) FROM t", &[]), message::sync()].concat();
    assert_eq!(sqlstate(&named.round_trip(&prepares, LONG).unwrap()), "");
    stand.reload_with(&[replica]);
    wait_for_mode(&stand, "read_only", "no_primary");
    reads_go_on(&mut idle);
    until_refused(&mut idle, SOON);
    let executes = [message::bind("", "n", &[]), message::execute("", 0), message::sync()].concat();
    assert_eq!(crate::stand::rows(&named.round_trip(&executes, LONG).unwrap()), [["10"]]);
    // What is open on a server that is not named any more ends, one way or the other, and never writes.
    for raw in [&mut block, &mut failed] {
        if raw.round_trip(&message::query(WRITE), LONG).is_ok() {
            let _ = raw.round_trip(&message::query("ROLLBACK"), LONG);
            if let Ok(frames) = raw.round_trip(&message::query("SELECT count(*) FROM t"), LONG) {
                assert_eq!(sqlstate(&frames), "");
            }
        }
    }
    for raw in [&mut bound, &mut pinned] {
        let _ = raw.round_trip(&message::query("SELECT 1"), LONG);
    }
    let mut anew = stand.connect("sess");
    assert_eq!(fine(&mut anew, "SELECT count(*) FROM t"), [["10"]]);
    assert_eq!(sqlstate(&query(&mut anew, WRITE)), "25006");
    let mut fresh = stand.connect("late");
    for (sql, code) in [
        ("SELECT pg_is_in_recovery()", ""),
        ("SHOW transaction_read_only", ""),
        ("SELECT current_setting('in_hot_standby')", ""),
        ("BEGIN; SELECT 1; COMMIT", ""),
        ("SELECT nextval('w_id_seq')", "25006"),
        ("SELECT * FROM t FOR UPDATE", "25006"),
        ("CREATE TEMPORARY TABLE x (a int)", "25006"),
        ("SELECT pg_notify('news', 'x')", "25006"),
        ("LOCK TABLE t IN EXCLUSIVE MODE", "25006"),
        ("SELECT txid_current()", "25006"),
        ("SELECT no_such_column FROM t", "42703"),
    ] {
        assert_eq!(sqlstate(&query(&mut fresh, sql)), code, "{sql}");
    }
    assert_eq!(stand.cluster.primary().psql_in("app", "SELECT count(*) FROM w").unwrap(), "0");
}

#[test]
fn a_refusal_of_the_server_tells_what_it_is_before_the_monitor_looks_again() {
    let mut stand = Stand::new("");
    let ports = [stand.cluster.primary().port(), stand.cluster.replica(0).port()];
    stand.rewrite(&ports, &[("monitor_interval = \"300ms\"", "monitor_interval = \"1h\"")]);
    stand.console("RELOAD");
    stand.wait_for_roles(&["primary", "replica"]);
    let mut app = stand.connect("app");
    fine(&mut app, WRITE);
    // 25006 on a pooled connection.
    for sql in ["ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"] {
        by_superuser(&stand, sql);
    }
    until_refused(&mut app, SOON);
    wait_for_mode(&stand, "read_only", "own_setting");
}

/// PostgreSQL answers a commit that is cancelled while it waits for a standby as if all was well, with a warning.
#[test]
fn a_commit_that_waits_for_a_standby_which_was_promoted_is_not_acknowledged() {
    let mut stand = Stand::new("");
    let ports = [stand.cluster.primary().port(), stand.cluster.replica(0).port()];
    let (mut plain, mut block) = (stand.connect("app"), stand.connect("app"));
    fine(&mut block, "BEGIN");
    fine(&mut block, WRITE);
    stand.cluster.wait_for_replay(LONG).unwrap();
    stand.rewrite(&ports, &[("monitor_interval = \"300ms\"", "monitor_interval = \"8s\"")]);
    stand.console("RELOAD");
    stand.wait_for_roles(&["primary", "replica"]);
    let primary = stand.cluster.primary();
    primary.psql("ALTER SYSTEM SET synchronous_standby_names = '*'").unwrap();
    primary.reload().unwrap();
    let synchronous = "SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')";
    primary.wait_until(synchronous, "1", LONG).unwrap();
    stand.cluster.replica(0).promote().unwrap();
    plain.send(&message::query(WRITE)).unwrap();
    block.send(&message::query("COMMIT")).unwrap();
    primary.wait_until("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'", "2", LONG).unwrap();
    for raw in [plain, block] {
        let mut raw = raw;
        let frames = raw.frames_until_closed(LONG).unwrap();
        assert!(frames.iter().all(|frame| frame.tag != b'C'), "{frames:?}");
        assert_eq!(sqlstate(&frames), "57P01");
    }
    stand.wait_for_roles(&["contested", "contested"]);
    assert_eq!(stand.written_on_the_new_one(), Vec::<String>::new());
    // Its commits wait for a standby for good.
    primary.stop(Mode::Immediate).unwrap();
    until_written(&mut stand.connect("late"), LONG);
}
