//! The primary is lost, for longer than a moment.

use std::time::{Duration, Instant};

use pgsluice_fixtures::cluster::Mode;
use pgsluice_fixtures::{Login, Raw, wait};

use crate::help::{WRITE, maintenance, reads_go_on, refused, until_refused, until_told, until_written, wait_for_mode};
use crate::stand::{LONG, Later, SOON, Stand, detail, fine, query, sqlstate};

const AFTER: &str = "primary_lost_after = \"1500ms\"";

#[test]
fn a_primary_lost_for_good_leaves_reads_on_replicas_and_writes_are_back_with_the_promotion() {
    let stand = Stand::with("", AFTER, "", &[]);
    let (mut app, waits) = (stand.connect("app"), stand.connect("app"));
    let mut idle = stand.connect("app");
    for raw in [&mut app, &mut idle] {
        fine(raw, WRITE);
    }
    stand.cluster.wait_for_replay(LONG).unwrap();
    stand.cluster.primary().stop(Mode::Fast).unwrap();
    let lost = Instant::now();
    let waits = Later::ask("a write that waits", waits, WRITE);
    let (_, frames) = waits.by(Instant::now() + LONG);
    assert!(lost.elapsed() >= Duration::from_millis(1200), "a moment is not a lasting loss");
    assert_eq!(sqlstate(&frames), "25006");
    assert!(detail(&frames).contains("the primary has been lost since "), "{}", detail(&frames));
    wait_for_mode(&stand, "read_only", "primary_lost");
    assert!(maintenance(&stand)[2].contains("reads are served by replicas"));
    until_told(&mut idle, "on");
    // As on a direct connection, one in session mode has been told of the server's end.
    let mut session = stand.connect("sess");
    for raw in [&mut app, &mut session, &mut stand.connect("late")] {
        reads_go_on(raw);
        assert_eq!(fine(raw, "SELECT pg_is_in_recovery()"), [["t"]]);
        assert!(refused(raw).contains("the primary has been lost since "));
    }
    let log = stand.proxy.log();
    assert!(log.lines().any(|line| line.contains("WARN") && line.contains("degraded")), "{log}");

    stand.cluster.replica(0).promote().unwrap();
    for raw in [&mut app, &mut session] {
        until_written(raw, SOON);
    }
    wait_for_mode(&stand, "read_write", "");
    until_told(&mut idle, "off");
    assert!(stand.proxy.log().contains("recovered"));
}

#[test]
fn without_a_replica_new_clients_are_told_at_once_and_those_that_are_there_live_on() {
    let stand = Stand::with("", AFTER, "", &[]);
    let mut app = stand.connect("app");
    fine(&mut app, WRITE);
    stand.cluster.replica(0).stop(Mode::Fast).unwrap();
    stand.cluster.primary().stop(Mode::Fast).unwrap();
    let waits = stand.connect_later("late", "SELECT 1");
    wait_for_mode(&stand, "offline", "primary_lost");
    let waited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| waits.by(Instant::now() + LONG)));
    assert!(waited.is_err(), "a log-in that waited is refused");
    let begun = Instant::now();
    let refusal = Raw::connect(&stand.proxy.tcp(), &Login::new("app", "app")).err().unwrap();
    assert_eq!(refusal.sqlstate(), Some("57P03"), "{refusal}");
    assert!(refusal.to_string().contains("the primary has been lost since"), "{refusal}");
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(sqlstate(&query(&mut app, "SELECT 1")), "57P03");
    // Who wants to open it is told what it is, and nothing of replicas that are not there.
    let mut console = Raw::connect(&stand.proxy.tcp(), &Login::new("dba", "pgsluice")).unwrap();
    let frames = query(&mut console, "MAINTENANCE OFF app");
    let told = frames
        .iter()
        .filter(|frame| frame.tag == b'N')
        .map(|frame| frame.error_fields().get(&'M').cloned().unwrap_or_default());
    let told = told.collect::<Vec<_>>().join("\n");
    assert!(told.contains("database \"app\": it is offline: the primary has been lost since "), "{told}");
    assert!(!told.contains("read-only") && !told.contains("served by replicas"), "{told}");
    stand.cluster.primary().start().unwrap();
    wait_for_mode(&stand, "read_write", "");
    fine(&mut app, WRITE);
    stand.connect("late");
}

#[test]
fn a_persons_mode_always_wins_and_neither_opens_what_the_other_has_closed() {
    let stand = Stand::with("", AFTER, "", &[]);
    let mut app = stand.connect("app");
    fine(&mut app, WRITE);
    stand.console("MAINTENANCE ON app WITH (message 'upgrade')");
    stand.cluster.wait_for_replay(LONG).unwrap();
    stand.cluster.primary().stop(Mode::Fast).unwrap();
    stand.wait_for_roles(&["down", "replica"]);
    std::thread::sleep(Duration::from_millis(2500));
    assert!(refused(&mut app).contains("is in maintenance: upgrade"));
    assert_eq!(maintenance(&stand)[1], "command");
    // A person's OFF opens only what a person has closed.
    stand.console("MAINTENANCE OFF app");
    assert!(refused(&mut app).contains("the primary has been lost since "));
    assert_eq!(maintenance(&stand)[..2], ["read_only", "primary_lost"]);
    stand.console("MAINTENANCE ON app WITH (drain_timeout '1s') NOWAIT");
    stand.cluster.primary().start().unwrap();
    stand.wait_for_roles(&["primary", "replica"]);
    std::thread::sleep(Duration::from_millis(1000));
    assert!(refused(&mut app).contains("is in maintenance"), "the primary is back, and the maintenance is not over");
    stand.console("MAINTENANCE OFF app");
    until_written(&mut app, SOON);
}

/// The scene of fatcat's second site: all of it on a replica, until that is promoted.
#[test]
fn fatcat_a_site_of_replicas_only_is_read_only_from_the_start_until_one_is_promoted() {
    let mut stand = Stand::new("");
    let replica = stand.cluster.replica(0).port();
    stand.reload_with(&[replica]);
    wait_for_mode(&stand, "read_only", "no_primary");
    let mut app = stand.connect("app");
    reads_go_on(&mut app);
    assert_eq!(fine(&mut app, "SELECT pg_is_in_recovery()"), [["t"]]);
    assert_eq!(fine(&mut app, "SHOW pgsluice.mode"), [["read_only"]]);
    let told = until_refused(&mut app, SOON);
    assert!(told.contains("no primary is known"), "{told}");
    assert_eq!(app.parameters().get("default_transaction_read_only").map(String::as_str), Some("on"));
    stand.cluster.replica(0).promote().unwrap();
    until_told(&mut app, "off");
    until_written(&mut app, SOON);
    assert_eq!(fine(&mut app, "SELECT pg_is_in_recovery()"), [["f"]]);
    wait_for_mode(&stand, "read_write", "");
}

#[test]
fn no_epoch_of_a_mode_that_the_proxy_gave_itself_is_given_again_after_a_restart() {
    let mut stand = Stand::with("", AFTER, "", &[]);
    let epoch = |stand: &Stand| -> u64 { stand.console("SHOW MAINTENANCE app")[0][2].parse().unwrap() };
    let mut used = epoch(&stand);
    for _ in 0..2 {
        stand.cluster.primary().stop(Mode::Fast).unwrap();
        wait_for_mode(&stand, "read_only", "primary_lost");
        stand.cluster.primary().start().unwrap();
        wait_for_mode(&stand, "read_write", "");
        let now = epoch(&stand);
        assert!(now >= used + 2, "{now} after {used}");
        used = now;
        wait::until(LONG, "the epoch is on disk", || {
            let state = std::fs::read_to_string(stand.proxy.dir().join("state.json")).ok()?;
            state.contains(&format!("\"epoch\": {now}")).then_some(())
        });
        stand.proxy.kill_9();
        stand.proxy.start_again().unwrap();
        stand.wait_for_roles(&["primary", "replica"]);
        assert!(epoch(&stand) >= used);
    }
}
