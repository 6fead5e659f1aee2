//! Errands to etcd: each is bounded in time, and tells the machine of its end.

use std::sync::Arc;
use std::time::Duration;

use super::Context;
use crate::etcd::{self, Compare, EtcdError, Op};
use crate::events::{Event, Kind, publish};
use crate::fleet::{
    Ack, Backends, Change, Desired, Errand, Finding, Input, MarkedBackend, Member, Place, Renewal, Shown, Told,
    since_boot,
};
use crate::gate::Quiesced;
use crate::shared::ProxyState;
use std::sync::atomic::Ordering::Relaxed;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// What a member says of itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Said {
    pub(super) member: Option<Member>,
    pub(super) backends: Backends,
}

impl Said {
    pub(super) fn of(context: &Context, proxy: &ProxyState, lease: i64) -> Self {
        let all = proxy.ledger.all().into_iter();
        let mut known: Vec<_> = all
            .map(|one| MarkedBackend {
                pid: one.pid,
                began: one.began.1 / 1_000_000,
                user: one.user,
                dbname: one.dbname,
            })
            .collect();
        known.sort_by(|one, other| one.pid.cmp(&other.pid).then(one.began.cmp(&other.began)));
        let setup = proxy.setup.load();
        let gates = proxy.gates.all();
        let apart = gates.iter().filter(|gate| proxy.gates.is_apart(gate)).map(|gate| gate.place().clone());
        let member = Member {
            id: context.id.clone(),
            process: context.process.clone(),
            lease,
            since: context.since,
            address: context.address.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            databases: setup.config.databases.keys().cloned().collect(),
            clients: proxy.clients.load(Relaxed) as u64,
            apart: apart.collect(),
            joined: jiff::Timestamp::from_millisecond(context.joined.load(Relaxed)).unwrap_or_default(),
            hooks: proxy.webhooks.keys(),
        };
        Self { member: Some(member), backends: Backends { mark: context.mark, known } }
    }

    /// Whether the others should hear of it: the number of clients is worth it only if it is quite another one.
    pub(super) fn is_news_to(&self, before: &Self) -> bool {
        let (Some(now), Some(was)) = (&self.member, &before.member) else { return true };
        let same = Member { clients: was.clients, ..now.clone() } == *was;
        !same || now.clients.abs_diff(was.clients) * 10 > was.clients.max(5)
    }

    fn ops(&self, context: &Context) -> Vec<Op> {
        let Some(member) = &self.member else { return Vec::new() };
        vec![
            Op::Put(context.keys.member(&context.id), json(member), member.lease),
            Op::Put(context.keys.backends(&context.id, &context.process), json(&self.backends), 0),
        ]
    }
}

fn json<T: serde::Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

impl Context {
    pub(super) async fn tell(&self, input: Input) {
        let _ = self.inputs.send(input).await;
    }

    /// What people are shown of how etcd answers.
    pub(super) fn note<T>(&self, result: &Result<T, EtcdError>) {
        let error = result.as_ref().err().map(ToString::to_string).unwrap_or_default();
        self.shown.send_if_modified(|shown| {
            let changed = shown.error != error;
            if changed {
                *shown = Arc::new(Shown { error, ..Shown::clone(shown) });
            }
            changed
        });
    }

    /// Whether this member leads still, for whoever writes as its leader.
    fn while_leading(&self) -> Compare {
        Compare::Value(self.keys.leader(), self.id.as_bytes().to_vec())
    }
}

pub(super) async fn grant(context: Arc<Context>) {
    let sent = since_boot();
    let lease = context.client.grant(context.timing.ttl).await;
    context.note(&lease);
    context.tell(Input::Granted { sent, lease: lease.ok() }).await;
}

/// A name belongs to one life at a time: another one has to end first.
pub(super) async fn register(context: Arc<Context>, said: Said) {
    let key = context.keys.member(&context.id);
    let fresh = [Compare::ModRevision(key.clone(), 0)];
    let mut registered = context.client.transact(&fresh, &said.ops(&context)).await;
    if registered == Ok(false) {
        registered = match context.client.read(&key).await {
            Ok(read) => {
                let own = read.entries.into_iter().find(|entry| entry.key == key).filter(|entry| {
                    serde_json::from_slice::<Member>(&entry.value).is_ok_and(|known| known.process == context.process)
                });
                match own {
                    Some(own) => {
                        let same = [Compare::ModRevision(key, own.mod_revision)];
                        context.client.transact(&same, &said.ops(&context)).await
                    }
                    None => Err(EtcdError::Refused(format!("another member has the name {:?}", context.id))),
                }
            }
            Err(error) => Err(error),
        };
    }
    context.note(&registered);
    context.tell(Input::Registered(registered == Ok(true))).await;
}

/// Reads all, and goes on with what changes. `before`: the one who has told until now, and must not tell anything older behind it.
pub(super) async fn read(context: Arc<Context>, before: Option<JoinHandle<()>>) {
    if let Some(before) = before {
        before.abort();
        let _ = before.await;
    }
    let read = context.client.read(context.keys.prefix()).await;
    context.note(&read);
    let Ok(read) = read else { return context.tell(Input::Read(None)).await };
    let put = |entry: etcd::Entry| Change::Put(entry.key, entry.value, entry.mod_revision);
    // The stream first: what is read is old only once nothing tells what has changed.
    let watch = context.client.watch(context.keys.prefix(), read.revision + 1).await;
    context.tell(Input::Read(Some(read.entries.into_iter().map(put).collect()))).await;
    let Ok(watch) = watch else { return context.tell(Input::WatchLost).await };
    follow_changes(&context, watch, read.revision).await;
    context.tell(Input::WatchLost).await;
}

/// Tells what changes. Ends with the stream, or when etcd has gone on and the stream has not: a way that leads nowhere any more says
/// nothing of that.
async fn follow_changes(context: &Context, mut watch: etcd::Watch, since: i64) {
    let mut known = since;
    loop {
        match timeout(context.timing.renew_every, watch.next()).await {
            Ok(Ok(changes)) if changes.is_empty() => {}
            Ok(Ok(changes)) => {
                let changes = changes.into_iter().map(|change| match change {
                    etcd::Change::Put(entry) => Change::Put(entry.key, entry.value, entry.mod_revision),
                    etcd::Change::Delete(key) => Change::Delete(key),
                });
                context.tell(Input::Changed(changes.collect())).await;
            }
            Ok(Err(_)) => return,
            Err(_) if known > watch.revision().max(since) => return,
            Err(_) => known = context.revision.load(Relaxed),
        }
    }
}

pub(super) async fn renew(context: Arc<Context>, lease: i64) {
    let sent = since_boot();
    let renewed = context.client.keep_alive(lease).await;
    context.note(&renewed);
    let how = match renewed {
        Ok(revision) => {
            context.revision.store(revision, Relaxed);
            Renewal::Kept
        }
        Err(EtcdError::LeaseGone) => Renewal::Gone,
        Err(_) => Renewal::Unknown,
    };
    context.tell(Input::Renewed { sent, how }).await;
}

/// What this member says of itself has changed.
pub(super) async fn say(context: Arc<Context>, said: Said) {
    let Some(member) = &said.member else { return };
    // A registration that has ended is not written again beside the machine's back.
    let same = [Compare::Lease(context.keys.member(&context.id), member.lease)];
    let _ = context.client.transact(&same, &said.ops(&context)).await;
}

pub(super) async fn put_ack(context: Arc<Context>, place: Place, ack: Ack, said: Said) {
    let key = context.keys.ack(&place, &context.id);
    let backends = Op::Put(context.keys.backends(&context.id, &context.process), json(&said.backends), 0);
    let mut ops = vec![Op::Put(key, json(&ack), ack.lease)];
    if ack.passed {
        ops.insert(0, backends);
    }
    let _ = context.client.transact(&[], &ops).await;
    context.tell(Input::Done(Errand::Ack(place))).await;
}

pub(super) async fn campaign(context: Arc<Context>, lease: i64) {
    let key = context.keys.leader();
    let nobody = [Compare::ModRevision(key.clone(), 0)];
    let _ = context.client.transact(&nobody, &[Op::Put(key, context.id.as_bytes().to_vec(), lease)]).await;
    context.tell(Input::Done(Errand::Campaign)).await;
}

pub(super) async fn forget(context: Arc<Context>, id: String, process: String, revision: i64) {
    let key = context.keys.backends(&id, &process);
    let same = [Compare::ModRevision(key.clone(), revision), context.while_leading()];
    let _ = context.client.transact(&same, &[Op::Delete(key)]).await;
    context.tell(Input::Done(Errand::Forget(id, process))).await;
}

/// Asks the primary. `last`: what it does not tell now is not known.
pub(super) async fn read_lsn(context: Arc<Context>, place: Place, epoch: u64, last: bool) {
    let Some(proxy) = context.proxy.upgrade() else { return };
    let at = jiff::Timestamp::now();
    let found = match proxy.gates.settle(&place).await {
        Ok(settled) => Some(Finding {
            quiesced: Quiesced { at, lsn: Some(settled.lsn) },
            foreign_writers: settled.foreign_writers,
            warning: settled.warning,
        }),
        Err(_) if !last => None,
        Err(why) => Some(Finding {
            quiesced: Quiesced { at, lsn: None },
            foreign_writers: Vec::new(),
            warning: Some(format!("the primary could not be asked for its LSN and for foreign writers: {why}")),
        }),
    };
    context.tell(Input::LsnRead(place, epoch, found.map(Box::new))).await;
}

pub(super) async fn commit(context: Arc<Context>, revision: i64, desired: Desired) {
    let key = context.keys.desired(&desired.place);
    let same = [Compare::ModRevision(key.clone(), revision), context.while_leading()];
    let _ = context.client.transact(&same, &[Op::Put(key, json(&desired), 0)]).await;
    context.tell(Input::Done(Errand::Commit(desired.place))).await;
}

/// What etcd has forgotten.
pub(super) async fn write_back(context: Arc<Context>, revision: i64, desired: Desired) {
    let key = context.keys.desired(&desired.place);
    let same = [Compare::ModRevision(key.clone(), revision)];
    let written = context.client.transact(&same, &[Op::Put(key, json(&desired), 0)]).await;
    if let (Ok(true), Some(proxy)) = (written, context.proxy.upgrade()) {
        let gate = proxy.gates.all().into_iter().find(|gate| *gate.place() == desired.place);
        let names = gate.map(|gate| gate.names()).unwrap_or_default();
        let text = "etcd has forgotten that this was closed: it stays closed";
        publish!(proxy.events, warn, Event::new(Kind::FleetWrittenBack, text).about_all(names), epoch = desired.epoch);
    }
    context.tell(Input::Done(Errand::WriteBack(desired.place))).await;
}

/// Has etcd know what receivers of webhooks were told, one after the other.
pub(super) async fn keep_told(context: Arc<Context>, mut all: mpsc::Receiver<Told>) {
    while let Some(Told { hook, database, mark, done }) = all.recv().await {
        let key = context.keys.told(&hook, &database);
        let _ = context.client.transact(&[], &[Op::Put(key, json(&mark), 0)]).await;
        let _ = done.send(());
    }
}

/// Takes leave: there is nothing that anybody would have to wait for.
pub(super) async fn leave(context: &Context) {
    // Connections end with the process; what is astray is looked for by whoever leads.
    let strays = context.proxy.upgrade().is_some_and(|proxy| proxy.ledger.has_strays());
    let lease = context.shown.borrow().view.members.get(&context.id).map(|member| member.lease);
    if !strays {
        let key = context.keys.backends(&context.id, &context.process);
        // A moment for servers to see that their connections are closed.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let _ = context.client.transact(&[], &[Op::Delete(key)]).await;
    }
    if let Some(lease) = lease {
        let _ = context.client.revoke(lease).await;
    }
}
