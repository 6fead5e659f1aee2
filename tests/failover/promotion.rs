//! Within two seconds of a promotion whoever waited is served, whatever it waits with: by the monitor's default settings.

use std::time::{Duration, Instant};

use pgsluice_fixtures::cluster::Mode;
use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Frame, Raw, wait};

use crate::stand::{LONG, Later, SOON, Stand, fine, query, sqlstate};

/// How the primary goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goes {
    Fast,
    Immediate,
    Killed,
}

fn go(stand: &Stand, how: Goes) {
    match how {
        Goes::Fast => stand.cluster.primary().stop(Mode::Fast).unwrap(),
        Goes::Immediate => stand.cluster.primary().stop(Mode::Immediate).unwrap(),
        Goes::Killed => stand.cluster.primary().kill_9(),
    }
}

fn execute_batch(sql: &str) -> Vec<u8> {
    [message::parse("", sql, &[]), message::bind("", "", &[]), message::execute("", 0), message::sync()].concat()
}

fn ready(raw: &mut Raw) -> Result<Vec<Frame>, String> {
    raw.frames_until_ready(LONG).map_err(|error| error.to_string())
}

/// One message after the other, each when the one before is answered. The last answer, or the first with an error.
fn in_turn(raw: Raw, what: &str, messages: Vec<Vec<u8>>) -> Later {
    let mut raw = raw;
    Later::run(what, move || {
        let mut last = Vec::new();
        for message in messages {
            raw.send(&message).map_err(|error| error.to_string())?;
            last = ready(&mut raw)?;
            if !sqlstate(&last).is_empty() {
                break;
            }
        }
        Ok((raw, last))
    })
}

fn copies(mut raw: Raw) -> Later {
    Later::run("copy", move || {
        raw.send(&message::query("COPY w(who) FROM STDIN")).map_err(|error| error.to_string())?;
        let asked = raw.frames_until(LONG, |frame| matches!(frame.tag, b'G' | b'Z'));
        asked.map_err(|error| error.to_string())?;
        raw.send(&[message::copy_data(b"copy\n"), message::copy_done()].concat()).map_err(|error| error.to_string())?;
        let frames = ready(&mut raw)?;
        Ok((raw, frames))
    })
}

fn insert(who: &str) -> String {
    format!("INSERT INTO w(who) VALUES ('{who}')")
}

/// A client that has run something and has prepared its insert both ways.
fn prepared(stand: &Stand, user: &str) -> Raw {
    let mut raw = stand.connect(user);
    fine(&mut raw, "SELECT 1");
    raw
}

/// What each waiter writes is its name; those that only read are left out of it.
fn everybody(stand: &Stand, idle: Vec<(&'static str, Raw)>) -> Vec<Later> {
    let mut all: Vec<Later> = idle
        .into_iter()
        .map(|(kind, raw)| match kind {
            "simple" | "stmt" => in_turn(raw, kind, vec![message::query(&insert(kind))]),
            "in one" => in_turn(raw, kind, vec![message::query(&format!("BEGIN; {}; COMMIT", insert(kind)))]),
            "block" => {
                let texts = ["BEGIN".to_owned(), insert(kind), "COMMIT".to_owned()];
                in_turn(raw, kind, texts.iter().map(|sql| message::query(sql)).collect())
            }
            "do" => in_turn(raw, kind, vec![message::query(&format!("DO $$ BEGIN {}; END $$", insert(kind)))]),
            "extended" => in_turn(raw, kind, vec![execute_batch(&insert(kind))]),
            "prepared" => {
                let batch = [message::bind("", "ins", &[]), message::execute("", 0), message::sync()];
                in_turn(raw, kind, vec![batch.concat()])
            }
            "sql prepared" => in_turn(raw, kind, vec![message::query("EXECUTE ins")]),
            "copy" => copies(raw),
            "temporary" => {
                let texts = ["CREATE TEMPORARY TABLE mine AS SELECT 1".to_owned(), insert(kind)];
                in_turn(raw, kind, texts.iter().map(|sql| message::query(sql)).collect())
            }
            "listen" => {
                let texts = ["LISTEN news".to_owned(), format!("{}; NOTIFY news", insert(kind))];
                in_turn(raw, kind, texts.iter().map(|sql| message::query(sql)).collect())
            }
            "advisory" => {
                let texts = ["SELECT pg_advisory_lock(7)".to_owned(), insert(kind)];
                in_turn(raw, kind, texts.iter().map(|sql| message::query(sql)).collect())
            }
            "reads" => in_turn(raw, kind, vec![message::query("SELECT counts()")]),
            "shows" => in_turn(raw, kind, vec![message::query("SHOW work_mem")]),
            other => unreachable!("{other}"),
        })
        .collect();
    all.push(stand.connect_later("late", "INSERT INTO w(who) VALUES ('first log-in')"));
    all.push(stand.connect_later("sess", "INSERT INTO w(who) VALUES ('session log-in')"));
    all.push(stand.connect_later("dba", "INSERT INTO w(who) VALUES ('operator')"));
    all
}

const KINDS: [&str; 14] = [
    "simple",
    "stmt",
    "in one",
    "block",
    "do",
    "extended",
    "prepared",
    "sql prepared",
    "copy",
    "temporary",
    "listen",
    "advisory",
    "reads",
    "shows",
];

fn clients(stand: &Stand) -> Vec<(&'static str, Raw)> {
    KINDS
        .into_iter()
        .map(|kind| {
            let mut raw = prepared(stand, if kind == "stmt" { "stmt" } else { "app" });
            match kind {
                "prepared" => {
                    let parse = [message::parse("ins", &insert(kind), &[]), message::sync()].concat();
                    assert_eq!(sqlstate(&raw.round_trip(&parse, LONG).unwrap()), "");
                }
                "sql prepared" => _ = fine(&mut raw, &format!("PREPARE ins AS {}", insert(kind))),
                _ => {}
            }
            (kind, raw)
        })
        .collect()
}

fn everybody_is_served(how: Goes, at_once: bool) {
    let stand = Stand::by_defaults("[users.stmt]\npool_mode = \"statement\"\n");
    let idle = clients(&stand);
    fine(&mut stand.connect("sess"), "SELECT 1");
    stand.cluster.wait_for_replay(LONG).unwrap();
    go(&stand, how);
    let mut waiting = everybody(&stand, idle);
    if !at_once {
        stand.wait_for_roles(&["down", "replica"]);
        waiting = waiting.into_iter().map(Later::waits_still).collect();
    }
    stand.cluster.replica(0).promote().unwrap();
    let promoted = Instant::now();
    let served: Vec<Raw> = waiting.into_iter().map(|one| one.succeeds_by(promoted + SOON)).collect();
    println!("{how:?}, at once: {at_once}: the last of {} after {:?}", served.len(), promoted.elapsed());
    drop(served);
    let mut all: Vec<&str> = KINDS.into_iter().filter(|kind| !["reads", "shows"].contains(kind)).collect();
    all.extend(["first log-in", "session log-in", "operator"]);
    all.sort_unstable();
    assert_eq!(stand.written_on_the_new_one(), all);
}

#[test]
fn everybody_is_served_within_two_seconds_after_a_fast_stop() {
    everybody_is_served(Goes::Fast, false);
}

#[test]
fn everybody_is_served_within_two_seconds_after_a_kill() {
    everybody_is_served(Goes::Killed, false);
}

#[test]
fn everybody_who_asks_before_the_loss_is_seen_is_served_within_two_seconds() {
    everybody_is_served(Goes::Fast, true);
    everybody_is_served(Goes::Immediate, true);
}

#[test]
fn what_a_rule_allows_while_the_gate_is_closed_is_served_by_the_new_primary_too() {
    let stand = Stand::by_defaults("");
    stand.console("MAINTENANCE ON app WITH (reads primary)");
    let mut app = prepared(&stand, "app");
    fine(&mut app, "INSERT INTO audit(who) VALUES ('before')");
    let extended = prepared(&stand, "app");
    stand.cluster.wait_for_replay(LONG).unwrap();
    go(&stand, Goes::Killed);
    let waiting = [
        Later::ask("simple", app, "INSERT INTO audit(who) VALUES ('simple')"),
        in_turn(extended, "extended", vec![execute_batch("INSERT INTO audit(who) VALUES ('extended')")]),
        stand.connect_later("late", "INSERT INTO audit(who) VALUES ('first log-in')"),
    ];
    stand.wait_for_roles(&["down", "replica"]);
    let waiting = waiting.map(Later::waits_still);
    stand.cluster.replica(0).promote().unwrap();
    let deadline = Instant::now() + SOON;
    waiting.into_iter().for_each(|one| drop(one.succeeds_by(deadline)));
    let written = stand.cluster.replica(0).psql_in("app", "SELECT who FROM audit ORDER BY who").unwrap();
    assert_eq!(written.lines().collect::<Vec<_>>(), ["before", "extended", "first log-in", "simple"]);
}

#[test]
fn with_the_gate_closed_reads_and_operators_go_on_at_once_and_log_ins_too() {
    let stand = Stand::by_defaults("");
    stand.console("MAINTENANCE ON app WITH (reads primary)");
    let kinds = ["SELECT count(*) FROM t", "SHOW work_mem", "SELECT counts()", "BEGIN; SELECT 1; COMMIT"];
    let readers: Vec<Raw> = kinds.iter().map(|_| prepared(&stand, "app")).collect();
    let mut session = stand.connect("sess");
    fine(&mut session, "SELECT 1");
    stand.cluster.wait_for_replay(LONG).unwrap();
    go(&stand, Goes::Killed);
    let gone = Instant::now();
    let mut asked: Vec<Later> = readers.into_iter().zip(kinds).map(|(raw, sql)| Later::ask(sql, raw, sql)).collect();
    asked.push(stand.connect_later("late", "SELECT counts()"));
    asked.push(stand.connect_later("sess", "SELECT counts()"));
    asked.into_iter().for_each(|one| drop(one.succeeds_by(gone + SOON)));
    let operator = stand.connect_later("dba", "INSERT INTO w(who) VALUES ('operator')");
    stand.cluster.replica(0).promote().unwrap();
    drop(operator.succeeds_by(Instant::now() + SOON));
    assert_eq!(stand.written_on_the_new_one(), ["operator"]);
    assert_eq!(sqlstate(&query(&mut stand.connect("late"), &insert("x"))), "25006");
}

/// What is rolled back is in the log of the primary, and on no disk for as long as its WAL writer sleeps.
#[test]
fn with_the_gate_closed_reads_do_not_wait_for_what_a_killed_primary_had_not_written_to_disk() {
    let stand = Stand::with("", "", "", &[("wal_writer_delay", "10s")]);
    let mut app = prepared(&stand, "app");
    stand.cluster.wait_for_replay(LONG).unwrap();
    let primary = stand.cluster.primary();
    primary.psql_in("app", "BEGIN; INSERT INTO w(who) VALUES ('x'); ROLLBACK").unwrap();
    stand.console("MAINTENANCE ON app WITH (reads any)");
    let ahead = "SELECT pg_current_wal_insert_lsn() > pg_current_wal_flush_lsn()";
    assert_eq!(primary.psql_in("app", ahead).unwrap(), "t", "all of it is on disk");
    go(&stand, Goes::Killed);
    let gone = Instant::now();
    let reads = Later::ask("a read", app, "SELECT count(*) FROM t");
    let late = stand.connect_later("late", "SELECT counts()");
    app = reads.succeeds_by(gone + SOON);
    drop(late.succeeds_by(gone + SOON));
    assert_eq!(fine(&mut app, "SELECT count(*) FROM w"), [["0"]]);
}

#[test]
fn two_failovers_within_ten_seconds_lose_nothing() {
    let stand = Stand::by_defaults("");
    let (first, second) = (stand.cluster.primary(), stand.cluster.replica(0));
    let mut app = prepared(&stand, "app");
    fine(&mut app, &insert("1"));
    stand.cluster.wait_for_replay(LONG).unwrap();
    let began = Instant::now();
    first.stop(Mode::Fast).unwrap();
    let (one, late) = (
        Later::ask("app", app, "INSERT INTO w(who) VALUES ('2')"),
        stand.connect_later("late", "INSERT INTO w(who) VALUES ('2 late')"),
    );
    second.promote().unwrap();
    let promoted = Instant::now();
    let (mut app, late) = (one.succeeds_by(promoted + SOON), late.succeeds_by(promoted + SOON));
    // The first one comes back as a replica of the second, and takes over again.
    second.psql_in("postgres", &format!("SELECT pg_create_physical_replication_slot('{}')", first.name())).unwrap();
    first.follow(second).unwrap();
    first.start().unwrap();
    stand.wait_for_roles(&["replica", "primary"]);
    fine(&mut app, &insert("3"));
    let caught_up = "SELECT count(*) FROM w WHERE who = '3'";
    wait::until(LONG, "the first one to follow", || (first.psql_in("app", caught_up).ok()? == "1").then_some(()));
    second.stop(Mode::Fast).unwrap();
    let waiting = [
        Later::ask("app", app, "INSERT INTO w(who) VALUES ('4')"),
        Later::ask("late", late, "INSERT INTO w(who) VALUES ('4 late')"),
        stand.connect_later("sess", "INSERT INTO w(who) VALUES ('4 session')"),
    ];
    first.promote().unwrap();
    let promoted = Instant::now();
    waiting.into_iter().for_each(|one| drop(one.succeeds_by(promoted + SOON)));
    println!("both within {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let written = first.psql_in("app", "SELECT who FROM w ORDER BY who").unwrap();
    assert_eq!(written.lines().collect::<Vec<_>>(), ["1", "2", "2 late", "3", "4", "4 late", "4 session"]);
}
