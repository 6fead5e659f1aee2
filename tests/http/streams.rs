//! Event streams.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;

use serde_json::Value;

use crate::stand::{LONG, READ, Stand};

/// The events of a stream, each its name and its data.
struct Events(BufReader<TcpStream>);

impl Events {
    fn open(stand: &Stand, path: &str) -> Events {
        let stream = stand.send("GET", path, READ, "Accept: text/event-stream\r\n", "");
        let mut events = Events(BufReader::new(stream));
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            events.0.read_line(&mut head).unwrap();
        }
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/event-stream"), "{head}");
        events
    }

    fn next(&mut self) -> Option<(String, Value)> {
        let (mut name, mut data) = (String::new(), String::new());
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            // Between lines of the stream are those of the transfer's chunks.
            if let Some(text) = line.strip_prefix("event: ") {
                text.trim_end().clone_into(&mut name);
            } else if let Some(text) = line.strip_prefix("data: ") {
                text.trim_end().clone_into(&mut data);
            } else if line == "\n" && !data.is_empty() {
                return Some((name, serde_json::from_str(&data).unwrap()));
            }
        }
    }
}

#[test]
fn an_operation_is_followed_to_its_end() {
    let stand = Stand::new("", "");
    let mut app = stand.connect("app", "app");
    app.query("BEGIN; INSERT INTO t VALUES (1)", LONG).unwrap();
    let id = stand.command("PUT", "/v1/databases/app/maintenance?wait=0", "").json()["id"].as_str().unwrap().to_owned();
    let mut events = Events::open(&stand, &format!("/v1/operations/{id}"));
    let (_, first) = std::iter::from_fn(|| events.next())
        .inspect(|(name, _)| assert_eq!(name, "progress"))
        .find(|(_, one)| one["progress"][0]["under_way"]["waits_for"].as_array().is_some_and(|all| all.len() == 1))
        .unwrap();
    assert_eq!(first["state"], "running");
    app.query("COMMIT", LONG).unwrap();
    let (name, last) = std::iter::from_fn(|| events.next()).last().unwrap();
    assert_eq!((name.as_str(), last["state"].as_str()), ("done", Some("done")));
    assert_eq!(last["result"][0]["finished"], 1);
}

#[test]
fn the_status_comes_anew_each_second() {
    let stand = Stand::new("", "");
    let mut events = Events::open(&stand, "/v1/status?database=app");
    let (name, open) = events.next().unwrap();
    assert_eq!((name.as_str(), open["selected"]["mode"].as_str()), ("status", Some("read_write")));
    assert_eq!(open["modes"]["read_write"], 2);
    stand.console("MAINTENANCE ON app");
    let closed = std::iter::from_fn(|| events.next()).find(|(_, status)| status["selected"]["mode"] == "read_only");
    assert_eq!(closed.unwrap().1["databases"][0]["database"], "app", "closed ones first");
    let once = stand.get("/v1/status?search=OTH").json();
    assert_eq!((once["total"].as_u64(), once["databases"][0]["database"].as_str()), (Some(1), Some("other")));
}

#[test]
fn events_are_listed_and_streamed_and_nothing_is_missed_in_between() {
    let stand = Stand::new("", "");
    let before = stand.get("/v1/events").json()["last"].as_u64().unwrap();
    stand.console("MAINTENANCE ON app");
    let listed = stand.get(&format!("/v1/events?after={before}&database=app")).json();
    let modes: Vec<_> = listed["items"].as_array().unwrap().iter().filter(|one| one["event"] == "mode").collect();
    assert!(!modes.is_empty() && modes.iter().all(|one| one["database"] == "app"), "{listed}");
    assert_eq!(stand.get(&format!("/v1/events?after={before}&database=other")).json()["items"], serde_json::json!([]));
    // A client that has read that far comes again.
    let mut events = Events::open(&stand, &format!("/v1/events?after={before}"));
    let (name, first) = events.next().unwrap();
    assert_eq!(
        (&first["id"], name.as_str()),
        (&listed["items"][0]["id"], listed["items"][0]["event"].as_str().unwrap())
    );
    stand.console("MAINTENANCE OFF app");
    assert!(
        std::iter::from_fn(|| events.next())
            .any(|(_, one)| one["message"].as_str().unwrap().contains("read_write") || one["event"] == "mode")
    );
}
