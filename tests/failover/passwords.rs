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

#[test]
fn a_password_that_is_changed_is_used_for_new_server_connections() {
    is_changed(false);
}

#[test]
fn a_password_that_is_changed_and_of_which_only_the_verifier_is_known_is_used_from_the_next_log_in_on() {
    is_changed(true);
}
