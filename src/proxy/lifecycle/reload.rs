//! What runs, as the configuration wants it: clusters and their monitors, RELOAD, SET and REROUTE.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle as Task;

use crate::config::{self, Config, Overrides};
use crate::events::{Event, Kind, publish};
use crate::gate::Reroute;
use crate::protocol::Report;
use crate::proxy::maintenance::degrade;
use crate::proxy::server_changes::{ServerChanges, choose_again};
use crate::proxy::setup::{SetupError, cluster, monitor_logins, setup};
use crate::proxy::{certificates, moving, reroute};
use crate::shared::client::Ask;
use crate::shared::database::{Clusters, all_named};
use crate::shared::{Phase, ProxyState, Reloaded, Setup, WorkerState};
use crate::topology::discover::Found;
use crate::topology::monitor::Pace;
use crate::topology::{Cluster, discover, monitor};

/// What is said of a certificate and a key that do not belong together.
const DO_NOT_FIT: &str = "cannot be used with private key file";

/// The clusters that are watched, and the configuration that they come from.
pub(super) struct Running {
    pub(super) proxy: Arc<ProxyState>,
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

impl Running {
    /// Without clusters yet. What is found of other servers goes to `discoveries`.
    pub(super) fn new(
        proxy: Arc<ProxyState>,
        base: Config,
        overrides: Overrides,
        discoveries: mpsc::Sender<Found>,
    ) -> Self {
        Self {
            proxy,
            base,
            overrides,
            clusters: BTreeMap::new(),
            found: BTreeMap::new(),
            discoveries,
            discovers: BTreeMap::new(),
        }
    }

    /// What SET has changed.
    pub(super) fn is_set(&self) -> Vec<(String, String)> {
        self.overrides.set.clone()
    }

    /// Ends all that watches servers.
    pub(super) fn stop_watching(&self) {
        self.discovers.values().for_each(|(_, task)| task.abort());
        self.clusters.values().flat_map(|watched| &watched.monitors).for_each(Task::abort);
    }

    /// Makes new clusters, keeps those that have not changed, and starts and ends monitors.
    pub(super) fn apply_clusters(&mut self) -> Result<(), SetupError> {
        let setup = self.proxy.setup.load_full();
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
            let (cluster, tls) = cluster(name, config, &self.proxy.events)?;
            if let Some(known) = self.clusters.get(name) {
                cluster.inherit(&known.cluster);
            }
            moving::prepare(&self.proxy.moves, &cluster);
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
        self.proxy.databases.apply(clusters, &names);
        self.proxy.lookups.forget();
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
    pub(super) fn take_found(&mut self, found: Found) {
        let servers: Vec<_> = found.upstreams.iter().map(ToString::to_string).collect();
        let event =
            Event::new(Kind::ServersFound, "the cluster has other servers now").about_server(&found.cluster, None);
        publish!(self.proxy.events, warn, event, servers = servers.join(", "));
        self.found.insert(found.cluster, found.upstreams);
        if let Err(error) = self.apply_clusters() {
            tracing::error!(event = "servers_not_used", "{error}");
        }
        let proxy = self.proxy.clone();
        tokio::spawn(async move { choose_again(&proxy, proxy.databases.all()).await });
    }

    fn start_monitors(&mut self, name: &str) {
        let Some(watched) = self.clusters.get_mut(name) else { return };
        let follows = degrade::watch(Arc::downgrade(&self.proxy), watched.cluster.clone());
        watched.monitors.push(tokio::spawn(follows));
        for at in 0..watched.cluster.upstreams.len() {
            let follower = Arc::new(ServerChanges(Arc::downgrade(&self.proxy)));
            let pace = Pace { interval: watched.config.monitor_interval, dns_max_ttl: watched.config.dns_max_ttl };
            // The cluster keeps what its monitor knows, and a monitor of another life knows nothing of it.
            let (proxy, of, tls) = (Arc::downgrade(&self.proxy), Arc::downgrade(&watched.cluster), watched.tls.clone());
            let logins = move || {
                let (Some(proxy), Some(of)) = (proxy.upgrade(), of.upgrade()) else { return Vec::new() };
                monitor_logins(&proxy.setup.load(), &of, tls.clone(), at)
            };
            let task = monitor::watch(watched.cluster.clone(), at, Box::new(logins), pace, follower);
            watched.monitors.push(tokio::spawn(task));
        }
    }

    pub(super) fn reload_and_publish(&mut self, only: Option<&str>) -> Result<Reloaded, String> {
        let reloaded = if only.is_some() { self.take_over(only) } else { self.reload() };
        let events = &self.proxy.events;
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
    pub(super) fn set(&mut self, key: &str, value: &str) -> Result<Reloaded, String> {
        if Config::is_fixed(key) {
            return Err(format!("{key} takes effect with a restart: change it in the configuration file"));
        }
        let Some(path) = self.proxy.setup.load().config.file.clone() else {
            return Err("there is no configuration file".to_owned());
        };
        let before = self.overrides.set.clone();
        let level = self.proxy.log_level_by_set();
        self.overrides.set(key, value);
        if let Err(errors) = Config::load_with(&path, &self.overrides)
            && errors.lack_other_keys()
        {
            // A certificate is set ahead of its key: both take effect with the last of them.
            let told = errors.errors.iter().map(|error| format!("not in effect yet: {error}")).collect();
            return Ok(Reloaded { changed: 0, told });
        }
        let taken = self.take_over(None);
        if let (Ok(_), Some(level)) = (&taken, level) {
            let _ = self.proxy.log_level.set_by_words(&level);
        }
        match taken {
            // Likewise where the other one is still the former one's.
            Err(error) if key.contains("_tls_") && error.contains(DO_NOT_FIT) => {
                Ok(Reloaded { changed: 0, told: vec![format!("not in effect yet: {error}")] })
            }
            other => other.inspect_err(|_| self.overrides.set = before),
        }
    }

    /// Takes over the file, all of it or what it says of one database and of its cluster.
    fn take_over(&mut self, only: Option<&str>) -> Result<Reloaded, String> {
        let old = self.proxy.setup.load_full();
        let mut config = match &old.config.file {
            Some(path) => Config::load_with(path, &self.overrides).map_err(|errors| errors.to_string())?,
            None => self.base.clone(),
        };
        if let Some(name) = only {
            config = self.base.with_database_of(&config, name);
        }
        let reroutes = self.proxy.gates.reroutes();
        reroute::names::check(&config, &reroutes)?;
        let changes = config.diff(&self.base);
        config.keep_fixed(&self.base);
        let base = config.clone();
        let led = reroute::names::lead(&mut config, &reroutes);
        let (reroutes, done) = reroute::names::still_needed(&config, &led, reroutes);
        let mut next = setup(config, &self.proxy.decoy).map_err(|error| error.to_string())?;
        next.led = led;
        self.base = base;
        next.userlist.inherit(&old.userlist);
        let names = all_named(&next.config);
        let elsewhere = |(name, watched): (&String, &Watched)| {
            let now = next.config.clusters.get(name).map(|config| &config.upstreams);
            now != Some(&watched.config.upstreams)
        };
        let moved: Vec<_> = self.clusters.iter().filter(|one| elsewhere(*one)).map(|(name, _)| name.as_str()).collect();
        self.proxy.databases.forget_same_servers(&moved);
        self.proxy.total.set(crate::shared::database::limit_of(next.config.pooling.max_server_connections));
        let mut told = self.proxy.gates.reroute(reroutes, &names);
        self.proxy.log_level.set(&next.config.log);
        self.proxy.log_level.reopen();
        self.proxy.put_setup(next);
        self.proxy.webhooks.apply(&self.proxy.setup.load().config.webhooks);
        self.apply_clusters().map_err(|error| error.to_string())?;
        told.extend(reroute::forget(&self.proxy, done));
        certificates::reload_for_servers(&self.proxy);
        self.proxy.databases.note_userlist(&self.proxy.setup.load().userlist);
        let proxy = self.proxy.clone();
        tokio::spawn(async move { choose_again(&proxy, proxy.databases.all()).await });
        let restart: Vec<_> = changes.need_restart().map(|change| change.key.as_str()).collect();
        if !restart.is_empty() {
            told.push(format!("these keys take effect with a restart: {}", restart.join(", ")));
        }
        told.iter().for_each(|text| tracing::warn!(event = "reloaded", "RELOAD: {text}"));
        Ok(Reloaded { changed: changes.keys.len(), told })
    }

    /// Has all names lead by these reroutes. Nothing else of the configuration is touched.
    pub(super) fn reroute(&mut self, reroutes: Vec<Reroute>) -> Vec<String> {
        let mut next = Setup::clone(&self.proxy.setup.load());
        next.config = self.base.clone();
        next.led = reroute::names::lead(&mut next.config, &reroutes);
        let mut told = self.proxy.gates.reroute(reroutes, &all_named(&next.config));
        self.proxy.put_setup(next);
        told.extend(self.apply_clusters().err().map(|error| error.to_string()));
        self.proxy.gates.open_copies();
        tokio::spawn(reroute::tell(self.proxy.clone()));
        told
    }

    /// Ends the sessions of roles that are operators no longer: what they have open may write, whatever the gate says.
    pub(super) async fn end_former_operators(&self) {
        let setup = self.proxy.setup.load_full();
        let end = move |core: &Rc<WorkerState>| {
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
        self.proxy.on_every_core(end).await;
    }
}
