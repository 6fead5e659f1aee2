//! The console through drivers: the extended protocol with binary results, and an exporter's queries.

use std::error::Error;

use pgsluice_fixtures::Proxy;
use tokio_postgres::types::{FromSql, Type};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use crate::stand::{client, proxy};

async fn connect(proxy: &Proxy, user: &str, password: &str) -> Client {
    let url = format!("postgres://{user}:{password}@127.0.0.1:{}/pgbouncer", proxy.port());
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// numeric in binary, of whole numbers.
struct Numeric(u64);

impl<'a> FromSql<'a> for Numeric {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        let words: Vec<u64> = raw.chunks(2).map(|pair| u64::from(u16::from_be_bytes([pair[0], pair[1]]))).collect();
        let [count, weight, 0, 0, digits @ ..] = words.as_slice() else { return Err("not a whole number".into()) };
        if digits.len() as u64 != *count {
            return Err("digits".into());
        }
        let value = (0..=*weight as usize).fold(0, |sum, at| sum * 10_000 + digits.get(at).copied().unwrap_or(0));
        Ok(Numeric(if *count == 0 { 0 } else { value }))
    }
    fn accepts(kind: &Type) -> bool {
        *kind == Type::NUMERIC
    }
}

#[tokio::test]
async fn tokio_postgres_runs_every_command() {
    let proxy = tokio::task::spawn_blocking(proxy).await.unwrap();
    let mut app = client(&proxy);
    app.query("begin; insert into t values (7)", crate::stand::SOON).unwrap();
    let mut admin = connect(&proxy, "admin", "secret").await;

    let pools = admin.query("SHOW POOLS", &[]).await.unwrap();
    let pool = pools.iter().find(|row| row.get::<_, String>("database") == "app").unwrap();
    assert_eq!((pool.get::<_, i32>("cl_active"), pool.get::<_, i32>("sv_active")), (1, 1));
    assert_eq!(pool.get::<_, Option<String>>("load_balance_hosts"), None);
    app.query("commit", crate::stand::SOON).unwrap();
    let stats = admin.query("SHOW STATS", &[]).await.unwrap();
    let row = stats.iter().find(|row| row.get::<_, String>("database") == "app").unwrap();
    assert!(row.get::<_, Numeric>("total_received").0 > 0);

    for what in [
        "VERSION",
        "DATABASES",
        "CLIENTS",
        "SERVERS",
        "LISTS",
        "CONFIG",
        "STATE",
        "USERS",
        "MEM",
        "UPSTREAMS",
        "TOTALS",
        "MAINTENANCE",
    ] {
        let rows = admin.query(&format!("SHOW {what}"), &[]).await.unwrap();
        assert!(!rows.is_empty(), "SHOW {what}");
    }
    let on =
        admin.query_one("MAINTENANCE ON app WITH (message $1, drain_timeout '10s')", &[&"it's \"on\""]).await.unwrap();
    assert_eq!(on.get::<_, String>("message"), "it's \"on\"");
    assert_eq!((on.get::<_, bool>("changed"), on.get::<_, i64>("epoch")), (true, 1));
    let since: std::time::SystemTime = on.get("since");
    assert!(since.elapsed().unwrap() < crate::stand::SOON);
    admin.execute("MAINTENANCE OFF app", &[]).await.unwrap();
    for sql in [
        "PAUSE app",
        "RESUME app",
        "RECONNECT",
        "WAIT_CLOSE",
        "DISABLE app",
        "ENABLE app",
        "RELOAD",
        "SET extra_float_digits = 3",
    ] {
        admin.execute(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    let error = admin.query("FOO", &[]).await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "42601");
    assert_eq!(admin.query_one("SELECT 1", &[]).await.unwrap().get::<_, i32>(0), 1);
    let transaction = admin.transaction().await.unwrap();
    transaction.query("SHOW STATE", &[]).await.unwrap();
    transaction.commit().await.unwrap();
    assert!(admin.query("SELECT n FROM pg_class", &[]).await.unwrap().is_empty());
    let stats = connect(&proxy, "stats", "stats").await;
    assert_eq!(stats.query("PAUSE", &[]).await.unwrap_err().code().unwrap().code(), "42501");
    tokio::task::spawn_blocking(move || drop((proxy, app))).await.unwrap();
}

/// The columns that prometheus-community's pgbouncer_exporter (0.12) turns into numbers, and into which metric where that has
/// another name; and those it takes for labels.
const NUMBERS: &[(&str, &[(&str, &str)])] = &[
    (
        "DATABASES",
        &[
            ("pool_size", ""),
            ("reserve_pool", "reserve_pool"),
            ("reserve_pool_size", "reserve_pool"),
            ("max_connections", ""),
            ("current_connections", ""),
            ("paused", ""),
            ("disabled", ""),
        ],
    ),
    (
        "STATS_TOTALS",
        &[
            ("query_count", ""),
            ("query_time", ""),
            ("bytes_received", ""),
            ("bytes_sent", ""),
            ("wait_time", ""),
            ("xact_count", ""),
            ("xact_time", ""),
            ("client_parse_count", ""),
            ("server_parse_count", ""),
            ("bind_count", ""),
            ("server_assignment_count", ""),
        ],
    ),
    (
        "POOLS",
        &[
            ("cl_active", ""),
            ("cl_active_cancel_req", ""),
            ("cl_waiting", ""),
            ("cl_waiting_cancel_req", ""),
            ("sv_active", ""),
            ("sv_active_cancel", ""),
            ("sv_being_canceled", ""),
            ("sv_idle", ""),
            ("sv_used", ""),
            ("sv_tested", ""),
            ("sv_login", ""),
            ("maxwait", ""),
        ],
    ),
];
/// Metrics that a column feeds under two names, depending on PgBouncer's version: one of them has to be there, and one only.
const RENAMED: [&str; 1] = ["reserve_pool"];
const LABELS: &[(&str, &[&str])] = &[
    ("DATABASES", &["name", "host", "port", "database", "force_user", "pool_mode"]),
    ("STATS_TOTALS", &["database"]),
    ("POOLS", &["database", "user"]),
];

#[tokio::test]
async fn an_exporter_finds_what_it_reads() {
    let proxy = tokio::task::spawn_blocking(proxy).await.unwrap();
    let app = client(&proxy);
    let stats = connect(&proxy, "stats", "stats").await;
    let rows = async |sql: &str| -> Vec<tokio_postgres::SimpleQueryRow> {
        let found = stats.simple_query(sql).await.unwrap();
        found.into_iter().filter_map(|m| if let SimpleQueryMessage::Row(row) = m { Some(row) } else { None }).collect()
    };
    assert!(!rows("SHOW STATS").await.is_empty());
    let version = rows("SHOW VERSION;").await;
    assert_eq!((version.len(), version[0].len(), version[0].columns()[0].name()), (1, 1, "version"));
    let lists = rows("SHOW LISTS;").await;
    assert!(lists.iter().all(|row| row.len() == 2 && row.get(1).unwrap().parse::<f64>().is_ok()));
    for name in
        ["databases", "users", "pools", "free_clients", "used_clients", "login_clients", "free_servers", "used_servers"]
    {
        assert!(lists.iter().any(|row| row.get(0) == Some(name)), "{name}");
    }
    let config = rows("SHOW CONFIG;").await;
    for key in ["max_client_conn", "max_user_connections"] {
        let row = config.iter().find(|row| row.get(0) == Some(key)).unwrap();
        assert!(row.len() == 4 && row.get(1).unwrap().parse::<f64>().is_ok(), "{key}: {row:?}");
    }
    for ((what, columns), (_, labels)) in NUMBERS.iter().zip(LABELS) {
        let found = rows(&format!("SHOW {what};")).await;
        assert!(!found.is_empty());
        // Prometheus refuses everything if one metric comes twice with the same labels.
        let mut metrics = std::collections::BTreeSet::new();
        for row in &found {
            let labels: Vec<_> = labels.iter().map(|label| row.get(label)).collect();
            let has = |name: &str| row.columns().iter().any(|column| column.name() == name);
            for (column, metric) in columns.iter().filter(|(column, metric)| metric.is_empty() || has(column)) {
                let value = row.get(column).unwrap();
                assert!(value.parse::<f64>().is_ok(), "{what} {column}: {value}");
                let metric = if metric.is_empty() { column } else { metric };
                assert!(metrics.insert((*metric, labels.clone())), "{what} {metric} twice for {labels:?}");
            }
        }
        let renamed = columns.iter().map(|(_, metric)| metric).filter(|metric| RENAMED.contains(metric));
        for metric in renamed {
            assert!(metrics.iter().any(|(name, _)| name == metric), "{what} {metric}");
        }
    }
    for (what, columns) in LABELS {
        let statement = stats.prepare(&format!("SHOW {what};")).await.unwrap();
        for name in *columns {
            let column = statement.columns().iter().find(|column| column.name() == *name).unwrap();
            // The exporter knows no other types as labels.
            assert!([Type::TEXT, Type::INT4, Type::INT8].contains(column.type_()), "{what} {name}");
        }
    }
    let clients = stats.prepare("SHOW CLIENTS;").await.unwrap();
    for name in ["database", "user", "application_name", "state"] {
        assert!(
            clients.columns().iter().any(|column| column.name() == name && *column.type_() == Type::TEXT),
            "{name}"
        );
    }
    tokio::task::spawn_blocking(move || drop((proxy, app))).await.unwrap();
}
