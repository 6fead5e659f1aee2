//! Whoever asks is answered, and nobody else: every statement says whose it is, and whatever comes back is looked through for the
//! marks of others.
//!
//! Clients that want more than the pool has ask by all protocols at once, while some are cancelled, time out, go in the middle or lose
//! their server, and while the primary is stopped and its replica takes over. `PGSLUICE_TEST_OWNERSHIP_SECONDS` makes it longer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use pgsluice_fixtures::cluster::Mode;
use pgsluice_fixtures::raw::message::{bind, cancel_request, describe_portal, execute, parse, query, sync};
use pgsluice_fixtures::{Address, Cluster, Frame, Login, Proxy, Raw, Role, proxy::binary};

const CLIENTS: u64 = 24;
const LONG: Duration = Duration::from_secs(40);
/// How each mark begins: `own_<client>_<number>_`.
const MARK: &[u8] = b"own_";

/// What all clients share.
#[derive(Default)]
struct Tally {
    over: AtomicBool,
    asked: AtomicU64,
    answered: [AtomicU64; WAYS],
    failed: AtomicU64,
    marks: AtomicU64,
}

/// One after another, each way to ask.
const WAYS: usize = 12;

struct Client<'t> {
    id: u64,
    next: u64,
    address: Address,
    tally: &'t Tally,
    raw: Option<Raw>,
    random: u64,
}

impl Client<'_> {
    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    fn mark(&mut self) -> String {
        self.next += 1;
        format!("own_{}_{}_", self.id, self.next)
    }

    fn connect(&mut self) {
        while self.raw.is_none() && !self.tally.over.load(SeqCst) {
            let name = format!("own_{}_0_", self.id);
            let login = Login::new("app", "app").parameter("application_name", &name);
            let Ok(mut raw) = Raw::connect(&self.address, &login) else {
                thread::sleep(Duration::from_millis(20));
                continue;
            };
            let setup = format!("SET own.er = '{name}'; LISTEN \"own_{}_0_\"", self.id);
            // Some only: who listens keeps its server connection.
            let setup = if self.id.is_multiple_of(8) { setup } else { format!("SET own.er = '{name}'") };
            let begins = [query(&setup), parse("shared", SHARED, &[]), sync()].concat();
            let ready = raw.send(&begins).and_then(|()| frames(&mut raw, 2));
            match ready {
                Ok(frames) if frames.iter().all(|frame| frame.error().is_none()) => self.raw = Some(raw),
                _ => drop(self.tally.failed.fetch_add(1, SeqCst)),
            }
        }
    }

    /// Asks in one of the ways, and looks at all that comes.
    fn step(&mut self) {
        self.connect();
        let way = usize::try_from(self.random(WAYS as u64)).unwrap();
        let (mark, other) = (self.mark(), self.mark());
        let (message, readies, least) = asks(way, &mark, &other);
        let fate = self.random(100);
        let Some(mut raw) = self.raw.take() else { return };
        if raw.send(&message).is_err() {
            return;
        }
        self.tally.asked.fetch_add(readies, SeqCst);
        match fate {
            // Gone in the middle, with or without a word.
            0 => return drop(raw.reset()),
            1 => return drop(raw),
            2 => {
                let key = raw.key().cloned();
                if let (Some(key), Ok(mut canceller)) = (key, Raw::open(&self.address)) {
                    let _ = canceller.send(&cancel_request(key.pid, &key.secret));
                }
            }
            _ => {}
        }
        let Ok(frames) = frames(&mut raw, readies) else {
            self.tally.failed.fetch_add(1, SeqCst);
            return;
        };
        let fails = frames.iter().filter_map(Frame::error).any(|error| !error.message().contains("own_"));
        let seen = checked(&frames, self.id, self.next).unwrap_or_else(|leak| panic!("{leak}, {mark}"));
        self.tally.marks.fetch_add(seen, SeqCst);
        if fails {
            self.tally.failed.fetch_add(1, SeqCst);
        } else {
            assert!(seen >= least, "{seen} marks of {least} in the answer to {way}: {frames:?}");
            self.tally.answered[way].fetch_add(readies, SeqCst);
        }
        self.raw = Some(raw);
    }
}

/// Prepared by all under one name.
const SHARED: &str = "SELECT $1::text || current_setting('own.er') AS x";

/// Messages, how many ReadyForQuery they are answered with, and the least number of marks in that.
fn asks(way: usize, mark: &str, other: &str) -> (Vec<u8>, u64, u64) {
    let run = |statement: &str, value: &str| {
        [bind("", statement, &[Some(value.as_bytes())]), describe_portal(""), execute("", 0), sync()].concat()
    };
    let simple = |sql: String, least: u64| (query(&sql), 1, least);
    match way {
        0 => simple(format!("SELECT '{mark}', current_setting('own.er')"), 2),
        1 => ([parse("", "SELECT $1::text", &[]), run("", mark)].concat(), 1, 1),
        2 => (run("shared", mark), 1, 2),
        // Pipelined.
        3 => ([run("shared", mark), query(&format!("SELECT '{other}'")), run("shared", other)].concat(), 3, 5),
        4 => simple(format!("COPY (SELECT '{mark}' FROM generate_series(1, 50)) TO STDOUT"), 50),
        5 => simple(
            format!(
                "BEGIN; DECLARE c CURSOR FOR SELECT '{mark}' FROM generate_series(1, 9); FETCH 4 FROM c; FETCH 2 FROM c; COMMIT"
            ),
            6,
        ),
        6 => simple(format!("DO $$BEGIN RAISE NOTICE '{mark}'; END$$"), 1),
        7 => simple(format!("DO $$BEGIN RAISE EXCEPTION '{mark}'; END$$"), 1),
        8 => simple(format!("SET application_name = '{mark}'; SELECT current_setting('application_name')"), 1),
        9 => simple(format!("NOTIFY \"own_{}_0_\", '{mark}'; SELECT '{mark}'", mark.split('_').nth(1).unwrap()), 1),
        10 => simple(format!("SELECT '{mark}' || repeat('x', 1000) FROM generate_series(1, 300)"), 300),
        // Both may be too late.
        _ => simple(format!("BEGIN; SET LOCAL statement_timeout = 20; SELECT '{mark}', pg_sleep(0.01); COMMIT"), 1),
    }
}

fn frames(raw: &mut Raw, readies: u64) -> Result<Vec<Frame>, pgsluice_fixtures::RawError> {
    let mut all = Vec::new();
    for _ in 0..readies {
        all.extend(raw.frames_until_ready(LONG)?);
    }
    Ok(all)
}

/// The marks in bytes: whose, and which.
fn marks(bytes: &[u8]) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    for at in 0..bytes.len() {
        if !bytes[at..].starts_with(MARK) {
            continue;
        }
        let rest = String::from_utf8_lossy(&bytes[at + MARK.len()..bytes.len().min(at + 40)]).into_owned();
        let mut numbers = rest.split('_').map(str::parse);
        if let (Some(Ok(whose)), Some(Ok(nth))) = (numbers.next(), numbers.next()) {
            found.push((whose, nth));
        }
    }
    found
}

/// How many marks are in what a client was told that has asked `next` times; or what of it is another's, or of another statement.
fn checked(frames: &[Frame], id: u64, next: u64) -> Result<u64, String> {
    let mut seen = 0;
    for frame in frames {
        for (whose, nth) in marks(&frame.wire()) {
            if whose != id {
                return Err(format!("a {} of another: {frame:?}", char::from(frame.tag)));
            }
            // What it is named by, what it listens to, and what it asks now.
            let now = nth == 0 || nth + 2 > next;
            if !now && frame.tag != b'A' && frame.tag != b'S' {
                return Err(format!("of something else: {frame:?}"));
            }
            seen += 1;
        }
    }
    Ok(seen)
}

/// Ends server processes of the application's at random, and once the primary itself.
fn disturb(cluster: &Cluster, tally: &Tally, until: Instant) {
    let half = Instant::now() + until.saturating_duration_since(Instant::now()) / 2;
    let mut server = cluster.primary();
    while Instant::now() < until {
        thread::sleep(Duration::from_millis(150));
        let _ = server.psql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app' ORDER BY random() LIMIT 1",
        );
        if Instant::now() > half && std::ptr::eq(server, cluster.primary()) {
            cluster.wait_for_replay(LONG).unwrap();
            cluster.primary().stop(Mode::Fast).unwrap();
            server = cluster.replica(0);
            server.promote().unwrap();
        }
    }
    tally.over.store(true, SeqCst);
}

#[test]
fn nobody_is_told_what_another_has_asked() {
    let seconds = std::env::var("PGSLUICE_TEST_OWNERSHIP_SECONDS").ok().and_then(|text| text.parse().ok());
    let cluster = Cluster::builder()
        .replicas(1)
        .hba(["host all all 127.0.0.1/32 trust"])
        .roles([Role::new("app"), Role::new("monitor").option("IN ROLE pg_monitor")])
        .databases(["app"])
        .start()
        .unwrap();
    let upstreams: Vec<String> = cluster.servers().map(|one| format!("\"127.0.0.1:{}\"", one.port())).collect();
    let config = format!(
        "listen_port = {{port}}\nstate_file = \"{{dir}}/state.json\"\nworkers = 2\nauth_type = \"trust\"\ndefault_pool_size = 8\n\
         query_wait_timeout = \"2s\"\n[clusters.main]\nupstreams = [{}]\nmonitor_user = \"monitor\"\nmonitor_interval = \"200ms\"\n\
         [databases.app]\n",
        upstreams.join(", ")
    );
    let proxy = Proxy::builder(binary(env!("CARGO_BIN_EXE_pgsluice"))).config(config).start().unwrap();
    let tally = Tally::default();
    let began = Instant::now();
    let until = began + Duration::from_secs(seconds.unwrap_or(6));
    thread::scope(|scope| {
        for id in 1..=CLIENTS {
            let (address, tally) = (proxy.tcp(), &tally);
            scope.spawn(move || {
                let random = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
                let mut client = Client { id, next: 0, address, tally, raw: None, random };
                while !tally.over.load(SeqCst) {
                    client.step();
                }
            });
        }
        disturb(&cluster, &tally, until);
    });
    let answered: Vec<u64> = tally.answered.iter().map(|way| way.load(SeqCst)).collect();
    println!(
        "{} asked, {:?} answered by each way, {} failed, {} marks looked at, {:?}",
        tally.asked.load(SeqCst),
        answered,
        tally.failed.load(SeqCst),
        tally.marks.load(SeqCst),
        began.elapsed()
    );
    assert!(answered.iter().all(|count| *count > 0), "each way is answered: {answered:?}");
}

/// What one client was told is taken for another's answer: of every way to ask, and of every kind of message, the look-through finds it.
#[test]
fn a_planted_leak_is_found() {
    let cluster = Cluster::builder()
        .hba(["host all all 127.0.0.1/32 trust"])
        .roles([Role::new("app")])
        .databases(["app"])
        .start()
        .unwrap();
    let login = Login::new("app", "app").parameter("application_name", "own_1_0_");
    let mut raw = Raw::connect(&cluster.primary().tcp(), &login).unwrap();
    let begins = [query("SET own.er = 'own_1_0_'; LISTEN \"own_1_0_\""), parse("shared", SHARED, &[]), sync()].concat();
    raw.send(&begins).unwrap();
    frames(&mut raw, 2).unwrap();
    let mut kinds = std::collections::BTreeSet::new();
    for way in 0..WAYS {
        let (message, readies, least) = asks(way, "own_1_5_", "own_1_6_");
        raw.send(&message).unwrap();
        let told = frames(&mut raw, readies).unwrap();
        if told.iter().filter_map(Frame::error).any(|error| !error.message().contains("own_")) {
            continue;
        }
        assert!(checked(&told, 1, 6).unwrap() >= least, "{way}: {told:?}");
        assert!(checked(&told, 2, 6).is_err(), "another client's, {way}");
        let late = told.iter().any(|frame| frame.tag != b'A' && frame.tag != b'S' && !marks(&frame.wire()).is_empty());
        assert_eq!(checked(&told, 1, 60).is_err(), late, "another statement's, {way}");
        // Each message by itself, as if nothing else had gone astray.
        for frame in told.iter().filter(|frame| !marks(&frame.wire()).is_empty()) {
            assert!(checked(std::slice::from_ref(frame), 2, 6).is_err(), "{frame:?}");
            kinds.insert(frame.tag);
        }
    }
    let kinds = String::from_utf8(kinds.into_iter().collect()).unwrap();
    assert_eq!(kinds, "ADENSd", "kinds of messages with marks in them");
}
