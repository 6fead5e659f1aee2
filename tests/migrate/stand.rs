//! A cluster of the old version, `blue`, one of the new version, `green`, and pgsluice before them.

use std::thread::{self, JoinHandle};
use std::time::Duration;

pub use pgsluice_fixtures::answers::Answer;
use pgsluice_fixtures::proxy::binary;
use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Cluster, Login, Postgres, Proxy, Raw, Role, wait};

/// Longest wait for anything here.
pub const LONG: Duration = Duration::from_secs(60);

/// See the module.
pub struct Stand {
    // Before the clusters, so that it goes first.
    pub proxy: Proxy,
    pub blue: Cluster,
    pub green: Cluster,
}

pub const SCHEMA: &str = "
CREATE TABLE t (id int PRIMARY KEY, v text);
CREATE TABLE w (id bigserial PRIMARY KEY, who text NOT NULL, n bigint NOT NULL, UNIQUE (who, n));
CREATE SEQUENCE \"Down\" INCREMENT -1;
GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC;
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO PUBLIC;
";

fn cluster(major: u32, schema: &str) -> Cluster {
    let cluster = Cluster::builder()
        .installation(Postgres::major(major).expect("that PostgreSQL"))
        .setting("wal_level", "logical")
        .setting("max_prepared_transactions", "5")
        .hba(["host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"])
        .roles([
            Role::new("app"),
            Role::new("dba").superuser(),
            Role::new("monitor").option("IN ROLE pg_monitor"),
            Role::new("mover").superuser(),
        ])
        .databases(["app"])
        .start()
        .expect("a cluster");
    cluster.primary().psql_in("app", "GRANT CREATE ON SCHEMA public TO app").expect("a grant");
    cluster.primary().psql_in("app", schema).expect("the schema");
    cluster
}

impl Stand {
    /// With that many rows in the old one.
    pub fn new(rows: u64) -> Stand {
        Stand::with(rows, SCHEMA)
    }

    /// With that schema on the new side.
    pub fn with(rows: u64, schema: &'static str) -> Stand {
        let (green, blue) = (thread::spawn(move || cluster(18, schema)), cluster(15, SCHEMA));
        let green = green.join().expect("no panic");
        let fill = format!("INSERT INTO t SELECT i, 'row ' || i FROM generate_series(1, {rows}) i");
        blue.primary().psql_in("app", &fill).expect("rows");
        let of_cluster = "monitor_user = \"monitor\"\nmonitor_interval = \"300ms\"\nswitchover_user = \"mover\"\n";
        let config = format!(
            "listen_port = {{port}}\nstate_file = \"{{dir}}/state.json\"\nworkers = 2\nauth_type = \"trust\"\n\
             admin_users = [\"dba\"]\noperators = [\"dba\"]\n\
             [http]\nlisten = \"127.0.0.1:{{port:http}}\"\noperate_tokens = [\"ci:{TOKEN_HASH}\"]\n\
             [clusters.blue]\nupstreams = [\"127.0.0.1:{}\"]\n{of_cluster}\
             [clusters.green]\nupstreams = [\"127.0.0.1:{}\"]\n{of_cluster}\
             [databases.app]\ncluster = \"blue\"\n[databases.alias]\ncluster = \"blue\"\ndbname = \"app\"\n",
            blue.primary().port(),
            green.primary().port()
        );
        let proxy = Proxy::builder(binary(env!("CARGO_BIN_EXE_pgsluice"))).config(config).start().expect("a proxy");
        let stand = Stand { proxy, blue, green };
        wait::until_ok(LONG, "the roles", || {
            let roles: Vec<_> = stand.command("SHOW UPSTREAMS").rows.into_iter().map(|row| row[2].clone()).collect();
            if roles.iter().all(|role| role == "primary") { Ok(()) } else { Err(format!("{roles:?}")) }
        });
        stand
    }

    pub fn console(&self) -> Raw {
        Raw::connect(&self.proxy.tcp(), &Login::new("dba", "pgsluice")).expect("the console")
    }

    pub fn client(&self, user: &str) -> Raw {
        Raw::connect(&self.proxy.tcp(), &Login::new(user, "app")).expect("a client")
    }

    /// A command of the console, whole answer.
    pub fn command(&self, sql: &str) -> Answer {
        ask(&mut self.console(), sql)
    }

    /// The same in a thread of its own; a proxy that is killed gives no answer.
    pub fn begin(&self, sql: &str) -> JoinHandle<Answer> {
        let (mut console, sql) = (self.console(), sql.to_owned());
        thread::spawn(move || {
            console.send(&message::query(&sql)).expect("sent");
            console.frames_until_ready(LONG).map_or_else(|_| Answer::of(&[]), |frames| Answer::of(&frames))
        })
    }

    /// Runs on a server's database past pgsluice, as an operator does; errors are the test's.
    pub fn blue(&self, text: &str) -> String {
        direct(&self.blue, text)
    }

    pub fn green(&self, text: &str) -> String {
        direct(&self.green, text)
    }

    /// Step and state of the last move.
    pub fn last_move(&self) -> (String, String) {
        let rows = self.command("SHOW MOVES").rows;
        rows.first().map(|row| (row[4].clone(), row[5].clone())).unwrap_or_default()
    }

    pub fn wait_for_step(&self, step: &str) {
        wait::until_ok(LONG, step, || {
            let last = self.last_move();
            if last.0 == step && last.1 == "running" { Ok(()) } else { Err(format!("{last:?}")) }
        });
    }

    pub fn wait_for_end(&self) -> (String, String) {
        wait::until(LONG, "the end of the move", || Some(self.last_move()).filter(|(_, state)| state != "running"))
    }

    pub fn wait_until_open(&self) {
        wait::until_ok(LONG, "an open database", || {
            let modes: Vec<_> = self.command("SHOW MAINTENANCE").rows.into_iter().collect();
            let moves = || self.command("SHOW MOVES").rows.into_iter().next();
            if modes.iter().all(|row| row[1] == "read_write") {
                Ok(())
            } else {
                Err(format!("{modes:?} {:?}", moves()))
            }
        });
    }

    /// Publications, subscriptions and slots of both sides.
    pub fn left_behind(&self) -> String {
        let all = "SELECT 'p ' || pubname FROM pg_publication UNION ALL SELECT 's ' || subname FROM pg_subscription \
                   UNION ALL SELECT 'slot ' || slot_name FROM pg_replication_slots ORDER BY 1";
        format!("{} {}", self.blue(all), self.green(all)).trim().to_owned()
    }

    /// Where a client's writes arrive.
    pub fn version_of_clients(&self) -> String {
        let answer = ask(&mut self.client("app"), "SHOW server_version_num").fine();
        answer.rows[0][0][..2].to_owned()
    }
}

fn direct(cluster: &Cluster, text: &str) -> String {
    cluster.primary().psql_in("app", text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A statement, whole answer.
pub fn ask(raw: &mut Raw, sql: &str) -> Answer {
    raw.send(&message::query(sql)).expect("sent");
    Answer::of(&raw.frames_until_ready(LONG).unwrap_or_else(|error| panic!("{sql}: {error}")))
}

/// Of the token "0123456789abcdef0123456789abcdef".
pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const TOKEN_HASH: &str = "3eb1bd439947eb762998e566ccc2e099c791118b2f40579cc4f7da2b5061b7f9";
