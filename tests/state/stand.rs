//! One server, pgsluice before it with one server connection for each database, and clients that take turns on it.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Address, Cluster, Login, Proxy, Raw, Role, Shared};

/// Long enough for anything here on a busy machine.
pub const SOON: Duration = Duration::from_secs(20);

/// Databases for tests that run side by side.
const DATABASES: usize = 41;

/// A role that is superuser on the server, as the owner of everything in a test is.
pub const USER: &str = "dba";

/// The words of SHOW CLIENTS for why a session keeps its server connection.
const PINS: [&str; 9] = [
    "session mode",
    "listen",
    "temporary table",
    "cursor with hold",
    "advisory lock",
    "prepare",
    "settings",
    "sequence",
    "function",
];

/// See the module.
pub struct Stand {
    // Before the cluster, so that it goes first.
    pub proxy: Proxy,
    cluster: Cluster,
    used: AtomicUsize,
}

/// Clients of a database that no other test uses.
pub struct Place {
    pub stand: Arc<Stand>,
    pub database: String,
}

/// A client.
pub struct Client(pub Raw);

impl Stand {
    fn shared() -> Arc<Stand> {
        static SHARED: Shared<Stand> = Shared::new();
        SHARED.get(|| Stand::start("default_pool_size = 1", DATABASES))
    }

    /// A stand with `top` in its configuration.
    pub fn start(top: &str, databases: usize) -> Stand {
        let names: Vec<String> = (0..databases).map(|at| format!("d{at}")).collect();
        let cluster = Cluster::builder()
            .hba(["host all all 127.0.0.1/32 trust"])
            .roles([Role::new(USER).superuser(), Role::new("alice"), Role::new("bob"), Role::new("monitor")])
            .databases(names.iter().cloned())
            .start()
            .unwrap();
        let mut config = format!(
            "listen_port = {{port}}\nstate_file = \"{{dir}}/state.json\"\nworkers = 2\nauth_type = \"trust\"\nadmin_users = [\"{USER}\"]\n\
             query_wait_timeout = \"20s\"\n{top}\n[clusters.main]\nupstreams = [\"127.0.0.1:{}\"]\n\
             monitor_user = \"monitor\"\nmonitor_interval = \"200ms\"\nfollow_read_only_setting = false\n",
            cluster.primary().port()
        );
        for name in &names {
            let _ = writeln!(config, "[databases.{name}]");
        }
        let binary = pgsluice_fixtures::proxy::binary(env!("CARGO_BIN_EXE_pgsluice"));
        let proxy = Proxy::builder(binary).config(config).start().unwrap();
        Stand { proxy, cluster, used: AtomicUsize::new(0) }
    }

    /// The server's major version.
    pub fn major(&self) -> u32 {
        self.cluster.installation().version.major
    }

    /// Where the server itself listens.
    pub fn server(&self) -> Address {
        self.cluster.primary().tcp()
    }

    /// A client of the server itself.
    pub fn direct(&self, user: &str, database: &str) -> Client {
        Client(Raw::connect(&self.cluster.primary().tcp(), &Login::new(user, database)).unwrap())
    }

    /// A client of that database.
    pub fn client(&self, user: &str, database: &str) -> Client {
        Client(Raw::connect(&self.proxy.tcp(), &Login::new(user, database)).unwrap())
    }
}

impl Place {
    /// A place of the test's own on the shared stand.
    pub fn new() -> Place {
        let stand = Stand::shared();
        let at = stand.used.fetch_add(1, SeqCst);
        assert!(at < DATABASES, "more tests than databases");
        Place { stand, database: format!("d{at}") }
    }

    /// A client, superuser on the server.
    pub fn client(&self) -> Client {
        self.stand.client(USER, &self.database)
    }

    /// A client of the server itself.
    pub fn direct(&self) -> Client {
        self.stand.direct(USER, &self.database)
    }

    /// Why each client of this database that keeps its server connection does so.
    pub fn pins(&self) -> Vec<String> {
        let mut console = self.stand.client(USER, "pgsluice");
        let shown = console.0.query("SHOW CLIENTS", SOON).unwrap().remove(0).rows;
        let here = shown.into_iter().filter(|row| row.iter().flatten().any(|cell| *cell == self.database));
        here.flat_map(|row| row.into_iter().flatten()).filter(|cell| PINS.contains(&&**cell)).collect()
    }
}

impl Client {
    /// The rows of the last statement, columns with `|` between them.
    #[track_caller]
    pub fn ask(&mut self, sql: &str) -> Vec<String> {
        self.try_ask(sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Runs a statement by the extended protocol.
    #[track_caller]
    pub fn prepared(&mut self, sql: &str) {
        if let Some(error) = self.error_of_prepared(sql) {
            panic!("{sql}: {error}");
        }
    }

    /// What the server complained of in the extended protocol.
    #[track_caller]
    pub fn refused_prepared(&mut self, sql: &str) -> String {
        self.error_of_prepared(sql).expect(sql)
    }

    fn error_of_prepared(&mut self, sql: &str) -> Option<String> {
        let bytes =
            [message::parse("", sql, &[]), message::bind("", "", &[]), message::execute("", 0), message::sync()];
        let frames = self.0.round_trip(&bytes.concat(), SOON).unwrap();
        frames.iter().find_map(|frame| frame.error()).map(|error| error.message().to_owned())
    }

    /// What it is told in answer to these messages, with nothing in it that would tell two servers apart.
    pub fn told(&mut self, messages: &[Vec<u8>]) -> Vec<String> {
        let frames = self.0.round_trip(&messages.concat(), SOON).unwrap();
        let told = frames.iter().map(|frame| match frame.tag {
            b'E' | b'N' => {
                let mut fields = frame.error_fields();
                fields.retain(|letter, _| !matches!(letter, 'F' | 'L' | 'R'));
                format!("{} {fields:?}", frame.tag as char)
            }
            tag => format!("{} {}", tag as char, frame.body.escape_ascii()),
        });
        told.collect()
    }

    /// The only value of the last statement.
    #[track_caller]
    pub fn value(&mut self, sql: &str) -> String {
        self.ask(sql).join("\n")
    }

    /// What the server complained of.
    #[track_caller]
    pub fn refused(&mut self, sql: &str) -> String {
        self.try_ask(sql).expect_err(sql)
    }

    fn try_ask(&mut self, sql: &str) -> Result<Vec<String>, String> {
        let results = self.0.query(sql, SOON).map_err(|error| error.to_string())?;
        let last = results.into_iter().next_back().map(|result| result.rows).unwrap_or_default();
        let line =
            |row: Vec<Option<String>>| row.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>().join("|");
        Ok(last.into_iter().map(line).collect())
    }
}
