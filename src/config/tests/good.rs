//! Good configurations, and what comes out of them.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use super::{read, warnings, with};
use crate::config::*;

#[test]
fn the_least_configuration_has_the_documented_defaults() {
    let config = with("");
    assert_eq!(config.listen.listen_addr, [ListenAddr::Ip(Ipv4Addr::LOCALHOST.into())]);
    assert_eq!(config.listen.listen_port, 6432);
    assert_eq!(config.pooling.default_pool_size, 20);
    assert_eq!(config.pooling.max_client_conn, 10_000);
    assert_eq!(config.timeouts.query_wait_timeout.get(), Some(Duration::from_secs(120)));
    assert_eq!(config.timeouts.query_timeout, Timeout::OFF);
    assert_eq!(config.memory.max_message_size.bytes(), 256 << 20);
    assert_eq!(config.auth.auth_type, AuthType::ScramSha256);
    assert_eq!(config.credentials, Credentials::File("/etc/pgsluice/userlist.txt".into()));
    assert_eq!(config.maintenance, Maintenance::default());
    let app = config.database("app").unwrap();
    assert_eq!((app.cluster.as_str(), app.server_dbname("app")), ("main", "app"));
    assert_eq!(app.server_login(), ServerLogin::Client);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn every_way_to_write_a_value_is_read() {
    let config = with(
        "listen_addr = '127.0.0.1, [::1],localhost'\nunix_socket_mode = 0o770\nquery_timeout = 1.5\n\
         client_idle_timeout = 90\nserver_lifetime = '1 d'\nbuffer_size = 131_072\nverdict_cache_size = '1.5MB'\n\
         admin_users = 'root, dba'\nstats_users = ['mon, itor']\nserver_check_delay = 0\nmax_server_connections = 50\n",
    );
    assert_eq!(
        config.listen.listen_addr,
        [
            ListenAddr::Ip(Ipv4Addr::LOCALHOST.into()),
            ListenAddr::Ip(Ipv6Addr::LOCALHOST.into()),
            ListenAddr::Name("localhost".into())
        ]
    );
    assert_eq!(config.listen.unix_socket_mode.bits(), 0o770);
    assert_eq!(config.timeouts.query_timeout.get(), Some(Duration::from_millis(1500)));
    assert_eq!(config.timeouts.client_idle_timeout, Timeout::secs(90));
    assert_eq!(config.timeouts.server_lifetime, Timeout::secs(86_400));
    assert_eq!(config.timeouts.server_check_delay, Duration::ZERO);
    assert_eq!(config.memory.buffer_size.bytes(), 131_072);
    assert_eq!(config.memory.verdict_cache_size.bytes(), 3 << 19);
    assert_eq!(config.auth.admin_users, ["root", "dba"]);
    assert_eq!(config.auth.stats_users, ["mon, itor"], "in a list a comma is part of the name");
    assert_eq!(config.pooling.max_server_connections.get(), Some(50));
}

#[test]
fn a_database_carries_what_holds_for_it() {
    let config = read(
        "default_pool_size = 7\npool_mode = 'session'\nquery_wait_timeout = '30s'\nserver_tls_sslmode = 'require'\n\
         [maintenance]\ndrain_timeout = '1min'\nmessage = 'soon'\n\
         [databases.shop]\ncluster = 'copy'\ndbname = 'shop_v2'\npool_size = 3\nuser = 'svc'\npassword = 'pw'\nreads = 'prefer_replica'\n\
         [databases.shop.maintenance]\non_timeout = 'cancel'\n\
         [databases.'*']\ncluster = 'main'\npool_mode = 'transaction'\n\
         [clusters.main]\nupstreams = 'db1, db2:5433'\nmonitor_user = 'w'\n\
         [clusters.copy]\nupstreams = ['unix:/run/pg:5434']\nmonitor_user = 'w'\nserver_tls_sslmode = 'disable'\n",
    )
    .unwrap();
    let shop = config.database("shop").unwrap();
    assert_eq!((shop.pool_size, shop.pool_mode, shop.reads), (3, PoolMode::Session, Reads::PreferReplica));
    assert_eq!(shop.query_wait_timeout, Timeout::secs(30));
    assert_eq!(shop.server_dbname("shop"), "shop_v2");
    assert_eq!(shop.server_login(), ServerLogin::Forced { user: "svc", password: Some(&Secret::new("pw")) });
    assert_eq!(shop.maintenance.on_timeout, OnTimeout::Cancel);
    assert_eq!(shop.maintenance.drain_timeout, Duration::from_secs(60), "from [maintenance]");
    assert_eq!(shop.maintenance.message, "soon");
    let any = config.database("whatever").unwrap();
    assert_eq!((any.name.as_str(), any.pool_size, any.pool_mode), ("*", 7, PoolMode::Transaction));
    assert_eq!(any.server_dbname("whatever"), "whatever");
    for console in ["pgsluice", "pgbouncer", "*"] {
        assert_eq!(config.database(console), None, "{console}");
    }
    let main = &config.clusters["main"];
    assert_eq!(main.upstreams.iter().map(ToString::to_string).collect::<Vec<_>>(), ["db1:5432", "db2:5433"]);
    assert_eq!(main.server_tls.server_tls_sslmode, SslMode::Require);
    let copy = &config.clusters["copy"];
    assert_eq!(copy.server_tls.server_tls_sslmode, SslMode::Disable);
    assert_eq!(copy.upstreams[0].socket_path(), Some(PathBuf::from("/run/pg/.s.PGSQL.5434")));
}

#[test]
fn a_users_values_go_before_the_databases() {
    let config = with(
        "max_user_connections = 50\nquery_timeout = '10s'\n[users.alice]\npool_mode = 'session'\nquery_timeout = 0\n\
         max_user_connections = 0\n[users.bob]\npool_size = 2\n",
    );
    let app = config.database("app").unwrap();
    let alice = config.session(app, "alice");
    assert_eq!((alice.pool_mode, alice.pool_size), (PoolMode::Session, 20));
    assert_eq!((alice.query_timeout, config.max_user_connections("alice")), (Timeout::OFF, Limit::NONE));
    let bob = config.session(app, "bob");
    assert_eq!((bob.pool_mode, bob.pool_size), (PoolMode::Transaction, 2));
    assert_eq!(config.max_user_connections("carol").get(), Some(50));
}

#[test]
fn keys_may_be_dotted_or_inline() {
    let config = read(
        "maintenance.drain_timeout = '5s'\nclusters.main = { upstreams = ['db'], monitor_user = 'w' }\n\
         databases = { app = {}, 'x.y' = { pool_size = 4 } }\n",
    )
    .unwrap();
    assert_eq!(config.maintenance.drain_timeout, Duration::from_secs(5));
    assert_eq!(config.database("x.y").unwrap().pool_size, 4);
}

#[test]
fn what_is_doubtful_is_warned_of_and_taken() {
    let config = read(
        "listen_addr = '*'\nauth_type = 'trust'\nstate_file = ''\nadmin_users = ['root']\nstats_users = ['root']\n\
         [clusters.main]\nupstreams = ['db']\nmonitor_user = 'w'\n\
         [clusters.other]\nupstreams = ['DB:5432']\nmonitor_user = 'w'\n\
         [databases.app]\ncluster = 'main'\nmax_db_connections = 5\n",
    )
    .unwrap();
    assert_eq!(
        warnings(&config),
        [
            "t.toml:2: auth_type: \"trust\" lets in everybody who reaches the address it listens on",
            "t.toml:3: state_file: none: a restart opens every gate that was closed",
            "t.toml:5: stats_users: \"root\" is in admin_users already, which allows more",
            "t.toml:9: clusters.other: no database uses this cluster",
            "t.toml:10: clusters.other.upstreams: db:5432 is a server of cluster \"main\" too",
            "t.toml:14: databases.app.max_db_connections: smaller than pool_size, 20: a pool cannot fill",
        ]
    );
    assert_eq!(config.credentials, Credentials::None, "trust, and no file was named");
    assert_eq!(config.process.state_file, StateFile::Ephemeral);
    let missing = config.check_roles(|name| name != "root");
    assert_eq!(missing.len(), 2);
}

#[test]
fn show_config_has_every_key_once_and_no_password() {
    let config =
        with("pool_mode = 'session'\n[users.alice]\npool_size = 3\n[databases.b]\nuser = 'u'\npassword = 'hunter2'\n");
    let entries = config.entries();
    let mut keys: Vec<&str> = entries.iter().map(|e| e.key.as_str()).collect();
    let row = |key: &str| entries.iter().find(|e| e.key == key).unwrap();
    let mode = row("pool_mode");
    assert_eq!((mode.value.as_str(), mode.default.as_str(), mode.changeable), ("session", "transaction", true));
    assert!(!row("listen_port").changeable);
    assert_eq!(row("max_client_conn").value, "10000");
    assert_eq!(row("databases.b.password").value, "********");
    assert_eq!(row("databases.b.pool_mode").default, "session", "what the top of the file says");
    assert_eq!(row("users.alice.pool_size").value, "3");
    assert_eq!(row("clusters.main.upstreams").value, "10.0.0.1:5432");
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), count, "a key is shown twice");
}

#[test]
fn ten_thousand_databases_are_read_at_once() {
    let many: String = (0..10_000).map(|n| format!("[databases.d{n}]\npool_size = 3\nmin_pool_size = 4\n")).collect();
    let started = std::time::Instant::now();
    let errors = read(&format!("{}{many}", super::LEAST)).unwrap_err().errors;
    assert_eq!(errors.len(), 10_000);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    println!("{:?}", started.elapsed());
}

#[test]
fn the_http_endpoint() {
    let config = with("[http]\nlisten = '[::1]:6433'\ntoken = 'open'");
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let entries = config.entries();
    let shown = |key: &str| entries.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str());
    assert_eq!((shown("http.listen"), shown("http.token")), (Some("[::1]:6433"), Some("********")));
    let closed = with("[http]\nlisten = '*:6433'");
    let warned = warnings(&closed);
    assert!(warned.len() == 1 && warned[0].contains("nothing but health can be read"), "{warned:?}");
    for more in [
        "[http]\nlisten = '[::1]:6433'\nbanner_public = true",
        "[http]\nlisten = '[::1]:6433'\n[metrics]\npublic = true",
    ] {
        assert!(with(more).warnings.is_empty(), "{:?}", with(more).warnings);
    }
}
