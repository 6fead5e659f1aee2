//! The gates of this proxy, as the fleet wants them.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::config::OnLoss;
use crate::fleet::{Ack, Desired, Input, Place, since_boot};
use crate::gate::{
    Automatic, Cause, Closes, Drained, Fleet, Gate, Job, Lsn, Quiesced, ServerDatabase, Spare, Wanted, Who,
};
use crate::shared::ProxyState;

/// How often it is looked whether all has ended that was being written.
const LOOK: Duration = Duration::from_millis(100);

/// The same at the start, when nobody is served yet.
pub(super) fn start_forbidden(proxy: &ProxyState) {
    let found = Automatic::new(Closes::Writes, Cause::FleetLost, jiff::Timestamp::now(), Lsn(0));
    proxy.gates.set_fleet_lost(Some(found));
}

/// Nothing may be written, but where the configuration says otherwise.
pub(super) fn forbid(proxy: &ProxyState) {
    start_forbidden(proxy);
    keep_forbidden(proxy);
}

/// The same for gates that have come into being since.
pub(super) fn keep_forbidden(proxy: &ProxyState) {
    let Some(found) = proxy.gates.fleet_lost() else { return };
    for gate in proxy.gates.all() {
        proxy.gates.set_unreachable(&gate, Some(found.clone()).filter(|_| !goes_on(proxy, &gate)));
    }
}

/// Whatever the modes allow may be written.
pub(super) fn allow(proxy: &ProxyState) {
    proxy.gates.set_fleet_lost(None);
    for gate in proxy.gates.all() {
        proxy.gates.set_unreachable(&gate, None);
    }
}

/// By the configuration, or because a person has opened it for this proxy alone.
fn goes_on(proxy: &ProxyState, gate: &Arc<Gate>) -> bool {
    let names = proxy.databases.of_gate(gate);
    let keeps = names.iter().any(|database| database.peek_setup().settings.on_loss == OnLoss::Keep);
    keeps || proxy.gates.is_opened_apart(gate)
}

/// Ends what is being written, until nothing is open or the fleet is there again. What has only read is left alone. `quiet`: told once,
/// when nothing is left that may write. `calls_until`: what may write, and is not known to have written, has until then.
pub(super) async fn stop_writing(proxy: &ProxyState, calls_until: Duration, quiet: impl AsyncFnOnce()) {
    let (mut quiet, mut first) = (Some(quiet), true);
    loop {
        let gates = proxy.gates.all().into_iter();
        let open: Vec<_> = gates.filter(|gate| gate.in_flight() > 0 && !goes_on(proxy, gate)).collect();
        let is_over = open.is_empty();
        let spare = Spare { first, calls: since_boot() < calls_until };
        let mut is_quiet = true;
        for gate in open {
            is_quiet &= proxy.gates.stop_writing(&gate, spare).await;
        }
        if is_quiet && let Some(quiet) = quiet.take() {
            quiet().await;
        }
        if is_over || quiet.is_none() && proxy.gates.fleet_lost().is_none() {
            return;
        }
        first = false;
        tokio::time::sleep(LOOK).await;
    }
}

/// The transitions of this proxy's gates, as the machine is told of them, and the word that each waits for.
#[derive(Debug)]
pub(super) struct Barriers {
    inputs: mpsc::Sender<Input>,
    passed: watch::Sender<Arc<BTreeMap<Place, (u64, Quiesced)>>>,
}

impl Barriers {
    pub(super) fn new(inputs: mpsc::Sender<Input>) -> Self {
        Self { inputs, passed: watch::Sender::new(Arc::default()) }
    }

    /// The drain of that epoch is over everywhere.
    pub(super) fn pass(&self, place: Place, epoch: u64, quiesced: Quiesced) {
        self.passed.send_modify(|passed| _ = Arc::make_mut(passed).insert(place, (epoch, quiesced)));
    }

    fn tell(&self, input: Input) {
        let inputs = self.inputs.clone();
        tokio::spawn(async move { _ = inputs.send(input).await });
    }
}

impl Fleet for Barriers {
    fn applied(&self, place: &ServerDatabase, epoch: u64) {
        self.tell(Input::Applied(place.clone(), epoch));
    }

    fn waits_for(&self, place: &ServerDatabase, epoch: u64, text: String) {
        self.tell(Input::WaitsFor(place.clone(), epoch, text));
    }

    fn drained<'a>(&'a self, place: &'a ServerDatabase, epoch: u64, drained: Drained) -> Job<'a, Option<Quiesced>> {
        Box::pin(async move {
            let ack = Ack {
                epoch,
                at: drained.quiesced.map(|quiesced| quiesced.at),
                lsn: drained.quiesced.and_then(|quiesced| quiesced.lsn),
                finished: drained.finished,
                fenced: drained.fenced,
                cancelled: drained.cancelled,
                waited_ms: drained.waited_ms,
                ..Ack::default()
            };
            let _ = self.inputs.send(Input::Drained(place.clone(), epoch, Box::new(ack))).await;
            let mut passed = self.passed.subscribe();
            let over = passed.wait_for(|passed| passed.get(place).is_some_and(|(known, _)| *known >= epoch)).await;
            over.ok().and_then(|passed| passed.get(place).map(|(_, quiesced)| *quiesced))
        })
    }
}

/// A task for each database of which something is wanted; the last that is wanted counts.
pub(super) struct Followers {
    proxy: Weak<ProxyState>,
    barriers: Arc<Barriers>,
    tasks: BTreeMap<Place, watch::Sender<Wanted>>,
}

impl Followers {
    pub(super) fn new(proxy: Weak<ProxyState>, barriers: Arc<Barriers>) -> Self {
        Self { proxy, barriers, tasks: BTreeMap::new() }
    }

    pub(super) fn follow(&mut self, desired: Desired) {
        let place = desired.place.clone();
        let wanted = Wanted {
            place: desired.place,
            epoch: desired.epoch,
            switches: desired.switches,
            since: desired.since,
            quiesced: desired.quiesced,
            verb: desired.verb,
            who: desired.who,
        };
        match self.tasks.get(&place) {
            Some(task) => _ = task.send_replace(wanted),
            None => {
                let (task, wants) = watch::channel(wanted);
                tokio::spawn(run(self.proxy.clone(), self.barriers.clone(), wants));
                self.tasks.insert(place, task);
            }
        }
    }
}

/// Puts in force what is wanted; what goes on when something else is wanted is called off.
async fn run(proxy: Weak<ProxyState>, barriers: Arc<Barriers>, mut wants: watch::Receiver<Wanted>) {
    loop {
        let wanted = wants.borrow_and_update().clone();
        let Some(gates) = proxy.upgrade().map(|proxy| proxy.gates.clone()) else { return };
        let place = wanted.place.clone();
        let mut followed = Box::pin(gates.follow(wanted, barriers.clone()));
        let mut goes_on = true;
        while goes_on {
            tokio::select! {
                () = &mut followed => goes_on = false,
                changed = wants.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let who = wants.borrow().who.clone();
                    call_off(&gates, &place, &who, &mut followed).await;
                    wants.mark_changed();
                    goes_on = false;
                }
            }
        }
        drop(followed);
        if wants.changed().await.is_err() {
            return;
        }
    }
}

/// Calls off what goes on, and waits until it has come to its end: a transition between two steps hears of it only at the next.
async fn call_off(
    gates: &crate::gate::Gates,
    place: &Place,
    who: &Who,
    followed: &mut std::pin::Pin<Box<impl Future<Output = ()>>>,
) {
    loop {
        gates.call_off(place, who);
        tokio::select! {
            () = &mut *followed => return,
            () = tokio::time::sleep(std::time::Duration::from_millis(20)) => {}
        }
    }
}
