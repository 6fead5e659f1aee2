//! This proxy as a member of a fleet: what [`crate::fleet::Machine`] decides is carried out here, with etcd, the gates and the servers.
//!
//! [`drive`] is the one task that has the machine; what takes time is a task of its own and tells it of its end. [`errands`] are those
//! with etcd, [`gates`] puts modes in force, [`fence`] ends what a member that has gone left on the servers, and [`command`] gives a
//! person's command to all members. No client's path leads here: clients ask their gate, as ever.

mod command;
mod drive;
mod errands;
mod fence;
mod gates;
mod peers;
mod wait;

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::SeqCst};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::maintenance::environment::Logins;
use crate::config;
use crate::etcd::{Client, Settings};
use crate::fleet::{Handle, Input, Keys, Machine, Order, Shown, Timing, Turns};
use crate::shared::ProxyState;

pub use peers::addresses;

/// Inputs that may wait for the machine; whoever brings one more waits.
const INPUTS: usize = 1024;
/// Commands that may wait.
const ORDERS: usize = 16;

/// What all tasks of the fleet share.
pub(super) struct Context {
    pub(super) proxy: Weak<ProxyState>,
    pub(super) client: Client,
    pub(super) keys: Keys,
    pub(super) timing: Timing,
    pub(super) id: String,
    pub(super) process: String,
    pub(super) mark: i64,
    pub(super) address: String,
    pub(super) since: jiff::Timestamp,
    pub(super) inputs: mpsc::Sender<Input>,
    pub(super) shown: watch::Sender<Arc<Shown>>,
    pub(super) logins: Logins,
    /// Where etcd was when it last renewed the lease.
    pub(super) revision: AtomicI64,
    /// Since when this proxy has been a member, in milliseconds of Unix time.
    pub(super) joined: AtomicI64,
    /// Clients are taken in: until then nobody has to be told that nothing can be written.
    pub(super) is_serving: AtomicBool,
}

/// What is left to be started.
struct Fleet {
    context: Arc<Context>,
    inputs: mpsc::Receiver<Input>,
    orders: mpsc::Receiver<Order>,
    machine: Machine,
}

/// Joins the fleet of the configuration, if there is one: nobody is to be served before what the others want is in force here.
///
/// # Errors
/// What is wrong with the configuration.
pub async fn start(proxy: &Arc<ProxyState>, logins: Logins) -> Result<Option<Running>, String> {
    match join(proxy, logins)? {
        Some(fleet) => Ok(Some(fleet.start().await)),
        None => Ok(None),
    }
}

/// Leaves the fleet, behind the last client: nobody has to wait for this member, nor to look for what it left.
pub async fn leave(running: Option<Running>) {
    let Some(running) = running else { return };
    running.task.abort();
    let leave = errands::leave(&running.context);
    let _ = tokio::time::timeout(Duration::from_secs(2), leave).await;
}

/// The fleet of the configuration. From here on nothing is written before it is heard of.
fn join(proxy: &Arc<ProxyState>, logins: Logins) -> Result<Option<Fleet>, String> {
    let setup = proxy.setup.load();
    let config = &setup.config;
    let fleet = &config.fleet;
    if fleet.endpoints.is_empty() {
        return Ok(None);
    }
    let mut random = [0_u8; 16];
    getrandom::fill(&mut random).map_err(|error| error.to_string())?;
    let process: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut mark = [0_u8; 8];
    mark.copy_from_slice(random.get(..8).unwrap_or(&[0; 8]));
    let mark = i64::from_le_bytes(mark) | 1;
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { "localhost" } else { host.trim() };
    let address = match fleet.address.as_str() {
        "" => format!("{host}:{}", config.listen.listen_port),
        address => address.to_owned(),
    };
    let id = match fleet.member.as_str() {
        "" => format!("{host}:{}-{}", config.listen.listen_port, process.get(..4).unwrap_or_default()),
        id => id.to_owned(),
    };
    let timing = Timing::of(fleet.lease_ttl);
    let client = Client::new(settings(fleet, timing)?)?;
    let keys = Keys::below(fleet.prefix.as_str());
    let (inputs, to_machine) = mpsc::channel(INPUTS);
    let (give, orders) = mpsc::channel(ORDERS);
    let (shown, seen) = watch::channel(Arc::default());
    proxy.gates.join_fleet();
    proxy.ledger.guard().join(mark);
    let machine = Machine::new(&id, &process, keys.clone(), timing);
    let context = Arc::new(Context {
        proxy: Arc::downgrade(proxy),
        client,
        keys,
        timing,
        id: id.clone(),
        process: process.clone(),
        mark,
        address,
        since: jiff::Timestamp::now(),
        inputs,
        shown,
        logins,
        revision: AtomicI64::new(0),
        joined: AtomicI64::new(0),
        is_serving: AtomicBool::new(false),
    });
    let (tell, told) = mpsc::channel(ORDERS);
    proxy.webhooks.join_fleet(Turns::new(&id, seen.clone(), tell, timing.ttl * 3));
    tokio::spawn(errands::keep_told(context.clone(), told));
    let _ = proxy.fleet.set(Handle { id, process, shown: seen, orders: give });
    gates::start_forbidden(proxy);
    Ok(Some(Fleet { context, inputs: to_machine, orders, machine }))
}

fn settings(fleet: &config::Fleet, timing: Timing) -> Result<Settings, String> {
    let read = |path: &std::path::PathBuf| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    let identity = match (&fleet.cert_file, &fleet.key_file) {
        (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
        _ => None,
    };
    Ok(Settings {
        endpoints: fleet.endpoints.iter().map(|url| url.as_str().to_owned()).collect(),
        ca: fleet.ca_file.as_ref().map(read).transpose()?,
        identity,
        user: (fleet.user.clone(), fleet.password.expose().to_owned()),
        patience: timing.renew_every,
    })
}

impl Fleet {
    /// Begins, and waits until this proxy is a member, but not for longer than a lease: clients who come then are served as of a member
    /// that cannot reach its fleet.
    async fn start(self) -> Running {
        let (context, patience) = (self.context.clone(), self.context.timing.ttl);
        let task = tokio::spawn(drive::run(self.context, self.machine, self.inputs, self.orders));
        let mut shown = context.shown.subscribe();
        let joined = shown.wait_for(|shown| shown.is_member);
        if tokio::time::timeout(patience, joined).await.is_err() {
            let error = context.shown.borrow().error.clone();
            tracing::warn!(event = "fleet_lost", error, "the fleet cannot be reached: nothing is written until it can");
        }
        context.is_serving.store(true, SeqCst);
        if let Some(proxy) = context.proxy.upgrade() {
            gates::keep_forbidden(&proxy);
        }
        Running { context, task }
    }
}

/// A member.
pub struct Running {
    context: Arc<Context>,
    task: tokio::task::JoinHandle<()>,
}
