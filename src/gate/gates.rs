//! The gates of all databases, and the world they live in.

use super::automatic::Automatic;
use super::command::plan::Order;
use super::command::progress::{Progress, Seen, Verb};
use super::database::Gate;
use super::detail::{Quiesced, Terms, Who};
use super::environment::Field;
use super::error::GateError;
use super::names::{Map, Origin};
use super::reroute::Reroute;
use super::server_database::NamedDatabase;
use super::state::mode::{Epoch, Mode};
use super::store::handover::{InheritedState, StateSource};
use super::store::state_file::{Record, Store};
use crate::events::Bus;
use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Tells the wall clock's time; tests have their own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Bounds of the gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Register shards for each database: one for each core.
    pub shards: usize,
    /// Gates kept at most, for names that clients make up where databases are made on the fly.
    pub databases: usize,
    /// One call of [`Field`] takes at most this long.
    pub field_timeout: Duration,
    /// How long cancelled transactions may take to roll back.
    pub cancel_grace: Duration,
    /// How long the primary is asked again for its LSN.
    pub settle_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            shards: std::thread::available_parallelism().map_or(1, usize::from),
            databases: 10_000,
            // Longer than one lost packet's retries, shorter than a person's patience.
            field_timeout: Duration::from_secs(5),
            cancel_grace: Duration::from_secs(10),
            settle_timeout: Duration::from_secs(15),
        }
    }
}

/// What transitions work with.
pub(crate) struct World {
    pub(crate) field: Arc<dyn Field>,
    pub(crate) events: Bus,
    pub(crate) store: Arc<Store>,
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
    pub(crate) runtime: tokio::runtime::Handle,
    /// Rung when the next expiry may have moved.
    pub(crate) expiry: Arc<Notify>,
    pub(crate) map: Mutex<Map>,
    /// Modes come from a fleet: only that lets one expire, and what is told to this proxy alone is noted as such.
    pub(crate) in_fleet: AtomicBool,
    /// What gates are born with while the fleet cannot be reached.
    pub(crate) fleet_lost: ArcSwapOption<Automatic>,
}

/// One row of SHOW MAINTENANCE.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The database, or `*` for what databases without a row are born with.
    pub database: String,
    /// The mode.
    pub mode: Mode,
    /// The epoch.
    pub epoch: Epoch,
    /// Since when the mode holds.
    pub since: Timestamp,
    /// Why, by whom, and with which options; None in read_write.
    pub terms: Option<Terms>,
    /// The same in a sentence.
    pub reason: Option<String>,
    /// Whether MAINTENANCE is ON; told apart since OFFLINE hides it.
    pub maintenance: bool,
    /// Set once the drain is over.
    pub quiesced: Option<Quiesced>,
    /// Write-capable transactions registered.
    pub in_flight: usize,
    /// Writes that are held now.
    pub held: usize,
    /// Writes that rules have discarded since the proxy started.
    pub discarded: u64,
    /// Writes that rules have let through since then.
    pub allowed: u64,
    /// The command under way and who gave it.
    pub under_way: Option<(Verb, Who)>,
    /// What that waits for.
    pub progress: Option<Progress>,
}

impl World {
    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    pub(crate) fn map(&self) -> MutexGuard<'_, Map> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn change(
        &self,
        change: impl FnOnce(&mut super::store::state_file::Document) + Send + 'static,
    ) -> Result<(), GateError> {
        let store = self.store.clone();
        // An fsync may take long, and on this thread clients are served.
        let written = self.runtime.spawn_blocking(move || store.change(change)).await;
        written.unwrap_or_else(|_| Err(GateError::StateFile("the process is stopping".into())))
    }

    /// Makes records durable, all of them or none.
    pub(crate) async fn save(&self, records: Vec<(Arc<Gate>, Record)>) -> Result<(), GateError> {
        self.change(move |document| document.put(&records)).await
    }

    /// The same with the record of `*`, if there is one. With `unsaved` it is in force in any case, and the answer says why it could
    /// not be made durable.
    pub(crate) async fn save_all(
        &self,
        all: Option<Record>,
        records: Vec<(Arc<Gate>, Record)>,
        unsaved: bool,
    ) -> Result<Option<String>, GateError> {
        let (store, kept) = (self.store.clone(), all.clone());
        let change = move |document: &mut super::store::state_file::Document| {
            document.all = kept.unwrap_or_else(|| document.all.clone());
            document.put(&records);
        };
        if !unsaved {
            return self.change(change).await.map(|()| None);
        }
        let written = self.runtime.spawn_blocking(move || store.change_unsaved(change)).await;
        Ok(written.unwrap_or_else(|_| Some("the process is stopping".into())))
    }

    /// Makes a mode durable that the proxy has given itself, and that holds without a disk too: its epoch is not to be used again after
    /// a restart. Says why it is in memory alone. A name that clients have made up gets no record of its own for it.
    pub(crate) async fn save_or_keep(&self, gate: &Arc<Gate>, record: Record) -> Option<String> {
        let configured = self.map().is_configured(gate);
        let put = {
            let gate = gate.clone();
            move |document: &mut super::store::state_file::Document| {
                if configured || document.has(&gate) {
                    document.put(&[(gate, record)]);
                }
            }
        };
        let why = self.change(put.clone()).await.err()?.to_string();
        let store = self.store.clone();
        let kept = self.runtime.spawn_blocking(move || store.keep_unsaved(put, why)).await;
        Some(kept.unwrap_or_else(|_| "the process is stopping".into()))
    }

    /// Writes what could not be saved before, if the disk takes it now; true if it has.
    pub(crate) async fn save_again(&self) -> bool {
        if !self.store.unsaved() {
            return false;
        }
        let store = self.store.clone();
        self.runtime.spawn_blocking(move || store.save_again()).await.unwrap_or(false)
    }

    /// A database without a record of its own gets none for having been drained: clients may make up names.
    pub(crate) async fn save_settled(&self, gate: &Arc<Gate>, record: Record) -> Result<(), GateError> {
        let gate = gate.clone();
        self.change(move |document| {
            if document.has(&gate) {
                document.put(&[(gate, record)]);
            }
        })
        .await
    }
}

/// The gates of all databases. Cheap to clone; transitions go on when every clone is gone, as long as the runtime lives.
#[derive(Clone)]
pub struct Gates {
    world: Arc<World>,
    alarm: Option<Arc<str>>,
}

impl Gates {
    /// Opens and locks the state file and makes the gates of the configured databases, each in the mode that is on disk.
    /// Transitions run on `runtime`. Drains that a crash interrupted are taken up again at once, and what has expired
    /// meanwhile is opened. What happens is published as `events`. Errors: 55006 if another proxy has the file, 58030 if its folder cannot be used.
    pub fn open<D>(
        source: impl Into<StateSource>,
        databases: &[D],
        field: Arc<dyn Field>,
        events: Bus,
        limits: Limits,
        clock: Clock,
        runtime: tokio::runtime::Handle,
    ) -> Result<Gates, GateError>
    where
        for<'a> NamedDatabase: From<&'a D>,
    {
        let databases = |_: &[Reroute]| databases.iter().map(Into::into).collect();
        Self::open_rerouted(source, databases, field, events, limits, clock, runtime)
    }

    /// As [`Gates::open`], where the names lead elsewhere by the reroutes that are on disk: `databases` is asked for them.
    ///
    /// # Errors
    /// As [`Gates::open`].
    pub fn open_rerouted(
        source: impl Into<StateSource>,
        databases: impl FnOnce(&[Reroute]) -> Vec<NamedDatabase>,
        field: Arc<dyn Field>,
        events: Bus,
        limits: Limits,
        clock: Clock,
        runtime: tokio::runtime::Handle,
    ) -> Result<Gates, GateError> {
        let StateSource { file, inherited } = source.into();
        let (store, alarm) = match inherited {
            Some(inherited) => (Store::inherit(&file, inherited)?, None),
            None => Store::open(&file, clock())?,
        };
        let document = store.document();
        let databases = databases(&document.reroutes);
        let map = Map::new(document.all, document.reroutes);
        let world = World {
            field,
            events,
            store: Arc::new(store),
            limits,
            clock,
            runtime,
            expiry: Arc::new(Notify::new()),
            map: Mutex::new(map),
            in_fleet: AtomicBool::new(false),
            fleet_lost: ArcSwapOption::empty(),
        };
        let gates = Gates { world: Arc::new(world), alarm: alarm.map(Into::into) };
        gates.world.start(&databases);
        gates.world.runtime.spawn(super::command::expiry::watch(Arc::downgrade(&gates.world)));
        Ok(gates)
    }

    /// Writes nothing to the state file from now on, and gives what the process needs that takes over. None: a command is under way.
    ///
    /// # Errors
    /// The lock cannot be shared.
    pub fn hand_over(&self) -> Result<Option<InheritedState>, GateError> {
        if self.show().iter().any(|row| row.under_way.is_some()) {
            return Ok(None);
        }
        self.world.store.hand_over().map(Some)
    }

    /// The other process has not taken over.
    pub fn take_back(&self) {
        self.world.store.take_back();
    }

    /// Saves what is in force and could not be saved, if the disk takes it now; true if it has.
    pub async fn save_again(&self) -> bool {
        self.world.save_again().await
    }

    /// The loud message, if the state was lost: every database is read_only now.
    pub fn alarm(&self) -> Option<&str> {
        self.alarm.as_deref()
    }

    /// The configured databases, at start and at each reload. One that is gone keeps its record on disk, and is shown and can be
    /// opened for as long as it is closed. Tells what a person should know of names that lead elsewhere now.
    pub fn sync(&self, databases: &[NamedDatabase]) -> Vec<String> {
        self.world.sync(databases)
    }

    /// Clusters that lead to the same server as another one, each with that one's name. It counts for names that are led anew.
    pub fn set_same_servers(&self, same: BTreeMap<String, String>) {
        self.world.set_same(same);
    }

    /// As [`Gates::sync`] where nothing but names is known.
    pub fn sync_databases(&self, names: &[String]) {
        let databases: Vec<NamedDatabase> = names.iter().map(Into::into).collect();
        self.sync(&databases);
    }

    /// The gate that a name leads to; None if there is none of that name (now).
    pub fn get(&self, name: &str) -> Option<Arc<Gate>> {
        let map = self.world.map();
        map.names.get(name).filter(|entry| entry.origin != Origin::Removed).map(|entry| entry.gate.clone())
    }

    /// The gate of a database that a wildcard of the configuration allows; born in the mode of the last command on `*` if its
    /// database has no gate yet. Error: 53400 when clients have made up too many names that are in use.
    pub fn get_or_create_of(&self, database: &NamedDatabase) -> Result<Arc<Gate>, GateError> {
        self.world.get_or_create(database)
    }

    /// As [`Gates::get_or_create_of`] where nothing but the name is known.
    pub fn get_or_create(&self, name: &str) -> Result<Arc<Gate>, GateError> {
        self.get_or_create_of(&NamedDatabase::from(&name.to_owned()))
    }

    pub(crate) fn world(&self) -> &Arc<World> {
        &self.world
    }

    /// The row of SHOW MAINTENANCE of that name, without making the others.
    pub fn show_one(&self, name: &str) -> Option<Row> {
        if name == "*" {
            return self.show().into_iter().find(|row| row.database == name);
        }
        let listed = self.world.map().listed();
        listed.into_iter().find(|(known, _)| known == name).map(|(name, gate)| row(name, &gate))
    }

    /// SHOW MAINTENANCE: a row for each database, and one for `*` when that is not read_write.
    pub fn show(&self) -> Vec<Row> {
        let map = self.world.map();
        let all = (map.all.switches.mode() != Mode::ReadWrite).then(|| Row {
            database: "*".into(),
            mode: map.all.switches.mode(),
            epoch: map.all.epoch,
            since: map.all.since,
            terms: map.all.switches.in_force().cloned(),
            reason: None,
            maintenance: map.all.switches.maintenance.is_some(),
            quiesced: None,
            in_flight: 0,
            held: 0,
            discarded: 0,
            allowed: 0,
            under_way: map.all_under_way.as_ref().map(|mv| (mv.verb, mv.who.clone())),
            progress: None,
        });
        all.into_iter().chain(map.listed().into_iter().map(|(name, gate)| row(name, &gate))).collect()
    }
}

fn row(name: String, gate: &Gate) -> Row {
    let view = gate.view().clone();
    let under_way = gate.desk().under_way.clone();
    let (discarded, allowed) = gate.ruled();
    Row {
        database: name,
        mode: view.state.mode,
        epoch: view.state.epoch,
        since: view.since,
        terms: view.in_force().cloned(),
        reason: view.reason(),
        maintenance: view.switches.maintenance.is_some(),
        quiesced: view.quiesced,
        in_flight: gate.in_flight(),
        held: gate.holding.count(),
        discarded,
        allowed,
        progress: under_way.as_ref().and_then(|mv| mv.report.borrow().progress.as_ref().map(Seen::now)),
        under_way: under_way.map(|mv| (mv.verb, mv.who.clone())),
    }
}

/// The order that a clock gives for what has expired.
pub(crate) fn expired(verb: Verb, now: Timestamp) -> Order {
    let options = super::command::options::OnOptions::new(super::command::options::OnDefaults::default());
    Order { verb, options, who: Who::proxy(), now, only_expired: true }
}
