//! A cluster that all tests share, and a proxy for each of them.

use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::Duration;

use pgsluice_fixtures::proxy::binary;
use pgsluice_fixtures::{Cluster, Login, Proxy, Raw, Role, wait};

/// Patience with what should be quick; the machine may be busy.
pub const SOON: Duration = Duration::from_secs(60);

/// The primary and its replica.
pub fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        Cluster::builder()
            .replicas(1)
            .roles([Role::new("app").password("app"), Role::new("op").password("op").superuser()])
            .databases(["app"])
            .init_sql("create table t (n int); grant all on t to app")
            .start()
            .unwrap()
    })
}

/// The configuration; `top` goes before the tables, `end` after them.
pub fn config(top: &str, end: &str) -> String {
    let (primary, replica) = (cluster().primary().port(), cluster().replica(0).port());
    format!(
        r#"
listen_port = {{port}}
unix_socket_dir = "{{dir}}"
state_file = "{{dir}}/state.json"
auth_file = "{{dir}}/users"
admin_users = ["admin"]
stats_users = ["stats"]
operators = ["op"]
workers = 2
{top}
[maintenance]
drain_timeout = "20s"
on_timeout = "cancel"
[clusters.main]
upstreams = ["127.0.0.1:{primary}", "127.0.0.1:{replica}"]
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

/// A proxy with that configuration.
pub fn proxy_with(config: &str) -> Proxy {
    let users = r#"
"app" "app"
"op" "op"
"admin" "secret"
"stats" "stats"
"nobody" "nobody"
"#;
    let proxy =
        Proxy::builder(binary(env!("CARGO_BIN_EXE_pgsluice"))).config(config).file("users", users).start().unwrap();
    // Before the roles are known a greeting may be learnt from either server, and counts differ.
    let mut console = raw(&proxy, "admin", "pgsluice");
    wait::until(SOON, "the servers' roles", || {
        let seen = table(&mut console, "SHOW UPSTREAMS");
        ["primary", "replica"].iter().all(|role| seen.matching(&[("role", role)]).len() == 1).then_some(())
    });
    proxy
}

/// A proxy.
pub fn proxy() -> Proxy {
    proxy_with(&config("", ""))
}

/// The password of each user.
pub fn password(user: &str) -> &str {
    if user == "admin" { "secret" } else { user }
}

/// A byte-level connection.
pub fn raw(proxy: &Proxy, user: &str, database: &str) -> Raw {
    Raw::connect(&proxy.tcp(), &Login::new(user, database).password(password(user))).unwrap()
}

/// A console of the admin.
pub fn console(proxy: &Proxy) -> Raw {
    raw(proxy, "admin", "pgsluice")
}

/// A client of the application.
pub fn client(proxy: &Proxy) -> Raw {
    raw(proxy, "app", "app")
}

/// Runs SQL and gives the rows of the last result.
pub fn rows(raw: &mut Raw, sql: &str) -> Vec<Vec<Option<String>>> {
    raw.query(sql, SOON).unwrap_or_else(|error| panic!("{sql}: {error}")).pop().unwrap().rows
}

/// The SQLSTATE with which SQL is refused.
pub fn refusal(raw: &mut Raw, sql: &str) -> String {
    match raw.query(sql, SOON) {
        Ok(done) => panic!("{sql} was not refused: {done:?}"),
        Err(error) => error.sqlstate().unwrap_or_else(|| panic!("{sql}: {error}")).to_owned(),
    }
}

/// A table by the names of its columns.
pub struct Named {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Option<String>>>,
}

impl Named {
    /// The value of a column in the only row whose other columns are as given.
    pub fn value(&self, wanted: &[(&str, &str)], column: &str) -> String {
        let found = self.matching(wanted);
        assert_eq!(found.len(), 1, "rows with {wanted:?} in {:?}", self.rows);
        found[0][self.at(column)].clone().unwrap_or_default()
    }

    /// Rows whose columns are as given.
    pub fn matching(&self, wanted: &[(&str, &str)]) -> Vec<&Vec<Option<String>>> {
        let fits = |row: &&Vec<Option<String>>| {
            wanted.iter().all(|(name, value)| row[self.at(name)].as_deref().unwrap_or_default() == *value)
        };
        self.rows.iter().filter(fits).collect()
    }

    fn at(&self, column: &str) -> usize {
        self.columns
            .iter()
            .position(|name| name == column)
            .unwrap_or_else(|| panic!("no {column} in {:?}", self.columns))
    }
}

/// Runs a SHOW.
pub fn table(console: &mut Raw, sql: &str) -> Named {
    let frames = console.round_trip(&pgsluice_fixtures::raw::message::query(sql), SOON).unwrap();
    let description = frames.iter().find(|frame| frame.tag == b'T').unwrap_or_else(|| panic!("{sql}: {frames:?}"));
    let mut columns = Vec::new();
    let mut rest = &description.body[2..];
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == 0).unwrap();
        columns.push(String::from_utf8(rest[..end].to_vec()).unwrap());
        rest = &rest[end + 19..];
    }
    let text = |value: Option<Vec<u8>>| value.map(|bytes| String::from_utf8(bytes).unwrap());
    let data = frames.iter().filter(|frame| frame.tag == b'D');
    let rows = data.map(|frame| frame.values().into_iter().map(text).collect()).collect();
    Named { columns, rows }
}

/// psql on a database of the proxy.
pub fn psql(proxy: &Proxy, user: &str, database: &str, args: &[&str]) -> Output {
    let port = proxy.port().to_string();
    Command::new("psql")
        .args(["-X", "-h", "127.0.0.1", "-p", &port, "-U", user, "-d", database])
        .args(args)
        .env("PGPASSWORD", password(user))
        .output()
        .unwrap()
}

/// What it printed, when it must succeed.
pub fn printed(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}
