//! A tenant's minimum is guaranteed and its maximum kept, whatever others do under the limits that all share.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use pgsluice_fixtures::{Login, Raw, raw::Address, wait};

use crate::stand::{LONG, Stand};

/// Whoever is owed a connection waits no longer than others' statements and a log-in take, on a busy machine.
const SOON: Duration = Duration::from_secs(5);

/// `d1` is the tenant: two connections are its own, and it has three at most. `d0` would take all.
const TENANT: &str = "[databases.d1]\nmin_pool_size = 2\npool_size = 3\n";

fn stand(top: &str) -> Stand {
    // The stand names the databases itself: keys of one go behind its name.
    Stand::new(2, 2, &format!("{top}\ndefault_pool_size = 20\nquery_wait_timeout = \"60s\""), "")
}

/// Connections of pgsluice's pools to a database, as the server knows them.
fn connections(direct: &mut Raw, database: &str) -> usize {
    let sql = format!("select count(*) from pg_stat_activity where datname = '{database}' and usename like 'u%'");
    let results = direct.query(&sql, LONG).expect("an answer");
    results[0].rows[0][0].as_ref().expect("a number").parse().expect("a number")
}

/// Tells hogs to stop whatever happens, so that a test that has failed ends.
struct Stop<'s>(&'s AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// Clients of `d0` that take whatever there is, until they are told to stop.
fn hogs<'s>(scope: &'s thread::Scope<'s, '_>, address: &'s Address, stop: &'s AtomicBool) {
    for _ in 0..16 {
        scope.spawn(move || {
            let mut client = Raw::connect(address, &Login::new("u0", "d0")).expect("a client");
            while !stop.load(SeqCst) {
                client.query("select pg_sleep(0.03)", LONG).expect("a turn");
            }
        });
    }
}

#[test]
fn a_tenants_minimum_is_guaranteed_and_its_maximum_kept_under_a_shared_limit() {
    let mut stand = stand("max_server_connections = 8\noperator_reserved = 0\nserver_idle_timeout = 1");
    stand.extend(TENANT);
    let mut direct =
        Raw::connect(&Address::local(stand.server_port()), &Login::new("dba", "postgres")).expect("the server");
    // Its first client makes it known.
    stand.client(1, 1).query("select 1", LONG).expect("a turn");
    wait::until(LONG, "its minimum", || (connections(&mut direct, "d1") == 2).then_some(()));
    let (address, stop) = (stand.proxy.tcp(), AtomicBool::new(false));
    thread::scope(|scope| {
        let _stop = Stop(&stop);
        hogs(scope, &address, &stop);
        wait::until(LONG, "others to have the rest", || (connections(&mut direct, "d0") == 6).then_some(()));
        // Nobody uses them, and they stay: longer than server_idle_timeout.
        let until = Instant::now() + Duration::from_secs(3);
        while Instant::now() < until {
            let (own, others) = (connections(&mut direct, "d1"), connections(&mut direct, "d0"));
            assert!(own == 2 && others <= 6, "{own} of the tenant, {others} of others");
            thread::sleep(Duration::from_millis(50));
        }
        // Its clients wait for nobody's statement, up to the minimum.
        let mut two = [stand.client(1, 1), stand.client(1, 1)];
        for client in &mut two {
            let began = Instant::now();
            client.query("begin", LONG).expect("a turn");
            assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        }
        // Beyond that it is one among others, up to its own maximum.
        let more: Vec<_> = (0..4)
            .map(|_| {
                let mut client = stand.client(1, 1);
                scope.spawn(move || {
                    (0..20).for_each(|_| _ = client.query("select pg_sleep(0.03)", LONG).expect("a turn"))
                })
            })
            .collect();
        while more.iter().any(|client| !client.is_finished()) {
            // A back end that was told to end is still there for a moment.
            wait::until(SOON, "no more than the limits allow", || {
                let (own, others) = (connections(&mut direct, "d1"), connections(&mut direct, "d0"));
                ((2..=3).contains(&own) && own + others <= 8).then_some(())
            });
            thread::sleep(Duration::from_millis(20));
        }
        two.iter_mut().for_each(|client| _ = client.query("commit", LONG).expect("an end"));
        // Others have waited for longer when it loses what it has.
        for _ in 0..3 {
            let kill = "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = 'd1' and usename like 'u%'";
            direct.query(kill, LONG).expect("an answer");
            let began = Instant::now();
            // A connection whose end has not been noticed yet may be the first that is tried.
            wait::until(LONG, "an answer", || stand.client(1, 1).query("select 1", LONG).ok());
            assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        }
        wait::until(LONG, "its minimum again", || (connections(&mut direct, "d1") == 2).then_some(()));
    });
}

#[test]
fn a_minimum_that_the_server_has_ended_comes_back_though_nobody_asks_for_it() {
    let mut stand = stand("");
    stand.extend(TENANT);
    stand.client(1, 1).query("select 1", LONG).expect("a turn");
    let mut direct =
        Raw::connect(&Address::local(stand.server_port()), &Login::new("dba", "postgres")).expect("the server");
    let processes = |direct: &mut Raw| {
        let sql = "select pid from pg_stat_activity where datname = 'd1' and usename like 'u%' order by 1";
        direct.query(sql, LONG).expect("an answer").remove(0).rows
    };
    wait::until(LONG, "its minimum", || (processes(&mut direct).len() == 2).then_some(()));
    for which in ["min(pid)", "max(pid)"] {
        let before = processes(&mut direct);
        let kill = format!(
            "select pg_terminate_backend((select {which} from pg_stat_activity where datname = 'd1' and usename like 'u%'))"
        );
        direct.query(&kill, LONG).expect("an answer");
        wait::until(LONG, "its minimum again", || {
            let now = processes(&mut direct);
            (now.len() == 2 && now != before).then_some(())
        });
        // The proxy knows of those two and of no other.
        stand.wait_to_see("SHOW POOLS", &["database=d1", "sv_idle=2"]);
    }
}

#[test]
fn who_is_owed_nothing_more_gives_way_to_who_is_and_not_the_other_way_round() {
    let mut stand =
        stand("max_db_connections = 4\nmax_user_connections = 4\nmax_server_connections = 4\noperator_reserved = 0");
    stand.extend(TENANT);
    stand.client(1, 1).query("select 1", LONG).expect("a turn");
    let mut direct =
        Raw::connect(&Address::local(stand.server_port()), &Login::new("dba", "postgres")).expect("the server");
    wait::until(LONG, "its minimum", || (connections(&mut direct, "d1") == 2).then_some(()));
    // Three of d0 want a connection and two may have one, though the tenant's lie idle.
    let mut held: Vec<Raw> = (0..2).map(|_| stand.client(0, 0)).collect();
    held.iter_mut().for_each(|client| _ = client.query("begin", LONG).expect("a turn"));
    let mut third = stand.client(0, 0);
    third.send(&pgsluice_fixtures::raw::message::query("select 3")).expect("sent");
    stand.wait_to_see("SHOW POOLS", &["database=d0", "cl_waiting=1"]);
    assert_eq!(connections(&mut direct, "d1"), 2);
    let mut tenant = stand.client(1, 1);
    tenant.query("select 1", LONG).expect("a turn");
    held[0].query("commit", LONG).expect("an end");
    third.frames_until_ready(LONG).expect("its turn");
}
