//! SHOW DATABASES

use super::seen::Seen;
use crate::admin::table::{Cell, Column, Table, columns};
use crate::config::{Reads, ServerLogin};
use crate::proxy::reroute::{configured_place, place_of};
use crate::shared::database::limit_of;
use crate::shared::{Database, ProxyState};

/// PgBouncer's since 1.24; after `disabled`: what is pgsluice's own. `reserve_pool`, the older name of `reserve_pool_size`, must not
/// stand beside it: exporters know both, and refuse to give one metric twice.
pub const COLUMNS: &[Column] = columns![
    name Text, host Text, port Int4, database Text, force_user Text, pool_size Int4, min_pool_size Int4, reserve_pool_size Int4,
    server_lifetime Int4, pool_mode Text, load_balance_hosts Text, max_connections Int4, current_connections Int4,
    max_client_connections Int4, current_client_connections Int4, paused Int4, disabled Int4, cluster Text, mode Text,
    rerouted_from Text,
];

/// The name of the console in PgBouncer's tables.
pub const CONSOLE: &str = "pgbouncer";

/// The rows.
pub fn table(proxy: &ProxyState, seen: &Seen) -> Table {
    let mut table = Table::new(COLUMNS);
    for database in proxy.databases.all() {
        table.push(row(proxy, seen, &database));
    }
    if proxy.setup.load().config.process.pgbouncer_compatible {
        table.push(console(proxy, seen));
    }
    table
}

/// PgBouncer's console is a database among others.
fn console(proxy: &ProxyState, seen: &Seen) -> [Cell; 20] {
    let config = &proxy.setup.load().config;
    let clients = seen.clients.iter().filter(|client| client.console).count();
    let none = || Cell::Int(0);
    [
        CONSOLE.into(),
        Cell::Null,
        u64::from(config.listen.listen_port).into(),
        CONSOLE.into(),
        CONSOLE.into(),
        Cell::Int(2),
        none(),
        none(),
        config.timeouts.server_lifetime.get().map_or(0, |lifetime| lifetime.as_secs()).into(),
        "statement".into(),
        Cell::Null,
        none(),
        none(),
        limit_of(config.pooling.max_db_client_connections).into(),
        clients.into(),
        none(),
        none(),
        Cell::Null,
        Cell::Null,
        Cell::Null,
    ]
}

fn row(proxy: &ProxyState, seen: &Seen, database: &Database) -> [Cell; 20] {
    let config = &proxy.setup.load().config;
    let setup = database.setup();
    let settings = &setup.settings;
    // The server that takes writes; before it is known, the first that could be it.
    let at = setup.cluster.primary().unwrap_or(0);
    let address = setup.cluster.upstreams.get(at).map(|upstream| &upstream.address);
    let clients = seen.clients.iter().filter(|client| !client.console && client.database == database.name).count();
    let forced = match settings.server_login() {
        ServerLogin::Client => None,
        ServerLogin::Forced { user, .. } => Some(user),
    };
    let balanced = (setup.cluster.upstreams.len() > 1)
        .then(|| if settings.reads == Reads::Primary { "disable" } else { "round-robin" });
    let other_mode = (settings.pool_mode != config.pooling.pool_mode).then(|| settings.pool_mode.as_str());
    [
        (*database.name).into(),
        address.map(|address| address.host_words()).into(),
        u64::from(address.map_or(0, |address| address.port())).into(),
        settings.server_dbname(&database.name).into(),
        forced.into(),
        u64::from(settings.pool_size).into(),
        u64::from(settings.min_pool_size).into(),
        u64::from(settings.reserve_pool_size).into(),
        settings.server_lifetime.get().map_or(0, |lifetime| lifetime.as_secs()).into(),
        other_mode.into(),
        balanced.into(),
        limit_of(settings.max_db_connections).into(),
        database.limit.used().into(),
        limit_of(settings.max_db_client_connections).into(),
        clients.into(),
        Cell::Int(database.is_paused().into()),
        Cell::Int(database.is_disabled().into()),
        setup.cluster.name.as_str().into(),
        database.gate.state().mode.as_str().into(),
        rerouted_from(proxy, database).into(),
    ]
}

/// What the configuration says, where clients are led elsewhere.
fn rerouted_from(proxy: &ProxyState, database: &Database) -> Option<String> {
    let configured = configured_place(proxy, database);
    (configured != place_of(database)).then(|| configured.to_string())
}
