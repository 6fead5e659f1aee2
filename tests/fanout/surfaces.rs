//! ACTIVATE over HTTP and from a shell.

use std::path::Path;

use pgsluice_fixtures::{surfaces, wait};

use crate::stand::{LONG, Stand, TOKEN};

impl Stand {
    fn http(&self, method: &str, path: &str, body: &str) -> (String, serde_json::Value) {
        let (status, body) = surfaces::http(&self.proxy, TOKEN, method, path, body);
        (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")))
    }

    fn shell(&self, args: &[&str]) -> (i32, String) {
        surfaces::shell(Path::new(env!("CARGO_BIN_EXE_pgsluice")), &self.proxy, "activate", args)
    }
}

#[test]
fn over_http_it_is_an_operation_and_from_a_shell_a_command_with_exit_codes() {
    let stand = Stand::new("5");
    let first = stand.active();
    let (here, there) = (stand.name(first), stand.name(1 - first));
    let path = "/v1/databases/bot/activate";
    for (body, status) in [
        ("{}".to_owned(), "400"),
        ("{\"on\": \"nowhere:1\"}".to_owned(), "404"),
        (format!("{{\"on\": \"{there}\", \"force\": true}}"), "400"),
        (format!("{{\"to\": \"{there}\"}}"), "400"),
    ] {
        assert_eq!(stand.http("POST", path, &body).0, status, "{body}");
    }
    let (code, text) = stand.shell(&["bot", "--on", &there, "--dry-run"]);
    assert!(code == 0 && text.contains("replication there"), "{code}: {text}");
    assert_eq!(stand.active(), first);
    assert_eq!(stand.shell(&["bot", "to", &there]).0, 2);
    assert_eq!(stand.shell(&["bot"]).0, 2);
    let broken = stand.servers[first].primary();
    broken.psql_in("bot", "ALTER SUBSCRIPTION from_other DISABLE").unwrap();
    let (code, text) = stand.shell(&["bot", "on", &there, "--dry-run"]);
    assert!(code == 6 && text.contains("replication back"), "{code}: {text}");
    let (code, text) = stand.shell(&["bot", "on", &there]);
    assert!(code == 4 && text.contains("replication back"), "{code}: {text}");
    broken.psql_in("bot", "ALTER SUBSCRIPTION from_other ENABLE").unwrap();
    let runs = "SELECT count(*) FROM pg_stat_subscription WHERE pid IS NOT NULL";
    broken.wait_until(runs, "1", LONG).unwrap();
    let received = "SELECT count(*) FROM pg_replication_slots WHERE active";
    stand.servers[1 - first].primary().wait_until(received, "1", LONG).unwrap();

    let (status, operation) = stand.http("POST", path, &format!("{{\"on\": \"{there}\", \"timeout\": \"20s\"}}"));
    assert_eq!(status, "202", "{operation}");
    let at = format!("/v1/operations/{}", operation["id"].as_str().unwrap());
    let done = wait::until(LONG, "the end", || {
        let (_, operation) = stand.http("GET", &at, "");
        (operation["state"] != "running").then_some(operation)
    });
    assert_eq!(done["state"], "done", "{done}");
    assert_eq!(stand.active(), 1 - first);
    let (_, one) = stand.http("GET", "/v1/moves/bot", "");
    assert_eq!((&one["state"], &one["to"]), (&"done".into(), &there.as_str().into()), "{one}");
    for step in ["hold", "down", "stat", "drain", "up", "repoint", "release"] {
        assert!(one["steps"].as_array().unwrap().iter().any(|row| row["step"] == step), "{step}: {one}");
    }
    let (code, text) = stand.shell(&["bot", "--on", &here, "--timeout", "20s"]);
    assert!(code == 0 && text.contains("release"), "{code}: {text}");
    assert_eq!(stand.active(), first);
}
