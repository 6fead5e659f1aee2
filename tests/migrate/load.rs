//! Writers and readers that note what they were told, and how long they waited for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pgsluice_fixtures::raw::{Address, message};
use pgsluice_fixtures::{Frame, Login, Raw};

use crate::stand::LONG;

/// What one client has come to.
#[derive(Default)]
pub struct Tally {
    /// Ids of rows that were acknowledged.
    pub written: Vec<u64>,
    /// What it was told instead.
    pub errors: Vec<String>,
    /// The longest wait for an answer.
    pub longest: Duration,
}

/// See the module.
pub struct Load {
    stop: Arc<AtomicBool>,
    writers: Vec<JoinHandle<Tally>>,
    readers: Vec<JoinHandle<Tally>>,
}

fn ask(raw: &mut Raw, sql: &str) -> Result<Vec<Frame>, String> {
    raw.send(&message::query(sql)).map_err(|error| error.to_string())?;
    raw.frames_until_ready(LONG).map_err(|error| error.to_string())
}

fn client(
    address: Address,
    stop: Arc<AtomicBool>,
    statement: impl Fn(u64) -> String + Send + 'static,
) -> JoinHandle<Tally> {
    thread::spawn(move || {
        let mut tally = Tally::default();
        let mut raw = match Raw::connect(&address, &Login::new("app", "app")) {
            Ok(raw) => raw,
            Err(error) => {
                tally.errors.push(error.to_string());
                return tally;
            }
        };
        for n in 0.. {
            if stop.load(SeqCst) {
                break;
            }
            let began = Instant::now();
            let frames = match ask(&mut raw, &statement(n)) {
                Ok(frames) => frames,
                Err(error) => {
                    tally.errors.push(error);
                    break;
                }
            };
            tally.longest = tally.longest.max(began.elapsed());
            if let Some(error) = frames.iter().find_map(Frame::error) {
                tally.errors.push(format!("{error} {:?}", error.detail()));
            }
            let row = frames.iter().find(|frame| frame.tag == b'D').and_then(|frame| frame.values().into_iter().next());
            let id: Option<u64> = row.flatten().and_then(|text| String::from_utf8(text).ok()?.parse().ok());
            tally.written.extend(id);
            // A machine of two cores runs three servers beside it.
            thread::sleep(Duration::from_millis(1));
        }
        tally
    })
}

impl Load {
    pub fn begin(address: &Address, tag: &str, writers: usize, readers: usize) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let writer = |number: usize| {
            let tag = tag.to_owned();
            let statement = move |n| format!("INSERT INTO w(who, n) VALUES ('{tag}{number}', {n}) RETURNING id");
            client(address.clone(), stop.clone(), statement)
        };
        let reader = |_| client(address.clone(), stop.clone(), |_| "SELECT count(*) FROM t".to_owned());
        Load { writers: (0..writers).map(writer).collect(), readers: (0..readers).map(reader).collect(), stop }
    }

    /// Ends it, and gives what writers and readers have come to.
    pub fn end(self) -> (Tally, Tally) {
        self.stop.store(true, SeqCst);
        let sum = |all: Vec<JoinHandle<Tally>>| {
            all.into_iter().map(|one| one.join().expect("no panic")).fold(Tally::default(), |mut sum, one| {
                sum.written.extend(one.written);
                sum.errors.extend(one.errors);
                sum.longest = sum.longest.max(one.longest);
                sum
            })
        };
        (sum(self.writers), sum(self.readers))
    }
}
