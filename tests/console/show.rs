//! SHOW: PgBouncer's columns, and numbers that are true.

use pgsluice_fixtures::wait;

use crate::stand::{SOON, client, config, console, printed, proxy, proxy_with, psql, raw, rows, table};

/// Columns of PgBouncer 1.24 and after them ours.
const COLUMNS: &[(&str, &str)] = &[
    ("VERSION", "version"),
    (
        "DATABASES",
        "name|host|port|database|force_user|pool_size|min_pool_size|reserve_pool_size|server_lifetime|pool_mode|\
         load_balance_hosts|max_connections|current_connections|max_client_connections|current_client_connections|paused|\
         disabled|cluster|mode|rerouted_from",
    ),
    (
        "POOLS",
        "database|user|cl_active|cl_waiting|cl_active_cancel_req|cl_waiting_cancel_req|sv_active|sv_active_cancel|\
         sv_being_canceled|sv_idle|sv_used|sv_tested|sv_login|maxwait|maxwait_us|pool_mode|load_balance_hosts|mode",
    ),
    (
        "CLIENTS",
        "type|user|database|replication|state|addr|port|local_addr|local_port|connect_time|request_time|wait|wait_us|\
         close_needed|ptr|link|remote_pid|tls|application_name|prepared_statements|id|operator|write_capable|in_transaction|\
         pinned",
    ),
    (
        "SERVERS",
        "type|user|database|replication|state|addr|port|local_addr|local_port|connect_time|request_time|wait|wait_us|\
         close_needed|ptr|link|remote_pid|tls|application_name|prepared_statements|id|guarded|role|operator",
    ),
    (
        "STATS",
        "database|total_server_assignment_count|total_xact_count|total_query_count|total_received|total_sent|\
         total_xact_time|total_query_time|total_wait_time|total_client_parse_count|total_server_parse_count|\
         total_bind_count|total_client_login_count|avg_server_assignment_count|avg_xact_count|avg_query_count|avg_recv|avg_sent|avg_xact_time|\
         avg_query_time|avg_wait_time|avg_client_parse_count|avg_server_parse_count|avg_bind_count|avg_client_login_count|total_refused_count|\
         total_replica_xact_count",
    ),
    (
        "STATS_TOTALS",
        "database|server_assignment_count|xact_count|query_count|bytes_received|bytes_sent|xact_time|query_time|wait_time|\
         client_parse_count|server_parse_count|bind_count|client_login_count|refused_count|replica_xact_count",
    ),
    (
        "STATS_AVERAGES",
        "database|server_assignment_count|xact_count|query_count|bytes_received|bytes_sent|xact_time|query_time|wait_time|\
         client_parse_count|server_parse_count|bind_count|client_login_count",
    ),
    ("TOTALS", "name|value"),
    ("LISTS", "list|items"),
    ("CONFIG", "key|value|default|changeable"),
    ("CONFIG NOTES", "key|value|note"),
    ("STATE", "key|value"),
    (
        "USERS",
        "name|pool_size|reserve_pool_size|pool_mode|max_user_connections|current_connections|\
         max_user_client_connections|current_client_connections",
    ),
    ("MEM", "name|size|used|free|memtotal"),
    (
        "UPSTREAMS",
        "cluster|upstream|role|lsn|lag_bytes|lag_ms|version|read_only|error|state|reason|timeline|system_identifier|\
         connections_left|read_only_databases",
    ),
    ("HBA", "rule_number|file_name|line_number|type|database|user_name|address|netmask|auth_method|options|error"),
    (
        "MAINTENANCE",
        "database|mode|epoch|since|message|until|expire_at|writes|reads|on_timeout|drain_timeout|quiesced_at|quiesced_lsn|\
         in_flight|under_way|progress|who|address|maintenance|held|discarded|allowed|cause|reason",
    ),
    ("DNS_HOSTS", "hostname|ttl|addrs"),
    ("DNS_ZONES", "zonename|serial|count"),
    ("PEERS", "peer_id|host|port|pool_size"),
    ("PEER_POOLS", "peer_id|cl_active_cancel_req|cl_waiting_cancel_req|sv_active_cancel|sv_login"),
];

#[test]
fn every_table_has_its_columns() {
    let proxy = proxy();
    let _client = client(&proxy);
    for database in ["pgsluice", "pgbouncer"] {
        for (what, columns) in COLUMNS {
            let sql = format!("SHOW {what}");
            let text = printed(&psql(&proxy, "stats", database, &["-A", "-P", "footer=off", "-c", &sql]));
            assert_eq!(text.lines().next().unwrap_or_default(), *columns, "{sql}");
            let widths = text.lines().map(|line| line.split('|').count());
            assert!(widths.clone().all(|width| width == columns.split('|').count()), "{sql}: {text}");
        }
    }
    let help = psql(&proxy, "stats", "pgsluice", &["-c", "SHOW HELP"]);
    assert!(String::from_utf8_lossy(&help.stderr).contains("MAINTENANCE ON db|*"), "{help:?}");
}

#[test]
fn an_open_transaction_and_who_waits_behind_it() {
    let proxy = proxy_with(&config("default_pool_size = 1", ""));
    let mut console = console(&proxy);
    let mut first = client(&proxy);
    let mut second = client(&proxy);
    let pool = [("database", "app"), ("user", "app")];
    rows(&mut first, "begin; insert into t values (1)");
    let pools = table(&mut console, "SHOW POOLS");
    let value = |column: &str| pools.value(&pool, column);
    let counts = ["cl_active", "cl_waiting", "sv_active", "sv_idle", "sv_used", "sv_tested", "sv_login", "maxwait"];
    assert_eq!(counts.map(value), ["2", "0", "1", "0", "0", "0", "0", "0"]);
    assert_eq!((value("pool_mode").as_str(), value("mode").as_str()), ("transaction", "read_write"));

    second.send(&pgsluice_fixtures::raw::message::query("select 1")).unwrap();
    wait::until(SOON, "a client that waits", || {
        let pools = table(&mut console, "SHOW POOLS");
        (pools.value(&pool, "cl_waiting") == "1" && pools.value(&pool, "maxwait_us") != "0").then_some(())
    });
    let clients = table(&mut console, "SHOW CLIENTS");
    assert_eq!(clients.matching(&[("user", "app"), ("state", "waiting"), ("write_capable", "f")]).len(), 1);
    let holder = [("user", "app"), ("state", "active"), ("write_capable", "t"), ("in_transaction", "t")];
    let (ptr, link) = (clients.value(&holder, "ptr"), clients.value(&holder, "link"));
    assert_eq!(clients.value(&holder, "local_port"), proxy.port().to_string());
    assert_eq!(clients.matching(&[("user", "admin"), ("database", "pgsluice"), ("state", "active")]).len(), 1);

    let pid = cluster_pid();
    let servers = table(&mut console, "SHOW SERVERS");
    let held = [("state", "active"), ("ptr", link.as_str()), ("link", ptr.as_str())];
    assert_eq!(servers.value(&held, "remote_pid"), pid);
    assert_eq!(servers.value(&held, "guarded"), "f");
    assert_eq!(servers.value(&held, "role"), "primary");
    assert_eq!(servers.value(&held, "port"), crate::stand::cluster().primary().port().to_string());

    let databases = table(&mut console, "SHOW DATABASES");
    let app = [("name", "app")];
    let facts =
        ["host", "database", "pool_size", "current_connections", "current_client_connections", "paused", "mode"];
    let seen = facts.map(|column| databases.value(&app, column));
    assert_eq!(seen, ["127.0.0.1", "app", "1", "1", "2", "0", "read_write"]);

    rows(&mut first, "rollback");
    second.frames_until_ready(SOON).unwrap();
    wait::until(SOON, "an idle server connection", || {
        let pools = table(&mut console, "SHOW POOLS");
        let seen = ["cl_active", "cl_waiting", "sv_active", "sv_idle"].map(|column| pools.value(&pool, column));
        (seen == ["2", "0", "0", "1"]).then_some(())
    });
    assert_eq!(table(&mut console, "SHOW SERVERS").matching(&[("state", "idle"), ("link", "")]).len(), 1);
}

fn cluster_pid() -> String {
    let sql = "select pid from pg_stat_activity where usename = 'app' and state = 'idle in transaction' \
               and query like '%insert into t values (1)%'";
    crate::stand::cluster().primary().psql(sql).unwrap()
}

#[test]
fn counters_count() {
    let proxy = proxy();
    let mut console = console(&proxy);
    let mut client = client(&proxy);
    let before = table(&mut console, "SHOW STATS_TOTALS");
    for _ in 0..10 {
        rows(&mut client, "select 1");
    }
    rows(&mut client, "begin");
    rows(&mut client, "select 2");
    rows(&mut client, "commit");
    let difference = |after: &crate::stand::Named, column: &str| {
        let number = |table: &crate::stand::Named| table.value(&[("database", "app")], column).parse::<u64>().unwrap();
        number(after) - number(&before)
    };
    let after = wait::until(SOON, "11 transactions", || {
        let after = table(&mut console, "SHOW STATS_TOTALS");
        (difference(&after, "xact_count") == 11).then_some(after)
    });
    assert_eq!(difference(&after, "query_count"), 13);
    assert_eq!(difference(&after, "server_assignment_count"), 11);
    assert_eq!(difference(&after, "bytes_received"), 11 * 14 + 11 + 12);
    assert!(difference(&after, "bytes_sent") > 13 * 6 && difference(&after, "query_time") > 0);
    let stats = table(&mut console, "SHOW STATS");
    let app = [("database", "app")];
    let total = stats.value(&app, "total_xact_count");
    assert_eq!(total, after.value(&app, "xact_count"));
    let sums = table(&mut console, "SHOW TOTALS");
    assert_eq!(sums.value(&[("name", "total_xact_count")], "value"), total);
    assert_eq!(stats.matching(&[("database", "other"), ("total_xact_count", "0")]).len(), 1);
}

#[test]
fn what_the_rest_says() {
    let proxy = proxy();
    let mut console = console(&proxy);
    let upstreams = wait::until(SOON, "both upstreams", || {
        let seen = table(&mut console, "SHOW UPSTREAMS");
        (seen.matching(&[("role", "primary")]).len() == 1 && seen.matching(&[("role", "replica")]).len() == 1)
            .then_some(seen)
    });
    let primary = format!("127.0.0.1:{}", crate::stand::cluster().primary().port());
    assert_eq!(upstreams.value(&[("role", "primary")], "upstream"), primary);
    assert!(upstreams.value(&[("role", "replica")], "lsn").contains('/'));
    assert_eq!(upstreams.matching(&[("read_only", "f"), ("error", "")]).len(), 2);

    let mut operator = raw(&proxy, "op", "app");
    rows(&mut operator, "begin");
    let clients = table(&mut console, "SHOW CLIENTS");
    assert_eq!(clients.value(&[("user", "op")], "operator"), "t");
    let users = table(&mut console, "SHOW USERS");
    assert_eq!(users.value(&[("name", "op")], "current_client_connections"), "1");
    let lists = table(&mut console, "SHOW LISTS");
    assert_eq!(lists.value(&[("list", "databases")], "items"), "2");
    assert_eq!(lists.value(&[("list", "used_clients")], "items"), "2");
    // The operator's own, and the one that told the greeting.
    assert_eq!(lists.value(&[("list", "used_servers")], "items"), "2");
    assert_eq!(lists.value(&[("list", "users")], "items"), "5");
    let config = table(&mut console, "SHOW CONFIG");
    assert_eq!(config.value(&[("key", "max_client_conn")], "value"), "10000");
    assert_eq!(config.value(&[("key", "listen_port")], "changeable"), "no");
    assert_eq!(config.value(&[("key", "clusters.main.monitor_password")], "value"), "********");
    let state = table(&mut console, "SHOW STATE");
    assert_eq!(state.value(&[("key", "active")], "value"), "yes");
    let maintenance = table(&mut console, "SHOW MAINTENANCE");
    assert_eq!(maintenance.value(&[("database", "app")], "mode"), "read_write");
}
