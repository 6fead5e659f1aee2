//! The HTTP endpoint: the banner of a database, and health.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use crate::stand::{LONG, Stand};
use pgsluice_fixtures::wait;

struct Answer {
    status: u16,
    head: String,
    body: String,
}

fn open(stand: &Stand) -> TcpStream {
    let port = stand.proxy.port_named("http").unwrap();
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream
}

fn get(stand: &Stand, path: &str, headers: &str) -> Answer {
    let mut stream = open(stand);
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{path}: {text}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

const BANNER: &str = "/v1/databases/app/banner";

#[test]
fn a_public_banner_follows_the_mode() {
    let stand = Stand::new("[http]\nlisten = \"127.0.0.1:{port:http}\"\nbanner_public = true");
    let json = |answer: &Answer| serde_json::from_str::<serde_json::Value>(&answer.body).unwrap();
    let answer = get(&stand, BANNER, "");
    assert_eq!((answer.status, json(&answer)["mode"].as_str()), (200, Some("read_write")));
    assert_eq!(json(&answer)["maintenance"], false);
    assert!(
        answer.head.contains("access-control-allow-origin: *\r\n") && answer.head.contains("cache-control: no-store")
    );
    assert_eq!(get(&stand, &format!("{BANNER}?format=html"), "").body, "");

    stand.console("MAINTENANCE ON app WITH (message 'moving <b>house</b>', until '2031-12-01 14:00Z')");
    let answer = json(&get(&stand, BANNER, "Accept: */*\r\n"));
    assert_eq!(
        answer,
        serde_json::json!({
            "database": "app", "mode": "read_only", "maintenance": true, "message": "moving <b>house</b>",
            "until": "2031-12-01T14:00:00Z", "epoch": 1,
        })
    );
    let page = get(&stand, BANNER, "Accept: text/html,application/xhtml+xml\r\n");
    assert!(page.head.contains("content-type: text/html; charset=utf-8"), "{}", page.head);
    assert!(page.body.starts_with("<div class=\"pgsluice-banner\"") && page.body.contains("moving &lt;b&gt;house"));
    stand.off();
    assert_eq!(json(&get(&stand, BANNER, ""))["maintenance"], false);

    assert_eq!(get(&stand, "/v1/databases/nosuch/banner", "").status, 404);
    assert_eq!(get(&stand, "/v1/databases/pgsluice/banner", "").status, 404);
    assert_eq!(get(&stand, "/", "").status, 404);
    assert_eq!(get(&stand, "/livez", "").body, "ok\n");
    assert_eq!(get(&stand, "/readyz", "").status, 200);
    stand.cluster.replica(0).kill_9();
    stand.cluster.primary().kill_9();
    wait::until(LONG, "not ready", || (get(&stand, "/readyz", "").status == 503).then_some(()));
    assert_eq!(get(&stand, "/livez", "").status, 200);
}

#[test]
fn a_token_and_patience_with_an_end() {
    let extra = "[http]\nlisten = \"127.0.0.1:{port:http}\"\ntoken = \"open sesame\"\nbanner_origin = \"\"";
    let stand = Stand::new(extra);
    // Says half of its request, and nothing more.
    let mut slow = open(&stand);
    slow.write_all(b"GET /livez HTTP/1.1\r\nHost:").unwrap();
    assert_eq!(get(&stand, BANNER, "").status, 401);
    assert_eq!(get(&stand, BANNER, "Authorization: Bearer sesame\r\n").status, 401);
    let seen = get(&stand, BANNER, "Authorization: Bearer open sesame\r\n");
    assert!(seen.status == 200 && !seen.head.contains("access-control"), "{}", seen.head);
    let long = format!("X: {}\r\n", "x".repeat(100_000));
    let mut hostile = open(&stand);
    let _ = write!(hostile, "GET {BANNER} HTTP/1.1\r\n{long}\r\n");
    let mut text = String::new();
    let _ = hostile.read_to_string(&mut text);
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
    slow.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut said = Vec::new();
    slow.read_to_end(&mut said).expect("closed by the proxy, in time");
    assert!(!String::from_utf8_lossy(&said).contains("200 OK"));
}

#[test]
fn a_warning_at_the_flip_where_it_is_wanted() {
    use crate::stand::query;
    let mut stand = Stand::new("");
    let mut app = stand.app();
    query(&mut app, "SELECT 1");
    stand.on();
    assert_eq!(app.frame(LONG).unwrap().tag, b'S');
    stand.off();
    assert_eq!(app.frame(LONG).unwrap().tag, b'S');
    assert!(app.frames_so_far().unwrap().is_empty(), "off by default");
    stand.configure("[databases.app.maintenance]\nnotice = true");
    stand.console("RELOAD");
    let mut operator = stand.operator();
    query(&mut operator, "SELECT 1");
    stand.on();
    let frames = [app.frame(LONG).unwrap(), app.frame(LONG).unwrap()];
    assert_eq!(frames.each_ref().map(|frame| frame.tag), [b'S', b'N']);
    let notice = String::from_utf8_lossy(&frames[1].body).into_owned();
    for words in
        ["SWARNING\0", "C01000\0", "Mdatabase \"app\" is in maintenance: moving house\0", "HWrites are expected"]
    {
        assert!(notice.contains(words), "{notice}");
    }
    stand.off();
    assert_eq!(app.frame(LONG).unwrap().tag, b'S');
    let notice = app.frame(LONG).unwrap();
    assert!(String::from_utf8_lossy(&notice.body).contains("database \"app\" takes writes again"));
    assert!(operator.frames_so_far().unwrap().is_empty());
}

#[test]
fn an_announcement_reaches_everybody() {
    use crate::stand::query;
    use pgsluice_fixtures::raw::message;
    let stand = Stand::new("");
    let (mut idle, mut busy) = (stand.app(), stand.app());
    busy.send(&message::query("SELECT pg_sleep(0.7), repeat('x', 300000)")).unwrap();
    stand.wait_for_sleeper();
    let answer = stand.console("MAINTENANCE ANNOUNCE app 'read-only from 14:00 UTC on'");
    assert_eq!(answer, [[Some("app".to_owned()), Some("2".to_owned())]]);
    let words = "Mdatabase \"app\": read-only from 14:00 UTC on\0";
    let warns =
        |frame: &pgsluice_fixtures::Frame| frame.tag == b'N' && String::from_utf8_lossy(&frame.body).contains(words);
    assert!(warns(&idle.frame(LONG).unwrap()));
    let frames = busy.frames_until_ready(LONG).unwrap();
    let tags: String = frames.iter().map(|frame| char::from(frame.tag)).collect();
    assert_eq!(tags, "TDCNZ");
    assert!(warns(&frames[3]));
    for raw in [&mut idle, &mut busy] {
        assert!(query(raw, "SELECT 1").iter().all(|frame| frame.tag != b'N'), "once");
    }
}
