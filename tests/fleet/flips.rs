//! One command for all, and one barrier.

use std::thread;
use std::time::{Duration, Instant};

use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Frame, wait};

use crate::stand::{LONG, Stand, Writers, fails, fine, program, stays_still, verify};

#[test]
fn a_flip_is_one_act_for_all_members_and_is_told_once_every_one_has_passed() {
    let Some(program) = program() else { return };
    let stand = Stand::start(program, 1, 3, "", "");
    let mut clients: Vec<_> = stand.members.iter().map(|member| member.connect("app")).collect();
    for (at, client) in clients.iter_mut().enumerate() {
        fine(client, &format!("INSERT INTO w VALUES ({at}, 0, 1)"));
    }
    // One is in the middle of a transaction that has written: the command waits for it, wherever it was given.
    fine(&mut clients[2], "BEGIN");
    fine(&mut clients[2], "INSERT INTO w VALUES (2, 0, 2)");
    let address = stand.members[0].address();
    let command = thread::spawn(move || {
        let mut console =
            pgsluice_fixtures::Raw::connect(&address, &pgsluice_fixtures::Login::new("dba", "pgsluice")).unwrap();
        console.round_trip(&message::query("MAINTENANCE ON app WITH (message 'upgrade')"), LONG).unwrap()
    });
    for (at, client) in clients.iter_mut().enumerate().take(2) {
        wait::until_ok(LONG, "the gate closes", || {
            let frames = client.round_trip(&message::query(&format!("INSERT INTO w VALUES ({at}, 0, 99)")), LONG);
            let error = frames.unwrap().iter().find_map(Frame::error);
            match error {
                Some(error) if error.code() == "25006" => {
                    assert_eq!(error.detail(), Some("database \"app\" is in maintenance: upgrade"));
                    Ok(())
                }
                Some(error) if error.code() == "23505" => Err("still open".to_owned()),
                other => Err(format!("{other:?}")),
            }
        });
    }
    assert_eq!(stand.members[0].mode(), "draining");
    // The notices of each second name who is waited for.
    thread::sleep(Duration::from_millis(1500));
    assert!(!command.is_finished(), "m2 has an open transaction");
    fine(&mut clients[2], "COMMIT");
    let frames = command.join().unwrap();
    let notices: Vec<String> =
        frames.iter().filter(|frame| frame.tag == b'N').filter_map(|frame| frame.error_fields().remove(&'M')).collect();
    assert!(
        notices.iter().any(|text| text.contains("waiting for 1 of 3 members") && text.contains("member \"m2\"")),
        "{notices:?}"
    );
    let rows = crate::stand::rows(&frames);
    assert_eq!(rows.len(), 4, "a row for all, and one for each: {rows:?}");
    assert_eq!((rows[0][1].as_str(), rows[0][2].as_str(), rows[0][13].as_str()), ("read_only", "t", ""));
    let members: Vec<_> = rows[1..].iter().map(|row| row[13].as_str()).collect();
    assert_eq!(members, ["m0", "m1", "m2"]);
    assert!(rows.iter().all(|row| !row[5].is_empty() && !row[6].is_empty()), "quiesced with an LSN: {rows:?}");
    for member in &stand.members {
        wait::until_ok(LONG, "read_only", || {
            let mode = member.mode();
            if mode == "read_only" { Ok(()) } else { Err(mode) }
        });
    }
    // Every member can open it again.
    let rows = stand.members[1].console("MAINTENANCE OFF app");
    assert_eq!((rows[0][1].as_str(), rows[0][2].as_str()), ("read_write", "t"));
    for (at, client) in clients.iter_mut().enumerate() {
        fine(client, &format!("INSERT INTO w VALUES ({at}, 0, 100)"));
    }
    // What is so already is success without a change.
    assert_eq!(stand.members[2].console("MAINTENANCE OFF app")[0][2], "f");
}

#[test]
fn whoever_comes_second_is_told_who_holds_the_fleet_and_the_opposite_command_calls_it_off_from_any_member() {
    let Some(program) = program() else { return };
    let stand = Stand::start(program, 1, 2, "", "");
    let mut client = stand.members[0].connect("app");
    fine(&mut client, "BEGIN");
    fine(&mut client, "INSERT INTO w VALUES (0, 0, 1)");
    stand.members[0].console("OFFLINE app NOWAIT");
    let error = stand.members[1].try_console("MAINTENANCE ON app").unwrap_err();
    assert_eq!(error.code(), "55006");
    assert!(error.message().contains("OFFLINE is under way, started by \"dba\""), "{error}");
    let rows = stand.members[1].console("ONLINE app");
    assert_eq!(rows[0][1], "read_write");
    fine(&mut client, "COMMIT");
    fine(&mut client, "INSERT INTO w VALUES (0, 0, 2)");
}

#[test]
fn a_drain_that_takes_too_long_is_given_up_for_all() {
    let Some(program) = program() else { return };
    let stand = Stand::start(program, 1, 2, "", "");
    let mut client = stand.members[1].connect("app");
    fine(&mut client, "BEGIN");
    fine(&mut client, "INSERT INTO w VALUES (0, 0, 1)");
    let sql = "MAINTENANCE ON app WITH (drain_timeout '1s', on_timeout revert)";
    let error = stand.members[0].try_console(sql).unwrap_err();
    assert_eq!(error.code(), "55P03");
    assert!(error.detail().unwrap_or_default().contains("member \"m1\""), "{error}");
    fine(&mut client, "COMMIT");
    for member in &stand.members {
        wait::until_ok(LONG, "open again", || {
            let mode = member.mode();
            if mode == "read_write" { Ok(()) } else { Err(mode) }
        });
    }
}

#[test]
fn who_joins_or_comes_back_in_the_middle_starts_in_the_mode_of_all_before_it_serves_anything() {
    let Some(program) = program() else { return };
    let mut stand = Stand::start(program, 1, 2, "", "");
    stand.members[0].console("MAINTENANCE ON app");
    // One that was down when it was closed, with its own memory open.
    stand.members[0].console("MAINTENANCE OFF app");
    stand.members[1].proxy.kill_9();
    stand.members[0].console("MAINTENANCE ON app WITH (message 'meanwhile')");
    stand.members[1].proxy.start_again().unwrap();
    let mut client = stand.members[1].connect("app");
    let error = fails(&mut client, "INSERT INTO w VALUES (1, 0, 1)");
    assert_eq!((error.code(), error.detail()), ("25006", Some("database \"app\" is in maintenance: meanwhile")));
    // One that has never been there.
    stand.join("new");
    let mut client = stand.members[2].connect("app");
    assert_eq!(fails(&mut client, "INSERT INTO w VALUES (2, 0, 1)").code(), "25006");
    stand.members[2].console("MAINTENANCE OFF app");
    fine(&mut client, "INSERT INTO w VALUES (2, 0, 1)");
}

#[test]
fn what_was_closed_for_a_time_is_opened_for_all_by_one() {
    let Some(program) = program() else { return };
    let stand = Stand::start(program, 1, 2, "", "");
    stand.members[0].console("MAINTENANCE ON app WITH (expire '6s')");
    let began = Instant::now();
    for member in &stand.members {
        wait::until_ok(LONG, "open again", || {
            let mode = member.mode();
            if mode == "read_write" { Ok(()) } else { Err(mode) }
        });
    }
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[test]
fn nothing_is_written_behind_the_quiesced_lsn_and_nothing_is_lost() {
    let Some(program) = program() else { return };
    let flips = std::env::var("PGSLUICE_TEST_FLEET_FLIPS").ok().and_then(|text| text.parse().ok()).unwrap_or(4);
    let stand = Stand::start(program, 1, 3, "", "");
    let writers = Writers::start(&stand, 3);
    let mut slowest = Duration::ZERO;
    for flip in 0..flips {
        let before = writers.acknowledged.load(std::sync::atomic::Ordering::SeqCst);
        wait::until_ok(LONG, "writes", || {
            let now = writers.acknowledged.load(std::sync::atomic::Ordering::SeqCst);
            if now > before + 20 { Ok(()) } else { Err(now.to_string()) }
        });
        let began = Instant::now();
        let rows = stand.members[flip % 3].console("MAINTENANCE ON app");
        slowest = slowest.max(began.elapsed());
        stays_still(&stand, &rows[0][6], Duration::from_millis(300));
        stand.members[(flip + 1) % 3].console("MAINTENANCE OFF app");
    }
    let written = writers.stop();
    verify(&stand, &written);
    let rows: usize = written.iter().map(|one| one.sure.len()).sum();
    println!("{flips} flips over 3 members, {rows} rows acknowledged, ON to quiesced at most {slowest:?}");
}
