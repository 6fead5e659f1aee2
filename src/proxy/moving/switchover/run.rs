//! The steps of a switchover, in their order, forward and back.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::checks::Means;
use super::findings::Findings;
use super::options::Options;
use super::program::{Program, Values};
use super::promote::Promotion;
use super::steps::{Failure, bounded};
use super::{Servers, checks, fence, promote};
use crate::moving::{End, Line, MoveError, MoveOf, OnFailure, Retired, Status, Step, Switchover};
use crate::proxy::moving::hold;
use crate::proxy::moving::talk::{Talk, field};
use crate::shared::ProxyState;

/// Between two looks at what cannot be reached.
const RETRY: Duration = Duration::from_millis(200);
/// Between two looks at what is about to change.
const LOOK: Duration = Duration::from_millis(3);
/// How long a fence that is taken back may take, before the databases are opened all the same.
const LIFTS: Duration = Duration::from_secs(10);
/// How often the checks are made that a moment may change.
const LOOKS: usize = 10;
/// After this time a person is told what is waited for.
const TELLS: Duration = Duration::from_secs(10);

/// See the module.
pub(super) struct Run {
    proxy: Arc<ProxyState>,
    one: MoveOf<Switchover>,
    servers: Servers,
    options: Options,
    old: Talk,
    target: Talk,
    fence: Program,
    promote: Program,
    values: Box<Values>,
    /// When the present step has begun.
    began: Instant,
}

/// What the steps are taken with.
pub(super) struct Tools {
    old: Talk,
    target: Talk,
    fence: Program,
    promote: Program,
    values: Box<Values>,
}

impl Tools {
    /// None if no role is configured.
    pub(super) fn find(proxy: &Arc<ProxyState>, servers: &Servers) -> Option<Self> {
        let old = Talk::with(proxy, &servers.cluster, servers.from)?;
        let target = Talk::with(proxy, &servers.cluster, servers.to)?;
        let setup = proxy.setup.load_full();
        let config = setup.config.clusters.get(&servers.cluster.name)?;
        let program = |words: &[String]| Program { words: words.to_vec(), patience: config.command_timeout };
        let (fence, promote) = (program(&config.fence_command), program(&config.promote_command));
        let end = |at: usize| {
            let address = servers.cluster.upstreams.get(at).map(|upstream| &upstream.address);
            let host = address.map(|address| address.host_words()).unwrap_or_default();
            (host, address.map_or(0, |address| address.port()).to_string())
        };
        let ((host, port), (target_host, target_port)) = (end(servers.from), end(servers.to));
        let cluster = servers.cluster.name.clone();
        let values = [
            ("host", host),
            ("port", port),
            ("target_host", target_host),
            ("target_port", target_port),
            ("cluster", cluster),
        ];
        let values: Box<Values> = Box::new(values);
        Some(Self { old, target, fence, promote, values })
    }
}

impl Run {
    pub(super) fn new(
        proxy: Arc<ProxyState>,
        one: MoveOf<Switchover>,
        servers: Servers,
        options: Options,
        tools: Tools,
    ) -> Self {
        let Tools { old, target, fence, promote, values } = tools;
        Self { proxy, one, servers, options, old, target, fence, promote, values, began: Instant::now() }
    }

    /// Looks, and then goes through all of it.
    pub(super) async fn begin(mut self) {
        let (found, lines) = self.look().await;
        let mut failed = Vec::new();
        for line in lines {
            if line.status == Status::Fail {
                failed.push(format!("{}: {}", line.name, line.detail));
            }
            self.one.shared().tell(line);
        }
        if self.options.dry_run {
            return self.end(None).await;
        }
        if !failed.is_empty() {
            let why = format!("it would not work: {}", failed.join("; "));
            return self.end(Some(Failure::new("55000", why))).await;
        }
        match self.until_replayed(&found).await {
            Ok(()) => self.promote_and_release(false).await,
            Err(failure) => self.go_back(failure).await,
        }
    }

    /// What the checks say. A replica that has just begun to follow is given a moment.
    async fn look(&mut self) -> (Findings, Vec<Line>) {
        let mut looks = 1;
        loop {
            let found = Findings::gather(&self.proxy, &self.servers, &mut self.old, &mut self.target).await;
            let means = Means { fence: &self.fence, promote: &self.promote, role: self.old.role() };
            let lines = checks::all(&self.servers, &self.options, &means, &found);
            if !checks::may_pass(&lines) || looks == LOOKS {
                return (found, lines);
            }
            looks += 1;
            sleep(RETRY).await;
        }
    }

    /// Goes on, or back, from the step that is in the journal.
    pub(super) async fn resume(self) {
        let step = self.one.known().step;
        if step == Step::Release {
            self.release_again().await;
        } else if (Step::Promote..Step::Back).contains(&step) {
            self.promote_and_release(true).await;
        } else {
            let why = format!("pgsluice was restarted at step {}", step.word());
            self.go_back(Failure::new("57P01", why)).await;
        }
    }

    /// Writes down the step that comes next.
    async fn take(&mut self, step: Step, change: impl FnOnce(&mut Switchover)) -> Result<(), MoveError> {
        self.began = Instant::now();
        self.one
            .note(|known| {
                known.step = step;
                change(known);
            })
            .await
    }

    /// Tells what has come of it.
    fn tell(&self, step: Step, detail: impl Into<String>) {
        self.one.shared().tell(Line::step(step, self.began.elapsed(), detail));
    }

    /// Up to the point of no return: nothing has changed for good.
    async fn until_replayed(&mut self, found: &Findings) -> Result<(), Failure> {
        if found.target_read_only.as_ref().is_some_and(|row| field(row, 0) == "on") {
            // A replica takes no writes anyway.
            fence::lift(&mut self.target).await.map_err(|why| Failure::new("55000", why))?;
        }
        let names = self.names_to_close();
        self.take(Step::Hold, |known| known.closed.clone_from(&names)).await?;
        let until = self.began + self.options.timeout.min(self.options.hold_timeout);
        self.hold(&names, until).await?;
        self.take(Step::Fence, |_| ()).await?;
        let one = self.one.shared().clone();
        let gone = bounded(&one, until, Step::Fence, self.fence()).await?;
        self.take(Step::Replay, |_| ()).await?;
        let lsn = self.one.known().lsn;
        let (old, target) = (&mut self.old, &mut self.target);
        let replays = promote::until_replayed((!gone).then_some(old), target, lsn);
        let lsn = bounded(&one, until, Step::Replay, replays).await?;
        self.tell(Step::Replay, format!("the target has replayed everything up to {lsn}"));
        // What has begun to write past the setting meanwhile is not lost silently.
        if !gone {
            bounded(&one, until, Step::Replay, self.nobody_writes(lsn)).await?;
        }
        if let Some(name) = hold::find_open(&self.proxy, &self.one.known().closed) {
            return Err(Failure::new("55000", format!("database \"{name}\" was opened meanwhile")));
        }
        self.take(Step::Promote, |known| known.lsn = Some(lsn)).await?;
        Ok(())
    }

    /// The gates that are open, each by one of its names. What a person has closed is left to them.
    fn names_to_close(&self) -> Vec<String> {
        let gates = hold::gates_of(&self.proxy, &self.servers.clusters(&self.proxy));
        let open = gates.iter().filter(|gate| !hold::is_closed_by_a_person(gate));
        open.map(|gate| gate.name().to_string()).collect()
    }

    async fn hold(&mut self, names: &[String], until: Instant) -> Result<(), Failure> {
        let terms = hold::Terms {
            message: format!("switchover to {}", self.servers.name(self.servers.to)),
            hold_timeout: self.options.hold_timeout,
            drain_timeout: self.options.drain_timeout.min(until - self.began),
            on_timeout: self.options.on_timeout,
        };
        let one = self.one.shared().clone();
        let closed = async { hold::close(&self.proxy, &one, names, &terms).await.map_err(Failure::from) };
        bounded(&one, until, Step::Hold, closed).await?;
        // Names that clients have made up meanwhile.
        let late: Vec<String> = self.names_to_close().into_iter().filter(|name| !names.contains(name)).collect();
        if !late.is_empty() {
            let all = [names, &late].concat();
            self.one.note(|known| known.closed = all).await?;
            let closed = async { hold::close(&self.proxy, &one, &late, &terms).await.map_err(Failure::from) };
            bounded(&one, until, Step::Hold, closed).await?;
        }
        let names = self.one.known().closed.clone();
        let text = match names.len() {
            0 => "every database of the cluster was closed already".to_owned(),
            _ => format!("writes are held for {}", names.join(", ")),
        };
        self.tell(Step::Hold, text);
        Ok(())
    }

    /// Whether the old primary has been stopped.
    async fn fence(&mut self) -> Result<bool, Failure> {
        for (cluster, from, to) in self.servers.all(&self.proxy) {
            if let (Some(from), Some(to)) = (from, to) {
                cluster.begin_handover(from, to);
            }
        }
        if self.fence.is_given() {
            return self.fence_by_program().await;
        }
        fence::raise(&mut self.old).await?;
        let ended = fence::end_others(&self.proxy, &self.servers, &mut self.old).await?;
        let others = if ended.is_empty() { String::new() } else { format!("; ended: {}", ended.join(", ")) };
        let old = self.servers.name(self.servers.from);
        self.tell(Step::Fence, format!("{old} takes no writes any more: default_transaction_read_only is on{others}"));
        Ok(false)
    }

    async fn fence_by_program(&mut self) -> Result<bool, Failure> {
        // What is committed so far has to arrive, whatever becomes of the server.
        let lsn = promote::position(&mut self.old).await.ok();
        if let Some(lsn) = lsn {
            self.one.note(|known| known.lsn = Some(lsn)).await?;
        }
        let said = self.fence.run(&self.values).await;
        let said = said.map_err(|why| Failure::new("58000", format!("fence_command has failed: {why}")))?;
        let until = Instant::now() + self.fence.patience;
        let gone = loop {
            match fence::is_fenced(&mut self.old).await {
                Ok(true) => break false,
                Ok(false) if Instant::now() > until => {
                    return Err(Failure::new("55000", "fence_command has ended, but the old primary takes writes"));
                }
                // It may be about to stop, and still sends what the target lacks.
                Err(error) if Instant::now() < until && crate::proxy::moving::talk::is_refusal(&error) => {}
                Err(_) => break true,
                Ok(false) => {}
            }
            sleep(RETRY).await;
        };
        let how = if gone { "it cannot be reached any more" } else { "it takes no writes any more" };
        let old = self.servers.name(self.servers.from);
        self.tell(Step::Fence, format!("{old} was fenced by fence_command, {how}. {said}").trim_end().to_owned());
        Ok(gone)
    }

    /// Nobody is at work there who has written something that the target may not have.
    async fn nobody_writes(&mut self, lsn: crate::gate::Lsn) -> Result<(), Failure> {
        let ended = fence::end_others(&self.proxy, &self.servers, &mut self.old).await?;
        if !ended.is_empty() {
            let (old, target) = (&mut self.old, &mut self.target);
            promote::until_replayed(Some(old), target, Some(lsn)).await?;
            self.tell(Step::Replay, format!("ended: {}", ended.join(", ")));
        }
        Ok(())
    }

    /// The target may be a primary from here on: only forward, unless it is certain that it is none.
    async fn promote_and_release(mut self, resumed: bool) {
        self.began = Instant::now();
        let (values, program) = (self.values.clone(), self.promote.clone());
        let mut promotion = Promotion::new(resumed, &program, &values);
        let mut told = false;
        loop {
            match promotion.go_on(&mut self.target).await {
                Ok(true) => break,
                Ok(false) => {}
                Err(failure) => return self.go_back(failure).await,
            }
            if let Some((since, why)) = &promotion.silent {
                if let Some(by) = self.one.shared().is_called_off().filter(|_| since.elapsed() > RETRY) {
                    return self.give_up_target(&by.to_string()).await;
                }
                if !told && since.elapsed() > TELLS {
                    told = true;
                    let text = format!("the target cannot be asked whether it was promoted: {why}");
                    let remedy =
                        "It goes on as soon as the target answers. If it never will, MAINTENANCE OFF gives it up.";
                    self.one.shared().tell(
                        Line::step(Step::Promote, self.began.elapsed(), text).of(Status::Warn).with_remedy(remedy),
                    );
                }
            }
        }
        self.tell(Step::Promote, format!("{} has left recovery", self.servers.name(self.servers.to)));
        self.must_take(Step::Verify).await;
        let timeline = match self.verified().await {
            Ok(timeline) => timeline,
            Err(by) => return self.give_up_target(&by).await,
        };
        self.tell(Step::Verify, format!("it has committed a transaction, on timeline {timeline}"));
        self.must_take(Step::Repoint).await;
        if let Err(by) = self.repoint().await {
            return self.give_up_target(&by).await;
        }
        self.must_take(Step::Release).await;
        self.release().await;
        self.end(None).await;
    }

    /// Clients may have written on the target already: it is the primary, whatever becomes of it.
    async fn release_again(mut self) {
        if let Err(by) = self.repoint().await {
            let text = format!("{by} does not wait for the new primary, which does not answer");
            let line = Line::step(Step::Repoint, self.began.elapsed(), text).of(Status::Warn);
            self.one.shared().tell(line.with_remedy("Clients may have written there: have it run again."));
            self.lead_over().await;
        }
        self.release().await;
        self.end(None).await;
    }

    /// The next step of a way that has no return: what cannot be written down is found out again after a restart.
    async fn must_take(&mut self, step: Step) {
        if let Err(error) = self.take(step, |_| ()).await {
            tracing::error!(event = "move_not_saved", step = step.word(), "{error}");
        }
    }

    /// Its timeline; or by whom it was given up, since it cannot be reached any more. Nobody has written there by this proxy.
    async fn verified(&mut self) -> Result<u32, String> {
        let mut told = false;
        loop {
            let why = match promote::verify(&mut self.target).await {
                Ok(timeline) => return Ok(timeline),
                Err(why) => why,
            };
            if let Some(by) = self.one.shared().is_called_off()
                && self.target.is_silent().await
            {
                return Err(by.to_string());
            }
            if !told && self.began.elapsed() > TELLS {
                told = true;
                let text = format!("the new primary does not take writes yet: {why}");
                let remedy =
                    "Writes are held until it does. Look at its log, at its disk and at synchronous_standby_names.";
                let line = Line::step(Step::Verify, self.began.elapsed(), text).of(Status::Warn);
                self.one.shared().tell(line.with_remedy(remedy));
            }
            sleep(LOOK * 10).await;
        }
    }

    /// Clients and pools are led to the new primary, once the monitor sees it; or says by whom it was given up, since it does not
    /// answer.
    async fn repoint(&mut self) -> Result<(), String> {
        let mut told = false;
        // Asked each time: a RELOAD may have made other clusters of them.
        while !self.servers.all(&self.proxy).iter().all(|(cluster, _, to)| to.is_none_or(|to| cluster.look_for(to))) {
            if let Some(by) = self.one.shared().is_called_off()
                && self.target.is_silent().await
            {
                return Err(by.to_string());
            }
            if !told && self.began.elapsed() > TELLS {
                told = true;
                let text = "the monitor does not see the new primary yet";
                let remedy = "Writes are held until it does: look at SHOW UPSTREAMS.";
                self.one
                    .shared()
                    .tell(Line::step(Step::Repoint, self.began.elapsed(), text).of(Status::Warn).with_remedy(remedy));
            }
            sleep(LOOK).await;
        }
        self.lead_over().await;
        Ok(())
    }

    /// The old primary is known not to be it any more.
    async fn lead_over(&mut self) {
        let all = self.servers.all(&self.proxy);
        let known = all.iter().filter_map(|(cluster, from, to)| Some((cluster, (*from)?, (*to)?)));
        let known: Vec<_> = known.collect();
        let (timeline, fenced) = (self.one.known().timeline, !self.fence.is_given());
        let retired: Vec<(Retired, String)> = known
            .iter()
            .map(|(cluster, from, to)| {
                let name = |at: usize| cluster.upstreams.get(at).map(|one| one.address.to_string()).unwrap_or_default();
                (Retired { cluster: cluster.name.clone(), server: name(*from), timeline, fenced }, name(*to))
            })
            .collect();
        let note = move |list: &mut Vec<Retired>| {
            for (one, to) in retired {
                list.retain(|known| known.cluster != one.cluster || known.server != one.server && known.server != to);
                list.push(one);
            }
        };
        if let Err(error) = self.proxy.moves.retire(note).await {
            tracing::error!(event = "move_not_saved", "{error}");
        }
        known.iter().for_each(|(cluster, ..)| cluster.end_handover(Some(timeline)));
        self.tell(Step::Repoint, format!("clients go to {}", self.servers.name(self.servers.to)));
        for (cluster, ..) in all.iter().filter(|(_, _, to)| to.is_none()) {
            let text = format!("cluster \"{}\" leads to the old primary and does not name the new one", cluster.name);
            let line = Line::step(Step::Repoint, self.began.elapsed(), text).of(Status::Warn);
            self.one.shared().tell(line.with_remedy("Add the new primary to its upstreams, and RELOAD."));
        }
    }

    async fn release(&mut self) {
        let names = self.one.known().closed.clone();
        while let Err(error) = hold::open(&self.proxy, &names).await {
            tracing::error!(event = "move_not_released", "{error}");
            sleep(RETRY).await;
        }
        let text = if names.is_empty() { "nothing was held".to_owned() } else { format!("open: {}", names.join(", ")) };
        let remedy = self.way_back();
        self.one.shared().tell(Line::step(Step::Release, self.began.elapsed(), text).with_remedy(remedy));
    }

    /// How the old primary becomes a replica of the new one.
    fn way_back(&self) -> String {
        let value = |name: &str| self.values.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str());
        let (host, port) = (value("target_host").unwrap_or_default(), value("target_port").unwrap_or_default());
        format!(
            "To make {} a replica: stop it cleanly, CHECKPOINT on the new primary, then on the old one: pg_rewind --target-pgdata=$PGDATA \
             --source-server=\"host={host} port={port} user=postgres dbname=postgres\" --write-recovery-conf, and start it.",
            self.servers.name(self.servers.from)
        )
    }

    /// Everything as it was, and held writes go on there.
    async fn go_back(mut self, failure: Failure) {
        let reached = self.one.known().step;
        if let Err(error) = self.take(Step::Back, |_| ()).await {
            tracing::error!(event = "move_not_saved", "{error}");
        }
        if reached >= Step::Fence && !self.fence.is_given() {
            self.lift().await;
        }
        for (cluster, ..) in self.servers.all(&self.proxy).into_iter().filter(|_| reached >= Step::Fence) {
            cluster.end_handover(None);
        }
        let names = self.one.known().closed.clone();
        if self.options.on_failure == OnFailure::Hold || failure.stays_closed {
            let text = format!("still closed: {}", names.join(", "));
            let line = Line::step(Step::Back, self.began.elapsed(), text).of(Status::Warn);
            self.one.shared().tell(line.with_remedy("Look at the servers; MAINTENANCE OFF opens."));
        } else {
            while let Err(error) = hold::open(&self.proxy, &names).await {
                tracing::error!(event = "move_not_released", "{error}");
                sleep(RETRY).await;
            }
            let text = format!(
                "{} is the primary as before; open: {}",
                self.servers.name(self.servers.from),
                names.join(", ")
            );
            self.tell(Step::Back, text);
        }
        self.end(Some(failure)).await;
    }

    /// Takes the fence back. One that cannot be reached is rid of it later.
    async fn lift(&mut self) {
        let until = Instant::now() + LIFTS;
        let (cluster, server) = (self.servers.cluster.name.clone(), self.servers.name(self.servers.from));
        loop {
            let why = match fence::lift(&mut self.old).await {
                Ok(()) => break,
                Err(why) => why,
            };
            if Instant::now() > until {
                let text = format!("{server} could not be made writable again: {why}");
                let line = Line::step(Step::Back, self.began.elapsed(), text).of(Status::Warn);
                self.one.shared().tell(line.with_remedy("It is tried again until it answers."));
                let later = Retired { cluster, server, timeline: 0, fenced: true };
                let note = move |list: &mut Vec<Retired>| {
                    list.retain(|known| known.cluster != later.cluster || known.server != later.server);
                    list.push(later);
                };
                if let Err(error) = self.proxy.moves.retire(note).await {
                    tracing::error!(event = "move_not_saved", "{error}");
                }
                return;
            }
            sleep(RETRY).await;
        }
        // Until the monitor has seen that, the databases would close by themselves.
        let Some(old) = self.servers.cluster.upstreams.get(self.servers.from) else { return };
        while old.own_settings().server && Instant::now() < until {
            old.look_now();
            sleep(LOOK * 3).await;
        }
    }

    /// The target is given up although nobody knows what it is: it is never used as the primary that it may have become.
    async fn give_up_target(self, by: &str) {
        let timeline = self.one.known().timeline.saturating_add(1);
        let mut gone = Vec::new();
        for (cluster, _, to) in self.servers.all(&self.proxy) {
            if let Some((to, upstream)) = to.and_then(|to| Some((to, cluster.upstreams.get(to)?))) {
                cluster.retire_server(to, timeline);
                let server = upstream.address.to_string();
                gone.push(Retired { cluster: cluster.name.clone(), server, timeline, fenced: false });
            }
        }
        let note = move |list: &mut Vec<Retired>| {
            list.retain(|known| !gone.iter().any(|one| one.cluster == known.cluster && one.server == known.server));
            list.extend(gone);
        };
        if let Err(error) = self.proxy.moves.retire(note).await {
            tracing::error!(event = "move_not_saved", "{error}");
        }
        let why = format!(
            "it was called off by {by} while the target did not answer: do not use that server as it is any more"
        );
        self.go_back(Failure::new("57014", why)).await;
    }

    async fn end(&mut self, failure: Option<Failure>) {
        let end = failure.map_or_else(End::done, |failure| End::failed(failure.sqlstate, failure.why));
        self.one.shared().end(end).await;
    }
}
