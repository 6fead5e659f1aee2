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
