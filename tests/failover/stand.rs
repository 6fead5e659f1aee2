//! A primary and a replica, pgsluice before them, and clients of several kinds.

use std::process::Command;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub use pgsluice_fixtures::answers::*;
use pgsluice_fixtures::proxy::binary;
use pgsluice_fixtures::{Cluster, Frame, Login, Proxy, Raw, Role, Server, wait};

/// Longest wait for anything here.
pub const LONG: Duration = Duration::from_secs(40);
/// Within this whoever waited is served after a promotion.
pub const SOON: Duration = Duration::from_secs(2);

/// See the module.
pub struct Stand {
    // Before the cluster, so that it goes first.
    pub proxy: Proxy,
    pub cluster: Cluster,
    config: String,
}

impl Stand {
    /// With this at the top of the configuration.
    pub fn new(top: &str) -> Stand {
        Stand::with(top, "", "", &[])
    }

    /// With this at the top of the configuration, this in the cluster's and the database's, and these settings of the servers.
    pub fn with(top: &str, of_cluster: &str, of_database: &str, settings: &[(&str, &str)]) -> Stand {
        Stand::build(top, &format!("monitor_interval = \"300ms\"\n{of_cluster}"), of_database, "", settings)
    }

    /// With the monitor as it is by default, a rule that lets writes of `audit` through, and further tables of the configuration.
    pub fn by_defaults(tables: &str) -> Stand {
        let tables = format!("[maintenance]\nwrite_rules = [\"allow insert on audit\"]\n{tables}");
        Stand::build("", "", "", &tables, &[])
    }

    fn build(top: &str, of_cluster: &str, of_database: &str, tables: &str, settings: &[(&str, &str)]) -> Stand {
        let mut builder = Cluster::builder()
            .replicas(1)
            .hba(["host all all 127.0.0.1/32 trust"])
            .roles([
                Role::new("app"),
                Role::new("late"),
                Role::new("sess"),
                Role::new("stmt"),
                Role::new("dba").superuser(),
                Role::new("monitor").option("IN ROLE pg_monitor"),
            ])
            .databases(["app"]);
        for (name, value) in settings {
            builder = builder.setting(*name, *value);
        }
        let cluster = builder.start().expect("a cluster");
        let upstreams = [cluster.primary(), cluster.replica(0)].map(|one| format!("\"127.0.0.1:{}\"", one.port()));
        let config = format!(
            "listen_port = {{port}}\nstate_file = \"{{dir}}/state.json\"\nworkers = 2\nauth_type = \"trust\"\n\
             admin_users = [\"dba\"]\noperators = [\"dba\"]\n{top}\n\
             [clusters.main]\nupstreams = [UPSTREAMS]\nmonitor_user = \"monitor\"\n\
             {of_cluster}\n[databases.app]\n{of_database}\n[users.sess]\npool_mode = \"session\"\n{tables}"
        );
        let first = config.replace("UPSTREAMS", &upstreams.join(", "));
        let proxy = Proxy::builder(binary(env!("CARGO_BIN_EXE_pgsluice"))).config(first).start().expect("a proxy");
        let stand = Stand { proxy, cluster, config };
        stand.cluster.primary().psql_in("app", SCHEMA).expect("the schema");
        stand.cluster.wait_for_replay(LONG).expect("a replica that follows");
        stand.wait_for_roles(&["primary", "replica"]);
        stand
    }

    /// Puts other servers into the configuration and has it read.
    pub fn reload_with(&mut self, upstreams: &[u16]) {
        self.rewrite(upstreams, &[]);
        self.console("RELOAD");
    }

    /// Writes the configuration with these texts in the place of those, which nobody reads yet.
    pub fn rewrite(&mut self, upstreams: &[u16], changes: &[(&str, &str)]) {
        let upstreams: Vec<String> = upstreams.iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect();
        let mut config = self.config.replace("UPSTREAMS", &upstreams.join(", "));
        for (before, after) in changes {
            assert!(config.contains(before), "{before}");
            config = config.replace(before, after);
        }
        self.proxy.reconfigure(&config).expect("a configuration");
    }

    /// Puts this at the top of the configuration and has it read.
    pub fn reload_with_top(&mut self, top: &str) {
        let ports =
            [self.cluster.primary(), self.cluster.replica(0)].map(|one| format!("\"127.0.0.1:{}\"", one.port()));
        let config = format!("{top}\n{}", self.config.replace("UPSTREAMS", &ports.join(", ")));
        self.proxy.reconfigure(&config).expect("a configuration");
        self.console("RELOAD");
    }

    pub fn connect(&self, user: &str) -> Raw {
        Raw::connect(&self.proxy.tcp(), &Login::new(user, "app")).unwrap_or_else(|error| panic!("{user}: {error}"))
    }

    /// A log-in and a statement behind it, in a thread of its own.
    pub fn connect_later(&self, user: &'static str, sql: &'static str) -> Later {
        let address = self.proxy.tcp();
        Later::run(user, move || {
            let mut raw = Raw::connect(&address, &Login::new(user, "app")).map_err(|error| error.to_string())?;
            ask(&mut raw, sql).map(|frames| (raw, frames))
        })
    }

    /// A statement on the console; its rows.
    pub fn console(&self, sql: &str) -> Vec<Vec<String>> {
        let mut raw = Raw::connect(&self.proxy.tcp(), &Login::new("dba", "pgsluice")).expect("the console");
        let frames = query(&mut raw, sql);
        if let Some(error) = frames.iter().find_map(Frame::error) {
            panic!("{sql}: {error}");
        }
        rows(&frames)
    }

    /// What SHOW UPSTREAMS says of each server's role.
    pub fn roles(&self) -> Vec<String> {
        self.console("SHOW UPSTREAMS").into_iter().map(|row| row[2].clone()).collect()
    }

    pub fn wait_for_roles(&self, wanted: &[&str]) {
        wait::until_ok(LONG, "the roles", || {
            let roles = self.roles();
            if roles == wanted { Ok(()) } else { Err(format!("{roles:?} instead of {wanted:?}")) }
        });
    }

    /// What the new primary holds, by a connection of its own.
    pub fn written_on_the_new_one(&self) -> Vec<String> {
        let text = self.cluster.replica(0).psql_in("app", "SELECT who FROM w ORDER BY who").expect("its rows");
        text.lines().map(str::to_owned).collect()
    }
}

const SCHEMA: &str = "
CREATE TABLE w (id serial, who text);
CREATE TABLE audit (who text);
CREATE TABLE t (id int PRIMARY KEY, v text);
INSERT INTO t SELECT i, 'row ' || i FROM generate_series(1, 10) i;
CREATE FUNCTION counts() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM t); END';
CREATE FUNCTION rwoff() RETURNS text LANGUAGE sql AS $$SELECT set_config('default_transaction_'||'read_only','off',false)$$;
GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC;
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO PUBLIC;
";

/// What comes of something in a thread of its own: the client and its answer.
pub struct Later {
    what: String,
    thread: JoinHandle<Result<(Raw, Vec<Frame>), String>>,
}

impl Later {
    pub fn run(
        what: impl Into<String>,
        work: impl FnOnce() -> Result<(Raw, Vec<Frame>), String> + Send + 'static,
    ) -> Later {
        Later { what: what.into(), thread: thread::spawn(work) }
    }

    /// A statement of a client that is there.
    pub fn ask(what: impl Into<String>, mut raw: Raw, sql: &'static str) -> Later {
        Later::run(what, move || ask(&mut raw, sql).map(|frames| (raw, frames)))
    }

    pub fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits until then; panics if it fails or takes longer.
    pub fn by(self, deadline: Instant) -> (Raw, Vec<Frame>) {
        while !self.thread.is_finished() {
            assert!(Instant::now() < deadline, "{} still waits", self.what);
            thread::sleep(Duration::from_millis(10));
        }
        match self.thread.join().expect("no panic") {
            Ok(done) => done,
            Err(error) => panic!("{}: {error}", self.what),
        }
    }

    /// Panics with the answer if it has one already.
    pub fn waits_still(self) -> Later {
        if self.is_over() {
            let what = self.what.clone();
            let (_, frames) = self.by(Instant::now());
            panic!("{what} does not wait: {:?}", frames.iter().find_map(Frame::error));
        }
        self
    }

    /// The same for a statement that succeeds.
    pub fn succeeds_by(self, deadline: Instant) -> Raw {
        let what = self.what.clone();
        let (raw, frames) = self.by(deadline);
        assert_eq!(sqlstate(&frames), "", "{what}");
        raw
    }
}

/// The postmaster and its children, as a machine that hangs.
pub fn signal(server: &Server, signal: &str) {
    let postmaster = server.pid().expect("it runs").to_string();
    let children = Command::new("pgrep").args(["-P", &postmaster]).output().expect("pgrep").stdout;
    let children = String::from_utf8_lossy(&children).into_owned();
    // A child may have ended meanwhile; the postmaster has not.
    for child in children.split_whitespace() {
        let _ = Command::new("kill").args([signal, child]).output().expect("kill");
    }
    assert!(Command::new("kill").args([signal, &postmaster]).status().expect("kill").success());
}
