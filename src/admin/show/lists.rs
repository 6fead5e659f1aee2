//! SHOW LISTS, SHOW USERS and SHOW MEM: what there is, counted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

use super::seen::Seen;
use crate::admin::table::{Cell, Column, Table, columns};
use crate::shared::ProxyState;
use crate::shared::database::limit_of;

/// SHOW LISTS
pub const LISTS: &[Column] = columns![list Text, items Int4];
/// SHOW USERS
pub const USERS: &[Column] = columns![
    name Text, pool_size Text, reserve_pool_size Text, pool_mode Text, max_user_connections Int4, current_connections Int4,
    max_user_client_connections Int4, current_client_connections Int4,
];
/// SHOW MEM
pub const MEM: &[Column] = columns![name Text, size Int4, used Int4, free Int4, memtotal Int8];

/// Users of the list, of the configuration, and those that are here.
fn names(proxy: &ProxyState, seen: &Seen) -> BTreeSet<String> {
    let setup = proxy.setup.load();
    let listed = setup.userlist.users().map(str::to_owned);
    let configured = setup.config.users.keys().cloned();
    let here = seen.clients.iter().map(|client| client.user.to_string());
    // Those of pools as well: with auth_type trust nobody is listed.
    let pools = proxy.databases.all().into_iter().flat_map(|database| database.pools());
    listed.chain(configured).chain(here).chain(pools.map(|pool| pool.user.to_string())).collect()
}

/// SHOW LISTS
pub fn lists(proxy: &ProxyState, seen: &Seen) -> Table {
    let databases = proxy.databases.all();
    let pools: BTreeSet<(Arc<str>, Arc<str>)> = databases
        .iter()
        .flat_map(|database| database.pools())
        .map(|pool| (pool.database.clone(), pool.user.clone()))
        .collect();
    let connected = proxy.clients.load(SeqCst);
    let count = |counter: &AtomicU64| usize::try_from(counter.load(SeqCst)).unwrap_or(usize::MAX);
    let mut table = Table::new(LISTS);
    for (list, items) in [
        ("databases", databases.len()),
        ("users", names(proxy, seen).len()),
        ("peers", 0),
        ("pools", pools.len()),
        ("peer_pools", 0),
        ("free_clients", 0),
        ("used_clients", connected),
        ("login_clients", connected.saturating_sub(seen.clients.len())),
        ("free_servers", 0),
        ("used_servers", proxy.total.used()),
        ("dns_names", 0),
        ("dns_zones", 0),
        ("dns_queries", 0),
        ("dns_pending", 0),
        // Ours: log-ins that were refused since the start, and those of them that max_client_conn refused.
        ("failed_logins", count(&proxy.stats.failed_logins)),
        ("too_many_clients", count(&proxy.stats.too_many_clients)),
    ] {
        table.push([list.into(), items.into()]);
    }
    table
}

/// SHOW USERS
pub fn users(proxy: &ProxyState, seen: &Seen) -> Table {
    let setup = proxy.setup.load();
    let mut clients: BTreeMap<&str, usize> = BTreeMap::new();
    for client in &seen.clients {
        *clients.entry(&client.user).or_default() += 1;
    }
    let mut servers: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    for pool in proxy.databases.all().iter().flat_map(|database| database.pools()) {
        *servers.entry(pool.user.clone()).or_default() += pool.counts().open;
    }
    let mut table = Table::new(USERS);
    for name in names(proxy, seen) {
        let own = setup.config.users.get(&name);
        let size = |of: Option<u32>| Cell::from(of.map_or_else(String::new, |size| size.to_string()));
        let most = setup.config.max_user_connections(&name);
        table.push([
            name.as_str().into(),
            size(own.and_then(|user| user.pool_size)),
            size(own.and_then(|user| user.reserve_pool_size)),
            own.and_then(|user| user.pool_mode).map(|mode| mode.as_str()).into(),
            limit_of(most).into(),
            servers.get(name.as_str()).copied().unwrap_or(0).into(),
            limit_of(setup.config.max_user_client_connections(&name)).into(),
            clients.get(name.as_str()).copied().unwrap_or(0).into(),
        ]);
    }
    table
}

/// SHOW MEM: what grows with use. `size` is the mean of one, and `memtotal` what they take together, in bytes.
pub fn mem(seen: &Seen) -> Table {
    let kept = &seen.kept;
    let mut table = Table::new(MEM);
    let mean = kept.verdict_bytes.checked_div(kept.verdicts).unwrap_or(0);
    table.push(["verdict_cache".into(), mean.into(), kept.verdicts.into(), Cell::Int(0), kept.verdict_bytes.into()]);
    let client = std::mem::size_of::<crate::shared::Client>();
    let clients = seen.clients.len();
    table.push(["clients".into(), client.into(), clients.into(), Cell::Int(0), (client * clients).into()]);
    let statement = std::mem::size_of::<crate::shared::Statement>();
    let total = statement * kept.statements;
    table.push(["prepared_statements".into(), statement.into(), kept.statements.into(), Cell::Int(0), total.into()]);
    table
}
