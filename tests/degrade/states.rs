//! What SHOW UPSTREAMS tells of a server.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use pgsluice_fixtures::cluster::Mode;
use pgsluice_fixtures::wait;

use crate::help::wait_for_mode;
use crate::stand::{LONG, Stand, fine};

/// State, reason and further columns of each server.
fn states(stand: &Stand) -> Vec<Vec<String>> {
    stand.console("SHOW UPSTREAMS").into_iter().map(|row| row[9..].to_vec()).collect()
}

fn wait_for(stand: &Stand, wanted: [&str; 2]) -> Vec<Vec<String>> {
    wait::until_ok(LONG, "the states", || {
        let rows = states(stand);
        let is: Vec<&str> = rows.iter().map(|row| &*row[0]).collect();
        if is == wanted { Ok(rows.clone()) } else { Err(format!("{rows:?}, not {wanted:?}")) }
    })
}

#[test]
fn a_server_is_shown_with_its_state_reason_timeline_system_identifier_and_room() {
    let stand = Stand::with("", "primary_lost_after = \"1500ms\"", "", &[]);
    let rows = wait_for(&stand, ["primary", "replica"]);
    let identifier = stand.cluster.primary().psql("SELECT system_identifier FROM pg_control_system()").unwrap();
    let room = |row: &Vec<String>| row[4].parse::<i64>().unwrap();
    for row in &rows {
        assert_eq!((&*row[2], &*row[3]), ("1", &*identifier), "{row:?}");
        assert!(room(row) > 10, "{row:?}");
    }
    let mut app = stand.connect("app");
    fine(&mut app, "SELECT 1");
    // Connections of the proxy's own may have been there when the places were counted first, and have gone since.
    let _more: Vec<_> = (0..5).map(|_| stand.cluster.primary().connect("dba", "app").unwrap()).collect();
    wait::until(LONG, "one place less", || (room(&states(&stand)[0]) < room(&rows[0])).then_some(()));

    stand.cluster.primary().psql_in("postgres", "ALTER DATABASE app SET default_transaction_read_only = on").unwrap();
    wait::until(LONG, "the database", || (states(&stand)[0][5] == "app").then_some(()));
    for sql in ["ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"] {
        stand.cluster.primary().psql_in("postgres", sql).unwrap();
    }
    wait_for(&stand, ["read-only", "replica"]);
    for sql in ["ALTER SYSTEM RESET ALL", "SELECT pg_reload_conf()"] {
        stand.cluster.primary().psql_in("postgres", sql).unwrap();
    }
    wait_for(&stand, ["primary", "replica"]);

    stand.cluster.primary().stop(Mode::Fast).unwrap();
    let rows = wait_for(&stand, ["lost (transient)", "replica"]);
    assert!(rows[0][1].contains("since"), "{rows:?}");
    wait_for(&stand, ["lost (lasting)", "replica"]);
    stand.cluster.replica(0).promote().unwrap();
    let rows = wait_for(&stand, ["lost (lasting)", "primary"]);
    assert_eq!(rows[1][2], "2", "the new timeline");
    stand.cluster.primary().start().unwrap();
    wait_for(&stand, ["contested", "primary"]);
}

#[test]
fn a_server_without_room_or_one_role_that_is_refused_is_not_a_lost_server() {
    let stand = Stand::with("", "primary_lost_after = \"1s\"", "", &[]);
    let mut app = stand.connect("app");
    fine(&mut app, "SELECT 1");
    // Whoever is locked out is locked out alone.
    stand.cluster.primary().psql_in("postgres", "ALTER ROLE late NOLOGIN").unwrap();
    assert!(
        pgsluice_fixtures::Raw::connect(&stand.proxy.tcp(), &pgsluice_fixtures::Login::new("late", "app")).is_err()
    );
    let mut taken = Vec::new();
    while let Ok(raw) = stand.cluster.primary().connect("dba", "app") {
        taken.push(raw);
    }
    // The monitor has to log in anew, and is not let in.
    let monitors = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'monitor'";
    let mut last = taken.pop().unwrap();
    fine(&mut last, monitors);
    while let Ok(raw) = stand.cluster.primary().connect("dba", "app") {
        taken.push(raw);
    }
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(states(&stand)[0][0], "primary", "{:?}", states(&stand));
    assert_eq!(fine(&mut app, "SELECT count(*) FROM t"), [["10"]]);
    fine(&mut app, "INSERT INTO w(who) VALUES ('x')");
}

const HTTP: &str = "[http]\nlisten = \"127.0.0.1:{port:http}\"";

/// The answer of `/readyz`: status and text.
fn readiness(stand: &Stand, query: &str) -> (u16, String) {
    let port = stand.proxy.port_named("http").unwrap();
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    write!(stream, "GET /readyz{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[test]
fn readiness_agrees_with_show_maintenance_about_what_automation_has_closed() {
    let mut stand = Stand::with("", "primary_lost_after = \"1500ms\"", HTTP, &[]);
    wait_for_mode(&stand, "read_write", "");
    assert_eq!(readiness(&stand, "?for=writes").0, 200);
    stand.cluster.replica(0).stop(Mode::Fast).unwrap();
    stand.cluster.primary().stop(Mode::Fast).unwrap();
    wait_for_mode(&stand, "offline", "primary_lost");
    // Nobody wants it so: it is no reason to stay in service.
    let (status, body) = readiness(&stand, "");
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("app: reads: no server can be reached"), "{body}");
    stand.cluster.primary().start().unwrap();
    wait_for_mode(&stand, "read_write", "");
    wait::until(LONG, "ready", || (readiness(&stand, "?for=writes").0 == 200).then_some(()));
    // Reads go on at a replica alone, and writes do not.
    let replica = stand.cluster.replica(0);
    replica.start().unwrap();
    let replica = replica.port();
    stand.reload_with(&[replica]);
    wait_for_mode(&stand, "read_only", "no_primary");
    wait::until(LONG, "reads", || (readiness(&stand, "").0 == 200).then_some(()));
    assert_eq!(readiness(&stand, "?for=writes").0, 503);
}

#[test]
fn readiness_says_that_reads_are_not_served_while_no_replica_is_far_enough_for_a_closed_gate() {
    let stand = Stand::with("", "", HTTP, &[]);
    let replica = stand.cluster.replica(0);
    replica.psql("SELECT pg_wal_replay_pause()").unwrap();
    stand.cluster.primary().psql_in("app", "INSERT INTO w(who) VALUES ('x')").unwrap();
    stand.console("MAINTENANCE ON app");
    assert_eq!(readiness(&stand, "").0, 200);
    stand.cluster.primary().stop(Mode::Fast).unwrap();
    let told = wait::until(LONG, "no reads", || {
        let (status, body) = readiness(&stand, "");
        (status == 503).then_some(body)
    });
    assert!(told.contains("app: reads: no primary is known"), "{told}");
    replica.psql("SELECT pg_wal_replay_resume()").unwrap();
    wait::until(LONG, "reads", || (readiness(&stand, "").0 == 200).then_some(()));
}
