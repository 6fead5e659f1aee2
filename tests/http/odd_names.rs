//! Databases whose names are no words: each can be listed, closed and opened by whatever shows or takes a name.

use serde_json::Value;

use crate::stand::{LONG, READ, Stand};

const LONGEST: &str = "x23456789012345678901234567890123456789012345678901234567890123";
const NAMES: [&str; 14] = [
    "qu\"o'te",
    "a/b",
    "/",
    "..",
    ".",
    "über 日本",
    LONGEST,
    "%41%2F",
    "a b?c&d=e#f",
    "back\\slash",
    "*x",
    "+",
    "ON",
    "$1;--",
];

/// As a path, or a value of a query, has it.
fn encoded(name: &str) -> String {
    name.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn stand() -> Stand {
    let tables = NAMES.map(|name| format!("[databases.\"{}\"]\n", name.replace('\\', "\\\\").replace('"', "\\\"")));
    let tables = format!("[databases.app]\n[databases.other]\n{}", tables.concat());
    let stand = Stand::with("", "banner_public = true\n[metrics]\npublic = true\n", &tables, "");
    for name in NAMES {
        stand.cluster.primary().psql(&format!("CREATE DATABASE {}", quoted(name))).unwrap();
    }
    stand
}

fn item<'v>(list: &'v Value, name: &str) -> &'v Value {
    let items = list["items"].as_array().unwrap_or_else(|| panic!("{list}"));
    items.iter().find(|one| one["database"] == name).unwrap_or_else(|| panic!("no {name} in {list}"))
}

#[test]
fn a_database_of_any_name_is_listed_closed_and_opened_by_api_and_console_and_no_other_with_it() {
    let stand = stand();
    for (at, name) in NAMES.into_iter().enumerate() {
        stand.connect("app", name).query("SELECT 1", LONG).unwrap_or_else(|error| panic!("{name}: {error}"));
        let place = format!("/v1/databases/{}", encoded(name));
        let one = stand.get(&place);
        assert_eq!((one.status, &one.json()["database"]), (200, &Value::from(name)), "{one:?}");
        let on = stand.command("PUT", &format!("{place}/maintenance?wait=20s"), "");
        assert_eq!((on.status, &on.json()["result"][0]["mode"]), (200, &"read_only".into()), "{name}: {on:?}");
        // As it would be typed: what is typed there does the same.
        let command = on.json()["command"].as_str().unwrap().to_owned();
        assert!(command.starts_with("MAINTENANCE ON "), "{command}");
        assert_eq!(stand.console(&command)[0][0].as_deref(), Some(name), "{command}");
        let closed = stand.get("/v1/databases?mode=read_only&limit=1000").json();
        let closed: Vec<_> = closed["items"].as_array().unwrap().iter().map(|one| one["database"].clone()).collect();
        assert_eq!(closed, [name], "only this one is closed");
        for (path, token) in [
            (format!("{place}/banner"), ""),
            (format!("/readyz?database={}", encoded(name)), ""),
            (format!("/readyz?for=writes&database={}", encoded(name)), ""),
            (format!("/v1/status?database={}", encoded(name)), READ),
            (format!("{place}/kept-out"), READ),
            (format!("/v1/events?database={}", encoded(name)), READ),
            (format!("/v1/clients?database={}", encoded(name)), READ),
        ] {
            let answer = stand.ask("GET", &path, token, "Accept: application/json\r\n", "");
            assert!(answer.status == 200 || path.contains("for=writes") && answer.status == 503, "{path}: {answer:?}");
            let body = answer.json();
            assert!(!body.is_null(), "{path}");
            if path.contains("/v1/status") {
                assert_eq!(body["selected"]["mode"], "read_only", "{path}");
            }
            if path.contains("/v1/events") {
                let about =
                    |one: &Value| one["database"] == name || one["databases"].as_array().is_none_or(Vec::is_empty);
                assert!(body["items"].as_array().unwrap().iter().all(about), "{path}: {body}");
                assert!(body["items"].as_array().unwrap().iter().any(|one| one["event"] == "mode"), "{path}: {body}");
            }
        }
        let off = stand.console(&format!("MAINTENANCE OFF {}", quoted(name)));
        assert_eq!((off[0][0].as_deref(), off[0][1].as_deref()), (Some(name), Some("read_write")), "{at}");
        assert_eq!(stand.get(&place).json()["mode"], "read_write");
    }
    let lists = ["/v1/databases?limit=1000", "/v1/pools?limit=1000"];
    for list in lists.map(|path| stand.get(path).json()) {
        NAMES.iter().for_each(|name| _ = item(&list, name));
    }
    // The pages of a list lead to each other, whatever they are filtered by.
    let filter = format!("/v1/pools?limit=1&database={}", encoded("a b?c&d=e#f"));
    let page = stand.get(&filter).json();
    assert_eq!((&page["total"], &page["next"]), (&1.into(), &Value::Null), "{page}");
    let metrics = stand.ask("GET", "/metrics", "", "", "").body;
    for name in NAMES {
        let label = name.replace('\\', "\\\\").replace('"', "\\\"");
        assert!(metrics.contains(&format!("pgsluice_queries_total{{database=\"{label}\"}}")), "{label}");
    }
}

#[test]
fn whoever_says_star_means_all_and_whoever_says_a_name_that_is_none_gets_404() {
    let stand = stand();
    let all = stand.command("PUT", "/v1/databases/%2A/maintenance?wait=30s", "");
    assert_eq!(all.status, 200, "{all:?}");
    assert_eq!(all.json()["result"].as_array().unwrap().len(), NAMES.len() + 2, "{all:?}");
    assert_eq!(stand.command("DELETE", "/v1/databases/*/maintenance?wait=30s", "").status, 200);
    for name in ["", "nosuch", "app/", "APP", "**", "a%2Fb", "x%00y", &LONGEST[1..], "%FF%FE"] {
        let place = format!("/v1/databases/{}", if name.contains('%') { name.to_owned() } else { encoded(name) });
        if name == "a%2Fb" {
            assert_eq!(stand.get(&place).status, 200);
            continue;
        }
        for (method, path) in [("GET", place.clone()), ("PUT", format!("{place}/maintenance?wait=1s"))] {
            let answer = stand.command(method, &path, "");
            assert!(matches!(answer.status, 400 | 404), "{method} {path}: {answer:?}");
        }
    }
    assert_eq!(stand.get("/v1/databases?mode=read_only").json()["total"], 0);
}
