//! Clients in every state of a session live through upgrades.

use std::time::Duration;

use pgsluice_fixtures::Raw;
use pgsluice_fixtures::raw::message;

use crate::stand::{SOON, Stand, Writers, config, rows, value};

const UPGRADES: usize = 3;

#[test]
fn clients_of_every_state_live_through_three_upgrades_in_a_row_and_no_write_is_lost_or_doubled() {
    let stand = Stand::new(&config("", ""));
    let writers = Writers::start(&stand, 6, "app");
    let session_writers = Writers::start(&stand, 2, "session");

    let mut idle = stand.raw("app", "app");
    rows(
        &mut idle,
        "set application_name = 'mover'; set work_mem = '7MB'; set search_path = other, public; set timezone = 'Asia/Tokyo'",
    );
    let mut prepared = stand.raw("app", "app");
    let parse = [message::parse("s1", "select $1::int + 1", &[]), message::sync()].concat();
    prepared.round_trip(&parse, SOON).unwrap();
    rows(&mut prepared, "prepare q1 (int) as select $1 * 10");
    let mut unnamed = stand.raw("app", "app");
    unnamed.round_trip(&[message::parse("", "select 'unnamed'", &[]), message::sync()].concat(), SOON).unwrap();
    let mut listener = stand.raw("app", "app");
    rows(&mut listener, "listen news");
    let mut temporary = stand.raw("app", "app");
    rows(&mut temporary, "create temp table mine (n int); insert into mine values (42)");
    let mut locked = stand.raw("app", "app");
    rows(&mut locked, "select pg_advisory_lock(77)");
    let mut session = stand.raw("app", "session");
    let own_process = value(&mut session, "set extra.x = 'kept'; select pg_backend_pid()");
    let mut operator = stand.raw("op", "app");
    let operators_process = value(&mut operator, "select pg_backend_pid()");

    for nth in 0..UPGRADES {
        stand.upgrade();
        assert_eq!(value(&mut idle, "show work_mem"), "7MB", "upgrade {nth}");
        assert_eq!(value(&mut idle, "show application_name"), "mover");
        assert_eq!(value(&mut idle, "show search_path"), "other, public");
        assert_eq!(value(&mut idle, "show timezone"), "Asia/Tokyo");
        let bind = [message::bind("", "s1", &[Some(b"41")]), message::execute("", 0), message::sync()].concat();
        let frames = prepared.round_trip(&bind, SOON).unwrap();
        let row = frames.iter().find(|frame| frame.tag == b'D').unwrap_or_else(|| panic!("{frames:?}"));
        assert_eq!(row.values()[0].as_deref(), Some(&b"42"[..]));
        assert_eq!(value(&mut prepared, "execute q1 (5)"), "50");
        let bind = [message::bind("", "", &[]), message::execute("", 0), message::sync()].concat();
        let frames = unnamed.round_trip(&bind, SOON).unwrap();
        assert!(frames.iter().any(|frame| frame.tag == b'D'), "{frames:?}");
        rows(&mut idle, &format!("notify news, 'after {nth}'"));
        assert_eq!(notification(&mut listener), format!("after {nth}"));
        assert_eq!(value(&mut temporary, "select n from mine"), "42");
        assert_eq!(value(&mut idle, "select pg_try_advisory_lock(77)"), "f");
        assert_eq!(value(&mut session, "select pg_backend_pid()"), own_process);
        assert_eq!(value(&mut session, "show extra.x"), "kept");
        assert_eq!(value(&mut operator, "select pg_backend_pid()"), operators_process);
    }
    assert_eq!(value(&mut locked, "select pg_advisory_unlock(77)"), "t");
    writers.finish();
    session_writers.finish();
}

fn notification(raw: &mut Raw) -> String {
    let frames = raw.frames_until(SOON, |frame| frame.tag == b'A').unwrap();
    // The process id comes first.
    let body = &frames.last().unwrap().body[4..];
    let mut words = body.split(|byte| *byte == 0);
    String::from_utf8_lossy(words.nth(1).unwrap()).into_owned()
}

#[test]
fn idle_server_connections_come_along_with_what_stands_on_them() {
    let stand = Stand::new(&config("", ""));
    let mut clients: Vec<_> = (0..3).map(|_| stand.raw("app", "app")).collect();
    let processes = |clients: &mut Vec<Raw>| -> Vec<String> {
        clients.iter_mut().map(|client| value(client, "select pg_backend_pid()")).collect()
    };
    let before = processes(&mut clients);
    for _ in 0..UPGRADES {
        stand.upgrade();
        assert_eq!(processes(&mut clients), before);
    }
}

#[test]
fn whoever_is_in_a_transaction_or_a_copy_moves_when_that_has_ended() {
    let stand = Stand::new(&config("", ""));
    let (mut block, mut copying, mut failed) =
        (stand.raw("app", "app"), stand.raw("app", "app"), stand.raw("app", "app"));
    rows(&mut block, "begin; insert into w values ('block', 1)");
    copying.send(&message::query("copy w from stdin")).unwrap();
    copying.frames_until(SOON, |frame| frame.tag == b'G').unwrap();
    copying.send(&message::copy_data(b"copy\t1\n")).unwrap();
    rows(&mut failed, "begin");
    failed.query("select 1/0", SOON).unwrap_err();
    let former = stand.pid();
    let told = stand.try_upgrade(&[]).unwrap();
    assert!(told.contains("3 clients are still served by the former one"), "{told}");
    assert!(stand.runs(former) && stand.pid() != former);
    // New ones come to the new process, and a second upgrade waits for its turn.
    assert_eq!(value(&mut stand.raw("app", "app"), "select 1"), "1");
    assert!(stand.try_upgrade(&[]).unwrap_err().contains("still serves 3 clients"));
    rows(&mut block, "insert into w values ('block', 2); commit");
    copying.send(&[message::copy_data(b"copy\t2\n"), message::copy_done()].concat()).unwrap();
    copying.frames_until_ready(SOON).unwrap();
    rows(&mut failed, "rollback");
    stand.await_end_of(former);
    for raw in [&mut block, &mut copying, &mut failed] {
        assert_eq!(value(raw, "select count(*) from w where writer in ('block', 'copy')"), "4");
    }
}

#[test]
fn a_cancel_request_finds_its_client_on_either_side() {
    let stand = Stand::new(&config("", ""));
    let (mut stays, mut moves) = (stand.raw("app", "app"), stand.raw("app", "app"));
    stays.send(&message::query("select pg_sleep(60)")).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let former = stand.pid();
    stand.try_upgrade(&[]).unwrap();
    assert!(stand.runs(former));
    // Its process is the former one; the request comes to the new one.
    stays.cancel(SOON).unwrap();
    let error = stays.frames_until_ready(SOON).unwrap().iter().find_map(|frame| frame.error()).unwrap();
    assert_eq!(error.code(), "57014");
    stand.await_end_of(former);
    for raw in [&mut stays, &mut moves] {
        raw.send(&message::query("select pg_sleep(60)")).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        raw.cancel(SOON).unwrap();
        let error = raw.frames_until_ready(SOON).unwrap().iter().find_map(|frame| frame.error()).unwrap();
        assert_eq!(error.code(), "57014");
    }
}

#[test]
fn a_message_that_waits_for_a_server_connection_or_in_a_pause_is_answered_by_the_new_process() {
    let stand = Stand::new(&config("", ""));
    let (mut admin, mut waiting) = (stand.raw("admin", "pgsluice"), stand.raw("app", "app"));
    rows(&mut waiting, "select 1");
    admin.query("pause app", SOON).unwrap();
    waiting.send(&message::query("select 'resumed'")).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    stand.upgrade();
    let mut admin = stand.raw("admin", "pgsluice");
    admin.query("resume app", SOON).unwrap();
    let frames = waiting.frames_until_ready(SOON).unwrap();
    assert!(frames.iter().any(|frame| frame.tag == b'D'), "{frames:?}");
}

#[test]
fn whoever_waits_for_a_server_connection_waits_no_longer_for_the_upgrades() {
    let stand = Stand::new(&config("query_wait_timeout = '8s'", ""));
    let (mut admin, mut waiting) = (stand.raw("admin", "pgsluice"), stand.raw("app", "app"));
    rows(&mut waiting, "select 1");
    admin.query("pause app", SOON).unwrap();
    let began = std::time::Instant::now();
    waiting.send(&message::query("select 1")).unwrap();
    for _ in 0..2 {
        std::thread::sleep(Duration::from_secs(2));
        stand.upgrade();
    }
    let frames = waiting.frames_until_closed(SOON).unwrap();
    let error = frames.iter().find_map(|frame| frame.error()).unwrap();
    assert!(error.to_string().contains("query_wait_timeout"), "{error}");
    // With two waits of its own for each process it would be 12 seconds and more.
    assert!(began.elapsed() < Duration::from_secs(11), "{:?}", began.elapsed());
}

#[test]
fn the_console_shows_clients_as_they_were() {
    let stand = Stand::new(&config("", ""));
    let mut client = stand.raw("app", "app");
    rows(&mut client, "set application_name = 'shown'");
    let shown = |stand: &Stand| {
        let mut admin = stand.raw("admin", "pgsluice");
        let result = admin.query("show clients", SOON).unwrap().pop().unwrap();
        let row = result.rows.into_iter().find(|row| row.iter().flatten().any(|value| value == "shown")).unwrap();
        // User, address, port, connect_time and what else does not change.
        row.into_iter().flatten().filter(|value| value.contains("20") || value == "app").collect::<Vec<_>>()
    };
    let before = shown(&stand);
    std::thread::sleep(Duration::from_millis(1100));
    stand.upgrade();
    let after = shown(&stand);
    assert_eq!(before[..3], after[..3]);
}
