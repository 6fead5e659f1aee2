//! Databases that close by themselves when their servers take no writes, and open again when they do.
//!
//! What [`crate::topology::Outlook`] says of a cluster, and what administrators have set for a database on its primary, becomes the
//! second source of the gate's mode ([`Automatic`]). As long as not enough is known, nothing changes. Where a setting of the server's
//! has changed, the pooled connections that were opened before it are closed: nobody has to restart anything to see it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::time::timeout;

use crate::gate::{Automatic, Cause, Closes, Lsn};
use crate::shared::{Database, ProxyState};
use crate::topology::{Cluster, Outlook, Upstream};

/// How often it is looked whether a loss has become a lasting one, if nothing else happens.
const TICK: Duration = Duration::from_millis(250);

/// A database and a role of one of its pools on the primary.
type PoolName = (Arc<str>, Arc<str>);

/// Follows one cluster until another configuration takes its place.
pub async fn watch(proxy: Weak<ProxyState>, cluster: Arc<Cluster>) {
    let mut changes = cluster.changes();
    let mut watched = Watched::default();
    loop {
        let _ = timeout(TICK, changes.changed()).await;
        let Some(proxy) = proxy.upgrade().filter(|_| !cluster.is_retired()) else { return };
        watched.look(&proxy, &cluster);
    }
}

#[derive(Default)]
struct Watched {
    /// Whether each pool's role is read-only by the server's own setting.
    own: HashMap<PoolName, bool>,
    /// Since when databases are, on all their pools.
    since: HashMap<Arc<str>, Timestamp>,
}

impl Watched {
    fn look(&mut self, proxy: &ProxyState, cluster: &Arc<Cluster>) {
        // What is set on the old primary meanwhile is the doing of whoever hands over.
        if cluster.is_handing_over() {
            return;
        }
        let here = proxy.databases.those(|one| Arc::ptr_eq(&one.peek_setup().cluster, cluster)).into_iter();
        cluster.serves(here.map(|one| one.setup().settings.server_dbname(&one.name).to_owned()).collect());
        let found = match cluster.outlook(Instant::now()) {
            Outlook::Undecided => return,
            Outlook::Led => return self.look_at_settings(proxy, cluster),
            Outlook::Replicas { since } => Automatic::new(Closes::Writes, Cause::NoPrimary, since, Lsn(0)),
            Outlook::Lost { since, replicas: Some(floor) } => {
                Automatic::new(Closes::Writes, Cause::Degraded, since, floor)
            }
            Outlook::Lost { since, replicas: None } => Automatic::new(Closes::All, Cause::Degraded, since, Lsn(0)),
        };
        for (_, database) in owned(proxy, cluster) {
            set(proxy, &database, Some(found.clone()));
        }
    }

    /// A primary is known: databases follow what its administrators have set for them.
    fn look_at_settings(&mut self, proxy: &ProxyState, cluster: &Arc<Cluster>) {
        let Some((at, upstream)) = cluster.primary().and_then(|at| Some((at, cluster.upstreams.get(at)?))) else {
            return;
        };
        let mut own = HashMap::new();
        let mut since = HashMap::new();
        if !cluster.follows_settings {
            // What a loss had closed opens again.
            for (names, database) in owned(proxy, cluster) {
                set(proxy, &database, heartbeat(&names));
            }
            return;
        }
        for (names, database) in owned(proxy, cluster) {
            let closed = self.look_at_database(proxy, &names, (at, upstream), &mut own);
            let found = closed.then(|| {
                let known = self.since.get(&database.name).copied().unwrap_or_else(Timestamp::now);
                since.insert(database.name.clone(), known);
                Automatic::new(Closes::Writes, Cause::OwnSetting, known, Lsn(0))
            });
            set(proxy, &database, found.or_else(|| heartbeat(&names)));
        }
        (self.own, self.since) = (own, since);
    }

    /// Whether the database is read-only for every role that has a pool there. Pools whose setting has changed begin anew.
    fn look_at_database(
        &self,
        proxy: &ProxyState,
        names: &[Arc<Database>],
        (at, upstream): (usize, &Upstream),
        own: &mut HashMap<PoolName, bool>,
    ) -> bool {
        let settings = upstream.own_settings();
        let operators = &proxy.setup.load().config.auth.operators;
        let mut any = false;
        let mut all = true;
        for database in names {
            let setup = database.setup();
            let dbname = setup.settings.server_dbname(&database.name);
            for pool in database.pools().iter().filter(|pool| pool.upstream == at) {
                let role = pool.login().user.clone();
                let read_only = settings.read_only(dbname, Some(&role));
                let key = (database.name.clone(), role.clone());
                if self.own.get(&key).is_some_and(|before| *before != read_only) {
                    tracing::warn!(
                        event = "own_setting", database = %database.name, user = %role, read_only,
                        "default_transaction_read_only has changed on the server: pooled connections are opened anew"
                    );
                    pool.reconnect();
                    pool.make_welcome_stale();
                }
                own.insert(key, read_only);
                if !operators.iter().any(|name| **name == *role) {
                    any = true;
                    all &= read_only;
                }
            }
        }
        let for_anyone = |database: &Arc<Database>| {
            let setup = database.setup();
            settings.read_only(setup.settings.server_dbname(&database.name), None)
        };
        if any { all } else { names.first().is_some_and(for_anyone) }
    }
}

/// What the heartbeat of a database has found.
fn heartbeat(names: &[Arc<Database>]) -> Option<Automatic> {
    let since = names.iter().find_map(|one| one.heartbeat.failing())?;
    Some(Automatic::new(Closes::Writes, Cause::WritesFail, since, Lsn(0)))
}

/// The databases whose gates follow this cluster, each with all its names. Where names of one database are on several clusters, the
/// first of them counts.
fn owned(proxy: &ProxyState, cluster: &Arc<Cluster>) -> Vec<(Vec<Arc<Database>>, Arc<Database>)> {
    let here = proxy.databases.those(|one| Arc::ptr_eq(&one.peek_setup().cluster, cluster));
    // A database may have hundreds of names.
    let mut seen = HashSet::new();
    here.iter()
        .filter_map(|one| {
            if !seen.insert(Arc::as_ptr(&one.gate)) {
                return None;
            }
            let names = proxy.databases.of_gate(&one.gate);
            let first = names.first().is_none_or(|first| Arc::ptr_eq(first, one));
            first.then(|| (if names.is_empty() { vec![one.clone()] } else { names }, one.clone()))
        })
        .collect()
}

fn set(proxy: &ProxyState, database: &Arc<Database>, found: Option<Automatic>) {
    let gate = database.setup().gate.clone();
    proxy.gates.set_automatic(&gate, found);
}
