//! A member that cannot renew its lease: it stops in time, and others do not take its silence for its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Fault, Frame, Raw, Signal, wait};

use crate::stand::{LONG, Stand, fails, fine, program, stays_still};

/// Whether an insert is refused with 25006, and its detail.
fn refused(raw: &mut Raw, n: u64) -> Result<String, String> {
    let sql = format!("INSERT INTO w VALUES (77, 0, {n})");
    let frames = raw.round_trip(&message::query(&sql), LONG).map_err(|error| error.to_string())?;
    match frames.iter().filter(|frame| frame.tag == b'E').find_map(Frame::error) {
        Some(error) if error.code() == "25006" => Ok(error.detail().unwrap_or_default().to_owned()),
        other => Err(format!("{other:?}")),
    }
}

#[test]
fn one_that_is_cut_off_from_etcd_takes_no_writes_and_goes_on_reading_until_it_is_back() {
    let Some(program) = program() else { return };
    let stand = Stand::start(program, 1, 2, "", "");
    let mut client = stand.members[1].connect("app");
    fine(&mut client, "INSERT INTO w VALUES (1, 0, 1)");
    let mut inside = stand.members[1].connect("app");
    fine(&mut inside, "BEGIN");
    fine(&mut inside, "INSERT INTO w VALUES (1, 0, 2)");
    stand.members[1].cut_off(Fault::BlackHole);
    let cut = Instant::now();
    let mut n = 10;
    let detail = wait::until_ok(Duration::from_secs(5), "it stops writing before its lease has ended", || {
        n += 1;
        refused(&mut client, n)
    });
    assert!(cut.elapsed() < Duration::from_secs(5), "{:?}", cut.elapsed());
    assert_eq!(detail, "database \"app\" is read-only: this proxy cannot reach the fleet");
    // What was open is rolled back, and reads go on.
    let frames = inside.round_trip(&message::query("COMMIT"), LONG);
    let committed = frames
        .as_ref()
        .is_ok_and(|frames| frames.iter().any(|frame| frame.tag == b'C' && frame.strings().concat() == "COMMIT"));
    assert!(!committed, "{frames:?}");
    fine(&mut client, "SELECT count(*) FROM w");
    assert_eq!(stand.members[1].console("SHOW MAINTENANCE app")[0][22], "fleet_lost");
    // The others flip without it: it is gone, and what it had open is ended.
    let rows = stand.members[0].console("MAINTENANCE ON app");
    assert_eq!(rows[0][1], "read_only");
    assert_eq!(rows.len(), 2, "{rows:?}");
    fine(&mut client, "SELECT count(*) FROM w");
    // Back, it puts in force what is wanted before it writes.
    stand.members[1].cut_off(Fault::None);
    wait::until_ok(LONG, "in maintenance", || {
        n += 1;
        let detail = refused(&mut client, n)?;
        if detail.contains("is in maintenance") { Ok(()) } else { Err(detail) }
    });
    stand.members[0].console("MAINTENANCE OFF app");
    wait::until_ok(LONG, "it writes again", || {
        n += 1;
        match refused(&mut client, n) {
            Ok(detail) => Err(detail),
            Err(_) => Ok(()),
        }
    });
}

#[test]
fn one_that_is_stopped_cannot_write_behind_a_flip_that_did_not_wait_for_it() {
    let Some(program) = program() else { return };
    let mut stand = Stand::start(program, 1, 3, "", "");
    let mut client = stand.members[2].connect("app");
    fine(&mut client, "BEGIN");
    fine(&mut client, "INSERT INTO w VALUES (2, 0, 1)");
    let mut other = stand.members[2].connect("app");
    fine(&mut other, "INSERT INTO w VALUES (2, 0, 2)");
    stand.members[2].proxy.signal(Signal::SIGSTOP).unwrap();
    // What its clients send now waits in its sockets.
    client.send(&message::query("COMMIT")).unwrap();
    other.send(&message::query("INSERT INTO w VALUES (2, 0, 3)")).unwrap();
    let rows = stand.members[0].console("MAINTENANCE ON app");
    assert_eq!(rows[0][1], "read_only", "{rows:?}");
    let count = stand.sql("SELECT count(*) FROM w");
    thread::sleep(Duration::from_secs(2));
    stand.members[2].proxy.signal(Signal::SIGCONT).unwrap();
    stays_still(&stand, &rows[0][6], Duration::from_secs(3));
    assert_eq!(stand.sql("SELECT count(*) FROM w"), count);
    let answer = client.frames_until_closed(Duration::from_secs(5)).map(|frames| frames.len());
    drop(answer);
    let mut again = stand.members[2].connect("app");
    assert_eq!(fails(&mut again, "INSERT INTO w VALUES (2, 0, 4)").code(), "25006");
    stand.wait_for_members(3);
    stand.members[2].console("MAINTENANCE OFF app");
    fine(&mut again, "INSERT INTO w VALUES (2, 0, 5)");
}

#[test]
fn one_that_is_killed_in_the_middle_of_a_drain_is_not_waited_for_longer_than_its_lease() {
    let Some(program) = program() else { return };
    let mut stand = Stand::start(program, 1, 3, "", "");
    let mut client = stand.members[1].connect("app");
    fine(&mut client, "BEGIN");
    fine(&mut client, "INSERT INTO w VALUES (1, 0, 1)");
    stand.members[0].console("MAINTENANCE ON app NOWAIT");
    stand.members[1].proxy.kill_9();
    let rows = stand.members[0].console("MAINTENANCE ON app");
    assert_eq!(rows[0][1], "read_only");
    assert_eq!(stand.sql("SELECT count(*) FROM w"), "0");
    let leads = stand.members[0].console("SHOW FLEET").iter().any(|row| row[6] == "t");
    assert!(leads);
}

#[test]
fn the_one_that_leads_may_be_killed_in_the_middle_and_another_one_goes_on() {
    let Some(program) = program() else { return };
    let mut stand = Stand::start(program, 1, 3, "", "");
    let rows = stand.members[0].console("SHOW FLEET");
    let leader = rows.iter().find(|row| row[6] == "t").expect("one leads")[0].clone();
    let at = stand.members.iter().position(|member| member.name == leader).unwrap();
    let (giver, writer) = ((at + 1) % 3, (at + 2) % 3);
    let mut client = stand.members[writer].connect("app");
    fine(&mut client, "BEGIN");
    fine(&mut client, "INSERT INTO w VALUES (1, 0, 1)");
    stand.members[giver].console("MAINTENANCE ON app NOWAIT");
    stand.members[at].proxy.kill_9();
    fine(&mut client, "COMMIT");
    let rows = stand.members[giver].console("MAINTENANCE ON app");
    assert_eq!((rows[0][1].as_str(), rows[0][6].is_empty()), ("read_only", false), "{rows:?}");
}

#[test]
fn with_etcd_down_modes_stay_nothing_flips_but_locally_and_nothing_is_opened_when_it_is_back() {
    let Some(program) = program() else { return };
    let mut stand = Stand::start(program, 1, 2, "", "");
    stand.members[0].console("MAINTENANCE ON app");
    stand.members[0].console("MAINTENANCE OFF app");
    stand.etcd.kill(0);
    let mut clients: Vec<_> = stand.members.iter().map(|member| member.connect("app")).collect();
    for client in &mut clients {
        wait::until_ok(Duration::from_secs(6), "no writes", || refused(client, 1));
        fine(client, "SELECT count(*) FROM w");
    }
    let error = stand.members[0].try_console("MAINTENANCE ON app").unwrap_err();
    assert_eq!(error.code(), "55000");
    assert!(
        error.message().contains("cannot reach the fleet") && error.hint().unwrap_or_default().contains("local"),
        "{error}"
    );
    let rows = stand.members[1].console("MAINTENANCE ON app WITH (local, message 'by hand')");
    assert_eq!(rows[0][1], "read_only");
    stand.etcd.run(0).unwrap();
    stand.etcd.wait_until_ready().unwrap();
    // The one without a command of its own writes again; what a person has closed by hand stays closed.
    wait::until_ok(LONG, "m0 writes", || match refused(&mut clients[0], 2) {
        Ok(detail) => Err(detail),
        Err(_) => Ok(()),
    });
    wait::until_ok(LONG, "m1 is back", || {
        let rows = stand.members[1].console("SHOW FLEET");
        if rows.iter().filter(|row| row[5] == "member").count() == 2 { Ok(()) } else { Err(format!("{rows:?}")) }
    });
    assert_eq!(refused(&mut clients[1], 3).unwrap(), "database \"app\" is in maintenance: by hand");
    // The next command for all ends that, once the member that it is given to knows of the other's own.
    wait::until_ok(LONG, "m1 writes", || {
        stand.members[0].console("MAINTENANCE OFF app");
        match refused(&mut clients[1], 4) {
            Ok(detail) => Err(detail),
            Err(_) => Ok(()),
        }
    });
}

#[test]
fn a_database_that_keeps_goes_on_without_the_fleet() {
    let Some(program) = program() else { return };
    let stand = Stand::start(program, 1, 1, "", "on_loss = \"keep\"\n");
    stand.members[0].cut_off(Fault::BlackHole);
    wait::until_ok(LONG, "it is lost", || {
        let rows = stand.members[0].console("SHOW FLEET");
        if rows[0][5] == "lost" { Ok(()) } else { Err(format!("{rows:?}")) }
    });
    fine(&mut stand.members[0].connect("app"), "INSERT INTO w VALUES (0, 0, 1)");
}

/// Asks for what is read, again and again, until `stop`; what went wrong.
fn read_on(
    stand: &Stand,
    member: usize,
    rounds: Vec<Vec<u8>>,
    stop: Arc<AtomicBool>,
) -> thread::JoinHandle<Vec<String>> {
    let mut raw = stand.members[member].connect("app");
    thread::spawn(move || {
        let mut failed = Vec::new();
        while !stop.load(SeqCst) {
            for round in &rounds {
                match raw.round_trip(round, LONG) {
                    Ok(frames) => failed.extend(
                        frames
                            .iter()
                            .filter(|frame| frame.tag == b'E')
                            .filter_map(Frame::error)
                            .map(|error| error.to_string()),
                    ),
                    Err(error) => return vec![error.to_string()],
                }
            }
        }
        failed
    })
}

/// A batch of the extended protocol that runs one statement.
fn batch(sql: &str) -> Vec<u8> {
    [message::parse("", sql, &[]), message::bind("", "", &[]), message::execute("", 0), message::sync()].concat()
}

#[test]
fn reads_of_every_form_that_are_under_way_when_the_lease_is_lost_are_not_broken_off() {
    let Some(program) = program() else { return };
    let stand = Stand::start(program, 1, 2, "default_pool_size = 40\n", "");
    let slow = "SELECT count(*) FROM w, pg_sleep(0.3)";
    let query = |sql: &str| message::query(sql);
    let forms: Vec<Vec<Vec<u8>>> = vec![
        vec![query(slow)],
        vec![batch(slow)],
        vec![query("SELECT count(*) FROM w")],
        vec![batch("SELECT count(*) FROM w")],
        vec![query(&format!("SELECT 1; {slow}"))],
        vec![query("BEGIN"), query(slow), query("SELECT count(*) FROM w"), query("COMMIT")],
        vec![query("BEGIN"), batch(slow), batch("SELECT count(*) FROM w"), query("COMMIT")],
        vec![query("BEGIN ISOLATION LEVEL REPEATABLE READ"), query("SELECT 1"), query(slow), query("COMMIT")],
        vec![query("BEGIN READ ONLY"), query(slow), query("COMMIT")],
        vec![query("COPY (SELECT count(*) FROM w, pg_sleep(0.3)) TO STDOUT")],
        vec![query("SHOW work_mem"), query("SET work_mem = '4MB'"), query(slow)],
    ];
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = forms.iter().map(|form| read_on(&stand, 1, form.clone(), stop.clone())).collect();
    // Idle in its block when that comes: it has only read, or it has written.
    let mut has_read = stand.members[1].connect("app");
    fine(&mut has_read, "BEGIN");
    fine(&mut has_read, "SELECT count(*) FROM w");
    let mut has_written = stand.members[1].connect("app");
    fine(&mut has_written, "BEGIN");
    fine(&mut has_written, "INSERT INTO w VALUES (1, 0, 1)");
    stand.members[1].cut_off(Fault::BlackHole);
    let mut client = stand.members[1].connect("app");
    let mut n = 10;
    wait::until_ok(LONG, "it stops writing", || {
        n += 1;
        refused(&mut client, n)
    });
    // It goes on in its own snapshot, and cannot write.
    fine(&mut has_read, "SELECT count(*) FROM w");
    assert_eq!(fails(&mut has_read, "INSERT INTO w VALUES (1, 0, 2)").code(), "25006");
    fine(&mut has_read, "ROLLBACK");
    let committed = has_written.round_trip(&message::query("COMMIT"), LONG);
    let committed = committed
        .as_ref()
        .is_ok_and(|frames| frames.iter().any(|frame| frame.tag == b'C' && frame.strings().concat() == "COMMIT"));
    assert!(!committed);
    stand.members[1].cut_off(Fault::None);
    stand.wait_for_members(2);
    wait::until_ok(LONG, "it writes again", || {
        n += 1;
        match refused(&mut client, n) {
            Ok(detail) => Err(detail),
            Err(_) => Ok(()),
        }
    });
    stop.store(true, SeqCst);
    for (reader, form) in readers.into_iter().zip(&forms) {
        let failed = reader.join().unwrap();
        let form: Vec<_> = form.iter().map(|message| String::from_utf8_lossy(message).into_owned()).collect();
        assert!(failed.is_empty(), "{form:?}: {failed:?}");
    }
    assert_eq!(stand.sql("SELECT count(*) FROM w WHERE member = 1"), "0");
}
