//! One unit of work on several servers, and its end: on all of them or on none.
//!
//! With two servers or more that have changed something the commit has two halves: PREPARE TRANSACTION on each, then COMMIT
//! PREPARED, first on the server that decides. What became of the unit there is what becomes of it everywhere: a later fan-out asks
//! that server ([`leftover`](super::leftover)), so nothing of it has to be kept here. A server that cannot prepare transactions
//! leaves COMMIT on one after the other, with a report of where it stopped.

use std::time::{Duration, Instant};

use super::side::{Failure, Heard, Side, on_all};
use crate::protocol::{Report, TxStatus};
use crate::sql::own_statements::fanout as sql;
use crate::sql::own_statements::transaction::{COMMIT, ROLLBACK};

/// How long the second half of a commit is tried on a server that does not answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long after such a try the next one begins.
const AGAIN: Duration = Duration::from_millis(500);

/// The servers of a fan-out, and what is open on them. The first is the one that the session's other statements go to.
pub(super) struct Sides {
    /// Every one.
    pub(super) all: Vec<Side>,
    /// Whether each of them can prepare transactions.
    pub(super) two_phase: bool,
    /// Where the client's transaction stands.
    pub(super) status: TxStatus,
}

/// How a unit ended.
pub(super) enum Ended {
    /// It has changed nothing, anywhere.
    Unchanged,
    /// What it has changed stands on these servers, which are all that it changed anything on.
    Committed(Vec<String>),
    /// Nothing of it stands anywhere: what went wrong, and on which server.
    RolledBack(Box<Failure>, String),
    /// It would change something, which is not allowed now.
    Refused,
    /// It stands on some servers and not, or not yet, on others.
    Torn(Report),
}

/// Reconnects to a server of a fan-out.
pub(super) trait Reconnect {
    /// Does it.
    async fn reconnect(&self, side: &mut Side) -> Result<(), String>;
}

/// The name under which a unit stands prepared: its number, the transaction that decides, and the server where that is.
pub(super) struct Unit {
    /// The number, at random.
    pub(super) number: u64,
    /// The id of the transaction on the server that decides.
    pub(super) id: u64,
    /// Which server that is, as [`mark`] gives it.
    pub(super) server: u64,
}

/// A number for a server by its name, the same in every process.
pub(super) fn mark(name: &str) -> u64 {
    // FNV-1a.
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

impl Unit {
    /// As the servers are told it.
    pub fn gid(&self) -> String {
        format!("pgsluice_fanout_{:016x}_{}_{:016x}", self.number, self.id, self.server)
    }

    /// Reads it back.
    pub fn read(gid: &str) -> Option<Self> {
        let mut parts = gid.strip_prefix("pgsluice_fanout_")?.split('_');
        let hex = |text: Option<&str>| u64::from_str_radix(text?, 16).ok();
        let number = hex(parts.next())?;
        let id = parts.next()?.parse().ok()?;
        let server = u64::from_str_radix(parts.next()?, 16).ok()?;
        parts.next().is_none().then_some(Self { number, id, server })
    }
}

impl Sides {
    /// Runs a text everywhere. What failed, and where; else what each has said.
    pub async fn run(&mut self, text: &[u8]) -> Result<Vec<Heard>, (Failure, String)> {
        let told = on_all(&mut self.all, text).await;
        let mut heard = Vec::with_capacity(told.len());
        let mut failed: Option<(Failure, String)> = None;
        for (told, side) in told.into_iter().zip(&self.all) {
            match Failure::of(told) {
                Ok(one) => heard.push(one),
                // A cancel that another server's failure has caused is not the reason.
                Err(failure) if failed.is_none() || !failure.is_cancel() => {
                    if failed.as_ref().is_none_or(|(known, _)| known.is_cancel()) {
                        failed = Some((failure, side.name.clone()));
                    }
                }
                Err(_) => {}
            }
        }
        failed.map_or(Ok(heard), Err)
    }

    /// Ends what is open, without effect. A connection that fails at that ends its transaction too.
    pub async fn roll_back(&mut self) {
        _ = on_all(&mut self.all, ROLLBACK.as_bytes()).await;
        self.status = TxStatus::Idle;
    }

    /// Commits what is open, everywhere or nowhere.
    pub async fn commit(&mut self, may_change: bool, number: u64, reconnect: &impl Reconnect) -> Ended {
        self.status = TxStatus::Idle;
        let mut ids = Vec::with_capacity(self.all.len());
        for at in 0..self.all.len() {
            let Some(side) = self.all.get_mut(at) else { break };
            match side.ask(sql::ASSIGNED).await {
                Ok(heard) => ids.push(heard.value().and_then(|id| id.parse::<u64>().ok())),
                Err(failure) => {
                    let name = side.name.clone();
                    self.roll_back().await;
                    return Ended::RolledBack(Box::new(failure), name);
                }
            }
        }
        let changed = ids.iter().flatten().count();
        if changed == 0 {
            return match self.run(COMMIT.as_bytes()).await {
                Ok(_) => Ended::Unchanged,
                Err((failure, name)) => {
                    self.roll_back().await;
                    Ended::RolledBack(Box::new(failure), name)
                }
            };
        }
        if !may_change {
            self.roll_back().await;
            return Ended::Refused;
        }
        // Servers that have changed nothing need no PREPARE; their COMMIT may still run deferred triggers.
        for (side, _) in self.all.iter_mut().zip(&ids).filter(|(_, id)| id.is_none()) {
            if let Err(failure) = side.ask(COMMIT).await {
                let name = side.name.clone();
                self.roll_back().await;
                return Ended::RolledBack(Box::new(failure), name);
            }
        }
        if self.two_phase && changed > 1 {
            self.commit_in_halves(&ids, number, reconnect).await
        } else {
            self.commit_one_by_one(&ids).await
        }
    }

    async fn commit_in_halves(&mut self, ids: &[Option<u64>], number: u64, reconnect: &impl Reconnect) -> Ended {
        let Some((deciding, id)) = ids.iter().enumerate().find_map(|(at, id)| Some((at, (*id)?))) else {
            return Ended::Unchanged;
        };
        let server = self.all.get(deciding).map_or(0, |side| mark(&side.name));
        let gid = Unit { number, id, server }.gid();
        let prepare = sql::prepare(&gid);
        for at in (0..self.all.len()).filter(|at| ids.get(*at).is_some_and(Option::is_some)) {
            let Some(side) = self.all.get_mut(at) else { break };
            let prepared = match side.ask(&prepare).await {
                // A transaction that has failed is rolled back, and the tag says so.
                Ok(heard) if heard.tag == "PREPARE TRANSACTION" => continue,
                Ok(_) => Failure::Lost(std::io::Error::other("the transaction was rolled back").into()),
                Err(failure) => failure,
            };
            let name = side.name.clone();
            self.undo(&gid, ids, at, reconnect).await;
            return Ended::RolledBack(Box::new(prepared), name);
        }
        let commit = sql::commit_prepared(&gid);
        if let Some(side) = self.all.get_mut(deciding)
            && let Err(why) = finish(side, &commit, id, reconnect).await
        {
            let name = side.name.clone();
            return match why {
                Unfinished::Undone(failure) => {
                    self.undo(&gid, ids, self.all.len(), reconnect).await;
                    Ended::RolledBack(Box::new(failure), name)
                }
                Unfinished::Unknown(why) => Ended::Torn(in_doubt(&gid, &name, &why)),
            };
        }
        let mut done = vec![self.all.get(deciding).map(|side| side.name.clone()).unwrap_or_default()];
        let mut open = Vec::new();
        for (at, side) in self.all.iter_mut().enumerate().filter(|(at, _)| *at != deciding) {
            let Some(Some(id)) = ids.get(at) else { continue };
            match finish(side, &commit, *id, reconnect).await {
                Ok(()) => done.push(side.name.clone()),
                Err(Unfinished::Undone(failure)) => open.push(format!("{}: {}", side.name, failure.summary())),
                Err(Unfinished::Unknown(why)) => open.push(format!("{}: {why}", side.name)),
            }
        }
        if open.is_empty() {
            return Ended::Committed(done);
        }
        let text = format!("committed on {}, and prepared as \"{gid}\" elsewhere", done.join(", "));
        Ended::Torn(Report::error("40003", text).with_detail(Some(open.join("\n"))).with_hint(Some(HINT.to_owned())))
    }

    /// Rolls back what is prepared on the servers before `until`, and open on the others.
    async fn undo(&mut self, gid: &str, ids: &[Option<u64>], until: usize, reconnect: &impl Reconnect) {
        let roll_back = sql::roll_back_prepared(gid);
        for (at, side) in self.all.iter_mut().enumerate() {
            if at >= until || ids.get(at).is_none_or(Option::is_none) {
                _ = side.ask(ROLLBACK).await;
            } else if side.ask(&roll_back).await.is_err() && reconnect.reconnect(side).await.is_ok() {
                // Else it is found by the next fan-out, and undone as nobody has decided for it.
                _ = side.ask(&roll_back).await;
            }
        }
    }

    async fn commit_one_by_one(&mut self, ids: &[Option<u64>]) -> Ended {
        let mut done: Vec<String> = Vec::new();
        for at in (0..self.all.len()).filter(|at| ids.get(*at).is_some_and(Option::is_some)) {
            let Some(side) = self.all.get_mut(at) else { break };
            let name = side.name.clone();
            let failure = match side.ask(COMMIT).await {
                Ok(heard) if heard.tag == "COMMIT" => {
                    done.push(name);
                    continue;
                }
                Ok(_) => Failure::Lost(std::io::Error::other("the transaction was rolled back").into()),
                Err(failure) => failure,
            };
            for rest in self.all.iter_mut().skip(at + 1) {
                _ = rest.ask(ROLLBACK).await;
            }
            if done.is_empty() && matches!(failure, Failure::Error(_)) {
                return Ended::RolledBack(Box::new(failure), name);
            }
            let on = if done.is_empty() { "no server for certain".to_owned() } else { done.join(", ") };
            let text = format!("committed on {on}, and not known to be on {name}");
            let hint = "With max_prepared_transactions above 0 on every server, a unit is on all of them or on none.";
            let report = Report::error("40003", text).with_detail(Some(failure.summary()));
            return Ended::Torn(report.with_hint(Some(hint.to_owned())));
        }
        Ended::Committed(done)
    }
}

const HINT: &str = "SET pgsluice.fanout = on finishes it once every server can be reached.";

fn in_doubt(gid: &str, name: &str, why: &str) -> Report {
    let text = format!("it is not known whether \"{gid}\" is committed on {name}");
    Report::error("40003", text).with_detail(Some(why.to_owned())).with_hint(Some(HINT.to_owned()))
}

/// Why the second half of a commit is not done.
enum Unfinished {
    /// The transaction is gone, and has had no effect.
    Undone(Failure),
    /// The server could not be asked in time.
    Unknown(String),
}

/// Sends the second half of a commit until it is known to be done: what became of the transaction is asked of the server.
async fn finish(side: &mut Side, commit: &str, id: u64, reconnect: &impl Reconnect) -> Result<(), Unfinished> {
    let until = Instant::now() + PATIENCE;
    loop {
        let failure = match side.ask(commit).await {
            Ok(_) => return Ok(()),
            Err(failure) => failure,
        };
        let outcome = match (&failure, side.ask(&sql::outcome(id)).await) {
            (_, Ok(heard)) => heard.value(),
            (_, Err(_)) => None,
        };
        match outcome.as_deref() {
            Some("committed") => return Ok(()),
            Some("aborted") => return Err(Unfinished::Undone(failure)),
            _ => {}
        }
        if Instant::now() >= until {
            return Err(Unfinished::Unknown(failure.summary()));
        }
        tokio::time::sleep(AGAIN).await;
        if matches!(failure, Failure::Lost(_)) {
            _ = reconnect.reconnect(side).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_unit_reads_back_and_is_short_enough() {
        let unit = Unit { number: u64::MAX, id: u64::MAX, server: mark("a-host-with-a-rather-long-name.example:5432") };
        let gid = unit.gid();
        assert!(gid.len() < 200, "{gid}");
        let read = Unit::read(&gid).unwrap();
        assert_eq!((read.number, read.id, read.server), (unit.number, unit.id, unit.server));
        for other in ["pgsluice_fanout_", "pgsluice_fanout_1_2", "pgsluice_fanout_1_2_3_4", "mine"] {
            assert!(Unit::read(other).is_none(), "{other}");
        }
    }
}
