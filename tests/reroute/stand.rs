//! Two clusters, `a` and `b`, with a database of the same name and different rows, and pgsluice before them.

use std::thread::{self, JoinHandle};
use std::time::Duration;

pub use pgsluice_fixtures::answers::{detail, fine, query, rows, sqlstate};
use pgsluice_fixtures::proxy::binary;
use pgsluice_fixtures::{Cluster, Frame, Login, Proxy, Raw, Role, Server, wait};

/// Longest wait for anything here.
pub const LONG: Duration = Duration::from_secs(40);

/// See the module.
pub struct Stand {
    // Before the clusters, so that it goes first.
    pub proxy: Proxy,
    pub a: Cluster,
    pub b: Cluster,
    pub config: String,
}

/// What each cluster has; SITE is its name.
const SCHEMA: &str = "
CREATE TABLE site (name text);
INSERT INTO site VALUES ('SITE');
CREATE TABLE w (id serial, who text);
GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC;
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO PUBLIC;
";

/// A cluster of that name.
pub fn cluster(site: &str, replicas: usize) -> Cluster {
    let cluster = Cluster::builder()
        .replicas(replicas)
        .hba(["host all all 127.0.0.1/32 trust"])
        .roles([
            Role::new("app"),
            Role::new("sess"),
            Role::new("dba").superuser(),
            Role::new("monitor").option("IN ROLE pg_monitor"),
        ])
        .databases(["app", "app2", "other"])
        .start()
        .expect("a cluster");
    for database in ["app", "app2", "other"] {
        let schema =
            SCHEMA.replace("SITE", &if database == "app" { site.to_owned() } else { format!("{site}.{database}") });
        cluster.primary().psql_in(database, &schema).expect("the schema");
    }
    cluster
}

impl Stand {
    pub fn new() -> Stand {
        Stand::with("")
    }

    /// With further tables of the configuration.
    pub fn with(tables: &str) -> Stand {
        let (b, a) = (thread::spawn(|| cluster("b", 0)), cluster("a", 0));
        Stand::of(a, b.join().expect("no panic"), None, tables)
    }

    /// Of these clusters; `b` may be one server of them.
    pub fn of(a: Cluster, b: Cluster, copy: Option<u16>, tables: &str) -> Stand {
        let ports = (a.primary().port(), copy.unwrap_or_else(|| b.primary().port()));
        let config = format!(
            "listen_port = {{port}}\nstate_file = \"{{dir}}/state.json\"\nworkers = 2\nauth_type = \"trust\"\n\
             admin_users = [\"dba\"]\noperators = [\"dba\"]\n\
             [clusters.a]\nupstreams = [\"127.0.0.1:{}\"]\nmonitor_user = \"monitor\"\nmonitor_interval = \"300ms\"\n\
             [clusters.b]\nupstreams = [\"127.0.0.1:{}\"]\nmonitor_user = \"monitor\"\nmonitor_interval = \"300ms\"\n\
             [databases.app]\ncluster = \"a\"\n[databases.alias]\ncluster = \"a\"\ndbname = \"app\"\n\
             [databases.app_on_b]\ncluster = \"b\"\ndbname = \"app\"\n[databases.'*']\ncluster = \"a\"\n\
             [users.sess]\npool_mode = \"session\"\n{tables}",
            ports.0, ports.1
        );
        let proxy = Proxy::builder(binary(env!("CARGO_BIN_EXE_pgsluice"))).config(&config).start().expect("a proxy");
        let stand = Stand { proxy, a, b, config };
        stand.wait_for_servers();
        stand
    }

    /// Until each server is known to be what it is.
    pub fn wait_for_servers(&self) {
        wait::until_ok(LONG, "the roles", || {
            let roles: Vec<_> = self.console("SHOW UPSTREAMS").into_iter().map(|row| row[2].clone()).collect();
            let known = roles.iter().all(|role| matches!(role.as_str(), "primary" | "replica" | "down"));
            if known { Ok(()) } else { Err(format!("{roles:?}")) }
        });
    }

    pub fn connect(&self, user: &str) -> Raw {
        self.connect_to(user, "app")
    }

    pub fn connect_to(&self, user: &str, database: &str) -> Raw {
        Raw::connect(&self.proxy.tcp(), &Login::new(user, database)).unwrap_or_else(|error| panic!("{user}: {error}"))
    }

    /// A statement on the console; its rows.
    pub fn console(&self, sql: &str) -> Vec<Vec<String>> {
        let frames = self.ask_console(sql);
        if let Some(error) = frames.iter().find_map(Frame::error) {
            panic!("{sql}: {error}, {:?}", error.detail());
        }
        rows(&frames)
    }

    /// A statement on the console; its whole answer.
    pub fn ask_console(&self, sql: &str) -> Vec<Frame> {
        query(&mut self.connect_to("dba", "pgsluice"), sql)
    }

    /// A statement on the console, in a thread of its own.
    pub fn console_later(&self, sql: &str) -> JoinHandle<Vec<Frame>> {
        let (address, sql) = (self.proxy.tcp(), sql.to_owned());
        thread::spawn(move || {
            let mut raw = Raw::connect(&address, &Login::new("dba", "pgsluice")).expect("the console");
            query(&mut raw, &sql)
        })
    }
}

/// The names of those who have written there.
pub fn written(server: &Server, database: &str) -> Vec<String> {
    let text = server.psql_in(database, "SELECT who FROM w ORDER BY id").expect("its rows");
    text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// Where a client's statements run.
pub fn site(raw: &mut Raw) -> String {
    fine(raw, "SELECT name FROM site").concat().concat()
}
