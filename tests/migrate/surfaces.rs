//! The same command over HTTP and from a shell.

use std::path::Path;

use pgsluice_fixtures::{surfaces, wait};

use crate::stand::{LONG, Stand, TOKEN, ask};

/// An HTTP request: status and body.
fn http(stand: &Stand, method: &str, path: &str, body: &str) -> (String, serde_json::Value) {
    let (status, body) = surfaces::http(&stand.proxy, TOKEN, method, path, body);
    (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")))
}

fn shell(stand: &Stand, args: &[&str]) -> (i32, String) {
    surfaces::shell(Path::new(env!("CARGO_BIN_EXE_pgsluice")), &stand.proxy, "migrate", args)
}

#[test]
fn over_http_it_is_an_operation_and_from_a_shell_a_command_with_exit_codes() {
    let stand = Stand::new(10);
    let path = "/v1/databases/app/migrate";
    assert_eq!(http(&stand, "POST", path, "{}").0, "422");
    assert_eq!(http(&stand, "POST", path, "{\"to\": \"green\", \"back\": true}").0, "422");
    assert_eq!(http(&stand, "POST", path, "{\"to\": \"red\"}").0, "404");
    let (code, text) = shell(&stand, &["app", "to", "green", "--dry-run"]);
    assert!(code == 0 && text.contains("replica_identity"), "{code}: {text}");
    stand.green("INSERT INTO t VALUES (1)");
    let (code, text) = shell(&stand, &["app", "to", "green", "--dry-run"]);
    assert!(code == 6 && text.contains("TRUNCATE"), "{code}: {text}");
    stand.green("TRUNCATE t");
    assert_eq!(shell(&stand, &["app", "back"]).0, 4);
    assert_eq!(shell(&stand, &["app", "to"]).0, 2);

    let (status, operation) = http(&stand, "POST", path, "{\"to\": \"green\", \"timeout\": \"20s\"}");
    assert_eq!(status, "202", "{operation}");
    let at = format!("/v1/operations/{}", operation["id"].as_str().expect("an id"));
    let done = wait::until(LONG, "the end", || {
        let (_, operation) = http(&stand, "GET", &at, "");
        (operation["state"] != "running").then_some(operation)
    });
    assert_eq!(done["state"], "done", "{done}");
    assert_eq!(stand.version_of_clients(), "18");
    let (_, list) = http(&stand, "GET", "/v1/migrations", "");
    assert_eq!(
        (&list["items"][0]["new"], &list["items"][0]["clients"]),
        (&"green.app".into(), &"new".into()),
        "{list}"
    );
    ask(&mut stand.client("app"), "INSERT INTO t VALUES (4711)").fine();
    let (code, text) = shell(&stand, &["app", "back"]);
    assert!(code == 0 && text.contains("release"), "{code}: {text}");
    assert_eq!(stand.blue("SELECT count(*) FROM t WHERE id = 4711"), "1");
    let (code, text) = shell(&stand, &["app", "finish"]);
    assert!(code == 0, "{code}: {text}");
    assert_eq!(stand.left_behind(), "");
}
