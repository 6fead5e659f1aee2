//! Clients that write numbered rows and remember what was acknowledged, and clients that read and measure.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pgsluice_fixtures::raw::{Address, message};
use pgsluice_fixtures::{Frame, Login, Raw};

use crate::stand::LONG;

/// In which form a row is written.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    Simple,
    Block,
    Extended,
    Copy,
}

const FORMS: [Form; 4] = [Form::Simple, Form::Block, Form::Extended, Form::Copy];

/// What they have seen.
#[derive(Default)]
pub struct Seen {
    pub acknowledged: Vec<i64>,
    /// Writes whose fate nobody knows: an error came, or no answer.
    pub unclear: Vec<i64>,
    pub errors: BTreeMap<String, usize>,
    /// How long each read took.
    pub reads: Vec<Duration>,
    pub read_errors: BTreeMap<String, usize>,
    /// The longest that any write has taken since it was last asked.
    pub longest: Duration,
}

/// See the module.
pub struct Load {
    over: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    pub fn start(address: &Address, writers: usize, readers: usize) -> Load {
        let over = Arc::<AtomicBool>::default();
        let seen = Arc::<Mutex<Seen>>::default();
        let next = Arc::<AtomicI64>::default();
        let mut threads = Vec::new();
        for nth in 0..writers {
            let (address, over, seen, next) = (address.clone(), over.clone(), seen.clone(), next.clone());
            let form = FORMS[nth % FORMS.len()];
            threads.push(thread::spawn(move || write_on(&address, form, &over, &seen, &next)));
        }
        for _ in 0..readers {
            let (address, over, seen) = (address.clone(), over.clone(), seen.clone());
            threads.push(thread::spawn(move || read_on(&address, &over, &seen)));
        }
        Load { over, seen, threads }
    }

    /// Waits until so many more writes were acknowledged.
    pub fn wait_for_more(&self, count: usize) {
        let wanted = self.seen.lock().unwrap().acknowledged.len() + count;
        let deadline = Instant::now() + LONG;
        while self.seen.lock().unwrap().acknowledged.len() < wanted {
            assert!(Instant::now() < deadline, "writes do not go on: {:?}", self.seen.lock().unwrap().errors);
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The longest write since this was last asked.
    pub fn take_longest(&self) -> Duration {
        std::mem::take(&mut self.seen.lock().unwrap().longest)
    }

    pub fn stop(self) -> Seen {
        self.over.store(true, SeqCst);
        for thread in self.threads {
            thread.join().expect("no panic");
        }
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

fn error_of(frames: &[Frame]) -> Result<(), String> {
    match frames.iter().find_map(Frame::error) {
        Some(error) => Err(format!("{} {}", error.code(), error.message())),
        None => Ok(()),
    }
}

fn answer(raw: &mut Raw, bytes: &[u8]) -> Result<(), String> {
    raw.send(bytes).map_err(|error| error.to_string())?;
    error_of(&raw.frames_until_ready(LONG).map_err(|error| error.to_string())?)
}

fn write(raw: &mut Raw, form: Form, id: i64) -> Result<(), String> {
    let insert = format!("INSERT INTO written VALUES ({id})");
    match form {
        Form::Simple => answer(raw, &message::query(&insert)),
        Form::Block => {
            answer(raw, &message::query("BEGIN"))?;
            answer(raw, &message::query(&insert))?;
            answer(raw, &message::query("COMMIT"))
        }
        Form::Extended => {
            let batch = [
                message::parse("", &insert, &[]),
                message::bind("", "", &[]),
                message::execute("", 0),
                message::sync(),
            ];
            answer(raw, &batch.concat())
        }
        Form::Copy => {
            raw.send(&message::query("COPY written FROM STDIN")).map_err(|error| error.to_string())?;
            let asked = raw.frames_until(LONG, |frame| matches!(frame.tag, b'G' | b'Z'));
            error_of(&asked.map_err(|error| error.to_string())?)?;
            answer(raw, &[message::copy_data(format!("{id}\n").as_bytes()), message::copy_done()].concat())
        }
    }
}

fn connect(address: &Address) -> Result<Raw, String> {
    Raw::connect(address, &Login::new("app", "app")).map_err(|error| error.to_string())
}

fn write_on(address: &Address, form: Form, over: &AtomicBool, seen: &Mutex<Seen>, next: &AtomicI64) {
    let mut raw: Option<Raw> = None;
    while !over.load(SeqCst) {
        let (id, began) = (next.fetch_add(1, SeqCst), Instant::now());
        let written = match raw.take().map_or_else(|| connect(address), Ok) {
            Ok(mut one) => write(&mut one, form, id).map(|()| raw = Some(one)),
            Err(error) => {
                thread::sleep(Duration::from_millis(20));
                Err(error)
            }
        };
        let mut seen = seen.lock().unwrap();
        seen.longest = seen.longest.max(began.elapsed());
        match written {
            Ok(()) => seen.acknowledged.push(id),
            Err(error) => {
                *seen.errors.entry(error).or_default() += 1;
                seen.unclear.push(id);
            }
        }
        drop(seen);
        thread::sleep(Duration::from_millis(1));
    }
}

fn read_on(address: &Address, over: &AtomicBool, seen: &Mutex<Seen>) {
    let mut raw: Option<Raw> = None;
    while !over.load(SeqCst) {
        let began = Instant::now();
        let read = match raw.take().map_or_else(|| connect(address), Ok) {
            Ok(mut one) => answer(&mut one, &message::query("SELECT v FROM t WHERE id = 7")).map(|()| raw = Some(one)),
            Err(error) => {
                thread::sleep(Duration::from_millis(20));
                Err(error)
            }
        };
        let mut seen = seen.lock().unwrap();
        match read {
            Ok(()) => seen.reads.push(began.elapsed()),
            Err(error) => *seen.read_errors.entry(error).or_default() += 1,
        }
        drop(seen);
        thread::sleep(Duration::from_millis(1));
    }
}

/// That part of them is no longer than this.
pub fn percentile(times: &mut [Duration], part: f64) -> Duration {
    times.sort_unstable();
    let at = ((times.len() as f64) * part).ceil() as usize;
    times.get(at.saturating_sub(1).min(times.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// Every acknowledged row is there once, and no row that nobody wrote.
pub fn nothing_lost_or_doubled(seen: &Seen, mut there: Vec<i64>) {
    let rows = there.len();
    there.sort_unstable();
    there.dedup();
    assert_eq!(there.len(), rows, "rows are doubled");
    let lost: Vec<_> = seen.acknowledged.iter().filter(|id| there.binary_search(id).is_err()).collect();
    assert!(lost.is_empty(), "{} of {} acknowledged rows are lost: {lost:?}", lost.len(), seen.acknowledged.len());
}
