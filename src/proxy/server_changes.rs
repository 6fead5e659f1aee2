//! What follows when a server is not what it was: its idle connections close, whoever waits for one chooses again, and whoever
//! has one looks whether it may still be used.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};

use crate::moving::LatestPrimary;
use crate::shared::{Database, Phase, ProxyState};
use crate::topology::monitor::Follower;
use crate::topology::{Activity, Cluster};

/// Tells the sessions of the proxy's state.
pub struct ServerChanges(pub Weak<ProxyState>);

impl Follower for ServerChanges {
    fn identified<'a>(&'a self) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            let Some(proxy) = self.0.upgrade() else { return };
            for gate in proxy.databases.find_same_servers() {
                super::maintenance::environment::tell_flip(&proxy, gate).await;
            }
        })
    }

    fn moved(&self, cluster: &Arc<Cluster>, at: usize) {
        let Some(proxy) = self.0.upgrade() else { return };
        if let Some(upstream) = cluster.upstreams.get(at) {
            upstream.watch.move_on();
        }
        for database in of_cluster(&proxy, cluster) {
            database.pools().iter().filter(|pool| pool.upstream == at).for_each(|pool| pool.reconnect());
        }
    }

    fn renewed(&self, cluster: &Arc<Cluster>, at: usize) {
        let Some(proxy) = self.0.upgrade() else { return };
        for database in of_cluster(&proxy, cluster) {
            database.pools().iter().filter(|pool| pool.upstream == at).for_each(|pool| pool.make_welcome_stale());
        }
    }

    fn activity(&self, cluster: &Arc<Cluster>) -> Activity {
        let mut activity = Activity { begun: 0, open: 0 };
        let Some(proxy) = self.0.upgrade() else { return activity };
        for database in of_cluster(&proxy, cluster) {
            // What is open is counted first: it has begun before it is open.
            activity.open += database.gate.in_flight() as u64;
            activity.begun += database.stats.totals().write_tickets + database.gate.ruled().1;
        }
        activity
    }

    fn has_uncounted<'a>(&'a self, cluster: &'a Arc<Cluster>) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        Box::pin(async move {
            let Some(proxy) = self.0.upgrade() else { return true };
            let databases = of_cluster(&proxy, cluster);
            let uncounted = proxy.on_every_core(move |core| {
                let is_here = |client: &std::rc::Rc<crate::shared::Client>| {
                    client.operator && client.database.as_ref().is_some_and(|own| is_among(&databases, own))
                };
                core.clients().iter().any(is_here)
            });
            uncounted.await.contains(&true)
        })
    }

    fn turned<'a>(&'a self, cluster: &'a Arc<Cluster>, _: usize) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            let Some(proxy) = self.0.upgrade() else { return };
            note_primary(&proxy, cluster).await;
            let databases = of_cluster(&proxy, cluster);
            for pool in databases.iter().flat_map(|database| database.pools()) {
                pool.close_turned();
            }
            let cluster = cluster.clone();
            proxy
                .on_every_core(move |core| {
                    for client in core.clients() {
                        let concerned = client.database.as_ref().is_some_and(|own| is_among(&databases, own));
                        let waits = client.phase.get() == Phase::Waiting && !client.aim.get().is_good(&cluster);
                        if concerned && (waits || client.cancel.borrow().is_some()) {
                            client.ask_turn();
                        }
                    }
                })
                .await;
        })
    }
}

/// A restart beside a primary of before has to know that it is one.
async fn note_primary(proxy: &ProxyState, cluster: &Cluster) {
    let Some((system_identifier, timeline)) = cluster.latest_primary().filter(|_| !cluster.has_several_primaries())
    else {
        return;
    };
    let latest = LatestPrimary { cluster: cluster.name.clone(), system_identifier, timeline };
    if let Err(error) = proxy.moves.note_primary(latest).await {
        tracing::warn!(event = "primary_not_noted", cluster = cluster.name, "{error}");
    }
}

fn of_cluster(proxy: &ProxyState, cluster: &Arc<Cluster>) -> Vec<Arc<Database>> {
    proxy.databases.all().into_iter().filter(|database| Arc::ptr_eq(&database.setup().cluster, cluster)).collect()
}

fn is_among(databases: &[Arc<Database>], own: &Arc<Database>) -> bool {
    databases.iter().any(|database| Arc::ptr_eq(database, own))
}

/// Has everybody who waits for a server connection of these databases choose again.
pub async fn choose_again(proxy: &ProxyState, databases: Vec<Arc<Database>>) {
    proxy
        .on_every_core(move |core| {
            for client in core.clients() {
                let concerned = client.database.as_ref().is_some_and(|own| is_among(&databases, own));
                if concerned && client.phase.get() == Phase::Waiting {
                    client.ask_turn();
                }
            }
        })
        .await;
}
