//! The start, step by step: sockets, then the state on disk under its lock, then workers, and clients last.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle as Task;

use super::Proxy;
use super::reload::Running;
use crate::auth::Decoy;
use crate::config;
use crate::config::{Config, Overrides};
use crate::events::{Bus, Event, Kind, publish};
use crate::gate::{Gates, Limits, Reroute, StateFile, StateSource};
use crate::moving::Moves;
use crate::proxy::maintenance::environment::{Logins, World};
use crate::proxy::maintenance::{catalog, heartbeat, strays};
use crate::proxy::setup::{SetupError, ledger, monitor_login, setup, try_upstreams};
use crate::proxy::system::process::PidFile;
use crate::proxy::system::start::{StartError, Surfaces};
use crate::proxy::system::{memory, open_files};
use crate::proxy::takeover::surroundings::{Opened, Surroundings};
use crate::proxy::takeover::take::Arriving;
use crate::proxy::worker::{Worker, Workers};
use crate::proxy::{certificates, fleet, janitor, moving, pool_care, reroute};
use crate::server::backend_ledger::Ledger;
use crate::shared::database::all_named;
use crate::shared::{ProxyState, ProxyStateParts, Setup};
use crate::webhooks::Webhooks;

/// Starts all of it. When this returns, clients are served.
pub(super) async fn start(
    config: Config,
    mut overrides: Overrides,
    surfaces: Surfaces,
    arriving: &mut Option<Arriving>,
) -> Result<Proxy, StartError> {
    let cores = workers_wanted(&config);
    let mut inheritance = match arriving.as_mut() {
        Some(arriving) => Some(arriving.begin().await.map_err(StartError::TakeOver)?),
        None => None,
    };
    let config = match &inheritance {
        Some(given) => with_set(config, &given.begin.set, &mut overrides),
        None => config,
    };
    let opened = Opened::open(&config, cores, inheritance.as_mut())?;
    let pid_file = match &inheritance {
        Some(_) => None,
        None => config.process.pidfile.as_deref().map(PidFile::write).transpose()?,
    };
    let decoy = Decoy::random(crate::auth::SecretKind::Scram)?;
    let mut setup = setup(config, &decoy)?;
    let base = setup.config.clone();
    let file = match &setup.config.process.state_file {
        config::StateFile::Path(path) => StateFile::Path(path.clone()),
        config::StateFile::Ephemeral => StateFile::Ephemeral,
    };
    // Transitions that are taken up again need the world: it is told below, before the first of them runs.
    let (world, events) = (Arc::new(World::default()), Bus::default());
    events.go_on_after(inheritance.as_ref().map_or(0, |given| given.begin.events));
    let source = opened.state(&file, inheritance.as_mut())?;
    let kept = Kept::open(&file, source, inheritance.is_some(), &mut setup, (&world, &events, cores))?;
    let (control, asked) = mpsc::channel(8);
    let (proxy, jobs) = ProxyState::new(ProxyStateParts {
        setup,
        gates: Arc::new(kept.gates),
        ledger: Arc::new(kept.ledger),
        log_level: surfaces.log_level,
        events,
        webhooks: kept.webhooks,
        moves: Arc::new(kept.moves),
        cores,
        decoy,
        control,
        lives: inheritance.as_ref().map_or(0, |given| given.begin.lives),
    });
    if !overrides.set.is_empty() {
        // Such as log_connections, which came along after the log was begun.
        proxy.log_level.set(&proxy.setup.load().config.log);
    }
    proxy.webhooks.apply(&proxy.setup.load().config.webhooks);
    let (discoveries, found) = mpsc::channel(8);
    let mut running = Running::new(proxy.clone(), base, overrides, discoveries);
    open_files::raise_limit(&proxy.setup.load().config);
    memory::tell(&proxy.setup.load().config);
    if proxy.setup.load().config.file.is_none() {
        try_upstreams(&proxy.setup.load_full()).await?.map_or(Ok(()), |why| Err(StartError::Upstream(why)))?;
    }
    running.apply_clusters()?;
    world.is(&proxy, logins(&proxy));
    let fleet = fleet::start(&proxy, logins(&proxy)).await.map_err(StartError::Fleet)?;
    let mut threads = Vec::with_capacity(cores);
    let (workers, works) = Workers::new(cores);
    for (index, (jobs, work)) in jobs.into_iter().zip(works).enumerate() {
        let worker = Worker { index, proxy: proxy.clone(), jobs, work, console: surfaces.console.clone() };
        threads.push(worker.start()?);
    }
    let background = look_after(&proxy);
    let surroundings = Surroundings::new(&proxy, &workers, opened, surfaces.http, file.path());
    match arriving.take() {
        Some(former) => surroundings.take_over(former, inheritance).await.map_err(StartError::TakeOver)?,
        None => surroundings.serve().await?,
    }
    let pid_file = match pid_file {
        None => proxy.setup.load().config.process.pidfile.as_deref().map(PidFile::replace).transpose()?,
        own => own,
    };
    publish_ready(&proxy);
    Ok(Proxy { running, surroundings, fleet, workers: threads, background, asked, found, pid_file })
}

/// The configuration with what SET has changed in the process before, as far as it still can be.
fn with_set(config: Config, set: &[(String, String)], overrides: &mut Overrides) -> Config {
    let Some(path) = config.file.as_deref().filter(|_| !set.is_empty()) else { return config };
    overrides.set = set.to_vec();
    match Config::load_with(path, overrides) {
        Ok(with_set) => with_set,
        Err(why) => {
            overrides.set.clear();
            tracing::warn!(
                event = "set_forgotten",
                "what SET has changed does not go with the configuration as it is now: {why}"
            );
            config
        }
    }
}

/// How many workers there are to be.
fn workers_wanted(config: &Config) -> usize {
    let workers = match config.process.workers {
        // A thread of ours keeps about as much of the kernel's work busy on another core; fewer threads that each find more
        // to do at a wake-up cost less than many that find little (docs/PERFORMANCE.md).
        0 => std::thread::available_parallelism().map_or(1, |cores| usize::from(cores).div_ceil(2)),
        n => n as usize,
    };
    workers.min(127)
}

/// What an earlier life has left on disk.
struct Kept {
    gates: Gates,
    webhooks: Webhooks,
    ledger: Ledger,
    moves: Moves,
}

impl Kept {
    /// Takes it up again. Names of the setup lead where reroutes of that life have led them.
    fn open(
        file: &StateFile,
        source: StateSource,
        inherits: bool,
        setup: &mut Setup,
        (world, events, cores): (&Arc<World>, &Bus, usize),
    ) -> Result<Self, StartError> {
        let limits = Limits { shards: cores, ..Limits::default() };
        let (clock, runtime) = (Arc::new(jiff::Timestamp::now), tokio::runtime::Handle::current());
        let mut missing = Ok(());
        let names = |reroutes: &[Reroute]| {
            missing = reroute::names::check(&setup.config, reroutes);
            setup.led = reroute::names::lead(&mut setup.config, reroutes);
            all_named(&setup.config)
        };
        let gates = Gates::open_rerouted(source, names, world.clone(), events.clone(), limits, clock, runtime)?;
        missing.map_err(SetupError)?;
        // Under the lock of the state file, and ahead of the first event.
        let in_fleet = !setup.config.fleet.endpoints.is_empty();
        let webhooks = Webhooks::open(file.path().map(Path::to_path_buf), events, in_fleet)?;
        if let Some(alarm) = gates.alarm() {
            publish!(events, error, Event::new(Kind::StateFile, alarm));
        }
        let ledger = ledger(file, inherits)?;
        let (moves, alarm) = Moves::open(file, events.clone());
        if let Some(alarm) = alarm {
            publish!(events, error, Event::new(Kind::MovesLost, alarm));
        }
        Ok(Self { gates, webhooks, ledger, moves })
    }
}

/// Starts what goes on in the background until the end.
fn look_after(proxy: &Arc<ProxyState>) -> Vec<Task<()>> {
    moving::resume(proxy);
    vec![
        tokio::spawn(pool_care::watch_pools(proxy.clone())),
        tokio::spawn(janitor::watch_stats(proxy.clone())),
        tokio::spawn(janitor::watch_memory(proxy.clone())),
        tokio::spawn(janitor::watch_state(proxy.clone())),
        tokio::spawn(certificates::watch(proxy.clone())),
        tokio::spawn(catalog::watch(Arc::downgrade(proxy))),
        tokio::spawn(heartbeat::watch(Arc::downgrade(proxy), logins(proxy))),
        tokio::spawn(strays::watch(Arc::downgrade(proxy), logins(proxy))),
        tokio::spawn(moving::watch_retired(Arc::downgrade(proxy))),
    ]
}

fn publish_ready(proxy: &ProxyState) {
    let setup = proxy.setup.load();
    publish!(
        proxy.events,
        info,
        Event::new(Kind::Ready, "pgsluice is ready"),
        port = u32::from(setup.config.listen.listen_port),
        cores = proxy.cores(),
        databases = setup.config.databases.len(),
        version = env!("CARGO_PKG_VERSION"),
    );
}

/// How the monitor's user logs in to a server.
fn logins(proxy: &Arc<ProxyState>) -> Logins {
    let proxy = Arc::downgrade(proxy);
    Arc::new(move |cluster, at| {
        let proxy = proxy.upgrade()?;
        let (_, tls) = proxy.databases.cluster(&cluster.name)?;
        monitor_login(&proxy.setup.load(), cluster, tls, at)
    })
}
