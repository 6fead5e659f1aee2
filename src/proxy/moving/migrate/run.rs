//! From the command to the moment before the cut: looks, makes replication, waits for the copy, and until the other side is near.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep, sleep_until};

use super::look::checks;
use super::sides::{Side, names};
use super::{finish, mirror, streams};
use crate::moving::{End, Extent, Line, Migrate, Migration, Move, MoveError, MoveOf, Status, Step, Way};
use crate::proxy::moving::switchover::steps::{Failure, bounded};
use crate::proxy::moving::talk::field;
use crate::shared::ProxyState;
use crate::sql::own_statements::migrate as sql;

/// Between two looks at a copy.
const LOOK: Duration = Duration::from_millis(100);
/// So many bytes may be left when writes are held, after so much time that this was waited for: the fewer, the shorter they are held.
const NEAR: [(Duration, u64); 3] =
    [(Duration::ZERO, 256 << 10), (Duration::from_secs(10), 2 << 20), (Duration::from_secs(30), 16 << 20)];
/// How often progress is told, and how often at most.
const TELLS: Duration = Duration::from_secs(30);
const MOST_TOLD: u32 = 200;
/// Tables are told in so many parts.
const PARTS: u64 = 10;

/// See the module.
pub(super) struct Run {
    pub(super) proxy: Arc<ProxyState>,
    pub(super) one: Arc<Move>,
    /// The side that clients leave.
    pub(super) from: Side,
    /// The side that they are led to.
    pub(super) to: Side,
    /// Replication until the cut.
    pub(super) active: String,
    /// The other direction, from the cut on.
    pub(super) next: String,
    /// The same, with what is known of it.
    noted: MoveOf<Migrate>,
    /// When the present step has begun.
    pub(super) began: Instant,
}

/// What is told of something that takes long.
struct Progress {
    part: u64,
    last: Instant,
    told: u32,
}

impl Progress {
    fn new() -> Self {
        Self { part: 0, last: Instant::now(), told: 0 }
    }

    fn is_due(&mut self, part: u64) -> bool {
        let due = (part > self.part || self.last.elapsed() > TELLS) && self.told < MOST_TOLD;
        if due {
            (self.part, self.last, self.told) = (part, Instant::now(), self.told + 1);
        }
        due
    }
}

impl Run {
    pub(super) fn new(proxy: Arc<ProxyState>, one: Arc<Move>, first: Migrate, from: Side, to: Side) -> Self {
        let (there, back) = match first.way {
            Way::Back => names(&to.place, &from.place),
            Way::There | Way::Finish => names(&from.place, &to.place),
        };
        let (active, next) = if first.way == Way::Back { (back, there) } else { (there, back) };
        let noted = MoveOf::new(one.clone(), first);
        Self { proxy, one, from, to, active, next, noted, began: Instant::now() }
    }

    /// Looks, and then goes through all of it.
    pub(super) async fn begin(mut self, accept: Vec<String>, dry_run: bool) {
        let known = self.known();
        let lines = match known.way {
            Way::There => {
                checks::there(&self.proxy, &mut self.from, &mut self.to, (&self.active, &self.next), &accept).await
            }
            Way::Back | Way::Finish => checks::back(&self.proxy, &mut self.from, &mut self.to, &self.active).await,
        };
        let accepted = accept.iter().any(|one| one == "mirror");
        // Of one that an earlier command has begun.
        let mirrored = mirror::check(&self.proxy, &known.from, accepted).filter(|_| known.way == Way::There);
        let mut failed = Vec::new();
        for line in lines.into_iter().chain(mirrored) {
            if line.status == Status::Fail {
                failed.push(format!("{}: {}", line.name, line.detail));
            }
            self.one.tell(line);
        }
        if dry_run {
            return self.end(true, None).await;
        }
        if !failed.is_empty() {
            let why = format!("it would not work: {}", failed.join("; "));
            return self.end(false, Some(Failure::new("55000", why))).await;
        }
        self.go_on().await;
    }

    /// Goes on, or back, from the step that is in the journal.
    pub(super) async fn resume(mut self) {
        match self.known().step {
            Step::Check => self.end(false, Some(Failure::new("57P01", "pgsluice was restarted at step check"))).await,
            Step::Prepare | Step::Copy | Step::CatchUp => self.go_on().await,
            Step::Repoint | Step::Release | Step::Clean => self.lead(true).await,
            step => {
                let why = format!("pgsluice was restarted at step {}", step.word());
                self.go_back(Failure::new("57P01", why)).await;
            }
        }
    }

    pub(super) fn known(&self) -> Migrate {
        self.noted.known().clone()
    }

    /// Writes down the step that comes next.
    pub(super) async fn take(&mut self, step: Step, change: impl FnOnce(&mut Migrate)) -> Result<(), MoveError> {
        self.began = Instant::now();
        self.noted
            .note(|known| {
                known.step = step;
                change(known);
            })
            .await
    }

    /// Tells what has come of it.
    pub(super) fn tell(&self, step: Step, detail: impl Into<String>) {
        self.one.tell(Line::step(step, self.began.elapsed(), detail));
    }

    /// Tells what a person should know, and can do about it.
    pub(super) fn warn(&self, step: Step, detail: impl Into<String>, remedy: impl Into<String>) {
        self.one.tell(Line::step(step, self.began.elapsed(), detail).of(Status::Warn).with_remedy(remedy));
    }

    async fn go_on(mut self) {
        let known = self.known();
        if known.way == Way::There {
            let until = Instant::now() + known.copy_timeout;
            let one = self.one.clone();
            let fresh = !self.is_recorded();
            let prepared = async {
                self.take(Step::Prepare, |_| ()).await?;
                bounded(&one, until, Step::Prepare, self.prepare(known.copy_timeout)).await
            };
            if let Err(failure) = prepared.await {
                if fresh {
                    self.forget().await;
                }
                return self.end(false, Some(failure)).await;
            }
            let followed = async {
                self.take(Step::Copy, |_| ()).await?;
                bounded(&one, until, Step::Copy, self.copy()).await?;
                self.take(Step::CatchUp, |_| ()).await?;
                bounded(&one, until, Step::CatchUp, self.catch_up()).await
            };
            if let Err(mut failure) = followed.await {
                let database = &known.database;
                failure.why.push_str(&format!(
                    ". Replication stays: MIGRATE {database} TO {} goes on with it, MIGRATE {database} FINISH takes it away",
                    known.to.cluster
                ));
                return self.end(false, Some(failure)).await;
            }
            if let Err(failure) = self.mirror(&known).await {
                return self.end(false, Some(failure)).await;
            }
            if known.extent == Extent::Prepare {
                return self.end(true, None).await;
            }
        } else {
            // A worker that has just been begun is given its time: nobody waits for it yet.
            let (one, until) = (self.one.clone(), Instant::now() + known.timeout);
            let followed = async {
                self.take(Step::CatchUp, |_| ()).await?;
                bounded(&one, until, Step::CatchUp, self.catch_up()).await
            };
            if let Err(failure) = followed.await {
                return self.end(false, Some(failure)).await;
            }
        }
        self.cut().await;
    }

    /// Has reads compared, if that is asked for: until the cut or, where there is one now, for a time.
    async fn mirror(&mut self, known: &Migrate) -> Result<(), Failure> {
        let Some(mirroring) = known.mirror else { return Ok(()) };
        mirror::begin(&self.proxy, &self.one, (&known.from, &known.to), mirroring.share);
        if known.extent == Extent::Prepare {
            let text = "reads are compared from now on, until the cut or FINISH";
            self.tell(Step::Mirror, text);
            return Ok(());
        }
        self.take(Step::Mirror, |_| ()).await?;
        let one = self.one.clone();
        let until = self.began + mirroring.time;
        let waited = async {
            sleep_until(until).await;
            Ok(())
        };
        bounded(&one, until + TELLS, Step::Mirror, waited).await?;
        let Some(line) = mirror::check(&self.proxy, &known.from, mirroring.accepted) else { return Ok(()) };
        let (failed, why) = (line.status == Status::Fail, line.detail.clone());
        self.one.tell(Line { step: Step::Mirror, ..line });
        if failed {
            let hint = "Replication stays, and reads are compared until the next MIGRATE or FINISH";
            return Err(Failure::new("55000", format!("the new side answers otherwise: {why}. {hint}")));
        }
        Ok(())
    }

    /// Whether an earlier command has begun the migration.
    fn is_recorded(&self) -> bool {
        self.proxy.moves.migrations().iter().any(|one| one.has(&self.from.place) && one.has(&self.to.place))
    }

    /// Makes whatever replication needs, in both directions, and has the other side get a copy.
    async fn prepare(&mut self, patience: Duration) -> Result<(), Failure> {
        let (active, next) = (self.active.clone(), self.next.clone());
        let known = self.known();
        if !self.is_recorded() {
            let (database, old, new) = (known.database, self.from.place.clone(), self.to.place.clone());
            let (who, since) = (self.one.entry().who, Timestamp::now());
            let record = Migration { database, old, new, on_new: false, who, since };
            self.proxy.moves.migrate(move |all| all.push(record)).await?;
        }
        streams::publish(&active, &mut self.from).await?;
        streams::publish(&next, &mut self.to).await?;
        let follows = streams::is_subscribed(&active, &mut self.to).await?;
        match streams::slot(&active, &mut self.from).await? {
            Some(slot) if slot.lost => return Err(self.without_slot("its log is not kept any more")),
            None if follows => return Err(self.without_slot("it is gone")),
            Some(_) => {}
            None => streams::make_slot(&active, &mut self.from, patience).await?,
        }
        // What the other direction has left of a cut that went back.
        streams::unsubscribe(&next, &mut self.from).await?;
        streams::drop_slot(&next, &mut self.to).await?;
        streams::subscribe(&next, &self.to.conninfo, &mut self.from, false).await?;
        streams::subscribe(&active, &self.from.conninfo, &mut self.to, true).await?;
        streams::start(&active, &mut self.to).await?;
        if follows {
            streams::refresh(&active, &mut self.to).await?;
        }
        let text = format!("{} follows {} by subscription \"{active}\"", self.to.server(), self.from.server());
        self.tell(Step::Prepare, text);
        Ok(())
    }

    fn without_slot(&self, why: &str) -> Failure {
        let text = format!(
            "slot \"{}\" on {} cannot be used: {why}. MIGRATE {} FINISH, empty the tables of the copy, and begin anew",
            self.active,
            self.from.server(),
            self.known().database
        );
        Failure::new("55000", text)
    }

    /// Nothing has come of it: what was made is taken away again.
    async fn forget(&mut self) {
        self.from.hang_up();
        self.to.hang_up();
        let errors = finish::clean(&self.active, &self.next, Some(&mut self.from), Some(&mut self.to)).await;
        for error in errors {
            self.warn(Step::Prepare, error, "MIGRATE … FINISH takes away what is left.");
        }
        let (old, new) = (self.from.place.clone(), self.to.place.clone());
        if self.one.entry().lines.last().is_none_or(|line| line.status == Status::Ok) {
            let forgotten =
                self.proxy.moves.migrate(move |all| all.retain(|one| one.old != old || one.new != new)).await;
            if let Err(error) = forgotten {
                tracing::error!(event = "move_not_saved", "{error}");
            }
        }
    }

    /// Waits until every table has its copy.
    async fn copy(&mut self) -> Result<(), Failure> {
        let mut progress = Progress::new();
        loop {
            let row = self.to.talk.row(&sql::copied(&self.active)).await;
            let row = row.map_err(|error| streams::failed(&self.to, "the copy cannot be looked at", &error))?;
            let number = |at: usize| field(&row, at).parse::<u64>().unwrap_or(0);
            let (all, ready, bytes) = (number(0), number(1), number(2));
            if ready == all {
                self.tell(Step::Copy, format!("{all} tables are copied"));
                return Ok(());
            }
            if progress.is_due(ready * PARTS / all.max(1)) {
                let mib = bytes >> 20;
                self.tell(Step::Copy, format!("{ready} of {all} tables are copied, {mib} MiB of those under way"));
                self.errors(Step::Copy).await;
            }
            sleep(LOOK).await;
        }
    }

    /// Tells of what the subscriber's workers have failed with, as far as it is counted.
    async fn errors(&mut self, step: Step) {
        let Ok(row) = self.to.talk.row(&sql::errors(&self.active)).await else { return };
        let count: u64 = field(&row, 0).parse().unwrap_or(0);
        if count > 0 {
            let text = format!("the subscription has failed {count} times and tries again");
            self.warn(step, text, format!("The log of {} says why.", self.to.server()));
        }
    }

    /// Waits until the other side lacks little of what is written.
    async fn catch_up(&mut self) -> Result<(), Failure> {
        let (mut progress, began) = (Progress::new(), Instant::now());
        loop {
            let Some(slot) = streams::slot(&self.active, &mut self.from).await? else {
                return Err(self.without_slot("it is gone"));
            };
            if slot.lost {
                return Err(self.without_slot("its log is not kept any more"));
            }
            let most = NEAR.iter().rev().find(|(after, _)| began.elapsed() >= *after).map_or(0, |(_, most)| *most);
            if slot.active && slot.behind <= most {
                let tables = streams::all_followed(&self.active, &mut self.from, &mut self.to).await?;
                self.tell(Step::CatchUp, format!("{tables} tables follow, {} bytes behind", slot.behind));
                return Ok(());
            }
            if progress.is_due(0) {
                let state = if slot.active { "" } else { ", and nobody receives" };
                self.tell(Step::CatchUp, format!("{} bytes behind{state}", slot.behind));
                self.errors(Step::CatchUp).await;
            }
            sleep(LOOK).await;
        }
    }

    pub(super) async fn end(&mut self, done: bool, failure: Option<Failure>) {
        let sqlstate = failure.as_ref().map_or("00000", |failure| failure.sqlstate).to_owned();
        let why = failure.map(|failure| failure.why);
        self.one.end(End { at: Timestamp::now(), done, why, sqlstate }).await;
    }
}
