//! No statement goes to a server that is not known to be the primary since it was last lost or contested.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Instant;

use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Frame, Login, Raw, wait};

use crate::stand::{LONG, Later, SOON, Stand, fine, query, signal, sqlstate};

fn batch(sql: &str) -> Vec<u8> {
    [message::parse("", sql, &[]), message::bind("", "", &[]), message::execute("", 0), message::sync()].concat()
}

fn is_committed(frames: &[Frame]) -> bool {
    frames.iter().any(|frame| frame.tag == b'C' && frame.body.starts_with(b"COMMIT"))
}

/// Runs `after` in a thread as soon as the flag is up, without a pause in between.
fn at_the_flag(flag: &Arc<AtomicBool>, what: String, mut raw: Raw, after: Vec<u8>) -> Later {
    let flag = flag.clone();
    Later::run(what, move || {
        while !flag.load(SeqCst) {
            thread::yield_now();
        }
        // A session may have been ended.
        let frames = raw.send(&after).and_then(|()| raw.frames_until_ready(LONG)).unwrap_or_default();
        Ok((raw, frames))
    })
}

/// Has the replica promoted, and raises the flag when the console first tells that two claim to be the primary.
fn contest(stand: &Stand, flag: &Arc<AtomicBool>) {
    let mut console = Raw::connect(&stand.proxy.tcp(), &Login::new("dba", "pgsluice")).unwrap();
    let tells = flag.clone();
    let watches = thread::spawn(move || {
        let deadline = Instant::now() + LONG;
        let is_told = |frames: Vec<Frame>| {
            frames.iter().any(|frame| frame.tag == b'D' && frame.values().contains(&Some(b"contested".to_vec())))
        };
        while !is_told(console.round_trip(&message::query("SHOW UPSTREAMS"), LONG).unwrap()) {
            assert!(Instant::now() < deadline, "never contested");
        }
        tells.store(true, SeqCst);
    });
    stand.cluster.replica(0).promote().unwrap();
    watches.join().unwrap();
}

#[test]
fn an_open_block_does_not_commit_once_the_console_tells_that_two_claim_to_be_the_primary() {
    let stand = Stand::new("default_pool_size = 60\n");
    let flag = Arc::default();
    let ends = [
        message::query("COMMIT"),
        batch("COMMIT"),
        [message::query("INSERT INTO w(who) VALUES ('more')"), message::query("COMMIT")].concat(),
        [batch("INSERT INTO w(who) VALUES ('more')"), batch("COMMIT")].concat(),
        message::query("COMMIT; INSERT INTO w(who) VALUES ('alone')"),
        message::query("COMMIT AND CHAIN"),
        message::query("PREPARE TRANSACTION 'x'"),
    ];
    let mut all: Vec<Later> = (0..35)
        .map(|at| {
            let mut raw = stand.connect(["app", "sess", "late"][at % 3]);
            fine(&mut raw, "BEGIN; INSERT INTO w(who) VALUES ('block')");
            at_the_flag(&flag, format!("block {at}"), raw, ends[at % ends.len()].clone())
        })
        .collect();
    for user in ["sess", "dba", "app"] {
        let mut raw = stand.connect(user);
        fine(&mut raw, "CREATE TEMPORARY TABLE mine (id int)");
        let sql = "INSERT INTO w(who) VALUES ('alone')";
        let after = if user == "app" { message::query(sql) } else { batch(sql) };
        all.push(at_the_flag(&flag, format!("alone {user}"), raw, after));
        let mut raw = stand.connect(user);
        raw.send(&message::query("COPY w(who) FROM STDIN")).unwrap();
        raw.frames_until(LONG, |frame| frame.tag == b'G').unwrap();
        raw.send(&message::copy_data(b"copied\n")).unwrap();
        let after = [message::copy_data(b"copied\n"), message::copy_done()].concat();
        all.push(at_the_flag(&flag, format!("copy {user}"), raw, after));
    }
    contest(&stand, &flag);
    for one in all {
        let (_, frames) = one.by(Instant::now() + LONG);
        assert!(!is_committed(&frames), "{frames:?}");
        assert!(frames.is_empty() || !sqlstate(&frames).is_empty(), "nothing has told the client: {frames:?}");
    }
    for server in stand.cluster.servers() {
        assert_eq!(server.psql_in("app", "SELECT count(*) FROM w").unwrap(), "0", "{}", server.name());
    }
}

#[test]
fn an_open_transaction_on_a_lost_server_waits_and_goes_on_when_it_is_seen_again() {
    let stand = Stand::with("", "monitor_timeout = \"500ms\"", "", &[]);
    let mut blocks: Vec<Raw> = ["app", "sess", "dba"].map(|user| stand.connect(user)).into();
    for raw in &mut blocks {
        fine(raw, "BEGIN");
        fine(raw, "INSERT INTO w(who) VALUES ('block')");
    }
    signal(stand.cluster.primary(), "-STOP");
    stand.wait_for_roles(&["down", "replica"]);
    let waiting: Vec<Later> = blocks.into_iter().map(|raw| Later::ask("block", raw, "COMMIT")).collect();
    signal(stand.cluster.primary(), "-CONT");
    waiting.into_iter().for_each(|one| drop(one.succeeds_by(Instant::now() + LONG)));
    assert_eq!(stand.cluster.primary().psql_in("app", "SELECT count(*) FROM w").unwrap(), "3");
}

#[test]
fn a_statement_that_waits_for_news_of_a_lost_server_waits_no_longer_than_for_a_connection() {
    let stand = Stand::with("query_wait_timeout = \"2s\"\n", "monitor_timeout = \"500ms\"", "", &[]);
    let mut app = stand.connect("app");
    fine(&mut app, "BEGIN; INSERT INTO w(who) VALUES ('block')");
    signal(stand.cluster.primary(), "-STOP");
    stand.wait_for_roles(&["down", "replica"]);
    app.send(&message::query("COMMIT")).unwrap();
    let frames = app.frames_until_closed(LONG).unwrap();
    assert_eq!(sqlstate(&frames), "57014");
    signal(stand.cluster.primary(), "-CONT");
}

/// Sends something and reads until the session has ended or is ready.
fn last_words(mut raw: Raw) -> Later {
    Later::run("in flight", move || {
        let mut frames = Vec::new();
        while let Ok(frame) = raw.frame(LONG) {
            let over = frame.tag == b'Z' || frame.error().is_some_and(|error| error.severity() == "FATAL");
            frames.push(frame);
            if over {
                break;
            }
        }
        Ok((raw, frames))
    })
}

#[test]
fn what_is_under_way_on_a_frozen_primary_ends_with_an_error_when_another_takes_its_place() {
    let stand = Stand::with("", "monitor_timeout = \"500ms\"", "", &[]);
    let mut all = Vec::new();
    for user in ["app", "sess", "dba"] {
        let mut runs = stand.connect(user);
        runs.send(&message::query("INSERT INTO w(who) SELECT 'late' FROM pg_sleep(60)")).unwrap();
        let mut half = stand.connect(user);
        fine(&mut half, "BEGIN; INSERT INTO w(who) VALUES ('block')");
        half.send(&[message::parse("", "COMMIT", &[]), message::bind("", "", &[]), message::flush()].concat()).unwrap();
        half.frames_until(LONG, |frame| frame.tag == b'2').unwrap();
        let mut copies = stand.connect(user);
        copies.send(&message::query("COPY w(who) FROM STDIN")).unwrap();
        copies.frames_until(LONG, |frame| frame.tag == b'G').unwrap();
        copies.send(&message::copy_data(b"copied\n")).unwrap();
        let mut block = stand.connect(user);
        fine(&mut block, "BEGIN; INSERT INTO w(who) VALUES ('block')");
        all.extend([("runs", runs), ("half", half), ("copies", copies), ("block", block)]);
    }
    let busy =
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'INSERT INTO w(who) SELECT%' AND state = 'active'";
    stand.cluster.primary().wait_until(busy, "3", LONG).unwrap();
    signal(stand.cluster.primary(), "-STOP");
    stand.wait_for_roles(&["down", "replica"]);
    let mut waiting = Vec::new();
    for (what, mut raw) in all {
        match what {
            "half" => raw.send(&[message::execute("", 0), message::sync()].concat()).unwrap(),
            "copies" => raw.send(&message::copy_done()).unwrap(),
            "block" => raw.send(&message::query("COMMIT")).unwrap(),
            _ => {}
        }
        waiting.push(last_words(raw));
    }
    stand.cluster.replica(0).promote().unwrap();
    let deadline = Instant::now() + SOON;
    for one in waiting {
        let (_, frames) = one.by(deadline);
        assert_ne!(sqlstate(&frames), "", "{frames:?}");
        assert!(!is_committed(&frames), "{frames:?}");
    }
    fine(&mut stand.connect("app"), "INSERT INTO w(who) VALUES ('after')");
    assert_eq!(stand.written_on_the_new_one(), ["after"]);
    signal(stand.cluster.primary(), "-CONT");
}

#[test]
fn a_read_under_way_on_a_frozen_replica_is_run_on_another_server() {
    let stand = Stand::with("", "monitor_timeout = \"500ms\"", "reads = \"prefer_replica\"", &[]);
    let app = stand.connect("app");
    let read = "SELECT count(*) FROM t, generate_series(1, 3000000) i WHERE t.id <= 3 AND i % 7 <> 9";
    let runs = Later::ask("app", app, read);
    let busy =
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT count(*) FROM t, gen%' AND state = 'active'";
    stand.cluster.replica(0).wait_until(busy, "1", LONG).unwrap();
    signal(stand.cluster.replica(0), "-STOP");
    drop(runs.succeeds_by(Instant::now() + LONG));
    signal(stand.cluster.replica(0), "-CONT");
}

#[test]
fn a_listener_on_a_server_that_was_replaced_is_ended_at_once() {
    let stand = Stand::with("", "monitor_timeout = \"500ms\"", "", &[]);
    let mut all = Vec::new();
    for user in ["app", "sess", "dba"] {
        let mut raw = stand.connect(user);
        fine(&mut raw, "LISTEN news");
        all.push(raw);
    }
    signal(stand.cluster.primary(), "-STOP");
    stand.wait_for_roles(&["down", "replica"]);
    stand.cluster.replica(0).promote().unwrap();
    let deadline = Instant::now() + SOON;
    for one in all.into_iter().map(last_words) {
        let (_, frames) = one.by(deadline);
        assert!(["57P01", "08006"].contains(&&*sqlstate(&frames)), "{frames:?}");
    }
    signal(stand.cluster.primary(), "-CONT");
}

/// Another configuration of the same servers: the monitors begin anew.
fn reload_the_same(stand: &mut Stand) {
    let ports = [stand.cluster.primary().port(), stand.cluster.replica(0).port()];
    stand.reload_with(&[ports[1], ports[0]]);
    stand.wait_for_roles(&["replica", "primary"]);
}

#[test]
fn connections_of_before_a_reload_follow_what_becomes_of_their_server() {
    let mut stand = Stand::new("");
    let mut all: Vec<(&str, Raw)> = ["sess", "dba", "app"].map(|user| (user, stand.connect(user))).into();
    all.iter_mut().for_each(|(_, raw)| drop(fine(raw, "CREATE TEMPORARY TABLE mine (id int)")));
    let mut block = stand.connect("app");
    fine(&mut block, "BEGIN; INSERT INTO w(who) VALUES ('block')");
    reload_the_same(&mut stand);
    for (_, raw) in &mut all {
        fine(raw, "INSERT INTO mine VALUES (1)");
    }
    fine(&mut block, "SELECT 1");
    stand.cluster.replica(0).promote().unwrap();
    stand.wait_for_roles(&["contested", "contested"]);
    assert_eq!(sqlstate(&query(&mut block, "COMMIT")), "25006");
    for (user, raw) in &mut all {
        assert_eq!(sqlstate(&query(raw, "INSERT INTO w(who) VALUES ('x')")), "25006", "{user}");
    }
    for server in stand.cluster.servers() {
        assert_eq!(server.psql_in("app", "SELECT count(*) FROM w").unwrap(), "0", "{}", server.name());
    }
}

#[test]
fn sessions_leave_a_server_that_a_reload_has_taken_out() {
    let mut stand = Stand::new("");
    let (mut session, mut pinned, mut block) = (stand.connect("sess"), stand.connect("app"), stand.connect("app"));
    fine(&mut session, "SELECT 1");
    fine(&mut pinned, "CREATE TEMPORARY TABLE mine (id int)");
    fine(&mut block, "BEGIN; INSERT INTO w(who) VALUES ('block')");
    stand.cluster.replica(0).promote().unwrap();
    let new = stand.cluster.replica(0).port();
    // Before anybody has seen that there are two.
    stand.reload_with(&[new]);
    wait::until(SOON, "the new one", || (stand.roles() == ["primary"]).then_some(()));
    fine(&mut session, "INSERT INTO w(who) VALUES ('session')");
    pinned.send(&message::query("INSERT INTO w(who) VALUES ('x')")).unwrap();
    assert_eq!(sqlstate(&pinned.frames_until_closed(LONG).unwrap()), "57P01");
    // What was open may have been broken off, since two claimed to be the primary.
    query(&mut block, "COMMIT");
    fine(&mut stand.connect("app"), "INSERT INTO w(who) VALUES ('app')");
    assert_eq!(stand.written_on_the_new_one(), ["app", "session"]);
    assert_eq!(stand.cluster.primary().psql_in("app", "SELECT count(*) FROM w WHERE who = 'x'").unwrap(), "0");
}

#[test]
fn sql_on_a_replication_connection_is_not_written_to_either_of_two_primaries() {
    let stand = Stand::new("");
    stand.cluster.primary().psql_in("postgres", "ALTER ROLE app REPLICATION").unwrap();
    let login = Login::new("app", "app").parameter("replication", "database");
    let mut open = Raw::connect(&stand.proxy.tcp(), &login).unwrap();
    let mut idle = Raw::connect(&stand.proxy.tcp(), &login).unwrap();
    fine(&mut open, "BEGIN; INSERT INTO w(who) VALUES ('open')");
    fine(&mut idle, "SELECT 1");
    stand.cluster.replica(0).promote().unwrap();
    stand.wait_for_roles(&["contested", "contested"]);
    for (mut raw, sql) in [(open, "COMMIT"), (idle, "INSERT INTO w(who) VALUES ('idle')")] {
        drop(raw.send(&message::query(sql)));
        assert_eq!(sqlstate(&raw.frames_until_closed(LONG).unwrap()), "57P01", "{sql}");
    }
    assert_eq!(stand.cluster.primary().psql_in("app", "SELECT count(*) FROM w").unwrap(), "0");
}
