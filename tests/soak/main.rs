//! A long run with everything at once: the gate closes and opens, a replica serves reads, clients are killed in the middle, and at
//! the end nothing is lost, no read has failed, and the memory is what it was.
//!
//! `PGSLUICE_TEST_SOAK_SECONDS` makes it longer.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use pgsluice_fixtures::raw::message::{bind, describe_portal, execute, parse, query, sync};
use pgsluice_fixtures::{Address, Cluster, Frame, Login, Proxy, Raw, Role, proxy::binary};

const WRITERS: u64 = 6;
const READERS: u64 = 6;
const KILLED: u64 = 4;
const LONG: Duration = Duration::from_secs(60);
/// Numbers of one writer; the table has them behind its own number.
const EACH: u64 = 1_000_000_000;
/// From one flip to the next, at most.
const PERIOD: Duration = Duration::from_secs(14);

#[derive(Default)]
struct Tally {
    over: AtomicBool,
    written: AtomicU64,
    refused: AtomicU64,
    reads: AtomicU64,
    killed: AtomicU64,
    failed_reads: Mutex<Vec<String>>,
    lost_connections: Mutex<Vec<String>>,
}

impl Tally {
    fn is_over(&self) -> bool {
        self.over.load(SeqCst)
    }
}

fn connect(address: &Address) -> Raw {
    Raw::connect(address, &Login::new("app", "app")).expect("a client")
}

fn extended(sql: &str) -> Vec<u8> {
    [parse("", sql, &[]), bind("", "", &[]), describe_portal(""), execute("", 0), sync()].concat()
}

fn error(frames: &[Frame]) -> Option<String> {
    frames.iter().find_map(Frame::error).map(|error| format!("{}: {}", error.code(), error.message()))
}

/// Writes numbers one after the other, in three ways, and gives the last that it was told to be committed.
fn write(address: &Address, writer: u64, tally: &Tally) -> u64 {
    let mut client = connect(address);
    let mut told = 0;
    while !tally.is_over() {
        let sql = format!("insert into w values ({})", writer * EACH + told + 1);
        let message = match told % 3 {
            0 => query(&sql),
            1 => extended(&sql),
            _ => query(&format!("begin; {sql}; commit")),
        };
        match client.round_trip(&message, LONG).map(|frames| error(&frames)) {
            Ok(None) => {
                told += 1;
                tally.written.fetch_add(1, SeqCst);
            }
            Ok(Some(error)) if error.starts_with("25006") => {
                tally.refused.fetch_add(1, SeqCst);
                // Its block, if it began one, has failed.
                client.query("rollback", LONG).expect("rolled back");
                thread::sleep(Duration::from_millis(20));
            }
            other => {
                tally.lost_connections.lock().unwrap().push(format!("writer {writer}: {other:?}"));
                return told;
            }
        }
        thread::sleep(Duration::from_millis(2));
    }
    told
}

/// Reads in several ways, and notes whatever is no answer.
fn read(address: &Address, reader: u64, tally: &Tally) {
    const READS: [&str; 4] = [
        "select count(*) from r",
        "select v from r where id = 7",
        "begin read only; select v from r where id = 8; commit",
        "select repeat('x', 200000)",
    ];
    let mut client = connect(address);
    client.round_trip(&[parse("known", READS[1], &[]), sync()].concat(), LONG).expect("prepared");
    for nth in 0.. {
        if tally.is_over() {
            return;
        }
        let sql = READS[nth % READS.len()];
        let message = match nth % 3 {
            0 => query(sql),
            1 if nth % READS.len() != 2 => extended(sql),
            _ => [bind("", "known", &[]), execute("", 0), sync()].concat(),
        };
        match client.round_trip(&message, LONG).map(|frames| error(&frames)) {
            Ok(None) => drop(tally.reads.fetch_add(1, SeqCst)),
            other => tally.failed_reads.lock().unwrap().push(format!("reader {reader}, {sql}: {other:?}")),
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Goes in the middle of something, again and again, in other ways each time.
fn be_killed(address: &Address, tally: &Tally) {
    for nth in 0_u64.. {
        if tally.is_over() {
            return;
        }
        let mut client = connect(address);
        let message = match nth % 6 {
            0 => query("select pg_sleep(0.2)"),
            1 => query("begin; insert into lost values (1)"),
            2 => query("select repeat('x', 1000) from generate_series(1, 20000)"),
            3 => [parse("s", "select $1::text", &[]), bind("", "s", &[Some(&[b'x'; 1000])])].concat(),
            4 => query("copy lost from stdin"),
            _ => query("set my.setting = 'x'; listen something; create temp table mine (a int)"),
        };
        let _ = client.send(&message);
        thread::sleep(Duration::from_millis(20));
        if nth.is_multiple_of(2) {
            let _ = client.reset();
        }
        tally.killed.fetch_add(1, SeqCst);
        thread::sleep(Duration::from_millis(30));
    }
}

fn resident_kib(proxy: &Proxy) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.pid().unwrap())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

struct Flipped {
    flips: u64,
    written_closed: u64,
    /// Resident memory after each flip (KiB).
    memory: Vec<u64>,
}

/// Closes and opens the gate, writes held and refused in turn; the table must not change in between.
fn flip(cluster: &Cluster, proxy: &Proxy, until: Instant, period: Duration) -> Flipped {
    let mut console = Raw::connect(&proxy.tcp(), &Login::new("dba", "pgsluice")).unwrap();
    let mut direct = cluster.primary().connect("postgres", "app").unwrap();
    let mut count = || direct.query("select count(*) from w", LONG).unwrap()[0].rows[0][0].clone();
    let mut flipped = Flipped { flips: 0, written_closed: 0, memory: Vec::new() };
    while Instant::now() < until {
        thread::sleep(period / 2);
        let terms =
            if flipped.flips.is_multiple_of(4) { "writes hold, hold_timeout '60s', reads any" } else { "reads any" };
        console.query(&format!("MAINTENANCE ON app WITH ({terms})"), LONG).expect("closed");
        let before = count();
        thread::sleep(period / 2);
        flipped.written_closed += u64::from(count() != before);
        console.query("MAINTENANCE OFF app", LONG).expect("opened");
        flipped.flips += 2;
        flipped.memory.push(resident_kib(proxy));
    }
    flipped
}

/// How many numbers of that writer are in the table, and the largest.
fn found(cluster: &Cluster, writer: u64) -> (u64, u64) {
    let (low, high) = (writer * EACH, (writer + 1) * EACH);
    let sql = format!("select count(*), coalesce(max(id), {low}) - {low} from w where id > {low} and id < {high}");
    let row = cluster.primary().connect("postgres", "app").unwrap().query(&sql, LONG).unwrap().remove(0).rows.remove(0);
    let number = |text: &Option<String>| text.as_deref().unwrap().parse().unwrap();
    (number(&row[0]), number(&row[1]))
}

#[test]
fn nothing_is_lost_no_read_fails_and_memory_stays() {
    let seconds = std::env::var("PGSLUICE_TEST_SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(8);
    let cluster = Cluster::builder()
        .replicas(1)
        .hba(["host all all 127.0.0.1/32 trust"])
        .roles([Role::new("app"), Role::new("dba"), Role::new("monitor").option("IN ROLE pg_monitor")])
        .databases(["app"])
        .start()
        .unwrap();
    let schema = "create table w (id bigint primary key); create table lost (a int); create table r (id int primary key, v text); \
                  insert into r select n, 'v' || n from generate_series(1, 1000) n; grant all on w, lost, r to app";
    cluster.primary().psql_in("app", schema).unwrap();
    let upstreams: Vec<String> = cluster.servers().map(|one| format!("\"127.0.0.1:{}\"", one.port())).collect();
    let config = format!(
        "listen_port = {{port}}\nstate_file = \"{{dir}}/state.json\"\nworkers = 2\nauth_type = \"trust\"\nadmin_users = [\"dba\"]\n\
         default_pool_size = 8\nlog_connections = false\nlog_disconnections = false\n[clusters.main]\nupstreams = [{}]\n\
         monitor_user = \"monitor\"\nmonitor_interval = \"200ms\"\n[databases.app]\n",
        upstreams.join(", ")
    );
    let proxy = Proxy::builder(binary(env!("CARGO_BIN_EXE_pgsluice"))).config(config).start().unwrap();
    let tally = Tally::default();
    let whole = Duration::from_secs(seconds);
    let until = Instant::now() + whole;
    let (address, tally) = (&proxy.tcp(), &tally);
    let (told, flipped) = thread::scope(|scope| {
        let writers: Vec<_> = (1..=WRITERS).map(|one| scope.spawn(move || (one, write(address, one, tally)))).collect();
        (0..READERS).for_each(|one| drop(scope.spawn(move || read(address, one, tally))));
        (0..KILLED).for_each(|_| drop(scope.spawn(move || be_killed(address, tally))));
        let flipped = flip(&cluster, &proxy, until, PERIOD.min(whole / 4));
        tally.over.store(true, SeqCst);
        (writers.into_iter().map(|one| one.join().expect("a writer")).collect::<Vec<_>>(), flipped)
    });
    let memory = &flipped.memory;
    let sixth = |nth: usize| memory[(memory.len() - 1) * nth / 6];
    println!(
        "{seconds} s, {} flips, {} commits told, {} refused, {} reads, {} clients killed, memory {:?} MiB",
        flipped.flips,
        tally.written.load(SeqCst),
        tally.refused.load(SeqCst),
        tally.reads.load(SeqCst),
        tally.killed.load(SeqCst),
        (0..=6).map(|nth| sixth(nth) / 1024).collect::<Vec<_>>()
    );
    for (writer, told) in told {
        assert_eq!(found(&cluster, writer), (told, told), "of writer {writer}");
    }
    assert_eq!(flipped.written_closed, 0, "times that something was written behind a closed gate");
    assert_eq!(*tally.lost_connections.lock().unwrap(), Vec::<String>::new());
    assert_eq!(*tally.failed_reads.lock().unwrap(), Vec::<String>::new());
    assert!(tally.written.load(SeqCst) > 0 && tally.reads.load(SeqCst) > 0 && tally.killed.load(SeqCst) > 0);
    let (early, late) = (sixth(1), sixth(6));
    assert!(late < early + early / 4 + 8 * 1024, "memory grows: {memory:?} KiB");
}
