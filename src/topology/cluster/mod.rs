//! The servers of a cluster, and which of them takes writes.

mod inherit;
mod replica_choice;
pub mod written;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;

pub use self::replica_choice::Avoid;
use super::election::{Claim, Leader, elect, elect_active};
use super::floor::Floor;
use super::outlook::Absence;
use super::roles::Roles;
use super::server::{Look, Role, Upstream};
use super::state::Silence;
use crate::events::{Bus, Event, Kind, publish};
use crate::gate::Lsn;
use crate::server::Address;
use crate::topology::cluster::written::LastWrite;

/// What a connection to a server, opened when that was the primary, may be used for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The server is the primary.
    Leads,
    /// It claims to be, and so does another one.
    Contested,
    /// It cannot be reached by the monitor, and no other server is known to be the primary.
    Lost,
    /// It is not the primary any more.
    Replaced,
    /// The configuration does not name it any more.
    Removed,
}

/// Servers with the same data.
pub struct Cluster {
    /// Its name in the configuration.
    pub name: String,
    /// Its servers.
    pub upstreams: Vec<Upstream>,
    /// Most bytes a replica may be behind for reads, 0 for any.
    pub max_lag_bytes: u64,
    /// Most time a replica may be behind for reads, 0 for any.
    pub max_lag: Duration,
    /// How long a loss lasts until it is a lasting one; None: it never is.
    pub lost_after: Option<Duration>,
    /// Catalogs of its databases are read one after the other: there may be hundreds, and each takes a log-in.
    pub catalog_turn: tokio::sync::Mutex<()>,
    /// Statements that wait for a catalog: those catalogs are read before others.
    pub catalogs_awaited: AtomicUsize,
    /// What else is asked of the primary is asked one question after the other, for the same reason.
    pub question_turn: tokio::sync::Mutex<()>,
    /// Roles that it may be watched through, if it has none of its own.
    pub roles: Roles,
    leader: AtomicUsize,
    /// The newest timeline of any server that was the only primary.
    pub(super) newest: AtomicU32,
    /// The data and the timeline of the last primary of an earlier life of the process.
    pub(super) remembered: OnceLock<(String, u32)>,
    floor: Floor,
    /// A read waits for a position of the primary.
    pub(super) sought: AtomicBool,
    /// The last write of each database that all its readers have to see.
    pub(super) last_writes: Mutex<HashMap<String, Arc<LastWrite>>>,
    /// The furthest position of a replica that may have served reads while the primary is lost.
    pub(super) served: AtomicU64,
    /// The furthest position that a primary was seen to have on disk.
    on_disk: AtomicU64,
    /// Since when there is no primary.
    absence: Mutex<Option<Absence>>,
    /// Which of several claims a person has found to be right.
    pub(super) decided: Mutex<Option<usize>>,
    /// The primary, and the server that is about to become it in its place.
    pub(super) handover: Mutex<Option<(usize, usize)>>,
    /// Several of its servers may take writes, each for itself.
    multi_primary: bool,
    /// Databases that administrators have made read-only by a setting close by themselves.
    pub follows_settings: bool,
    /// Its databases, as its servers name them.
    served_databases: ArcSwap<Vec<String>>,
    /// Held while a look is noted and the primary chosen.
    electing: Mutex<()>,
    looked: watch::Sender<u64>,
    turned: watch::Sender<u64>,
    retired: AtomicBool,
    pub(super) events: Bus,
}

/// `Leader` as a number.
const NO_LEADER: usize = usize::MAX;

fn encode(leader: Leader) -> usize {
    match leader {
        Leader::None => NO_LEADER,
        Leader::One(at) => at << 1,
        Leader::Contested(at) => at << 1 | 1,
    }
}

impl Cluster {
    /// A cluster whose servers' roles are not known yet.
    pub fn new(
        name: String,
        addresses: Vec<Address>,
        max_lag_bytes: u64,
        max_lag: Duration,
        lost_after: Option<Duration>,
    ) -> Self {
        Self {
            name,
            upstreams: addresses.into_iter().map(Upstream::new).collect(),
            max_lag_bytes,
            max_lag,
            lost_after,
            catalog_turn: tokio::sync::Mutex::default(),
            catalogs_awaited: AtomicUsize::new(0),
            question_turn: tokio::sync::Mutex::default(),
            roles: Roles::default(),
            leader: AtomicUsize::new(NO_LEADER),
            newest: AtomicU32::new(0),
            remembered: OnceLock::new(),
            floor: Floor::default(),
            sought: AtomicBool::new(false),
            last_writes: Mutex::default(),
            served: AtomicU64::new(0),
            on_disk: AtomicU64::new(0),
            absence: Mutex::new(Some(Absence::begin(false))),
            decided: Mutex::default(),
            handover: Mutex::default(),
            multi_primary: false,
            follows_settings: true,
            served_databases: ArcSwap::default(),
            electing: Mutex::default(),
            looked: watch::Sender::new(0),
            turned: watch::Sender::new(0),
            retired: AtomicBool::new(false),
            events: Bus::default(),
        }
    }

    /// The same, with what happens to its servers published there.
    pub fn publishing(self, events: Bus) -> Self {
        Self { events, ..self }
    }

    pub(super) fn event(&self, kind: Kind, upstream: Option<&Upstream>, text: impl Into<String>) -> Event {
        Event::new(kind, text).about_server(&self.name, upstream.map(|upstream| upstream.address.to_string()))
    }

    /// Several of its servers may take writes, each for itself: one of them is used at a time.
    pub fn with_several_primaries(mut self, several: bool) -> Self {
        self.multi_primary = several;
        self
    }

    /// Whether several of its servers may take writes, each for itself.
    pub fn has_several_primaries(&self) -> bool {
        self.multi_primary
    }

    /// Whether databases that administrators have made read-only by a setting close by themselves.
    pub fn following_settings(mut self, follows: bool) -> Self {
        self.follows_settings = follows;
        self
    }

    /// Its databases, as its servers name them.
    pub fn serves(&self, databases: Vec<String>) {
        if **self.served_databases.load() != databases {
            self.served_databases.store(Arc::new(databases));
        }
    }

    /// Chooses the primary anew, though no server was looked at.
    pub(super) fn elect_again(&self) -> bool {
        let turned = {
            let _one = self.electing.lock().unwrap_or_else(PoisonError::into_inner);
            self.choose(usize::MAX, Role::Unknown, Role::Unknown)
        };
        self.looked.send_modify(|n| *n += 1);
        turned
    }

    /// Which server takes writes.
    #[inline]
    pub fn leader(&self) -> Leader {
        match self.leader.load(SeqCst) {
            NO_LEADER => Leader::None,
            word if word & 1 == 0 => Leader::One(word >> 1),
            word => Leader::Contested(word >> 1),
        }
    }

    /// The server that takes writes. None while none is known, and while two claim to be it: writes go to neither then.
    #[inline]
    pub fn primary(&self) -> Option<usize> {
        match self.leader() {
            Leader::One(at) => Some(at),
            Leader::None | Leader::Contested(_) => None,
        }
    }

    /// Whether several servers claim to be the primary, and it is not known which one is right.
    pub fn is_contested(&self) -> bool {
        matches!(self.leader(), Leader::Contested(_))
    }

    /// Whether several servers claim to be the primary where only one should, be it known or not which one is right.
    pub fn has_rivals(&self) -> bool {
        // One whose place another has taken by a planned move is known not to be it.
        let counts = |claim: &&Claim| !self.upstreams.get(claim.at).is_some_and(Upstream::is_retired);
        !self.multi_primary && self.claims(self.leader()).iter().filter(counts).count() > 1
    }

    /// Whether a server claims to be the primary beside another one.
    pub fn is_disputed(&self, at: usize) -> bool {
        let claims = self.upstreams.get(at).is_some_and(|upstream| upstream.role() == Role::Primary);
        claims && self.leader() != Leader::One(at)
    }

    /// Whether a move has left a server, read-only, that still says it is the primary. One that takes writes is contested.
    pub fn is_retired_server(&self, at: usize) -> bool {
        self.is_disputed(at) && self.upstreams.get(at).is_some_and(|one| one.is_retired() && one.is_read_only())
    }

    /// A server's role, as a person and a monitoring system are told it.
    pub fn role_word(&self, at: usize) -> &'static str {
        match self.upstreams.get(at).map(Upstream::role) {
            Some(Role::Primary) if self.is_retired_server(at) => "retired",
            Some(Role::Primary) if self.is_disputed(at) => "contested",
            role => role.unwrap_or(Role::Unknown).word(),
        }
    }

    /// What a connection to a server that was the primary may be used for now; None for a server that the cluster does not have.
    pub fn standing(&self, at: Option<usize>) -> Standing {
        let Some((at, server)) = at.and_then(|at| Some((at, self.upstreams.get(at)?))) else {
            return Standing::Removed;
        };
        match (self.leader(), server.role()) {
            (Leader::One(leader), _) if leader == at => Standing::Leads,
            (Leader::Contested(_), Role::Primary) => Standing::Contested,
            (Leader::None, Role::Unknown | Role::Down) => Standing::Lost,
            (Leader::None, Role::Primary) if self.awaits_others(at) => Standing::Lost,
            (Leader::None | Leader::One(_) | Leader::Contested(_), _) => Standing::Replaced,
        }
    }

    /// Whether a back end that was opened on that server may still commit something that counts; None: no server of the cluster
    /// has that address. What works on a replica cannot write, and what an old primary commits after another server was promoted
    /// in its place is lost.
    pub fn may_still_commit(&self, address: &str) -> Option<bool> {
        let is_it = |(_, upstream): &(usize, &Upstream)| upstream.address.to_string() == address;
        let (at, upstream) = self.upstreams.iter().enumerate().find(is_it)?;
        let (role, timeline) = (upstream.role(), upstream.timeline());
        Some(match self.primary() {
            Some(primary) if primary == at => true,
            _ if role == Role::Replica => false,
            // Two addresses may lead to one server.
            Some(primary) => {
                let newer = self.upstreams.get(primary).map_or(0, Upstream::timeline);
                role == Role::Unknown || timeline != 0 && timeline == newer
            }
            None => role == Role::Primary || timeline == 0 || timeline >= self.newest.load(SeqCst),
        })
    }

    /// Whether a server of each is one and the same, and takes writes for one of them.
    pub fn shares_primary(&self, other: &Cluster) -> bool {
        let mine: Vec<_> = self.upstreams.iter().filter_map(Upstream::instance).collect();
        let others = other.upstreams.iter().filter_map(Upstream::instance);
        others.into_iter().any(|one| mine.iter().any(|own| own.words == one.words && (own.primary || one.primary)))
    }

    /// An operator may have committed something while the gate is closed: no replica serves reads of the maintenance before
    /// it has replayed that.
    pub fn raise_floor(&self) {
        if let Some(primary) = self.primary().and_then(|at| self.upstreams.get(at)) {
            self.floor.await_look(primary.looks() + 1);
            primary.look_now();
        }
    }

    /// A client has brought a role that the cluster may be watched through: whoever waits for it waits for what that finds.
    pub fn offer_role(&self, role: super::roles::Role) {
        if self.roles.offer(role) {
            self.upstreams.iter().for_each(|upstream| {
                upstream.put_refused(false);
                upstream.look_now();
            });
        }
    }

    /// Since when there is no primary; None while there is one, or several that claim to be it.
    pub(super) fn absence(&self) -> Option<Absence> {
        *self.absence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells when anything was seen to change, positions too.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.looked.subscribe()
    }

    /// Ends when anything is seen to change, or after that time.
    pub fn news(&self, at_latest: Duration) -> impl Future<Output = ()> + use<> {
        let mut changes = self.changes();
        async move { _ = tokio::time::timeout(at_latest, changes.changed()).await }
    }

    /// Tells when a server has become something else, or another configuration has taken the cluster's place.
    pub fn turns(&self) -> watch::Receiver<u64> {
        self.turned.subscribe()
    }

    /// Another configuration has taken its place: nobody waits for its servers any more.
    pub fn retire(&self) {
        self.retired.store(true, SeqCst);
        self.upstreams.iter().for_each(|upstream| upstream.watch.retire());
        self.turned.send_modify(|n| *n += 1);
        self.looked.send_modify(|n| *n += 1);
    }

    /// Whether it has been retired.
    pub fn is_retired(&self) -> bool {
        self.retired.load(SeqCst)
    }

    /// Notes what was seen of an upstream. True if its role, or the choice of a primary, is another one now.
    pub fn seen(&self, at: usize, look: &Look) -> bool {
        let Some(upstream) = self.upstreams.get(at) else { return false };
        let turned = {
            let _one = self.electing.lock().unwrap_or_else(PoisonError::into_inner);
            let ahead = self.primary().and_then(|at| self.upstreams.get(at)).map_or(Lsn(0), Upstream::lsn);
            upstream.put(look, ahead);
            let before = upstream.put_role(look.role);
            if before != look.role {
                let event = self.event(Kind::ServerRole, Some(upstream), "role");
                publish!(self.events, info, event, from = before.word(), to = look.role.word());
            }
            upstream.put_error("");
            upstream.put_refused(false);
            upstream.end_outage();
            if before == Role::Down && look.role == Role::Primary {
                // While it was away another one may have been promoted, which nobody has seen yet.
                self.replicas_but(at).for_each(Upstream::await_look);
            }
            if look.role == Role::Primary {
                if self.primary() == Some(at) {
                    self.note_on_disk(look.lsn);
                }
                self.sampled(at, look.number, look.inserted);
                self.floor_looked(at, look.number, look.inserted);
            }
            self.choose(at, before, look.role)
        };
        self.looked.send_modify(|n| *n += 1);
        turned
    }

    /// A look at a primary has found its position: replicas are looked at if somebody waits for them to be there.
    pub(super) fn floor_looked(&self, at: usize, number: u64, lsn: Lsn) {
        if self.primary() == Some(at) && self.floor.looked(number, lsn) {
            self.upstreams.iter().filter(|one| one.role() == Role::Replica).for_each(Upstream::look_now);
        }
    }

    pub(super) fn tell_looked(&self) {
        self.looked.send_modify(|n| *n += 1);
    }

    /// Notes that an upstream cannot be reached. It is out of use until the monitor has seen it again. True if that is news.
    pub fn lost(&self, at: usize, why: &str, kind: Silence) -> bool {
        let Some(upstream) = self.upstreams.get(at) else { return false };
        let turned = {
            let _one = self.electing.lock().unwrap_or_else(PoisonError::into_inner);
            let before = upstream.put_role(Role::Down);
            upstream.put_error(why);
            upstream.put_refused(false);
            upstream.put_outage(kind, before);
            if before != Role::Down {
                publish!(self.events, warn, self.event(Kind::ServerLost, Some(upstream), "upstream lost"), error = why);
                // Another one may be about to take its place.
                self.upstreams.iter().for_each(Upstream::look_now);
            }
            if self.primary() == Some(at) {
                self.floor.give_up();
            }
            self.choose(at, before, Role::Down)
        };
        self.looked.send_modify(|n| *n += 1);
        turned
    }

    /// Notes that a server answers, but does not let the monitor in. What was known of it stands: others may well be let in.
    pub fn refused(&self, at: usize, why: &str, lasting: bool) -> bool {
        let Some(upstream) = self.upstreams.get(at) else { return false };
        if !matches!(upstream.role(), Role::Primary | Role::Replica) {
            let turned = self.lost(at, why, Silence::Refuses);
            upstream.put_refused(lasting);
            self.looked.send_modify(|n| *n += 1);
            return turned;
        }
        let turned = {
            let _one = self.electing.lock().unwrap_or_else(PoisonError::into_inner);
            self.choose(at, upstream.role(), upstream.role())
        };
        if upstream.put_error(why) != why {
            let text = "the monitor is not let in; the server keeps its role";
            publish!(self.events, warn, self.event(Kind::MonitorRefused, Some(upstream), text), error = why);
        }
        turned
    }

    /// Whether a server was away, and others are to be asked before it is chosen.
    fn awaits_others(&self, at: usize) -> bool {
        self.upstreams.get(at).is_some_and(Upstream::has_returned) && self.replicas_but(at).any(Upstream::is_awaited)
    }

    fn replicas_but(&self, at: usize) -> impl Iterator<Item = &Upstream> {
        let others = self.upstreams.iter().enumerate().filter(move |(other, _)| *other != at);
        others.map(|(_, upstream)| upstream).filter(|upstream| upstream.role() == Role::Replica)
    }

    /// Why nothing is known of any server, if that is because none of them lets the monitor in.
    pub fn monitor_refusal(&self) -> Option<String> {
        let known = self.upstreams.iter().any(|one| matches!(one.role(), Role::Primary | Role::Replica));
        let refused = self.upstreams.iter().find(|one| one.is_refused()).filter(|_| !known)?;
        Some(format!("{}: {}", refused.address, refused.error()))
    }

    /// Chooses the primary anew. What changes is noted first, so that no connection of before is lent afterwards.
    fn choose(&self, at: usize, was: Role, is: Role) -> bool {
        let before = self.leader();
        let claims = self.claims(before);
        // One that comes back has to wait until the others have been asked since.
        let awaits = |claim: &Claim| before == Leader::None && self.awaits_others(claim.at);
        let counted: Vec<Claim> = claims.iter().copied().filter(|claim| !awaits(claim)).collect();
        let after = self.decide_between(before, &claims, &counted);
        if before == after && was == is {
            return false;
        }
        let concerned = |other: usize| other == at && was != is || claims.iter().any(|claim| claim.at == other);
        for (_, upstream) in self.upstreams.iter().enumerate().filter(|(other, _)| concerned(*other)) {
            upstream.watch.turn();
        }
        self.leader.store(encode(after), SeqCst);
        if (before == Leader::None) != (after == Leader::None) {
            let begun = (after == Leader::None).then(|| Absence::begin(true));
            *self.absence.lock().unwrap_or_else(PoisonError::into_inner) = begun;
        }
        if let Leader::One(leader) = after
            && let Some(claim) = claims.iter().find(|claim| claim.at == leader)
        {
            self.newest.fetch_max(claim.timeline, SeqCst);
            self.upstreams.iter().enumerate().filter(|(at, _)| *at == leader).for_each(|(_, one)| one.settle());
        }
        self.log_choice(before, after, at, &claims);
        self.turned.send_modify(|n| *n += 1);
        true
    }

    /// What servers claim. Two addresses may lead to one of them: its claim counts once, by the address that it is known by.
    fn claims(&self, before: Leader) -> Vec<Claim> {
        let served = self.served_databases.load();
        let all = self.upstreams.iter().enumerate().filter_map(|(at, upstream)| upstream.claim(at, &served));
        let all = self.without_outlived_objections(self.with_objections_of_before(all.collect()));
        let all = self.without_its_predecessor(all);
        let claims = || all.iter().copied();
        let known = match before {
            Leader::One(at) | Leader::Contested(at) => Some(at),
            Leader::None => None,
        };
        let instance = |at: usize| self.upstreams.get(at).and_then(Upstream::instance);
        let is_same = |one: usize, other: usize| {
            instance(one).zip(instance(other)).is_some_and(|(one, other)| one.words == other.words)
        };
        // Not before itself: else the leader's own claim would go at the next look.
        let first =
            |one: usize, other: usize| one != other && (Some(one) == known || Some(other) != known && one < other);
        claims()
            .filter(|claim| !claims().any(|other| first(other.at, claim.at) && is_same(other.at, claim.at)))
            .collect()
    }

    fn decide_between(&self, before: Leader, claims: &[Claim], counted: &[Claim]) -> Leader {
        let mut decided = self.decided.lock().unwrap_or_else(PoisonError::into_inner);
        let stands = |at: usize| claims.len() > 1 && claims.iter().any(|claim| claim.at == at);
        *decided = decided.filter(|at| stands(*at));
        match *decided {
            Some(at) => Leader::One(at),
            None if self.multi_primary => {
                self.held_primary(counted).map_or_else(|| elect_active(before, counted), Leader::One)
            }
            None => elect(before, self.newest.load(SeqCst), counted),
        }
    }

    fn log_choice(&self, before: Leader, after: Leader, at: usize, claims: &[Claim]) {
        let names = || {
            let names = claims.iter().filter_map(|claim| self.upstreams.get(claim.at));
            names.map(|upstream| upstream.address.to_string()).collect::<Vec<_>>().join(", ")
        };
        match (before, after) {
            (Leader::Contested(_), Leader::Contested(_)) => {}
            (_, Leader::Contested(_)) => {
                let text = "several servers claim to be the primary: nothing is written to any of them until all but one are stopped";
                publish!(self.events, error, self.event(Kind::PrimaryContested, None, text), servers = names());
            }
            (Leader::Contested(_), _) => {
                let event = self.event(Kind::PrimaryNoLongerContested, None, "the primary is contested no more");
                publish!(self.events, warn, event, servers = names());
            }
            _ => {}
        }
        let newest = self.newest.load(SeqCst);
        let outdated = claims.iter().find(|claim| claim.at == at && claim.is_outdated(newest));
        if let (Some(claim), Some(upstream)) = (outdated, self.upstreams.get(at)) {
            let text = "an old primary has come back, but another server was promoted in its place: it is not used";
            let event = self.event(Kind::OldPrimaryBack, Some(upstream), text);
            publish!(self.events, error, event, timeline = claim.timeline, newest = newest);
        }
    }
}

#[cfg(test)]
pub(in crate::topology) mod tests;
