//! The OpenAPI document is what the program does.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::stand::{OPERATE, Stand};

#[test]
fn every_route_is_in_the_document_and_every_entry_of_it_is_a_route() {
    let stand = Stand::new("", "banner_public = true");
    let document = stand.ask("GET", "/openapi.json", "", "", "").json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() >= 17, "{}", paths.len());
    let mut ids = std::collections::BTreeSet::new();
    for (path, methods) in paths {
        let asked = path.replace("{database}", "app").replace("{operation}", "none");
        let known: Vec<String> = methods.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect();
        for method in ["GET", "PUT", "POST", "DELETE", "PATCH"] {
            let answer = stand.ask(method, &asked, OPERATE, "", "");
            let is_route = answer.status != 405;
            let unknown = stand.ask(method, &asked, "", "", "").status;
            let is_public = methods[method.to_lowercase()]["security"].as_array().is_some();
            assert!(!is_route || is_public || unknown == 401, "{method} {path}: {unknown} without a token");
            assert_eq!(is_route, known.iter().any(|one| one == method), "{method} {path}: {answer:?}");
            if is_route {
                let responses = &methods[method.to_lowercase()]["responses"];
                assert!(
                    responses.get(answer.status.to_string()).is_some(),
                    "{method} {path}: {} is not told of",
                    answer.status
                );
            }
        }
        for entry in methods.as_object().unwrap().values() {
            assert!(ids.insert(entry["operationId"].to_string()), "{path}: an id twice");
            assert!(entry["summary"].is_string(), "{path} has no words");
        }
    }
    references(&document, &document);
}

/// Whatever is referred to is there.
fn references(document: &Value, part: &Value) {
    match part {
        Value::Object(map) => {
            if let Some(target) = map.get("$ref").and_then(Value::as_str) {
                assert!(document.pointer(target.trim_start_matches('#')).is_some(), "{target} is missing");
            }
            map.values().for_each(|value| references(document, value));
        }
        Value::Array(list) => list.iter().for_each(|value| references(document, value)),
        _ => {}
    }
}

/// What a schema cannot say. All other answers are held against the document.
const EXPECTED: &str = r#"
[checks]
# Its wrong tokens make the address wait: 429. That nothing is answered without a token is tested above.
ignored_auth.enabled = false
# A gate that was opened has a state all the same, and what a rehearsal has counted can be read behind its end.
use_after_free.enabled = false
# 422: the same Idempotency-Key for another command.
positive_data_acceptance.expected-statuses = ["2xx", 401, 403, 404, 409, 422, 429]

# It says by 503 that a database cannot be written: what it is for.
[[operations]]
include-operation-id = "readyz"
checks.not_a_server_error.expected-statuses = ["2xx", "4xx", 503]
checks.positive_data_acceptance.expected-statuses = ["2xx", 404, 503]

# `until` lies ahead, times are at most a year, clients are led to another place than that where they are, and each way of a
# migration has options of its own.
[[operations]]
include-operation-id = ["maintenance_on", "offline", "reroute", "migrate"]
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 401, 403, 404, 409, 422, 429]
"#;

/// Requests that are made up from the document, right ones and wrong ones: 0 failures.
fn made_up(program: &Path, examples: &str) {
    let stand = Stand::new("", "banner_public = true");
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("schemathesis.toml");
    std::fs::write(&config, EXPECTED).unwrap();
    let said = Command::new(program)
        .arg("--config-file")
        .arg(&config)
        .args(["run", &format!("http://127.0.0.1:{}/openapi.json", stand.http_port())])
        .args(["--header", &format!("Authorization: Bearer {OPERATE}"), "--max-examples", examples, "--no-color"])
        // A slice that makes up other requests at each run would be a test that fails by chance.
        .args(["--request-timeout", "60", "--seed", "1"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&said.stdout);
    println!("{text}");
    assert!(said.status.success(), "{text}");
    for line in stand.proxy.log().lines() {
        assert!(!line.contains("panicked"), "{line}");
    }
}

#[test]
fn what_schemathesis_makes_up_in_seconds_is_answered_as_the_document_says() {
    match pgsluice_fixtures::drivers::schemathesis() {
        Ok(program) => made_up(&program, "3"),
        Err(why) => println!("SKIPPED: schemathesis cannot be had: {why}"),
    }
}

#[test]
#[ignore = "long: make conformance-api"]
fn schemathesis_finds_nothing() {
    let program = pgsluice_fixtures::drivers::schemathesis().expect("schemathesis can be had");
    made_up(&program, &std::env::var("PGSLUICE_TEST_EXAMPLES").unwrap_or_else(|_| "50".into()));
}
