//! A server that refuses one role's log-in serves the others as before.

use std::fs;

use pgsluice_fixtures::{Login, Raw, Server, wait};

use crate::stand::{LONG, Stand, fine, query, rows, sqlstate};

/// Has the replica let app in no more.
fn refuse_app(stand: &Stand) {
    refuse_app_on(stand.cluster.replica(0));
}

/// Has that server do so, by its pg_hba.conf alone.
fn refuse_app_on(server: &Server) {
    let file = server.data_dir().join("pg_hba.conf");
    let rules = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("host app app 127.0.0.1/32 reject\n{rules}")).unwrap();
    server.reload().unwrap();
    wait::until_ok(LONG, "the server to refuse app", || match Raw::connect(&server.tcp(), &Login::new("app", "app")) {
        Ok(_) => Err("it does not"),
        Err(_) => Ok(()),
    });
}

#[test]
fn a_refusal_on_a_replica_falls_back_for_that_role_and_takes_the_replica_from_nobody() {
    let stand = Stand::with("", "", "reads = \"prefer_replica\"", &[]);
    refuse_app(&stand);
    let mut app = stand.connect("app");
    for _ in 0..5 {
        assert_eq!(fine(&mut app, "SELECT count(*) FROM t"), [["10"]]);
    }
    assert_eq!(stand.roles(), ["primary", "replica"]);
    let log = stand.proxy.log();
    let told = log.lines().filter(|line| line.contains("pg_hba.conf rejects")).count();
    assert!((1..=2).contains(&told), "the reason is told, but not in a flood: {told} times\n{log}");
}

/// What only the primary's pg_hba.conf refuses: the role's reads go on at the replica, and everybody else's writes at the primary.
#[test]
fn a_refusal_on_the_primary_alone_is_that_roles_writes_and_nothing_else() {
    let stand = Stand::with("query_wait_timeout = \"3s\"\n", "", "reads = \"prefer_replica\"", &[]);
    let mut other = stand.connect("late");
    let mut app = stand.connect("app");
    fine(&mut app, "INSERT INTO w(who) VALUES ('before')");
    stand.cluster.wait_for_replay(LONG).unwrap();
    refuse_app_on(stand.cluster.primary());
    let ends = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE usename = 'app'";
    stand.cluster.primary().psql_in("postgres", ends).unwrap();
    for _ in 0..3 {
        assert_eq!(sqlstate(&query(&mut app, "INSERT INTO w(who) VALUES ('refused')")), "28000");
        fine(&mut other, "INSERT INTO w(who) VALUES ('meanwhile')");
        // Reads go to the primary until the replica is known to have what the session has written, or tried to write.
        wait::until(LONG, "a read on the replica", || {
            let frames = query(&mut app, "SELECT count(*) FROM t");
            (sqlstate(&frames).is_empty() && rows(&frames) == [["10"]]).then_some(())
        });
        assert_eq!(stand.roles(), ["primary", "replica"]);
    }
}

#[test]
fn a_role_at_its_connection_limit_is_told_so_and_others_are_served() {
    let stand = Stand::new("query_wait_timeout = \"3s\"\n");
    stand.cluster.primary().psql_in("postgres", "ALTER ROLE late CONNECTION LIMIT 0").unwrap();
    let address = stand.proxy.tcp();
    let refused = Raw::connect(&address, &Login::new("late", "app")).expect_err("a refusal");
    assert_eq!(refused.sqlstate(), Some("53300"), "{refused}");
    let mut app = stand.connect("app");
    fine(&mut app, "INSERT INTO w(who) VALUES ('x')");
    assert_eq!(stand.roles(), ["primary", "replica"]);
}

#[test]
fn a_server_without_room_for_the_monitor_is_not_lost() {
    let stand = Stand::new("");
    let mut app = stand.connect("app");
    fine(&mut app, "INSERT INTO w(who) VALUES ('1')");
    let primary = stand.cluster.primary();
    primary.psql_in("postgres", "ALTER ROLE monitor CONNECTION LIMIT 0").unwrap();
    let ends = "SELECT count(pg_terminate_backend(pid)) > 0 FROM pg_stat_activity WHERE usename = 'monitor'";
    assert_eq!(primary.psql_in("postgres", ends).unwrap(), "t");
    wait::until(LONG, "the monitor to be refused", || stand.proxy.log().contains("is not let in").then_some(()));
    fine(&mut app, "INSERT INTO w(who) VALUES ('2')");
    assert_eq!(stand.roles()[0], "primary");
    let error = &stand.console("SHOW UPSTREAMS")[0];
    assert!(error.iter().any(|field| field.contains("too many connections")), "{error:?}");
    primary.psql_in("postgres", "ALTER ROLE monitor CONNECTION LIMIT -1").unwrap();
    wait::until(LONG, "the monitor to be let in", || {
        stand.console("SHOW UPSTREAMS")[0].iter().all(|field| !field.contains("too many")).then_some(())
    });
    let frames = query(&mut app, "INSERT INTO w(who) VALUES ('3') RETURNING who");
    assert_eq!((rows(&frames).len(), sqlstate(&frames).as_str()), (1, ""));
}

#[test]
fn a_check_tries_what_pools_need_on_each_server() {
    let stand = Stand::new("");
    let mut app = stand.connect("app");
    fine(&mut app, "SELECT 1");
    let log_ins = || {
        let rows = stand.console("MAINTENANCE CHECK app");
        rows.into_iter().find(|row| row[1] == "log-ins").expect("a row for log-ins")
    };
    assert_eq!(log_ins()[2], "ok");
    refuse_app(&stand);
    let row = log_ins();
    assert_eq!(row[2], "warn");
    assert!(row[3].contains("refuses \"app\"") && row[3].contains("pg_hba.conf"), "{row:?}");
}

/// What takes a log-in from a role, what gives it back, and the SQLSTATE of the refusal.
const REFUSALS: [(&str, &str, &str); 7] = [
    ("ALTER ROLE app CONNECTION LIMIT 0", "ALTER ROLE app CONNECTION LIMIT -1", "53300"),
    ("ALTER DATABASE app CONNECTION LIMIT 0", "ALTER DATABASE app CONNECTION LIMIT -1", "53300"),
    ("ALTER ROLE app NOLOGIN", "ALTER ROLE app LOGIN", "28000"),
    ("ALTER ROLE app RENAME TO elsewhere", "ALTER ROLE elsewhere RENAME TO app", "28000"),
    ("ALTER DATABASE app ALLOW_CONNECTIONS false", "ALTER DATABASE app ALLOW_CONNECTIONS true", "55000"),
    ("REVOKE ALL ON DATABASE app FROM PUBLIC, app", "GRANT CONNECT ON DATABASE app TO PUBLIC", "42501"),
    ("ALTER ROLE app SET session_preload_libraries = 'nosuch'", "ALTER ROLE app RESET ALL", "58P01"),
];

#[test]
fn whatever_a_server_refuses_a_role_with_is_that_roles_and_nobody_elses() {
    let stand = Stand::new("query_wait_timeout = \"3s\"\nserver_login_retry = \"1s\"\n");
    let primary = stand.cluster.primary();
    let (mut app, mut other, mut session) = (stand.connect("app"), stand.connect("late"), stand.connect("sess"));
    let mut operator = stand.connect("dba");
    for (takes, gives, code) in REFUSALS {
        let everybody = [&mut other, &mut session, &mut operator];
        for raw in everybody {
            fine(raw, "INSERT INTO w(who) VALUES ('before')");
        }
        fine(&mut app, "SELECT 1");
        primary.psql_in("postgres", takes).unwrap();
        let ends =
            "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE usename IN ('app', 'elsewhere')";
        primary.psql_in("postgres", ends).unwrap();
        let frames = query(&mut app, "INSERT INTO w(who) VALUES ('x')");
        assert_eq!(sqlstate(&frames), code, "{takes}");
        if code == "42501" {
            assert_eq!(crate::stand::detail(&frames), "User does not have CONNECT privilege.");
        }
        for raw in [&mut other, &mut session, &mut operator] {
            fine(raw, "INSERT INTO w(who) VALUES ('meanwhile')");
        }
        assert_eq!(stand.roles(), ["primary", "replica"], "{takes}");
        let log = stand.proxy.log();
        let told = |line: &&str| line.contains("server_refused") && line.contains(code) && line.contains("user=app");
        assert!(log.lines().any(|line| told(&line)), "{takes}: {log}");
        let rows = stand.console("MAINTENANCE CHECK app");
        let row = rows.iter().find(|row| row[1] == "log-ins").expect("a row for log-ins");
        assert!(row[3].contains("refuses \"app\""), "{takes}: {row:?}");
        primary.psql_in("postgres", gives).unwrap();
        stand.console("RECONNECT");
        wait::until(LONG, "the role to be let in", || {
            sqlstate(&query(&mut app, "INSERT INTO w(who) VALUES ('again')")).is_empty().then_some(())
        });
    }
}

#[test]
fn a_server_without_room_serves_who_holds_connections_and_tells_the_others() {
    let stand = Stand::new("query_wait_timeout = \"3s\"\n");
    let primary = stand.cluster.primary();
    let (mut app, mut session) = (stand.connect("app"), stand.connect("sess"));
    fine(&mut app, "INSERT INTO w(who) VALUES ('1')");
    fine(&mut session, "INSERT INTO w(who) VALUES ('1')");
    let mut hoard = Vec::new();
    while let Ok(raw) = Raw::connect(&primary.tcp(), &Login::new("stmt", "postgres")) {
        hoard.push(raw);
    }
    for raw in [&mut app, &mut session] {
        fine(raw, "INSERT INTO w(who) VALUES ('2')");
    }
    let refused = Raw::connect(&stand.proxy.tcp(), &Login::new("late", "app")).expect_err("a refusal");
    assert_eq!(refused.sqlstate(), Some("53300"), "{refused}");
    // The monitor has to log in anew.
    let ends = "SELECT count(pg_terminate_backend(pid)) > 0 FROM pg_stat_activity WHERE usename = 'monitor'";
    primary.psql_in("postgres", ends).unwrap();
    while let Ok(raw) = Raw::connect(&primary.tcp(), &Login::new("stmt", "postgres")) {
        hoard.push(raw);
    }
    for _ in 0..20 {
        for raw in [&mut app, &mut session] {
            fine(raw, "INSERT INTO w(who) VALUES ('3')");
        }
        assert_eq!(stand.roles()[0], "primary");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    drop(hoard);
    wait::until_ok(LONG, "room again", || Raw::connect(&stand.proxy.tcp(), &Login::new("late", "app")).map(drop));
}

#[test]
fn a_role_that_holds_no_connection_is_told_at_once_that_the_server_is_full() {
    let stand = Stand::new("");
    let mut hoard = Vec::new();
    while let Ok(raw) = Raw::connect(&stand.cluster.primary().tcp(), &Login::new("stmt", "postgres")) {
        hoard.push(raw);
    }
    for _ in 0..3 {
        let began = std::time::Instant::now();
        let refused = Raw::connect(&stand.proxy.tcp(), &Login::new("late", "app")).expect_err("a refusal");
        assert_eq!(refused.sqlstate(), Some("53300"), "{refused}");
        assert!(began.elapsed() < std::time::Duration::from_secs(10), "{:?}", began.elapsed());
    }
    drop(hoard);
    wait::until_ok(LONG, "room again", || Raw::connect(&stand.proxy.tcp(), &Login::new("late", "app")).map(drop));
}

/// A RELOAD brings a role or a password that no server takes: what was known of the servers serves clients on.
#[test]
fn a_reload_that_has_the_monitor_refused_takes_no_server_from_anybody() {
    for of_monitor in ["monitor_user = \"nosuch\"", "monitor_user = \"monitor\"\nmonitor_password = \"wrong\""] {
        let mut stand = Stand::with("query_wait_timeout = \"5s\"\n", "", "reads = \"prefer_replica\"", &[]);
        let ports = [stand.cluster.primary().port(), stand.cluster.replica(0).port()];
        for server in stand.cluster.servers() {
            let file = server.data_dir().join("pg_hba.conf");
            let rules = fs::read_to_string(&file).unwrap();
            fs::write(&file, format!("host all monitor 127.0.0.1/32 scram-sha-256\n{rules}")).unwrap();
            server.reload().unwrap();
        }
        stand.rewrite(&ports, &[("monitor_user = \"monitor\"", of_monitor)]);
        stand.console("RELOAD");
        for _ in 0..10 {
            let mut app = stand.connect("app");
            fine(&mut app, "INSERT INTO w(who) VALUES ('after')");
            assert_eq!(fine(&mut app, "SELECT count(*) FROM t"), [["10"]]);
            assert_eq!(stand.roles(), ["primary", "replica"], "{of_monitor}");
        }
        let has = |name: &str| stand.console("SHOW EVENTS").iter().any(|row| row.iter().any(|field| field == name));
        wait::until(LONG, "the event", || has("monitor_refused").then_some(()));
        assert!(!has("server_lost"), "{:?}", stand.console("SHOW EVENTS"));
        let told = stand.console("SHOW UPSTREAMS");
        assert!(told.iter().all(|row| !row[8].is_empty()), "{told:?}");
        // What is really gone is gone.
        stand.cluster.primary().stop(pgsluice_fixtures::cluster::Mode::Fast).unwrap();
        stand.wait_for_roles(&["down", "replica"]);
        stand.cluster.primary().start().unwrap();
    }
}
