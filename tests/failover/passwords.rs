//! A password is changed on the servers and here while pgsluice runs.

use std::fs;

use pgsluice_fixtures::proxy::binary;
use pgsluice_fixtures::{Address, Cluster, Login, Proxy, Raw, Role, wait};

use crate::stand::{LONG, fine, sqlstate};

fn connect(address: &Address, user: &str, database: &str, password: &str) -> Result<Raw, String> {
    Raw::connect(address, &Login::new(user, database).password(password)).map_err(|error| error.to_string())
}

/// What auth_file has for the role: its password, or the verifier that the server has.
fn entry(cluster: &Cluster, password: &str, as_verifier: bool) -> String {
    let verifier = "SELECT rolpassword FROM pg_authid WHERE rolname = 'app'";
    let secret = if as_verifier { cluster.primary().psql(verifier).expect("a verifier") } else { password.to_owned() };
    format!("\"app\" \"{secret}\"\n\"dba\" \"dba\"\n")
}

fn is_changed(as_verifier: bool) {
    let cluster = Cluster::builder()
        .hba(["host all all 127.0.0.1/32 scram-sha-256"])
        .roles([
            Role::new("app").password("one"),
            Role::new("dba").password("dba").superuser(),
            Role::new("monitor").password("monitor").option("IN ROLE pg_monitor"),
        ])
        .databases(["app"])
        .start()
        .expect("a cluster");
    let config = format!(
        "listen_port = {{port}}\nstate_file = \"{{dir}}/state.json\"\nauth_file = \"{{dir}}/users.txt\"\nadmin_users = [\"dba\"]\n\
         query_wait_timeout = \"5s\"\n[clusters.main]\nupstreams = [\"127.0.0.1:{}\"]\nmonitor_user = \"monitor\"\n\
         monitor_password = \"monitor\"\n[databases.app]\n",
        cluster.primary().port()
    );
    let users = entry(&cluster, "one", as_verifier);
    let builder = Proxy::builder(binary(env!("CARGO_BIN_EXE_pgsluice"))).file("users.txt", users).config(config);
    let proxy = builder.start().expect("a proxy");
    let app = |password: &str| connect(&proxy.tcp(), "app", "app", password);
    let mut old = wait::until_ok(LONG, "the first log-in", || app("one"));
    fine(&mut old, "SELECT 1");
    for password in ["two", "three"] {
        cluster.primary().psql(&format!("ALTER ROLE app PASSWORD '{password}'")).expect("another password");
        fs::write(proxy.dir().join("users.txt"), entry(&cluster, password, as_verifier)).expect("a file");
        let ends = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE usename = 'app'";
        cluster.primary().psql(ends).expect("the end of its connections");
        // The old one is refused by now, and has been more than once.
        for _ in 0..3 {
            assert_eq!(sqlstate(&crate::stand::query(&mut old, "SELECT 1")), "28P01", "{password}");
        }
        let mut console = connect(&proxy.tcp(), "dba", "pgsluice", "dba").expect("the console");
        fine(&mut console, "RELOAD");
        let mut new = app(password).expect("a log-in");
        fine(&mut new, "SELECT 1");
        fine(&mut old, "SELECT 1");
    }
    assert!(app("one").is_err());
}

/// VALID UNTIL, which only log-ins with a password look at.
#[test]
fn a_role_whose_password_has_expired_is_told_so_and_nobody_else() {
    let cluster = Cluster::builder()
        .hba(["host all all 127.0.0.1/32 scram-sha-256"])
        .roles([
            Role::new("app").password("app"),
            Role::new("other").password("other"),
            Role::new("dba").password("dba").superuser(),
            Role::new("monitor").password("monitor").option("IN ROLE pg_monitor"),
        ])
        .databases(["app"])
        .start()
        .expect("a cluster");
    let config = format!(
        "listen_port = {{port}}\nstate_file = \"{{dir}}/state.json\"\nauth_file = \"{{dir}}/users.txt\"\nadmin_users = [\"dba\"]\n\
         query_wait_timeout = \"5s\"\nserver_login_retry = \"1s\"\n[clusters.main]\nupstreams = [\"127.0.0.1:{}\"]\n\
         monitor_user = \"monitor\"\nmonitor_password = \"monitor\"\n[databases.app]\n",
        cluster.primary().port()
    );
    let users = ["app", "other", "dba"].map(|name| format!("\"{name}\" \"{name}\"\n")).concat();
    let builder = Proxy::builder(binary(env!("CARGO_BIN_EXE_pgsluice"))).file("users.txt", users).config(config);
    let proxy = builder.start().expect("a proxy");
    let connected = |user: &str| wait::until_ok(LONG, "the first log-in", || connect(&proxy.tcp(), user, "app", user));
    let (mut app, mut other) = (connected("app"), connected("other"));
    for raw in [&mut app, &mut other] {
        fine(raw, "SELECT 1");
    }
    let primary = cluster.primary();
    primary.psql("ALTER ROLE app VALID UNTIL '2001-01-01'").expect("a date");
    // What is open stays, as on a direct connection.
    fine(&mut app, "SELECT 1");
    let ends = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE usename = 'app'";
    primary.psql(ends).expect("the end of its connections");
    for _ in 0..3 {
        assert_eq!(sqlstate(&crate::stand::query(&mut app, "SELECT 1")), "28P01");
        fine(&mut other, "SELECT 1");
    }
    let told = |line: &&str| line.contains("server_refused") && line.contains("28P01") && line.contains("user=app");
    let log = proxy.log();
    assert!(log.lines().any(|line| told(&line)), "{log}");
    let mut console = connect(&proxy.tcp(), "dba", "pgsluice", "dba").expect("the console");
    let found = crate::stand::rows(&crate::stand::query(&mut console, "MAINTENANCE CHECK app"));
    let row = found.iter().find(|row| row[1] == "log-ins").expect("a row for log-ins");
    assert!(row[3].contains("refuses \"app\""), "{row:?}");
    primary.psql("ALTER ROLE app VALID UNTIL 'infinity'").expect("a date");
    wait::until(LONG, "the role to be let in", || {
        sqlstate(&crate::stand::query(&mut app, "SELECT 1")).is_empty().then_some(())
    });
}

#[test]
fn a_password_that_is_changed_is_used_for_new_server_connections() {
    is_changed(false);
}

#[test]
fn a_password_that_is_changed_and_of_which_only_the_verifier_is_known_is_used_from_the_next_log_in_on() {
    is_changed(true);
}
