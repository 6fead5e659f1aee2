//! A person's command for all members: written by one compare-and-swap, then waited for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::Context;
use super::wait::{Goal, Waits};
use crate::etcd::{Compare, EtcdError, Op};
use crate::fleet::command::{Decision, decide};
use crate::fleet::{Change, Desired, Order, Place, Reply, View};
use crate::gate::{GateError, Mode, OnDefaults, OnOptions, Quiesced, Target, Verb, Who};
use crate::shared::ProxyState;

/// Databases that one transaction of etcd may change (its default allows 128 operations).
const AT_ONCE: usize = 100;
/// Attempts at one compare-and-swap: each that fails shows another command that came first.
const ATTEMPTS: usize = 30;
/// Databases of one command that are asked what they guarantee before they are closed.
const ASKED_BEFORE: usize = 16;

/// A database of a command, and what it is called there.
struct Meant {
    place: Place,
    shown: String,
}

/// Gives a command, and tells of it until its end. It goes on when nobody listens.
pub(super) async fn give(context: Arc<Context>, order: Order) {
    let reply = order.reply.clone();
    let done = match write_all(&context, &order).await {
        Ok(goals) => {
            let waits = Waits::new(context, goals, order.wait, order.verb);
            Ok(waits.run(&reply).await)
        }
        Err(error) => Err(error),
    };
    let _ = reply.send(Reply::Done(done)).await;
}

/// Opens what was closed for a time that is over.
pub(super) async fn expire(context: &Context, desired: &Desired, verb: Verb) {
    let options = OnOptions::new(OnDefaults::default());
    let order =
        crate::gate::Order { verb, options, who: Who::proxy(), now: jiff::Timestamp::now(), only_expired: true };
    let Some(proxy) = context.proxy.upgrade() else { return };
    let meant = [Meant { place: desired.place.clone(), shown: desired.place.to_string() }];
    let _ = write(context, &proxy, &meant, &order).await;
}

async fn write_all(context: &Context, order: &Order) -> Result<Vec<Goal>, GateError> {
    let proxy = context.proxy.upgrade().ok_or_else(|| lost("the proxy is stopping"))?;
    let meant = meant(&proxy, &context.shown.borrow().view, &order.target)?;
    if order.verb == Verb::On && !order.options.accept_unchecked && meant.len() <= ASKED_BEFORE {
        for one in &meant {
            let open = proxy.gates.meant(&one.shown).is_some_and(|gate| gate.state().mode == Mode::ReadWrite);
            let reasons = if open { proxy.gates.unguaranteed(&one.shown).await } else { Vec::new() };
            if !reasons.is_empty() {
                return Err(GateError::Unchecked { database: one.shown.clone(), reasons });
            }
        }
    }
    let given = crate::gate::Order {
        verb: order.verb,
        options: order.options.clone(),
        who: order.who.clone(),
        now: jiff::Timestamp::now(),
        only_expired: false,
    };
    let mut goals = Vec::new();
    for some in meant.chunks(AT_ONCE) {
        goals.extend(write(context, &proxy, some, &given).await?);
    }
    Ok(goals)
}

fn lost(why: impl ToString) -> GateError {
    GateError::FleetLost(why.to_string())
}

/// The databases that a person means: of `*`, those of the fleet that this member does not know too.
fn meant(proxy: &ProxyState, view: &View, target: &Target) -> Result<Vec<Meant>, GateError> {
    match target {
        Target::One(name) => {
            let gate = proxy.gates.meant(name);
            let place = match gate {
                Some(gate) => gate.place().clone(),
                // Closed elsewhere, and without a name here.
                None => {
                    let known = view.desired.keys().find(|place| place.to_string() == *name);
                    known.cloned().ok_or_else(|| GateError::UnknownDatabase(name.clone()))?
                }
            };
            Ok(vec![Meant { place, shown: name.clone() }])
        }
        Target::All => {
            let mut places: BTreeSet<Place> = proxy.gates.all().iter().map(|gate| gate.place().clone()).collect();
            places.extend(view.desired.keys().cloned());
            let all = Place { cluster: String::new(), dbname: "*".to_owned() };
            places.insert(all);
            let names: BTreeMap<Place, String> =
                proxy.gates.all().iter().map(|gate| (gate.place().clone(), gate.name().to_string())).collect();
            let shown = |place: &Place| names.get(place).cloned().unwrap_or_else(|| place.to_string());
            Ok(places.into_iter().map(|place| Meant { shown: shown(&place), place }).collect())
        }
    }
}

/// What etcd has of them now, with revisions.
async fn read(context: &Context, meant: &[Meant]) -> Result<View, EtcdError> {
    let prefix = match meant {
        [one] => context.keys.desired(&one.place),
        _ => format!("{}desired/", context.keys.prefix()),
    };
    let read = context.client.read(&prefix).await?;
    let mut view = View::default();
    for entry in read.entries {
        view.apply(&context.keys, &Change::Put(entry.key, entry.value, entry.mod_revision));
    }
    Ok(view)
}

/// All or none of them, by one compare-and-swap.
async fn write(
    context: &Context,
    proxy: &ProxyState,
    meant: &[Meant],
    order: &crate::gate::Order,
) -> Result<Vec<Goal>, GateError> {
    let until = Instant::now() + context.timing.ttl;
    for _ in 0..ATTEMPTS {
        let view = match read(context, meant).await {
            Ok(view) => view,
            // One that changes its leader, or is slow for a moment, is asked again.
            Err(EtcdError::Unreachable(_)) if Instant::now() < until => {
                tokio::time::sleep(context.timing.retry).await;
                continue;
            }
            Err(error) => return Err(lost(error)),
        };
        let (mut goals, mut compares, mut ops) = (Vec::new(), Vec::new(), Vec::new());
        for one in meant {
            let known = view.desired.get(&one.place);
            let record = proxy.gates.record(&one.place);
            let apart = order.verb.opposite().is_none() && is_apart(context, &one.place) && !order.only_expired;
            let is_all = one.place.cluster.is_empty() && one.place.dbname == "*";
            let wanted = known.map(|(_, wanted)| wanted);
            let decision = decide(&one.place, &one.shown, wanted, &record, order, apart && !is_all)?;
            let epoch = wanted.map_or(record.epoch.0, |wanted| wanted.epoch);
            let mut goal =
                Goal { place: one.place.clone(), shown: one.shown.clone(), epoch, changed: false, written: None };
            if let Decision::Write(mut desired) = decision {
                if is_all && desired.mode() != Mode::ReadWrite {
                    // There is nothing to drain.
                    desired.quiesced = Some(Quiesced { at: order.now, lsn: None });
                    desired.before = None;
                }
                let key = context.keys.desired(&one.place);
                compares.push(Compare::ModRevision(key.clone(), known.map_or(0, |(revision, _)| *revision)));
                ops.push(Op::Put(key, serde_json::to_vec(&desired).unwrap_or_default(), 0));
                (goal.epoch, goal.changed) = (desired.epoch, true);
                goal.written = Some(*desired);
            }
            goals.push(goal);
        }
        if ops.is_empty() {
            return Ok(goals);
        }
        match context.client.transact(&compares, &ops).await {
            Ok(true) => return Ok(goals),
            Ok(false) => {}
            // Nobody knows whether it was carried out.
            Err(error) => match read(context, meant).await {
                Ok(view) if is_written(&view, &goals) => return Ok(goals),
                Ok(_) => {}
                Err(_) if Instant::now() < until => {}
                Err(_) => return Err(lost(error)),
            },
        }
    }
    Err(lost("other commands came first, again and again"))
}

fn is_written(view: &View, goals: &[Goal]) -> bool {
    goals.iter().all(|goal| match &goal.written {
        Some(written) => view.desired.get(&goal.place).is_some_and(|(_, known)| known == written),
        None => true,
    })
}

/// Whether a member has another mode there than the fleet.
fn is_apart(context: &Context, place: &Place) -> bool {
    let shown = context.shown.borrow();
    let own = context.proxy.upgrade().is_some_and(|proxy| proxy.gates.record(place).apart);
    own || shown.view.members.values().any(|member| member.apart.contains(place))
}

/// Ends when it is so, or at that moment: whether it is so.
pub(super) async fn until<T: Clone>(
    seen: &mut tokio::sync::watch::Receiver<T>,
    at: Instant,
    is_so: impl FnMut(&T) -> bool,
) -> bool {
    matches!(timeout_at(at, seen.wait_for(is_so)).await, Ok(Ok(_)))
}

/// Between two looks at what a command waits for.
pub(super) const SECOND: Duration = Duration::from_secs(1);
