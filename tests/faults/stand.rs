//! A primary and a replica behind relays that can fail, pgsluice before them, and load beside direct clients.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use pgsluice_fixtures::hosts::Hosts;
use pgsluice_fixtures::proxy::binary;
use pgsluice_fixtures::{Cluster, Login, Proxy, Raw, Relay, Role, Server, wait};

use crate::faults::Fault;
use crate::load::{Load, Way};

/// Longest wait for anything here.
pub const LONG: Duration = Duration::from_secs(40);

/// See the module.
pub struct Stand {
    // Before the cluster, so that it goes first.
    pub proxy: Proxy,
    pub relays: [Relay; 2],
    /// Beside the relay to the primary, at another address of this machine.
    pub beside: Option<Relay>,
    pub hosts: Option<Hosts>,
    pub cluster: Cluster,
    /// When a fence was lifted: only from then on writes can be back.
    pub lifted: Cell<Option<Instant>>,
}

/// What a fault needs besides the servers.
#[derive(Clone, Copy, PartialEq)]
pub enum World {
    Plain,
    /// The proxy checks the servers' certificates.
    Tls,
    /// The proxy knows one name, which leads where this hosts file says: 127.0.0.2 is the server of that number.
    Named(usize, &'static str),
}

/// What a fault has come to.
pub struct Outcome {
    pub acknowledged: usize,
    pub lost: usize,
    pub doubled: usize,
    pub dropped: usize,
    pub ours: Duration,
    pub drivers: Duration,
    pub logged: Vec<String>,
}

const SCHEMA: &str =
    "CREATE TABLE loaded (id bigint, way text); CREATE TABLE t AS SELECT i FROM generate_series(1, 10) i;
GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC;";

impl Stand {
    /// None: this machine does not give what it takes.
    pub fn new(world: World) -> Option<Stand> {
        let cluster = Cluster::builder()
            .replicas(1)
            .hba(["host all all 127.0.0.1/32 trust"])
            .roles([
                Role::new("app"),
                Role::new("sess"),
                Role::new("direct"),
                Role::new("dba").superuser(),
                Role::new("monitor").option("IN ROLE pg_monitor"),
            ])
            .databases(["app"])
            .setting("wal_log_hints", "on")
            .tls(world == World::Tls)
            .start()
            .expect("a cluster");
        let relays = [cluster.primary(), cluster.replica(0)].map(|server| Relay::to(server.port()).expect("a relay"));
        let mut program = binary(env!("CARGO_BIN_EXE_pgsluice"));
        let (mut beside, mut hosts) = (None, None);
        let mut upstreams = relays.each_ref().map(|relay| format!("\"127.0.0.1:{}\"", relay.port())).to_vec();
        if let World::Named(target, text) = world {
            let server = [cluster.primary(), cluster.replica(0)][target];
            beside = Some(relays[0].beside("127.0.0.2", server.port()).expect("a relay"));
            let file = Hosts::of(&program, text)?;
            program = file.program().to_owned();
            hosts = Some(file);
            upstreams = vec![format!("\"db.test:{}\"", relays[0].port())];
        }
        let tls = cluster.tls().map_or(String::new(), |tls| {
            format!("server_tls_sslmode = \"verify-full\"\nserver_tls_ca_file = \"{}\"\n", tls.ca_cert.display())
        });
        let config = format!(
            "listen_port = {{port}}\nstate_file = \"{{dir}}/state.json\"\nworkers = 2\nauth_type = \"trust\"\n\
             admin_users = [\"dba\"]\noperators = [\"dba\"]\nserver_connect_timeout = \"1s\"\n{tls}\
             [clusters.main]\nupstreams = [{}]\nmonitor_user = \"monitor\"\nmonitor_interval = \"300ms\"\n\
             monitor_timeout = \"1s\"\n[databases.app]\n[users.sess]\npool_mode = \"session\"\n",
            upstreams.join(", ")
        );
        let proxy = Proxy::builder(program).config(config).start().expect("a proxy");
        cluster.primary().psql_in("app", SCHEMA).expect("the schema");
        cluster.wait_for_replay(LONG).expect("a replica that follows");
        let stand = Stand { proxy, relays, beside, hosts, cluster, lifted: Cell::new(None) };
        stand.wait_for_roles(if stand.hosts.is_some() { &["primary"] } else { &["primary", "replica"] });
        Some(stand)
    }

    pub fn console(&self, sql: &str) -> Vec<Vec<String>> {
        let mut raw = Raw::connect(&self.proxy.tcp(), &Login::new("dba", "pgsluice")).expect("the console");
        let results = raw.query(sql, LONG).expect("an answer");
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        results.iter().flat_map(|result| &result.rows).map(|row| row.iter().map(text).collect()).collect()
    }

    pub fn roles(&self) -> Vec<String> {
        self.console("SHOW UPSTREAMS").into_iter().map(|row| row[2].clone()).collect()
    }

    pub fn wait_for_roles(&self, wanted: &[&str]) {
        wait::until_ok(LONG, "the roles", || {
            let roles = self.roles();
            if roles == wanted { Ok(()) } else { Err(format!("{roles:?} instead of {wanted:?}")) }
        });
    }

    pub fn primary(&self) -> &Server {
        self.cluster.primary()
    }

    pub fn replica(&self) -> &Server {
        self.cluster.replica(0)
    }

    /// Everything that has been written is on the replica: what a promotion then loses is not asynchronous replication's.
    pub fn replayed(&self) {
        let _ = self.cluster.wait_for_replay(Duration::from_secs(5));
    }

    /// Runs the fault beside a load, and counts.
    pub fn under_load(&self, fault: &Fault) -> Outcome {
        if fault.synchronous {
            let sql = "ALTER SYSTEM SET synchronous_standby_names = '*'";
            self.primary().psql_in("postgres", sql).expect("synchronous replication");
            self.primary().reload().expect("a reload");
            let synchronous = "SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')";
            self.primary().wait_until(synchronous, "1", LONG).expect("a synchronous standby");
        }
        let log_before = self.proxy.log().len();
        let stop = Arc::new(AtomicBool::new(false));
        let ours = Load::start(Way::Proxied(self.proxy.tcp()), &stop);
        let hosts = self.relays.each_ref().map(|relay| relay.port());
        let direct = Load::start(Way::Direct(hosts), &stop);
        for load in [&ours, &direct] {
            wait::until(LONG, "the load", || (load.acknowledged() > 40).then_some(()));
        }
        let begun = Instant::now();
        let survivor = (fault.act)(self);
        let begun = self.lifted.get().unwrap_or(begun);
        let (now, drivers) = (ours.acknowledged(), direct.acknowledged());
        wait::until(LONG, "writes through pgsluice to be back", || (ours.acknowledged() > now + 20).then_some(()));
        // The driver's may stay on a server that nobody is to write to, and wait there: that is its figure, and not the run's end.
        let is_back = || direct.acknowledged() > drivers + 20;
        while !is_back() && begun.elapsed() < LONG {
            std::thread::sleep(Duration::from_millis(50));
        }
        let without = if is_back() { Duration::ZERO } else { begun.elapsed() };
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        let (ours, direct) = (ours.end(), direct.end());
        let server = [self.primary(), self.replica()][survivor];
        let text = server.psql_in("app", "SELECT id FROM loaded").expect("its rows");
        let mut seen = BTreeSet::new();
        let mut doubled = 0;
        for id in text.lines().filter_map(|line| line.parse::<u64>().ok()) {
            doubled += usize::from(!seen.insert(id));
        }
        let lost = ours.acknowledged.iter().filter(|id| !seen.contains(id)).count();
        let dropped = ours.drops.iter().zip(&direct.drops).map(|(ours, direct)| ours.saturating_sub(*direct)).sum();
        Outcome {
            acknowledged: ours.acknowledged.len(),
            lost,
            doubled,
            dropped,
            ours: ours.longest_gap(begun),
            drivers: direct.longest_gap(begun).max(without),
            logged: events(&self.proxy.log()[log_before..]),
        }
    }
}

/// The kinds of events of lines at WARN and ERROR, each once.
fn events(log: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in log.lines().filter(|line| line.contains("WARN") || line.contains("ERROR")) {
        let event = line.split("event=").nth(1).and_then(|rest| rest.split([' ', ',']).next());
        let Some(event) = event.map(|event| event.trim_matches('"').to_owned()) else { continue };
        if !found.contains(&event) {
            found.push(event);
        }
    }
    found
}

/// The postmaster and its children, as a machine that hangs.
pub fn signal(server: &Server, signal: &str) {
    let postmaster = server.pid().expect("it runs").to_string();
    let children = Command::new("pgrep").args(["-P", &postmaster]).output().expect("pgrep").stdout;
    for child in String::from_utf8_lossy(&children).split_whitespace() {
        let _ = Command::new("kill").args([signal, child]).output();
    }
    assert!(Command::new("kill").args([signal, &postmaster]).status().expect("kill").success());
}
