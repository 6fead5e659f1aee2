//! /metrics: what Prometheus and its tools make of it, and that the numbers are those of the console.

use std::io::Write;
use std::process::{Command, Stdio};

use pgsluice_fixtures::raw::message::query;
use pgsluice_fixtures::{Proxy, wait};

use crate::http::get;
use crate::stand::{SOON, config, console, proxy_with, raw, rows, tool};

pub const HTTP: &str = "[http]\nlisten = \"127.0.0.1:{port:http}\"\n[metrics]\npublic = true\n";

pub fn scrape(proxy: &Proxy) -> String {
    let answer = get(proxy.port_named("http").unwrap(), "/metrics", "").unwrap();
    assert_eq!(answer.status, 200, "{}", answer.head);
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);
    answer.body
}

/// The value of a series, as it is written.
pub fn value(text: &str, series: &str) -> f64 {
    let found = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok());
    found.unwrap_or_else(|| panic!("no {series} in {text}"))
}

fn names(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect()
}

#[test]
fn promtool_finds_nothing_wrong_whatever_names_databases_have_and_every_metric_is_documented() {
    let Some(promtool) = tool("promtool") else { return };
    let odd = "[databases.\"sl\\\\ash \\\"quoted\\\" {x}\"]\ndbname = \"app\"\n";
    let proxy = proxy_with(&config("", &format!("{odd}{HTTP}pgbouncer_names = true\n")));
    let mut app = raw(&proxy, "app", "app");
    rows(&mut app, "select 1");
    let text = scrape(&proxy);
    let mut promtool =
        Command::new(promtool).args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The names of pgbouncer_exporter are not ours to mend.
    let ours: String = text.split_inclusive('\n').filter(|line| !line.contains("pgbouncer_")).collect();
    promtool.stdin.take().unwrap().write_all(ours.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains(r#"pgsluice_queries_total{database="sl\\ash \"quoted\" {x}"}"#), "{text}");
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/METRICS.md")).unwrap();
    let missing: Vec<_> = names(&text)
        .into_iter()
        .filter(|name| !name.starts_with("pgbouncer_") && !page.contains(&format!("`{name}`")))
        .collect();
    assert!(missing.is_empty(), "not in docs/METRICS.md: {missing:?}");
}

#[test]
fn open_metrics_are_given_to_those_who_ask_for_them_and_nothing_without_the_token() {
    let proxy =
        proxy_with(&config("", "[http]\nlisten = \"127.0.0.1:{port:http}\"\ntoken = \"a token of 20 letters\"\n"));
    let port = proxy.port_named("http").unwrap();
    assert_eq!(get(port, "/metrics", "").unwrap().status, 401);
    let accept =
        "Accept: application/openmetrics-text; version=1.0.0; charset=utf-8,text/plain;version=0.0.4;q=0.5\r\n";
    let answer = get(port, "/metrics", &format!("Authorization: Bearer a token of 20 letters\r\n{accept}")).unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("application/openmetrics-text; version=1.0.0"), "{}", answer.head);
    assert!(
        answer.body.ends_with("# EOF\n") && answer.body.contains("# TYPE pgsluice_queries counter"),
        "{}",
        answer.body
    );
}

#[test]
fn the_numbers_are_those_of_the_console() {
    let proxy = proxy_with(&config("", &format!("{HTTP}pgbouncer_names = true\n")));
    let (mut console, mut app) = (console(&proxy), raw(&proxy, "app", "app"));
    for _ in 0..20 {
        rows(&mut app, "select 1");
    }
    rows(&mut app, "begin; select pg_sleep(0.2); commit");
    let mut open = raw(&proxy, "app", "app");
    rows(&mut open, "begin");
    rows(&mut open, "select 1");
    let text = scrape(&proxy);
    let totals = rows(&mut console, "SHOW STATS_TOTALS");
    let of_app = totals.iter().find(|row| row[0].as_deref() == Some("app")).unwrap();
    let number = |at: usize| of_app[at].as_deref().unwrap().parse::<f64>().unwrap();
    assert_eq!(value(&text, "pgsluice_queries_total{database=\"app\"}"), number(3));
    assert_eq!(value(&text, "pgsluice_transactions_total{database=\"app\"}"), number(2));
    assert_eq!(value(&text, "pgbouncer_stats_queries_pooled_total{database=\"app\"}"), number(3));
    // Every query is in a bucket, and the one that slept is beyond those that did not.
    let bucket =
        |le: &str| value(&text, &format!("pgsluice_query_duration_seconds_bucket{{database=\"app\",le=\"{le}\"}}"));
    let count = value(&text, "pgsluice_query_duration_seconds_count{database=\"app\"}");
    assert_eq!((count, bucket("+Inf")), (number(3), number(3)), "{text}");
    assert!(bucket("0.131072") <= count - 1.0 && bucket("0.131072") >= 15.0, "{text}");
    assert!((value(&text, "pgsluice_query_duration_seconds_sum{database=\"app\"}") - number(7) / 1e6).abs() < 0.001);
    let clients = |state: &str| {
        value(&text, &format!("pgsluice_pool_clients{{database=\"app\",user=\"app\",state=\"{state}\"}}"))
    };
    assert_eq!((clients("idle"), clients("idle_in_transaction"), clients("waiting")), (1.0, 1.0, 0.0));
    assert!(value(&text, "pgsluice_pool_longest_transaction_seconds{database=\"app\",user=\"app\"}") > 0.0);
    assert_eq!(value(&text, "pgsluice_clients"), 3.0);
    let pools = rows(&mut console, "SHOW POOLS");
    let pool = pools.iter().find(|row| row[0].as_deref() == Some("app")).unwrap();
    let of_pool = |at: usize| pool[at].as_deref().unwrap().parse::<f64>().unwrap();
    for (name, at) in [("client_active", 2), ("server_active", 6), ("server_idle", 9)] {
        let series = format!("pgbouncer_pools_{name}_connections{{database=\"app\",user=\"app\"}}");
        assert_eq!(value(&text, &series), of_pool(at), "{series}");
    }
}

#[test]
fn a_maintenance_is_seen_in_the_metrics() {
    let hold = "[databases.app.maintenance]\nwrites = \"hold\"\nhold_timeout = \"60s\"\n";
    let proxy = proxy_with(&config("", &format!("{hold}{HTTP}")));
    let mut console = console(&proxy);
    let mode = |text: &str, mode: &str| value(text, &format!("pgsluice_gate_mode{{database=\"app\",mode=\"{mode}\"}}"));
    assert_eq!(mode(&scrape(&proxy), "read_write"), 1.0);
    let mut writer = raw(&proxy, "app", "app");
    rows(&mut writer, "begin; insert into t values (1)");
    console.send(&query("MAINTENANCE ON app WITH (until '2036-01-01 00:00Z')")).unwrap();
    let of_app = "{database=\"app\"}";
    wait::until(SOON, "a drain", || {
        let text = scrape(&proxy);
        let drains = value(&text, &format!("pgsluice_gate_drain_seconds{of_app}")) > 0.0;
        (drains && mode(&text, "draining") == 1.0 && value(&text, &format!("pgsluice_gate_in_flight{of_app}")) == 1.0)
            .then_some(())
    });
    rows(&mut writer, "commit");
    console.frames_until_ready(SOON).unwrap();
    let mut held = raw(&proxy, "app", "app");
    held.send(&query("insert into t values (2)")).unwrap();
    let mut ddl = raw(&proxy, "app", "other");
    rows(&mut ddl, "set application_name = 'nightly'");
    let text = wait::until(SOON, "a held write", || {
        Some(scrape(&proxy)).filter(|text| value(text, &format!("pgsluice_held{of_app}")) == 1.0)
    });
    assert_eq!((mode(&text, "read_only"), mode(&text, "draining")), (1.0, 0.0));
    assert_eq!(value(&text, &format!("pgsluice_gate_epoch{of_app}")), 1.0);
    assert_eq!(value(&text, &format!("pgsluice_gate_finished_total{of_app}")), 1.0);
    assert_eq!(value(&text, &format!("pgsluice_gate_overdue_seconds{of_app}")), 0.0);
    assert_eq!(value(&text, &format!("pgsluice_gate_until_timestamp_seconds{of_app}")), 2_082_758_400.0);
    assert_eq!(value(&text, "pgsluice_events_total{event=\"drain_ended\"}"), 1.0);
    rows(&mut console, "MAINTENANCE OFF app");
    held.frames_until_ready(SOON).unwrap();
    assert_eq!(value(&scrape(&proxy), &format!("pgsluice_held{of_app}")), 0.0);
}

#[test]
fn refused_statements_are_counted_by_application_and_names_that_clients_make_up_are_bounded() {
    let proxy = proxy_with(&config("", HTTP));
    rows(&mut console(&proxy), "MAINTENANCE ON app");
    let mut app = raw(&proxy, "app", "app");
    for at in 0..600 {
        rows(&mut app, &format!("set application_name = 'app \"{at}\"'"));
        assert_eq!(app.query("insert into t values (1)", SOON).unwrap_err().sqlstate(), Some("25006"));
    }
    let text = scrape(&proxy);
    let series: Vec<&str> = text.lines().filter(|line| line.starts_with("pgsluice_errors_sent_total{")).collect();
    assert!(series.len() <= 501, "{}", series.len());
    assert_eq!(
        value(&text, r#"pgsluice_errors_sent_total{database="app",application_name="app \"7\"",reason="INSERT"}"#),
        1.0
    );
    let sum: f64 = series.iter().map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum();
    assert_eq!((sum, value(&text, "pgsluice_refused_total{database=\"app\"}")), (600.0, 600.0));
}
