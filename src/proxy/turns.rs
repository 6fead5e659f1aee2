//! What follows when a server is not what it was: its idle connections close, whoever waits for one chooses again, and whoever
//! has one looks whether it may still be used.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};

use crate::shared::{Database, Hub, Phase};
use crate::topology::Cluster;
use crate::topology::monitor::Follower;

/// Tells the sessions of a hub.
pub struct Turns(pub Weak<Hub>);

impl Follower for Turns {
    fn identified<'a>(&'a self) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            let Some(hub) = self.0.upgrade() else { return };
            for gate in hub.databases.find_same_servers() {
                super::maintenance::environment::tell_flip(&hub, gate).await;
            }
        })
    }

    fn turned<'a>(&'a self, cluster: &'a Arc<Cluster>, _: usize) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            let Some(hub) = self.0.upgrade() else { return };
            let of_cluster = |database: &Arc<Database>| Arc::ptr_eq(&database.setup().cluster, cluster);
            let databases: Vec<_> = hub.databases.all().into_iter().filter(of_cluster).collect();
            for pool in databases.iter().flat_map(|database| database.pools()) {
                pool.close_turned();
            }
            let cluster = cluster.clone();
            hub.on_every_core(move |core| {
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

fn is_among(databases: &[Arc<Database>], own: &Arc<Database>) -> bool {
    databases.iter().any(|database| Arc::ptr_eq(database, own))
}

/// Has everybody who waits for a server connection of these databases choose again.
pub async fn choose_again(hub: &Hub, databases: Vec<Arc<Database>>) {
    hub.on_every_core(move |core| {
        for client in core.clients() {
            let concerned = client.database.as_ref().is_some_and(|own| is_among(&databases, own));
            if concerned && client.phase.get() == Phase::Waiting {
                client.ask_turn();
            }
        }
    })
    .await;
}
