//! The steps of docs/MOVING.md, "A major upgrade", with load before, during and after them.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use pgsluice_fixtures::Cluster;

use crate::load::{Load, Tally};
use crate::stand::{LONG, Stand};

/// Runs on a server's database past pgsluice, as an operator does; errors are the test's.
fn sql(cluster: &Cluster, text: &str) -> String {
    cluster.primary().psql_in("app", text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn conninfo(cluster: &Cluster) -> String {
    format!("host=127.0.0.1 port={} user=dba dbname=app", cluster.primary().port())
}

fn say(text: &str) {
    println!("{}  {text}", jiff::Timestamp::now().strftime("%H:%M:%S%.3f"));
}

/// Waits until the subscriber behind that slot has everything that was written before.
fn await_subscriber(publisher: &Cluster, slot: &str) {
    let lsn = sql(publisher, "SELECT pg_current_wal_lsn()");
    let has_all = format!("SELECT confirmed_flush_lsn >= '{lsn}' FROM pg_replication_slots WHERE slot_name = '{slot}'");
    pgsluice_fixtures::wait::until(LONG, "the subscriber", || (sql(publisher, &has_all) == "t").then_some(()));
}

/// Has the sequences of one go on behind those of the other, with a margin.
fn raise_sequences(from: &Cluster, to: &Cluster) {
    let last = "SELECT schemaname, sequencename, last_value FROM pg_sequences WHERE last_value IS NOT NULL";
    for line in sql(from, last).lines() {
        let fields: Vec<_> = line.split('|').collect();
        let (name, last) = (format!("\"{}\".\"{}\"", fields[0], fields[1]), fields[2]);
        sql(to, &format!("BEGIN READ WRITE; SELECT setval('{name}', {last} + 1000); COMMIT"));
    }
}

/// The database of a cluster takes no writes but those of replication, or takes them again.
fn fence(cluster: &Cluster, on: bool) {
    let how = if on { "SET default_transaction_read_only = on" } else { "RESET default_transaction_read_only" };
    sql(cluster, &format!("BEGIN READ WRITE; ALTER DATABASE app {how}; COMMIT"));
}

/// Has the old side follow the new one from now on. Nothing is written on the new side before this returns.
fn follow(publisher: &Cluster, subscriber: &Cluster, name: &str) {
    sql(publisher, &format!("CREATE PUBLICATION {name} FOR ALL TABLES"));
    sql(publisher, &format!("SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')"));
    let text = format!(
        "BEGIN READ WRITE; CREATE SUBSCRIPTION {name} CONNECTION '{}' PUBLICATION {name} \
         WITH (create_slot = false, slot_name = '{name}', copy_data = false); COMMIT",
        conninfo(publisher)
    );
    sql(subscriber, &text);
}

/// Before the cut: the new side gets a copy, and follows.
fn prepare(stand: &Stand) {
    say("the new version gets a copy by logical replication, while clients go on");
    sql(&stand.blue, "CREATE PUBLICATION upgrade FOR ALL TABLES");
    let text = format!("CREATE SUBSCRIPTION upgrade CONNECTION '{}' PUBLICATION upgrade", conninfo(&stand.blue));
    sql(&stand.green, &text);
    let copied = "SELECT count(*) = 2 AND bool_and(srsubstate = 'r') FROM pg_subscription_rel";
    stand.green.primary().wait_until_in("app", copied, "t");
}

trait WaitIn {
    fn wait_until_in(&self, database: &str, sql: &str, expected: &str);
}

impl WaitIn for pgsluice_fixtures::Server {
    fn wait_until_in(&self, database: &str, sql: &str, expected: &str) {
        pgsluice_fixtures::wait::until(LONG, sql, || {
            (self.psql_in(database, sql).unwrap_or_default() == expected).then_some(())
        });
    }
}

const HOLD: &str = "MAINTENANCE ON app WITH (writes hold, hold_timeout '30s', drain_timeout '10s', message 'upgrade')";

/// From the old version to the new one; how long writes were held.
fn upgrade(stand: &Stand) -> Duration {
    let began = Instant::now();
    stand.console(HOLD);
    say("MAINTENANCE ON: writes are held, and nothing is under way any more");
    fence(&stand.blue, true);
    await_subscriber(&stand.blue, "upgrade");
    say("the new version has everything");
    raise_sequences(&stand.blue, &stand.green);
    sql(&stand.green, "DROP SUBSCRIPTION upgrade");
    follow(&stand.green, &stand.blue, "way_back");
    say("sequences go on behind the old ones, and the old version follows from now on");
    stand.console("REROUTE app TO green WITH (writes allow)");
    stand.console("MAINTENANCE OFF app");
    say("REROUTE, MAINTENANCE OFF: what was held is written on the new version");
    began.elapsed()
}

/// The same steps the other way round.
fn back(stand: &Stand) -> Duration {
    let began = Instant::now();
    stand.console(HOLD);
    fence(&stand.green, true);
    await_subscriber(&stand.green, "way_back");
    raise_sequences(&stand.green, &stand.blue);
    sql(&stand.blue, "BEGIN READ WRITE; ALTER SUBSCRIPTION way_back DISABLE; COMMIT");
    fence(&stand.blue, false);
    stand.console("REROUTE app BACK");
    stand.console("MAINTENANCE OFF app");
    began.elapsed()
}

/// Nobody was told an error, what was acknowledged is there, and what is there was acknowledged.
fn verify(cluster: &Cluster, writers: &[&Tally], readers: &[&Tally]) {
    for tally in writers.iter().chain(readers) {
        assert!(tally.errors.is_empty(), "{} errors: {:?}", tally.errors.len(), tally.errors.first());
    }
    let told: Vec<u64> = writers.iter().flat_map(|tally| tally.written.iter().copied()).collect();
    let set: BTreeSet<u64> = told.iter().copied().collect();
    assert_eq!(told.len(), set.len(), "no id was given twice");
    let there: BTreeSet<u64> = sql(cluster, "SELECT id FROM w").lines().filter_map(|id| id.parse().ok()).collect();
    assert_eq!(there.len(), set.len(), "as many rows as were acknowledged");
    assert_eq!(there, set);
}

fn run(stand: &Stand, rows: u64) {
    let address = stand.proxy.tcp();
    let first = Load::begin(&address, "a", 6, 2);
    prepare(stand);
    let pause = upgrade(stand);
    let (is_there, writes_on) = (sql(&stand.green, "SELECT count(*) FROM t"), Instant::now());
    assert_eq!(is_there, rows.to_string());
    thread::sleep(Duration::from_millis(500));
    let (writers, readers) = first.end();
    verify(&stand.green, &[&writers], &[&readers]);
    println!(
        "upgrade: {} rows, {} writes, held for {} ms; the longest wait of a writer {} ms, of a reader {} ms",
        rows,
        writers.written.len(),
        pause.as_millis(),
        writers.longest.as_millis(),
        readers.longest.as_millis()
    );
    let version = stand.green.primary().version();
    println!("clients are on PostgreSQL {version:?} since {} ms", writes_on.elapsed().as_millis());

    // New writes on the new version, and then back: none of them is lost.
    let second = Load::begin(&address, "b", 6, 2);
    thread::sleep(Duration::from_millis(500));
    let pause = back(stand);
    thread::sleep(Duration::from_millis(500));
    let (more, others) = second.end();
    verify(&stand.blue, &[&writers, &more], &[&readers, &others]);
    println!(
        "back: {} writes more, held for {} ms; the longest wait of a writer {} ms, of a reader {} ms",
        more.written.len(),
        pause.as_millis(),
        more.longest.as_millis(),
        others.longest.as_millis()
    );
}

#[test]
fn a_major_upgrade_and_the_way_back_lose_nothing_and_tell_nobody_an_error() {
    let rows = std::env::var("PGSLUICE_TEST_MIGRATE_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(10_000);
    let stand = Stand::new(15, 18, rows);
    run(&stand, rows);
}
