//! What every test of this folder stands on: a primary, a replica and pgsluice in front of them, TLS and SCRAM everywhere,
//! transaction mode, two server connections for each user of a database.
//!
//! Tests that run side by side share one stand; each has a database of its own, so that its maintenance is its own too.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use pgsluice_fixtures::{Cluster, Proxy, Role, Shared, Tls};

/// A database for each test that shares the stand.
const DATABASES: [&str; 18] = [
    "app",
    "raw",
    "psql",
    "psql_gated",
    "pgbench",
    "dump",
    "restored",
    "psycopg",
    "asyncpg",
    "node",
    "rust",
    "attrs",
    "attrs_py",
    "attrs_java",
    "rw_py",
    "rw_js",
    "rw_java",
    "rw_go",
];

/// The role of applications: owner of the databases, no superuser.
pub const USER: &str = "app";
/// A password that must be quoted, escaped and percent-encoded right.
pub const PASSWORD: &str = "p@ss w%rd/'\"\\";
/// The one who may use the console, and an operator.
pub const ADMIN: &str = "dba";

/// See the module.
pub struct Stand {
    // Before the cluster, so that it goes first.
    pub proxy: Proxy,
    pub cluster: Cluster,
}

/// pgsluice's test configuration in front of a cluster; `{…}` are the fixture's placeholders.
pub struct Config<'a> {
    pub cluster: &'a Cluster,
    /// Lines before the first table.
    pub top: &'a str,
    pub databases: &'a [&'a str],
}

impl Config<'_> {
    pub fn text(&self) -> String {
        let upstreams: Vec<String> =
            self.cluster.servers().map(|server| format!("\"127.0.0.1:{}\"", server.port())).collect();
        let databases: String = self.databases.iter().map(|name| format!("[databases.{name}]\n")).collect();
        format!(
            "listen_port = {{port}}\nunix_socket_dir = \"{{dir}}\"\nstate_file = \"{{dir}}/state.json\"\nworkers = 2\n\
             auth_file = \"userlist.txt\"\nadmin_users = [\"{ADMIN}\"]\noperators = [\"{ADMIN}\"]\n\
             query_wait_timeout = \"20s\"\n{}\n[clusters.main]\nupstreams = [{}]\nmonitor_user = \"monitor\"\n\
             monitor_password = \"monitor\"\nmonitor_interval = \"200ms\"\n{databases}",
            self.top,
            upstreams.join(", "),
        )
    }
}

/// A line of a userlist.
pub fn user_line(name: &str, secret: &str) -> String {
    format!("\"{name}\" \"{}\"\n", secret.replace('"', "\"\""))
}

/// The configuration's TLS towards clients, with a certificate of the proxy's own by the cluster's authority.
pub fn client_tls(tls: &Tls, mode: &str) -> String {
    let (cert, key) = tls.server("proxy", &["localhost", "127.0.0.1"]).unwrap();
    format!(
        "client_tls_sslmode = \"{mode}\"\nclient_tls_cert_file = \"{}\"\nclient_tls_key_file = \"{}\"\n",
        cert.display(),
        key.display()
    )
}

/// A cluster with the roles that the tests know.
pub fn cluster(databases: &[&str], replicas: usize) -> Cluster {
    Cluster::builder()
        .replicas(replicas)
        .tls(true)
        .roles([
            Role::new(USER).password(PASSWORD),
            Role::new(ADMIN).password("dba").superuser(),
            Role::new("monitor").password("monitor").option("IN ROLE pg_monitor"),
        ])
        .databases(databases.iter().copied())
        .start()
        .unwrap()
}

/// The program under test.
pub fn binary() -> PathBuf {
    pgsluice_fixtures::proxy::binary(env!("CARGO_BIN_EXE_pgsluice"))
}

impl Stand {
    /// The stand that other tests use now, or a new one.
    pub fn shared() -> Arc<Stand> {
        static SHARED: Shared<Stand> = Shared::new();
        SHARED.get(Stand::start)
    }

    fn start() -> Stand {
        let cluster = cluster(&DATABASES, 1);
        let tls = cluster.tls().unwrap();
        let top = format!(
            "{}default_pool_size = 2\nmax_prepared_statements = 10\nserver_tls_sslmode = \"verify-full\"\n\
             server_tls_ca_file = \"{}\"\n",
            client_tls(tls, "require"),
            tls.ca_cert.display()
        );
        let config = Config { cluster: &cluster, top: &top, databases: &DATABASES }.text();
        let users = user_line(USER, PASSWORD) + &user_line(ADMIN, "dba");
        let proxy = Proxy::builder(binary()).config(config).file("userlist.txt", users).start().unwrap();
        Stand { proxy, cluster }
    }

    /// The authority of all certificates.
    pub fn ca(&self) -> &Path {
        &self.cluster.tls().unwrap().ca_cert
    }

    /// A program that finds pgsluice and a database by libpq's variables, with certificates checked in full.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>, database: &str) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"PG") {
                command.env_remove(name);
            }
        }
        command
            .env("PGHOST", "localhost")
            // Nothing listens on ::1, and not every driver goes on to the next address.
            .env("PGHOSTADDR", "127.0.0.1")
            .env("PGPORT", self.proxy.port().to_string())
            .env("PGUSER", USER)
            .env("PGPASSWORD", PASSWORD)
            .env("PGDATABASE", database)
            .env("PGSSLMODE", "verify-full")
            .env("PGSSLROOTCERT", self.ca())
            .env("PGCONNECT_TIMEOUT", "20")
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null());
        command
    }

    /// One of PostgreSQL's own programs.
    pub fn tool(&self, program: &str, database: &str) -> Command {
        self.command(self.cluster.installation().program(program).unwrap(), database)
    }

    /// A command on the console.
    #[track_caller]
    pub fn console(&self, sql: &str) -> String {
        let mut psql = self.tool("psql", "pgsluice");
        psql.env("PGUSER", ADMIN).env("PGPASSWORD", "dba").args(["-XAt", "-v", "ON_ERROR_STOP=1", "-c", sql]);
        succeed(&mut psql)
    }

    /// Closes the gate for a database; reads may go anywhere, a replica included.
    #[track_caller]
    pub fn maintenance_on(&self, database: &str) {
        self.console(&format!("MAINTENANCE ON {database} WITH (message 'moving house', until '2030-12-01 14:00Z')"));
    }

    /// Opens it.
    #[track_caller]
    pub fn maintenance_off(&self, database: &str) {
        self.console(&format!("MAINTENANCE OFF {database}"));
    }

    /// How many server connections of that database the servers have from pgsluice, operators and monitors left aside.
    pub fn server_connections(&self, database: &str) -> usize {
        let sql = format!(
            "select count(*) from pg_stat_activity where datname = '{database}' and usename = '{USER}' \
             and backend_type = 'client backend'"
        );
        self.cluster.primary().psql(&sql).unwrap().parse().unwrap()
    }
}

/// What the gate adds to PostgreSQL's error.
pub fn detail(database: &str) -> String {
    format!("database \"{database}\" is in maintenance: moving house")
}

/// Runs a program that must succeed; what it printed.
#[track_caller]
pub fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, words(&output));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// Runs a program that must fail; what it complained of.
#[track_caller]
pub fn fail(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(!output.status.success(), "{command:?} succeeded\n{}", words(&output));
    String::from_utf8_lossy(&output.stderr).trim_end().to_owned()
}

/// All that a program said.
pub fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Long enough for anything here on a busy machine.
pub const SOON: Duration = Duration::from_secs(20);
