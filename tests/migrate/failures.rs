//! Each step fails or is killed: where it ends. Never two sides that clients write to, never an acknowledged write lost.

use std::thread;
use std::time::Duration;

use pgsluice_fixtures::cluster::Mode;
use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::wait;

use crate::load::{Load, Tally};
use crate::stand::{LONG, Stand, ask};
use crate::upgrade::verify;

const THERE: &str = "MIGRATE app TO green";

/// Clients are served by that version, nothing is closed, and whatever was acknowledged is there.
fn ends(stand: &Stand, load: Load, version: &str) -> (Tally, Tally) {
    let (step, state) = stand.wait_for_end();
    stand.wait_until_open();
    thread::sleep(Duration::from_millis(300));
    let (writers, readers) = load.end();
    assert_eq!(stand.version_of_clients(), version, "at step {step}, {state}: {:?}", stand.command("SHOW MOVES").rows);
    let ids = "SELECT id FROM w";
    let there = if version == "15" { stand.blue(ids) } else { stand.green(ids) };
    verify(&there, &[&writers], &[&readers]);
    (writers, readers)
}

fn load(stand: &Stand, tag: &str) -> Load {
    let load = Load::begin(&stand.proxy.tcp(), tag, 4, 1);
    thread::sleep(Duration::from_millis(200));
    load
}

/// The new side follows, and its cut has not begun.
fn prepared(stand: &Stand) {
    stand.command("MIGRATE app TO green WITH (prepare_only)").fine();
    let rows = stand.command("SHOW MIGRATIONS").rows;
    assert_eq!((rows[0][3].as_str(), rows[0][6].as_str()), ("old", "following"), "{rows:?}");
}

/// The same command goes through once nothing is in its way.
fn succeeds_after(stand: &Stand, command: &str, version: &str) {
    stand.command(command).fine();
    assert_eq!(stand.version_of_clients(), version);
}

#[test]
fn an_open_writer_a_call_off_and_two_at_once_lead_back() {
    let stand = Stand::new(100);
    prepared(&stand);
    let mut slow = stand.client("app");
    ask(&mut slow, "BEGIN; UPDATE t SET v = 'x' WHERE id = 1").fine();

    let one = load(&stand, "a");
    let answer = stand.command("MIGRATE app TO green WITH (drain_timeout '500ms')");
    assert_eq!(answer.sqlstate, "55P03", "{answer:?}");
    let (first, _) = ends(&stand, one, "15");

    let cut = stand.begin("MIGRATE app TO green WITH (drain_timeout '30s')");
    stand.wait_for_step("hold");
    let second = stand.command("MIGRATE app TO green");
    assert!(second.sqlstate == "55006" && second.message.contains("MIGRATE app TO green is under way"), "{second:?}");
    let alias = stand.command("MIGRATE alias BACK");
    assert!(matches!(alias.sqlstate.as_str(), "55006" | "55000"), "{alias:?}");
    let reroute = stand.command("REROUTE app TO green");
    assert_eq!(reroute.sqlstate, "55006", "{reroute:?}");
    let on = stand.command("MAINTENANCE ON app");
    assert_eq!(on.sqlstate, "55006", "{on:?}");
    stand.command("MAINTENANCE OFF app").fine();
    let answer = cut.join().unwrap();
    assert_eq!(answer.sqlstate, "57014", "{answer:?}");
    ask(&mut slow, "COMMIT").fine();
    // A reroute would lead clients to a side that is not theirs.
    assert_eq!(stand.command("REROUTE app TO green").sqlstate, "55006");

    let two = Load::begin(&stand.proxy.tcp(), "b", 2, 1);
    succeeds_after(&stand, THERE, "18");
    let (writers, readers) = two.end();
    verify(&stand.green("SELECT id FROM w"), &[&first, &writers], &[&readers]);
    assert_eq!(stand.green("SELECT v FROM t WHERE id = 1"), "x");
}

#[test]
fn replication_that_stops_and_a_lock_that_is_held_lead_back() {
    let stand = Stand::new(100);
    prepared(&stand);
    // A worker that waits for a lock confirms nothing.
    let mut lock = stand.green.primary().connect("dba", "app").unwrap();
    ask(&mut lock, "BEGIN; LOCK TABLE t IN EXCLUSIVE MODE").fine();
    ask(&mut stand.client("app"), "UPDATE t SET v = 'y' WHERE id = 2").fine();
    let one = load(&stand, "a");
    let answer = stand.command("MIGRATE app TO green WITH (timeout '2s')");
    assert_eq!(answer.sqlstate, "55P03", "{answer:?}");
    ends(&stand, one, "15");
    ask(&mut lock, "ROLLBACK").fine();

    // A subscriber whose worker is gone.
    stand.green(&format!("ALTER SUBSCRIPTION {} DISABLE", subscription(&stand)));
    let answer = stand.command("MIGRATE app TO green WITH (timeout '5s')");
    assert_eq!(answer.sqlstate, "", "it is enabled again: {answer:?}");
    assert_eq!(stand.green("SELECT v FROM t WHERE id = 2"), "y");

    // And back: a row in its way on the old side stops replication there.
    stand.blue("BEGIN READ WRITE; INSERT INTO t VALUES (7777, 'in the way'); COMMIT");
    ask(&mut stand.client("app"), "INSERT INTO t VALUES (7777, 'mine')").fine();
    let answer = stand.command("MIGRATE app BACK WITH (timeout '4s')");
    assert!(matches!(answer.sqlstate.as_str(), "55000" | "55P03"), "{answer:?}");
    stand.wait_until_open();
    assert_eq!(stand.version_of_clients(), "18");
    ask(&mut stand.client("app"), "UPDATE t SET v = 'z' WHERE id = 3").fine();
    stand.blue("BEGIN READ WRITE; DELETE FROM t WHERE id = 7777; COMMIT");
    wait::until_ok(LONG, "replication goes on", || {
        let answer = stand.command("MIGRATE app BACK WITH (timeout '10s')");
        if answer.sqlstate.is_empty() { Ok(()) } else { Err(answer.message) }
    });
    assert_eq!(stand.blue("SELECT string_agg(v, ',' ORDER BY id) FROM t WHERE id IN (3, 7777)"), "z,mine");
}

fn subscription(stand: &Stand) -> String {
    stand.green("SELECT subname FROM pg_subscription")
}

#[test]
fn the_target_killed_leads_back_and_a_table_that_is_newer_than_the_copy_too() {
    let stand = Stand::new(100);
    prepared(&stand);
    // What is written to it would be lost.
    stand.blue("CREATE TABLE late (a int PRIMARY KEY)");
    let answer = stand.command(THERE);
    assert!(answer.sqlstate == "55000" && answer.message.contains("public.late"), "{answer:?}");
    stand.green("CREATE TABLE late (a int PRIMARY KEY)");
    stand.blue("INSERT INTO late VALUES (1)");
    stand.command("MIGRATE app TO green WITH (prepare_only)").fine();
    assert_eq!(stand.green("SELECT count(*) FROM late"), "1", "it is copied as soon as both sides have it");

    let mut slow = stand.client("app");
    ask(&mut slow, "BEGIN; UPDATE t SET v = 'x' WHERE id = 1").fine();
    let cut = stand.begin("MIGRATE app TO green WITH (drain_timeout '10s', timeout '20s')");
    stand.wait_for_step("hold");
    stand.green.primary().kill_9();
    ask(&mut slow, "COMMIT").fine();
    let one = load(&stand, "a");
    let answer = cut.join().unwrap();
    assert!(!answer.sqlstate.is_empty(), "{answer:?}");
    ends(&stand, one, "15");
    let rows = stand.command("SHOW MIGRATIONS").rows;
    assert!(rows[0][6].starts_with("broken"), "{rows:?}");
    stand.green.primary().start().unwrap();
    let two = load(&stand, "b");
    wait::until_ok(LONG, "the new side is there again", || {
        let answer = stand.command(THERE);
        if answer.sqlstate.is_empty() { Ok(()) } else { Err(answer.message) }
    });
    assert_eq!(stand.version_of_clients(), "18");
    drop(two.end());
}

#[test]
fn whatever_is_prepared_or_past_the_proxy_does_not_write_behind_the_cut() {
    let stand = Stand::new(100);
    prepared(&stand);
    stand.blue("BEGIN; INSERT INTO t VALUES (-1); PREPARE TRANSACTION 'two'");
    let answer = stand.command(THERE);
    assert!(answer.sqlstate == "55006" && answer.message.contains("two"), "{answer:?}");
    stand.wait_until_open();
    stand.blue("COMMIT PREPARED 'two'");
    let mut direct = stand.blue.primary().connect("dba", "app").unwrap();
    ask(&mut direct, "SET default_transaction_read_only = off; BEGIN; INSERT INTO t VALUES (-2)").fine();
    let answer = stand.command(THERE).fine();
    assert!(answer.notices.iter().any(|notice| notice.contains("ended: process")), "{:?}", answer.notices);
    assert!(direct.send(&message::query("COMMIT")).is_err() || direct.frames_until_ready(LONG).is_err());
    assert_eq!(stand.green("SELECT string_agg(id::text, ',') FROM t WHERE id < 0"), "-1");
    let refused =
        ask(&mut stand.blue.primary().connect("app", "app").unwrap(), "INSERT INTO w(who, n) VALUES ('x', 1)");
    assert_eq!(refused.sqlstate, "25006", "the old side takes no writes: {refused:?}");
}

#[test]
fn the_schema_stays_as_it_is_until_the_end() {
    let stand = Stand::new(10);
    let mut client = stand.client("app");
    ask(&mut client, "CREATE TABLE before (a int PRIMARY KEY); DROP TABLE before").fine();
    prepared(&stand);
    for sql in ["CREATE TABLE x (a int)", "SELECT 1; ALTER TABLE t ADD c int", "SELECT 1 AS a INTO x", "DROP TABLE t"] {
        let answer = ask(&mut client, sql);
        assert_eq!(answer.sqlstate, "42501", "{sql}: {answer:?}");
        assert!(answer.detail.contains("MIGRATE app") && answer.detail.contains("green.app"), "{answer:?}");
        assert!(answer.hint.contains("FINISH"), "{answer:?}");
    }
    let batch = [
        message::parse("", "CREATE TABLE x (a int)", &[]),
        message::bind("", "", &[]),
        message::execute("", 0),
        message::sync(),
    ];
    client.send(&batch.concat()).unwrap();
    let answer = crate::stand::Answer::of(&client.frames_until_ready(LONG).unwrap());
    assert_eq!(answer.sqlstate, "42501", "{answer:?}");
    let answer = ask(&mut stand.client("app"), "CREATE INDEX ON t (v)");
    assert_eq!(answer.sqlstate, "42501");
    // What stays with the session, and rows, are nobody's business; nor is what operators do.
    ask(&mut client, "CREATE TEMP TABLE mine (a int); INSERT INTO mine VALUES (1)").fine();
    ask(&mut client, "UPDATE t SET v = 'w' WHERE id = 1").fine();
    ask(&mut stand.client("dba"), "COMMENT ON TABLE t IS 'rows'").fine();
    stand.command(THERE).fine();
    assert_eq!(ask(&mut stand.client("app"), "CREATE TABLE x (a int)").sqlstate, "42501");
    stand.command("MIGRATE app FINISH").fine();
    ask(&mut stand.client("app"), "CREATE TABLE x (a int)").fine();
}

#[test]
fn a_side_that_is_gone_for_good_is_left_by_force() {
    let stand = Stand::new(10);
    stand.command(THERE).fine();
    stand.blue.primary().stop(Mode::Immediate).unwrap();
    let answer = wait::until(LONG, "the monitor sees it", || {
        let answer = stand.command("MIGRATE app FINISH");
        assert!(!answer.sqlstate.is_empty(), "{answer:?}");
        Some(answer)
    });
    assert!(answer.message.contains("force") || answer.message.contains("primary"), "{answer:?}");
    wait::until_ok(LONG, "by force", || {
        let answer = stand.command("MIGRATE app FINISH WITH (force)");
        if answer.sqlstate.is_empty() { Ok(()) } else { Err(answer.message) }
    });
    assert_eq!(stand.command("SHOW MIGRATIONS").rows.len(), 0);
    let left = stand.green("SELECT count(*) FROM pg_replication_slots");
    assert_eq!(left, "0");
    ask(&mut stand.client("app"), "INSERT INTO w(who, n) VALUES ('x', 1)").fine();
}

/// The step of the move that is under way, as the journal has it.
fn step_on_disk(stand: &Stand) -> Option<String> {
    let text = std::fs::read_to_string(stand.proxy.dir().join("state.json.moves")).ok()?;
    let document: serde_json::Value = serde_json::from_str(text.get(text.find('{')?..)?.trim_end()).ok()?;
    let body = document.get("body").unwrap_or(&document);
    let last = body["moves"].as_array()?.last()?;
    last["end"].is_null().then(|| last["what"]["step"].as_str().unwrap_or_default().to_owned())
}

const STEPS: [&str; 12] = [
    "prepare",
    "copy",
    "catch_up",
    "hold",
    "fence",
    "replay",
    "sequences",
    "reverse",
    "verify",
    "repoint",
    "release",
    "clean",
];

fn place(step: &str) -> Option<usize> {
    STEPS.iter().position(|one| *one == step)
}

/// Kills pgsluice as soon as that step is on disk, or one behind it, and starts it again. Clients write all the time. Gives what was
/// acknowledged, and the step; None: it was over before.
fn kill_at(stand: &mut Stand, command: &str, step: &str, tag: &str) -> (Vec<u64>, Option<String>) {
    let load = Load::begin(&stand.proxy.tcp(), tag, 4, 0);
    thread::sleep(Duration::from_millis(100));
    let cut = stand.begin(command);
    while !cut.is_finished() && step_on_disk(stand).is_none_or(|now| place(&now) < place(step)) {
        thread::sleep(Duration::from_micros(200));
    }
    stand.proxy.kill_9();
    let reached = step_on_disk(stand);
    stand.proxy.start_again().expect("it starts again");
    drop(cut.join());
    stand.wait_for_end();
    stand.wait_until_open();
    (load.end().0.written, reached)
}

#[test]
fn the_proxy_killed_at_each_step_ends_on_one_side_with_nothing_lost() {
    let mut stand = Stand::new(1000);
    let mut acknowledged = 0;
    for (nth, (back, step)) in
        STEPS.iter().map(|step| (false, step)).chain(STEPS[3..].iter().map(|step| (true, step))).enumerate()
    {
        let (command, begins) = if back { ("MIGRATE app BACK", "18") } else { (THERE, "15") };
        if stand.version_of_clients() != begins {
            wait::until_ok(LONG, "the side to begin with", || {
                let answer = stand.command(if back { THERE } else { "MIGRATE app BACK" });
                if answer.sqlstate.is_empty() { Ok(()) } else { Err(answer.message) }
            });
        }
        let (written, reached) = kill_at(&mut stand, command, step, &format!("k{nth}-"));
        acknowledged += written.len();
        let now = stand.version_of_clients();
        println!("{command} killed at {reached:?}: clients are on {now}, {:?}", stand.last_move());
        let back_from = place("hold")..=place("verify");
        let forward = !reached.as_deref().is_some_and(|reached| back_from.contains(&place(reached)));
        assert_eq!(now != begins, forward, "{reached:?}: {:?}", stand.command("SHOW MOVES").rows[0]);
        // Every acknowledged row is where the clients are, once.
        let there = if now == "15" { stand.blue("SELECT id FROM w") } else { stand.green("SELECT id FROM w") };
        let there: std::collections::BTreeSet<u64> = there.lines().filter_map(|id| id.parse().ok()).collect();
        let lost: Vec<_> = written.iter().filter(|id| !there.contains(id)).collect();
        assert!(lost.is_empty(), "{command} at {reached:?}: lost {lost:?}");
        ask(&mut stand.client("app"), &format!("INSERT INTO w(who, n) VALUES ('after', {nth})")).fine();
    }
    wait::until_ok(LONG, "the end", || {
        let answer = stand.command(if stand.version_of_clients() == "15" { THERE } else { "MIGRATE app BACK" });
        if answer.sqlstate.is_empty() { Ok(()) } else { Err(answer.message) }
    });
    stand.command("MIGRATE app FINISH").fine();
    assert_eq!(stand.left_behind(), "");
    // Both sides are equal: nothing went round twice.
    let all = "SELECT count(*), count(DISTINCT id), sum(id), md5(string_agg(who || n, ',' ORDER BY id)) FROM w";
    assert_eq!(stand.blue(all), stand.green(all));
    println!("{acknowledged} writes were acknowledged");
}

/// A folder in the place of the file that is to be written stands for a disk that takes nothing more.
fn full(stand: &Stand, file: &str) -> std::path::PathBuf {
    let path = stand.proxy.dir().join(format!("{file}.new"));
    std::fs::create_dir(&path).unwrap();
    path
}

#[test]
fn a_frozen_target_and_files_that_cannot_be_written_lead_back() {
    let stand = Stand::new(100);
    prepared(&stand);
    let mut slow = stand.client("app");
    let begin = |slow: &mut pgsluice_fixtures::Raw| {
        ask(slow, "BEGIN; UPDATE t SET v = 'x' WHERE id = 1").fine();
        let cut = stand.begin("MIGRATE app TO green WITH (drain_timeout '20s', timeout '25s')");
        stand.wait_for_step("hold");
        cut
    };
    // The journal.
    let cut = begin(&mut slow);
    let folder = full(&stand, "state.json.moves");
    ask(&mut slow, "COMMIT").fine();
    let answer = cut.join().unwrap();
    assert_eq!(answer.sqlstate, "58030", "{answer:?}");
    std::fs::remove_dir(folder).unwrap();
    let one = load(&stand, "a");
    stand.wait_until_open();
    thread::sleep(Duration::from_millis(200));
    let (first, _) = one.end();
    verify(&stand.blue("SELECT id FROM w"), &[&first], &[]);
    assert_eq!(stand.version_of_clients(), "15");

    // The state file, when clients are about to be led over.
    let cut = begin(&mut slow);
    let folder = full(&stand, "state.json");
    ask(&mut slow, "COMMIT").fine();
    stand.wait_for_step("back");
    std::fs::remove_dir(folder).unwrap();
    let answer = cut.join().unwrap();
    assert_eq!(answer.sqlstate, "58030", "{answer:?}");
    stand.wait_until_open();
    assert_eq!(stand.version_of_clients(), "15");
    ask(&mut stand.client("app"), "UPDATE t SET v = 'y' WHERE id = 2").fine();

    // The new side hangs.
    let cut = begin(&mut slow);
    signal(stand.green.primary(), "-STOP");
    ask(&mut slow, "COMMIT").fine();
    let answer = cut.join().unwrap();
    assert!(matches!(answer.sqlstate.as_str(), "08006" | "55P03"), "{answer:?}");
    stand.wait_until_open();
    ask(&mut stand.client("app"), "UPDATE t SET v = 'z' WHERE id = 3").fine();
    signal(stand.green.primary(), "-CONT");
    wait::until_ok(LONG, "the new side is there again", || {
        let answer = stand.command(THERE);
        if answer.sqlstate.is_empty() { Ok(()) } else { Err(answer.message) }
    });
    assert_eq!(stand.green("SELECT string_agg(v, '' ORDER BY id) FROM t WHERE id < 4"), "xyz");
    let rows = stand.blue("SELECT count(*) FROM w");
    assert_eq!(stand.green("SELECT count(*) FROM w"), rows);
}

/// The postmaster and its children, as a machine that hangs.
fn signal(server: &pgsluice_fixtures::Server, signal: &str) {
    let postmaster = server.pid().expect("it runs").to_string();
    let children = std::process::Command::new("pgrep").args(["-P", &postmaster]).output().expect("pgrep").stdout;
    for child in String::from_utf8_lossy(&children).split_whitespace().chain([postmaster.as_str()]) {
        let _ = std::process::Command::new("kill").args([signal, child]).output().expect("kill");
    }
}
