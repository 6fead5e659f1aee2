//! The one task that has the machine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::gates::{Barriers, Followers};
use super::{Context, command, errands, fence, gates};
use crate::events::{Event, Kind, publish};
use crate::fleet::{Action, Input, Machine, Order, Shown, since_boot};

/// How often what this member says of itself is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Inputs that are taken in before they are shown.
const TOGETHER: usize = 64;

/// What the task keeps beside the machine.
struct Driver {
    context: Arc<Context>,
    machine: Machine,
    followers: Followers,
    barriers: Arc<Barriers>,
    /// Reads all, then tells what changes.
    reading: Option<JoinHandle<()>>,
    /// What was last said of this member and of its connections.
    said: errands::Said,
    /// Reads of the LSN that have failed, by epoch.
    failed: BTreeMap<u64, u32>,
    expiring: Option<JoinHandle<()>>,
    /// Of the configuration.
    clusters: Vec<String>,
    looked: Instant,
}

/// Never ends by itself.
pub(super) async fn run(
    context: Arc<Context>,
    machine: Machine,
    mut inputs: mpsc::Receiver<Input>,
    mut orders: mpsc::Receiver<Order>,
) {
    let barriers = Arc::new(Barriers::new(context.inputs.clone()));
    let followers = Followers::new(context.proxy.clone(), barriers.clone());
    let said = errands::Said::default();
    let mut driver = Driver {
        context,
        machine,
        followers,
        barriers,
        reading: None,
        said,
        failed: BTreeMap::new(),
        expiring: None,
        clusters: Vec::new(),
        looked: Instant::now(),
    };
    driver.look();
    driver.handle(Input::Tick);
    driver.show();
    loop {
        let wakes = driver.machine.wakes().saturating_sub(since_boot()).min(LOOK);
        tokio::select! {
            biased;
            Some(input) = inputs.recv() => {
                driver.handle(input);
                // What has come together is shown together.
                for _ in 0..TOGETHER {
                    let Ok(input) = inputs.try_recv() else { break };
                    driver.handle(input);
                }
            }
            order = orders.recv() => match order {
                Some(order) => _ = tokio::spawn(command::give(driver.context.clone(), order)),
                None => return,
            },
            () = sleep_until(Instant::now() + wakes) => driver.handle(Input::Tick),
        }
        driver.show();
        if driver.looked.elapsed() >= LOOK {
            driver.look();
        }
    }
}

impl Driver {
    fn handle(&mut self, input: Input) {
        let actions = self.machine.handle(since_boot(), input);
        for action in actions {
            self.carry_out(action);
        }
    }

    /// Shows everybody what is known now.
    fn show(&self) {
        let (view, is_member) = (self.machine.view(), self.machine.is_allowed());
        self.context.shown.send_if_modified(|shown| {
            let changed = shown.view != *view || shown.is_member != is_member;
            if changed {
                *shown = Arc::new(Shown { view: view.clone(), is_member, error: shown.error.clone() });
            }
            changed
        });
    }

    fn carry_out(&mut self, action: Action) {
        let context = self.context.clone();
        match action {
            Action::Grant => _ = tokio::spawn(errands::grant(context)),
            Action::Register(lease) => {
                let Some(proxy) = context.proxy.upgrade() else { return };
                context.joined.store(jiff::Timestamp::now().as_millisecond(), Relaxed);
                self.said = errands::Said::of(&context, &proxy, lease);
                tokio::spawn(errands::register(context, self.said.clone()));
            }
            Action::Read => {
                let before = self.reading.take();
                self.reading = Some(tokio::spawn(errands::read(context, before)));
            }
            Action::Renew(lease) => _ = tokio::spawn(errands::renew(context, lease)),
            Action::Extend(until) => {
                // Who has waited for a connection since before the fleet was lost does not get one.
                if let Some(proxy) = context.proxy.upgrade().filter(|_| self.machine.is_allowed()) {
                    proxy.ledger.guard().extend(until);
                }
            }
            Action::Allow => self.allow(),
            Action::Forbid { calls_until } => self.forbid(calls_until),
            Action::Follow(desired) => self.followers.follow(*desired),
            Action::Passed(place, epoch, quiesced) => self.barriers.pass(place, epoch, quiesced),
            Action::PutAck(place, ack) => {
                // What this member has opened since is known before it is said that nothing more can be written.
                self.say(ack.lease);
                tokio::spawn(errands::put_ack(context, place, *ack, self.said.clone()));
            }
            Action::Campaign(lease) => _ = tokio::spawn(errands::campaign(context, lease)),
            Action::Fence { id, process, cluster, revision } => {
                let backends = self.machine.view().backends.get(&(id.clone(), process.clone()));
                let backends = backends.map(|(_, backends)| backends.clone()).unwrap_or_default();
                tokio::spawn(fence::fence(context, fence::Gone { id, process, cluster, revision }, backends));
            }
            Action::Forget { id, process, revision } => {
                tokio::spawn(errands::forget(context, id, process, revision));
            }
            Action::ReadLsn(place, epoch) => {
                let failed = self.failed.entry(epoch).or_default();
                *failed += 1;
                let last = *failed >= 3;
                while self.failed.len() > 1000 {
                    self.failed.pop_first();
                }
                tokio::spawn(errands::read_lsn(context, place, epoch, last));
            }
            Action::Commit(revision, desired) => {
                tokio::spawn(errands::commit(context, revision, *desired));
            }
            Action::WriteBack(revision, desired) => {
                tokio::spawn(errands::write_back(context, revision, *desired));
            }
        }
    }

    fn allow(&self) {
        let Some(proxy) = self.context.proxy.upgrade() else { return };
        gates::allow(&proxy);
        let event = Event::new(Kind::FleetJoined, "this proxy is a member of its fleet");
        publish!(proxy.events, info, event, member = self.context.id.as_str());
    }

    fn forbid(&self, calls_until: Duration) {
        let Some(proxy) = self.context.proxy.upgrade() else { return };
        proxy.ledger.guard().extend(Duration::ZERO);
        gates::forbid(&proxy);
        let error = self.context.shown.borrow().error.clone();
        let event = Event::new(Kind::FleetLost, "the fleet cannot be reached: nothing is written until it can");
        publish!(proxy.events, warn, event, member = self.context.id.as_str(), error = error);
        let context = self.context.clone();
        tokio::spawn(async move {
            gates::stop_writing(&proxy, calls_until, async || context.tell(Input::Quiet).await).await;
        });
    }

    /// Writes what has changed of what this member says of itself.
    fn say(&mut self, lease: i64) -> bool {
        let Some(proxy) = self.context.proxy.upgrade() else { return false };
        let now = errands::Said::of(&self.context, &proxy, lease);
        let changed = now.backends != self.said.backends || now.is_news_to(&self.said);
        if changed {
            self.said = now;
        }
        changed
    }

    fn look(&mut self) {
        self.looked = Instant::now();
        if let Some(proxy) = self.context.proxy.upgrade() {
            let clusters: Vec<String> = proxy.databases.clusters().iter().map(|cluster| cluster.name.clone()).collect();
            if clusters != self.clusters {
                self.clusters.clone_from(&clusters);
                self.handle(Input::Clusters(clusters));
            }
            if !self.machine.is_allowed() && self.context.is_serving.load(SeqCst) {
                // Databases that have come into being meanwhile.
                gates::keep_forbidden(&proxy);
            }
        }
        let Some(lease) = self.machine.lease() else { return };
        if self.say(lease) {
            tokio::spawn(errands::say(self.context.clone(), self.said.clone()));
        }
        self.expire();
    }

    /// Whoever leads opens what was closed for a time.
    fn expire(&mut self) {
        let busy = self.expiring.as_ref().is_some_and(|task| !task.is_finished());
        if !self.machine.leads() || busy {
            return;
        }
        let now = jiff::Timestamp::now();
        let all = self.machine.view().desired.values();
        let due: Vec<_> = all
            .filter_map(|(_, desired)| Some((desired.clone(), crate::fleet::command::expired(desired, now)?)))
            .collect();
        if due.is_empty() {
            return;
        }
        let context = self.context.clone();
        self.expiring = Some(tokio::spawn(async move {
            for (desired, verb) in due {
                command::expire(&context, &desired, verb).await;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }));
    }
}
