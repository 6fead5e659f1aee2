//! The same command over HTTP and from a shell, and what events and notices tell of it.

use std::path::Path;
use std::process::Command;

use pgsluice_fixtures::{Raw, surfaces, wait};

use crate::stand::{LONG, Stand, TOKEN, ask};

/// An HTTP request: status and body.
fn http(stand: &Stand, method: &str, path: &str, body: &str) -> (String, serde_json::Value) {
    let (status, body) = surfaces::http(&stand.proxy, TOKEN, method, path, body);
    (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")))
}

fn shell(stand: &Stand, args: &[&str]) -> (i32, String) {
    surfaces::shell(Path::new(env!("CARGO_BIN_EXE_pgsluice")), &stand.proxy, "switchover", args)
}

#[test]
fn over_http_it_is_an_operation_and_from_a_shell_a_command_with_exit_codes() {
    let stand = Stand::new();
    let (primary, replica) = (stand.name(0), stand.name(1));
    let path = "/v1/databases/app/switchover";
    let to = |server: &str, more: &str| format!("{{\"to\": \"{server}\"{more}}}");
    assert_eq!(http(&stand, "POST", path, &to("nowhere:1", "")).0, "404");
    assert_eq!(http(&stand, "POST", path, "{}").0, "400");
    assert_eq!(http(&stand, "POST", path, &to(&replica, ", \"force\": true")).0, "400");

    let (code, text) = shell(&stand, &["app", "TO", &replica, "--dry-run"]);
    assert!(code == 0 && text.contains("streaming"), "{code}: {text}");
    let (code, text) = shell(&stand, &["app", &replica, "--dry-run", "--primary", "h:1"]);
    assert!(code == 6 && text.contains("h:1"), "{code}: {text}");
    let (code, text) = shell(&stand, &["app", "TO", &primary]);
    assert!(code == 4 && text.contains("already"), "{code}: {text}");
    assert_eq!(shell(&stand, &["app", "of", &replica]).0, 2);

    let (status, operation) = http(&stand, "POST", path, &to(&replica, ", \"timeout\": \"20s\""));
    assert_eq!(status, "202", "{operation}");
    let at = format!("/v1/operations/{}", operation["id"].as_str().expect("an id"));
    let done = wait::until(LONG, "the end", || {
        let (_, operation) = http(&stand, "GET", &at, "");
        (operation["state"] != "running").then_some(operation)
    });
    assert_eq!(done["state"], "done", "{done}");
    let rows = done["result"].as_array().expect("rows");
    assert!(rows.iter().any(|row| row["step"] == "promote" && row["status"] == "ok"), "{done}");
    let (_, moves) = http(&stand, "GET", "/v1/moves", "");
    assert_eq!((&moves["items"][0]["state"], &moves["items"][0]["to"]), (&"done".into(), &replica.as_str().into()));
    stand.wait_for_roles(&["retired", "primary"]);
    stand.bring_back(0, 1);
    stand.wait_for_roles(&["replica", "primary"]);
    let (code, text) = shell(&stand, &["app", "TO", &primary]);
    assert!(code == 0 && text.contains("release"), "{code}: {text}");
    assert!(stand.writes(1).sqlstate.is_empty() && stand.is_writable(0));
}

#[test]
fn how_far_it_has_come_is_told_on_the_console_over_http_and_to_the_page() {
    let stand = Stand::new();
    assert_eq!(http(&stand, "GET", "/v1/moves/1", "").0, "404");
    let mut slow: Raw = stand.client("app");
    ask(&mut slow, "BEGIN; INSERT INTO written VALUES (-1)").fine();
    let switch = stand.begin_switch_to(1, "WITH (drain_timeout '30s')");
    stand.wait_for_step("hold");
    let (_, moves) = http(&stand, "GET", "/v1/moves", "");
    assert!(moves["items"][0]["step_since"].is_string(), "{moves}");
    let id = moves["items"][0]["id"].as_u64().expect("its number");
    let by_number = format!("/v1/moves/{id}");
    for at in [by_number.as_str(), "/v1/moves/app", "/v1/moves/other"] {
        let (status, one) = http(&stand, "GET", at, "");
        assert_eq!((&*status, &one["state"], &one["step"]), ("200", &"running".into(), &"hold".into()), "{one}");
        assert!(one["step_since"].is_string() && one["ended"].is_null(), "{one}");
        assert!(one["steps"].as_array().is_some_and(|steps| steps.iter().all(|step| step["step"] == "check")), "{one}");
        assert_eq!(one["databases"], serde_json::json!(["app", "other"]), "{one}");
    }
    for at in ["/v1/moves/99", "/v1/moves/nosuch", "/v1/moves/-1"] {
        assert_eq!(http(&stand, "GET", at, "").0, "404", "{at}");
    }
    for which in [String::new(), "app".to_owned(), id.to_string()] {
        let rows = stand.command(&format!("SHOW MOVE {which}")).fine().rows;
        let last = rows.last().expect("what it does now");
        assert_eq!((&*last[1], &*last[3]), ("hold", "running"), "{rows:?}");
        assert!(last[5].parse::<u64>().is_ok() && last[6].contains("open transactions"), "{rows:?}");
    }
    assert_eq!(stand.command("SHOW MOVE 99").sqlstate, "42704");
    assert_eq!(stand.command("SHOW MOVE nosuch").sqlstate, "3D000");
    let (_, status) = http(&stand, "GET", "/v1/status?database=app", "");
    assert_eq!(status["selected"]["moving"]["step"], "hold", "{status}");
    // A stream of it ends with the move.
    let port = stand.proxy.port_named("http").expect("a port");
    let stream = Command::new("curl")
        .args([
            "-s",
            "-N",
            "-m",
            "60",
            "-H",
            &format!("Authorization: Bearer {TOKEN}"),
            "-H",
            "Accept: text/event-stream",
        ])
        .arg(format!("http://127.0.0.1:{port}{by_number}"))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("curl");
    ask(&mut slow, "COMMIT").fine();
    switch.join().expect("no panic").fine();
    let heard = String::from_utf8_lossy(&stream.wait_with_output().expect("its output").stdout).into_owned();
    assert!(heard.trim_end().lines().any(|line| line == "event: done"), "{heard}");
    let (_, one) = http(&stand, "GET", &by_number, "");
    assert!(one["state"] == "done" && one["ended"].is_string() && one["step_since"].is_null(), "{one}");
    let steps = one["steps"].as_array().expect("steps");
    for step in ["hold", "fence", "replay", "promote", "verify", "repoint", "release"] {
        assert!(
            steps.iter().any(|row| row["step"] == step && row["took_ms"].is_u64() && row["at"].is_string()),
            "{one}"
        );
    }
    let (_, status) = http(&stand, "GET", "/v1/status?database=app", "");
    assert_eq!(status["selected"]["moving"]["state"], "done", "{status}");
}

#[test]
fn breaking_the_operation_off_calls_the_switchover_off() {
    let stand = Stand::new();
    let mut slow: Raw = stand.client("app");
    ask(&mut slow, "BEGIN; INSERT INTO written VALUES (-1)").fine();
    let body = format!("{{\"to\": \"{}\", \"drain_timeout\": \"30s\"}}", stand.name(1));
    let (status, operation) = http(&stand, "POST", "/v1/databases/app/switchover", &body);
    assert_eq!(status, "202", "{operation}");
    stand.wait_for_step("hold");
    let at = format!("/v1/operations/{}", operation["id"].as_str().expect("an id"));
    let (status, operation) = http(&stand, "DELETE", &at, "");
    assert!(status == "200" && operation["state"] == "failed", "{status}: {operation}");
    ask(&mut slow, "COMMIT").fine();
    stand.wait_until_open();
    assert!(stand.is_writable(0));
}

#[test]
fn each_step_is_a_notice_and_an_event() {
    let stand = Stand::new();
    let answer = stand.switch_to(1, "").fine();
    let steps = ["hold", "fence", "replay", "promote", "verify", "repoint", "release"];
    for step in steps {
        let begins = format!("{step}: ");
        assert!(answer.notices.iter().any(|notice| notice.starts_with(&begins)), "{step}: {:?}", answer.notices);
    }
    assert!(answer.notices.iter().any(|notice| notice.contains("every database of the cluster")));
    let events = stand.command("SHOW EVENTS app").rows;
    let has = |words: &str| events.iter().any(|row| row.join(" ").contains(words));
    for step in steps {
        assert!(has(&format!("\"step\":\"{step}\"")), "{step}: {events:?}");
    }
    assert!(has("move_began") && has("move_ended"));
    let answer = stand.switch_to(1, "");
    assert_eq!(answer.sqlstate, "55000", "{}", answer.message);
}

#[test]
fn what_a_switchover_has_left_is_retired_wherever_it_is_shown_and_nothing_was_called_off() {
    let stand = Stand::new();
    stand.switch_to(1, "").fine();
    stand.wait_for_roles(&["retired", "primary"]);
    wait::until_ok(LONG, "the reason", || {
        let row = stand.command("SHOW UPSTREAMS").fine().rows.swap_remove(0);
        let is = (row[9].as_str(), row[10].contains("left by a switchover, read-only; start it as a replica"));
        if is == ("retired", true) { Ok(()) } else { Err(format!("{row:?}")) }
    });
    let check = stand.command("MAINTENANCE CHECK app").fine().rows;
    let row = |name: &str| check.iter().find(|row| row[1] == name).unwrap_or_else(|| panic!("{name}: {check:?}"));
    assert_eq!((&*row("primary")[2], &*row("primary")[3]), ("ok", &*stand.name(1)));
    let left = row("replica");
    assert!(left[2] == "warn" && left[3].contains("retired") && left[4].contains("replica"), "{left:?}");
    let (_, metrics) = surfaces::http(&stand.proxy, TOKEN, "GET", "/metrics", "");
    let value = |role: &str, server: usize| {
        let labels = format!("server=\"{}\",role=\"{role}\"}}", stand.name(server));
        let line = metrics.lines().find(|line| line.starts_with("pgsluice_server_role") && line.contains(&labels));
        line.unwrap_or_else(|| panic!("{labels}: {metrics}")).ends_with(" 1")
    };
    assert_eq!([value("primary", 0), value("retired", 0), value("primary", 1)], [false, true, true]);
    let (_, status) = http(&stand, "GET", "/v1/upstreams", "");
    assert!(status.to_string().contains("retired") && !status.to_string().contains("contested"), "{status}");
    let events = stand.command("SHOW EVENTS").fine().rows;
    let named = |name: &str| events.iter().any(|row| row.iter().any(|field| field == name));
    assert!(!named("drain_called_off") && !named("primary_contested"), "{events:?}");
}
