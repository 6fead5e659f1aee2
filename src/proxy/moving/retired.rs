//! Servers that were the primary before a move, or before a person decided for another one. Nothing is kept of one that is a replica.
//! One that carries our fence is rid of it then: were it promoted one day by somebody else, nobody could write to it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::sleep;

use super::switchover::fence;
use super::talk::Talk;
use crate::moving::Retired;
use crate::shared::ProxyState;
use crate::topology::{Cluster, Role, Upstream};

/// How often they are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Looks after them; never ends by itself.
pub async fn watch_retired(proxy: Weak<ProxyState>) {
    loop {
        sleep(LOOK).await;
        let Some(proxy) = proxy.upgrade() else { return };
        for retired in proxy.moves.retired() {
            let Some((cluster, _)) = proxy.databases.cluster(&retired.cluster) else { continue };
            let Some(at) = cluster.find_server(&retired.server) else { continue };
            let Some(role) = cluster.upstreams.get(at).map(Upstream::role) else { continue };
            if retired.fenced {
                look_after(&proxy, (&cluster, at, role), retired).await;
            } else if role == Role::Replica {
                forget(&proxy, retired).await;
            }
        }
    }
}

/// A replica may be promoted one day, to a timeline of that number even if the one of before was given up.
async fn forget(proxy: &ProxyState, retired: Retired) {
    let forgotten = move |known: &mut Vec<Retired>| known.retain(|one| *one != retired);
    if let Err(error) = proxy.moves.retire(forgotten).await {
        tracing::warn!(event = "retirement_not_forgotten", "{error}");
    }
}

async fn look_after(proxy: &Arc<ProxyState>, (cluster, at, role): (&Arc<Cluster>, usize, Role), retired: Retired) {
    let busy =
        proxy.moves.all().into_iter().any(|entry| entry.end.is_none() && entry.scope.clusters.contains(&cluster.name));
    // Timeline 0: it is the primary, and could not be reached when a move went back.
    let may = match role {
        Role::Replica => true,
        Role::Primary => retired.timeline == 0,
        Role::Unknown | Role::Down => false,
    };
    let Some(mut talk) = Talk::with(proxy, cluster, at).filter(|_| may && !busy) else { return };
    if let Err(why) = fence::lift(&mut talk).await {
        tracing::warn!(event = "fence_not_lifted", upstream = %retired.server, "{why}");
        return;
    }
    tracing::info!(event = "fence_lifted", upstream = %retired.server, "default_transaction_read_only is reset");
    let lifted = move |known: &mut Vec<Retired>| {
        let is_it = |one: &&mut Retired| one.cluster == retired.cluster && one.server == retired.server;
        known.iter_mut().filter(is_it).for_each(|one| one.fenced = false);
        known.retain(|one| one.fenced || one.timeline != 0);
    };
    if let Err(error) = proxy.moves.retire(lifted).await {
        tracing::warn!(event = "fence_not_forgotten", "{error}");
    }
}
