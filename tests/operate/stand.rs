//! A server that all tests share, and proxies in front of it.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use pgsluice_fixtures::proxy::{ProxyBuilder, binary};
use pgsluice_fixtures::{Cluster, Login, Proxy, Raw, Role, wait};

/// Patience with what should be quick; the machine may be busy.
pub const SOON: Duration = Duration::from_secs(60);

/// The program under test.
pub fn pgsluice() -> std::path::PathBuf {
    binary(env!("CARGO_BIN_EXE_pgsluice"))
}

/// The server.
pub fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        Cluster::builder()
            .roles([Role::new("app").password("app"), Role::new("op").password("op").superuser()])
            .databases(["app"])
            .init_sql("create table t (n int); grant all on t to app")
            .start()
            .unwrap()
    })
}

/// A configuration; `top` goes before the tables, `end` after them.
pub fn config(top: &str, end: &str) -> String {
    config_for(cluster().primary().port(), top, end)
}

/// A configuration for a server on that port.
pub fn config_for(server: u16, top: &str, end: &str) -> String {
    format!(
        r#"
listen_port = {{port}}
unix_socket_dir = "{{dir}}"
state_file = "{{dir}}/state.json"
auth_file = "{{dir}}/users"
admin_users = ["admin"]
operators = ["op"]
workers = 2
{top}
[clusters.main]
upstreams = ["127.0.0.1:{server}"]
monitor_user = "postgres"
monitor_password = "postgres"
monitor_interval = "100ms"
[databases.app]
[databases.other]
dbname = "app"
{end}
"#
    )
}

/// A proxy to be, with that configuration.
pub fn builder(config: &str) -> ProxyBuilder {
    let users = "\"app\" \"app\"\n\"op\" \"op\"\n\"admin\" \"secret\"\n\"nobody\" \"nobody\"\n";
    Proxy::builder(pgsluice()).config(config).file("users", users)
}

/// A proxy with that configuration, which knows the primary.
pub fn proxy_with(config: &str) -> Proxy {
    let proxy = builder(config).start().unwrap();
    await_primary(&proxy);
    proxy
}

/// Waits until the proxy knows the primary.
pub fn await_primary(proxy: &Proxy) {
    wait::until(SOON, "the primary", || proxy.log().contains("to=\"primary\"").then_some(()));
}

/// A byte-level connection.
pub fn raw(proxy: &Proxy, user: &str, database: &str) -> Raw {
    let password = if user == "admin" { "secret" } else { user };
    Raw::connect(&proxy.tcp(), &Login::new(user, database).password(password)).unwrap()
}

/// Runs SQL and gives the rows of the last result.
pub fn rows(raw: &mut Raw, sql: &str) -> Vec<Vec<Option<String>>> {
    raw.query(sql, SOON).unwrap_or_else(|error| panic!("{sql}: {error}")).pop().unwrap().rows
}

/// A process of ours that ends with the test.
pub struct Running(pub Child);

impl Running {
    /// Starts the program with that configuration file, its log in a file beside it.
    pub fn start(config: &Path) -> Self {
        let log = std::fs::File::create(config.with_extension("log")).unwrap();
        let child = Command::new(pgsluice())
            .args(["run", "--config"])
            .arg(config)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Its exit code, once it has ended by itself.
    pub fn exit_code(&mut self) -> Option<i32> {
        wait::until(SOON, "the program to end", || self.0.try_wait().unwrap()).code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
