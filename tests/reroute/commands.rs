//! The command: what it refuses, and that it can be given twice; over HTTP and from the command line, too.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use pgsluice_fixtures::proxy::binary;

use crate::stand::{LONG, Stand, fine, query, rows, site, sqlstate};

#[test]
fn the_same_again_changes_nothing() {
    let stand = Stand::new();
    assert_eq!(stand.console("REROUTE app BACK").concat()[4], "f");
    assert_eq!(stand.console("REROUTE app TO b").concat()[4], "t");
    assert_eq!(stand.console("REROUTE app TO b").concat()[4], "f");
    assert_eq!(stand.console("REROUTE alias TO b").concat()[4], "f");
    assert_eq!(stand.console("REROUTE app BACK").concat()[4], "t");
    assert_eq!(stand.console("REROUTE app BACK").concat()[4], "f");
    assert!(stand.console("SHOW REROUTES").is_empty());
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let stand = Stand::with("[clusters.c]\nupstreams = [\"127.0.0.1:1\"]\nmonitor_user = \"monitor\"\n");
    for (sql, code) in [
        ("REROUTE nosuch TO nosuch", "42704"),
        ("REROUTE app TO nosuch", "42704"),
        ("REROUTE app TO a", "22023"),
        ("REROUTE app TO c", "55000"),
        ("REROUTE app TO b WITH (dbname 'nosuch')", "3D000"),
        ("REROUTE app TO b WITH (writes sometimes)", "22023"),
        ("REROUTE app TO b WITH (nosuch 1)", "22023"),
        ("REROUTE app BACK WITH (writes allow)", "22023"),
        ("REROUTE app TO b WITH (timeout '2d')", "22023"),
        ("REROUTE app TO b WITH (timeout '1s', TIMEOUT '2s')", "22023"),
        ("REROUTE app", "42601"),
        ("REROUTE app TO", "42601"),
        ("REROUTE * TO b", "42601"),
        ("REROUTE pgsluice TO b", "3D000"),
    ] {
        assert_eq!(sqlstate(&stand.ask_console(sql)), code, "{sql}");
    }
    let mut client = stand.connect("app");
    assert_eq!(site(&mut client), "a");
    stand.console("REROUTE app TO b");
    for sql in ["REROUTE app TO b WITH (dbname app2)", "REROUTE app TO a", "REROUTE app_on_b TO a"] {
        assert_eq!(sqlstate(&stand.ask_console(sql)), "55006", "{sql}");
    }
    assert_eq!(site(&mut client), "b");
}

#[test]
fn a_dry_run_looks_as_the_command_would_and_changes_nothing() {
    let stand = Stand::new();
    let (mut client, _other) = (stand.connect("app"), stand.connect("app"));
    assert_eq!(site(&mut client), "a");
    for (sql, code) in [
        ("REROUTE app TO nosuch WITH (dry_run)", "42704"),
        ("REROUTE app TO b WITH (dbname 'nosuch', dry_run)", "3D000"),
        ("REROUTE app TO a WITH (dry_run on)", "22023"),
        ("REROUTE app TO b WITH (dry_run perhaps)", "22023"),
    ] {
        assert_eq!(sqlstate(&stand.ask_console(sql)), code, "{sql}");
    }
    let told = stand.ask_console("REROUTE app TO b WITH (dry_run)");
    assert_eq!(rows(&told).concat()[1..5], ["b", "app", "reject", "f"]);
    let notices = told.iter().filter(|frame| frame.tag == b'N');
    let said: String = notices.filter_map(|frame| frame.error_fields().remove(&'M')).collect();
    assert!(said.contains("2 clients would be led from a.app to b.app"), "{said}");
    assert!(stand.console("SHOW REROUTES").is_empty());
    assert_eq!(site(&mut client), "a");
    stand.console("REROUTE app TO b");
    assert_eq!(stand.console("REROUTE app BACK WITH (dry_run)").concat()[4], "f");
    assert_eq!(site(&mut client), "b");
    stand.console("REROUTE app BACK WITH (dry_run off)");
    assert_eq!(site(&mut client), "a");
}

#[test]
fn one_at_a_time_and_not_while_the_gate_moves() {
    let stand = Stand::new();
    let mut open = stand.connect("app");
    fine(&mut open, "BEGIN");
    fine(&mut open, "INSERT INTO w(who) VALUES ('x')");
    let closing = stand.console_later("MAINTENANCE ON app WITH (drain_timeout '30s')");
    pgsluice_fixtures::wait::until(LONG, "a drain", || {
        stand.console("SHOW MAINTENANCE app").concat().iter().any(|cell| cell == "draining").then_some(())
    });
    let refused = stand.ask_console("REROUTE app TO b");
    assert_eq!(sqlstate(&refused), "55006");
    fine(&mut open, "ROLLBACK");
    assert_eq!(sqlstate(&closing.join().expect("no panic")), "");
    stand.console("MAINTENANCE OFF app");
    fine(&mut open, "BEGIN");
    fine(&mut open, "INSERT INTO w(who) VALUES ('x')");
    let under_way = stand.console_later("REROUTE app TO b");
    let mut other = stand.connect("app");
    pgsluice_fixtures::wait::until(LONG, "a reroute", || (site(&mut other) == "b").then_some(()));
    assert_eq!(sqlstate(&stand.ask_console("REROUTE app BACK")), "55006");
    fine(&mut open, "COMMIT");
    assert_eq!(sqlstate(&under_way.join().expect("no panic")), "");
}

#[test]
fn tables_of_the_console_and_events_tell_of_it() {
    let stand = Stand::new();
    stand.console("REROUTE app TO b WITH (message 'moving')");
    let row = stand.console("SHOW REROUTES").into_iter().find(|row| row[0] == "app").expect("a row");
    assert_eq!(row[1..7], ["a", "app", "b", "app", "reject", "read_only"]);
    assert_eq!((row[8].as_str(), row[10].as_str()), ("dba", "moving"));
    let database = stand.console("SHOW DATABASES").into_iter().find(|row| row[0] == "app").expect("a row");
    assert_eq!((database[17].as_str(), database.last().map(String::as_str)), ("b", Some("a.app")));
    let mode = stand.console("SHOW MAINTENANCE app").concat();
    assert!(mode.contains(&"rerouted".to_owned()) && mode.contains(&"read_only".to_owned()), "{mode:?}");
    let events = stand.console("SHOW EVENTS app").concat().join(" ");
    assert!(events.contains("rerouted"), "{events}");
    // It is no person's maintenance: OFF does not open it.
    stand.console("MAINTENANCE OFF app");
    assert_eq!(sqlstate(&query(&mut stand.connect("app"), "INSERT INTO w(who) VALUES ('x')")), "25006");
}

/// As operate_tokens has it.
fn hashed(token: &str) -> String {
    let mut program = Command::new(binary(env!("CARGO_BIN_EXE_pgsluice")));
    let mut child = program
        .arg("hash-token")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("it runs");
    child.stdin.take().expect("its input").write_all(token.as_bytes()).expect("sent");
    let shown = child.wait_with_output().expect("its output").stdout;
    String::from_utf8_lossy(&shown).trim().to_owned()
}

fn http(port: u16, request: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the endpoint");
    let length = body.len();
    let text = format!(
        "{request} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret-of-a-deployment\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(text.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

#[test]
fn it_is_a_resource_of_the_api_and_a_command_of_the_command_line() {
    let tables = "[http]\nlisten = \"127.0.0.1:{port:http}\"\noperate_tokens = [\"deploy:TOKEN\"]\n"
        .replace("TOKEN", &hashed("secret-of-a-deployment"));
    let stand = Stand::with(&tables);
    let port = stand.proxy.port_named("http").expect("a port");
    let path = "/v1/databases/app/reroute";
    assert_eq!(http(port, &format!("GET {path}"), "").0, 404);
    let (status, body) = http(port, &format!("PUT {path}?wait=30s"), "{\"cluster\": \"b\"}");
    assert_eq!(status, 200, "{body}");
    let (status, body) = http(port, &format!("GET {path}"), "");
    assert!(status == 200 && body.contains("\"cluster\":\"b\""), "{status} {body}");
    let mut client = stand.connect("app");
    assert_eq!(site(&mut client), "b");
    assert_eq!(http(port, &format!("PUT {path}"), "{\"cluster\": \"nosuch\"}").0, 404);
    assert_eq!(http(port, &format!("PUT {path}"), "{\"cluster\": \"a\"}").0, 409);
    assert_eq!(http(port, &format!("DELETE {path}?wait=30s"), "").0, 200);
    assert_eq!(site(&mut client), "a");

    let console = format!("postgres://dba@127.0.0.1:{}/pgsluice", stand.proxy.port());
    let run = |words: &[&str]| {
        let mut program = Command::new(binary(env!("CARGO_BIN_EXE_pgsluice")));
        let done = program.arg("reroute").args(words);
        let done = done.args(["--admin", &console]).output().expect("it runs");
        (done.status.code(), String::from_utf8_lossy(&done.stdout).into_owned())
    };
    let (code, shown) = run(&["app", "to", "b", "--timeout", "5s"]);
    assert!(code == Some(0) && shown.contains("reject"), "{code:?} {shown}");
    assert_eq!(site(&mut client), "b");
    assert_eq!(run(&["app", "to", "nosuch"]).0, Some(4));
    assert_eq!(run(&["app", "BACK"]).0, Some(0));
    assert_eq!(site(&mut client), "a");
    assert!(rows(&stand.ask_console("SHOW REROUTES")).is_empty());
}
