//! Pools: clients and server connections of each pair of database and user, by what they do.

use std::collections::BTreeMap;

use super::cores::{Counts, Key, Seen};
use super::families::{Families, Labels};
use super::{MOST_POOLS, OTHERS};
use crate::shared::ProxyState;

/// Server connections of a pair.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Servers {
    pub(super) open: usize,
    pub(super) opening: usize,
    pub(super) idle: usize,
    pub(super) used: usize,
    /// Opened since the start.
    pub(super) opened: u64,
}

/// All pairs that have either.
pub(super) fn all(proxy: &ProxyState, seen: &Seen) -> BTreeMap<Key, (Counts, Servers)> {
    let check_after = proxy.setup.load().config.timeouts.server_check_delay;
    let mut pools: BTreeMap<Key, (Counts, Servers)> =
        seen.clients.iter().map(|(key, counts)| (key.clone(), (*counts, Servers::default()))).collect();
    for pool in proxy.databases.all().iter().flat_map(|database| database.pools()) {
        let (_, servers) = pools.entry((pool.database.clone(), pool.user.clone())).or_default();
        let counts = pool.counts();
        servers.open += counts.open;
        servers.opening += counts.opening;
        servers.opened += pool.opened();
        pool.each_idle(|conn| {
            servers.idle += 1;
            servers.used += usize::from(conn.peek().idle_since.elapsed() > check_after);
        });
    }
    pools
}

fn of((database, user): &Key) -> Labels {
    vec![("database", database.to_string()), ("user", user.to_string())]
}

fn with(key: &Key, state: &str) -> Labels {
    let mut labels = of(key);
    labels.push(("state", state.to_owned()));
    labels
}

/// Those beyond the bound are one.
fn bounded(all: BTreeMap<Key, (Counts, Servers)>) -> Vec<(Key, (Counts, Servers))> {
    let mut pools: Vec<_> = all.into_iter().collect();
    if pools.len() > MOST_POOLS {
        let rest = pools.split_off(MOST_POOLS);
        let mut others = (Counts::default(), Servers::default());
        for (_, (clients, servers)) in rest {
            others.0.add(&clients);
            others.1.open += servers.open;
            others.1.opening += servers.opening;
            others.1.idle += servers.idle;
            others.1.opened += servers.opened;
        }
        pools.push(((OTHERS.into(), OTHERS.into()), others));
    }
    pools
}

pub(super) fn add(families: &mut Families, proxy: &ProxyState, seen: &Seen) {
    let pools = bounded(all(proxy, seen));
    families.gauge("pgsluice_pool_clients", "Clients, by what they do.", |out| {
        for (key, (clients, _)) in &pools {
            for (state, count) in [
                ("idle", clients.idle),
                ("active", clients.active),
                ("idle_in_transaction", clients.idle_in_transaction),
                ("waiting", clients.waiting),
                ("held", clients.held),
                ("streaming", clients.streaming),
            ] {
                out.count(with(key, state), count);
            }
        }
    });
    families.gauge("pgsluice_pool_servers", "Server connections, by what they do.", |out| {
        for (key, (_, servers)) in &pools {
            let active = servers.open.saturating_sub(servers.idle + servers.opening);
            for (state, count) in [("active", active), ("idle", servers.idle), ("login", servers.opening)] {
                out.count(with(key, state), count);
            }
        }
    });
    families.counter("pgsluice_pool_opened", "Server connections that were opened.", |out| {
        pools.iter().for_each(|(key, (_, servers))| out.whole(of(key), servers.opened));
    });
    families.gauge(
        "pgsluice_pool_max_wait_seconds",
        "How long the client in line has waited that came first.",
        |out| {
            for (key, (clients, _)) in &pools {
                out.real(of(key), clients.longest_wait.as_secs_f64());
            }
        },
    );
    families.gauge(
        "pgsluice_pool_longest_transaction_seconds",
        "How long the oldest open transaction has been open.",
        |out| {
            for (key, (clients, _)) in &pools {
                out.real(of(key), clients.longest_transaction.as_secs_f64());
            }
        },
    );
    families.gauge(
        "pgsluice_pool_size",
        "Most server connections of each user of a database, unless its own settings say otherwise.",
        |out| {
            for database in proxy.databases.all() {
                let size = u64::from(database.setup().settings.pool_size);
                out.whole(vec![("database", database.name.to_string())], size);
            }
        },
    );
    families.gauge("pgsluice_paused", "1 for a database that is paused.", |out| {
        for database in proxy.databases.all() {
            out.flag(vec![("database", database.name.to_string())], database.is_paused());
        }
    });
    families.gauge("pgsluice_clients_pinned", "Clients that keep their server connection, by the reason.", |out| {
        for (why, count) in &seen.pinned {
            out.count(vec![("reason", (*why).to_owned())], *count);
        }
    });
}
