//! Each step fails or is killed: where it ends. Never two servers that take writes, never an acknowledged write lost.

use std::thread;
use std::time::Duration;

use pgsluice_fixtures::cluster::Mode;
use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Login, Raw, RawError, wait};

use crate::load::{Load, nothing_lost_or_doubled};
use crate::stand::{Answer, LONG, Stand, ask, script};

/// Where a switchover has to have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    Back,
    There,
}

/// What holds at the end of each: one server takes writes, clients are served by it, and everything acknowledged is on it.
fn ends(stand: &Stand, load: Load, ends: Ends) {
    let primary = usize::from(ends == Ends::There);
    let (step, state) = stand.wait_for_end();
    let wanted = if ends == Ends::There { "done" } else { "failed" };
    assert_eq!(state, wanted, "at step {step}: {:?}", stand.command("SHOW MOVES").rows);
    stand.wait_until_open();
    load.wait_for_more(30);
    let seen = load.stop();
    assert!(stand.is_writable(primary), "{ends:?}: the one that is meant takes writes");
    if stand.server(1 - primary).pid().is_some() {
        assert!(!stand.is_writable(1 - primary), "{ends:?}: two take writes");
        let mine = stand.ids(primary);
        let strayed: Vec<_> = stand.ids(1 - primary).into_iter().filter(|id| mine.binary_search(id).is_err()).collect();
        assert!(strayed.is_empty(), "written elsewhere alone: {strayed:?}");
    }
    nothing_lost_or_doubled(&seen, stand.ids(primary));
}

fn load(stand: &Stand) -> Load {
    let load = Load::start(&stand.proxy.tcp(), 4, 1);
    load.wait_for_more(20);
    load
}

fn restart(stand: &mut Stand) {
    stand.proxy.kill_9();
    stand.proxy.start_again().expect("it starts again");
}

/// A program that waits until a file is there.
fn waits(stand: &Stand, name: &str, and_then: &str) -> std::path::PathBuf {
    let go = stand.proxy.dir().join("go");
    let text = format!("while [ ! -e {} ]; do sleep 0.05; done\n{and_then}", go.display());
    script(stand.proxy.dir(), name, &text);
    go
}

fn psql(stand: &Stand, at: usize, sql: &str) -> String {
    let psql = stand.cluster.installation().program("psql").unwrap();
    let port = stand.server(at).port();
    format!("{} -X -q -h 127.0.0.1 -p {port} -U dba -d postgres -c \"{sql}\"", psql.display())
}

#[test]
fn an_open_writer_leads_back_when_its_time_is_over_and_a_kill_while_it_is_waited_for_does_too() {
    let mut stand = Stand::new();
    let mut slow = stand.client("app");
    ask(&mut slow, "BEGIN; INSERT INTO written VALUES (-1)").fine();
    let one = load(&stand);
    let answer = stand.switch_to(1, "WITH (drain_timeout '500ms')");
    assert_eq!(answer.sqlstate, "55P03", "{}", answer.message);
    ends(&stand, one, Ends::Back);

    let two = Load::start(&stand.proxy.tcp(), 0, 1);
    let switch = stand.begin_switch_to(1, "WITH (drain_timeout '30s')");
    stand.wait_for_step("hold");
    restart(&mut stand);
    switch.join().unwrap();
    assert_eq!(stand.wait_for_end().1, "failed");
    stand.wait_until_open();
    drop(two.stop());
    assert!(stand.writes(-2).sqlstate.is_empty() && stand.is_writable(0));
}

#[test]
fn maintenance_off_calls_it_off_and_other_commands_find_it_in_their_way() {
    let stand = Stand::new();
    let mut slow = stand.client("app");
    ask(&mut slow, "BEGIN; INSERT INTO written VALUES (-1)").fine();
    let switch = stand.begin_switch_to(1, "WITH (drain_timeout '30s')");
    stand.wait_for_step("hold");
    for sql in [
        format!("SWITCHOVER other TO '{}'", stand.name(1)),
        "MAINTENANCE ON other".into(),
        "OFFLINE app".into(),
        "MAINTENANCE ON *".into(),
    ] {
        let answer = stand.command(&sql);
        assert_eq!(answer.sqlstate, "55006", "{sql}: {}", answer.message);
        assert!(answer.message.contains("SWITCHOVER app TO") && answer.message.contains("dba"), "{}", answer.message);
    }
    stand.command("MAINTENANCE OFF app").fine();
    let answer = switch.join().unwrap();
    assert_eq!(answer.sqlstate, "57014", "{}", answer.message);
    ask(&mut slow, "COMMIT").fine();
    stand.wait_until_open();
    assert!(stand.is_writable(0) && stand.ids(0) == [-1]);
}

#[test]
fn a_kill_while_the_old_primary_is_fenced_leads_back() {
    let mut stand = Stand::with("fence_command = [\"/bin/sh\", \"fence\"]\n");
    let go = waits(&stand, "fence", "exit 0");
    let one = load(&stand);
    let switch = stand.begin_switch_to(1, "");
    stand.wait_for_step("fence");
    restart(&mut stand);
    std::fs::write(go, "").unwrap();
    switch.join().unwrap();
    ends(&stand, one, Ends::Back);
}

#[test]
fn a_replay_that_stops_leads_back_and_so_does_a_kill_meanwhile() {
    let mut stand = Stand::with("");
    // Paused between the checks and the fence: an open writer holds it there.
    for kill in [false, true] {
        let mut slow = stand.client("app");
        ask(&mut slow, "BEGIN; INSERT INTO written VALUES (-1)").fine();
        let one = load(&stand);
        let switch = stand.begin_switch_to(1, "WITH (timeout '4s', drain_timeout '30s')");
        stand.wait_for_step("hold");
        stand.server(1).pause_replay().unwrap();
        ask(&mut slow, "COMMIT").fine();
        stand.wait_for_step("replay");
        if kill {
            restart(&mut stand);
            switch.join().unwrap();
        } else {
            let answer = switch.join().unwrap();
            assert_eq!(answer.sqlstate, "55P03", "{}", answer.message);
        }
        stand.server(1).resume_replay().unwrap();
        stand.wait_for_end();
        stand.wait_until_open();
        one.wait_for_more(20);
        let seen = one.stop();
        assert!(kill || seen.errors.is_empty(), "{:?}", seen.errors);
        assert!(stand.is_writable(0) && !stand.is_writable(1));
        let mut there = stand.ids(0);
        there.retain(|id| *id >= 0);
        nothing_lost_or_doubled(&seen, there);
        stand.server(0).psql_in("app", "TRUNCATE written").unwrap();
        stand.cluster.wait_for_replay(LONG).unwrap();
    }
}

#[test]
fn a_kill_while_the_target_is_being_promoted_goes_on() {
    let mut stand = Stand::with("promote_command = [\"/bin/sh\", \"promote\"]\n");
    let promote = psql(&stand, 1, "select pg_promote(false)");
    let go = waits(&stand, "promote", &promote);
    let one = load(&stand);
    let switch = stand.begin_switch_to(1, "");
    stand.wait_for_step("promote");
    restart(&mut stand);
    std::fs::write(go, "").unwrap();
    switch.join().unwrap();
    ends(&stand, one, Ends::There);
}

#[test]
fn a_promotion_whose_answer_is_lost_is_asked_for_at_the_target() {
    // The program promotes and is killed by its time-out before it has said so.
    let stand = Stand::with("promote_command = [\"/bin/sh\", \"promote\"]\ncommand_timeout = \"1s\"\n");
    let promote = psql(&stand, 1, "select pg_promote(false)");
    script(stand.proxy.dir(), "promote", &format!("{promote}; sleep 60"));
    let one = load(&stand);
    stand.switch_to(1, "").fine();
    ends(&stand, one, Ends::There);
}

#[test]
fn a_target_that_takes_no_writes_yet_is_waited_for_and_a_kill_meanwhile_goes_on() {
    // Its commits wait for a standby that is not there.
    let mut stand = Stand::with("promote_command = [\"/bin/sh\", \"promote\"]\nmonitor_timeout = \"1s\"\n");
    let stall = psql(&stand, 1, "alter system set synchronous_standby_names = 'nobody'");
    let reload = psql(&stand, 1, "select pg_reload_conf()");
    let promote = psql(&stand, 1, "select pg_promote(true)");
    script(stand.proxy.dir(), "promote", &format!("{stall}\n{reload}\nsleep 0.3\n{promote}"));
    let one = load(&stand);
    let switch = stand.begin_switch_to(1, "");
    stand.wait_for_step("verify");
    assert_eq!(stand.modes()[0], "read_only");
    restart(&mut stand);
    stand.wait_for_step("verify");
    switch.join().unwrap();
    stand.server(1).psql_in("postgres", "ALTER SYSTEM RESET synchronous_standby_names").unwrap();
    stand.server(1).reload().unwrap();
    ends(&stand, one, Ends::There);
}

#[test]
fn a_target_that_dies_leads_back_before_its_promotion_and_is_waited_for_after() {
    let stand = Stand::with("");
    let mut slow = stand.client("app");
    ask(&mut slow, "BEGIN; INSERT INTO written VALUES (-1)").fine();
    let switch = stand.begin_switch_to(1, "WITH (timeout '3s', drain_timeout '30s')");
    stand.wait_for_step("hold");
    stand.server(1).kill_9();
    ask(&mut slow, "COMMIT").fine();
    let answer = switch.join().unwrap();
    assert!(!answer.sqlstate.is_empty());
    stand.wait_until_open();
    assert!(stand.writes(1).sqlstate.is_empty() && stand.is_writable(0));

    let stand = Stand::with("promote_command = [\"/bin/sh\", \"promote\"]\n");
    let promote = psql(&stand, 1, "select pg_promote(false)");
    let go = waits(&stand, "promote", &promote);
    let one = load(&stand);
    let switch = stand.begin_switch_to(1, "");
    stand.wait_for_step("promote");
    stand.server(1).kill_9();
    stand.server(1).start().unwrap();
    std::fs::write(go, "").unwrap();
    switch.join().unwrap().fine();
    ends(&stand, one, Ends::There);
}

#[test]
fn a_target_that_never_answers_again_can_be_given_up() {
    let stand = Stand::with("promote_command = [\"/bin/sh\", \"promote\"]\nmonitor_timeout = \"1s\"\n");
    let go = waits(&stand, "promote", "exit 0");
    let switch = stand.begin_switch_to(1, "WITH (hold_timeout '6s')");
    stand.wait_for_step("promote");
    stand.server(1).kill_9();
    std::fs::write(go, "").unwrap();
    // Nobody knows what it is: writes are refused once they have waited long enough, and nothing is opened.
    let refused = stand.writes(1);
    assert_eq!(refused.sqlstate, "25006", "{}", refused.message);
    stand.command("MAINTENANCE OFF app").fine();
    assert_eq!(switch.join().unwrap().sqlstate, "57014");
    stand.wait_until_open();
    assert!(stand.writes(2).sqlstate.is_empty() && stand.is_writable(0));
    assert_eq!(stand.ids(0), [2]);
}

#[test]
fn a_new_primary_that_dies_before_it_has_taken_a_write_is_waited_for_or_given_up() {
    for gives_up in [false, true] {
        // It is promoted, and its commits wait for a standby that is not there.
        let stand = Stand::with("promote_command = [\"/bin/sh\", \"promote\"]\nmonitor_timeout = \"1s\"\n");
        let stall = psql(&stand, 1, "alter system set synchronous_standby_names = 'nobody'");
        let reload = psql(&stand, 1, "select pg_reload_conf()");
        let promote = psql(&stand, 1, "select pg_promote(true)");
        script(stand.proxy.dir(), "promote", &format!("{stall}\n{reload}\nsleep 0.3\n{promote}"));
        let switch = stand.begin_switch_to(1, "WITH (hold_timeout '6s')");
        stand.wait_for_step("verify");
        stand.server(1).kill_9();
        assert_eq!(stand.writes(1).sqlstate, "25006", "nothing is opened while nobody knows");
        if gives_up {
            stand.command("MAINTENANCE OFF app").fine();
            assert_eq!(switch.join().unwrap().sqlstate, "57014");
            stand.wait_until_open();
            assert!(stand.writes(2).sqlstate.is_empty() && stand.is_writable(0));
            // It comes back as the primary that it was made, and is not taken for it.
            stand.server(1).start().unwrap();
            wait::until(LONG, "two that claim it", || (stand.roles()[1] == "contested").then_some(()));
            assert!(stand.writes(3).sqlstate.is_empty());
            assert_eq!(stand.ids(0), [2, 3]);
        } else {
            let auto = stand.server(1).data_dir().join("postgresql.auto.conf");
            let text = std::fs::read_to_string(&auto).unwrap();
            std::fs::write(&auto, text + "synchronous_standby_names = ''\n").unwrap();
            stand.server(1).start().unwrap();
            switch.join().unwrap().fine();
            stand.wait_until_open();
            assert!(stand.writes(2).sqlstate.is_empty() && stand.is_writable(1) && !stand.is_writable(0));
            assert_eq!(stand.ids(1), [2]);
        }
    }
}

#[test]
fn operators_and_others_past_the_proxy_are_ended_at_the_fence_and_write_nothing_more() {
    let stand = Stand::new();
    stand.server(0).psql_in("postgres", "ALTER ROLE switcher SUPERUSER").unwrap();
    let mut past = Raw::connect(&stand.server(0).tcp(), &Login::new("app", "app")).unwrap();
    // It could write past the setting.
    ask(&mut past, "SET default_transaction_read_only = off").fine();
    ask(&mut past, "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE").fine();
    let mut operator = stand.client("dba");
    ask(&mut operator, "BEGIN; INSERT INTO written VALUES (-5)").fine();
    let answer = stand.switch_to(1, "").fine();
    let told: String = answer.rows.iter().map(|row| row.join(" ")).collect();
    assert!(told.contains("of \"app\"") && told.contains("of \"dba\""), "{told}");
    assert!(
        past.send(&message::query("INSERT INTO written VALUES (-6)")).is_err()
            || past.frames_until_closed(LONG).is_ok()
    );
    assert!(stand.ids(1).is_empty() && stand.ids(0).is_empty());
    assert!(stand.writes(1).sqlstate.is_empty());
    assert_eq!(stand.ids(1), [1]);
}

#[test]
fn it_goes_on_without_whoever_gave_the_command_and_sessions_bound_to_the_old_primary_end() {
    let stand = Stand::new();
    let mut bound = stand.client("app");
    ask(&mut bound, "CREATE TEMPORARY TABLE mine AS SELECT 1 AS one").fine();
    let mut slow = stand.client("app");
    ask(&mut slow, "BEGIN; INSERT INTO written VALUES (-1)").fine();
    let mut console = stand.console();
    let sql = format!("SWITCHOVER app TO '{}' WITH (drain_timeout '30s')", stand.name(1));
    console.send(&message::query(&sql)).unwrap();
    stand.wait_for_step("hold");
    drop(console);
    ask(&mut slow, "COMMIT").fine();
    assert_eq!(stand.wait_for_end().1, "done");
    bound.send(&message::query("SELECT one FROM mine")).unwrap();
    let frames = match bound.frames_until_ready(LONG) {
        Ok(frames) | Err(RawError::Closed { frames }) => frames,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(Answer::of(&frames).sqlstate, "57P01");
    ask(&mut slow, "INSERT INTO written VALUES (-2)").fine();
    assert_eq!(stand.ids(1), [-2, -1]);
}

#[test]
fn a_journal_that_cannot_be_written_keeps_the_next_step_from_being_taken() {
    let stand = Stand::new();
    // As on a full disk: no file can be made.
    let in_the_way = stand.proxy.dir().join("state.json.moves.new");
    std::fs::create_dir(&in_the_way).unwrap();
    let answer = stand.switch_to(1, "");
    assert_eq!(answer.sqlstate, "58030", "{}", answer.message);
    stand.wait_until_open();
    assert!(stand.is_writable(0) && stand.writes(1).sqlstate.is_empty());
    std::fs::remove_dir(&in_the_way).unwrap();
    stand.switch_to(1, "").fine();
    assert!(stand.is_writable(1) && stand.writes(2).sqlstate.is_empty());
}

#[test]
fn a_session_that_cannot_be_ended_leads_back() {
    let stand = Stand::new();
    let mut super_user = Raw::connect(&stand.server(0).tcp(), &Login::new("dba", "app")).unwrap();
    ask(&mut super_user, "SELECT 1").fine();
    let answer = stand.switch_to(1, "");
    assert_eq!(answer.sqlstate, "42501", "{}", answer.message);
    stand.wait_until_open();
    assert!(stand.is_writable(0) && stand.writes(1).sqlstate.is_empty());
    ask(&mut super_user, "INSERT INTO written VALUES (2)").fine();
    assert_eq!(stand.ids(0), [1, 2]);
}

#[test]
fn what_a_person_has_closed_stays_closed_and_with_on_failure_hold_so_does_the_rest() {
    let stand = Stand::new();
    stand.command("MAINTENANCE ON other WITH (message 'mine')").fine();
    stand.switch_to(1, "").fine();
    assert_eq!(stand.modes(), ["read_write", "read_only"]);
    assert!(stand.writes(1).sqlstate.is_empty());
    stand.command("MAINTENANCE OFF other").fine();
    stand.bring_back(0, 1);
    stand.wait_for_roles(&["replica", "primary"]);
    let mut slow = stand.client("app");
    ask(&mut slow, "BEGIN; INSERT INTO written VALUES (-1)").fine();
    let answer = stand.switch_to(0, "WITH (drain_timeout '1s', on_failure hold)");
    assert_eq!(answer.sqlstate, "55P03", "{}", answer.message);
    drop(slow);
    // app's drain was reverted by itself; other stays as it was closed.
    stand.command("MAINTENANCE OFF *").fine();
    stand.wait_until_open();
    assert!(stand.is_writable(1));
}

#[test]
fn a_restart_beside_the_old_primary_takes_only_the_new_one_for_the_primary() {
    let mut stand = Stand::new();
    stand.switch_to(1, "").fine();
    restart(&mut stand);
    stand.wait_for_roles(&["retired", "primary"]);
    assert!(stand.writes(1).sqlstate.is_empty());
    assert_eq!((stand.ids(1), stand.ids(0).len()), (vec![1], 0));
    // As a replica it is rid of the fence, so that whoever promotes it one day can write.
    stand.server(0).stop(Mode::Fast).unwrap();
    stand.server(0).rewind(stand.server(1)).unwrap();
    let auto = stand.server(0).data_dir().join("postgresql.auto.conf");
    let text = std::fs::read_to_string(&auto).unwrap();
    std::fs::write(&auto, text + "default_transaction_read_only = 'on'\n").unwrap();
    crate::stand::follow(stand.server(0), stand.server(1));
    stand.server(0).wait_until("SHOW default_transaction_read_only", "off", LONG).unwrap();
}

#[test]
fn the_proxy_killed_at_any_moment_ends_on_one_side_with_nothing_lost() {
    let times: u64 = std::env::var("PGSLUICE_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let mut stand = Stand::new();
    let (mut primary, mut replica) = (0, 1);
    for nth in 0..times {
        let one = load(&stand);
        let switch = stand.begin_switch_to(replica, "");
        thread::sleep(Duration::from_millis(60 + nth * 977 % 700));
        restart(&mut stand);
        switch.join().unwrap();
        wait::until(LONG, "an end", || {
            let rows = stand.command("SHOW MOVES").rows;
            rows.iter().all(|row| row[5] != "running").then_some(())
        });
        stand.wait_until_open();
        one.wait_for_more(20);
        let seen = one.stop();
        let writable = [stand.is_writable(0), stand.is_writable(1)];
        assert!(writable[0] != writable[1], "kill {nth}: {writable:?} {:?}", stand.command("SHOW MOVES").rows);
        if writable[replica] {
            println!("kill {nth}: it went on");
            std::mem::swap(&mut primary, &mut replica);
            nothing_lost_or_doubled(&seen, stand.ids(primary));
            stand.bring_back(replica, primary);
        } else {
            println!("kill {nth}: it went back");
            nothing_lost_or_doubled(&seen, stand.ids(primary));
        }
        let roles = if primary == 0 { ["primary", "replica"] } else { ["replica", "primary"] };
        stand.wait_for_roles(&roles);
        stand.server(primary).psql_in("app", "TRUNCATE written").unwrap();
        stand
            .server(primary)
            .wait_until("SELECT count(*) FROM pg_stat_replication WHERE replay_lsn >= pg_current_wal_lsn()", "1", LONG)
            .unwrap();
    }
}
