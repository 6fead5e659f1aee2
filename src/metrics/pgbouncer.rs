//! The names of prometheus-community's pgbouncer_exporter, beside ours.

use std::sync::atomic::Ordering::SeqCst;

use super::cores::Seen;
use super::families::{Families, Labels};
use super::pools;
use crate::config::ServerLogin;
use crate::shared::database::limit_of;
use crate::shared::stats::Totals;
use crate::shared::{Database, ProxyState, Setup};

pub(super) fn add(families: &mut Families, proxy: &ProxyState, setup: &Setup, seen: &Seen) {
    families.gauge("pgbouncer_up", "The pgbouncer scrape succeeded", |out| out.whole(vec![], 1));
    families.gauge("pgbouncer_version_info", "The pgbouncer version info", |out| {
        out.whole(vec![("version", concat!("pgsluice ", env!("CARGO_PKG_VERSION")).to_owned())], 1);
    });
    databases(families, proxy, setup);
    stats(families, proxy);
    by_pool(families, proxy, seen);
    lists(families, proxy, setup, seen);
}

fn of(database: &Database, setup: &Setup) -> Labels {
    let own = database.setup();
    let at = own.cluster.primary().unwrap_or(0);
    let address = own.cluster.upstreams.get(at).map(|upstream| &upstream.address);
    let forced = match own.settings.server_login() {
        ServerLogin::Client => "",
        ServerLogin::Forced { user, .. } => user,
    };
    let mode = (own.settings.pool_mode != setup.config.pooling.pool_mode).then(|| own.settings.pool_mode.as_str());
    vec![
        ("name", database.name.to_string()),
        ("host", address.map(|address| address.host_words().to_string()).unwrap_or_default()),
        ("port", address.map_or(0, |address| address.port()).to_string()),
        ("database", own.settings.server_dbname(&database.name).to_owned()),
        ("force_user", forced.to_owned()),
        ("pool_mode", mode.unwrap_or_default().to_owned()),
    ]
}

fn databases(families: &mut Families, proxy: &ProxyState, setup: &Setup) {
    let mut each = |name, help, get: &dyn Fn(&Database) -> usize| {
        families.gauge(name, help, |out| {
            proxy.databases.all().iter().for_each(|one| out.count(of(one, setup), get(one)));
        });
    };
    each("pgbouncer_databases_pool_size", "Maximum number of server connections", &|one| {
        one.setup().settings.pool_size as usize
    });
    each("pgbouncer_databases_reserve_pool", "Maximum number of additional connections for this database", &|one| {
        one.setup().settings.reserve_pool_size as usize
    });
    each("pgbouncer_databases_max_connections", "Maximum number of allowed connections for this database", &|one| {
        limit_of(one.setup().settings.max_db_connections)
    });
    each("pgbouncer_databases_current_connections", "Current number of connections for this database", &|one| {
        one.limit.used()
    });
    each("pgbouncer_databases_paused", "1 if this database is currently paused, else 0", &|one| one.is_paused().into());
    each("pgbouncer_databases_disabled", "1 if this database is currently disabled, else 0", &|one| {
        one.is_disabled().into()
    });
}

fn stats(families: &mut Families, proxy: &ProxyState) {
    let databases: Vec<(String, Totals)> =
        proxy.databases.all().iter().map(|one| (one.name.to_string(), one.stats.totals())).collect();
    let mut whole = |name, help, get: fn(&Totals) -> u64| {
        families.counter(name, help, |out| {
            databases.iter().for_each(|(name, totals)| out.whole(vec![("database", name.clone())], get(totals)));
        });
    };
    whole("pgbouncer_stats_queries_pooled", "Total number of SQL queries pooled", |all| all.queries);
    whole(
        "pgbouncer_stats_received_bytes",
        "Total volume in bytes of network traffic received by pgbouncer, shown as bytes",
        |all| all.received,
    );
    whole(
        "pgbouncer_stats_sent_bytes",
        "Total volume in bytes of network traffic sent by pgbouncer, shown as bytes",
        |all| all.sent,
    );
    whole("pgbouncer_stats_sql_transactions_pooled", "Total number of SQL transactions pooled", |all| all.xacts);
    whole(
        "pgbouncer_stats_client_parses",
        "Total number of prepared statement Parse messages received from clients",
        |all| all.client_parses,
    );
    whole(
        "pgbouncer_stats_server_parses",
        "Total number of prepared statement Parse messages sent by pgbouncer to PostgreSQL",
        |all| all.server_parses,
    );
    whole(
        "pgbouncer_stats_binds",
        "Total number of prepared statements readied for execution with a Bind message",
        |all| all.binds,
    );
    let mut time = |name, help, get: fn(&Totals) -> u64| {
        families.counter(name, help, |out| {
            for (name, totals) in &databases {
                out.real(vec![("database", name.clone())], get(totals) as f64 / 1e6);
            }
        });
    };
    time(
        "pgbouncer_stats_queries_duration_seconds",
        "Total number of seconds spent by pgbouncer when actively connected to PostgreSQL, executing queries",
        |all| all.query_time,
    );
    time("pgbouncer_stats_client_wait_seconds", "Time spent by clients waiting for a server in seconds", |all| {
        all.wait_time
    });
    time(
        "pgbouncer_stats_server_in_transaction_seconds",
        "Total number of seconds spent by pgbouncer when connected to PostgreSQL in a transaction, either idle in transaction or executing queries",
        |all| all.xact_time,
    );
}

fn by_pool(families: &mut Families, proxy: &ProxyState, seen: &Seen) {
    let pools = pools::all(proxy, seen);
    let of = |(database, user): &super::cores::Key| -> Labels {
        vec![("database", database.to_string()), ("user", user.to_string())]
    };
    let mut each = |name, help, get: fn(&super::cores::Counts, &pools::Servers) -> usize| {
        families.gauge(name, help, |out| {
            pools.iter().for_each(|(key, (clients, servers))| out.count(of(key), get(clients, servers)));
        });
    };
    each(
        "pgbouncer_pools_client_active_connections",
        "Client connections linked to server connection and able to process queries, shown as connection",
        |clients, _| clients.served(),
    );
    each(
        "pgbouncer_pools_client_waiting_connections",
        "Client connections waiting on a server connection, shown as connection",
        |clients, _| clients.waiting + clients.held,
    );
    each(
        "pgbouncer_pools_client_active_cancel_connections",
        "Client connections that have forwarded query cancellations to the server and are waiting for the server response",
        |clients, _| clients.cancelling,
    );
    each(
        "pgbouncer_pools_client_waiting_cancel_connections",
        "Client connections that have not forwarded query cancellations to the server yet",
        |_, _| 0,
    );
    each(
        "pgbouncer_pools_server_active_connections",
        "Server connections linked to a client connection, shown as connection",
        |clients, _| clients.linked,
    );
    each(
        "pgbouncer_pools_server_active_cancel_connections",
        "Server connections that are currently forwarding a cancel request.",
        |clients, _| clients.cancelling,
    );
    each(
        "pgbouncer_pools_server_being_canceled_connections",
        "Servers that normally could become idle but are waiting to do so until all in-flight cancel requests have completed that were sent to cancel a query on this server.",
        |_, _| 0,
    );
    each(
        "pgbouncer_pools_server_idle_connections",
        "Server connections idle and ready for a client query, shown as connection",
        |_, servers| servers.idle - servers.used,
    );
    each(
        "pgbouncer_pools_server_used_connections",
        "Server connections idle more than server_check_delay, needing server_check_query, shown as connection",
        |_, servers| servers.used,
    );
    each(
        "pgbouncer_pools_server_testing_connections",
        "Server connections currently running either server_reset_query or server_check_query, shown as connection",
        |clients, servers| servers.open.saturating_sub(servers.idle + servers.opening + clients.linked),
    );
    each(
        "pgbouncer_pools_server_login_connections",
        "Server connections currently in the process of logging in, shown as connection",
        |_, servers| servers.opening,
    );
    families.gauge(
        "pgbouncer_pools_client_maxwait_seconds",
        "Age of oldest unserved client connection, shown as second",
        |out| {
            pools.iter().for_each(|(key, (clients, _))| out.real(of(key), clients.longest_wait.as_secs() as f64));
        },
    );
}

fn lists(families: &mut Families, proxy: &ProxyState, setup: &Setup, seen: &Seen) {
    let mut one = |name, help, count: usize| families.gauge(name, help, |out| out.count(vec![], count));
    let connected = proxy.clients.load(SeqCst);
    let known = seen.cores.iter().map(|core| core.clients).sum();
    one("pgbouncer_databases", "Count of databases", proxy.databases.all().len());
    one("pgbouncer_users", "Count of users", setup.userlist.users().count());
    one("pgbouncer_pools", "Count of pools", pools::all(proxy, seen).len());
    one("pgbouncer_free_clients", "Count of free clients", 0);
    one("pgbouncer_used_clients", "Count of used clients", connected);
    one("pgbouncer_login_clients", "Count of clients in login state", connected.saturating_sub(known));
    one("pgbouncer_free_servers", "Count of free servers", 0);
    one("pgbouncer_used_servers", "Count of used servers", proxy.total.used());
    one("pgbouncer_cached_dns_names", "Count of DNS names in the cache", 0);
    one("pgbouncer_cached_dns_zones", "Count of DNS zones in the cache", 0);
    one("pgbouncer_in_flight_dns_queries", "Count of in-flight DNS queries", 0);
    let pooling = &setup.config.pooling;
    one(
        "pgbouncer_config_max_client_connections",
        "Config maximum number of client connections",
        pooling.max_client_conn as usize,
    );
    one(
        "pgbouncer_config_max_user_connections",
        "Config maximum number of server connections per user",
        limit_of(pooling.max_user_connections),
    );
}
