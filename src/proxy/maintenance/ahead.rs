//! Server connections that are opened ahead of a flip of the gate, of the kind that is wanted behind it.
//!
//! At a flip every connection of the other kind is closed: the gate opens them in place of those by the time that it flips, so that
//! clients that are at work need not wait for log-ins. As many as half of those that a pool has used lately are changed, the
//! rest serves meanwhile. They are held until the flip, for before that nobody could use them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout_at;

use crate::server::guard::Kind;
use crate::server::{AnyConn, Guarded, KindTag, Pool, Unguarded};
use crate::shared::{Database, ProxyState};

/// A flip waits no longer than this for them.
const PATIENCE: Duration = Duration::from_millis(400);

/// A connection that was used within this is in use.
const LATELY: Duration = Duration::from_secs(1);

/// Connections of one pool that are opened ahead.
const MOST: usize = 32;

/// Connections that were opened ahead. They go to their pools when this is dropped.
#[derive(Default)]
pub struct Ahead(Vec<AnyConn>);

impl Drop for Ahead {
    fn drop(&mut self) {
        for mut conn in self.0.drain(..) {
            let pool = conn.server().permit.pool().clone();
            pool.give_back(conn);
        }
    }
}

/// Opens connections to the primary of that kind for pools that are at work.
pub async fn open(proxy: &Arc<ProxyState>, databases: &[Arc<Database>], tag: KindTag) -> Ahead {
    let deadline = Instant::now() + PATIENCE;
    let mut opening = Vec::new();
    for database in databases {
        let primary = database.setup().cluster.primary();
        for pool in database.pools().into_iter().filter(|pool| Some(pool.upstream) == primary && !pool.is_barred()) {
            let wanted = (pool.used_within(LATELY) / 2).min(MOST);
            for core in 0..proxy.cores() {
                // Each core opens its share.
                let share = wanted / proxy.cores() + usize::from(core < wanted % proxy.cores());
                if share > 0 {
                    opening.push(open_on(proxy, core, pool.clone(), tag, share, deadline).await);
                }
            }
        }
    }
    let mut ahead = Ahead::default();
    for opened in opening.into_iter().flatten() {
        // A core that goes has closed its own.
        if let Ok(conns) = opened.await {
            ahead.0.extend(conns);
        }
    }
    ahead
}

/// Has a core open some, one after the other.
async fn open_on(
    proxy: &ProxyState,
    core: usize,
    pool: Arc<Pool>,
    tag: KindTag,
    share: usize,
    deadline: Instant,
) -> Option<oneshot::Receiver<Vec<AnyConn>>> {
    let job = move |_: &std::rc::Rc<crate::shared::WorkerState>| {
        let (tell, told) = oneshot::channel();
        tokio::task::spawn_local(async move {
            let mut opened = Vec::new();
            while opened.len() < share {
                let taken = match tag {
                    KindTag::Guarded => take::<Guarded>(&pool, core, deadline).await,
                    KindTag::Unguarded => take::<Unguarded>(&pool, core, deadline).await,
                };
                let Some(conn) = taken else { break };
                opened.push(conn);
            }
            if let Err(unwanted) = tell.send(opened) {
                drop(Ahead(unwanted));
            }
        });
        told
    };
    proxy.on_core(core, job).await
}

async fn take<K: Kind>(pool: &Arc<Pool>, core: usize, deadline: Instant) -> Option<AnyConn>
where
    AnyConn: From<crate::server::Conn<K>>,
{
    let taken = timeout_at(deadline.into(), pool.take::<K>(core, deadline)).await;
    taken.ok()?.ok().map(AnyConn::from)
}
