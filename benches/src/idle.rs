//! What clients cost that have nothing to say.

use std::time::{Duration, Instant};

use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Address, Frame, Login, Raw, RawError};

use crate::contender::{Contender, DATABASE, USER};

/// A contender that needs a server connection for each client is weighed with so many: PostgreSQL would fall over first.
const MOST_WITH_SERVERS: u32 = 400;
const ANSWER: Duration = Duration::from_secs(30);
/// How long a contender has to give memory back once its clients have left.
pub const GIVES_BACK: Duration = Duration::from_secs(5);

/// What idle clients weigh.
#[derive(Clone, Copy, Debug)]
pub struct Weight {
    /// How many there were.
    pub clients: u32,
    /// Prepared statements of each, by names of its own.
    pub names: u32,
    /// Resident memory before, in KiB.
    pub before: u64,
    /// With all of them there, after one query each.
    pub with: u64,
    /// After they had left.
    pub after: u64,
}

impl Weight {
    /// KiB for each.
    pub fn each(&self) -> f64 {
        self.with.saturating_sub(self.before) as f64 / f64::from(self.clients.max(1))
    }

    /// What is not given back, as a part of what there was before.
    pub fn kept(&self) -> f64 {
        self.after as f64 / self.before.max(1) as f64 - 1.0
    }
}

/// Texts that prepared statements have between them.
pub const TEXTS: u32 = 20;

/// Connects so many clients, lets each ask once and prepare so many statements, weighs, lets them go, and
/// weighs again once memory is what it was, or after so much time.
pub fn weigh(contender: &Contender, clients: u32, names: u32, gives_back: Duration) -> Option<Weight> {
    let place = &contender.place;
    let clients = if contender.pools() { clients } else { clients.min(MOST_WITH_SERVERS) };
    let before = place.resident()?;
    let login = Login::new(USER, DATABASE);
    let mut all = Vec::new();
    for nth in 0..clients {
        let asked = Raw::connect(&Address::local(place.port), &login)
            .and_then(|mut raw| raw.query("select 1", ANSWER).map(|_| raw))
            .and_then(|mut raw| prepare(&mut raw, names).map(|()| raw));
        match asked {
            Ok(raw) => all.push(raw),
            Err(error) => {
                eprintln!("{}: idle client {nth}: {error}", contender.name);
                return None;
            }
        }
    }
    let with = place.resident()?;
    drop(all);
    let left = Instant::now();
    // What is not given back by then is kept.
    while left.elapsed() < gives_back && place.resident()? > before {
        std::thread::sleep(Duration::from_millis(100));
    }
    Some(Weight { clients, names, before, with, after: place.resident()? })
}

fn prepare(raw: &mut Raw, names: u32) -> Result<(), RawError> {
    if names == 0 {
        return Ok(());
    }
    let one = |name: u32| {
        let text = format!("SELECT abalance FROM pgbench_accounts WHERE aid = $1 AND bid <> {}", name % TEXTS);
        message::parse(&format!("statement_{name}"), &text, &[23])
    };
    let bytes: Vec<u8> = (0..names).flat_map(one).chain(message::sync()).collect();
    let frames = raw.round_trip(&bytes, ANSWER)?;
    match frames.iter().find_map(Frame::error) {
        Some(error) => Err(RawError::Server(Box::new(error))),
        None => Ok(()),
    }
}
