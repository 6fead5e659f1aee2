//! SWITCHOVER: another server of a cluster, a physical replica of the primary, becomes the primary in its place.
//!
//! The story is in [`run`]: what [`checks`] find decides whether it begins. Writes of all databases of the cluster are held, the old
//! primary is fenced ([`fence`], or an operator's [`program`]), the target replays what was written and is promoted ([`promote`]), and
//! the held writes go on there. Until the promotion is asked for, any failure leads back to the old primary. From then on it only
//! goes forward, since nobody knows whether the target takes writes already.

mod checks;
pub(in crate::proxy::moving) mod fence;
pub(in crate::proxy::moving) mod findings;
mod options;
mod program;
mod promote;
mod run;
pub(in crate::proxy::moving) mod steps;

use std::sync::Arc;

use crate::gate::Who;
use crate::moving::{Move, MoveOf, Step, Switchover};
use crate::protocol::Report;
use crate::proxy::moving::{begin_of_clusters, life};
use crate::shared::ProxyState;
use crate::topology::Cluster;

use options::Options;
use run::{Run, Tools};

pub use options::is_flag;

/// The command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// A database of the cluster, as clients name it.
    pub database: String,
    /// The server that is to be the primary, as SHOW UPSTREAMS names it.
    pub to: String,
    /// What stands in WITH (…).
    pub options: Vec<(String, String)>,
}

/// A cluster, and two of its servers.
#[derive(Clone)]
pub(in crate::proxy::moving) struct Servers {
    pub(in crate::proxy::moving) cluster: Arc<Cluster>,
    /// The primary.
    pub(in crate::proxy::moving) from: usize,
    /// The server that is to be it.
    pub(in crate::proxy::moving) to: usize,
}

impl Servers {
    /// Those that a move names, as far as the configuration still has them.
    pub(in crate::proxy::moving) fn known(proxy: &ProxyState, cluster: &str, from: &str, to: &str) -> Option<Self> {
        let (cluster, _) = proxy.databases.cluster(cluster)?;
        let (from, to) = (cluster.find_server(from)?, cluster.find_server(to)?);
        Some(Self { cluster, from, to })
    }

    pub(in crate::proxy::moving) fn name(&self, at: usize) -> String {
        self.cluster.upstreams.get(at).map(|upstream| upstream.address.to_string()).unwrap_or_default()
    }

    /// Every cluster of the configuration that leads to the same primary, with its numbers of the two servers. One that does not know
    /// the target has only the first.
    fn all(&self, proxy: &ProxyState) -> Vec<(Arc<Cluster>, Option<usize>, Option<usize>)> {
        let number = |cluster: &Cluster, at: usize| {
            let words = self.cluster.upstreams.get(at)?.instance()?.words;
            cluster.upstreams.iter().position(|one| one.instance().is_some_and(|known| known.words == words))
        };
        let is_same = |other: &Arc<Cluster>| !Arc::ptr_eq(other, &self.cluster) && other.shares_primary(&self.cluster);
        let others = proxy.databases.clusters().into_iter().filter(is_same);
        let others = others.map(|other| (other.clone(), number(&other, self.from), number(&other, self.to)));
        std::iter::once((self.cluster.clone(), Some(self.from), Some(self.to))).chain(others).collect()
    }

    fn clusters(&self, proxy: &ProxyState) -> Vec<Arc<Cluster>> {
        self.all(proxy).into_iter().map(|(cluster, ..)| cluster).collect()
    }
}

/// Begins, or with `dry_run` only looks.
///
/// # Errors
/// 3D000, 42704: there is no such database or server. 22023: the options. 55000: there is nothing to do or no primary. 55006: another
/// move is under way.
pub fn begin(proxy: &Arc<ProxyState>, request: &Request, who: Who) -> Result<Arc<Move>, Report> {
    let options = Options::read(proxy, request)?;
    let servers = servers_of(proxy, request)?;
    let known = Switchover {
        database: request.database.clone(),
        cluster: servers.cluster.name.clone(),
        from: servers.name(servers.from),
        to: servers.name(servers.to),
        step: Step::Check,
        closed: Vec::new(),
        timeline: servers.cluster.upstreams.get(servers.from).map_or(0, |one| one.timeline()),
        lsn: None,
        on_failure: options.on_failure,
        timeout: options.timeout,
    };
    let tools = Tools::find(proxy, &servers).ok_or_else(|| life::no_role(&servers.cluster))?;
    let one = if options.dry_run {
        MoveOf::new(proxy.moves.rehearse(known.clone().into(), who), known)
    } else {
        begin_of_clusters(proxy, known, &servers.clusters(proxy), &request.database, who)?
    };
    let shared = one.shared().clone();
    life::start(&shared, Run::new(proxy.clone(), one, servers, options, tools).begin());
    Ok(shared)
}

fn servers_of(proxy: &ProxyState, request: &Request) -> Result<Servers, Report> {
    let Some(database) = proxy.databases.get(&request.database) else {
        return Err(Report::error("3D000", format!("database \"{}\" does not exist", request.database)));
    };
    let cluster = database.setup().cluster.clone();
    let name = &cluster.name;
    let hint = || {
        let names: Vec<_> = cluster.upstreams.iter().map(|one| one.address.to_string()).collect();
        Some(format!("Its servers are {}.", names.join(", ")))
    };
    if cluster.has_several_primaries() {
        let text = format!("cluster \"{name}\" has several primaries: none of them is promoted");
        return Err(Report::error("55000", text));
    }
    let Some(to) = cluster.find_server(&request.to) else {
        let text = format!("cluster \"{name}\" has no server \"{}\"", request.to);
        return Err(Report::error("42704", text).with_hint(hint()));
    };
    let Some(from) = cluster.primary() else {
        let why = if cluster.is_contested() { "several servers claim to be it" } else { "none is known" };
        let text = format!("cluster \"{name}\" has no primary that could be switched over: {why}");
        return Err(Report::error("55000", text).with_hint(hint()));
    };
    if from == to {
        let text = format!("{} is the primary of cluster \"{name}\" already", request.to);
        return Err(Report::error("55000", text).with_hint(hint()));
    }
    Ok(Servers { cluster, from, to })
}

/// Takes up one that an earlier life of the process has begun.
pub(in crate::proxy::moving) async fn resume(proxy: Arc<ProxyState>, one: MoveOf<Switchover>) {
    let known = one.known();
    let options = Options::of(known);
    let find = |proxy: &Arc<ProxyState>| {
        let servers = Servers::known(proxy, &known.cluster, &known.from, &known.to)?;
        let tools = Tools::find(proxy, &servers)?;
        Some((servers, tools))
    };
    if let Some((servers, tools)) = life::wait_for(&proxy, one.shared(), find).await {
        Run::new(proxy, one, servers, options, tools).resume().await;
    }
}
