//! Writers of every kind while servers are stopped and promoted in turn: no acknowledged row is lost, none is there twice, and no
//! client hangs. `PGSLUICE_TEST_SECONDS` makes it last longer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pgsluice_fixtures::cluster::Mode;
use pgsluice_fixtures::raw::{Address, message};
use pgsluice_fixtures::{Frame, Login, Raw, Server, wait};

use crate::stand::{LONG, Stand, sqlstate};

/// Longer than any failover here takes. Whoever waits longer hangs.
const HANGS: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug)]
enum Kind {
    Simple,
    InOne,
    Block,
    Extended,
    Prepared,
    Copy,
    Temporary,
}

/// What a writer has seen.
#[derive(Default)]
struct Seen {
    acknowledged: Vec<u64>,
    errors: BTreeMap<String, usize>,
    slowest: Duration,
}

struct Writer {
    address: Address,
    user: &'static str,
    kind: Kind,
    raw: Option<Raw>,
    tables: u64,
}

impl Writer {
    fn connect(&mut self) -> Result<(), String> {
        let login = Login::new(self.user, "app");
        let mut raw = Raw::connect(&self.address, &login).map_err(|error| code_of(error.sqlstate()))?;
        if matches!(self.kind, Kind::Prepared) {
            let parse = [message::parse("ins", "INSERT INTO loaded VALUES ($1)", &[20]), message::sync()].concat();
            answer(&mut raw, &parse)?;
        }
        self.raw = Some(raw);
        Ok(())
    }

    /// Writes that number. An error leaves open whether it is written.
    fn write(&mut self, id: u64) -> Result<(), String> {
        if self.raw.is_none() {
            self.connect()?;
        }
        let Some(raw) = &mut self.raw else { return Err("no connection".to_owned()) };
        let insert = format!("INSERT INTO loaded VALUES ({id})");
        let query = |raw: &mut Raw, sql: &str| answer(raw, &message::query(sql));
        match self.kind {
            Kind::Simple => query(raw, &insert),
            Kind::InOne => query(raw, &format!("BEGIN; {insert}; COMMIT")),
            Kind::Block => {
                query(raw, "BEGIN")?;
                query(raw, &insert)?;
                query(raw, "SELECT 1")?;
                query(raw, "COMMIT")
            }
            Kind::Extended => {
                let batch = [
                    message::parse("", &insert, &[]),
                    message::bind("", "", &[]),
                    message::execute("", 0),
                    message::sync(),
                ];
                answer(raw, &batch.concat())
            }
            Kind::Prepared => {
                let id = id.to_string();
                let batch =
                    [message::bind("", "ins", &[Some(id.as_bytes())]), message::execute("", 0), message::sync()];
                answer(raw, &batch.concat())
            }
            Kind::Copy => {
                raw.send(&message::query("COPY loaded FROM STDIN")).map_err(|_| "cut off".to_owned())?;
                let asked = raw.frames_until(HANGS, |frame| matches!(frame.tag, b'G' | b'Z')).map_err(|_| "cut off")?;
                refused(&asked)?;
                answer(raw, &[message::copy_data(format!("{id}\n").as_bytes()), message::copy_done()].concat())
            }
            Kind::Temporary => {
                self.tables += 1;
                query(raw, &format!("CREATE TEMPORARY TABLE mine{} AS SELECT {id} AS id", self.tables))?;
                query(raw, &format!("INSERT INTO loaded SELECT id FROM mine{}", self.tables))
            }
        }
    }
}

fn code_of(sqlstate: Option<&str>) -> String {
    sqlstate.unwrap_or("cut off").to_owned()
}

fn refused(frames: &[Frame]) -> Result<(), String> {
    let rolled_back = frames.iter().any(|frame| frame.tag == b'C' && frame.body.starts_with(b"ROLLBACK"));
    match sqlstate(frames) {
        code if !code.is_empty() => Err(code),
        _ if rolled_back => Err("rolled back".to_owned()),
        _ => Ok(()),
    }
}

fn answer(raw: &mut Raw, bytes: &[u8]) -> Result<(), String> {
    raw.send(bytes).map_err(|_| "cut off".to_owned())?;
    match raw.frames_until_ready(HANGS) {
        Ok(frames) => refused(&frames),
        Err(pgsluice_fixtures::RawError::Timeout { .. }) => Err("hangs".to_owned()),
        Err(pgsluice_fixtures::RawError::Closed { frames }) if !sqlstate(&frames).is_empty() => Err(sqlstate(&frames)),
        Err(_) => Err("cut off".to_owned()),
    }
}

fn runs(mut writer: Writer, next: Arc<AtomicU64>, over: Arc<AtomicBool>) -> JoinHandle<Seen> {
    thread::spawn(move || {
        let mut seen = Seen::default();
        while !over.load(SeqCst) {
            let (id, began) = (next.fetch_add(1, SeqCst), Instant::now());
            match writer.write(id) {
                Ok(()) => seen.acknowledged.push(id),
                Err(code) => {
                    *seen.errors.entry(code).or_default() += 1;
                    writer.raw = None;
                }
            }
            seen.slowest = seen.slowest.max(began.elapsed());
        }
        seen
    })
}

/// The primary stops in good order, the other one takes its place, and is followed by the first.
fn switch(primary: &Server, replica: &Server) {
    primary.stop(Mode::Fast).unwrap();
    replica.promote().unwrap();
    let slot = format!(
        "SELECT count(pg_create_physical_replication_slot('{0}')) FROM (SELECT 1 WHERE NOT EXISTS \
         (SELECT FROM pg_replication_slots WHERE slot_name = '{0}')) x",
        primary.name()
    );
    replica.psql_in("postgres", &slot).unwrap();
    primary.follow(replica).unwrap();
    primary.start().unwrap();
    let follows = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
    replica.wait_until(follows, "1", LONG).unwrap();
}

/// From when this returns, what is acknowledged is on the replica too.
fn wait_for_the_replica(primary: &Server) {
    primary.psql_in("postgres", "ALTER SYSTEM SET synchronous_standby_names = '*'").unwrap();
    primary.reload().unwrap();
    primary.wait_until("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'", "1", LONG).unwrap();
    let now = primary.psql_in("postgres", "SELECT pg_current_wal_insert_lsn()").unwrap();
    let there = format!("SELECT bool_and(flush_lsn >= '{now}') FROM pg_stat_replication");
    primary.wait_until(&there, "t", LONG).unwrap();
}

#[test]
fn no_acknowledged_row_is_lost_or_doubled_over_many_failovers() {
    let seconds = std::env::var("PGSLUICE_TEST_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(6);
    let stand = Stand::by_defaults("[users.stmt]\npool_mode = \"statement\"\n");
    stand.cluster.primary().psql_in("app", "CREATE TABLE loaded (id bigint); GRANT ALL ON loaded TO PUBLIC").unwrap();
    stand.cluster.wait_for_replay(LONG).unwrap();
    let (next, over) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
    let mut writers = Vec::new();
    for user in ["app", "sess", "stmt", "dba"] {
        for kind in
            [Kind::Simple, Kind::InOne, Kind::Block, Kind::Extended, Kind::Prepared, Kind::Copy, Kind::Temporary]
        {
            if user == "stmt" && matches!(kind, Kind::Block) {
                continue;
            }
            let writer = Writer { address: stand.proxy.tcp(), user, kind, raw: None, tables: 0 };
            writers.push((user, kind, runs(writer, next.clone(), over.clone())));
        }
    }
    let until = Instant::now() + Duration::from_secs(seconds);
    let (mut primary, mut replica) = (stand.cluster.primary(), stand.cluster.replica(0));
    let mut failovers = 1;
    while Instant::now() < until {
        switch(primary, replica);
        std::mem::swap(&mut primary, &mut replica);
        failovers += 1;
        thread::sleep(Duration::from_millis(300));
    }
    wait_for_the_replica(primary);
    primary.kill_9();
    replica.psql_in("postgres", "ALTER SYSTEM RESET synchronous_standby_names").unwrap();
    replica.promote().unwrap();
    let served = next.load(SeqCst) + 200;
    wait::until(LONG, "writes to go on", || (next.load(SeqCst) > served).then_some(()));
    over.store(true, SeqCst);
    let (mut acknowledged, mut errors, mut slowest) = (Vec::new(), BTreeMap::new(), Duration::ZERO);
    for (user, kind, writer) in writers {
        let seen = writer.join().expect("no panic");
        assert!(!seen.errors.contains_key("hangs") && seen.slowest < HANGS, "{user} {kind:?}: {:?}", seen.errors);
        assert!(!seen.acknowledged.is_empty(), "{user} {kind:?} has written nothing: {:?}", seen.errors);
        acknowledged.extend(seen.acknowledged);
        seen.errors.into_iter().for_each(|(code, times)| *errors.entry(code).or_insert(0) += times);
        slowest = slowest.max(seen.slowest);
    }
    println!(
        "{failovers} failovers, {} rows acknowledged, errors {errors:?}, the slowest write took {slowest:?}",
        acknowledged.len()
    );
    let all = replica.psql_in("app", "SELECT id, count(*) FROM loaded GROUP BY id").unwrap();
    let all: BTreeMap<u64, u64> = all
        .lines()
        .map(|line| line.split_once('|').expect("two fields"))
        .map(|(id, count)| (id.parse().expect("a number"), count.parse().expect("a number")))
        .collect();
    let lost: Vec<u64> = acknowledged.iter().copied().filter(|id| !all.contains_key(id)).collect();
    assert!(lost.is_empty(), "{} lost: {lost:?}", lost.len());
    let doubled: Vec<&u64> = all.iter().filter(|(_, count)| **count > 1).map(|(id, _)| id).collect();
    assert!(doubled.is_empty(), "doubled: {doubled:?}");
}
