//! Who is there, and what is told of them.

use std::time::Duration;

use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Signal, wait};

use crate::stand::{LONG, Stand, fine, program};

#[test]
fn members_see_each_other_and_who_ends_is_gone() {
    let Some(program) = program() else { return };
    let mut stand = Stand::start(program, 1, 3, "", "");
    let rows = stand.members[1].console("SHOW FLEET");
    let names: Vec<_> = rows.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(names, ["m0", "m1", "m2"]);
    assert_eq!(rows.iter().filter(|row| row[6] == "t").count(), 1, "one leads: {rows:?}");
    assert!(rows.iter().all(|row| row[2] == env!("CARGO_PKG_VERSION")), "{rows:?}");

    // One that stops in order is gone at once, without a lease that has to end.
    stand.members[2].proxy.signal(Signal::SIGTERM).unwrap();
    stand.members[2].proxy.wait_for_exit(LONG).unwrap();
    let gone = stand.members.pop();
    wait::until_ok(Duration::from_secs(3), "it is gone", || {
        let rows = stand.members[0].console("SHOW FLEET");
        if rows.len() == 2 { Ok(()) } else { Err(format!("{rows:?}")) }
    });
    drop(gone);
    // A name is taken by one life at a time, and free again once that is over.
    stand.members[1].proxy.kill_9();
    stand.members[1].proxy.start_again().unwrap();
    stand.wait_for_members(2);
}

#[test]
fn a_cancel_request_that_comes_to_the_wrong_member_finds_its_statement() {
    let Some(program) = program() else { return };
    let stand = Stand::start(program, 1, 3, "", "");
    let mut client = stand.members[0].connect("app");
    let key = client.key().cloned().expect("a key");
    client.send(&message::query("SELECT pg_sleep(60)")).unwrap();
    wait::until_ok(LONG, "the statement runs", || {
        let running =
            stand.sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'");
        if running == "1" { Ok(()) } else { Err(running) }
    });
    let mut other = pgsluice_fixtures::Raw::open(&stand.members[2].address()).unwrap();
    other.send(&message::cancel_request(key.pid, &key.secret)).unwrap();
    let frames = client.frames_until_ready(Duration::from_secs(10)).unwrap();
    let error = frames.iter().find_map(pgsluice_fixtures::Frame::error).expect("an error");
    assert_eq!(error.code(), "57014");
    fine(&mut client, "SELECT 1");
}

#[test]
fn what_only_one_member_would_do_is_refused_and_says_what_to_do() {
    let Some(program) = program() else { return };
    let stand = Stand::start(program, 1, 1, "", "");
    for sql in ["SWITCHOVER app TO '127.0.0.1:1'", "ACTIVATE app ON '127.0.0.1:1'", "REROUTE app TO main"] {
        let error = stand.members[0].try_console(sql).unwrap_err();
        assert_eq!(error.code(), "0A000", "{sql}: {error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("MAINTENANCE ON")), "{error}");
    }
}

#[test]
fn a_name_that_another_member_has_is_not_taken_and_its_commands_do_nothing() {
    let Some(program) = program() else { return };
    let mut stand = Stand::start(program, 1, 1, "", "");
    stand.join("m0");
    wait::until_ok(LONG, "it says why", || {
        let rows = stand.members[1].console("SHOW FLEET");
        let own = rows.iter().find(|row| row[14].contains("another member has the name"));
        own.map(|_| ()).ok_or_else(|| format!("{rows:?}"))
    });
    let mut client = stand.members[1].connect("app");
    assert_eq!(crate::stand::fails(&mut client, "INSERT INTO w VALUES (1, 0, 1)").code(), "25006");
    fine(&mut stand.members[0].connect("app"), "INSERT INTO w VALUES (0, 0, 1)");
    // It may give commands all the same: they are those of the fleet.
    let rows = stand.members[0].console("MAINTENANCE ON app");
    assert_eq!(rows.len(), 2, "one member: {rows:?}");
    stand.members[0].console("MAINTENANCE OFF app");
    // Once the first one is gone the name is free.
    let mut first = stand.members.remove(0);
    first.proxy.signal(Signal::SIGTERM).unwrap();
    first.proxy.wait_for_exit(LONG).unwrap();
    let mut n = 1;
    wait::until_ok(LONG, "it writes", || {
        n += 1;
        let frames = client.round_trip(&message::query(&format!("INSERT INTO w VALUES (1, 0, {n})")), LONG).unwrap();
        let error = frames.iter().find_map(pgsluice_fixtures::Frame::error);
        error.map_or(Ok(()), |error| Err(error.to_string()))
    });
}

#[test]
fn of_commands_that_two_consoles_give_at_once_on_two_members_each_is_done_joined_or_told_who_was_first() {
    let Some(program) = program() else { return };
    let stand = Stand::start(program, 1, 2, "", "");
    for round in 0..6 {
        let all: Vec<_> = ["MAINTENANCE ON app", "OFFLINE app", "MAINTENANCE ON app"]
            .into_iter()
            .enumerate()
            .map(|(at, sql)| {
                let address = stand.members[at % 2].address();
                std::thread::spawn(move || {
                    let login = pgsluice_fixtures::Login::new("dba", "pgsluice");
                    let mut console = pgsluice_fixtures::Raw::connect(&address, &login).unwrap();
                    console.round_trip(&message::query(sql), LONG).unwrap()
                })
            })
            .collect();
        let answers: Vec<_> = all.into_iter().map(|one| one.join().unwrap()).collect();
        let errors = answers.iter().filter_map(|frames| {
            frames.iter().filter(|frame| frame.tag == b'E').find_map(pgsluice_fixtures::Frame::error)
        });
        let errors: Vec<_> = errors.collect();
        assert!(errors.len() < 3, "round {round}: one is done: {errors:?}");
        assert!(
            errors.iter().all(|error| error.code() == "55006" && error.message().contains("\"dba\"")),
            "{errors:?}"
        );
        stand.members[round % 2].console("ONLINE app");
        stand.members[(round + 1) % 2].console("MAINTENANCE OFF app");
        for member in &stand.members {
            wait::until_ok(LONG, "open again", || {
                let mode = member.mode();
                if mode == "read_write" { Ok(()) } else { Err(mode) }
            });
        }
    }
}

#[test]
fn a_reload_leaves_the_fleet_as_it_is_and_says_that_it_takes_a_restart() {
    let Some(program) = program() else { return };
    let mut stand = Stand::start(program, 1, 2, "", "");
    let path = stand.members[1].proxy.dir().join("pgsluice.toml");
    let text = std::fs::read_to_string(path).unwrap().replace("member = \"m1\"", "member = \"other\"");
    stand.members[1].proxy.reconfigure(&text).unwrap();
    stand.members[1].console("RELOAD");
    wait::until_ok(LONG, "it is told", || {
        let log = stand.members[1].proxy.log();
        if log.contains("fleet.member") && log.contains("restart") { Ok(()) } else { Err(log) }
    });
    let rows = stand.members[0].console("MAINTENANCE ON app");
    let names: Vec<_> = rows[1..].iter().map(|row| row[13].as_str()).collect();
    assert_eq!(names, ["m0", "m1"]);
}

#[test]
fn a_check_says_who_answers_and_which_right_a_fleet_needs() {
    let Some(program) = program() else { return };
    let mut stand = Stand::start(program, 1, 2, "", "");
    let found = |stand: &Stand, what: &str| {
        let rows = stand.members[0].console("MAINTENANCE CHECK app");
        rows.into_iter().filter(|row| row[1] == what).map(|row| format!("{}: {} {}", row[2], row[3], row[4])).collect()
    };
    let fleet: Vec<String> = found(&stand, "fleet");
    assert_eq!(fleet, ["ok: all 2 members answer: m0, m1; this one is m0 "]);
    let rights: Vec<String> = found(&stand, "monitor's rights");
    assert!(rights.iter().any(|row| row.starts_with("ok: ") && row.contains("may end")), "{rights:?}");
    stand.sql("REVOKE pg_signal_backend FROM monitor");
    let rights: Vec<String> = found(&stand, "monitor's rights");
    assert!(rights.iter().any(|row| row.starts_with("fail: ") && row.contains("pg_signal_backend")), "{rights:?}");
    // One that is gone without a word is told of.
    stand.members[1].proxy.kill_9();
    wait::until(LONG, "the row", || {
        let fleet: Vec<String> = found(&stand, "fleet");
        fleet.iter().any(|row| row.starts_with("ok: all 1 members") || row.contains("m1 has gone")).then_some(())
    });
}
