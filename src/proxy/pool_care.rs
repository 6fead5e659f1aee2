//! What is done for pools once a second: server connections that are too old, idle for too long or dead are closed, `min_pool_size`
//! of them are kept warm, and a pool that nobody uses is forgotten.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::interval;

use crate::auth::Credential;
use crate::config::Timeout;
use crate::log::millis;
use crate::server::{KindTag, Pool};
use crate::shared::{Database, ProxyState};

const TICK: Duration = Duration::from_secs(1);

/// When each pool was last used, by its address.
type LastUsed = HashMap<usize, Instant>;

/// Looks after all pools for as long as the process runs.
pub async fn watch_pools(proxy: Arc<ProxyState>) {
    let mut tick = interval(TICK);
    let mut used = LastUsed::new();
    loop {
        tick.tick().await;
        // Another process takes over: pools are filled there.
        if proxy.offers.load().is_some() {
            continue;
        }
        let now = Instant::now();
        let mut next = LastUsed::new();
        for database in proxy.databases.all() {
            let open = !database.gate.state().mode.reports_read_only();
            let setup = database.setup();
            let primary = setup.cluster.primary();
            if let (Some(user), Some(at)) = (setup.warm_user(), primary) {
                let _ = database.pool(&user, at, &Credential::None);
            }
            for pool in database.pools() {
                pool.close_dead();
                note_use(&pool, used.get(&key(&pool)).copied(), now, &mut next);
                if pool.is_barred() {
                    continue;
                }
                let least = if Some(pool.upstream) == primary { setup.settings.min_pool_size as usize } else { 0 };
                pool.guarantee(least);
                close_old(&proxy, &database, &pool, least);
                if pool.counts().open < least && !database.is_paused() {
                    // Opened on a core: its reactor has to know the socket.
                    let tag = if open { KindTag::Unguarded } else { KindTag::Guarded };
                    proxy
                        .on_core(0, move |_| {
                            tokio::task::spawn_local(async move {
                                while pool.warm(least, tag, 0).await.unwrap_or(false) {}
                            });
                        })
                        .await;
                }
            }
            forget_idle(&proxy, &database, &next);
        }
        used = next;
    }
}

fn key(pool: &Arc<Pool>) -> usize {
    Arc::as_ptr(pool).addr()
}

/// Notes when a pool was last used: now, if a connection of it is in use, waited for or being opened.
fn note_use(pool: &Arc<Pool>, before: Option<Instant>, now: Instant, next: &mut LastUsed) {
    let (mut idle, mut last) = (0, before.unwrap_or(now));
    pool.each_idle(|conn| {
        idle += 1;
        last = last.max(conn.peek().idle_since);
    });
    let counts = pool.counts();
    let busy = counts.open > idle || counts.waiting > 0 || counts.opening > 0;
    next.insert(key(pool), if busy { now } else { last });
}

fn old(since: Instant, limit: Timeout) -> bool {
    limit.get().is_some_and(|limit| since.elapsed() > limit)
}

/// Closes connections that are too old or idle for too long; `least` are kept, if they are not too old.
fn close_old(proxy: &ProxyState, database: &Database, pool: &Pool, least: usize) {
    let idle_timeout = proxy.setup.load().config.timeouts.server_idle_timeout;
    let lifetime = database.setup().settings.server_lifetime;
    pool.close_idle("server lifetime over", |conn| old(conn.peek().opened, lifetime));
    let spare = std::cell::Cell::new(pool.counts().open.saturating_sub(least));
    pool.close_idle("server idle timeout", |conn| {
        let close = old(conn.peek().idle_since, idle_timeout) && spare.get() > 0;
        spare.set(spare.get() - usize::from(close));
        close
    });
}

/// Forgets pools that were not used for pool_idle_timeout, of a database that has no clients. Those of which some connections are to
/// be kept stay, even while none can be opened.
fn forget_idle(proxy: &ProxyState, database: &Database, used: &LastUsed) {
    let limit = proxy.setup.load().config.timeouts.pool_idle_timeout;
    if limit.get().is_none() || database.clients() > 0 || database.setup().warm_user().is_some() {
        return;
    }
    database.forget_pools(|pool| {
        let Some(since) = used.get(&key(pool)).copied().filter(|since| old(*since, limit)) else { return false };
        let forgets = pool.counts().open == 0 && !pool.is_guaranteed_any();
        if forgets {
            tracing::info!(
                event = "idle_pool", database = %pool.database, user = %pool.user, age_ms = millis(since.elapsed()),
                "a pool that nobody uses is forgotten"
            );
        }
        forgets
    });
}
