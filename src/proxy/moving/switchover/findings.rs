//! What is asked of both servers before a switchover, and of this proxy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Servers;
use crate::config::RuleAction;
use crate::proxy::moving::talk::{Talk, field};
use crate::server::Pool;
use crate::server::own_query::Row;
use crate::shared::{Database, ProxyState};
use crate::sql::own_statements::moving;
use crate::topology::Cluster;

/// What a server says.
#[derive(Default)]
pub(super) struct Server {
    rows: Vec<Row>,
    rights: BTreeMap<String, String>,
}

impl Server {
    /// One that says this: rows with their kind first, and what the role may do.
    #[cfg(test)]
    pub(super) fn saying(rows: &[&[&str]], rights: &[(&str, &str)]) -> Self {
        let row = |row: &&[&str]| row.iter().map(|word| Some((*word).to_owned())).collect();
        let right = |(what, may): &(&str, &str)| ((*what).to_owned(), (*may).to_owned());
        Self { rows: rows.iter().map(row).collect(), rights: rights.iter().map(right).collect() }
    }

    /// Rows of that kind, without the kind.
    pub(super) fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a [Option<String>]> {
        self.rows.iter().filter(move |row| field(row, 0) == kind).map(|row| row.get(1..).unwrap_or_default())
    }

    /// How many rows of that kind there are.
    pub(super) fn count(&self, kind: &str) -> usize {
        self.of(kind).count()
    }

    /// The first field of the first row of that kind.
    pub(super) fn first<'a>(&'a self, kind: &'a str) -> Option<&'a str> {
        self.of(kind).next().map(|row| text(row, 0))
    }

    /// A setting; empty if it is not known.
    pub(super) fn setting<'a>(&'a self, name: &str) -> &'a str {
        let rows = self.rows.iter().filter(|row| field(row, 0) == "setting");
        rows.filter(|row| field(row, 1) == name).map(|row| field(row, 2)).next().unwrap_or_default()
    }

    /// A setting that is a number.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.setting(name).parse().ok()
    }

    /// Names of settings, in order.
    pub(super) fn settings(&self) -> impl Iterator<Item = &str> {
        self.rows.iter().filter(|row| field(row, 0) == "setting").map(|row| field(row, 1))
    }

    /// Whether the role may do that; None: it could not be asked.
    pub(super) fn may(&self, what: &str) -> Option<bool> {
        self.rights.get(what).map(|words| words == "true" || words == "t")
    }
}

/// A field of a row without its kind.
pub(super) fn text(row: &[Option<String>], at: usize) -> &str {
    row.get(at).and_then(Option::as_deref).unwrap_or_default()
}

/// All of it.
pub(super) struct Findings {
    /// What the primary says, or why it says nothing.
    pub(super) primary: Result<Server, String>,
    /// What the target says.
    pub(super) target: Result<Server, String>,
    /// Where new sessions of the target would read only: value, source, file.
    pub(super) target_read_only: Option<Row>,
    /// Clients that keep a server connection of the primary between transactions, by reason.
    pub(super) pinned: BTreeMap<&'static str, usize>,
    /// Server connections to the primary.
    pub(super) used: usize,
    /// Databases with rules that let some writes through a closed gate.
    pub(super) allowing: Vec<String>,
}

impl Findings {
    pub(super) async fn gather(
        proxy: &Arc<ProxyState>,
        servers: &Servers,
        primary: &mut Talk,
        target: &mut Talk,
    ) -> Self {
        let ours = back_ends(proxy, servers).await;
        let version = |at: usize| servers.cluster.upstreams.get(at).map_or(0, |upstream| upstream.version());
        let of_target = async {
            let answer = ask(target, moving::of_target(), version(servers.to)).await;
            (answer, target.row(moving::READ_ONLY).await.ok())
        };
        let of_primary = ask(primary, moving::of_primary(&ours), version(servers.from));
        let (primary, (target, target_read_only), pinned) = tokio::join!(of_primary, of_target, pinned(proxy, servers));
        let allowing = allowing(proxy, &servers.clusters(proxy));
        Self { primary, target, target_read_only, pinned, used: ours.len(), allowing }
    }
}

async fn ask(talk: &mut Talk, sql: String, version: u64) -> Result<Server, String> {
    let rights = talk.rows(&moving::rights(version)).await.map_err(|error| error.to_string())?;
    let rights = rights.iter().map(|row| (field(row, 0).to_owned(), field(row, 1).to_owned())).collect();
    let rows = talk.rows(&sql).await.map_err(|error| error.to_string())?;
    Ok(Server { rows, rights })
}

/// The pools whose connections lead to the primary.
fn pools(proxy: &ProxyState, servers: &Servers) -> Vec<Arc<Pool>> {
    let addresses: Vec<_> = servers
        .all(proxy)
        .into_iter()
        .filter_map(|(cluster, from, _)| Some(cluster.upstreams.get(from?)?.address.clone()))
        .collect();
    let pools = proxy.databases.all().into_iter().flat_map(|database| database.pools());
    pools.filter(|pool| addresses.contains(&pool.login().address)).collect()
}

/// Whether a connection to the primary is just being opened: its process is not known yet.
pub(in crate::proxy::moving) fn is_opening(proxy: &ProxyState, servers: &Servers) -> bool {
    pools(proxy, servers).iter().any(|pool| pool.is_opening())
}

/// The server processes behind this proxy's connections to the primary, but for those of operators, whom no gate keeps from writing.
pub(in crate::proxy::moving) async fn back_ends(proxy: &ProxyState, servers: &Servers) -> Vec<u32> {
    let mut pids: BTreeSet<u32> = pools(proxy, servers).iter().flat_map(|pool| pool.back_ends()).collect();
    let operators = proxy.on_every_core(|core| {
        let clients = core.clients();
        let theirs = clients.iter().filter(|client| client.operator);
        theirs.filter_map(|client| client.cancel.borrow().as_ref().map(|target| target.server.pid)).collect::<Vec<_>>()
    });
    for pid in operators.await.into_iter().flatten() {
        pids.remove(&pid);
    }
    pids.into_iter().collect()
}

fn allowing(proxy: &ProxyState, clusters: &[Arc<Cluster>]) -> Vec<String> {
    let allows = |database: &&Arc<Database>| {
        let setup = database.setup();
        let here = clusters.iter().any(|cluster| Arc::ptr_eq(cluster, &setup.cluster));
        here && setup.settings.maintenance.write_rules.iter().any(|rule| rule.action == RuleAction::Allow)
    };
    proxy.databases.all().iter().filter(allows).map(|database| database.name.to_string()).collect()
}

async fn pinned(proxy: &ProxyState, servers: &Servers) -> BTreeMap<&'static str, usize> {
    let clusters = servers.clusters(proxy);
    let reasons = proxy.on_every_core(move |core| {
        let is_here = |client: &std::rc::Rc<crate::shared::Client>| {
            client.database.as_ref().is_some_and(|database| {
                clusters.iter().any(|cluster| Arc::ptr_eq(cluster, &database.peek_setup().cluster))
            })
        };
        let clients = core.clients();
        let pinned = clients.iter().filter(|client| is_here(client) && !client.pinned.get().is_empty());
        pinned.map(|client| client.pinned.get()).collect::<Vec<_>>()
    });
    let mut counts = BTreeMap::new();
    for reason in reasons.await.into_iter().flatten() {
        *counts.entry(reason).or_insert(0) += 1;
    }
    counts
}
