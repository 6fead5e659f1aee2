//! Sites: a refused write is 503 with Retry-After, reads go on and have the banner.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;

use pgsluice_fixtures::port::Port;
use pgsluice_fixtures::{drivers, wait};
use serde_json::Value;

use crate::had;
use crate::stand::{LONG, Running, Stand};

/// Status, head and body of an answer.
fn ask(port: u16, method: &str, body: &str) -> Option<(u16, String, Value)> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(LONG)).ok()?;
    let length = body.len();
    let head =
        format!("{method} /items HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\nContent-Type: text/plain\r\n");
    write!(stream, "{head}Content-Length: {length}\r\n\r\n{body}").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, head.to_lowercase(), serde_json::from_str(body).unwrap_or(Value::Null)))
}

/// A site through a maintenance. Those that show a flag have it from what the server reports.
fn serve(stand: &Stand, command: Command, flag: bool) {
    let leased = Port::lease().unwrap();
    serve_on(leased.number(), stand, command, flag);
}

fn serve_on(port: u16, stand: &Stand, mut command: Command, flag: bool) {
    let _site = Running::start(command.env("PORT", port.to_string()));
    let items = |method: &str, body: &str| ask(port, method, body).unwrap_or_else(|| panic!("no answer to {method}"));
    wait::until(LONG, "the site is there", || ask(port, "GET", ""));
    let (status, head, _) = items("POST", "one");
    assert_eq!(status, 201, "{head}");
    let (_, _, open) = items("GET", "");
    assert!(open["banner"].as_str().unwrap_or_default().is_empty(), "{open}");

    stand.console("MAINTENANCE ON app WITH (message 'we move house', until '2031-12-01T14:00:00Z')");
    let (status, head, refused) = items("POST", "two");
    assert_eq!((status, refused["banner"].as_str()), (503, Some("we move house")), "{head} {refused}");
    let after = head.lines().find_map(|line| line.strip_prefix("retry-after: ")).unwrap_or_else(|| panic!("{head}"));
    assert!(after.parse::<u64>().unwrap() > 3600, "{head}");
    let closed = wait::until(LONG, "the flag is up", || {
        let (_, _, closed) = items("GET", "");
        (!flag || closed["read_only"] == true).then_some(closed)
    });
    assert_eq!(
        (closed["items"].to_string().as_str(), closed["banner"].as_str()),
        (r#"["one"]"#, Some("we move house"))
    );

    stand.console("MAINTENANCE OFF app");
    assert_eq!(items("POST", "three").0, 201);
    let open = wait::until(LONG, "the flag is down", || {
        let (_, _, open) = items("GET", "");
        (!flag || open["read_only"] == false).then_some(open)
    });
    assert_eq!(open["items"].to_string(), r#"["one","three"]"#);
}

#[test]
fn django_answers_503_and_has_the_banner() {
    let Some(python) = had("Django", drivers::python_with_frameworks()) else { return };
    let stand = Stand::start();
    let mut command = stand.command(python);
    command.arg(stand.printed("django_app.py"));
    serve(&stand, command, false);
}

#[test]
fn fastapi_answers_503_and_has_the_banner_and_the_flag() {
    let Some(python) = had("FastAPI", drivers::python_with_frameworks()) else { return };
    let stand = Stand::start();
    let mut command = stand.command(python);
    command.arg(stand.printed("fastapi_app.py"));
    serve(&stand, command, true);
}

#[test]
fn express_answers_503_and_has_the_banner_and_the_flag() {
    let Some(folder) = had("Express", drivers::node_with_frameworks()) else { return };
    let stand = Stand::start();
    let mut command = stand.command("node");
    command.env("NODE_PATH", folder.join("node_modules")).arg(stand.printed("express_app.js"));
    serve(&stand, command, true);
}

#[test]
fn net_http_answers_503_and_has_the_banner() {
    let Some(go) = had("Go with lib/pq", drivers::go()) else { return };
    let stand = Stand::start();
    let program = stand.proxy.dir().join("go_app");
    let mut build = Command::new(&go.program);
    build.envs(go.environment).arg("build").arg("-o").arg(&program).arg(stand.printed("go_app.go"));
    assert!(build.status().unwrap().success());
    let command = stand.command(program);
    serve(&stand, command, false);
}

#[test]
fn rails_answers_503_and_has_the_banner() {
    let Some(ruby) = had("Rails", drivers::rails()) else { return };
    let stand = Stand::start();
    let mut command = stand.command(ruby.program);
    command.envs(ruby.environment).arg(stand.printed("rails_app.rb"));
    serve(&stand, command, false);
}

#[test]
fn spring_answers_503_and_has_the_banner() {
    let Some(java) = had("Spring", drivers::spring()) else { return };
    let stand = Stand::start();
    let classes = stand.proxy.dir().join("classes");
    let mut compile = Command::new("javac");
    compile.envs(java.environment.clone()).arg("-d").arg(&classes).arg(stand.printed("SpringApp.java"));
    assert!(compile.status().unwrap().success());
    let mut command = stand.command(java.program);
    let (_, jars) = java.environment.first().unwrap();
    let path = std::env::join_paths(std::iter::once(classes).chain(std::env::split_paths(jars))).unwrap();
    command.arg("-cp").arg(path).arg("SpringApp");
    serve(&stand, command, false);
}

#[test]
fn laravel_answers_503_and_has_the_banner() {
    let Some(php) = had("Laravel", drivers::laravel()) else { return };
    let stand = Stand::start();
    let leased = Port::lease().unwrap();
    let mut command = stand.command(php.program);
    command.envs(php.environment).arg("-S").arg(format!("127.0.0.1:{}", leased.number()));
    command.arg(stand.printed("laravel_app.php"));
    serve_on(leased.number(), &stand, command, false);
}
