//! What clients cost that have nothing to say.

use std::time::Duration;

use pgsluice_fixtures::{Address, Login, Raw};

use crate::contender::{Contender, DATABASE, USER};
use crate::measure::resident_kib;

/// A contender that needs a server connection for each client is weighed with so many: PostgreSQL would fall over first.
const MOST_WITH_SERVERS: u32 = 400;
const ANSWER: Duration = Duration::from_secs(30);

/// What idle clients weigh.
#[derive(Clone, Copy, Debug)]
pub struct Weight {
    /// How many there were.
    pub clients: u32,
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
}

/// Connects so many clients, lets each ask once, weighs, and lets them go.
pub fn weigh(contender: &Contender, clients: u32) -> Option<Weight> {
    let pid = contender.pid?;
    let clients = if contender.pools { clients } else { clients.min(MOST_WITH_SERVERS) };
    let before = resident_kib(pid)?;
    let login = Login::new(USER, DATABASE);
    let mut all = Vec::new();
    for nth in 0..clients {
        let asked = Raw::connect(&Address::local(contender.port), &login)
            .and_then(|mut raw| raw.query("select 1", ANSWER).map(|_| raw));
        match asked {
            Ok(raw) => all.push(raw),
            Err(error) => {
                eprintln!("{}: idle client {nth}: {error}", contender.name);
                return None;
            }
        }
    }
    let with = resident_kib(pid)?;
    drop(all);
    // Long enough for the proxy to see them go; what it has not given back by then it keeps.
    std::thread::sleep(Duration::from_secs(1));
    Some(Weight { clients, before, with, after: resident_kib(pid)? })
}
