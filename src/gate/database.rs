//! The gate of one database: what sessions hold and ask.

use super::automatic::{Automatic, Closes};
use super::command::options::OnOptions;
use super::command::progress::{Outcome, Part, Report, Verb};
use super::detail::{Counters, GateView, Who};
use super::error::GateError;
use super::hold::Holding;
use super::server_database::ServerDatabase;
use super::state::mode::{DrainTo, Mode, NewTransaction, State, Writes};
use super::state::register::{Closed, Lane, Register, WriteTicket};
use super::store::state_file::Record;
use arc_swap::ArcSwap;
use jiff::Timestamp;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// The gate of one database. Sessions ask [`Gate::state`] before each statement and hold a [`WriteTicket`] for each
/// write-capable transaction.
#[derive(Debug)]
pub struct Gate {
    place: ServerDatabase,
    /// The names that clients have for it, in order.
    names: ArcSwap<Vec<Arc<str>>>,
    /// Names that lead elsewhere now and led here when it was closed.
    former_names: ArcSwap<Vec<String>>,
    /// It was closed by a name that came closed from elsewhere, not by a command.
    came_closed: AtomicBool,
    pub(crate) register: Register,
    view: ArcSwap<GateView>,
    fenced: AtomicU64,
    cancelled: AtomicU64,
    discarded: AtomicU64,
    allowed: AtomicU64,
    drained: [AtomicU64; 3],
    /// Writes that wait for it to open.
    pub holding: Holding,
    desk: Mutex<Desk>,
}

/// What commands see of a gate; never held across an await.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) record: Record,
    /// What automation has found of the servers.
    pub(crate) automatic: Option<Automatic>,
    /// Clients of another database are led here to read only.
    pub(crate) copy: Option<Automatic>,
    /// Set while this proxy cannot reach its fleet.
    pub(crate) unreachable: Option<Automatic>,
    pub(crate) under_way: Option<Arc<Move>>,
}

impl Desk {
    /// What closes it where no person's switch does: it is a copy, or automation has found something. What closes it to reads goes
    /// before what closes it to writes.
    pub(crate) fn found(&self) -> Option<Automatic> {
        let found = match (&self.automatic, &self.copy) {
            (Some(found), Some(copy)) if found.closes == Closes::Writes => {
                Some(Automatic { floor: found.floor.max(copy.floor), ..copy.clone() })
            }
            (found, copy) => found.clone().or_else(|| copy.clone()),
        };
        match (&self.unreachable, found) {
            (Some(lost), None) => Some(lost.clone()),
            (Some(lost), Some(found)) if found.closes == Closes::Writes => {
                Some(Automatic { floor: found.floor, ..lost.clone() })
            }
            (_, found) => found,
        }
    }

    /// The mode of all sources.
    pub(crate) fn mode(&self) -> Mode {
        match self.record.switches.mode() {
            Mode::ReadWrite => self.found().map_or(Mode::ReadWrite, |found| found.mode()),
            closed => closed,
        }
    }
}

/// A command that holds a gate.
#[derive(Debug)]
pub(crate) struct Move {
    pub(crate) verb: Verb,
    pub(crate) who: Who,
    pub(crate) since: Timestamp,
    pub(crate) options: Option<OnOptions>,
    pub(crate) called_off: watch::Sender<Option<Who>>,
    pub(crate) report: watch::Sender<Report>,
}

impl Move {
    pub(crate) fn new(verb: Verb, who: Who, since: Timestamp, options: Option<OnOptions>) -> Arc<Move> {
        let (called_off, report) = (watch::Sender::new(None), watch::Sender::new(Report::default()));
        Arc::new(Move { verb, who, since, options, called_off, report })
    }

    pub(crate) fn part(&self, gate: &Gate, joined: bool) -> Part {
        Part { databases: gate.names(), others: vec![], verb: self.verb, joined, report: self.report.subscribe() }
    }

    pub(crate) fn conflict(&self, database: &str) -> GateError {
        GateError::UnderWay { database: database.to_owned(), verb: self.verb, who: self.who.clone(), since: self.since }
    }
}

/// What sessions are shown of a record: the mode itself once it is quiesced, the drain that leads to it before.
pub(crate) fn view_of(name: Arc<str>, desk: &Desk, counters: Counters) -> GateView {
    let record = &desk.record;
    let mode = match (record.switches.mode(), record.quiesced) {
        (Mode::ReadWrite, _) => desk.mode(),
        (Mode::ReadOnly { writes }, None) => Mode::Draining { to: DrainTo::ReadOnly { writes } },
        (Mode::Offline, None) => Mode::Draining { to: DrainTo::Offline },
        (mode, _) => mode,
    };
    GateView {
        database: name,
        state: State { mode, epoch: record.epoch },
        since: record.since,
        switches: record.switches.clone(),
        automatic: desk.found(),
        quiesced: record.quiesced,
        counters,
    }
}

impl Gate {
    /// A gate that is open, with one register shard for each core.
    pub fn new(name: &str, shards: usize) -> Gate {
        let record = Record::fresh(Timestamp::UNIX_EPOCH);
        Gate::with_record(ServerDatabase::named(name), Some(name), shards, record)
    }

    pub(crate) fn with_record(place: ServerDatabase, name: Option<&str>, shards: usize, record: Record) -> Gate {
        let names: Vec<Arc<str>> = name.into_iter().map(Into::into).collect();
        let shown = names.first().cloned().unwrap_or_else(|| place.to_string().into());
        let desk = Desk { record, automatic: None, copy: None, unreachable: None, under_way: None };
        let view = view_of(shown, &desk, Counters::default());
        Gate {
            register: Register::new(shards, view.state),
            view: ArcSwap::from_pointee(view),
            fenced: AtomicU64::new(0),
            cancelled: AtomicU64::new(0),
            discarded: AtomicU64::new(0),
            allowed: AtomicU64::new(0),
            drained: Default::default(),
            holding: Holding::default(),
            desk: Mutex::new(desk),
            names: ArcSwap::from_pointee(names),
            former_names: ArcSwap::default(),
            came_closed: AtomicBool::new(false),
            place,
        }
    }

    /// The first of the names that clients connect to; without one, what it is on the servers.
    pub fn name(&self) -> Arc<str> {
        self.names.load().first().cloned().unwrap_or_else(|| self.place.to_string().into())
    }

    /// Every name that clients have for it; without one, what it is on the servers.
    pub fn names(&self) -> Vec<Arc<str>> {
        let names = self.names.load();
        if names.is_empty() { vec![self.place.to_string().into()] } else { names.to_vec() }
    }

    pub(crate) fn known_names(&self) -> Vec<String> {
        self.names.load().iter().map(ToString::to_string).collect()
    }

    /// How many names clients have for it.
    pub(crate) fn name_count(&self) -> usize {
        self.names.load().len()
    }

    /// What it belongs to.
    pub fn place(&self) -> &ServerDatabase {
        &self.place
    }

    /// Clients have that name for it too. Only under the lock of all gates' names.
    pub(crate) fn add_name(&self, name: &str) {
        let mut names = self.names.load().to_vec();
        if let Err(at) = names.binary_search_by(|known| (**known).cmp(name)) {
            names.insert(at, name.into());
            self.names.store(Arc::new(names));
        }
    }

    /// The names that lead elsewhere now and led here when it was closed.
    pub(crate) fn former_names(&self) -> Vec<String> {
        self.former_names.load().to_vec()
    }

    /// Notes them.
    pub(crate) fn set_former_names(&self, names: Vec<String>) {
        self.former_names.store(Arc::new(names));
    }

    /// They have it no longer.
    pub(crate) fn remove_name(&self, name: &str) {
        let mut names = self.names.load().to_vec();
        names.retain(|known| **known != *name);
        self.names.store(Arc::new(names));
    }

    /// Whether a name that came closed from elsewhere has closed it.
    pub(crate) fn came_closed(&self) -> bool {
        self.came_closed.load(Ordering::Acquire)
    }

    /// Notes whether that is so.
    pub(crate) fn note_came_closed(&self, came: bool) {
        self.came_closed.store(came, Ordering::Release);
    }

    /// Whether a session's lane leads through this gate.
    #[inline]
    pub fn owns(&self, lane: &Lane) -> bool {
        lane.is_of(&self.register)
    }

    /// The mode and epoch, by one atomic load.
    pub fn state(&self) -> State {
        self.register.state()
    }

    /// Registers a write-capable transaction at that core's shard. Hold the ticket until the server has confirmed its end.
    pub fn enter(&self, shard: usize) -> Result<WriteTicket, Closed> {
        self.register.enter(shard)
    }

    /// A session's place at its core's shard: enter from it at the cost of one atomic add.
    pub fn lane(&self, shard: usize) -> Lane {
        self.register.lane(shard)
    }

    /// Write-capable transactions registered now.
    pub fn in_flight(&self) -> usize {
        self.register.in_flight()
    }

    /// A transaction was made read-only in its middle. Call it before its ticket is given back, so that the drain counts it.
    pub fn count_fenced(&self) {
        self.fenced.fetch_add(1, Ordering::AcqRel);
    }

    /// A transaction was broken off because the drain has timed out. Call it before its ticket is given back.
    pub fn count_cancelled(&self) {
        self.cancelled.fetch_add(1, Ordering::AcqRel);
    }

    /// A write was answered as done and sent nowhere, by a rule.
    pub fn count_discarded(&self) {
        self.discarded.fetch_add(1, Ordering::Relaxed);
    }

    /// A write was run though the gate is closed, by a rule.
    pub fn count_allowed(&self) {
        self.allowed.fetch_add(1, Ordering::Relaxed);
    }

    /// Writes discarded and allowed by rules since the start.
    pub fn ruled(&self) -> (u64, u64) {
        (self.discarded.load(Ordering::Relaxed), self.allowed.load(Ordering::Relaxed))
    }

    /// Transactions that drains have met since the start: finished by themselves, fenced, cancelled.
    pub fn drained(&self) -> [u64; 3] {
        self.drained.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    pub(crate) fn count_drained(&self, counts: [u64; 3]) {
        for (total, count) in self.drained.iter().zip(counts) {
            total.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Transactions fenced since the last call.
    pub(crate) fn take_fenced(&self) -> u64 {
        self.fenced.swap(0, Ordering::AcqRel)
    }

    /// Transactions broken off since the last call.
    pub(crate) fn take_cancelled(&self) -> u64 {
        self.cancelled.swap(0, Ordering::AcqRel)
    }

    /// What goes with the mode, lock-free. At least as new as the mode of a [`Closed`] or of a closed [`Gate::state`].
    pub fn view(&self) -> arc_swap::Guard<Arc<GateView>> {
        self.view.load()
    }

    pub(crate) fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a record into force. Only the holder of a [`Claim`] calls it. The epoch is raised if automation has used it meanwhile.
    pub(crate) fn publish(&self, record: &mut Record, counters: Counters) -> Arc<GateView> {
        let mut desk = self.desk();
        let known = &desk.record;
        if record.epoch <= known.epoch {
            let same = record.switches.mode() == known.switches.mode();
            record.epoch = if same { known.epoch } else { known.epoch.next() };
        }
        desk.record = record.clone();
        self.show(&desk, counters)
    }

    /// Shows what is on the desk, which stays locked meanwhile: views come out in the order of their changes.
    pub(crate) fn show(&self, desk: &Desk, counters: Counters) -> Arc<GateView> {
        let view = Arc::new(view_of(self.name(), desk, counters));
        // Whoever is refused must find the reason, so the view never lags behind a mode that refuses.
        if view.state.mode == Mode::ReadWrite {
            self.set_former_names(Vec::new());
            self.register.flip(view.state);
            self.view.store(view.clone());
        } else {
            let wait = NewTransaction::Guarded { writes: Writes::Hold };
            self.holding.closes(view.state.mode.new_transaction() == wait);
            self.view.store(view.clone());
            self.register.flip(view.state);
        }
        view
    }

    /// The command that is under way for it, and who has given it.
    pub fn under_way(&self) -> Option<(Verb, Who)> {
        self.desk().under_way.as_ref().map(|mv| (mv.verb, mv.who.clone()))
    }

    /// Makes `mv` the one command that may change this gate.
    pub(crate) fn claim(self: &Arc<Gate>, mv: &Arc<Move>) -> Result<Claim, Arc<Move>> {
        let mut desk = self.desk();
        match &desk.under_way {
            Some(other) => Err(other.clone()),
            None => {
                desk.under_way = Some(mv.clone());
                Ok(Claim { gate: self.clone(), mv: mv.clone(), counters: Counters::default(), answer: None })
            }
        }
    }
}

/// The right to change a gate; given back when dropped, however that happens.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) gate: Arc<Gate>,
    pub(crate) mv: Arc<Move>,
    pub(crate) counters: Counters,
    answer: Option<Result<Outcome, GateError>>,
}

impl Claim {
    /// Gives the gate back, then answers: whoever reads the answer can give the next command at once.
    pub(crate) fn finish(mut self, answer: Result<Outcome, GateError>) {
        self.answer = Some(answer);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.gate.desk().under_way = None;
        // Without an answer the task died: nobody may wait for it for ever.
        let interrupted = || Err(GateError::Interrupted { database: self.gate.name().to_string(), verb: self.mv.verb });
        let answer = self.answer.take().unwrap_or_else(interrupted);
        self.mv.report.send_modify(|report| report.done = Some(answer));
    }
}
