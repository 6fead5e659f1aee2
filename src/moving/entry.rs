//! What is moved, how far it has come, and what has become of it: what the journal keeps of a move.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

use super::migration::{Migrate, Way};
use crate::gate::{Lsn, ServerDatabase, Who, millis};

/// A move, as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// No other has it.
    pub id: u64,
    /// What is done, and the step that is taken.
    pub what: MoveKind,
    /// The databases that it is about.
    pub scope: Scope,
    /// Who has given the command.
    pub who: Who,
    /// When.
    pub began: Timestamp,
    /// Since when the present step is taken.
    #[serde(default)]
    pub step_began: Option<Timestamp>,
    /// What was found and done so far.
    pub lines: Vec<Line>,
    /// What has become of it; None: it goes on.
    pub end: Option<End>,
}

/// How far a move has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It goes on.
    Running,
    /// It was done.
    Done,
    /// It has failed.
    Failed,
}

impl Progress {
    /// `running`, `done`, `failed`
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

impl Entry {
    /// Whether nothing is done: only what would be in the way is told.
    pub fn is_rehearsal(&self) -> bool {
        self.id == 0
    }

    /// One that begins now.
    pub fn new(id: u64, what: MoveKind, scope: Scope, who: Who) -> Self {
        let began = Timestamp::now();
        Self { id, what, scope, who, began, step_began: Some(began), lines: Vec::new(), end: None }
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        match &self.end {
            None => Progress::Running,
            Some(end) if end.done => Progress::Done,
            Some(_) => Progress::Failed,
        }
    }

    /// Since when the present step is taken, if it goes on.
    pub fn running_since(&self) -> Option<Timestamp> {
        self.end.is_none().then(|| self.step_began.unwrap_or(self.began))
    }
}

/// The kinds of moves, each with what it has to know after a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum MoveKind {
    /// Another server of the cluster becomes the primary.
    Switchover(Switchover),
    /// Another one of several primaries is used.
    Activate(Activate),
    /// A database goes over to another cluster.
    Migrate(Box<Migrate>),
}

impl MoveKind {
    /// The command in a word.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Switchover(_) => "SWITCHOVER",
            Self::Activate(_) => "ACTIVATE",
            Self::Migrate(_) => "MIGRATE",
        }
    }

    /// From where.
    pub fn from(&self) -> &str {
        match self {
            Self::Switchover(switchover) => &switchover.from,
            Self::Activate(activate) => &activate.from,
            Self::Migrate(migrate) => &migrate.words.0,
        }
    }

    /// Where to.
    pub fn to(&self) -> &str {
        match self {
            Self::Switchover(switchover) => &switchover.to,
            Self::Activate(activate) => &activate.to,
            Self::Migrate(migrate) => &migrate.words.1,
        }
    }

    /// Databases whose gates it has closed.
    pub fn closed(&self) -> &[String] {
        match self {
            Self::Switchover(switchover) => &switchover.closed,
            Self::Activate(activate) => &activate.closed,
            Self::Migrate(migrate) => &migrate.closed,
        }
    }

    /// The cluster whose servers it is about.
    pub fn cluster(&self) -> &str {
        match self {
            Self::Switchover(switchover) => &switchover.cluster,
            Self::Activate(activate) => &activate.cluster,
            Self::Migrate(migrate) => &migrate.to.cluster,
        }
    }

    /// The step that is taken, or was taken last.
    pub fn step(&self) -> Step {
        match self {
            Self::Switchover(switchover) => switchover.step,
            Self::Activate(activate) => activate.step,
            Self::Migrate(migrate) => migrate.step,
        }
    }
}

impl From<Switchover> for MoveKind {
    fn from(known: Switchover) -> Self {
        Self::Switchover(known)
    }
}

impl From<Activate> for MoveKind {
    fn from(known: Activate) -> Self {
        Self::Activate(known)
    }
}

impl From<Migrate> for MoveKind {
    fn from(known: Migrate) -> Self {
        Self::Migrate(Box::new(known))
    }
}

/// The command, as it would be typed.
impl fmt::Display for MoveKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switchover(one) => write!(f, "SWITCHOVER {} TO {}", one.database, one.to),
            Self::Activate(one) => write!(f, "ACTIVATE {} ON {}", one.database, one.to),
            Self::Migrate(one) => match one.way {
                Way::There => write!(f, "MIGRATE {} TO {}", one.database, one.to.cluster),
                Way::Back => write!(f, "MIGRATE {} BACK", one.database),
                Way::Finish => write!(f, "MIGRATE {} FINISH", one.database),
            },
        }
    }
}

/// A step of a move. Steps of one kind of move are taken in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Looks whether it can be done. Nothing is changed.
    Check,
    /// Publications and subscriptions are made.
    Prepare,
    /// The other side gets a copy.
    Copy,
    /// It follows until it is nearly there.
    CatchUp,
    /// Reads are asked on both sides, and the answers compared.
    Mirror,
    /// Writes are held, and open transactions may end.
    Hold,
    /// The databases are read-only on the server that is left.
    Down,
    /// No session is left there that could write.
    Stat,
    /// The other server has everything that was written.
    Drain,
    /// The databases take writes there: from here on there is no way back.
    Up,
    /// The old primary takes no writes any more.
    Fence,
    /// The target replays what the old primary has written.
    Replay,
    /// Sequences of the other side go on behind those of the one that is left.
    Sequences,
    /// Replication turns round.
    Reverse,
    /// The target is told to become the primary: from here on it may be one.
    Promote,
    /// The target has committed something.
    Verify,
    /// Pools and clients are led there.
    Repoint,
    /// Held writes go on.
    Release,
    /// What replication left behind is taken away.
    Clean,
    /// It failed, and everything goes back to what it was.
    Back,
}

impl Step {
    /// Its name in rows, notices and events.
    pub fn word(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Prepare => "prepare",
            Self::Copy => "copy",
            Self::CatchUp => "catch_up",
            Self::Mirror => "mirror",
            Self::Hold => "hold",
            Self::Down => "down",
            Self::Stat => "stat",
            Self::Drain => "drain",
            Self::Up => "up",
            Self::Fence => "fence",
            Self::Replay => "replay",
            Self::Sequences => "sequences",
            Self::Reverse => "reverse",
            Self::Promote => "promote",
            Self::Verify => "verify",
            Self::Repoint => "repoint",
            Self::Release => "release",
            Self::Clean => "clean",
            Self::Back => "back",
        }
    }

    /// What is done in it, in a few words.
    pub fn aim(self) -> &'static str {
        match self {
            Self::Check => "looking whether it can be done",
            Self::Prepare => "making publications and subscriptions",
            Self::Copy => "waiting until the other side has a copy",
            Self::CatchUp => "waiting until the other side is nearly there",
            Self::Mirror => "comparing what both sides answer to reads",
            Self::Sequences => "raising the sequences of the other side",
            Self::Reverse => "turning replication round",
            Self::Clean => "taking away what replication has left",
            Self::Hold => "holding writes, and waiting for open transactions",
            Self::Down => "making the databases read-only on the server that is left",
            Self::Stat => "waiting until no session is left there that could write",
            Self::Drain => "waiting until the other server has everything that was written",
            Self::Up => "letting the other server take writes",
            Self::Fence => "keeping the old primary from taking writes",
            Self::Replay => "waiting until the target has replayed what was written",
            Self::Promote => "waiting until the target is the primary",
            Self::Verify => "waiting until the new primary has committed a transaction",
            Self::Repoint => "leading clients to the new primary",
            Self::Release => "letting held writes go on",
            Self::Back => "going back to what was before",
        }
    }
}

/// Another server of a cluster becomes its primary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switchover {
    /// The database by which the command names the cluster.
    pub database: String,
    /// The cluster's name.
    pub cluster: String,
    /// The server that is the primary when it begins, as SHOW UPSTREAMS names it.
    pub from: String,
    /// The server that is to be it.
    pub to: String,
    /// Written before it is taken.
    pub step: Step,
    /// Databases whose gates this move has closed, and opens again.
    pub closed: Vec<String>,
    /// The timeline of the old primary.
    pub timeline: u32,
    /// The old primary's position after it was fenced.
    pub lsn: Option<Lsn>,
    /// What a failure leads to.
    pub on_failure: OnFailure,
    /// How long it may take.
    #[serde(with = "millis")]
    pub timeout: Duration,
}

/// Another one of several servers that replicate each other's writes is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activate {
    /// The database by which the command names the cluster.
    pub database: String,
    /// The cluster's name.
    pub cluster: String,
    /// The server that is used when it begins, as SHOW UPSTREAMS names it.
    pub from: String,
    /// The server that is to be used.
    pub to: String,
    /// Written before it is taken.
    pub step: Step,
    /// Databases whose gates this move has closed, and opens again.
    pub closed: Vec<String>,
    /// How long it may take until the other server takes writes.
    #[serde(with = "millis")]
    pub timeout: Duration,
}

/// What becomes of the databases when a move fails before it is past its point of no return.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// They are opened again where they were.
    #[default]
    Back,
    /// They stay closed, until MAINTENANCE OFF.
    Hold,
}

/// The databases that a move is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// All databases of these clusters.
    pub clusters: Vec<String>,
    /// These databases.
    pub databases: Vec<ServerDatabase>,
}

impl Scope {
    /// Whether any database is in both.
    pub fn overlaps(&self, other: &Scope) -> bool {
        let has_cluster = |one: &Scope, cluster: &String| {
            one.clusters.contains(cluster) || one.databases.iter().any(|database| database.cluster == *cluster)
        };
        self.clusters.iter().any(|cluster| has_cluster(other, cluster))
            || other.clusters.iter().any(|cluster| has_cluster(self, cluster))
            || self.databases.iter().any(|database| other.databases.contains(database))
    }

    /// Whether that database is in it.
    pub fn has(&self, database: &ServerDatabase) -> bool {
        self.clusters.contains(&database.cluster) || self.databases.contains(database)
    }
}

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// As it should.
    Ok,
    /// It is in nobody's way, but a person should know.
    Warn,
    /// It is in the way.
    Fail,
}

impl Status {
    /// `ok`, `warn`, `fail`
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// What was found or done: a row of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The step that it belongs to.
    pub step: Step,
    /// What was looked at; the step's own name for what was done.
    pub name: String,
    /// How it stands.
    pub status: Status,
    /// When.
    pub at: Timestamp,
    /// How long it took.
    pub took_ms: u64,
    /// In a sentence.
    pub detail: String,
    /// What a person can do about it.
    pub remedy: Option<String>,
}

impl Line {
    /// Of what was looked at beforehand.
    pub fn check(name: &str, status: Status, detail: impl Into<String>) -> Self {
        let (step, name, detail) = (Step::Check, name.to_owned(), detail.into());
        Self { step, name, status, at: Timestamp::now(), took_ms: 0, detail, remedy: None }
    }

    /// Of a step that was taken.
    pub fn step(step: Step, took: Duration, detail: impl Into<String>) -> Self {
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let (name, at) = (step.word().to_owned(), Timestamp::now());
        Self { step, name, status: Status::Ok, at, took_ms, detail: detail.into(), remedy: None }
    }

    /// The same with what a person can do about it.
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// The same, as grave as that.
    pub fn of(mut self, status: Status) -> Self {
        self.status = status;
        self
    }
}

/// What has become of a move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// When.
    pub at: Timestamp,
    /// It was done; false: everything is where it was.
    pub done: bool,
    /// Why not.
    pub why: Option<String>,
    /// The SQLSTATE of that.
    pub sqlstate: String,
}

impl End {
    /// It was done, just now.
    pub fn done() -> Self {
        Self { at: Timestamp::now(), done: true, why: None, sqlstate: "00000".to_owned() }
    }

    /// It has failed, just now.
    pub fn failed(sqlstate: &str, why: impl Into<String>) -> Self {
        Self { at: Timestamp::now(), done: false, why: Some(why.into()), sqlstate: sqlstate.to_owned() }
    }
}

/// A server that was the primary until a move made another one it, or a person decided for another one. Up to its timeline it is not the primary, whatever it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retired {
    /// The cluster's name.
    pub cluster: String,
    /// The server, as SHOW UPSTREAMS names it.
    pub server: String,
    /// Its last timeline as the primary.
    pub timeline: u32,
    /// It has a setting of ours that keeps writes out, which is taken back once it is a replica.
    pub fenced: bool,
}

/// How far the primary of a cluster has come: a server on an older timeline is one of before, whatever it says, unless all others
/// follow it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatestPrimary {
    /// The cluster's name.
    pub cluster: String,
    /// PostgreSQL's identifier of the data: that of another one says nothing.
    pub system_identifier: String,
    /// The timeline of the last server that was used as the primary.
    pub timeline: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(clusters: &[&str], databases: &[(&str, &str)]) -> Scope {
        let database = |(cluster, dbname): &(&str, &str)| ServerDatabase {
            cluster: (*cluster).to_owned(),
            dbname: (*dbname).to_owned(),
        };
        Scope {
            clusters: clusters.iter().map(|&one| one.to_owned()).collect(),
            databases: databases.iter().map(database).collect(),
        }
    }

    #[test]
    fn a_cluster_overlaps_its_databases_and_databases_themselves() {
        let (main, app, other) = (scope(&["main"], &[]), scope(&[], &[("main", "app")]), scope(&[], &[("two", "app")]));
        assert!(main.overlaps(&main) && main.overlaps(&app) && app.overlaps(&main) && app.overlaps(&app));
        assert!(!main.overlaps(&other) && !app.overlaps(&other) && !other.overlaps(&main));
        assert!(main.has(&app.databases[0]) && !main.has(&other.databases[0]));
    }
}
