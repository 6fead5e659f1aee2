//! The API's resources and commands.

use pgsluice_fixtures::wait;
use serde_json::json;

use crate::stand::{LONG, OPERATE, READ, Stand};

const MAINTENANCE: &str = "/v1/databases/app/maintenance";

#[test]
fn the_gate_is_moved_by_the_api_as_by_the_console_and_both_tell_the_same() {
    let stand = Stand::new("", "");
    let body = r#"{"message":"moving house","until":"2031-12-01T14:00:00Z","reads":"primary"}"#;
    let on = stand.command("PUT", &format!("{MAINTENANCE}?wait=20s"), body);
    assert_eq!(on.status, 200, "{on:?}");
    let operation = on.json();
    assert_eq!(
        (operation["state"].as_str(), operation["command"].as_str()),
        (Some("done"), Some("MAINTENANCE ON app"))
    );
    let row = &operation["result"][0];
    assert_eq!(
        (row["mode"].as_str(), row["changed"].as_bool(), row["epoch"].as_u64()),
        (Some("read_only"), Some(true), Some(1))
    );
    let shown = &stand.console("SHOW MAINTENANCE app")[0];
    assert_eq!(
        (shown[1].as_deref(), shown[2].as_deref(), shown[16].as_deref()),
        (Some("read_only"), Some("1"), Some("deploy"))
    );
    let look = stand.get(MAINTENANCE).json();
    assert_eq!(look["message"], "moving house");
    assert_eq!(look["until"], "2031-12-01T14:00:00Z");
    assert_eq!((look["reads"].as_str(), look["by"]["user"].as_str()), (Some("primary"), Some("deploy")));
    assert!(
        look["quiesced_at"].is_string() && look["quiesced_lsn"].as_str().is_some_and(|lsn| lsn.contains('/')),
        "{look}"
    );
    let again = stand.command("PUT", MAINTENANCE, "").json();
    assert_eq!((again["result"][0]["changed"].as_bool(), again["result"][0]["epoch"].as_u64()), (Some(false), Some(1)));
    // By the console, and back by the API.
    stand.console("OFFLINE app");
    assert_eq!(stand.get(MAINTENANCE).json()["mode"], "offline");
    let online = stand.command("DELETE", "/v1/databases/app/offline?wait=20s", "");
    assert_eq!(online.json()["result"][0]["mode"], "read_only");
    assert_eq!(
        stand.command("DELETE", &format!("{MAINTENANCE}?wait=20s"), "").json()["result"][0]["mode"],
        "read_write"
    );
    let epoch = stand.get(MAINTENANCE).json()["epoch"].to_string();
    assert_eq!(stand.console("SHOW MAINTENANCE app")[0][2].as_deref(), Some(epoch.as_str()));
    // All at once.
    let all = stand.command("PUT", "/v1/databases/*/maintenance?wait=20s", "").json();
    assert_eq!(all["result"].as_array().unwrap().len(), 2, "{all}");
    let closed = stand.get("/v1/databases?mode=read_only").json();
    assert_eq!(closed["total"], 3, "app, other, and * for those to come: {closed}");
    assert_eq!(stand.command("DELETE", "/v1/databases/%2A/maintenance?wait=20s", "").status, 200);
}

#[test]
fn a_drain_is_an_operation_that_can_be_watched_and_cancelled() {
    let stand = Stand::new("", "");
    let mut app = stand.connect("app", "app");
    app.query("SET application_name = 'shop'", LONG).unwrap();
    app.query("BEGIN; INSERT INTO t VALUES (1, 'my-secret-word')", LONG).unwrap();
    let on = stand.command("PUT", &format!("{MAINTENANCE}?wait=0"), "");
    assert_eq!(on.status, 202, "{on:?}");
    let id = on.json()["id"].as_str().unwrap().to_owned();
    let place = format!("/v1/operations/{id}");
    assert!(on.head.contains(&format!("location: {place}")), "{on:?}");
    let waited_for = wait::until(LONG, "progress that names the transaction", || {
        let progress = stand.get(&place).json()["progress"][0].clone();
        progress["under_way"]["waits_for"].as_array().is_some_and(|all| !all.is_empty()).then_some(progress)
    });
    let under_way = &waited_for["under_way"];
    assert_eq!((waited_for["mode"].as_str(), under_way["step"].as_str()), (Some("draining"), Some("draining")));
    assert_eq!(under_way["drain_timeout_ms"], 20_000);
    let one = &under_way["waits_for"][0];
    assert_eq!((one["user"].as_str(), one["application_name"].as_str()), (Some("app"), Some("shop")));
    assert!(one["age_ms"].is_u64(), "{one}");
    assert!(!waited_for.to_string().contains("my-secret-word"));
    // The same by console: joins, and is told the same.
    assert_eq!(stand.console("SHOW MAINTENANCE app")[0][1].as_deref(), Some("draining"));
    let conflict = stand.command("PUT", "/v1/databases/app/offline", "");
    conflict.is_problem(409, "55006");
    let cancelled = stand.command("DELETE", &place, "").json();
    assert_eq!(
        (cancelled["state"].as_str(), cancelled["problem"]["sqlstate"].as_str()),
        (Some("failed"), Some("57014"))
    );
    assert_eq!(stand.get(MAINTENANCE).json()["mode"], "read_write");
    app.query("COMMIT", LONG).unwrap();
    stand.command("DELETE", &place, "");
    assert_eq!(stand.command("DELETE", &place, "").status, 409, "it is over");
    assert_eq!(stand.get("/v1/operations/none").status, 404);
}

#[test]
fn the_same_key_is_the_same_operation() {
    let stand = Stand::new("", "");
    let key = "Idempotency-Key: 7d1f\r\n";
    let give = |method: &str, path: &str, key: &str, body: &str| stand.ask(method, path, OPERATE, key, body);
    let first = give("PUT", "/v1/databases/app/maintenance?wait=20s", key, r#"{"message":"a"}"#).json();
    stand.command("DELETE", &format!("{MAINTENANCE}?wait=20s"), "");
    let again = give("PUT", "/v1/databases/app/maintenance?wait=20s", key, r#"{"message":"a"}"#).json();
    assert_eq!(first["id"], again["id"]);
    assert_eq!(stand.get(MAINTENANCE).json()["mode"], "read_write", "nothing was done twice");
    let other = give("PUT", "/v1/databases/app/maintenance", key, r#"{"message":"b"}"#);
    assert_eq!(other.status, 422, "{other:?}");
    assert_eq!(give("PUT", "/v1/databases/app/maintenance", "Idempotency-Key: \r\n", "").status, 400);
    let next = give("PUT", "/v1/databases/app/maintenance?wait=20s", "Idempotency-Key: 7d20\r\n", "").json();
    assert_ne!(first["id"], next["id"]);
}

#[test]
fn what_is_wrong_is_a_problem_with_its_sqlstate() {
    let stand = Stand::new("", "");
    let put = |body: &str| stand.command("PUT", MAINTENANCE, body);
    put(r#"{"writes":"no"}"#).is_problem(400, "22023");
    put(r#"{"until":"tomorrow"}"#).is_problem(400, "22007");
    put(r#"{"until":"1999-01-01T00:00:00Z"}"#).is_problem(400, "22023");
    put(r#"{"untill":"2031-01-01T00:00:00Z"}"#).is_problem(400, "22023");
    put(r#"{"message":1}"#).is_problem(400, "22023");
    put("{").is_problem(400, "22023");
    put(r#"{"message":"a\nb"}"#).is_problem(400, "22023");
    let hint = put(r#"{"drain_timeout":"30"}"#).json();
    assert!(hint["hint"].as_str().is_some_and(|hint| hint.contains("\"min\"")), "{hint}");
    let text = stand.ask("PUT", MAINTENANCE, OPERATE, "Content-Type: text/plain\r\n", "");
    assert_eq!(text.status, 200, "an empty body is of any kind: {text:?}");
    stand.command("DELETE", &format!("{MAINTENANCE}?wait=20s"), "");
    assert_eq!(put(&"x".repeat(100_000)).status, 413);
    for path in ["/v1/databases/nosuch", "/v1/databases/nosuch/maintenance", "/v1/databases/nosuch/kept-out"] {
        stand.get(path).is_problem(404, "3D000");
    }
    for (method, what) in [("PUT", "maintenance"), ("DELETE", "offline"), ("POST", "check"), ("DELETE", "rehearsal")] {
        stand.command(method, &format!("/v1/databases/nosuch/{what}"), "").is_problem(404, "3D000");
    }
    let names: Vec<_> = stand.console("SHOW MAINTENANCE").into_iter().map(|row| row[0].clone().unwrap()).collect();
    assert_eq!(names, ["app", "other"], "no name was made up");
    stand.get("/v1/clients?limit=0").is_problem(400, "22023");
    stand.get("/v1/clients?limit=x").is_problem(400, "22023");
    stand.command("PUT", &format!("{MAINTENANCE}?wait=1h"), "").is_problem(400, "22023");
    let missing = stand.get("/v2");
    assert!(missing.status == 404 && missing.head.contains("application/problem+json"), "{missing:?}");
    assert_eq!(stand.command("POST", MAINTENANCE, "").status, 405);
}

#[test]
fn beforehand_there_is_a_check_a_rehearsal_and_an_announcement() {
    let stand = Stand::new("", "");
    let check = stand.command("POST", "/v1/databases/app/check?wait=30s", "").json();
    let found = check["result"].as_array().unwrap();
    assert!(
        found.iter().any(|row| row["check"] == "state file" || row["check"] == "names") || found.len() > 5,
        "{check}"
    );
    assert!(found.iter().all(|row| ["ok", "warn", "fail"].contains(&row["status"].as_str().unwrap())));
    assert_eq!(stand.console("MAINTENANCE CHECK app").len(), found.len(), "as on the console");

    let rehearse = stand.command("PUT", "/v1/databases/app/rehearsal", r#"{"for":"10min"}"#).json();
    assert_eq!(rehearse["result"][0]["rehearsing"], true);
    let mut app = stand.connect("app", "app");
    app.query("INSERT INTO t VALUES (1, 'my-secret-word')", LONG).unwrap();
    let counted = stand.get("/v1/databases/app/rehearsal").json();
    assert_eq!((counted["total"].as_u64(), counted["items"][0]["count"].as_u64()), (Some(1), Some(1)), "{counted}");
    assert_eq!(counted["items"][0]["statement"], "INSERT INTO t VALUES ($1, $2)");
    assert_eq!(stand.command("DELETE", "/v1/databases/app/rehearsal", "").json()["result"][0]["rehearsing"], false);
    for wrong in [r#"{"for":"soon"}"#, r#"{"for":"8d"}"#, ""] {
        stand.command("PUT", "/v1/databases/app/rehearsal", wrong).is_problem(400, "22023");
    }

    let told = stand.command("POST", "/v1/databases/app/announcement", r#"{"text":"at ten"}"#).json();
    assert_eq!(told["result"][0], json!({ "database": "app", "clients": 1 }));
    stand.command("POST", "/v1/databases/app/announcement", "").is_problem(400, "22023");
    let with_nul = r#"{"text":"at\u0000ten"}"#;
    stand.command("POST", "/v1/databases/app/announcement", with_nul).is_problem(400, "22023");
}

#[test]
fn what_the_gate_keeps_out_is_counted_by_user_application_and_statement() {
    let stand = Stand::with("", "", "[databases.app]\n", "write_rules = [\"discard insert on t from quiet\"]");
    let mut app = stand.connect("app", "app");
    let mut quiet = stand.connect("app", "app");
    app.query("SET application_name = 'shop'", LONG).unwrap();
    quiet.query("SET application_name = 'quiet'", LONG).unwrap();
    stand.command("PUT", &format!("{MAINTENANCE}?wait=20s"), "");
    for n in 0..3 {
        app.query(&format!("INSERT INTO t VALUES ({n}, 'my-secret-word')"), LONG).unwrap_err();
    }
    app.query("DELETE FROM t", LONG).unwrap_err();
    app.query("SELECT * FROM nosuch", LONG).unwrap_err();
    quiet.query("INSERT INTO t VALUES (9, 'my-secret-word')", LONG).unwrap();
    let kept = stand.get("/v1/databases/app/kept-out").json();
    assert_eq!(
        (kept["refused"].as_u64(), kept["discarded"].as_u64(), kept["epoch"].as_u64()),
        (Some(4), Some(1), Some(1)),
        "{kept}"
    );
    let first = &kept["rows"][0];
    assert_eq!(
        (first["fate"].as_str(), first["user"].as_str(), first["application_name"].as_str()),
        (Some("refused"), Some("app"), Some("shop"))
    );
    assert_eq!(
        (first["statement"].as_str(), first["count"].as_u64()),
        (Some("INSERT INTO t VALUES ($1, $2)"), Some(3))
    );
    assert!(
        kept["rows"]
            .as_array()
            .unwrap()
            .iter()
            .any(|row| row["fate"] == "discarded" && row["application_name"] == "quiet")
    );
    assert_eq!(kept["errors"], json!([{ "sqlstate": "42P01", "count": 1 }]));
    assert_eq!(kept["dropped"], 0);
    assert!(!kept.to_string().contains("my-secret-word"));
    stand.command("DELETE", &format!("{MAINTENANCE}?wait=20s"), "");
    assert_eq!(stand.get("/v1/databases/app/kept-out").json()["refused"], 4, "it can be read afterwards");
    stand.command("PUT", &format!("{MAINTENANCE}?wait=20s"), "");
    app.query("DELETE FROM t", LONG).unwrap_err();
    assert_eq!(stand.get("/v1/databases/app/kept-out").json()["refused"], 1, "the next one begins anew");
}

#[test]
fn lists_come_in_parts_and_with_filters() {
    let stand = Stand::new("", "");
    let clients: Vec<_> = (0..5).map(|n| stand.connect("app", if n < 3 { "app" } else { "other" })).collect();
    let all = stand.get("/v1/clients?database=app").json();
    assert_eq!((all["total"].as_u64(), all["next"].is_null()), (Some(3), true), "{all}");
    let mut path = "/v1/clients?limit=2&database=app".to_owned();
    let mut seen = Vec::new();
    for _ in 0..5 {
        let page = stand.get(&path).json();
        seen.extend(page["items"].as_array().unwrap().iter().map(|row| row["id"].as_u64().unwrap()));
        match page["next"].as_str() {
            Some(next) => path = next.to_owned(),
            None => break,
        }
    }
    seen.dedup();
    assert_eq!(seen.len(), 3);
    assert_eq!(stand.get("/v1/pools?database=other&user=app").json()["items"][0]["database"], "other");
    assert_eq!(stand.get("/v1/upstreams").json()["total"], 2);
    assert!(stand.get("/v1/servers").json()["items"].is_array());
    stand.ask("GET", "/v1/upstreams?user=x", READ, "", "").is_problem(400, "22023");
    drop(clients);
}

#[test]
fn a_body_that_is_no_object_of_known_fields_moves_nothing() {
    let stand = Stand::new("", "");
    let bodies = [
        "[]",
        "[\"now\"]",
        " \n[]",
        "\"now\"",
        "5",
        "true",
        "{",
        "{}{}",
        "{} x",
        "{\"nosuch\":1}",
        "{\"message\":5}",
        "{\"message\":[\"a\"]}",
        "{\"message\":{}}",
        "{\"message\":\"a\",\"message\":\"b\"}",
        "{\"drain_timeout\":5}",
        "{\"drain_timeout\":\"-5s\"}",
        "{\"message\":\"a\\u0000b\"}",
        "{\"message\":\"a\\nb\"}",
        "{\"until\":\"soon\"}",
        "\u{feff}{}",
    ];
    for place in ["maintenance", "offline", "rehearsal", "reroute"] {
        for body in bodies {
            let answer = stand.ask("PUT", &format!("/v1/databases/app/{place}?wait=5s"), OPERATE, "", body);
            assert!(answer.status == 400 && answer.json()["status"] == 400, "{place} {body}: {answer:?}");
        }
    }
    for place in ["announcement", "switchover", "check"] {
        for body in bodies {
            let answer = stand.ask("POST", &format!("/v1/databases/app/{place}?wait=5s"), OPERATE, "", body);
            // A check reads no body.
            assert!(answer.status == 400 || place == "check" && answer.status == 200, "{place} {body}: {answer:?}");
        }
    }
    for body in ["", "{}", "null", " {} "] {
        let place = format!("{MAINTENANCE}?wait=20s");
        assert_eq!(stand.command("PUT", &place, body).status, 200, "{body}");
        assert_eq!(stand.command("DELETE", &place, "").status, 200, "{body}");
    }
    assert_eq!(stand.console("SHOW MAINTENANCE app")[0][1].as_deref(), Some("read_write"));
    assert_eq!(stand.get("/v1/databases/app").json()["epoch"], 8, "only what was asked for last");
}
