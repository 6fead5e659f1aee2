//! A cluster of the old version, `blue`, one of the new version, `green`, and pgsluice before them.

use std::thread;
use std::time::Duration;

use pgsluice_fixtures::proxy::binary;
use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Cluster, Frame, Login, Postgres, Proxy, Raw, Role, wait};

/// Longest wait for anything here.
pub const LONG: Duration = Duration::from_secs(60);

/// See the module.
pub struct Stand {
    // Before the clusters, so that it goes first.
    pub proxy: Proxy,
    pub blue: Cluster,
    pub green: Cluster,
}

const SCHEMA: &str = "
CREATE TABLE t (id int PRIMARY KEY, v text);
CREATE TABLE w (id bigserial PRIMARY KEY, who text NOT NULL, n bigint NOT NULL, UNIQUE (who, n));
GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC;
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO PUBLIC;
";

fn cluster(major: u32) -> Cluster {
    let cluster = Cluster::builder()
        .installation(Postgres::major(major).expect("that PostgreSQL"))
        .setting("wal_level", "logical")
        .hba(["host all all 127.0.0.1/32 trust"])
        .roles([Role::new("app"), Role::new("dba").superuser(), Role::new("monitor").option("IN ROLE pg_monitor")])
        .databases(["app"])
        .start()
        .expect("a cluster");
    cluster.primary().psql_in("app", SCHEMA).expect("the schema");
    cluster
}

impl Stand {
    /// With that many rows in the old one.
    pub fn new(old: u32, new: u32, rows: u64) -> Stand {
        let (green, blue) = (thread::spawn(move || cluster(new)), cluster(old));
        let green = green.join().expect("no panic");
        let fill = format!("INSERT INTO t SELECT i, 'row ' || i FROM generate_series(1, {rows}) i");
        blue.primary().psql_in("app", &fill).expect("rows");
        let config = format!(
            "listen_port = {{port}}\nstate_file = \"{{dir}}/state.json\"\nworkers = 2\nauth_type = \"trust\"\n\
             admin_users = [\"dba\"]\noperators = [\"dba\"]\n\
             [clusters.blue]\nupstreams = [\"127.0.0.1:{}\"]\nmonitor_user = \"monitor\"\nmonitor_interval = \"300ms\"\n\
             [clusters.green]\nupstreams = [\"127.0.0.1:{}\"]\nmonitor_user = \"monitor\"\nmonitor_interval = \"300ms\"\n\
             [databases.app]\ncluster = \"blue\"\n",
            blue.primary().port(),
            green.primary().port()
        );
        let proxy = Proxy::builder(binary(env!("CARGO_BIN_EXE_pgsluice"))).config(config).start().expect("a proxy");
        let stand = Stand { proxy, blue, green };
        wait::until_ok(LONG, "the roles", || {
            let roles: Vec<_> = stand.console("SHOW UPSTREAMS").into_iter().map(|row| row[2].clone()).collect();
            if roles.iter().all(|role| role == "primary") { Ok(()) } else { Err(format!("{roles:?}")) }
        });
        stand
    }

    /// A statement on the console; its rows.
    pub fn console(&self, sql: &str) -> Vec<Vec<String>> {
        let mut raw = Raw::connect(&self.proxy.tcp(), &Login::new("dba", "pgsluice")).expect("the console");
        raw.send(&message::query(sql)).expect("sent");
        let frames = raw.frames_until_ready(LONG).expect("an answer");
        if let Some(error) = frames.iter().find_map(Frame::error) {
            panic!("{sql}: {error}, {:?}", error.detail());
        }
        let text = |value: Option<Vec<u8>>| String::from_utf8_lossy(&value.unwrap_or_default()).into_owned();
        let rows = frames.iter().filter(|frame| frame.tag == b'D');
        rows.map(|frame| frame.values().into_iter().map(text).collect()).collect()
    }
}
