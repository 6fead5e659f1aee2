//! A server with room for PostgreSQL's regression suite, and the proxy in front of it.

use pgsluice_fixtures::proxy::binary;
use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Address, Cluster, Frame, Login, Proxy, Raw, RawError, Role};
use std::time::Duration;

/// Longest wait for a statement.
pub const LONG: Duration = Duration::from_secs(120);

pub const DATABASE: &str = "regression";
/// Whose statements these are: a superuser, as the regression suite asks for, and no operator.
pub const USER: &str = "tester";

pub struct Stand {
    pub cluster: Cluster,
    pub proxy: Proxy,
}

impl Stand {
    pub fn new(extra: &str) -> Stand {
        let cluster = Cluster::builder()
            .roles([
                Role::new(USER).password("t").superuser(),
                Role::new("dba").password("dba").superuser(),
                Role::new("monitor").password("monitor").superuser(),
            ])
            .databases([DATABASE])
            .setting("wal_level", "logical")
            .setting("max_prepared_transactions", "10")
            .setting("max_connections", "60")
            // Nobody but the statements themselves is to take transaction ids.
            .setting("autovacuum", "off")
            .setting("allow_in_place_tablespaces", "on")
            .start()
            .expect("a cluster");
        let port = cluster.primary().port();
        let config = format!(
            r#"listen_port = {{port}}
state_file = "{{dir}}/state.json"
workers = 2
auth_file = "userlist.txt"
admin_users = ["dba"]
operators = ["dba"]
default_pool_size = 40
{extra}
[maintenance]
drain_timeout = "10s"
on_timeout = "cancel"
[clusters.main]
upstreams = ["127.0.0.1:{port}"]
monitor_user = "monitor"
monitor_password = "monitor"
[databases.{DATABASE}]
"#
        );
        let proxy = Proxy::builder(binary(env!("CARGO_BIN_EXE_pgsluice")))
            .config(&config)
            .file("userlist.txt", format!("\"{USER}\" \"t\"\n\"dba\" \"dba\"\n"))
            .start()
            .expect("a proxy");
        let stand = Stand { cluster, proxy };
        // As pg_regress has them; nobody waits long for what another holds.
        for setting in [
            "timezone = 'PST8PDT'",
            "datestyle = 'postgres, mdy'",
            "intervalstyle = 'postgres_verbose'",
            "lock_timeout = '100ms'",
            "statement_timeout = '60s'",
        ] {
            stand.psql(&format!("ALTER DATABASE {DATABASE} SET {setting}"));
        }
        stand.psql("CREATE EXTENSION pg_walinspect");
        stand
    }

    /// As the superuser, directly; the last value.
    pub fn psql(&self, sql: &str) -> String {
        self.cluster.primary().psql_in(DATABASE, sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    fn login(database: &str) -> Login {
        Login::new(USER, database).password("t")
    }

    /// Directly, free to write.
    #[allow(dead_code)] // the fuzzer borrows this file and prepares nothing
    pub fn preparer(&self) -> Raw {
        let mut raw = Raw::connect(&Address::local(self.cluster.primary().port()), &Stand::login(DATABASE)).unwrap();
        ask(&mut raw, "SET lock_timeout = '5s'").unwrap();
        raw
    }

    /// Directly, with every transaction READ ONLY: what PostgreSQL itself says.
    pub fn truth(&self) -> Raw {
        let login = Stand::login(DATABASE).parameter("options", "-c default_transaction_read_only=on");
        Raw::connect(&Address::local(self.cluster.primary().port()), &login).unwrap()
    }

    /// Through the proxy.
    pub fn proxied(&self) -> Raw {
        Raw::connect(&self.proxy.tcp(), &Stand::login(DATABASE)).unwrap()
    }

    /// A command on the console.
    pub fn console(&self, sql: &str) -> Vec<Frame> {
        let mut raw = Raw::connect(&self.proxy.tcp(), &Login::new("dba", "pgsluice").password("dba")).unwrap();
        let frames = ask(&mut raw, sql).unwrap();
        assert!(frames.iter().all(|frame| frame.tag != b'E'), "{sql}: {frames:?}");
        frames
    }

    /// Closes the gate and waits until the database is quiesced.
    pub fn on(&self) {
        self.console(&format!("MAINTENANCE ON {DATABASE} WITH (message 'corpus')"));
    }

    pub fn off(&self) {
        self.console(&format!("MAINTENANCE OFF {DATABASE}"));
    }
}

/// A simple query, whole answer.
pub fn ask(raw: &mut Raw, sql: &str) -> Result<Vec<Frame>, RawError> {
    raw.send(&message::query(sql))?;
    raw.frames_until_ready(LONG)
}
