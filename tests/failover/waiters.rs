//! Whoever waits for a server when the primary goes is served by the one that takes its place.

use std::time::Instant;

use pgsluice_fixtures::cluster::Mode;
use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Raw, Signal};

use crate::stand::{LONG, Later, SOON, Stand, fine, query, signal, sqlstate};

/// Clients of every kind that wait for the primary. Each has written or writes its name.
fn everybody(stand: &Stand, idle: Vec<Raw>) -> Vec<Later> {
    const WRITES: [&str; 4] = [
        "INSERT INTO w(who) VALUES ('simple')",
        "BEGIN; INSERT INTO w(who) VALUES ('block'); COMMIT",
        "DO $$ BEGIN INSERT INTO w(who) VALUES ('do'); END $$",
        "SELECT counts()",
    ];
    let mut all: Vec<Later> =
        idle.into_iter().zip(WRITES).map(|(raw, sql)| Later::ask(format!("idle: {sql}"), raw, sql)).collect();
    all.push(stand.connect_later("late", "INSERT INTO w(who) VALUES ('first log-in')"));
    all.push(stand.connect_later("sess", "INSERT INTO w(who) VALUES ('session log-in')"));
    all.push(stand.connect_later("dba", "INSERT INTO w(who) VALUES ('operator')"));
    all
}

fn whoever_waits(how: Option<Mode>) {
    let stand = Stand::new("");
    let idle: Vec<Raw> = (0..4)
        .map(|_| {
            let mut raw = stand.connect("app");
            fine(&mut raw, "SELECT 1");
            raw
        })
        .collect();
    fine(&mut stand.connect("sess"), "INSERT INTO w(who) VALUES ('before')");
    stand.cluster.wait_for_replay(LONG).unwrap();
    match how {
        Some(mode) => stand.cluster.primary().stop(mode).unwrap(),
        None => stand.cluster.primary().kill_9(),
    }
    let waiting = everybody(&stand, idle);
    stand.wait_for_roles(&["down", "replica"]);
    // Nobody can be served yet.
    let waiting: Vec<Later> = waiting.into_iter().map(Later::waits_still).collect();
    stand.cluster.replica(0).promote().unwrap();
    let deadline = Instant::now() + SOON;
    let clients: Vec<Raw> = waiting.into_iter().map(|one| one.succeeds_by(deadline)).collect();
    drop(clients);
    let written = stand.written_on_the_new_one();
    let all = ["before", "block", "do", "first log-in", "operator", "session log-in", "simple"];
    assert_eq!(written, all);
}

#[test]
fn whoever_waits_is_served_by_the_new_primary_after_a_fast_stop() {
    whoever_waits(Some(Mode::Fast));
}

#[test]
fn whoever_waits_is_served_by_the_new_primary_after_a_crash() {
    whoever_waits(None);
}

#[test]
fn who_waits_at_once_before_anybody_has_seen_the_loss_is_served_too() {
    let stand = Stand::new("");
    let idle: Vec<Raw> = (0..4).map(|_| stand.connect("app")).collect();
    stand.cluster.primary().stop(Mode::Fast).unwrap();
    let waiting: Vec<Later> =
        idle.into_iter().map(|raw| Later::ask("idle", raw, "INSERT INTO w(who) VALUES ('x')")).collect();
    stand.cluster.replica(0).promote().unwrap();
    let deadline = Instant::now() + SOON;
    waiting.into_iter().for_each(|one| drop(one.succeeds_by(deadline)));
    assert_eq!(stand.written_on_the_new_one().len(), 4);
}

#[test]
fn with_the_gate_closed_readers_of_every_kind_go_on_at_the_replica_when_the_primary_stops() {
    let stand = Stand::new("");
    stand.console("MAINTENANCE ON app WITH (reads primary)");
    let readers: Vec<Raw> = (0..3)
        .map(|_| {
            let mut raw = stand.connect("app");
            fine(&mut raw, "SELECT counts()");
            raw
        })
        .collect();
    stand.cluster.wait_for_replay(LONG).unwrap();
    stand.cluster.primary().stop(Mode::Fast).unwrap();
    let deadline = Instant::now() + SOON;
    let asks = ["SELECT counts()", "SHOW work_mem", "BEGIN; SELECT 1; COMMIT"];
    let waiting: Vec<Later> = readers.into_iter().zip(asks).map(|(raw, sql)| Later::ask(sql, raw, sql)).collect();
    waiting.into_iter().for_each(|one| drop(one.succeeds_by(deadline)));
}

#[test]
fn reload_with_another_server_frees_who_waits_for_the_old_one() {
    let mut stand = Stand::new("");
    let mut app = stand.connect("app");
    fine(&mut app, "SELECT 1");
    let (old, new) = (stand.cluster.primary().port(), stand.cluster.replica(0).port());
    stand.reload_with(&[old]);
    fine(&mut app, "SELECT 1");
    stand.cluster.primary().kill_9();
    let waits = Later::ask("app", app, "INSERT INTO w(who) VALUES ('x')");
    let log_in = stand.connect_later("late", "INSERT INTO w(who) VALUES ('y')");
    stand.cluster.replica(0).promote().unwrap();
    assert!(!waits.is_over() && !log_in.is_over());
    stand.reload_with(&[new]);
    let deadline = Instant::now() + SOON;
    drop(waits.succeeds_by(deadline));
    drop(log_in.succeeds_by(deadline));
    assert_eq!(stand.written_on_the_new_one(), ["x", "y"]);
}

#[test]
fn an_old_primary_that_comes_back_as_primary_gets_no_statement() {
    let stand = Stand::new("");
    let mut app = stand.connect("app");
    fine(&mut app, "INSERT INTO w(who) VALUES ('1 app')");
    fine(&mut stand.connect("sess"), "INSERT INTO w(who) VALUES ('1 session')");
    stand.cluster.wait_for_replay(LONG).unwrap();
    stand.cluster.primary().kill_9();
    stand.cluster.replica(0).promote().unwrap();
    stand.wait_for_roles(&["down", "primary"]);
    stand.cluster.primary().start().unwrap();
    stand.wait_for_roles(&["contested", "primary"]);
    let (mut fresh, mut session) = (stand.connect("late"), stand.connect("sess"));
    fine(&mut app, "INSERT INTO w(who) VALUES ('2 app')");
    fine(&mut session, "INSERT INTO w(who) VALUES ('2 session')");
    fine(&mut fresh, "INSERT INTO w(who) VALUES ('2 fresh')");
    assert_eq!(stand.written_on_the_new_one(), ["1 app", "1 session", "2 app", "2 fresh", "2 session"]);
    // Nor when the new one goes: what was written there would be missing.
    stand.cluster.replica(0).stop(Mode::Fast).unwrap();
    stand.wait_for_roles(&["contested", "down"]);
    let waits = Later::ask("app", app, "INSERT INTO w(who) VALUES ('3 app')");
    stand.cluster.replica(0).start().unwrap();
    drop(waits.succeeds_by(Instant::now() + LONG));
    assert!(stand.proxy.log().contains("an old primary has come back"));
}

#[test]
fn an_old_primary_that_comes_back_as_a_replica_gets_no_write() {
    let stand = Stand::new("");
    let mut app = stand.connect("app");
    fine(&mut app, "INSERT INTO w(who) VALUES ('1 app')");
    fine(&mut stand.connect("sess"), "INSERT INTO w(who) VALUES ('1 session')");
    let (old, new) = (stand.cluster.primary(), stand.cluster.replica(0));
    stand.cluster.wait_for_replay(LONG).unwrap();
    old.stop(Mode::Fast).unwrap();
    new.promote().unwrap();
    new.psql_in("postgres", &format!("SELECT pg_create_physical_replication_slot('{}')", old.name())).unwrap();
    old.follow(new).unwrap();
    old.start().unwrap();
    let (mut fresh, mut session) = (stand.connect("late"), stand.connect("sess"));
    for (raw, who) in [(&mut app, "2 app"), (&mut session, "2 session"), (&mut fresh, "2 fresh")] {
        let frames = query(raw, &format!("INSERT INTO w(who) VALUES ('{who}')"));
        assert_eq!(sqlstate(&frames), "", "{who}");
    }
    assert_eq!(stand.written_on_the_new_one().len(), 5);
    stand.wait_for_roles(&["replica", "primary"]);
    fine(&mut app, "INSERT INTO w(who) VALUES ('3 app')");
}

#[test]
fn a_frozen_primary_that_wakes_beside_the_one_that_took_its_place_gets_no_statement_from_sessions_of_its_own() {
    let stand = Stand::with("", "monitor_timeout = \"500ms\"", "", &[]);
    let mut session = stand.connect("sess");
    let mut pinned = stand.connect("app");
    let mut operator = stand.connect("dba");
    fine(&mut session, "SELECT 1");
    fine(&mut operator, "SELECT 1");
    fine(&mut pinned, "CREATE TEMPORARY TABLE mine (id int)");
    stand.cluster.wait_for_replay(LONG).unwrap();
    let old = stand.cluster.primary();
    signal(old, "-STOP");
    stand.wait_for_roles(&["down", "replica"]);
    let session = Later::ask("session", session, "INSERT INTO w(who) VALUES ('session')");
    stand.cluster.replica(0).promote().unwrap();
    stand.wait_for_roles(&["down", "primary"]);
    drop(session.succeeds_by(Instant::now() + SOON));
    signal(old, "-CONT");
    stand.wait_for_roles(&["contested", "primary"]);
    // What lives in these sessions is lost with the server: they end.
    for raw in [&mut pinned, &mut operator] {
        drop(raw.send(&message::query("INSERT INTO w(who) VALUES ('x')")));
        let frames = raw.frames_until_closed(LONG).unwrap();
        assert_eq!(sqlstate(&frames), "57P01");
    }
    assert_eq!(stand.written_on_the_new_one(), ["session"]);
    assert_eq!(old.psql_in("app", "SELECT count(*) FROM w").unwrap(), "0");
}

#[test]
fn an_old_primary_that_is_back_before_anybody_has_seen_the_new_one_gets_no_statement() {
    for _ in 0..2 {
        let mut stand = Stand::new("");
        let idle: Vec<Raw> = (0..4).map(|_| stand.connect("app")).collect();
        stand.cluster.primary().kill_9();
        stand.wait_for_roles(&["down", "replica"]);
        let waiting: Vec<Later> =
            idle.into_iter().map(|raw| Later::ask("idle", raw, "INSERT INTO w(who) VALUES ('x')")).collect();
        // Nobody looks while one is promoted and the other one starts.
        stand.proxy.signal(Signal::SIGSTOP).unwrap();
        stand.cluster.replica(0).promote().unwrap();
        stand.cluster.primary().start().unwrap();
        stand.proxy.signal(Signal::SIGCONT).unwrap();
        let deadline = Instant::now() + SOON;
        waiting.into_iter().for_each(|one| drop(one.succeeds_by(deadline)));
        assert_eq!(stand.written_on_the_new_one().len(), 4);
        assert_eq!(stand.cluster.primary().psql_in("app", "SELECT count(*) FROM w").unwrap(), "0");
        stand.wait_for_roles(&["contested", "primary"]);
    }
}
