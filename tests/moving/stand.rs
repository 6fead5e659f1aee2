//! A server that all tests share, and proxies that run with files of PgBouncer.

use std::sync::OnceLock;
use std::time::Duration;

use pgsluice_fixtures::proxy::binary;
use pgsluice_fixtures::{Cluster, Login, Proxy, Raw, Role};

/// Patience with what should be quick; the machine may be busy.
pub const SOON: Duration = Duration::from_secs(60);

/// Users and their passwords, in PgBouncer's format.
pub const USERS: &str = "\"app\" \"app\"\n\"reports\" \"reports\"\n\"admin\" \"secret\"\n\"stats\" \"stats\"\n";

/// The program under test.
pub fn pgsluice() -> std::path::PathBuf {
    binary(env!("CARGO_BIN_EXE_pgsluice"))
}

/// The server: it knows no role for monitors.
pub fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        Cluster::builder()
            .roles([Role::new("app").password("app"), Role::new("reports").password("reports")])
            .databases(["app"])
            .init_sql("create table t (n int); grant all on t to app, reports")
            .start()
            .unwrap()
    })
}

/// A proxy that runs with that pgbouncer.ini; `more` are further files of its folder.
pub fn proxy(ini: &str, more: &[(&str, &str)]) -> Proxy {
    let fill = |text: &str| text.replace("{server}", &cluster().primary().port().to_string());
    let mut builder = Proxy::builder(pgsluice()).config(fill(ini)).file("userlist.txt", USERS);
    for (name, text) in more {
        builder = builder.file(*name, fill(text));
    }
    builder.start().unwrap()
}

/// The main section that a test of one key stands on.
pub fn ini(databases: &str, general: &str) -> String {
    format!(
        "[databases]\n{databases}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {{port}}\nunix_socket_dir = {{dir}}\n\
         auth_type = scram-sha-256\nauth_file = {{dir}}/userlist.txt\nadmin_users = admin\npool_mode = transaction\n{general}\n"
    )
}

/// The database that most tests use.
pub const APP: &str = "app = host=127.0.0.1 port={server}";

/// A byte-level connection.
pub fn raw(proxy: &Proxy, user: &str, database: &str) -> Raw {
    try_raw(proxy, user, database).unwrap()
}

/// The same, or why not.
pub fn try_raw(proxy: &Proxy, user: &str, database: &str) -> Result<Raw, pgsluice_fixtures::RawError> {
    let password = if user == "admin" { "secret" } else { user };
    Raw::connect(&proxy.tcp(), &Login::new(user, database).password(password))
}

/// Runs SQL and gives the rows of the last result.
pub fn rows(raw: &mut Raw, sql: &str) -> Vec<Vec<Option<String>>> {
    raw.query(sql, SOON).unwrap_or_else(|error| panic!("{sql}: {error}")).pop().unwrap().rows
}

/// The first value of the first row.
pub fn value(raw: &mut Raw, sql: &str) -> String {
    rows(raw, sql)[0][0].clone().unwrap_or_default()
}
