//! A server that refuses one role's log-in serves the others as before.

use std::fs;

use pgsluice_fixtures::Login;
use pgsluice_fixtures::{Raw, wait};

use crate::stand::{LONG, Stand, fine, query, rows, sqlstate};

/// Has the replica let app in no more.
fn refuse_app(stand: &Stand) {
    let replica = stand.cluster.replica(0);
    let file = replica.data_dir().join("pg_hba.conf");
    let rules = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("host app app 127.0.0.1/32 reject\n{rules}")).unwrap();
    replica.reload().unwrap();
    wait::until_ok(LONG, "the replica to refuse app", || {
        match Raw::connect(&replica.tcp(), &Login::new("app", "app")) {
            Ok(_) => Err("it does not"),
            Err(_) => Ok(()),
        }
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
