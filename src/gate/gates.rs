//! The gates of all databases, and the world they live in.

use super::commands;
use super::database::{Gate, Move};
use super::detail::{Quiesced, Terms, Who};
use super::error::GateError;
use super::field::Field;
use super::mode::{Epoch, Mode};
use super::plan::Order;
use super::progress::{Progress, Verb};
use super::state_file::{Record, StateFile, Store};
use jiff::Timestamp;
use std::collections::BTreeMap;
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
    pub(crate) store: Arc<Store>,
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
    pub(crate) runtime: tokio::runtime::Handle,
    /// Rung when the next expiry may have moved.
    pub(crate) expiry: Arc<Notify>,
    pub(crate) map: Mutex<Map>,
}

#[derive(Debug)]
pub(crate) struct Map {
    pub(crate) gates: BTreeMap<String, Entry>,
    /// What new names are born with; as in the store, but under this lock, so that no name is born between the listing of
    /// names for `*` and the moment when `*` is in force.
    pub(crate) all: Record,
    /// The command on `*` that is being put into force.
    pub(crate) all_under_way: Option<Arc<Move>>,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) gate: Arc<Gate>,
    pub(crate) origin: Origin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Configured,
    OnTheFly,
    /// No longer configured, but sessions still hold the gate: it must go on closing with `*`, and be the same one if the
    /// name comes back.
    Removed,
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

    async fn change(
        &self,
        change: impl FnOnce(&mut super::state_file::Document) + Send + 'static,
    ) -> Result<(), GateError> {
        let store = self.store.clone();
        // An fsync may take long, and on this thread clients are served.
        let written = self.runtime.spawn_blocking(move || store.change(change)).await;
        written.unwrap_or_else(|_| Err(GateError::StateFile("the process is stopping".into())))
    }

    /// Makes records durable, all of them or none.
    pub(crate) async fn save(&self, records: Vec<(String, Record)>) -> Result<(), GateError> {
        self.change(move |document| document.databases.extend(records)).await
    }

    /// The same with the record of `*`.
    pub(crate) async fn save_all(&self, all: Record, records: Vec<(String, Record)>) -> Result<(), GateError> {
        self.change(move |document| {
            document.all = all;
            document.databases.extend(records);
        })
        .await
    }

    /// A name without a record of its own gets none for having been drained: clients may make up names.
    pub(crate) async fn save_settled(&self, name: &str, record: Record) -> Result<(), GateError> {
        let name = name.to_owned();
        self.change(move |document| {
            if let Some(kept) = document.databases.get_mut(&name) {
                *kept = record;
            }
        })
        .await
    }

    fn get_or_insert(self: &Arc<World>, map: &mut Map, name: &str, origin: Origin) -> Result<Arc<Gate>, GateError> {
        if let Some(entry) = map.gates.get_mut(name) {
            if entry.origin == Origin::Removed || origin == Origin::Configured {
                entry.origin = origin;
            }
            return Ok(entry.gate.clone());
        }
        if origin == Origin::OnTheFly && map.gates.len() >= self.limits.databases {
            map.forget_unused();
            if map.gates.len() >= self.limits.databases {
                return Err(GateError::TooManyDatabases(self.limits.databases));
            }
        }
        let own = self.store.own_record(name);
        let gate = Arc::new(Gate::with_record(name, self.limits.shards, own.unwrap_or_else(|| map.all.clone())));
        map.gates.insert(name.to_owned(), Entry { gate: gate.clone(), origin });
        commands::resume(self, &gate);
        Ok(gate)
    }
}

impl Map {
    /// Nobody but this map holds them, so nobody can miss them; their records are in the store.
    fn forget_unused(&mut self) {
        self.gates.retain(|_, entry| entry.origin == Origin::Configured || Arc::strong_count(&entry.gate) > 1);
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
    /// meanwhile is opened. Errors: 55006 if another proxy has the file, 58030 if its folder cannot be used.
    pub fn open(
        file: &StateFile,
        databases: &[String],
        field: Arc<dyn Field>,
        limits: Limits,
        clock: Clock,
        runtime: tokio::runtime::Handle,
    ) -> Result<Gates, GateError> {
        let (store, alarm) = Store::open(file, clock())?;
        let all = store.document().all;
        let map = Map { gates: BTreeMap::new(), all, all_under_way: None };
        let world = World {
            field,
            store: Arc::new(store),
            limits,
            clock,
            runtime,
            expiry: Arc::new(Notify::new()),
            map: Mutex::new(map),
        };
        let gates = Gates { world: Arc::new(world), alarm: alarm.map(Into::into) };
        gates.sync_databases(databases);
        gates.world.runtime.spawn(super::expiry::watch(Arc::downgrade(&gates.world)));
        Ok(gates)
    }

    /// The loud message, if the state was lost: every database is read_only now.
    pub fn alarm(&self) -> Option<&str> {
        self.alarm.as_deref()
    }

    /// The configured names, at start and at each reload. A name that is gone keeps its record on disk.
    pub fn sync_databases(&self, names: &[String]) {
        let mut map = self.world.map();
        for entry in map.gates.values_mut().filter(|entry| entry.origin == Origin::Configured) {
            entry.origin = Origin::Removed;
        }
        for name in names {
            // Configured names are not counted against the limit, so there is no error.
            let _ = self.world.get_or_insert(&mut map, name, Origin::Configured);
        }
        map.forget_unused();
    }

    /// The gate of a database; None if there is none of that name (now).
    pub fn get(&self, name: &str) -> Option<Arc<Gate>> {
        let map = self.world.map();
        map.gates.get(name).filter(|entry| entry.origin != Origin::Removed).map(|entry| entry.gate.clone())
    }

    /// The gate of a database that a wildcard of the configuration allows; born in the mode of the last command on `*`. Error:
    /// 53400 when clients have made up too many names that are in use.
    pub fn get_or_create(&self, name: &str) -> Result<Arc<Gate>, GateError> {
        self.world.get_or_insert(&mut self.world.map(), name, Origin::OnTheFly)
    }

    pub(crate) fn world(&self) -> &Arc<World> {
        &self.world
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
            maintenance: map.all.switches.maintenance.is_some(),
            quiesced: None,
            in_flight: 0,
            held: 0,
            discarded: 0,
            allowed: 0,
            under_way: map.all_under_way.as_ref().map(|mv| (mv.verb, mv.who.clone())),
            progress: None,
        });
        let listed = map.gates.values().filter(|entry| entry.origin != Origin::Removed);
        all.into_iter().chain(listed.map(|entry| row(&entry.gate))).collect()
    }
}

fn row(gate: &Gate) -> Row {
    let view = gate.view().clone();
    let under_way = gate.desk().under_way.clone();
    let (discarded, allowed) = gate.ruled();
    Row {
        database: view.database.to_string(),
        mode: view.state.mode,
        epoch: view.state.epoch,
        since: view.since,
        terms: view.switches.in_force().cloned(),
        maintenance: view.switches.maintenance.is_some(),
        quiesced: view.quiesced,
        in_flight: gate.in_flight(),
        held: gate.holding.count(),
        discarded,
        allowed,
        progress: under_way.as_ref().and_then(|mv| mv.report.borrow().progress.clone()),
        under_way: under_way.map(|mv| (mv.verb, mv.who.clone())),
    }
}

/// The order that a clock gives for what has expired.
pub(crate) fn expired(verb: Verb, now: Timestamp) -> Order {
    let options = super::options::OnOptions::new(super::options::OnDefaults::default());
    Order { verb, options, who: Who::proxy(), now, only_expired: true }
}
