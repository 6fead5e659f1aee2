//! A server that all tests share, and proxies in front of it.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use pgsluice_fixtures::proxy::{ProxyBuilder, binary};
use pgsluice_fixtures::{Cluster, Login, Proxy, Raw, Role, wait};
use serde_json::Value;

/// Patience with what should be quick; the machine may be busy.
pub const SOON: Duration = Duration::from_secs(60);

/// A program of Prometheus: installed, or where `make prometheus` has put it. Without it a test says that it is skipped.
pub fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let unpacked = pgsluice_fixtures::cache::folder().ok().map(|cache| cache.join("prometheus/usr/bin"));
    let found =
        std::env::split_paths(&path).chain(unpacked).map(|folder| folder.join(name)).find(|file| file.is_file());
    if found.is_none() {
        eprintln!("SKIPPED: {name} is not installed");
    }
    found
}

/// The server.
pub fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        Cluster::builder()
            .roles([Role::new("app").password("app")])
            .databases(["app"])
            .init_sql("create table t (n int); grant all on t to app")
            .start()
            .unwrap()
    })
}

/// A configuration for servers on those ports; `top` goes before the tables, `end` after them.
pub fn config_for(servers: &[u16], top: &str, end: &str) -> String {
    let upstreams: Vec<String> = servers.iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect();
    format!(
        r#"
listen_port = {{port}}
unix_socket_dir = "{{dir}}"
state_file = "{{dir}}/state.json"
auth_file = "{{dir}}/users"
admin_users = ["admin"]
stats_users = ["stats"]
workers = 2
{top}
[clusters.main]
upstreams = [{}]
monitor_user = "postgres"
monitor_password = "postgres"
monitor_interval = "100ms"
[databases.app]
[databases.other]
dbname = "app"
[databases.third]
dbname = "postgres"
{end}
"#,
        upstreams.join(", ")
    )
}

/// The same for the shared server.
pub fn config(top: &str, end: &str) -> String {
    config_for(&[cluster().primary().port()], top, end)
}

/// A proxy to be, with that configuration.
pub fn builder(config: &str) -> ProxyBuilder {
    let users = "\"app\" \"app\"\n\"admin\" \"secret\"\n\"stats\" \"stats\"\n";
    Proxy::builder(binary(env!("CARGO_BIN_EXE_pgsluice"))).config(config).file("users", users)
}

/// A proxy with that configuration, which knows the primary.
pub fn proxy_with(config: &str) -> Proxy {
    let proxy = builder(config).start().unwrap();
    wait::until(SOON, "the primary", || proxy.log().contains("to=\"primary\"").then_some(()));
    proxy
}

/// A byte-level connection.
pub fn raw(proxy: &Proxy, user: &str, database: &str) -> Raw {
    let password = if user == "admin" { "secret" } else { user };
    Raw::connect(&proxy.tcp(), &Login::new(user, database).password(password)).unwrap()
}

/// A console of the admin.
pub fn console(proxy: &Proxy) -> Raw {
    raw(proxy, "admin", "pgsluice")
}

/// Runs SQL and gives the rows of the last result.
pub fn rows(raw: &mut Raw, sql: &str) -> Vec<Vec<Option<String>>> {
    raw.query(sql, SOON).unwrap_or_else(|error| panic!("{sql}: {error}")).pop().unwrap().rows
}

/// One event of SHOW EVENTS.
#[derive(Debug)]
pub struct Shown {
    pub id: u64,
    pub event: String,
    pub severity: String,
    pub database: Option<String>,
    pub upstream: Option<String>,
    pub message: String,
    pub fields: Value,
}

/// SHOW EVENTS.
pub fn shown(console: &mut Raw, which: &str) -> Vec<Shown> {
    let text = |value: &Option<String>| value.clone().unwrap();
    let one = |row: &Vec<Option<String>>| Shown {
        id: text(&row[0]).parse().unwrap(),
        event: text(&row[2]),
        severity: text(&row[3]),
        database: row[4].clone(),
        upstream: row[6].clone(),
        message: text(&row[7]),
        fields: serde_json::from_str(&text(&row[8])).unwrap(),
    };
    rows(console, &format!("SHOW EVENTS {which}")).iter().map(one).collect()
}
