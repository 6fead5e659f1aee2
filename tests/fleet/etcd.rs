//! etcd in other states than the best: with TLS and passwords, in part away, behind, put back to what it was.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use pgsluice_fixtures::etcd::Secured;
use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Etcd, Fault, Frame, Login, Raw, wait};

use crate::stand::{LONG, More, Stand, fails, fine, program};
use pgsluice_fixtures::certificates::{Folder, ca, issue, params};

/// What an insert is refused with; None: it was not.
fn refusal(raw: &mut Raw, n: u64) -> Option<String> {
    let frames = raw.round_trip(&message::query(&format!("INSERT INTO w VALUES (88, 0, {n})")), LONG).unwrap();
    let error = frames.iter().filter(|frame| frame.tag == b'E').find_map(Frame::error)?;
    assert_eq!(error.code(), "25006", "{error}");
    Some(error.detail().unwrap_or_default().to_owned())
}

fn until_refused(raw: &mut Raw, first: u64, what: &str) -> String {
    let mut n = first;
    wait::until(LONG, what, || {
        n += 1;
        refusal(raw, n)
    })
}

fn until_mode(stand: &Stand, member: usize, mode: &str) {
    wait::until_ok(LONG, mode, || {
        let known = stand.members[member].mode();
        if known == mode { Ok(()) } else { Err(known) }
    });
}

#[test]
fn etcd_is_spoken_to_over_tls_with_certificates_and_a_password() {
    let Some(program) = program() else { return };
    let folder = Folder::new();
    let authority = ca("etcd");
    let server = issue(params(&["127.0.0.1"], "etcd"), Some(&authority));
    // Etcd's gateway cannot tell users by the names of certificates: those of clients must have none.
    let client = issue(params(&["pgsluice.example"], ""), Some(&authority));
    let ca_file = folder.write("ca.pem", &authority.pem);
    let secured = Secured {
        certificate: folder.write("etcd.pem", &server.certificate),
        key: folder.write("etcd.key", &server.key),
        clients: Some(ca_file.clone()),
    };
    let mut etcd = Etcd::start(program, 1).expect("etcd");
    for (path, body) in [
        ("user/add", r#"{"name":"root","password":"r"}"#),
        ("role/add", r#"{"name":"root"}"#),
        ("user/grant", r#"{"user":"root","role":"root"}"#),
        ("user/add", r#"{"name":"pgsluice","password":"s3cret"}"#),
        ("role/add", r#"{"name":"fleet"}"#),
        // From /pgsluice/ to before /pgsluice0.
        (
            "role/grant",
            r#"{"name":"fleet","perm":{"permType":"READWRITE","key":"L3Bnc2x1aWNlLw==","range_end":"L3Bnc2x1aWNlMA=="}}"#,
        ),
        ("user/grant", r#"{"user":"pgsluice","role":"fleet"}"#),
        ("enable", "{}"),
    ] {
        let answer = etcd.ask(0, &format!("/v3/auth/{path}"), body);
        assert!(answer.contains("200 OK"), "{path}: {answer}");
    }
    etcd.kill(0);
    etcd.secure(secured);
    etcd.run(0).unwrap();
    etcd.wait_until_ready().unwrap();
    let (certificate, key) = (folder.write("client.pem", &client.certificate), folder.write("client.key", &client.key));
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let fleet = |password: &str| {
        format!(
            "ca_file = {ca_file:?}\ncert_file = {certificate:?}\nkey_file = {key:?}\nuser = \"pgsluice\"\n\
             password = \"{password}\""
        )
    };
    let more = More { fleet: fleet("s3cret"), scheme: "https", ..More::default() };
    let mut stand = Stand::with(etcd, 2, &more);
    let rows = stand.members[0].console("MAINTENANCE ON app");
    assert_eq!((rows.len(), rows[0][1].as_str()), (3, "read_only"));
    stand.members[1].console("MAINTENANCE OFF app");
    fine(&mut stand.members[0].connect("app"), "INSERT INTO w VALUES (0, 0, 1)");

    // With another password, or without a certificate that is trusted, a member says what etcd says, and takes no writes.
    stand.join_with("wrong", &More { fleet: fleet("other"), ..more.clone() });
    let without = More { fleet: format!("ca_file = {ca_file:?}"), ..more };
    stand.join_with("without", &without);
    for (member, part) in [(2, "authentication failed"), (3, "certificate")] {
        wait::until_ok(LONG, "it says why", || {
            let rows = stand.members[member].console("SHOW FLEET");
            let own = rows.iter().find(|row| row[5] == "lost").ok_or_else(|| format!("{rows:?}"))?;
            if own[14].to_lowercase().contains(part) { Ok(()) } else { Err(own[14].clone()) }
        });
        let detail = until_refused(&mut stand.members[member].connect("app"), 100, "no writes");
        assert!(detail.contains("cannot reach the fleet"), "{detail}");
    }
}

#[test]
fn a_member_of_etcd_that_is_away_at_the_start_and_an_endpoint_that_is_wrong_are_passed_over() {
    let Some(program) = program() else { return };
    let mut etcd = Etcd::prepare(program, 3).expect("etcd");
    // The first of its members is away.
    for at in [1, 2] {
        etcd.run(at).unwrap();
    }
    etcd.wait_until_ready().unwrap();
    // One where nobody listens, and one that speaks HTTP and is no etcd.
    let page = TcpListener::bind("127.0.0.1:0").unwrap();
    let page_port = page.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in page.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}");
        }
    });
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let stand = Stand::with(etcd, 2, &More { beside: vec![closed, page_port], ..More::default() });
    let rows = stand.members[0].console("MAINTENANCE ON app");
    assert_eq!(rows[0][1], "read_only");
    stand.members[1].console("MAINTENANCE OFF app");
}

#[test]
fn an_endpoint_that_belongs_to_another_etcd_is_passed_over() {
    let Some(program) = program() else { return };
    let other = Etcd::start(program.clone(), 1).expect("another etcd");
    let etcd = Etcd::start(program, 3).expect("etcd");
    let mut stand = Stand::with(etcd, 2, &More { beside: other.ports(), ..More::default() });
    stand.etcd.kill(0);
    pgsluice_fixtures::wait::until(LONG, "etcd to have a leader", || {
        stand.etcd.ask(1, "/v3/kv/put", r#"{"key":"YQ==","value":"YQ=="}"#).contains("200 OK").then_some(())
    });
    let rows = stand.members[0].console("MAINTENANCE ON app");
    assert_eq!((rows.len(), rows[0][1].as_str()), (3, "read_only"));
    stand.members[1].console("MAINTENANCE OFF app");
    // All of its keys.
    let answer = other.ask(0, "/v3/kv/range", r#"{"key":"AA==","range_end":"AA=="}"#);
    assert!(answer.contains("200 OK") && !answer.contains("kvs"), "{answer}");
}

#[test]
fn changes_that_etcd_has_compacted_away_meanwhile_are_read_again() {
    let Some(program) = program() else { return };
    // A lease that outlives the time in which nothing reaches the member.
    let stand = Stand::with_lease(program, 1, 2, Duration::from_secs(20));
    stand.members[1].cut_off(Fault::BlackHole);
    let mut console = Raw::connect(&stand.members[0].address(), &Login::new("dba", "pgsluice")).unwrap();
    console.send(&message::query("MAINTENANCE ON app WITH (message 'behind')")).unwrap();
    until_mode(&stand, 0, "draining");
    for _ in 0..3 {
        // Of this fleet's keys.
        stand.etcd.ask(0, "/v3/kv/put", r#"{"key":"L3Bnc2x1aWNlL290aGVy","value":"YQ=="}"#);
    }
    let answer = stand.etcd.ask(0, "/v3/kv/range", r#"{"key":"YQ=="}"#);
    let revision = answer.split("\"revision\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a revision");
    let answer = stand.etcd.ask(0, "/v3/kv/compaction", &format!(r#"{{"revision":"{revision}","physical":true}}"#));
    assert!(answer.contains("200 OK"), "{answer}");
    stand.members[1].relays.iter().for_each(pgsluice_fixtures::Relay::cut);
    stand.members[1].cut_off(Fault::None);
    let frames = console.frames_until_ready(LONG).unwrap();
    assert_eq!(crate::stand::rows(&frames).len(), 3, "both have acknowledged: {frames:?}");
    let error = fails(&mut stand.members[1].connect("app"), "INSERT INTO w VALUES (1, 0, 1)");
    assert_eq!(error.detail(), Some("database \"app\" is in maintenance: behind"));
}

#[test]
fn an_etcd_that_is_put_back_to_an_older_state_opens_nothing() {
    let Some(program) = program() else { return };
    let mut stand = Stand::with_lease(program, 1, 2, Duration::from_secs(2));
    stand.members[0].console("MAINTENANCE ON app");
    stand.members[0].console("MAINTENANCE OFF app");
    stand.etcd.save(0).unwrap();
    stand.etcd.run(0).unwrap();
    stand.etcd.wait_until_ready().unwrap();
    stand.wait_for_members(2);
    stand.members[1].console("MAINTENANCE ON app WITH (message 'kept')");
    let mut client = stand.members[0].connect("app");
    assert!(refusal(&mut client, 1).is_some());
    // One is down meanwhile, and has its state file; the others have seen it all.
    stand.members[1].proxy.kill_9();
    stand.etcd.put_back(0).unwrap();
    std::thread::sleep(Duration::from_secs(3));
    stand.etcd.run(0).unwrap();
    stand.etcd.wait_until_ready().unwrap();
    stand.members[1].proxy.start_again().unwrap();
    stand.wait_for_members(2);
    for member in 0..2 {
        let mut client = stand.members[member].connect("app");
        let until = std::time::Instant::now() + Duration::from_secs(3);
        while std::time::Instant::now() < until {
            let detail = refusal(&mut client, 10).expect("it stays closed");
            assert!(detail.contains("in maintenance: kept") || detail.contains("cannot reach"), "{detail}");
        }
        until_mode(&stand, member, "read_only");
    }
    // Etcd knows it again, and a command opens it for all.
    let rows = stand.members[0].console("SHOW FLEET");
    assert!(rows.iter().all(|row| row[8] == "read_only"), "{rows:?}");
    stand.members[1].console("MAINTENANCE OFF app");
    for member in 0..2 {
        until_mode(&stand, member, "read_write");
        fine(&mut stand.members[member].connect("app"), &format!("INSERT INTO w VALUES ({member}, 9, 1)"));
    }
}

#[test]
fn a_lease_that_is_lost_in_the_middle_of_a_maintenance_changes_nothing_for_clients() {
    let Some(program) = program() else { return };
    let stand = Stand::with_lease(program, 1, 2, Duration::from_secs(2));
    stand.members[0].console("MAINTENANCE ON app WITH (message 'long')");
    let mut client = stand.members[1].connect("app");
    stand.members[1].cut_off(Fault::BlackHole);
    wait::until_ok(LONG, "it is lost", || {
        fine(&mut client, "SELECT count(*) FROM w");
        assert_eq!(refusal(&mut client, 1).as_deref(), Some("database \"app\" is in maintenance: long"));
        let rows = stand.members[1].console("SHOW FLEET");
        if rows.iter().any(|row| row[5] == "lost") { Ok(()) } else { Err(format!("{rows:?}")) }
    });
    // The others open; it does not, before it has heard of that.
    stand.members[0].console("MAINTENANCE OFF app");
    assert!(refusal(&mut client, 2).is_some());
    stand.members[1].cut_off(Fault::None);
    until_mode(&stand, 1, "read_write");
    let mut n = 10;
    wait::until_ok(LONG, "it writes again", || {
        n += 1;
        refusal(&mut client, n).map_or(Ok(()), Err)
    });
}
