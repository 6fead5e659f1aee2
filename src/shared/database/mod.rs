//! Databases as clients name them: the gate, the cluster and the pools of each.

mod setup;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use dashmap::DashMap;
use tokio::sync::Notify;

use self::setup::first_settings;
pub use self::setup::{DatabaseSetup, Opening, limit_of};
use super::maintenance::catalog_changes::ChangeUnderWay;
use super::maintenance::catalog_state::{Catalog, CatalogState, Waiting};
use super::maintenance::same_server::SameServers;
use super::maintenance::{heartbeat::Heartbeat, kept_out::KeptOut, rehearsal::Rehearsal};
use super::{ProxyState, recent_callers::Askers, sockets::server_tcp_options, stats::DatabaseStats};
use crate::auth::Credential;
use crate::config;
use crate::gate::{CurrentGate, Gate, NamedDatabase, ServerDatabase};
use crate::protocol::error_fields::Place;
use crate::server::pool::{Check, InLine, LoginBar, PoolSettings, SharedLimit, Welcome};
use crate::server::{Pool, login::Login};
use crate::tls::ServerTls;
use crate::topology::Cluster;

/// Clusters by name, with TLS towards their servers.
pub type Clusters = BTreeMap<String, (Arc<Cluster>, Arc<ServerTls>)>;

/// A user and the number of an upstream.
type PoolKey = (Arc<str>, usize);

/// Parameters of a start-up packet.
type Parameters = Vec<(String, String)>;

/// Settings of a start-up packet as a server has read them: names in lower case, values as `set_config()` takes them.
pub type Resolved = Vec<(Box<str>, Box<str>)>;

type ResolvedOfUser = HashMap<Parameters, Arc<Resolved>>;

/// A connection that may live for less is used once.
const SHORTEST_LIFETIME: Duration = Duration::from_secs(1);

/// Start-up packets with settings of their own that are remembered.
const MOST_RESOLVED: usize = 1000;

/// A database.
pub struct Database {
    /// As clients name it.
    pub name: Arc<str>,
    /// Its gate, which it shares with every other name of the same database.
    pub gate: CurrentGate,
    /// Its counters.
    pub stats: Arc<DatabaseStats>,
    /// What a rehearsal of a maintenance has counted.
    pub rehearsal: Rehearsal,
    /// What its gate has kept out.
    pub kept_out: KeptOut,
    /// Its server connections, over all users.
    pub limit: Arc<SharedLimit>,
    /// What its heartbeat has found.
    pub heartbeat: Heartbeat,
    /// What its own functions lead to.
    pub catalog: Catalog,
    /// Whether its login event triggers keep pools from logging in.
    pub log_ins: Arc<LoginBar>,
    /// Who asks for `currval()`.
    pub sequence_askers: Askers,
    /// Who asks which server process it has.
    pub process_askers: Askers,
    setup: ArcSwap<DatabaseSetup>,
    pub(super) clients: AtomicI32,
    generation: AtomicU64,
    pub(super) paused: AtomicBool,
    pub(super) disabled: AtomicBool,
    pub(super) resumed: Notify,
    pools: Mutex<BTreeMap<PoolKey, Arc<Pool>>>,
    resolved: DashMap<Arc<str>, ResolvedOfUser>,
    refusal_place: ArcSwapOption<Place>,
    proxy: Weak<ProxyState>,
}

impl Database {
    /// What a reload may change.
    pub fn setup(&self) -> Arc<DatabaseSetup> {
        self.setup.load_full()
    }

    /// The same for a look: it must not be kept over an await.
    #[inline]
    pub fn peek_setup(&self) -> arc_swap::Guard<Arc<DatabaseSetup>> {
        self.setup.load()
    }

    /// A client comes (1) or goes (-1).
    pub(super) fn count_client(&self, by: i32) {
        self.clients.fetch_add(by, SeqCst);
    }

    /// Its clients.
    pub fn clients(&self) -> u32 {
        u32::try_from(self.clients.load(SeqCst)).unwrap_or(0)
    }

    /// Grows with each change of the setup: what was taken from an older one is out of date.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation.load(SeqCst)
    }

    /// Puts another setup in the place of this one; the pools of the old one are retired.
    pub fn change(&self, setup: DatabaseSetup) {
        self.limit.set(limit_of(setup.settings.max_db_connections));
        if !Arc::ptr_eq(&self.gate, &setup.gate) {
            self.gate.change(setup.gate.clone());
        }
        self.setup.store(Arc::new(setup));
        self.generation.fetch_add(1, SeqCst);
        let old = std::mem::take(&mut *self.pools.lock().unwrap_or_else(PoisonError::into_inner));
        self.resolved.clear();
        self.refusal_place.store(None);
        self.catalog.changes.outdate();
        self.catalog.learn(Arc::new(CatalogState::Pending));
        old.into_values().for_each(|pool| pool.retire());
    }

    /// Waits until the catalog has been asked, but not for ever. It is asked before those that nobody waits for.
    #[inline]
    pub async fn await_catalog(&self, patience: Duration) {
        if self.catalog.is_pending() {
            // Boxed: sessions, which hardly ever wait for this, have no room for it.
            Box::pin(self.catalog_first(patience)).await;
        }
    }

    async fn catalog_first(&self, patience: Duration) {
        let Some(proxy) = self.proxy.upgrade() else { return };
        let (cluster, names) = (self.setup().cluster.clone(), proxy.databases.of_gate(&self.gate));
        let _one = Waiting::new(&cluster.catalogs_awaited);
        let _waits: Vec<_> = names.iter().map(|name| name.catalog.wait_for()).collect();
        names.iter().for_each(|name| name.catalog.alter());
        drop(proxy);
        self.catalog.answered_unless_open(patience, &self.gate).await;
    }

    /// Waits until there has been a first reading of the catalog for its sessions, but not for ever. It comes before those that
    /// nobody waits for.
    pub async fn await_first_reading(&self, patience: Duration) {
        if !self.catalog.has_been_tried() {
            let cluster = self.setup().cluster.clone();
            let _one = Waiting::new(&cluster.catalogs_awaited);
            let _waits = self.catalog.wait_for();
            self.catalog.first_reading(patience).await;
        }
    }

    /// The pool of a user on an upstream of the cluster; made at its first use, with that client's credential.
    pub fn pool(&self, user: &Arc<str>, upstream: usize, credential: &Credential) -> Option<Arc<Pool>> {
        let proxy = self.proxy.upgrade()?;
        let setup = self.setup();
        let user = &setup.pool_user(user);
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = pools.get(&(user.clone(), upstream)) {
            return Some(pool.clone());
        }
        let pool = self.make_pool(&proxy, &setup, user, upstream, credential)?;
        if setup.cluster.primary() == Some(upstream) {
            pool.guarantee(setup.settings.min_pool_size as usize);
        }
        pools.insert((user.clone(), upstream), pool.clone());
        Some(pool)
    }

    /// A pool of one operator's session, on a cluster that the database's clients need not be led to.
    pub fn side_pool(&self, setup: &DatabaseSetup, user: &Arc<str>, at: usize, with: &Credential) -> Option<Arc<Pool>> {
        let proxy = self.proxy.upgrade()?;
        self.make_pool(&proxy, setup, user, at, with)
    }

    fn make_pool(
        &self,
        proxy: &ProxyState,
        setup: &DatabaseSetup,
        user: &Arc<str>,
        upstream: usize,
        credential: &Credential,
    ) -> Option<Arc<Pool>> {
        let global = proxy.setup.load();
        let session = global.config.session(&setup.settings, user);
        let server = setup.cluster.upstreams.get(upstream)?;
        let (address, watch) = (server.address.clone(), server.watch.clone());
        let (server_user, credential): (Arc<str>, _) = match setup.settings.server_login() {
            config::ServerLogin::Client => (user.clone(), credential.clone()),
            config::ServerLogin::Forced { user, password: Some(password) } => {
                (user.into(), Credential::password(password.expose()))
            }
            config::ServerLogin::Forced { user, password: None } => {
                let known = global.userlist.get(user).map_or(Credential::None, |secret| secret.credential());
                (user.into(), known)
            }
        };
        let settings = PoolSettings {
            login: Login {
                address,
                tcp: server_tcp_options(&global.config.listen),
                tls: setup.tls.clone(),
                user: server_user,
                credential: credential.into(),
                dbname: setup.settings.server_dbname(&self.name).to_owned(),
                parameters: first_settings(&setup.settings),
                timeout: setup.opening.timeout,
                own: server.own_processes(),
            },
            connect_query: setup.settings.connect_query.clone(),
            size: session.pool_size as usize,
            reserve: session.reserve_pool_size as usize,
            reserve_after: setup.opening.reserve_after.unwrap_or(Duration::MAX / 4),
            check: Check {
                query: setup.opening.check_query.clone(),
                after: setup.opening.check_after,
                patience: setup.opening.timeout,
            },
            login_retry: setup.opening.login_retry,
            watch,
            ledger: proxy.ledger.clone(),
            keeps: setup.settings.on_loss == config::OnLoss::Keep,
            bar: self.log_ins.clone(),
            socket_ids: proxy.client_ids.clone(),
            once: setup.settings.server_lifetime.get().is_some_and(|lifetime| lifetime < SHORTEST_LIFETIME),
        };
        let user_limit = proxy.databases.user_limit(user, limit_of(global.config.max_user_connections(user)));
        let outer = vec![self.limit.clone(), user_limit, proxy.total.clone()];
        Some(Pool::new(
            self.name.clone(),
            user.clone(),
            upstream,
            settings,
            proxy.cores(),
            outer,
            proxy.databases.ids.clone(),
            proxy.seed.clone(),
        ))
    }

    /// Shows a user's pools to `see`.
    pub(super) fn each_pool_of(&self, user: &Arc<str>, see: impl Fn(&Pool)) {
        let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let own = pools.range((user.clone(), 0)..).take_while(|((whose, _), _)| whose == user);
        own.for_each(|(_, pool)| see(pool));
    }

    /// Forgets pools that nobody has, of a database without clients; `which` names them.
    pub fn forget_pools(&self, which: impl Fn(&Arc<Pool>) -> bool) {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|_, pool| self.clients() > 0 || Arc::strong_count(pool) > 1 || !which(pool));
    }

    /// Its pools now.
    pub fn pools(&self) -> Vec<Arc<Pool>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// What a server told that user at its last log-in, the primary before others. A stale one serves while there is no other.
    pub fn welcome(&self, user: &Arc<str>) -> Option<Arc<Welcome>> {
        let setup = self.peek_setup();
        let user = &setup.pool_user(user);
        let primary = setup.cluster.primary();
        let waits = primary.is_none() || self.is_paused();
        let welcome = |pool: &Arc<Pool>| if waits { pool.welcome() } else { pool.fresh_welcome() };
        let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let first = primary.and_then(|at| welcome(pools.get(&(user.clone(), at))?));
        first.or_else(|| {
            let own = pools.range((user.clone(), 0)..).take_while(|((whose, _), _)| whose == user);
            own.filter_map(|(_, pool)| welcome(pool)).next()
        })
    }

    /// Where in its source the server refuses writes, once it has done so.
    pub fn refusal_place(&self) -> Option<Arc<Place>> {
        self.refusal_place.load_full()
    }

    /// Notes where the server refuses writes.
    pub fn remember_refusal_place(&self, place: Place) {
        self.refusal_place.store(Some(Arc::new(place)));
    }

    /// What a server made of these parameters of that user's start-up packet before.
    pub fn resolved(&self, user: &str, wanted: &[(String, String)]) -> Option<Arc<Resolved>> {
        self.resolved.get(user)?.get(wanted).cloned()
    }

    /// Notes what a server made of them.
    pub fn remember_resolved(&self, user: &Arc<str>, wanted: &[(String, String)], resolved: Resolved) -> Arc<Resolved> {
        let resolved = Arc::new(resolved);
        if self.resolved.iter().map(|of_user| of_user.len()).sum::<usize>() >= MOST_RESOLVED {
            self.resolved.clear();
        }
        self.resolved.entry(user.clone()).or_default().insert(wanted.to_vec(), resolved.clone());
        resolved
    }

    /// Closes idle connections to the primary that may write: nobody may take one while the gate is closed. Where no others could be
    /// opened they are kept, and guarded in place.
    pub fn close_idle_unguarded(&self) -> usize {
        self.pools()
            .iter()
            .filter(|pool| !pool.is_barred())
            .map(|pool| pool.close_idle("the gate closes", |conn| conn.tag() == crate::server::KindTag::Unguarded))
            .sum()
    }
}

/// What a name stands for by its settings.
pub fn named(name: &str, settings: &config::Database) -> NamedDatabase {
    let dbname = settings.server_dbname(name).to_owned();
    let database = ServerDatabase { cluster: settings.cluster.clone(), dbname };
    NamedDatabase { name: name.to_owned(), database, starts_offline: settings.start == config::Start::Offline }
}

/// What every configured name stands for; `*` is none.
pub fn all_named(config: &config::Config) -> Vec<NamedDatabase> {
    config.databases.iter().filter(|(name, _)| *name != "*").map(|(name, settings)| named(name, settings)).collect()
}

/// All databases, those of `*` from their first use on.
pub struct Databases {
    proxy: Weak<ProxyState>,
    known: ArcSwap<HashMap<Arc<str>, Arc<Database>>>,
    pub(super) changing: Mutex<()>,
    clusters: ArcSwap<Clusters>,
    /// Held while names are led to other gates for it.
    same: Mutex<SameServers>,
    users: DashMap<Arc<str>, Arc<SharedLimit>>,
    /// Pools that wait under a limit that several share.
    in_line: Arc<InLine>,
    /// PAUSE of all: databases that come into being later are born paused.
    pub(super) paused: AtomicBool,
    /// The pause is a SUSPEND.
    pub(super) suspended: AtomicBool,
    pub(in crate::shared) ids: Arc<AtomicU64>,
}

/// Databases that `*` may bring into being: names are the clients' to choose.
const MOST_BY_WILDCARD: usize = 1000;

impl Databases {
    pub(super) fn new(proxy: Weak<ProxyState>, in_line: Arc<InLine>) -> Self {
        Self {
            proxy,
            in_line,
            known: ArcSwap::default(),
            changing: Mutex::default(),
            clusters: ArcSwap::default(),
            same: Mutex::default(),
            users: DashMap::new(),
            paused: AtomicBool::new(false),
            suspended: AtomicBool::new(false),
            ids: Arc::new(AtomicU64::new(1)),
        }
    }

    /// The database that a client means.
    pub fn get(&self, name: &str) -> Option<Arc<Database>> {
        if let Some(known) = self.known.load().get(name) {
            return Some(known.clone());
        }
        let proxy = self.proxy.upgrade()?;
        let setup = proxy.setup.load();
        let settings = setup.config.database(name)?;
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.known.load_full();
        if let Some(known) = known.get(name) {
            return Some(known.clone());
        }
        if known.len() >= MOST_BY_WILDCARD + setup.config.databases.len() {
            return None;
        }
        let database = self.make(&proxy, name, settings)?;
        if !setup.config.databases.contains_key(name) {
            tracing::info!(event = "auto_database", database = %database.name, "a database of \"*\" is used for the first time");
        }
        let mut next = HashMap::clone(&known);
        next.insert(database.name.clone(), database.clone());
        self.known.store(Arc::new(next));
        Some(database)
    }

    /// The database of that name, if it is there already.
    pub fn known(&self, name: &str) -> Option<Arc<Database>> {
        self.known.load().get(name).cloned()
    }

    /// All names of the database behind that gate, in order.
    pub fn of_gate(&self, gate: &Arc<Gate>) -> Vec<Arc<Database>> {
        let known = self.known.load();
        gate.names()
            .iter()
            .filter_map(|name| known.get(name))
            .filter(|one| Arc::ptr_eq(&one.gate, gate))
            .cloned()
            .collect()
    }

    /// Every database known now, by name.
    pub fn all(&self) -> Vec<Arc<Database>> {
        self.those(|_| true)
    }

    /// Those of them, by name. Where there are hundreds, and most need nothing, it costs much less than all of them.
    pub fn those(&self, wanted: impl Fn(&Arc<Database>) -> bool) -> Vec<Arc<Database>> {
        let mut all: Vec<_> = self.known.load().values().filter(|one| wanted(one)).cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Something is about to run that may change that database's catalog.
    pub fn begin_catalog_change(&self, database: &Arc<Database>) -> ChangeUnderWay {
        let mut names = self.of_gate(&database.gate);
        if names.is_empty() {
            names.push(database.clone());
        }
        ChangeUnderWay::begin(names)
    }

    /// Closes the idle connections to a database of the cluster, whatever clients call it, those over which its catalog is asked, and
    /// those in use when they come back: PostgreSQL waits for some seconds for the last one to go.
    pub fn leave(&self, cluster: &Arc<Cluster>, dbname: &str) {
        for database in self.all() {
            let setup = database.setup();
            if Arc::ptr_eq(&setup.cluster, cluster) && setup.settings.server_dbname(&database.name) == dbname {
                database.pools().iter().for_each(|pool| pool.reconnect());
                database.catalog.leave();
            }
        }
    }

    /// The clusters, by name.
    pub fn clusters(&self) -> Vec<Arc<Cluster>> {
        self.clusters.load().values().map(|(cluster, _)| cluster.clone()).collect()
    }

    /// Looks which clusters lead to one server, and has names of one database there share a gate. Gives the gates that names have come to.
    pub fn find_same_servers(&self) -> Vec<Arc<Gate>> {
        let mut same = self.same.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(proxy) = self.proxy.upgrade() else { return Vec::new() };
        if !same.compare(&self.clusters()) {
            return Vec::new();
        }
        let leaders = same.leaders();
        let list: Vec<_> = leaders.iter().map(|(one, leader)| format!("{one} and {leader}")).collect();
        tracing::warn!(
            event = "same_server",
            clusters = list.join(", "),
            "clusters lead to the same server: names of one database there close together"
        );
        proxy.gates.set_same_servers(leaders);
        let told = proxy.gates.sync(&all_named(&proxy.setup.load().config));
        told.iter().for_each(|text| tracing::warn!(event = "names_changed", "{text}"));
        self.lead_anew(&proxy)
    }

    /// Nothing is known any more of where these clusters lead.
    pub fn forget_same_servers(&self, clusters: &[&str]) {
        let mut same = self.same.lock().unwrap_or_else(PoisonError::into_inner);
        same.forget(clusters);
        if let Some(proxy) = self.proxy.upgrade() {
            proxy.gates.set_same_servers(same.leaders());
        }
    }

    /// Gives each database the gate that its name leads to; gives those that are others than before.
    fn lead_anew(&self, proxy: &ProxyState) -> Vec<Arc<Gate>> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut gates = Vec::new();
        for database in self.all() {
            let DatabaseSetup { settings, cluster, tls, gate: old, opening, last_write } = &*database.setup();
            let gate = proxy.gates.get_or_create_of(&named(&database.name, settings)).unwrap_or_else(|_| old.clone());
            if !Arc::ptr_eq(&gate, old) {
                let (settings, cluster, tls) = (settings.clone(), cluster.clone(), tls.clone());
                gates.push(gate.clone());
                let (opening, last_write) = (opening.clone(), last_write.clone());
                database.change(DatabaseSetup { settings, cluster, tls, gate, opening, last_write });
            }
        }
        gates
    }

    /// A cluster, and TLS towards its servers.
    pub fn cluster(&self, name: &str) -> Option<(Arc<Cluster>, Arc<ServerTls>)> {
        self.clusters.load().get(name).cloned()
    }

    /// Takes over what a configuration says of clusters and databases. Pools of what has not changed are not touched.
    pub fn apply(&self, clusters: Clusters, names: &[String]) {
        let Some(proxy) = self.proxy.upgrade() else { return };
        self.clusters.store(Arc::new(clusters));
        let setup = proxy.setup.load_full();
        {
            let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
            let mut next = HashMap::new();
            for (name, database) in self.known.load().iter() {
                let Some(settings) = setup.config.database(name) else {
                    database.pools().iter().for_each(|pool| pool.retire());
                    continue;
                };
                let Some((cluster, tls)) = self.clusters.load().get(&settings.cluster).cloned() else { continue };
                let old = database.setup();
                let opening = Opening::of(&setup.config);
                let alike = old.settings == *settings && old.opening == opening;
                if !(Arc::ptr_eq(&old.cluster, &cluster) && alike) {
                    let gate = proxy.gates.get_or_create_of(&named(name, settings));
                    let gate = gate.unwrap_or_else(|_| old.gate.clone());
                    let (last_write, settings) =
                        (cluster.last_write(settings.server_dbname(name), settings.causal), settings.clone());
                    database.change(DatabaseSetup { settings, cluster, tls, gate, opening, last_write });
                }
                next.insert(name.clone(), database.clone());
            }
            self.known.store(Arc::new(next));
        }
        self.apply_user_limits(&setup.config);
        for name in names.iter().filter(|name| *name != "*") {
            let _ = self.get(name);
        }
    }

    /// The limit of a user over all databases.
    fn user_limit(&self, user: &Arc<str>, most: usize) -> Arc<SharedLimit> {
        self.users.entry(user.clone()).or_insert_with(|| SharedLimit::new(most, self.in_line.clone())).clone()
    }

    /// A user's limit may be another one after a reload.
    fn apply_user_limits(&self, config: &config::Config) {
        let users: Vec<_> = self.users.iter().map(|entry| (entry.key().clone(), entry.value().clone())).collect();
        for (user, limit) in users {
            limit.set(limit_of(config.max_user_connections(&user)));
        }
    }

    fn make(&self, proxy: &Arc<ProxyState>, name: &str, settings: &config::Database) -> Option<Arc<Database>> {
        let (cluster, tls) = self.clusters.load().get(&settings.cluster).cloned()?;
        let setup = proxy.setup.load();
        let gate = proxy.gates.get_or_create_of(&named(name, settings)).ok()?;
        Some(Arc::new(Database {
            name: name.into(),
            gate: CurrentGate::new(gate.clone()),
            stats: proxy.stats.database(),
            rehearsal: Rehearsal::default(),
            kept_out: KeptOut::default(),
            limit: SharedLimit::new(limit_of(settings.max_db_connections), self.in_line.clone()),
            heartbeat: Heartbeat::default(),
            catalog: Catalog::default(),
            log_ins: Arc::default(),
            sequence_askers: Askers::default(),
            process_askers: Askers::default(),
            setup: ArcSwap::from_pointee(DatabaseSetup {
                last_write: cluster.last_write(settings.server_dbname(name), settings.causal),
                settings: settings.clone(),
                cluster,
                tls,
                gate,
                opening: Opening::of(&setup.config),
            }),
            clients: AtomicI32::new(0),
            generation: AtomicU64::new(1),
            paused: AtomicBool::new(self.paused.load(SeqCst)),
            disabled: AtomicBool::new(false),
            resumed: Notify::new(),
            pools: Mutex::default(),
            resolved: DashMap::with_shard_amount(super::SHARDS),
            refusal_place: ArcSwapOption::empty(),
            proxy: self.proxy.clone(),
        }))
    }
}
