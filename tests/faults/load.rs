//! Clients that write numbers and note which of them were acknowledged: through the proxy, or as a driver that knows both hosts and
//! wants one that takes writes (libpq's `target_session_attrs=read-write`).

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pgsluice_fixtures::raw::{Address, message};
use pgsluice_fixtures::{Frame, Login, Raw};

/// How clients reach the servers.
#[derive(Clone)]
pub enum Way {
    Proxied(Address),
    Direct([u16; 2]),
}

/// How a client writes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Single,
    Block,
    Prepared,
    Session,
    Pinned,
}

const KINDS: [Kind; 5] = [Kind::Single, Kind::Block, Kind::Prepared, Kind::Session, Kind::Pinned];

/// Longer than an answer takes, shorter than patience: what a driver's user sets as its time limit.
const PATIENCE: Duration = Duration::from_secs(30);

static NEXT: AtomicU64 = AtomicU64::new(1);

#[derive(Default)]
struct Seen {
    acknowledged: AtomicUsize,
    ids: Mutex<Vec<(u64, Instant)>>,
    drops: [AtomicUsize; 5],
}

pub struct Load {
    seen: Arc<Seen>,
    threads: Vec<JoinHandle<()>>,
}

/// What a load has seen.
pub struct Ended {
    pub acknowledged: Vec<u64>,
    times: Vec<Instant>,
    /// Connections lost, by kind of client.
    pub drops: Vec<usize>,
}

impl Ended {
    /// The longest time without an acknowledged write, from then on.
    pub fn longest_gap(&self, from: Instant) -> Duration {
        let mut last = from;
        let mut longest = Duration::ZERO;
        for at in self.times.iter().filter(|at| **at >= from) {
            longest = longest.max(at.duration_since(last));
            last = *at;
        }
        longest
    }
}

impl Load {
    pub fn start(way: Way, stop: &Arc<AtomicBool>) -> Load {
        let seen = Arc::new(Seen::default());
        let threads = (0..KINDS.len()).map(|at| {
            let (seen, stop, way) = (seen.clone(), stop.clone(), way.clone());
            thread::spawn(move || client(&way, at, &seen, &stop))
        });
        Load { threads: threads.collect(), seen }
    }

    pub fn acknowledged(&self) -> usize {
        self.seen.acknowledged.load(SeqCst)
    }

    pub fn end(self) -> Ended {
        for one in self.threads {
            one.join().expect("a client");
        }
        let mut ids = std::mem::take(&mut *self.seen.ids.lock().unwrap());
        ids.sort_by_key(|(_, at)| *at);
        Ended {
            acknowledged: ids.iter().map(|(id, _)| *id).collect(),
            times: ids.iter().map(|(_, at)| *at).collect(),
            drops: self.seen.drops.iter().map(|drops| drops.load(SeqCst)).collect(),
        }
    }
}

fn client(way: &Way, at: usize, seen: &Seen, stop: &AtomicBool) {
    let mut raw: Option<Raw> = None;
    while !stop.load(SeqCst) {
        let Some(open) = &mut raw else {
            raw = connect(way, KINDS[at]).ok();
            if raw.is_none() {
                thread::sleep(Duration::from_millis(20));
            }
            continue;
        };
        let id = NEXT.fetch_add(1, SeqCst);
        match write(open, KINDS[at], id) {
            Ok(true) => {
                seen.ids.lock().unwrap().push((id, Instant::now()));
                seen.acknowledged.fetch_add(1, SeqCst);
            }
            Ok(false) => {
                // A driver that wants a server that takes writes looks for one anew.
                if matches!(way, Way::Direct(_)) && !takes_writes(open) {
                    raw = None;
                    seen.drops[at].fetch_add(1, SeqCst);
                }
                thread::sleep(Duration::from_millis(10));
            }
            Err(()) => {
                raw = None;
                seen.drops[at].fetch_add(1, SeqCst);
            }
        }
        thread::sleep(Duration::from_millis(2));
    }
}

fn connect(way: &Way, kind: Kind) -> Result<Raw, ()> {
    match way {
        Way::Proxied(address) => {
            let user = if kind == Kind::Session { "sess" } else { "app" };
            prepared(Raw::connect(address, &Login::new(user, "app")).map_err(drop)?, kind)
        }
        Way::Direct(hosts) => {
            for host in hosts {
                let login = Login::new("direct", "app").parameter("options", "-c statement_timeout=20s");
                if let Ok(mut raw) = Raw::connect(&Address::local(*host), &login)
                    && takes_writes(&mut raw)
                {
                    return prepared(raw, kind);
                }
            }
            Err(())
        }
    }
}

fn prepared(mut raw: Raw, kind: Kind) -> Result<Raw, ()> {
    let first = match kind {
        Kind::Prepared => {
            [message::parse("ins", "INSERT INTO loaded VALUES ($1, 'p')", &[20]), message::sync()].concat()
        }
        Kind::Pinned => message::query("CREATE TEMPORARY TABLE mine (id int)"),
        Kind::Single | Kind::Block | Kind::Session => return Ok(raw),
    };
    match answer(&mut raw, &first) {
        Ok(true) => Ok(raw),
        Ok(false) | Err(()) => Err(()),
    }
}

/// As libpq asks it.
fn takes_writes(raw: &mut Raw) -> bool {
    let asked = raw.round_trip(&message::query("SHOW transaction_read_only"), Duration::from_secs(2));
    asked.is_ok_and(|frames| frames.iter().any(|frame| frame.tag == b'D' && frame.values() == [Some(b"off".to_vec())]))
}

/// True: acknowledged. False: an error, and the connection lives.
fn write(raw: &mut Raw, kind: Kind, id: u64) -> Result<bool, ()> {
    let insert = format!("INSERT INTO loaded VALUES ({id}, '{kind:?}')");
    match kind {
        Kind::Single | Kind::Session | Kind::Pinned => answer(raw, &message::query(&insert)),
        Kind::Block => {
            let mut fine = answer(raw, &message::query("BEGIN"))?;
            fine &= fine && answer(raw, &message::query(&insert))?;
            let ends = raw.round_trip(&message::query("COMMIT"), PATIENCE).map_err(drop)?;
            Ok(fine && ends.iter().any(|frame| frame.tag == b'C' && frame.body.starts_with(b"COMMIT")))
        }
        Kind::Prepared => {
            let bind = message::bind("", "ins", &[Some(id.to_string().as_bytes())]);
            answer(raw, &[bind, message::execute("", 0), message::sync()].concat())
        }
    }
}

fn answer(raw: &mut Raw, bytes: &[u8]) -> Result<bool, ()> {
    let frames = raw.round_trip(bytes, PATIENCE).map_err(drop)?;
    Ok(frames.iter().all(|frame| frame.error().is_none()) && frames.iter().any(is_done))
}

fn is_done(frame: &Frame) -> bool {
    frame.tag == b'Z'
}
