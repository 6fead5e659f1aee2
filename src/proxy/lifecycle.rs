//! The whole proxy: started, reloaded, drained, stopped.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle as Task;

use super::maintenance::environment::{Logins, World};
use super::maintenance::{catalog, strays};
use super::maintenance::{degrade, heartbeat};
use super::setup::{SetupError, cluster, ledger, monitor_login, monitor_logins, setup, try_upstreams};
pub use super::system::start::{Http, StartError, Surfaces};
use super::system::{memory, open_files, process, service_manager};
use super::takeover::give::Given;
use super::takeover::surroundings::{Opened, Surroundings, UNDER_WAY, ended};
use super::takeover::take::Arriving;
use super::turns::{Turns, choose_again};
use super::worker::{Worker, Workers};
use super::{certificates, ends, fleet, janitor, moving, pause, pool_care, reroute};
use crate::auth::Decoy;
use crate::config;
use crate::config::{Config, Overrides};
use crate::events::{Bus, Event, Kind, publish};
use crate::gate::{Gates, Limits, Reroute, StateFile};
use crate::moving::Moves;
use crate::protocol::Report;
use crate::shared::client::Ask;
use crate::shared::database::{Clusters, all_named};
use crate::shared::{Control, Core, Hub, HubParts, Phase, Reloaded, Setup, Stop};
use crate::topology::discover::Found;
use crate::topology::monitor::Pace;
use crate::topology::{Cluster, discover, monitor};
use crate::webhooks::Webhooks;

/// What is said of a certificate and a key that do not belong together.
const DO_NOT_FIT: &str = "cannot be used with private key file";

struct Running {
    hub: Arc<Hub>,
    /// The configuration in force, without what REROUTE makes of it.
    base: Config,
    overrides: Overrides,
    clusters: BTreeMap<String, Watched>,
    /// Servers that were found, by cluster, and who is told of others.
    found: BTreeMap<String, Vec<config::Upstream>>,
    discoveries: mpsc::Sender<Found>,
    discovers: BTreeMap<String, (config::Cluster, Task<()>)>,
}

struct Watched {
    config: config::Cluster,
    cluster: Arc<Cluster>,
    tls: Arc<crate::tls::ServerTls>,
    monitors: Vec<Task<()>>,
}

/// Runs until it is told to stop, by signal or from the console, or another process takes over. `arriving`: this one takes over.
///
/// # Errors
/// It could not be started.
#[expect(clippy::too_many_lines, reason = "to be divided")]
pub async fn run(
    config: Config,
    overrides: Overrides,
    surfaces: Surfaces,
    arriving: &mut Option<Arriving>,
) -> Result<(), StartError> {
    let cores = match config.process.workers {
        // A thread of ours keeps about as much of the kernel's work busy on another core; fewer threads that each find more
        // to do at a wake-up cost less than many that find little (docs/PERFORMANCE.md).
        0 => std::thread::available_parallelism().map_or(1, |cores| usize::from(cores).div_ceil(2)),
        n => n as usize,
    };
    let cores = cores.min(127);
    // Before anybody can see that it starts: no signal may find the system's default.
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut quit = signal(SignalKind::quit())?;
    let mut user1 = signal(SignalKind::user_defined1())?;
    let mut user2 = signal(SignalKind::user_defined2())?;
    let mut inheritance = match arriving.as_mut() {
        Some(arriving) => Some(arriving.begin().await.map_err(StartError::TakeOver)?),
        None => None,
    };
    let opened = Opened::open(&config, cores, inheritance.as_mut())?;
    let pid_file = match &inheritance {
        Some(_) => None,
        None => config.process.pidfile.as_deref().map(process::PidFile::write).transpose()?,
    };
    let decoy = Decoy::random(crate::auth::SecretKind::Scram)?;
    let mut setup = setup(config, &decoy)?;
    let base = setup.config.clone();
    let file = match &setup.config.process.state_file {
        config::StateFile::Path(path) => StateFile::Path(path.clone()),
        config::StateFile::Ephemeral => StateFile::Ephemeral,
    };
    let world = Arc::new(World::default());
    let limits = Limits { shards: cores, ..Limits::default() };
    let clock = Arc::new(jiff::Timestamp::now);
    let (control, mut asked) = mpsc::channel(8);
    // Transitions that are taken up again need the world: it is told below, before the first of them runs.
    let (events, runtime) = (Bus::default(), tokio::runtime::Handle::current());
    let source = opened.state(&file, inheritance.as_mut())?;
    let mut missing = Ok(());
    let names = |reroutes: &[Reroute]| {
        missing = reroute::names::check(&setup.config, reroutes);
        setup.led = reroute::names::lead(&mut setup.config, reroutes);
        all_named(&setup.config)
    };
    let gates = Gates::open_rerouted(source, names, world.clone(), events.clone(), limits, clock, runtime)?;
    missing.map_err(SetupError)?;
    // Under the lock of the state file, and ahead of the first event.
    let webhooks = Webhooks::open(file.path().map(Path::to_path_buf), &events)?;
    if let Some(alarm) = gates.alarm() {
        publish!(events, error, Event::new(Kind::StateFile, alarm));
    }
    let ledger = Arc::new(ledger(&file, inheritance.is_some())?);
    let (moves, alarm) = Moves::open(&file, events.clone());
    if let Some(alarm) = alarm {
        publish!(events, error, Event::new(Kind::MovesLost, alarm));
    }
    let (hub, jobs) = Hub::new(HubParts {
        setup,
        gates: Arc::new(gates),
        ledger,
        log_level: surfaces.log_level,
        events,
        webhooks,
        moves: Arc::new(moves),
        cores,
        decoy,
        control,
        lives: inheritance.as_ref().map_or(0, |given| given.begin.lives),
    });
    hub.webhooks.apply(&hub.setup.load().config.webhooks);
    let (discoveries, mut found) = mpsc::channel(8);
    let mut running = Running {
        hub: hub.clone(),
        base,
        overrides,
        clusters: BTreeMap::new(),
        found: BTreeMap::new(),
        discoveries,
        discovers: BTreeMap::new(),
    };
    open_files::raise_limit(&hub.setup.load().config);
    memory::tell(&hub.setup.load().config);
    if hub.setup.load().config.file.is_none() {
        try_upstreams(&hub.setup.load_full()).await?.map_or(Ok(()), |why| Err(StartError::Upstream(why)))?;
    }
    running.apply_clusters()?;
    world.is(&hub, logins(&hub));
    let fleet = fleet::start(&hub, logins(&hub)).await.map_err(StartError::Fleet)?;
    let mut threads = Vec::with_capacity(cores);
    let (workers, works) = Workers::new(cores);
    for (index, (jobs, work)) in jobs.into_iter().zip(works).enumerate() {
        let worker = Worker { index, hub: hub.clone(), jobs, work, console: surfaces.console.clone() };
        threads.push(worker.start()?);
    }
    let pools = tokio::spawn(pool_care::watch_pools(hub.clone()));
    let stats = tokio::spawn(janitor::watch_stats(hub.clone()));
    let memory = tokio::spawn(janitor::watch_memory(hub.clone()));
    let certificates = tokio::spawn(certificates::watch(hub.clone()));
    let catalogs = tokio::spawn(catalog::watch(Arc::downgrade(&hub)));
    let heartbeats = tokio::spawn(heartbeat::watch(Arc::downgrade(&hub), logins(&hub)));
    let strays = tokio::spawn(strays::watch(Arc::downgrade(&hub), logins(&hub)));
    moving::resume(&hub);
    let retired = tokio::spawn(moving::watch_retired(Arc::downgrade(&hub)));
    let surroundings = Surroundings::new(&hub, &workers, opened, surfaces.http, file.path());
    match arriving.take() {
        Some(former) => surroundings.take_over(former, inheritance).await.map_err(StartError::TakeOver)?,
        None => surroundings.serve().await?,
    }
    let pid_file = match pid_file {
        None => hub.setup.load().config.process.pidfile.as_deref().map(process::PidFile::replace).transpose()?,
        own => own,
    };
    let config = hub.setup.load();
    publish!(
        hub.events,
        info,
        Event::new(Kind::Ready, "pgsluice is ready"),
        port = u32::from(config.config.listen.listen_port),
        cores = cores,
        databases = config.config.databases.len(),
        version = env!("CARGO_PKG_VERSION"),
    );
    drop(config);
    let manager = surroundings.manager.clone();
    let alive = tokio::spawn(service_manager::give_signs_of_life(manager.clone(), hub.clone()));
    manager.ready();
    let mut upgrade: Option<Task<Given>> = None;
    let mut stop = loop {
        tokio::select! {
            // The kernel does not tell which of two signals came first: of PAUSE and RESUME, RESUME is the last.
            biased;
            _ = hangup.recv(), if upgrade.is_none() => {
                manager.reloading();
                let _ = running.reload_and_publish(None);
                manager.ready();
                running.end_former_operators().await;
            }
            _ = terminate.recv() => break ends::by_terminate(&hub),
            _ = interrupt.recv() => break ends::by_interrupt(&hub),
            _ = quit.recv() => break ends::by_quit(),
            _ = user1.recv() => pause::pause_by_signal(&hub),
            _ = user2.recv() => pause::resume_by_signal(&hub),
            Some(found) = found.recv() => running.take_found(found),
            Some(given) = ended(&mut upgrade) => match given {
                Given::Away => break Stop::Now,
                Given::Kept => upgrade = None,
            },
            control = asked.recv() => match control {
                Some(Control::Upgrade { program, tell }) if upgrade.is_none() => {
                    upgrade = Some(surroundings.give_away(program, tell));
                }
                Some(Control::Upgrade { tell, .. }) => _ = tell.send(Err(UNDER_WAY.to_owned())),
                Some(
                    Control::Reload(tell) | Control::ReloadDatabase(_, tell) | Control::Set { tell, .. },
                ) if upgrade.is_some() => _ = tell.send(Err(UNDER_WAY.to_owned())),
                Some(Control::Reload(tell)) => {
                    let reloaded = running.reload_and_publish(None);
                    running.end_former_operators().await;
                    let _ = tell.send(reloaded);
                }
                Some(Control::ReloadDatabase(name, tell)) => _ = tell.send(running.reload_and_publish(Some(&name))),
                Some(Control::Set { key, value, tell }) => {
                    let set = running.set(&key, &value);
                    running.end_former_operators().await;
                    let _ = tell.send(set);
                }
                Some(Control::Reroute(reroutes, tell)) => _ = tell.send(running.reroute(reroutes)),
                Some(Control::Certificates(of)) => certificates::renew(&hub, of.as_deref()),
                Some(Control::Stop(stop)) => break stop,
                None => break Stop::Now,
            },
        }
    };
    // Whoever has taken over is the one that the service manager knows.
    let away = surroundings.is_away();
    if !away {
        manager.stopping(running.shutdown_timeout());
        hub.on_every_core(|core| core.close_door()).await;
        surroundings.stop_listening();
    }
    hub.shutting_down.store(true, SeqCst);
    if !away {
        ends::log_drain(&hub, stop).await;
    }
    alive.abort();
    [pools, stats, memory, certificates, catalogs, strays, retired, heartbeats].iter().for_each(Task::abort);
    loop {
        tokio::select! {
            () = ends::drain(&hub, stop) => break,
            _ = terminate.recv() => break ends::at_once("SIGTERM"),
            _ = interrupt.recv() => break ends::at_once("SIGINT"),
            _ = quit.recv() => break ends::at_once("SIGQUIT"),
            _ = user1.recv() => ends::ignored("SIGUSR1"),
            _ = user2.recv() => ends::ignored("SIGUSR2"),
            // Who finds the first way too slow chooses another one.
            control = asked.recv() => match control {
                Some(Control::Stop(other)) => stop = other,
                Some(Control::Certificates(_)) => {}
                Some(Control::Reload(tell) | Control::ReloadDatabase(_, tell) | Control::Set { tell, .. }) => {
                    let _ = tell.send(Err("pgsluice is shutting down".to_owned()));
                }
                Some(Control::Reroute(..)) => {}
                Some(Control::Upgrade { tell, .. }) => _ = tell.send(Err("pgsluice is shutting down".to_owned())),
                None => break,
            },
        }
    }
    surroundings.close();
    running.end(threads).await;
    fleet::leave(fleet).await;
    drop(pid_file);
    Ok(())
}

fn logins(hub: &Arc<Hub>) -> Logins {
    let hub = Arc::downgrade(hub);
    Arc::new(move |cluster, at| {
        let hub = hub.upgrade()?;
        let (_, tls) = hub.databases.cluster(&cluster.name)?;
        monitor_login(&hub.setup.load(), cluster, tls, at)
    })
}

impl Running {
    /// Makes new clusters, keeps those that have not changed, and starts and ends monitors.
    fn apply_clusters(&mut self) -> Result<(), SetupError> {
        let setup = self.hub.setup.load_full();
        let (mut next, mut replaced) = (BTreeMap::new(), Vec::new());
        self.discover(&setup);
        for (name, config) in &setup.config.clusters {
            let mut config = config.clone();
            if let Some(upstreams) = self.found.get(name) {
                config.upstreams.clone_from(upstreams);
            }
            let config = &config;
            if self.clusters.get(name).is_some_and(|known| known.config == *config) {
                continue;
            }
            let (cluster, tls) = cluster(name, config, &self.hub.events)?;
            moving::prepare(&self.hub.moves, &cluster);
            next.insert(name.clone(), Watched { config: config.clone(), cluster, tls, monitors: Vec::new() });
        }
        let fresh: Vec<String> = next.keys().cloned().collect();
        for (name, watched) in next {
            if let Some(old) = self.clusters.insert(name, watched) {
                old.monitors.iter().for_each(Task::abort);
                replaced.push(old.cluster);
            }
        }
        self.clusters.retain(|name, watched| {
            let stays = setup.config.clusters.contains_key(name);
            if !stays {
                watched.monitors.iter().for_each(Task::abort);
                replaced.push(watched.cluster.clone());
            }
            stays
        });
        let clusters: Clusters = self
            .clusters
            .iter()
            .map(|(name, watched)| (name.clone(), (watched.cluster.clone(), watched.tls.clone())))
            .collect();
        let names: Vec<String> = setup.config.databases.keys().cloned().collect();
        self.hub.databases.apply(clusters, &names);
        self.hub.lookups.forget();
        // Only now: who waits for one of them finds the new one.
        replaced.iter().for_each(|cluster| cluster.retire());
        // Behind all that: what a monitor finds, it compares with what the others have found.
        fresh.iter().for_each(|name| self.start_monitors(name));
        Ok(())
    }

    /// Begins to look for the servers of clusters that want it, and ends what is not wanted any more.
    fn discover(&mut self, setup: &Setup) {
        let wanted = |name: &String, config: &config::Cluster| {
            discover::is_wanted(config) && setup.config.clusters.get(name) == Some(config)
        };
        let (found, discovers) = (&mut self.found, &mut self.discovers);
        discovers.retain(|name, (config, task)| {
            let stays = wanted(name, config);
            if !stays {
                task.abort();
                found.remove(name);
            }
            stays
        });
        for (name, config) in setup.config.clusters.iter().filter(|(_, config)| discover::is_wanted(config)) {
            let tell = self.discoveries.clone();
            self.discovers
                .entry(name.clone())
                .or_insert_with(|| (config.clone(), tokio::spawn(discover::watch(name.clone(), config.clone(), tell))));
        }
    }

    /// Other servers of a cluster have been found.
    fn take_found(&mut self, found: Found) {
        let servers: Vec<_> = found.upstreams.iter().map(ToString::to_string).collect();
        let event =
            Event::new(Kind::ServersFound, "the cluster has other servers now").about_server(&found.cluster, None);
        publish!(self.hub.events, warn, event, servers = servers.join(", "));
        self.found.insert(found.cluster, found.upstreams);
        if let Err(error) = self.apply_clusters() {
            tracing::error!(event = "servers_not_used", "{error}");
        }
        let hub = self.hub.clone();
        tokio::spawn(async move { choose_again(&hub, hub.databases.all()).await });
    }

    fn start_monitors(&mut self, name: &str) {
        let Some(watched) = self.clusters.get_mut(name) else { return };
        let follows = degrade::watch(Arc::downgrade(&self.hub), watched.cluster.clone());
        watched.monitors.push(tokio::spawn(follows));
        for at in 0..watched.cluster.upstreams.len() {
            let follower = Arc::new(Turns(Arc::downgrade(&self.hub)));
            let pace = Pace { interval: watched.config.monitor_interval, dns_max_ttl: watched.config.dns_max_ttl };
            // The cluster keeps what its monitor knows, and a monitor of another life knows nothing of it.
            let (hub, of, tls) = (Arc::downgrade(&self.hub), Arc::downgrade(&watched.cluster), watched.tls.clone());
            let logins = move || {
                let (Some(hub), Some(of)) = (hub.upgrade(), of.upgrade()) else { return Vec::new() };
                monitor_logins(&hub.setup.load(), &of, tls.clone(), at)
            };
            let task = monitor::watch(watched.cluster.clone(), at, Box::new(logins), pace, follower);
            watched.monitors.push(tokio::spawn(task));
        }
    }

    fn reload_and_publish(&mut self, only: Option<&str>) -> Result<Reloaded, String> {
        let reloaded = if only.is_some() { self.take_over(only) } else { self.reload() };
        let events = &self.hub.events;
        match &reloaded {
            Ok(reloaded) => {
                let told = (!reloaded.told.is_empty()).then(|| reloaded.told.join("; "));
                let event = Event::new(Kind::Reloaded, "configuration reloaded");
                publish!(events, info, event, changed = reloaded.changed, detail = told);
            }
            Err(error) => {
                let event = Event::new(Kind::NotReloaded, "configuration not reloaded");
                publish!(events, error, event, error = error.as_str());
            }
        }
        reloaded
    }

    /// Takes over the configuration file as it is now, and forgets what SET has changed; nothing changes if anything in it is wrong.
    fn reload(&mut self) -> Result<Reloaded, String> {
        let set = std::mem::take(&mut self.overrides.set);
        self.take_over(None).inspect_err(|_| self.overrides.set = set)
    }

    /// Changes a key until the next reload.
    fn set(&mut self, key: &str, value: &str) -> Result<Reloaded, String> {
        if Config::is_fixed(key) {
            return Err(format!("{key} takes effect with a restart: change it in the configuration file"));
        }
        let Some(path) = self.hub.setup.load().config.file.clone() else {
            return Err("there is no configuration file".to_owned());
        };
        let before = self.overrides.set.clone();
        self.overrides.set(key, value);
        if let Err(errors) = Config::load_with(&path, &self.overrides)
            && errors.lack_other_keys()
        {
            // A certificate is set ahead of its key: both take effect with the last of them.
            let told = errors.errors.iter().map(|error| format!("not in effect yet: {error}")).collect();
            return Ok(Reloaded { changed: 0, told });
        }
        match self.take_over(None) {
            // Likewise where the other one is still the former one's.
            Err(error) if key.contains("_tls_") && error.contains(DO_NOT_FIT) => {
                Ok(Reloaded { changed: 0, told: vec![format!("not in effect yet: {error}")] })
            }
            other => other.inspect_err(|_| self.overrides.set = before),
        }
    }

    /// Takes over the file, all of it or what it says of one database and of its cluster.
    fn take_over(&mut self, only: Option<&str>) -> Result<Reloaded, String> {
        let old = self.hub.setup.load_full();
        let mut config = match &old.config.file {
            Some(path) => Config::load_with(path, &self.overrides).map_err(|errors| errors.to_string())?,
            None => self.base.clone(),
        };
        if let Some(name) = only {
            config = self.base.with_database_of(&config, name);
        }
        let reroutes = self.hub.gates.reroutes();
        reroute::names::check(&config, &reroutes)?;
        let changes = config.diff(&self.base);
        config.keep_fixed(&self.base);
        let base = config.clone();
        let led = reroute::names::lead(&mut config, &reroutes);
        let (reroutes, done) = reroute::names::still_needed(&config, &led, reroutes);
        let mut next = setup(config, &self.hub.decoy).map_err(|error| error.to_string())?;
        next.led = led;
        self.base = base;
        next.userlist.inherit(&old.userlist);
        let names = all_named(&next.config);
        let elsewhere = |(name, watched): (&String, &Watched)| {
            let now = next.config.clusters.get(name).map(|config| &config.upstreams);
            now != Some(&watched.config.upstreams)
        };
        let moved: Vec<_> = self.clusters.iter().filter(|one| elsewhere(*one)).map(|(name, _)| name.as_str()).collect();
        self.hub.databases.forget_same_servers(&moved);
        self.hub.total.set(crate::shared::database::limit_of(next.config.pooling.max_server_connections));
        let mut told = self.hub.gates.reroute(reroutes, &names);
        self.hub.log_level.set(&next.config.log);
        self.hub.log_level.reopen();
        self.hub.put_setup(next);
        self.hub.webhooks.apply(&self.hub.setup.load().config.webhooks);
        self.apply_clusters().map_err(|error| error.to_string())?;
        told.extend(reroute::forget(&self.hub, done));
        certificates::reload_for_servers(&self.hub);
        self.hub.databases.note_userlist(&self.hub.setup.load().userlist);
        let hub = self.hub.clone();
        tokio::spawn(async move { choose_again(&hub, hub.databases.all()).await });
        let restart: Vec<_> = changes.need_restart().map(|change| change.key.as_str()).collect();
        if !restart.is_empty() {
            told.push(format!("these keys take effect with a restart: {}", restart.join(", ")));
        }
        told.iter().for_each(|text| tracing::warn!(event = "reloaded", "RELOAD: {text}"));
        Ok(Reloaded { changed: changes.keys.len(), told })
    }

    /// Has all names lead by these reroutes. Nothing else of the configuration is touched.
    fn reroute(&mut self, reroutes: Vec<Reroute>) -> Vec<String> {
        let mut next = Setup::clone(&self.hub.setup.load());
        next.config = self.base.clone();
        next.led = reroute::names::lead(&mut next.config, &reroutes);
        let mut told = self.hub.gates.reroute(reroutes, &all_named(&next.config));
        self.hub.put_setup(next);
        told.extend(self.apply_clusters().err().map(|error| error.to_string()));
        self.hub.gates.open_copies();
        tokio::spawn(reroute::tell(self.hub.clone()));
        told
    }

    /// Ends the sessions of roles that are operators no longer: what they have open may write, whatever the gate says.
    async fn end_former_operators(&self) {
        let setup = self.hub.setup.load_full();
        let end = move |core: &Rc<Core>| {
            let operators = &setup.config.auth.operators;
            for client in core.clients().iter().filter(|client| client.operator) {
                if operators.iter().any(|name| **name == *client.user) {
                    continue;
                }
                let detail = format!("Role \"{}\" is not in operators any more.", client.user);
                let report = Report::fatal("57P01", "terminating connection due to administrator command");
                if client.phase.get() == Phase::Active {
                    drop(client.send_cancel());
                }
                client.ask(Ask::End { report: report.with_detail(Some(detail)), now: true });
            }
        };
        self.hub.on_every_core(end).await;
    }

    fn shutdown_timeout(&self) -> Duration {
        self.hub.setup.load().config.process.shutdown_timeout
    }

    async fn end(self, threads: Vec<JoinHandle<()>>) {
        self.hub.close_cores();
        for database in self.hub.databases.all() {
            database.pools().iter().for_each(|pool| pool.retire());
        }
        self.discovers.values().for_each(|(_, task)| task.abort());
        self.clusters.values().flat_map(|watched| &watched.monitors).for_each(Task::abort);
        let joined = tokio::task::spawn_blocking(move || threads.into_iter().for_each(|thread| _ = thread.join()));
        let _ = tokio::time::timeout(Duration::from_secs(5), joined).await;
        tracing::info!(event = "stopped", "pgsluice has stopped");
    }
}
