//! Many clients in all states and many upgrades: a slice of it always, the whole by `make conformance-upgrade`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Raw, Tls};

use crate::stand::{SOON, Stand, Writers, cluster, config, rows, value};

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What a client of the crowd does when it is its turn.
enum Asks {
    /// A simple query.
    Query,
    /// A statement that it has prepared by protocol; of that number.
    Prepared(usize),
    /// One of SQL's PREPARE.
    Execute(usize),
    /// `BEGIN`, then a write, then `COMMIT`: between its turns it is in a transaction.
    Transaction(usize),
    /// COPY FROM STDIN, over several turns.
    Copy(usize),
    /// Tells itself something.
    Listens(usize),
}

struct One {
    raw: Raw,
    asks: Asks,
    turn: usize,
}

impl One {
    fn new(stand: &Stand, nth: usize) -> Self {
        let mut raw = stand.raw("app", "app");
        // Those who keep a server connection are few: the others share what the pool has.
        let asks = match nth % 20 {
            0 if nth < 160 => Asks::Listens(nth),
            1 if nth < 160 => Asks::Transaction(nth),
            2 if nth < 100 => Asks::Copy(nth),
            3..=9 => Asks::Prepared(nth % 50),
            10..=12 => Asks::Execute(nth),
            _ => Asks::Query,
        };
        match &asks {
            Asks::Listens(nth) => drop(rows(&mut raw, &format!("listen crowd{nth}"))),
            Asks::Prepared(number) => {
                let parse = message::parse("p", &format!("select {number}"), &[]);
                raw.round_trip(&[parse, message::sync()].concat(), SOON).unwrap();
            }
            Asks::Execute(nth) => drop(rows(&mut raw, &format!("prepare q as select {nth}"))),
            _ => drop(rows(&mut raw, &format!("set application_name = 'c{nth}'"))),
        }
        Self { raw, asks, turn: 0 }
    }

    /// One turn; its transactions are over at each third one.
    fn ask(&mut self) {
        let (raw, step) = (&mut self.raw, self.turn % 3);
        self.turn += 1;
        match &self.asks {
            Asks::Query => assert_eq!(value(raw, "select 1"), "1"),
            Asks::Prepared(number) => {
                let bind = [message::bind("", "p", &[]), message::execute("", 0), message::sync()].concat();
                let frames = raw.round_trip(&bind, SOON).unwrap();
                let row = frames.iter().find(|frame| frame.tag == b'D').unwrap_or_else(|| panic!("{frames:?}"));
                assert_eq!(row.values()[0].as_deref(), Some(number.to_string().as_bytes()));
            }
            Asks::Execute(nth) => assert_eq!(value(raw, "execute q"), nth.to_string()),
            Asks::Transaction(nth) => {
                let sql = format!("insert into w values ('block{nth}-{}', {})", std::process::id(), self.turn);
                drop(rows(raw, ["begin", &sql, "commit"][step]));
            }
            Asks::Copy(nth) => match step {
                0 => {
                    raw.send(&message::query("copy w from stdin")).unwrap();
                    raw.frames_until(SOON, |frame| frame.tag == b'G').unwrap();
                }
                1 => {
                    let line = format!("copy{nth}-{}\t{}\n", std::process::id(), self.turn);
                    raw.send(&message::copy_data(line.as_bytes())).unwrap();
                }
                _ => {
                    raw.send(&message::copy_done()).unwrap();
                    let frames = raw.frames_until_ready(SOON).unwrap();
                    assert!(frames.iter().all(|frame| frame.tag != b'E'), "{frames:?}");
                }
            },
            Asks::Listens(nth) => {
                raw.send(&message::query(&format!("notify crowd{nth}, '{}'", self.turn))).unwrap();
                raw.frames_until(SOON, |frame| frame.tag == b'A').unwrap();
            }
        }
    }

    /// What it has written, if it writes: its name and how many rows.
    fn finish(mut self) -> Option<(String, usize)> {
        while matches!(self.asks, Asks::Transaction(_) | Asks::Copy(_)) && !self.turn.is_multiple_of(3) {
            self.ask();
        }
        match self.asks {
            Asks::Transaction(nth) => Some((format!("block{nth}-{}", std::process::id()), self.turn / 3)),
            Asks::Copy(nth) => Some((format!("copy{nth}-{}", std::process::id()), self.turn / 3)),
            _ => None,
        }
    }
}

/// What part of the crowd has seen.
struct Seen {
    /// How long answers took.
    answers: Vec<Duration>,
    /// The longest of each client and upgrade.
    stalls: Vec<Duration>,
    /// What it has written.
    written: Vec<(String, usize)>,
}

/// Each of them is asked again and again how long an answer takes.
fn asker(mut own: Vec<One>, stop: Arc<AtomicBool>, upgrade: Arc<AtomicUsize>) -> JoinHandle<Seen> {
    std::thread::spawn(move || {
        let (mut answers, mut stalls) = (Vec::new(), Vec::new());
        let (mut longest, mut nth) = (vec![Duration::ZERO; own.len()], upgrade.load(SeqCst));
        while !stop.load(SeqCst) {
            for (one, longest) in own.iter_mut().zip(&mut longest) {
                let began = Instant::now();
                one.ask();
                let took = began.elapsed();
                answers.push(took);
                *longest = took.max(*longest);
            }
            if upgrade.load(SeqCst) != nth {
                nth = upgrade.load(SeqCst);
                stalls.extend(longest.iter_mut().map(std::mem::take));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Seen { answers, stalls, written: own.into_iter().filter_map(One::finish).collect() }
    })
}

/// Clients over TLS, which stay with a process for as long as it may live. They write, and connect again when they are sent away.
fn over_tls(port: u16, nth: usize, stop: Arc<AtomicBool>) -> JoinHandle<(String, usize, usize)> {
    std::thread::spawn(move || {
        let writer = format!("tls{nth}-{}", std::process::id());
        let (mut acknowledged, mut connections, mut n) = (0, 0, 0);
        while !stop.load(SeqCst) {
            let url = format!("postgres://app:app@127.0.0.1:{port}/app?sslmode=require");
            let mut psql = Command::new("psql")
                // Its statement may be cancelled when it is sent away.
                .args([&url, "-XAtq", "-v", "ON_ERROR_STOP=1"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let (mut says, mut hears) = (psql.stdin.take().unwrap(), BufReader::new(psql.stdout.take().unwrap()));
            connections += 1;
            loop {
                n += 1;
                let mut line = String::new();
                let sql = format!("insert into w values ('{writer}', {n}) returning n;");
                let asked = writeln!(says, "{sql}").and_then(|()| hears.read_line(&mut line));
                if asked.is_err() || line.trim() != n.to_string() {
                    break;
                }
                acknowledged += 1;
                if stop.load(SeqCst) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            drop(says);
            psql.wait().unwrap();
        }
        (writer, acknowledged, connections)
    })
}

/// Clients whose writes are held behind a closed gate, each with one message, and one that reads there.
struct Held {
    clients: Vec<Raw>,
    reader: Raw,
}

impl Held {
    fn new(stand: &Stand, count: usize) -> Self {
        cluster().primary().psql_in("shut", "truncate w").unwrap();
        let mut clients: Vec<_> = (0..count).map(|_| stand.raw("app", "shut")).collect();
        clients.iter_mut().for_each(|raw| drop(rows(raw, "select 1")));
        rows(&mut stand.raw("admin", "pgsluice"), "maintenance on shut with (writes hold, hold_timeout '1h')");
        for (nth, raw) in clients.iter_mut().enumerate() {
            raw.send(&message::query(&format!("insert into w values ({nth})"))).unwrap();
        }
        Self { clients, reader: stand.raw("app", "shut") }
    }

    /// Nothing has come through, and nobody has been told anything but of the gate.
    fn check(&mut self) {
        assert_eq!(value(&mut self.reader, "select count(*) from w"), "0");
        assert_eq!(value(&mut self.reader, "show default_transaction_read_only"), "on");
        for raw in &mut self.clients {
            let frames = raw.frames_so_far().unwrap();
            assert!(frames.iter().all(|frame| frame.tag == b'S'), "{frames:?}");
        }
    }

    /// The gate opens: each write runs once.
    fn finish(mut self, stand: &Stand) {
        rows(&mut stand.raw("admin", "pgsluice"), "maintenance off shut");
        for raw in &mut self.clients {
            let frames = raw.frames_until_ready(SOON).unwrap();
            assert!(frames.iter().any(|frame| frame.tag == b'C'), "{frames:?}");
        }
        assert_eq!(value(&mut self.reader, "select count(*) from w"), self.clients.len().to_string());
    }
}

/// The entry below which so many of a thousand lie.
fn at(sorted: &[Duration], share: usize) -> Duration {
    sorted.get(sorted.len() * share / 1000).copied().unwrap_or_default()
}

/// How many rows a writer has, as the server says.
fn found(writer: &str) -> usize {
    let sql = format!("select count(*) from w where writer = '{writer}'");
    cluster().primary().psql_in("app", &sql).unwrap().trim().parse().unwrap()
}

#[test]
fn a_crowd_in_all_states_lives_through_many_upgrades() {
    let (clients, upgrades) = (number("PGSLUICE_UPGRADE_CLIENTS", 120), number("PGSLUICE_UPGRADES", 3));
    let most = number("PGSLUICE_UPGRADE_STALL_MS", 5000);
    let folder = tempfile::tempdir().unwrap();
    let tls = Tls::in_folder(folder.path()).unwrap();
    let keys = format!(
        "client_tls_sslmode = 'allow'\nclient_tls_cert_file = '{}'\nclient_tls_key_file = '{}'\nupgrade_timeout = '3s'",
        tls.server_cert.display(),
        tls.server_key.display()
    );
    let stand = Stand::new(&config(&keys, ""));
    let held_count = clients / 20;
    let mut held = Held::new(&stand, held_count);
    let mut crowd: Vec<_> = (0..clients - held_count).map(|nth| One::new(&stand, nth)).collect();
    let writers = Writers::start(&stand, 8, "app");
    let (stop, upgrade) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let threads = 8.min(clients);
    let mut parts: Vec<Vec<One>> = (0..threads).map(|_| Vec::new()).collect();
    crowd.drain(..).enumerate().for_each(|(nth, one)| parts[nth % threads].push(one));
    let askers: Vec<_> = parts.into_iter().map(|own| asker(own, stop.clone(), upgrade.clone())).collect();
    let by_tls: Vec<_> = (0..4).map(|nth| over_tls(stand.proxy.port(), nth, stop.clone())).collect();
    let began = Instant::now();
    for nth in 0..upgrades {
        stand.upgrade();
        upgrade.store(nth + 1, SeqCst);
        held.check();
    }
    let took = began.elapsed();
    stop.store(true, SeqCst);
    let seen: Vec<Seen> = askers.into_iter().map(|asker| asker.join().unwrap()).collect();
    let written = writers.finish();
    held.finish(&stand);
    let mut rows_of_the_crowd = 0;
    for (writer, count) in seen.iter().flat_map(|one| &one.written) {
        assert_eq!(found(writer), *count, "writes of {writer}");
        rows_of_the_crowd += count;
    }
    let (mut acknowledged, mut connections) = (0, 0);
    for client in by_tls {
        let (writer, count, times) = client.join().unwrap();
        // The last of a connection may have run without its answer, and counts as not acknowledged.
        assert!((count..=count + times).contains(&found(&writer)), "writes of {writer}");
        acknowledged += count;
        connections += times;
    }
    let mut answers: Vec<_> = seen.iter().flat_map(|one| one.answers.iter().copied()).collect();
    let mut stalls: Vec<_> = seen.iter().flat_map(|one| one.stalls.iter().copied()).collect();
    answers.sort_unstable();
    stalls.sort_unstable();
    for line in stand.proxy.log().lines().filter(|line| line.contains("\"upgraded\"") || line.contains("took_over")) {
        println!("{line}");
    }
    println!(
        "{clients} clients ({held_count} held behind a closed gate), {upgrades} upgrades in {took:?}: {} answers, p50 {:?}, p99 {:?}, \
         p99.9 {:?}, longest {:?}; the longest stall of a client in an upgrade, of {}: p50 {:?}, p99 {:?}",
        answers.len(),
        at(&answers, 500),
        at(&answers, 990),
        at(&answers, 999),
        answers.last().copied().unwrap_or_default(),
        stalls.len(),
        at(&stalls, 500),
        at(&stalls, 990),
    );
    println!(
        "{} writes acknowledged to writers, {rows_of_the_crowd} in blocks and COPY, none lost or doubled, the slowest {:?}; over TLS \
         {acknowledged} on {connections} connections of 4 clients",
        written.iter().map(|one| one.acknowledged).sum::<u32>(),
        written.iter().map(|one| one.longest).max().unwrap_or_default(),
    );
    assert!(at(&stalls, 990) < Duration::from_millis(most as u64), "p99 {:?}", at(&stalls, 990));
}
