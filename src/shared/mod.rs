//! What the sessions of one process share, and what those of one core share.
//!
//! [`ProxyState`] is for all: databases with their gates and pools, and a way to every core. [`WorkerState`] belongs to one thread:
//! buffers, verdicts, prepared statements and its [`client::Client`]s. Whoever wants to know or do something about clients
//! sends a closure to their core ([`ProxyState::on_core`]), so that a session's own state needs no locks.

mod cancel_keys;
pub mod client;
pub mod clock;
mod credentials;
pub mod database;
pub mod handover;
pub mod login_reply_cache;
pub mod maintenance;
pub mod mirrors;
mod pauses;
pub mod prepared_statement;
mod recent_callers;
pub mod sockets;
pub mod stats;
pub mod user_lookup;
mod worker_state;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::{Semaphore, mpsc, oneshot};

pub use crate::shared::cancel_keys::Keys;
pub use crate::shared::client::{Client, Phase};
pub use crate::shared::database::{Database, Databases};
pub use crate::shared::maintenance::catalog_changes::ChangeUnderWay;
pub use crate::shared::maintenance::refusal_counters::{Layer, Layers};
pub use crate::shared::prepared_statement::Statement;
pub use crate::shared::worker_state::WorkerState;

use crate::auth::hba::{Hba, IdentMaps};
use crate::auth::{Decoy, Userlist};
use crate::config::Config;
use crate::events::Bus;
use crate::gate::{Gates, Reroute, ServerDatabase};
use crate::log::{Level, Occasionally, RefusedStatements, SlowStatements};
use crate::moving::Moves;
use crate::server::backend_ledger::Ledger;
use crate::server::pool::{InLine, SharedLimit};
use crate::server::state::session_vars::Seed;
use crate::shared::handover::{Former, Offers};
use crate::shared::user_lookup::Lookups;
use crate::sql::Analyzer;
use crate::tls::ClientTls;
use crate::webhooks::Webhooks;

/// A job for a core: runs on its thread, between the sessions' own steps.
pub type Job = Box<dyn FnOnce(&Rc<WorkerState>) + Send>;

/// Clients that a core looks at before it serves them again.
pub const CLIENTS_AT_ONCE: usize = 128;
/// Jobs that may wait for a core. More are refused: a console must not be able to fill memory.
const JOBS: usize = 1024;
/// Parts of a map that each database has, each with a lock of its own: there may be hundreds of databases.
const SHARDS: usize = 8;

/// See [`ProxyState::judged_elsewhere`].
const MOST_JUDGED: usize = 32;

/// What is read from the configuration and may change at a reload.
#[derive(Clone)]
pub struct Setup {
    /// The configuration, its names leading where clients are led.
    pub config: Config,
    /// Names that a REROUTE leads elsewhere, with what the configuration says of them. One of them may be `*`.
    pub led: BTreeMap<String, ServerDatabase>,
    /// Users and their secrets.
    pub userlist: Userlist,
    /// Which method holds for whom; None: auth_type alone says so.
    pub rules: Option<LoginRules>,
    /// TLS towards clients; None when it is not offered.
    pub tls: ClientTls,
    /// The statement reader, with the list of refused functions.
    pub analyzer: Arc<Analyzer>,
}

impl Setup {
    /// What the configuration says that a name leads to, which leads to `now`.
    pub fn configured(&self, name: &str, now: &ServerDatabase) -> ServerDatabase {
        let of_any = || self.led.get("*").filter(|_| !self.config.databases.contains_key(name));
        self.led.get(name).or_else(of_any).unwrap_or(now).clone()
    }
}

/// Which method holds for whom, and maps of names.
#[derive(Clone)]
pub struct LoginRules {
    /// The rules.
    pub hba: Hba,
    /// The maps.
    pub maps: IdentMaps,
}

fn resets_always(setup: &Setup) -> bool {
    let pooling = &setup.config.pooling;
    pooling.server_reset_query_always && !pooling.server_reset_query.is_empty()
}

/// What all workers share.
pub struct ProxyState {
    /// The setup in force.
    pub setup: ArcSwap<Setup>,
    /// Of the setup, for whoever asks at the end of each lease.
    resets_always: AtomicBool,
    /// Databases, their gates and pools.
    pub databases: Databases,
    /// The gates of all databases.
    pub gates: Arc<Gates>,
    /// What has happened, for whoever listens.
    pub events: Bus,
    /// Who is told of it over HTTP.
    pub webhooks: Webhooks,
    /// Moves of databases, and what an earlier life has left of them.
    pub moves: Arc<Moves>,
    /// What an unknown user looks like.
    pub decoy: Decoy,
    /// For fingerprints of settings.
    pub seed: Arc<Seed>,
    /// All server connections of the proxy.
    pub total: Arc<SharedLimit>,
    /// Clients connected now, the console's too.
    pub clients: AtomicUsize,
    /// Clients of each user, consoles among them.
    pub client_counts: client::counts::ClientCounts,
    /// Cancel requests that are on their way to peers.
    pub peer_requests: AtomicUsize,
    /// The most that there have been since somebody looked last.
    pub most_clients: AtomicUsize,
    /// Numbers for clients: the `pid` of their cancel keys.
    pub client_ids: Arc<AtomicU64>,
    /// Readings of catalogs, numbered from 1.
    pub readings: AtomicU64,
    /// Cancel keys that have a server process's id.
    pub keys: Keys,
    /// Back ends that this proxy has opened.
    pub ledger: Arc<Ledger>,
    /// What has kept writes from databases in maintenance.
    pub layers: Layers,
    /// Counters of each core.
    pub stats: crate::shared::stats::Stats,
    /// Log-ins and commands on the console.
    pub console_stats: Arc<crate::shared::stats::DatabaseStats>,
    /// The end has begun: nobody is to come in but consoles over the unix socket, and no pause ends any more.
    pub shutting_down: AtomicBool,
    /// How much is logged.
    pub log_level: Level,
    /// Which statements are slow enough to be logged.
    pub slow_statements: SlowStatements,
    /// Reads of which a sample is mirrored.
    pub mirrors: mirrors::Mirrors,
    /// What clients have been refused, for the log.
    pub refused_statements: RefusedStatements,
    /// Connections that could not be accepted since too many files are open, for the log.
    pub too_many_files: Occasionally,
    /// Clients beyond max_client_conn, for the log.
    pub too_many_clients: Occasionally,
    /// Passwords that are judged elsewhere (LDAP, PAM) at a time.
    pub judged_elsewhere: Semaphore,
    /// Who asks servers about users.
    pub lookups: Lookups,
    /// The fleet that this proxy is in, if it is.
    pub fleet: OnceLock<crate::fleet::Handle>,
    /// To the proxy's main loop.
    pub control: mpsc::Sender<Control>,
    /// Where sessions go, while another process takes over.
    pub offers: ArcSwapOption<Offers>,
    /// The process that this one has taken over from, while that still serves clients.
    pub former: ArcSwapOption<Former>,
    /// How often a process has taken over from another one, up to this.
    pub lives: u16,
    /// When the process began to serve.
    pub began: std::time::SystemTime,
    count: usize,
    cores: ArcSwap<Vec<mpsc::Sender<Job>>>,
}

/// How to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Clients leave by themselves, when they like.
    Leave,
    /// Transactions may end.
    Drain,
    /// They may not.
    Now,
}

/// What the proxy's main loop is asked for.
pub enum Control {
    /// Take over the configuration file; or says what is wrong.
    Reload(oneshot::Sender<Result<Reloaded, String>>),
    /// Change a key until the next reload; or says what is wrong.
    Set {
        /// Its name.
        key: String,
        /// Its value, as in the file.
        value: String,
        /// Who is told.
        tell: oneshot::Sender<Result<Reloaded, String>>,
    },
    /// The same of what it says of one database and of its cluster.
    ReloadDatabase(String, oneshot::Sender<Result<Reloaded, String>>),
    /// Has names lead by these reroutes, which have been saved. Tells what a person should know.
    Reroute(Vec<Reroute>, oneshot::Sender<Vec<String>>),
    /// Read the certificates and keys of this cluster's servers again; None: those for clients.
    Certificates(Option<String>),
    /// Have a new process take over; what comes of it is told once clients that are idle have gone.
    Upgrade {
        /// The program; None: the one that was started, from where it lies.
        program: Option<PathBuf>,
        /// Who is told.
        tell: oneshot::Sender<Result<String, String>>,
    },
    /// Stop.
    Stop(Stop),
}

/// What a reload has come to.
#[derive(Clone, Debug, Default)]
pub struct Reloaded {
    /// Keys at the top of the file that are others now.
    pub changed: usize,
    /// What the operator should know: keys that need a restart, names that lead elsewhere.
    pub told: Vec<String>,
}

/// What the proxy's state is made of.
pub struct ProxyStateParts {
    /// The setup to start with.
    pub setup: Setup,
    /// The gates, with the state that was found on disk.
    pub gates: Arc<Gates>,
    /// Back ends, with those that an earlier life has left.
    pub ledger: Arc<Ledger>,
    /// How much is logged.
    pub log_level: Level,
    /// What has happened, for whoever listens.
    pub events: Bus,
    /// Who is told of it over HTTP.
    pub webhooks: Webhooks,
    /// Moves of databases.
    pub moves: Arc<Moves>,
    /// Number of cores.
    pub cores: usize,
    /// What an unknown user looks like.
    pub decoy: Decoy,
    /// To the proxy's main loop.
    pub control: mpsc::Sender<Control>,
    /// How often a process has taken over from another one, up to this.
    pub lives: u16,
}

impl ProxyState {
    /// How much is logged, if a person has said that while this runs.
    pub fn log_level_by_set(&self) -> Option<String> {
        Some(self.log_level.held()).filter(|held| *held != self.setup.load().config.log.log_level.to_string())
    }

    /// Makes the proxy's state and, for each core, the queue of its jobs.
    pub fn new(parts: ProxyStateParts) -> (Arc<Self>, Vec<mpsc::Receiver<Job>>) {
        let (senders, receivers) = (0..parts.cores).map(|_| mpsc::channel(JOBS)).unzip();
        let in_line = Arc::<InLine>::default();
        let most = crate::shared::database::limit_of(parts.setup.config.pooling.max_server_connections);
        let total = SharedLimit::new(most, in_line.clone());
        let slow_statements = SlowStatements::default();
        slow_statements.set(&parts.setup.config.log);
        let proxy = Arc::new_cyclic(|proxy| Self {
            databases: Databases::new(proxy.clone(), in_line),
            resets_always: AtomicBool::new(resets_always(&parts.setup)),
            setup: ArcSwap::from_pointee(parts.setup),
            gates: parts.gates,
            ledger: parts.ledger,
            log_level: parts.log_level,
            slow_statements,
            mirrors: mirrors::Mirrors::default(),
            events: parts.events,
            webhooks: parts.webhooks,
            moves: parts.moves,
            decoy: parts.decoy,
            control: parts.control,
            fleet: OnceLock::new(),
            offers: ArcSwapOption::empty(),
            former: ArcSwapOption::empty(),
            lives: parts.lives,
            began: std::time::SystemTime::now(),
            count: parts.cores,
            seed: Arc::default(),
            total,
            clients: AtomicUsize::new(0),
            client_counts: client::counts::ClientCounts::default(),
            peer_requests: AtomicUsize::new(0),
            most_clients: AtomicUsize::new(0),
            client_ids: Arc::new(AtomicU64::new(1)),
            readings: AtomicU64::new(1),
            keys: Keys::default(),
            lookups: Lookups::default(),
            judged_elsewhere: Semaphore::new(MOST_JUDGED),
            layers: Layers::default(),
            stats: crate::shared::stats::Stats::new(parts.cores),
            console_stats: crate::shared::stats::DatabaseStats::new(parts.cores),
            shutting_down: AtomicBool::new(false),
            refused_statements: RefusedStatements::default(),
            too_many_files: Occasionally::every(Duration::from_secs(60)),
            too_many_clients: Occasionally::every(Duration::from_secs(1)),
            cores: ArcSwap::from_pointee(senders),
        });
        (proxy, receivers)
    }

    /// Puts another setup in force.
    pub fn put_setup(&self, setup: Setup) {
        self.resets_always.store(resets_always(&setup), SeqCst);
        self.slow_statements.set(&setup.config.log);
        self.setup.store(Arc::new(setup));
    }

    /// Whether each server connection is cleaned when it comes back.
    #[inline]
    pub fn resets_always(&self) -> bool {
        self.resets_always.load(Relaxed)
    }

    /// Whether no other process serves clients of this one.
    pub fn is_alone(&self) -> bool {
        self.former.load().is_none() && self.offers.load().is_none()
    }

    /// Waits until this process alone serves clients: a command of the gate is for all of them.
    pub async fn until_alone(&self) {
        let former = self.former.load_full();
        if let Some(former) = former {
            former.until_gone().await;
        }
        // This one ends soon, or goes on because no other has taken over.
        while self.offers.load().is_some() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Number of cores.
    pub fn cores(&self) -> usize {
        self.count
    }

    /// Ends the cores: no more jobs.
    pub fn close_cores(&self) {
        self.cores.store(Arc::default());
    }

    /// Runs `job` on a core and gives its result; None when the core is gone or its queue is full.
    pub async fn on_core<R: Send + 'static>(
        &self,
        core: usize,
        job: impl FnOnce(&Rc<WorkerState>) -> R + Send + 'static,
    ) -> Option<R> {
        let (tell, told) = oneshot::channel();
        let job: Job = Box::new(move |core| _ = tell.send(job(core)));
        let sender = self.cores.load().get(core)?.clone();
        sender.send(job).await.ok()?;
        drop(sender);
        told.await.ok()
    }

    /// What `see` makes of each core's clients: of a few at a time, so that the core serves them in between.
    pub async fn look_at_clients<R: Send + 'static>(
        &self,
        see: impl Fn(&mut dyn Iterator<Item = Rc<Client>>) -> R + Clone + Send + 'static,
    ) -> Vec<R> {
        let mut seen = Vec::new();
        for (core, ids) in self.on_every_core(|core| core.client_ids()).await.into_iter().enumerate() {
            for part in ids.chunks(CLIENTS_AT_ONCE) {
                let (part, see) = (part.to_vec(), see.clone());
                let look = move |core: &Rc<WorkerState>| see(&mut part.iter().filter_map(|id| core.client(*id)));
                seen.extend(self.on_core(core, look).await);
            }
        }
        seen
    }

    /// Runs `job` on every core and gives what they give.
    pub async fn on_every_core<R: Send + 'static>(
        &self,
        job: impl Fn(&Rc<WorkerState>) -> R + Clone + Send + 'static,
    ) -> Vec<R> {
        let mut results = Vec::with_capacity(self.count);
        for core in 0..self.count {
            let job = job.clone();
            results.extend(self.on_core(core, move |core| job(core)).await);
        }
        results
    }
}
