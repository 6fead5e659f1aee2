//! The steps, in their order, forward and back.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::servers as ask;
use crate::gate::OnTimeout;
use crate::moving::{Activate, End, Line, MoveError, MoveOf, Status, Step};
use crate::proxy::moving::hold;
use crate::proxy::moving::switchover::Servers;
use crate::proxy::moving::switchover::steps::{Failure, bounded};
use crate::proxy::moving::talk::{Talk, field};
use crate::shared::ProxyState;
use crate::sql::own_statements::moving;

/// Between two looks at what is about to change, or cannot be reached.
const RETRY: Duration = Duration::from_millis(100);
/// How long a server that was left may take to answer, before it is given up by whoever calls the move off.
const LIFTS: Duration = Duration::from_secs(10);
/// How long a held write waits.
const HOLD: Duration = Duration::from_secs(60);
/// How long open transactions may take to end.
const DRAIN: Duration = Duration::from_secs(10);

/// See the module.
pub(super) struct Run {
    proxy: Arc<ProxyState>,
    one: MoveOf<Activate>,
    servers: Servers,
    old: Talk,
    new: Talk,
    dbnames: Vec<String>,
    began: Instant,
    /// Nobody has written on the other server by this proxy.
    may_go_back: bool,
}

/// Connections of the move's own to both servers.
pub(super) struct Sides {
    old: Talk,
    new: Talk,
}

impl Sides {
    /// None if no role is configured.
    pub(super) fn find(proxy: &Arc<ProxyState>, servers: &Servers) -> Option<Self> {
        let old = Talk::with(proxy, &servers.cluster, servers.from)?;
        let new = Talk::with(proxy, &servers.cluster, servers.to)?;
        Some(Self { old, new })
    }
}

impl Run {
    pub(super) fn new(proxy: Arc<ProxyState>, one: MoveOf<Activate>, servers: Servers, sides: Sides) -> Self {
        let Sides { old, new } = sides;
        let gates = hold::gates_of(&proxy, std::slice::from_ref(&servers.cluster));
        let mut dbnames: Vec<String> = gates.iter().map(|gate| gate.place().dbname.clone()).collect();
        dbnames.sort();
        dbnames.dedup();
        Self { proxy, one, servers, old, new, dbnames, began: Instant::now(), may_go_back: true }
    }

    /// Looks, and then goes through all of it.
    pub(super) async fn begin(mut self, dry_run: bool) {
        let dbnames = &self.dbnames;
        let lines = [
            ask::rights("rights on the active server", &mut self.old, dbnames).await,
            ask::rights("rights on the other server", &mut self.new, dbnames).await,
            ask::replication("replication there", &mut self.old, &mut self.new, dbnames).await,
            ask::replication("replication back", &mut self.new, &mut self.old, dbnames).await,
        ];
        let failed: Vec<String> = lines
            .iter()
            .filter(|line| line.status == Status::Fail)
            .map(|line| format!("{}: {}", line.name, line.detail))
            .collect();
        lines.into_iter().for_each(|line| self.one.shared().tell(line));
        if dry_run {
            return self.end(None).await;
        }
        if !failed.is_empty() {
            return self.end(Some(Failure::new("55000", format!("it would not work: {}", failed.join("; "))))).await;
        }
        match self.until_drained().await {
            Ok(()) => self.up_and_release().await,
            Err(failure) => self.go_back(failure).await,
        }
    }

    /// Goes on, or back, from the step that is in the journal.
    pub(super) async fn resume(mut self) {
        let step = self.one.known().step;
        if step >= Step::Up && step != Step::Back {
            // Clients may have written there already.
            self.may_go_back = step != Step::Release;
            self.up_and_release().await;
        } else {
            self.go_back(Failure::new("57P01", format!("pgsluice was restarted at step {}", step.word()))).await;
        }
    }

    /// Writes down the step that comes next.
    async fn take(&mut self, step: Step, closed: Option<&[String]>) -> Result<(), MoveError> {
        self.began = Instant::now();
        self.one
            .note(|known| {
                known.step = step;
                if let Some(closed) = closed {
                    known.closed = closed.to_vec();
                }
            })
            .await
    }

    /// The next step of a way that has no return: what cannot be written down is found out again after a restart.
    async fn must_take(&mut self, step: Step) {
        if let Err(error) = self.take(step, None).await {
            tracing::error!(event = "move_not_saved", step = step.word(), "{error}");
        }
    }

    fn tell(&self, step: Step, detail: impl Into<String>) {
        self.one.shared().tell(Line::step(step, self.began.elapsed(), detail));
    }

    /// Up to the point of no return: the other server is as it was.
    async fn until_drained(&mut self) -> Result<(), Failure> {
        let timeout = self.one.known().timeout;
        let until = Instant::now() + timeout;
        let gates = hold::gates_of(&self.proxy, std::slice::from_ref(&self.servers.cluster));
        let open = gates.iter().filter(|gate| !hold::is_closed_by_a_person(gate));
        let names: Vec<String> = open.map(|gate| gate.name().to_string()).collect();
        self.take(Step::Hold, Some(&names)).await?;
        let terms = hold::Terms {
            message: format!("{} is about to be used", self.servers.name(self.servers.to)),
            hold_timeout: HOLD,
            drain_timeout: DRAIN.min(timeout),
            on_timeout: OnTimeout::Revert,
        };
        let one = self.one.shared().clone();
        let closed = async { hold::close(&self.proxy, &one, &names, &terms).await.map_err(Failure::from) };
        bounded(&one, until, Step::Hold, closed).await?;
        self.tell(Step::Hold, format!("writes are held for {}", self.dbnames.join(", ")));
        self.take(Step::Down, None).await?;
        // What is set there meanwhile is ours: no database closes by itself because of it.
        self.servers.cluster.begin_handover(self.servers.from, self.servers.to);
        bounded(&one, until, Step::Down, ask::down(&mut self.old, &self.dbnames)).await?;
        let old = self.servers.name(self.servers.from);
        self.tell(Step::Down, format!("{} on {old} are read-only from now on", self.dbnames.join(", ")));
        self.take(Step::Stat, None).await?;
        let left = ask::none_left(&self.proxy, &self.servers, &mut self.old, &self.dbnames);
        let ended = bounded(&one, until, Step::Stat, left).await?;
        let text = if ended.is_empty() { String::new() } else { format!("; ended: {}", ended.join(", ")) };
        self.tell(Step::Stat, format!("no session is left on {old} that could write{text}"));
        self.take(Step::Drain, None).await?;
        let position = bounded(&one, until, Step::Drain, ask::drained(&mut self.old, &self.dbnames)).await?;
        self.tell(Step::Drain, format!("the other server has what was written up to {position}"));
        self.take(Step::Up, None).await?;
        Ok(())
    }

    /// The other server may take writes from here on: only forward.
    async fn up_and_release(mut self) {
        self.began = Instant::now();
        let new = self.servers.name(self.servers.to);
        self.servers.cluster.begin_handover(self.servers.from, self.servers.to);
        let mut told = false;
        loop {
            let why = match self.take_up().await {
                Ok(()) => break,
                Err(why) => why,
            };
            if let Some(by) = self.given_up().await {
                if self.may_go_back {
                    return self.give_up(&by).await;
                }
                break;
            }
            if !told {
                told = true;
                let line = Line::step(Step::Up, self.began.elapsed(), format!("{new} does not take writes yet: {why}"));
                self.one.shared().tell(line.of(Status::Warn).with_remedy("Writes are held until it does."));
            }
            sleep(RETRY).await;
        }
        self.tell(Step::Up, format!("{} on {new} take writes", self.dbnames.join(", ")));
        self.must_take(Step::Repoint).await;
        self.servers.cluster.use_primary(self.servers.to);
        while !self.servers.cluster.look_for(self.servers.to) || self.is_seen_down(self.servers.to) {
            match self.given_up().await {
                Some(by) if self.may_go_back => return self.give_up(&by).await,
                Some(_) => break,
                None => sleep(RETRY / 10).await,
            }
        }
        self.servers.cluster.end_handover(None);
        self.tell(Step::Repoint, format!("{new} is the one that is used"));
        self.must_take(Step::Release).await;
        self.release(Step::Release).await;
        self.end(None).await;
    }

    /// By whom the other server is given up, since it does not answer.
    async fn given_up(&mut self) -> Option<String> {
        let by = self.one.shared().is_called_off()?;
        self.new.is_silent().await.then(|| by.to_string())
    }

    /// The server that was left is used again, although nobody knows what the other one is.
    async fn give_up(self, by: &str) {
        self.servers.cluster.use_primary(self.servers.from);
        let new = self.servers.name(self.servers.to);
        let text = format!("{new} does not answer: nobody knows whether it takes writes");
        let line = Line::step(self.one.known().step, self.began.elapsed(), text).of(Status::Warn);
        let remedy = "Once it is there, ALTER DATABASE … SET default_transaction_read_only = on there, before anybody writes to it.";
        self.one.shared().tell(line.with_remedy(remedy));
        self.go_back(Failure::new("57014", format!("it was called off by {by} while {new} did not answer"))).await;
    }

    async fn take_up(&mut self) -> Result<(), String> {
        ask::up(&mut self.new, &self.dbnames).await?;
        let row = self.new.row(moving::VERIFY).await.map_err(|error| error.to_string())?;
        if field(&row, 0) == "t" { Err("it is in recovery".to_owned()) } else { Ok(()) }
    }

    async fn release(&mut self, step: Step) {
        let names = self.one.known().closed.clone();
        while let Err(error) = hold::open(&self.proxy, &names).await {
            tracing::error!(event = "move_not_released", "{error}");
            sleep(RETRY).await;
        }
        let text = if names.is_empty() { "nothing was held".to_owned() } else { format!("open: {}", names.join(", ")) };
        self.tell(step, text);
    }

    /// Everything as it was, and held writes go on there.
    async fn go_back(mut self, failure: Failure) {
        let reached = self.one.known().step;
        if let Err(error) = self.take(Step::Back, None).await {
            tracing::error!(event = "move_not_saved", "{error}");
        }
        if reached >= Step::Down {
            let (mut told, until) = (false, Instant::now() + LIFTS);
            while let Err(why) = ask::up(&mut self.old, &self.dbnames).await {
                if Instant::now() > until && self.one.shared().is_called_off().is_some() && self.old.is_silent().await {
                    return self.leave_down(failure).await;
                }
                if !told {
                    told = true;
                    let old = self.servers.name(self.servers.from);
                    let text = format!("{old} could not be made writable again: {why}");
                    let line = Line::step(Step::Back, self.began.elapsed(), text).of(Status::Warn);
                    self.one
                        .shared()
                        .tell(line.with_remedy("It is tried again until it answers; writes are held meanwhile."));
                }
                sleep(RETRY).await;
            }
            while self.is_seen_down(self.servers.from) {
                sleep(RETRY / 10).await;
            }
        }
        self.servers.cluster.end_handover(None);
        self.release(Step::Back).await;
        self.end(Some(failure)).await;
    }

    /// The server that was left does not answer any more: a person decides what is used.
    async fn leave_down(mut self, failure: Failure) {
        let old = self.servers.name(self.servers.from);
        let text = format!("{old} does not answer, and its databases are read-only there");
        let line = Line::step(Step::Back, self.began.elapsed(), text).of(Status::Warn);
        let remedy = "Once it is there, ALTER DATABASE … RESET default_transaction_read_only there. What it has written last may \
                      not be on the others.";
        self.one.shared().tell(line.with_remedy(remedy));
        self.servers.cluster.end_handover(None);
        self.release(Step::Back).await;
        self.end(Some(failure)).await;
    }

    /// Whether the monitor has not seen yet that a server takes writes again: the databases would close by themselves.
    fn is_seen_down(&self, at: usize) -> bool {
        let Some(server) = self.servers.cluster.upstreams.get(at) else { return false };
        let down = self.dbnames.iter().any(|dbname| server.own_settings().read_only(dbname, None));
        if down {
            server.look_now();
        }
        down
    }

    async fn end(&mut self, failure: Option<Failure>) {
        let end = failure.map_or_else(End::done, |failure| End::failed(failure.sqlstate, failure.why));
        self.one.shared().end(end).await;
    }
}
