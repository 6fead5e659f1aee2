//! A server, and what the monitor last saw of it.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::cluster::written::Samples;
use super::contest::Activity;
use super::election::{Claim, Objection};
use super::own_settings::OwnSettings;
use super::state::{Outage, Silence};
use crate::gate::Lsn;
use crate::server::state::own_processes::OwnProcesses;
use crate::server::{Address, Watch};

/// What an upstream is, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Not asked yet.
    Unknown,
    /// Takes writes.
    Primary,
    /// In recovery.
    Replica,
    /// Cannot be reached.
    Down,
}

impl Role {
    fn from_u8(byte: u8) -> Self {
        match byte {
            1 => Self::Primary,
            2 => Self::Replica,
            3 => Self::Down,
            _ => Self::Unknown,
        }
    }

    /// As SHOW commands print it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Primary => "primary",
            Self::Replica => "replica",
            Self::Down => "down",
        }
    }
}

/// What the monitor saw in one look.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Its number, from [`Upstream::begin_look`].
    pub number: u64,
    /// Primary or replica.
    pub role: Role,
    /// What a primary has on disk, and what a replica has replayed.
    pub lsn: Lsn,
    /// Insert position of a primary: whatever was committed before the look lies before it.
    pub inserted: Lsn,
    /// Timeline of a primary, 0 when not known.
    pub timeline: u32,
    /// How long ago the last replayed transaction was committed; 0 on a primary.
    pub lag: Duration,
    /// `server_version_num`.
    pub version: u64,
    /// Its own `default_transaction_read_only`.
    pub read_only: bool,
}

/// Which server it is, wherever an address leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// As the server says it.
    pub words: String,
    /// It was not in recovery then.
    pub primary: bool,
}

/// What a server says of itself beside its role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Who is read-only by its own setting.
    pub own: OwnSettings,
    /// Further ordinary connections that it has room for.
    pub room: Option<i64>,
    /// The timeline that a replica follows.
    pub follows: Option<u32>,
}

/// One server. Everything but the address is what the monitor last saw.
pub struct Upstream {
    /// Where it is.
    pub address: Address,
    /// Shared with its pools.
    pub watch: Arc<Watch>,
    role: AtomicU8,
    returned: AtomicBool,
    timeline: AtomicU32,
    looks: AtomicU64,
    /// Number of the last look that has come to an end, and of the first one that is waited for.
    looked: AtomicU64,
    awaited: AtomicU64,
    lsn: AtomicU64,
    lag_bytes: AtomicU64,
    lag_ms: AtomicU64,
    version: AtomicU64,
    read_only: AtomicBool,
    /// Position of the primary when this replica was last looked at, and when that was.
    mark: Mutex<Option<(Lsn, Instant)>>,
    in_use: InUse,
    /// Positions that looks have found while it was the primary.
    pub(super) samples: Samples,
    facts: ArcSwap<Facts>,
    outage: Mutex<Option<Outage>>,
    /// It was a replica when it was last seen.
    replica: AtomicBool,
    /// What had been written when a look began that found it a replica.
    before: Mutex<Option<Activity>>,
    /// It still claims to be the primary, and another one is.
    superseded: AtomicBool,
    /// It has been the primary in this life of the process.
    chosen: AtomicBool,
    error: Mutex<String>,
    instance: Mutex<Option<Instance>>,
    /// It refuses the monitor, and will until its configuration or ours changes.
    refused: AtomicBool,
    /// Up to this timeline it is not the primary, whatever it says.
    retired: AtomicU32,
    own: ArcSwap<OwnProcesses>,
}

/// Counts a transaction among those that run on a server, for as long as it lives.
#[derive(Clone, Debug, Default)]
pub struct InUse(Arc<()>);

impl Upstream {
    /// An upstream before the first look.
    pub fn new(address: Address) -> Self {
        Self {
            address,
            watch: Arc::default(),
            role: AtomicU8::new(0),
            returned: AtomicBool::new(false),
            timeline: AtomicU32::new(0),
            looks: AtomicU64::new(0),
            looked: AtomicU64::new(0),
            awaited: AtomicU64::new(0),
            lsn: AtomicU64::new(0),
            lag_bytes: AtomicU64::new(0),
            lag_ms: AtomicU64::new(0),
            version: AtomicU64::new(0),
            read_only: AtomicBool::new(false),
            mark: Mutex::default(),
            in_use: InUse::default(),
            samples: Samples::default(),
            facts: ArcSwap::default(),
            outage: Mutex::default(),
            replica: AtomicBool::new(false),
            before: Mutex::default(),
            superseded: AtomicBool::new(false),
            chosen: AtomicBool::new(false),
            error: Mutex::default(),
            instance: Mutex::default(),
            refused: AtomicBool::new(false),
            retired: AtomicU32::new(0),
            own: ArcSwap::default(),
        }
    }

    /// Its processes that serve connections of ours.
    pub fn own_processes(&self) -> Arc<OwnProcesses> {
        self.own.load_full()
    }

    /// Its role.
    pub fn role(&self) -> Role {
        Role::from_u8(self.role.load(SeqCst))
    }

    /// Its write or replay position.
    pub fn lsn(&self) -> Lsn {
        Lsn(self.lsn.load(SeqCst))
    }

    /// Timeline of a primary when it was last seen, 0 when not known.
    pub fn timeline(&self) -> u32 {
        self.timeline.load(SeqCst)
    }

    /// Bytes of WAL that a replica has not replayed.
    pub fn lag_bytes(&self) -> u64 {
        self.lag_bytes.load(SeqCst)
    }

    /// Time a replica is behind; 0 when it has replayed everything.
    pub fn lag(&self) -> Duration {
        Duration::from_millis(self.lag_ms.load(SeqCst))
    }

    /// `server_version_num`, 0 when not known.
    pub fn version(&self) -> u64 {
        self.version.load(SeqCst)
    }

    /// Its own `default_transaction_read_only`.
    pub fn is_read_only(&self) -> bool {
        self.read_only.load(SeqCst)
    }

    /// What else it has said of itself.
    pub fn facts(&self) -> Arc<Facts> {
        self.facts.load_full()
    }

    /// Notes that.
    pub(super) fn put_facts(&self, facts: Facts) {
        self.facts.store(Arc::new(facts));
    }

    /// Who is read-only there by its own setting.
    pub fn own_settings(&self) -> OwnSettings {
        self.facts.load().own.clone()
    }

    /// Whether none of these databases may be written there, by what its administrators have set.
    fn is_read_only_for(&self, databases: &[String]) -> bool {
        let facts = self.facts.load();
        if databases.is_empty() { facts.own.server } else { databases.iter().all(|one| facts.own.read_only(one, None)) }
    }

    /// A look has found it a replica; that had been written when it began.
    pub(super) fn note_replica(&self, before: Activity) {
        *self.before.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
    }

    /// What had been written when the last look began that found it a replica.
    pub(super) fn before_promotion(&self) -> Option<Activity> {
        *self.before.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it claims to be the primary and is known not to be.
    pub(super) fn note_superseded(&self, superseded: bool) {
        self.superseded.store(superseded, SeqCst);
    }

    /// Since when it cannot be asked, if that is so.
    pub fn outage(&self) -> Option<Outage> {
        *self.outage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A look has failed; `before` it the server was that.
    pub(super) fn put_outage(&self, kind: Silence, before: Role) {
        if before != Role::Down {
            self.replica.store(before == Role::Replica, SeqCst);
        }
        let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        *outage = Some(match *outage {
            Some(known) => Outage { looks: known.looks.saturating_add(1), kind, ..known },
            None => Outage::begin(kind),
        });
    }

    /// It has answered.
    pub(super) fn end_outage(&self) {
        *self.outage.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether it was a replica before it was lost.
    pub(super) fn was_replica(&self) -> bool {
        self.replica.load(SeqCst)
    }

    /// The cluster's system identifier, which replicas share with their primary.
    pub fn system_identifier(&self) -> Option<String> {
        // A question mark: it is not said to everybody.
        let words = self.instance()?.words;
        words.split(' ').next().filter(|word| *word != "?").map(str::to_owned)
    }

    /// Which server it was when it was last seen, if it says so.
    pub fn instance(&self) -> Option<Instance> {
        self.instance.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes which server it is; true if that is news.
    pub fn put_instance(&self, instance: Option<Instance>) -> bool {
        let mut known = self.instance.lock().unwrap_or_else(PoisonError::into_inner);
        let news = *known != instance;
        *known = instance;
        news
    }

    /// Why it cannot be reached, or the monitor cannot log in.
    pub fn error(&self) -> String {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks the monitor to look now.
    pub fn look_now(&self) {
        self.watch.look_now();
    }

    /// A transaction begins to run there.
    #[inline]
    pub fn lend(&self) -> InUse {
        self.in_use.clone()
    }

    /// Transactions that run there now, where there is a choice between replicas.
    pub fn busy(&self) -> usize {
        Arc::strong_count(&self.in_use.0).saturating_sub(1)
    }

    /// The number of a look that begins now.
    pub fn begin_look(&self) -> u64 {
        self.looks.fetch_add(1, SeqCst) + 1
    }

    /// Looks are numbered from there on.
    pub(super) fn begin_looks_behind(&self, number: u64) {
        self.looks.store(number, SeqCst);
        self.looked.store(number, SeqCst);
    }

    /// Takes over what is known of the same server by another configuration. That it has refused the monitor is forgotten: that one
    /// may be let in.
    pub(super) fn inherit(&self, known: &Self) {
        self.own.store(known.own_processes());
        let outage = known.outage();
        if known.role() == Role::Unknown || outage.is_some_and(|outage| outage.kind == Silence::Refuses) {
            return;
        }
        let copy = |mine: &AtomicU64, of: &AtomicU64| mine.store(of.load(SeqCst), SeqCst);
        copy(&self.lsn, &known.lsn);
        copy(&self.lag_bytes, &known.lag_bytes);
        copy(&self.lag_ms, &known.lag_ms);
        copy(&self.version, &known.version);
        let copy = |mine: &AtomicBool, of: &AtomicBool| mine.store(of.load(SeqCst), SeqCst);
        copy(&self.read_only, &known.read_only);
        copy(&self.replica, &known.replica);
        self.timeline.store(known.timeline(), SeqCst);
        self.facts.store(known.facts());
        self.put_instance(known.instance());
        self.put_error(&known.error());
        *self.outage.lock().unwrap_or_else(PoisonError::into_inner) = outage;
        *self.before.lock().unwrap_or_else(PoisonError::into_inner) = known.before_promotion();
        self.put_role(known.role());
        copy(&self.superseded, &known.superseded);
        copy(&self.returned, &known.returned);
    }

    /// The look of that number has come to an end, whatever it has found.
    pub fn end_look(&self, number: u64) {
        self.looked.fetch_max(number, SeqCst);
    }

    /// From now on a look is waited for that has not begun yet.
    pub(super) fn await_look(&self) {
        self.awaited.store(self.looks() + 1, SeqCst);
        self.look_now();
    }

    /// Whether such a look is still waited for.
    pub(super) fn is_awaited(&self) -> bool {
        self.looked.load(SeqCst) < self.awaited.load(SeqCst)
    }

    /// Looks that have begun.
    pub(super) fn looks(&self) -> u64 {
        self.looks.load(SeqCst)
    }

    /// What it says if it says that it is the primary.
    pub(super) fn claim(&self, at: usize, served: &[String]) -> Option<Claim> {
        (self.role() == Role::Primary).then(|| Claim {
            at,
            timeline: self.timeline.load(SeqCst),
            doubt: match (self.superseded.load(SeqCst) || self.is_retired(), self.has_returned()) {
                (true, _) => Objection::Superseded,
                (false, true) => Objection::Returned,
                (false, false) => Objection::None,
            },
            read_only: self.is_read_only_for(served),
        })
    }

    /// Another server was made the primary in its place: up to that timeline its claim does not count any more.
    pub(super) fn retire(&self, timeline: u32) {
        self.retired.fetch_max(timeline, SeqCst);
    }

    /// An operator says that it is the primary.
    pub(super) fn forget_retirement(&self) {
        self.retired.store(0, SeqCst);
    }

    /// Whether its claim does not count because of that.
    pub fn is_retired(&self) -> bool {
        let timeline = self.timeline.load(SeqCst);
        timeline != 0 && timeline <= self.retired.load(SeqCst)
    }

    /// Notes why there is no answer; gives what was noted before.
    pub(super) fn put_refused(&self, refused: bool) {
        self.refused.store(refused, SeqCst);
    }

    /// Whether it does not let the monitor in, for good.
    pub fn is_refused(&self) -> bool {
        self.refused.load(SeqCst)
    }

    pub(super) fn put_error(&self, why: &str) -> String {
        std::mem::replace(&mut *self.error.lock().unwrap_or_else(PoisonError::into_inner), why.to_owned())
    }

    /// Whether it was away before it became the primary that it claims to be, and has not been chosen since.
    pub(super) fn has_returned(&self) -> bool {
        self.returned.load(SeqCst)
    }

    /// It has been chosen as the primary: whether it was away before does not count any more.
    pub(super) fn settle(&self) {
        self.returned.store(false, SeqCst);
        self.chosen.store(true, SeqCst);
    }

    /// Whether it has been chosen before, in this life of the process.
    pub(super) fn was_chosen(&self) -> bool {
        self.chosen.load(SeqCst)
    }

    /// Notes a role; gives the one before.
    pub(super) fn put_role(&self, role: Role) -> Role {
        let before = Role::from_u8(self.role.swap(role as u8, SeqCst));
        self.watch.note_replica(role == Role::Replica);
        if before != role {
            self.superseded.store(false, SeqCst);
            if role == Role::Replica {
                // Whatever it claims from now on is another claim.
                self.forget_retirement();
            }
            self.returned.store(before == Role::Down && role == Role::Primary, SeqCst);
        }
        before
    }

    /// Notes all but the role. `ahead` is the primary's position, if one is known.
    pub(super) fn put(&self, look: &Look, ahead: Lsn) {
        self.lsn.store(look.lsn.0, SeqCst);
        self.version.store(look.version, SeqCst);
        self.read_only.store(look.read_only, SeqCst);
        self.timeline.store(look.timeline, SeqCst);
        let behind = if look.role == Role::Replica { ahead.0.saturating_sub(look.lsn.0) } else { 0 };
        self.lag_bytes.store(behind, SeqCst);
        let lag = self.lag_of(look, ahead, behind);
        self.lag_ms.store(u64::try_from(lag.as_millis()).unwrap_or(u64::MAX), SeqCst);
    }

    /// Notes how far a replica has come, between two looks.
    pub(super) fn put_replayed(&self, lsn: Lsn) {
        let before = self.lsn.fetch_max(lsn.0, SeqCst);
        let more = lsn.0.saturating_sub(before);
        let _ = self.lag_bytes.fetch_update(SeqCst, SeqCst, |behind| Some(behind.saturating_sub(more)));
    }

    /// How late a replica is. One of an idle primary is not late, however long ago the last transaction was.
    fn lag_of(&self, look: &Look, ahead: Lsn, behind: u64) -> Duration {
        let mut mark = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        let before = mark.replace((ahead, Instant::now()));
        match before {
            _ if behind == 0 => Duration::ZERO,
            Some((lsn, when)) if look.lsn >= lsn => look.lag.min(when.elapsed()),
            // What it had not reached then it may not have reached now: the mark stays, and grows old.
            Some(older) => {
                *mark = Some(older);
                look.lag
            }
            None => look.lag,
        }
    }
}
