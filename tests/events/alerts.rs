//! The alerts of contrib/prometheus fire, in Debian's prometheus.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use pgsluice_fixtures::raw::message::query;
use pgsluice_fixtures::{Cluster, Role, wait};
use serde_json::Value;

use crate::http::get;
use crate::metrics::HTTP;
use crate::stand::{SOON, builder, config_for, console, raw, rows, tool};

const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/prometheus/alerts.yml");
const DASHBOARD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/grafana/pgsluice.json");

struct Prometheus {
    process: Child,
    port: u16,
}

impl Prometheus {
    fn start(program: &Path, folder: &Path, target: u16) -> Self {
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        // The same rules, with the patience of a test.
        let rules = fs::read_to_string(RULES).unwrap();
        let quick = rules
            .replace("for: 1m", "for: 0s")
            .replace("for: 30s", "for: 0s")
            .replace("> 30", "> 1")
            .replace("> 20", "> 1")
            .replace("> 5", "> 1");
        fs::write(folder.join("alerts.yml"), quick).unwrap();
        let config = format!(
            "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\nrule_files: [alerts.yml]\n\
             scrape_configs:\n  - job_name: pgsluice\n    static_configs:\n      - targets: ['127.0.0.1:{target}']\n"
        );
        let file = folder.join("prometheus.yml");
        fs::write(&file, config).unwrap();
        let process = Command::new(program)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("prometheus.log")).unwrap())
            .spawn()
            .unwrap();
        Self { process, port }
    }

    fn ask(&self, path: &str) -> Option<Value> {
        let answer = get(self.port, path, "").ok().filter(|answer| answer.status == 200)?;
        serde_json::from_str(&answer.body).ok()
    }

    /// Names of the alerts that fire.
    fn firing(&self) -> Vec<String> {
        let Some(answer) = self.ask("/api/v1/alerts") else { return Vec::new() };
        let alerts = answer["data"]["alerts"].as_array().cloned().unwrap_or_default();
        let firing = alerts.iter().filter(|one| one["state"] == "firing");
        firing.map(|one| one["labels"]["alertname"].as_str().unwrap().to_owned()).collect()
    }

    fn until_firing(&self, name: &str) {
        wait::until(SOON, &format!("{name} to fire, not only {:?}", self.firing()), || {
            self.firing().iter().any(|one| one == name).then_some(())
        });
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn promtool_finds_the_rules_right() {
    let Some(promtool) = tool("promtool") else { return };
    let output = Command::new(promtool).args(["check", "rules", RULES]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn alerts_fire_for_a_gate_overdue_a_drain_stuck_a_pool_waiting_and_split_brain() {
    let Some(program) = tool("prometheus") else { return };
    let cluster = Cluster::builder()
        .replicas(1)
        .roles([Role::new("app").password("app")])
        .databases(["app"])
        .init_sql("create table t (n int); grant all on t to app")
        .start()
        .unwrap();
    let ports = [cluster.primary().port(), cluster.replica(0).port()];
    let top = "default_pool_size = 1\noperator_reserved = 0\n";
    let proxy = builder(&config_for(&ports, top, HTTP)).start().unwrap();
    wait::until(SOON, "the primary", || proxy.log().contains("to=\"primary\"").then_some(()));
    let folder = tempfile::tempdir().unwrap();
    let prometheus = Prometheus::start(&program, folder.path(), proxy.port_named("http").unwrap());

    let mut admin = console(&proxy);
    let soon = (jiff::Timestamp::now() + std::time::Duration::from_secs(2)).to_string();
    rows(&mut admin, &format!("MAINTENANCE ON third WITH (until '{soon}')"));
    prometheus.until_firing("PgsluiceGateOverdue");
    rows(&mut admin, "MAINTENANCE OFF third");

    let (mut busy, mut waits) = (raw(&proxy, "app", "app"), raw(&proxy, "app", "app"));
    rows(&mut busy, "begin; insert into t values (1)");
    waits.send(&query("select 1")).unwrap();
    prometheus.until_firing("PgsluicePoolWaiting");
    admin.send(&query("MAINTENANCE ON app WITH (drain_timeout '1h')")).unwrap();
    prometheus.until_firing("PgsluiceDrainStuck");
    rows(&mut busy, "commit");
    waits.frames_until_ready(SOON).unwrap();
    admin.frames_until_ready(SOON).unwrap();

    cluster.replica(0).promote().unwrap();
    prometheus.until_firing("PgsluiceSplitBrain");
    // Every expression of the dashboard is one that this Prometheus takes.
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(DASHBOARD).unwrap()).unwrap();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let text = target["expr"].as_str().unwrap().replace("$database", ".*").replace("$__rate_interval", "1m");
            let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let answer = prometheus.ask(&format!("/api/v1/query?query={encoded}"));
            assert!(answer.is_some_and(|answer| answer["status"] == "success"), "{text}");
        }
    }
}
