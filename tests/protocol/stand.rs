//! What every test here stands on: one server, and pgsluice with one server connection for all clients of a database.

use std::sync::Arc;
use std::time::Duration;

use pgsluice_fixtures::proxy::binary;
use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Address, Cluster, Frame, Login, Proxy, Raw, RawError, Role, Shared};

/// Longest wait for anything here.
pub const SOON: Duration = Duration::from_secs(20);

/// See the module.
pub struct Stand {
    // Before the cluster, so that it goes first.
    pub proxy: Proxy,
    pub cluster: Cluster,
}

/// Databases of tests that run side by side, in transaction mode; each has one in session mode too.
const DATABASES: [&str; 7] = ["plain", "shared", "gate", "errors", "cancel", "ends", "copies"];

impl Stand {
    /// The stand that other tests use now, or a new one.
    pub fn shared() -> Arc<Stand> {
        static SHARED: Shared<Stand> = Shared::new();
        let databases: String = DATABASES
            .iter()
            .map(|name| {
                format!(
                    "[databases.{name}]\n[databases.{name}_session]\ndbname = \"{name}\"\npool_mode = \"session\"\n"
                )
            })
            .collect();
        SHARED.get(|| Stand::new("", &databases, &DATABASES))
    }

    /// With lines before the first table, and tables of databases.
    pub fn new(top: &str, databases: &str, names: &[&str]) -> Stand {
        let cluster = Cluster::builder()
            .roles([
                Role::new("app").password("app"),
                Role::new("dba").password("dba").superuser(),
                Role::new("monitor").password("monitor").option("IN ROLE pg_monitor"),
            ])
            .databases(names.iter().copied())
            .start()
            .expect("a cluster");
        let config = format!(
            "listen_port = {{port}}\nstate_file = \"{{dir}}/state.json\"\nworkers = 2\nauth_file = \"userlist.txt\"\n\
             admin_users = [\"dba\"]\noperators = [\"dba\"]\ndefault_pool_size = 1\nquery_wait_timeout = \"10s\"\n{top}\n\
             [clusters.main]\nupstreams = [\"127.0.0.1:{}\"]\nmonitor_user = \"monitor\"\n\
             monitor_password = \"monitor\"\nmonitor_interval = \"200ms\"\n{databases}",
            cluster.primary().port(),
        );
        let proxy = Proxy::builder(binary(env!("CARGO_BIN_EXE_pgsluice")))
            .config(config)
            .file("userlist.txt", "\"app\" \"app\"\n\"dba\" \"dba\"\n\"stranger\" \"stranger\"\n")
            .start()
            .expect("a proxy");
        Stand { proxy, cluster }
    }

    pub fn server(&self) -> Address {
        Address::local(self.cluster.primary().port())
    }

    /// A statement on the console.
    #[track_caller]
    pub fn console(&self, sql: &str) {
        let login = Login::new("dba", "pgsluice").password("dba");
        let mut console = Raw::connect(&self.proxy.tcp(), &login).expect("the console");
        console.query(sql, SOON).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

/// A log-in of the application's role, with parameters for its start-up packet.
pub fn login(database: &str, parameters: &[(&str, &str)]) -> Login {
    let login = Login::new("app", database).password("app");
    parameters.iter().fold(login, |login, (name, value)| login.parameter(name, value))
}

/// A log-in, and the fields of the error that refuses it.
pub fn refusal(address: &Address, login: &Login) -> Vec<(char, String)> {
    match Raw::connect(address, login) {
        Err(RawError::Server(error)) => error.fields.into_iter().collect(),
        other => panic!("the log-in was not refused: {other:?}"),
    }
}

/// The first value of the last row that a statement gives; or its error.
pub fn ask(raw: &mut Raw, sql: &str) -> String {
    match raw.query(sql, SOON) {
        Ok(results) => {
            let last = results.into_iter().rfind(|result| !result.rows.is_empty());
            let row = last.and_then(|result| result.rows.into_iter().next_back()).unwrap_or_default();
            row.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>().join("|")
        }
        Err(error) => error.to_string(),
    }
}

/// Everything that comes for a simple query.
pub fn simple(raw: &mut Raw, sql: &str) -> Vec<Frame> {
    raw.round_trip(&message::query(sql), SOON).unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// Everything that comes for statements of the extended protocol, all before one Sync.
pub fn extended(raw: &mut Raw, statements: &[&str]) -> Vec<Frame> {
    let mut bytes = Vec::new();
    for sql in statements {
        bytes.extend(message::parse("", sql, &[]));
        bytes.extend(message::bind("", "", &[]));
        bytes.extend(message::describe_portal(""));
        bytes.extend(message::execute("", 0));
    }
    bytes.extend(message::sync());
    raw.round_trip(&bytes, SOON).unwrap_or_else(|error| panic!("{statements:?}: {error}"))
}
