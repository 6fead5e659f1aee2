//! Many who ask at once, some of whom do not read, and whose tokens are taken away meanwhile.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use pgsluice_fixtures::wait;

use crate::stand::{Answer, LONG, OPERATE, READ, Stand, hashed};

const STREAM: &str = "Accept: text/event-stream\r\n";

/// The first line of an answer.
fn status(stream: &TcpStream) -> String {
    let mut line = String::new();
    BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
    line
}

/// Whether the other side ends it, whatever it says before.
fn ends(mut stream: TcpStream) -> bool {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).is_ok()
}

#[test]
fn a_token_that_a_reload_takes_away_is_told_nothing_more_and_its_successor_is() {
    let mut stand = Stand::new("", "");
    let paths = ["/v1/events", "/v1/status?database=app", "/v1/operations/ID"];
    let mut app = stand.connect("app", "app");
    app.query("BEGIN; INSERT INTO t VALUES (1)", LONG).unwrap();
    let on = stand.command("PUT", "/v1/databases/app/maintenance?wait=0", r#"{"drain_timeout":"5min"}"#).json();
    let id = on["id"].as_str().unwrap();
    let open = |token: &str| paths.map(|path| stand.send("GET", &path.replace("ID", id), token, STREAM, ""));
    let (readers, operators) = (open(READ), open(OPERATE));
    for stream in readers.iter().chain(&operators) {
        assert!(status(stream).starts_with("HTTP/1.1 200"), "{stream:?}");
    }
    let next = "look-for-something-new";
    let config = stand.config.replace(&hashed(READ), &hashed(next));
    assert_ne!(config, stand.config);
    stand.proxy.reconfigure(&config).unwrap();
    let reloaded = Instant::now();
    stand.console("RELOAD");
    for (path, stream) in paths.iter().zip(readers) {
        assert!(ends(stream), "{path} goes on");
        assert!(reloaded.elapsed() < Duration::from_secs(10), "{path}: {:?}", reloaded.elapsed());
    }
    assert_eq!(stand.ask("GET", "/v1/databases", READ, "", "").status, 401);
    assert_eq!(stand.ask("GET", "/v1/databases", next, "", "").status, 200);
    // Those of others go on, to the end of what they follow.
    app.query("COMMIT", LONG).unwrap();
    let [events, state, mut operation] = operators;
    let mut text = String::new();
    operation.read_to_string(&mut text).unwrap();
    assert!(text.contains("event: done"), "{text}");
    for stream in [events, state] {
        let closed = BufReader::new(stream).lines().map_while(Result::ok).any(|line| line.contains("read_only"));
        assert!(closed);
    }
}

#[test]
fn of_a_thousand_event_streams_as_many_as_there_is_room_for_are_served_and_health_is_told_at_once() {
    let stand = Stand::new("", "");
    let mut streams = Vec::new();
    let (mut served, mut refused) = (0, 0);
    for _ in 0..1000 {
        let stream = stand.send("GET", "/v1/events", READ, STREAM, "");
        if status(&stream).starts_with("HTTP/1.1 200") {
            served += 1;
            streams.push(stream);
        } else {
            refused += 1;
        }
    }
    assert!(served >= 100 && refused > 0, "{served} are served, {refused} refused");
    let answer = stand.ask("GET", "/v1/events", READ, STREAM, "");
    assert!(answer.status == 503 && answer.head.contains("retry-after: "), "{answer:?}");
    for path in ["/livez", "/readyz", "/v1/databases", "/v1/status", "/v1/events"] {
        let began = Instant::now();
        assert_eq!(stand.get(path).status, 200, "{path}");
        assert!(began.elapsed() < Duration::from_secs(2), "{path}: {:?}", began.elapsed());
    }
    // All of them are told, and the command does not wait for them.
    let began = Instant::now();
    stand.console("MAINTENANCE ON app");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    for stream in streams {
        let told = BufReader::new(stream).lines().map_while(Result::ok).any(|line| line.contains("\"event\":\"mode\""));
        assert!(told);
    }
    // Whoever has gone leaves the place to others.
    wait::until(LONG, "a place", || {
        status(&stand.send("GET", "/v1/events", READ, STREAM, "")).contains("200").then_some(())
    });
}

#[test]
fn whoever_does_not_read_an_answer_or_a_stream_is_given_up_and_holds_up_nobody() {
    let stand = Stand::new("", "[metrics]\npublic = true\n");
    // A status with all its events each second fills every buffer in between.
    let streams: Vec<_> = (0..8).map(|_| stand.send("GET", "/v1/status?database=app", READ, STREAM, "")).collect();
    let metrics: Vec<_> = (0..8).map(|_| stand.send("GET", "/metrics", READ, "", "")).collect();
    let clients: Vec<_> = (0..8).map(|_| stand.send("GET", "/v1/events?limit=1000", READ, "", "")).collect();
    for turn in 0..20 {
        let verb = if turn % 2 == 0 { "ON" } else { "OFF" };
        let began = Instant::now();
        stand.console(&format!("MAINTENANCE {verb} app"));
        assert_eq!(stand.get("/metrics").status, 200);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
    // What was asked for is whole, however late it is read.
    for stream in metrics.into_iter().chain(clients) {
        let answer = Answer::read(stream);
        assert_eq!(answer.status, 200);
        let length = answer.head.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
        assert_eq!(length, answer.body.len().to_string());
    }
    drop(streams);
}

#[test]
fn two_operators_who_press_at_once_make_one_change_and_are_told_the_same() {
    let stand = Stand::new("", "");
    let ask = |method: &str, headers: &str, body: &str| {
        stand.ask(method, "/v1/databases/app/maintenance?wait=20s", OPERATE, headers, body)
    };
    for turn in 0..10_u64 {
        let method = if turn % 2 == 0 { "PUT" } else { "DELETE" };
        let both = thread::scope(|scope| {
            let one = scope.spawn(|| ask(method, "", ""));
            let other = scope.spawn(|| ask(method, "", ""));
            [one.join().unwrap(), other.join().unwrap()]
        });
        let changed: Vec<_> = both.iter().filter(|one| one.json()["result"][0]["changed"] == true).collect();
        assert_eq!(changed.len(), 1, "{both:?}");
        for one in &both {
            assert!(
                one.status == 200 && one.json()["result"][0]["epoch"] == turn + 1
                    || one.status == 409 && one.json()["sqlstate"] == "55006",
                "{one:?}"
            );
        }
    }
    // One closes and the other opens: whoever comes second is carried out behind the other, or told of it.
    for _ in 0..10 {
        let both = thread::scope(|scope| {
            let one = scope.spawn(|| ask("PUT", "", ""));
            let other = scope.spawn(|| ask("DELETE", "", ""));
            [one.join().unwrap(), other.join().unwrap()]
        });
        assert!(both.iter().all(|one| matches!(one.status, 200 | 409)), "{both:?}");
        let shown = &stand.console("SHOW MAINTENANCE app")[0];
        let told = stand.get("/v1/databases/app").json();
        assert_eq!(shown[1].as_deref(), told["mode"].as_str());
        assert_eq!(ask("DELETE", "", "").status, 200);
    }
    // A key is for one command of one body.
    let key = "Idempotency-Key: press\r\n";
    let first = ask("PUT", key, r#"{"message":"one"}"#);
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!(ask("PUT", key, r#"{"message":"one"}"#).json()["id"], first.json()["id"]);
    assert_eq!(ask("PUT", key, r#"{"message":"other"}"#).status, 422);
    assert_eq!(ask("PUT", key, r#"{"message":"one","until":"2031-01-01T00:00:00Z"}"#).status, 422);
    assert_eq!(ask("DELETE", key, "").status, 422);
    assert_eq!(stand.get("/v1/databases/app/maintenance").json()["message"], "one");
}
