//! A primary and a replica, pgsluice before them, and a role that may switch them over.

use std::path::Path;
use std::process::Command;
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub use pgsluice_fixtures::answers::Answer;
use pgsluice_fixtures::cluster::Mode;
use pgsluice_fixtures::proxy::binary;
use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Cluster, Login, Proxy, Raw, Role, Server, wait};

/// Longest wait for anything here.
pub const LONG: Duration = Duration::from_secs(60);

/// What the role for it has to be granted, without being a superuser.
const GRANTS: &str = "
GRANT ALTER SYSTEM ON PARAMETER default_transaction_read_only TO switcher;
GRANT EXECUTE ON FUNCTION pg_reload_conf() TO switcher;
GRANT EXECUTE ON FUNCTION pg_promote(boolean, integer) TO switcher;
";

const SCHEMA: &str = "
CREATE TABLE written (id bigint);
CREATE TABLE t (id int PRIMARY KEY, v text);
INSERT INTO t SELECT i, 'row ' || i FROM generate_series(1, 100) i;
GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC;
";

/// See the module.
pub struct Stand {
    // Before the cluster, so that it goes first.
    pub proxy: Proxy,
    pub cluster: Cluster,
    pub config: String,
}

impl Stand {
    pub fn new() -> Stand {
        Stand::with("")
    }

    /// With this in the cluster's table. PORT0 and PORT1 stand for the ports of the servers.
    pub fn with(of_cluster: &str) -> Stand {
        Stand::build(of_cluster, &[], true)
    }

    /// With these settings of the servers, and the role with or without its rights.
    pub fn build(of_cluster: &str, settings: &[(&str, &str)], granted: bool) -> Stand {
        let mut builder = Cluster::builder()
            .replicas(1)
            .hba(["host all all 127.0.0.1/32 trust"])
            .roles([
                Role::new("app"),
                Role::new("dba").superuser(),
                Role::new("monitor").option("IN ROLE pg_monitor"),
                Role::new("switcher"),
            ])
            .databases(["app", "other"])
            .setting("wal_log_hints", "on")
            .setting("full_page_writes", "on");
        for (name, value) in settings {
            builder = builder.setting(*name, *value);
        }
        let cluster = builder.start().expect("a cluster");
        if granted {
            let grants = format!("GRANT pg_monitor, pg_signal_backend TO switcher; {GRANTS}");
            cluster.primary().psql_in("postgres", &grants).expect("grants");
        }
        cluster.primary().psql_in("app", SCHEMA).expect("the schema");
        let ports = [cluster.primary(), cluster.replica(0)].map(Server::port);
        let upstreams = ports.map(|port| format!("\"127.0.0.1:{port}\"")).join(", ");
        let of_cluster = of_cluster.replace("PORT0", &ports[0].to_string()).replace("PORT1", &ports[1].to_string());
        let config = format!(
            "listen_port = {{port}}\nstate_file = \"{{dir}}/state.json\"\nworkers = 2\nauth_type = \"trust\"\n\
             admin_users = [\"dba\"]\noperators = [\"dba\"]\ndefault_pool_size = 30\n\
             [http]\nlisten = \"127.0.0.1:{{port:http}}\"\noperate_tokens = [\"ci:{TOKEN_HASH}\"]\n\
             [clusters.main]\nupstreams = [{upstreams}]\nmonitor_user = \"monitor\"\nmonitor_interval = \"300ms\"\n\
             switchover_user = \"switcher\"\n{of_cluster}\n[databases.app]\n[databases.other]\n"
        );
        let proxy = Proxy::builder(binary(env!("CARGO_BIN_EXE_pgsluice"))).config(&config).start().expect("a proxy");
        let stand = Stand { proxy, cluster, config };
        stand.cluster.wait_for_replay(LONG).expect("a replica that follows");
        stand.wait_for_roles(&["primary", "replica"]);
        stand
    }

    pub fn server(&self, at: usize) -> &Server {
        if at == 0 { self.cluster.primary() } else { self.cluster.replica(0) }
    }

    /// As SHOW UPSTREAMS has it.
    pub fn name(&self, at: usize) -> String {
        format!("127.0.0.1:{}", self.server(at).port())
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

    pub fn switch_to(&self, at: usize, options: &str) -> Answer {
        self.command(&format!("SWITCHOVER app TO '{}' {options}", self.name(at)))
    }

    /// The same in a thread of its own.
    pub fn begin_switch_to(&self, at: usize, options: &str) -> JoinHandle<Answer> {
        let mut console = self.console();
        let sql = format!("SWITCHOVER app TO '{}' {options}", self.name(at));
        thread::spawn(move || {
            console.send(&message::query(&sql)).expect("sent");
            // A proxy that is killed gives no answer.
            console.frames_until_ready(LONG).map_or_else(|_| Answer::of(&[]), |frames| Answer::of(&frames))
        })
    }

    pub fn roles(&self) -> Vec<String> {
        self.command("SHOW UPSTREAMS").rows.into_iter().map(|row| row[2].clone()).collect()
    }

    pub fn wait_for_roles(&self, wanted: &[&str]) {
        wait::until_ok(LONG, "the roles", || {
            let roles = self.roles();
            if roles == wanted { Ok(()) } else { Err(format!("{roles:?} instead of {wanted:?}")) }
        });
    }

    /// Modes of app and other.
    pub fn modes(&self) -> Vec<String> {
        self.command("SHOW MAINTENANCE").rows.into_iter().map(|row| row[1].clone()).collect()
    }

    pub fn wait_until_open(&self) {
        wait::until_ok(LONG, "open databases", || {
            let modes = self.modes();
            if modes == ["read_write", "read_write"] { Ok(()) } else { Err(format!("{modes:?}")) }
        });
    }

    /// The last move: step and state.
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

    /// Writes through the proxy, on whichever server it leads to.
    pub fn writes(&self, id: i64) -> Answer {
        ask(&mut self.client("app"), &format!("INSERT INTO written VALUES ({id})"))
    }

    /// Whether a server takes writes of a plain session that comes to it directly.
    pub fn is_writable(&self, at: usize) -> bool {
        let Ok(mut direct) = Raw::connect(&self.server(at).tcp(), &Login::new("app", "app")) else { return false };
        ask(&mut direct, "CREATE TABLE probe (); DROP TABLE probe").sqlstate.is_empty()
    }

    /// The one that was replaced becomes a replica of the other, as docs/MOVING.md says.
    pub fn bring_back(&self, old: usize, new: usize) {
        let (old, new) = (self.server(old), self.server(new));
        old.stop(Mode::Fast).expect("a clean stop");
        old.rewind(new).expect("pg_rewind");
        follow(old, new);
    }

    pub fn ids(&self, at: usize) -> Vec<i64> {
        let text = self.server(at).psql_in("app", "SELECT id FROM written ORDER BY id").expect("rows");
        text.lines().map(|line| line.parse().expect("a number")).collect()
    }
}

/// A stopped server follows another one.
pub fn follow(old: &Server, new: &Server) {
    let slot = format!(
        "SELECT count(pg_create_physical_replication_slot('{0}')) FROM (SELECT 1 WHERE NOT EXISTS \
         (SELECT FROM pg_replication_slots WHERE slot_name = '{0}')) x",
        old.name()
    );
    new.psql_in("postgres", &slot).expect("a slot");
    old.follow(new).expect("its configuration");
    old.start().expect("a start");
    let timeline =
        new.psql_in("postgres", "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)").expect("a timeline");
    let timeline = u32::from_str_radix(timeline.trim(), 16).expect("a number");
    let streams =
        format!("SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming' AND received_tli = {timeline}");
    if let Err(error) = old.wait_until(&streams, "1", Duration::from_secs(10)) {
        let now = old.psql_in("postgres", "SELECT * FROM pg_stat_wal_receiver").unwrap_or_default();
        panic!("{error}: {now}\n{}", old.log());
    }
}

/// A statement, whole answer.
pub fn ask(raw: &mut Raw, sql: &str) -> Answer {
    raw.send(&message::query(sql)).expect("sent");
    Answer::of(&raw.frames_until_ready(LONG).unwrap_or_else(|error| panic!("{sql}: {error}")))
}

/// A shell script that the proxy can run.
pub fn script(folder: &Path, name: &str, text: &str) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    let path = folder.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("a script");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("its mode");
    path.display().to_string()
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

/// Of the token "0123456789abcdef0123456789abcdef".
pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const TOKEN_HASH: &str = "3eb1bd439947eb762998e566ccc2e099c791118b2f40579cc4f7da2b5061b7f9";
