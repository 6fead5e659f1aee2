//! Two replicas share reads evenly, and each is left alone while it is too far behind.

use std::thread;

use pgsluice_fixtures::proxy::binary;
use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Cluster, Login, Proxy, Raw, Role, Server, wait};

use crate::stand::{LONG, fine};

struct Pair {
    proxy: Proxy,
    cluster: Cluster,
}

impl Pair {
    fn start(of_cluster: &str) -> Pair {
        let cluster = Cluster::builder()
            .replicas(2)
            .hba(["host all all 127.0.0.1/32 trust"])
            .roles([Role::new("app"), Role::new("monitor").option("IN ROLE pg_monitor")])
            .databases(["app"])
            .start()
            .expect("a cluster");
        cluster.primary().psql_in("app", "CREATE TABLE t AS SELECT 1 AS a; GRANT ALL ON t TO PUBLIC").expect("a table");
        cluster.wait_for_replay(LONG).expect("replicas that follow");
        let upstreams: Vec<String> =
            cluster.servers().map(|server| format!("\"127.0.0.1:{}\"", server.port())).collect();
        let config = format!(
            "listen_port = {{port}}\nstate_file = \"{{dir}}/state.json\"\nworkers = 2\nauth_type = \"trust\"\nadmin_users = [\"app\"]\n\
             [clusters.main]\nupstreams = [{}]\nmonitor_user = \"monitor\"\nmonitor_interval = \"100ms\"\n{of_cluster}\n\
             [databases.app]\nreads = \"prefer_replica\"\n",
            upstreams.join(", ")
        );
        let proxy = Proxy::builder(binary(env!("CARGO_BIN_EXE_pgsluice"))).config(config).start().expect("a proxy");
        let pair = Pair { proxy, cluster };
        wait::until(LONG, "two replicas", || {
            let mut console = Raw::connect(&pair.proxy.tcp(), &Login::new("app", "pgsluice")).ok()?;
            (fine(&mut console, "SHOW UPSTREAMS").iter().filter(|row| row[2] == "replica").count() == 2).then_some(())
        });
        pair
    }

    fn client(&self) -> Raw {
        Raw::connect(&self.proxy.tcp(), &Login::new("app", "app")).expect("a client")
    }
}

/// Transactions of the database that the server has seen; a session's are told once it is idle for a moment.
fn transactions(server: &Server) -> u64 {
    let sql = "SELECT pg_stat_clear_snapshot(), xact_commit FROM pg_stat_database WHERE datname = 'app'";
    let text = server.psql_in("postgres", sql).unwrap();
    text.rsplit('|').next().unwrap().trim().parse().unwrap()
}

fn shares(pair: &Pair, clients: usize, reads: usize) -> [u64; 3] {
    // A back end tells of its transactions once in a while, and when it ends.
    let settled = || {
        wait::until(LONG, "the counters to come to rest", || {
            let seen: Vec<u64> = pair.cluster.servers().map(transactions).collect();
            thread::sleep(std::time::Duration::from_millis(1200));
            let again: Vec<u64> = pair.cluster.servers().map(transactions).collect();
            (seen == again).then_some(again)
        })
    };
    let before = settled();
    let threads: Vec<_> = (0..clients)
        .map(|_| {
            let mut raw = pair.client();
            // Connections are opened first.
            thread::spawn(move || (0..reads + 100).for_each(|_| drop(fine(&mut raw, "SELECT a FROM t"))))
        })
        .collect();
    threads.into_iter().for_each(|one| one.join().unwrap());
    let mut console = Raw::connect(&pair.proxy.tcp(), &Login::new("app", "pgsluice")).unwrap();
    fine(&mut console, "RECONNECT app");
    let after = settled();
    let counts: Vec<u64> = before.iter().zip(&after).map(|(before, after)| after - before).collect();
    counts.try_into().unwrap()
}

#[test]
fn two_replicas_share_reads_evenly() {
    let pair = Pair::start("");
    for (clients, reads) in [(1, 500), (3, 500), (16, 500)] {
        // A replica that a busy machine holds up for a moment rightly gets fewer reads: one of three rounds has to be even.
        let even = (0..3).any(|_| {
            let [primary, one, other] = shares(&pair, clients, reads);
            let all = (clients * (reads + 100)) as u64;
            println!("{clients} clients: primary {primary}, replicas {one} and {other} of {all} reads");
            assert!(one + other >= all, "{one} + {other} of {all}");
            one.abs_diff(other) * 10 <= all
        });
        assert!(even, "{clients} clients");
    }
}

#[test]
fn a_replica_that_is_too_far_behind_in_bytes_or_in_time_gets_no_reads() {
    for limit in ["max_lag_bytes = \"64kB\"\nmax_lag = \"1d\"", "max_lag_bytes = \"1GB\"\nmax_lag = \"1s\""] {
        let pair = Pair::start(limit);
        pair.cluster.replica(0).pause_replay().unwrap();
        let mut writes = pair.cluster.primary().connect("app", "app").unwrap();
        let behind = "SELECT count(*) FROM t";
        fine(&mut writes, "INSERT INTO t SELECT 2 FROM generate_series(1, 20000)");
        let mut raw = pair.client();
        // Half of the reads would go there.
        wait::until(LONG, "reads that are up to date", || {
            let seen: Vec<_> = (0..20).map(|_| fine(&mut raw, behind)).collect();
            seen.iter().all(|rows| rows[0][0] == "20001").then_some(())
        });
        pair.cluster.replica(0).resume_replay().unwrap();
        drop(raw.round_trip(&message::query("SELECT 1"), LONG).unwrap());
    }
}
