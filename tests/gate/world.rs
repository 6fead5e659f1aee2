//! A world in memory: sessions hold tickets, the primary answers what the test says.

use pgsluice::events::Bus;
use pgsluice::gate::*;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::sleep;

#[derive(Default)]
pub struct Fake {
    /// Write-capable transactions: database and ticket.
    pub writers: Mutex<Vec<(String, WriteTicket)>>,
    /// Guarded ones, which only an offline drain waits for.
    pub readers: Mutex<Vec<String>>,
    pub cancel_works: Mutex<bool>,
    pub primary_lost: Mutex<bool>,
    /// Time that each call takes, so that crashes and commands fall between the steps.
    pub slowness: Mutex<Duration>,
    pub seen: Mutex<Vec<(String, State)>>,
    pub disconnected: Mutex<Vec<String>>,
    pub lsn: AtomicU64,
    /// Set if the primary was asked while a writer was open: the broken promise.
    pub asked_too_early: Mutex<bool>,
}

fn of(user: &str) -> OpenTransaction {
    OpenTransaction {
        user: user.into(),
        application_name: "test".into(),
        client_address: "127.0.0.1".into(),
        age: Duration::from_secs(1),
        statement: Some("UPDATE t SET a = 1".into()),
        unreachable: false,
    }
}

pub struct Handle(pub Arc<Fake>);

impl Fake {
    fn writing(&self, db: &str) -> usize {
        self.writers.lock().unwrap().iter().filter(|(name, _)| name == db).count()
    }

    fn open(&self, db: &str, to: DrainTo) -> Vec<OpenTransaction> {
        let mut open = vec![of("writer"); self.writing(db)];
        if to == DrainTo::Offline {
            open.extend(self.readers.lock().unwrap().iter().filter(|name| *name == db).map(|_| of("reader")));
        }
        open
    }

    async fn pause(&self) {
        let time = *self.slowness.lock().unwrap();
        sleep(time).await;
    }

    /// A transaction begins; whether it could write.
    pub fn begin(&self, gate: &Gate) -> bool {
        match gate.enter(0) {
            Ok(ticket) => {
                self.writers.lock().unwrap().push((gate.name().to_string(), ticket));
                true
            }
            Err(closed) => {
                assert_ne!(closed.state.mode, Mode::ReadWrite);
                false
            }
        }
    }

    pub fn end_all(&self) {
        self.writers.lock().unwrap().clear();
        self.readers.lock().unwrap().clear();
    }
}

impl Field for Handle {
    fn flip_seen<'a>(&'a self, database: &'a str, view: Arc<GateView>) -> Job<'a, ()> {
        Box::pin(async move {
            self.0.seen.lock().unwrap().push((database.into(), view.state));
            self.0.pause().await;
        })
    }

    fn open_transactions<'a>(&'a self, database: &'a str, to: DrainTo) -> Job<'a, Vec<OpenTransaction>> {
        Box::pin(async move { self.0.open(database, to) })
    }

    fn cancel_open<'a>(&'a self, database: &'a str, epoch: Epoch, to: DrainTo) -> Job<'a, u64> {
        Box::pin(async move {
            self.0.pause().await;
            if !*self.0.cancel_works.lock().unwrap() {
                return 0;
            }
            let before = self.0.open(database, to).len();
            self.0.writers.lock().unwrap().retain(|(name, t)| name != database || t.epoch() >= epoch);
            if to == DrainTo::Offline {
                self.0.readers.lock().unwrap().retain(|name| name != database);
            }
            (before - self.0.open(database, to).len()) as u64
        })
    }

    fn settle<'a>(&'a self, database: &'a str) -> Job<'a, Result<Settled, String>> {
        Box::pin(async move {
            *self.0.asked_too_early.lock().unwrap() |= self.0.writing(database) > 0;
            self.0.pause().await;
            if *self.0.primary_lost.lock().unwrap() {
                return Err("connection refused".into());
            }
            let lsn = Lsn(self.0.lsn.fetch_add(0x100, Ordering::Relaxed) + 0x1_0000_0100);
            Ok(Settled { lsn, foreign_writers: vec![], warning: None })
        })
    }

    fn disconnect<'a>(&'a self, _: &'a str, text: &'a str) -> Job<'a, ()> {
        Box::pin(async move { self.0.disconnected.lock().unwrap().push(text.into()) })
    }
}

pub fn base() -> jiff::Timestamp {
    "2026-12-01T12:00:00Z".parse().unwrap()
}

/// Wall clock time that goes with tokio's paused time, from `base` on.
pub fn clock(base: jiff::Timestamp) -> Clock {
    let start = tokio::time::Instant::now();
    Arc::new(move || base + start.elapsed())
}

pub fn open_at(file: StateFile, names: &[&str], fake: &Arc<Fake>, base: jiff::Timestamp) -> Gates {
    open_publishing(file, names, fake, base, &Bus::default())
}

pub fn open_publishing(
    file: StateFile,
    names: &[&str],
    fake: &Arc<Fake>,
    base: jiff::Timestamp,
    events: &Bus,
) -> Gates {
    let names: Vec<String> = names.iter().map(|s| (*s).to_owned()).collect();
    let limits = Limits { shards: 2, databases: 5, ..Limits::default() };
    let field = Arc::new(Handle(fake.clone()));
    Gates::open(&file, &names, field, events.clone(), limits, clock(base), tokio::runtime::Handle::current()).unwrap()
}

pub fn file(folder: &Path) -> StateFile {
    StateFile::Path(folder.join("state.json"))
}

pub fn who(user: &str) -> Who {
    Who { user: user.into(), address: Some("127.0.0.1".into()) }
}

pub fn options(pairs: &[(&str, &str)]) -> OnOptions {
    let pairs: Vec<_> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    OnOptions::from_pairs(&pairs, OnDefaults::default()).unwrap()
}

pub fn app() -> Target {
    Target::One("app".into())
}

/// The answer for the only database of the command.
pub async fn only(handle: Result<TransitionHandle, GateError>) -> Result<Outcome, GateError> {
    let mut answers = handle?.outcome().await;
    assert_eq!(answers.len(), 1);
    answers.remove(0).1
}

/// Waits for something that other tasks bring about.
pub async fn until(what: &str, mut reached: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if reached() {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}
