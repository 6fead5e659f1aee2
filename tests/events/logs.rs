//! Lines of the log: how much there is may be changed while pgsluice runs, slow statements, and forms that programs read.

use std::collections::BTreeSet;
use std::fmt;

use pgsluice_fixtures::raw::message::{bind, execute, parse, sync};
use pgsluice_fixtures::{Login, Proxy, Raw, wait};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use crate::stand::{SOON, builder, config, console, proxy_with, raw, rows};

fn lines(proxy: &Proxy, event: &str) -> Vec<String> {
    let names = [format!("event=\"{event}\""), format!("\"event\":\"{event}\""), format!("\"EventName\":\"{event}\"")];
    proxy.log().lines().filter(|line| names.iter().any(|name| line.contains(name))).map(str::to_owned).collect()
}

fn until_line(proxy: &Proxy, event: &str) -> String {
    wait::until(SOON, event, || lines(proxy, event).pop())
}

/// Opens a server connection, which is a line at the level debug of the part `server`.
fn opens(proxy: &Proxy, console: &mut Raw) {
    console.query("RECONNECT", SOON).unwrap();
    rows(&mut raw(proxy, "app", "app"), "select 1");
}

#[test]
fn set_log_level_changes_what_is_logged_at_once_and_for_single_parts() {
    let proxy = proxy_with(&config("", ""));
    let mut admin = console(&proxy);
    let opened = || lines(&proxy, "server_connection_opened").len();
    opens(&proxy, &mut admin);
    assert_eq!((opened(), rows(&mut admin, "SHOW log_level")), (0, vec![vec![Some("info".to_owned())]]));
    admin.query("SET log_level = 'info, server=debug'", SOON).unwrap();
    assert_eq!(rows(&mut admin, "SHOW log_level")[0][0].as_deref(), Some("info,server=debug"));
    opens(&proxy, &mut admin);
    wait::until(SOON, "a line", || (opened() > 0).then_some(()));
    assert!(until_line(&proxy, "log_level").contains("user=admin"));
    admin.query("SET log_level TO warn", SOON).unwrap();
    let before = (opened(), lines(&proxy, "log_in").len());
    opens(&proxy, &mut admin);
    assert_eq!((opened(), lines(&proxy, "log_in").len()), before);
    admin.query("SET log_level TO debug", SOON).unwrap();
    opens(&proxy, &mut admin);
    wait::until(SOON, "a line", || (opened() > before.0).then_some(()));
    for reset in ["RESET log_level", "SET log_level = DEFAULT", "RELOAD"] {
        admin.query("SET log_level = trace", SOON).unwrap();
        admin.query(reset, SOON).unwrap();
        assert_eq!(rows(&mut admin, "SHOW log_level")[0][0].as_deref(), Some("info"), "{reset}");
    }
    for wrong in ["SET log_level = loud", "SET log_level = 'nosuch=debug'", "SET log_level = ''"] {
        assert_eq!(admin.query(wrong, SOON).unwrap_err().sqlstate(), Some("22023"), "{wrong}");
    }
    assert_eq!(
        raw(&proxy, "stats", "pgsluice").query("SET log_level = debug", SOON).unwrap_err().sqlstate(),
        Some("42501")
    );
}

#[test]
fn statements_that_take_long_are_logged_without_constants_and_parameters_by_either_protocol() {
    let proxy = proxy_with(&config("log_min_duration = \"100ms\"", ""));
    let mut app = raw(&proxy, "app", "app");
    rows(&mut app, "select 1");
    rows(&mut app, "select pg_sleep(0.2), 'hidden literal'");
    let line = until_line(&proxy, "slow_statement");
    assert!(line.contains("statement=\"select pg_sleep($1), $2\"") && line.contains("database=app"), "{line}");
    let duration =
        line.split("duration_ms=").nth(1).unwrap().split_whitespace().next().unwrap().parse::<u64>().unwrap();
    assert!((200..5000).contains(&duration), "{line}");
    let mut batch = parse("", "select pg_sleep($1::float), 'other literal'", &[]);
    batch.extend(bind("", "", &[Some(b"0.3")]));
    batch.extend(execute("", 0));
    batch.extend(sync());
    app.round_trip(&batch, SOON).unwrap();
    wait::until(SOON, "the second", || (lines(&proxy, "slow_statement").len() == 2).then_some(()));
    let log = proxy.log();
    assert!(!log.contains("hidden literal") && !log.contains("other literal") && !log.contains("0.3"), "{log}");
}

#[test]
fn of_many_slow_statements_so_many_of_a_hundred_are_logged_and_a_reload_changes_that() {
    let text = config("log_min_duration = \"1us\"\nlog_sample_percent = 10", "");
    let mut proxy = proxy_with(&text);
    let mut app = raw(&proxy, "app", "app");
    for _ in 0..100 {
        rows(&mut app, "select 1");
    }
    wait::until(SOON, "ten lines", || (lines(&proxy, "slow_statement").len() >= 10).then_some(()));
    assert_eq!(lines(&proxy, "slow_statement").len(), 10);
    proxy.reconfigure(&text.replace("log_min_duration = \"1us\"", "log_min_duration = 0")).unwrap();
    console(&proxy).query("RELOAD", SOON).unwrap();
    for _ in 0..100 {
        rows(&mut app, "select 1");
    }
    assert_eq!(lines(&proxy, "slow_statement").len(), 10);
}

/// A JSON value in which no object has a key twice.
struct Unique;

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Unique;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Unique, M::Error> {
                let mut seen = BTreeSet::new();
                while let Some(key) = map.next_key::<String>()? {
                    assert!(seen.insert(key.clone()), "{key} twice");
                    if matches!(key.as_str(), "fields" | "Attributes" | "Resource") {
                        map.next_value::<Unique>()?;
                    } else {
                        map.next_value::<Value>()?;
                    }
                }
                Ok(Unique)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// Makes lines of many kinds.
fn busy(form: &str) -> Proxy {
    let top =
        format!("log_format = \"{form}\"\nlog_level = \"trace\"\nlog_min_duration = \"1ms\"\nmax_client_conn = 3");
    let proxy = builder(&config(&top, "")).start().unwrap();
    let mut admin = console(&proxy);
    wait::until(SOON, "the primary", || {
        rows(&mut admin, "SHOW UPSTREAMS").iter().any(|row| row[2].as_deref() == Some("primary")).then_some(())
    });
    let mut app = raw(&proxy, "app", "app");
    rows(&mut app, "select pg_sleep(0.01)");
    let _ = Raw::connect(&proxy.tcp(), &Login::new("app", "app").password("wrong"));
    let _ = Raw::connect(&proxy.tcp(), &Login::new("app", "nosuch").password("app"));
    // One of them is one too many.
    drop([(); 2].map(|()| Raw::connect(&proxy.tcp(), &Login::new("app", "app").password("app"))));
    rows(&mut admin, "MAINTENANCE ON app WITH (message 'now', until '2036-01-01 00:00Z')");
    app.query("insert into t values (1)", SOON).unwrap_err();
    rows(&mut admin, "MAINTENANCE OFF app");
    admin.query("MAINTENANCE ON nosuch", SOON).unwrap_err();
    admin.query("RELOAD", SOON).unwrap();
    proxy
}

#[test]
fn lines_of_json_have_each_key_once_an_event_and_numbers_that_are_numbers() {
    let proxy = busy("json");
    let mut named = BTreeSet::new();
    for line in proxy.log().lines().filter(|line| line.starts_with('{')) {
        serde_json::from_str::<Unique>(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let value: Value = serde_json::from_str(line).unwrap();
        let fields = value["fields"].as_object().unwrap();
        if value["target"].is_null()
            && let Some(event) = fields.get("event")
        {
            named.insert(event.as_str().unwrap().to_owned());
        }
        for (name, value) in fields.iter().filter(|(name, _)| name.ends_with("_ms")) {
            assert!(value.is_number(), "{name}: {line}");
        }
        if matches!(
            fields.get("event").and_then(Value::as_str),
            Some("login_refused" | "unknown_database" | "write_refused")
        ) {
            assert!(fields.contains_key("client") && fields.contains_key("database"), "{line}");
        }
    }
    for event in [
        "ready",
        "log_in",
        "login_refused",
        "unknown_database",
        "mode",
        "drain_ended",
        "write_refused",
        "slow_statement",
    ] {
        assert!(named.contains(event), "{event} in {named:?}");
    }
}

#[test]
fn the_form_of_open_telemetry_has_its_names() {
    let proxy = busy("otel");
    let line = until_line(&proxy, "write_refused");
    for text in proxy.log().lines().filter(|line| line.starts_with('{')) {
        serde_json::from_str::<Unique>(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
    let value: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&value["SeverityNumber"], &value["SeverityText"], &value["Body"]),
        (&9.into(), &"INFO".into(), &"write refused".into())
    );
    assert_eq!(value["Resource"]["service.name"], "pgsluice");
    let attributes = &value["Attributes"];
    assert_eq!((&attributes["db.namespace"], &attributes["user.name"]), (&"app".into(), &"app".into()));
    assert_eq!(attributes["client.address"], "127.0.0.1");
    assert!(attributes["client.port"].is_u64() && attributes["pgsluice.times"] == 1, "{line}");
    // On a busy machine others may be slow, too.
    let slow = lines(&proxy, "slow_statement");
    let statement = |line: &String| serde_json::from_str::<Value>(line).unwrap()["Attributes"]["db.query.text"].clone();
    assert!(slow.iter().any(|line| statement(line).as_str().unwrap().contains("pg_sleep($1)")), "{slow:?}");
}
