//! Two servers claim to be the primary: who is right by timelines, by a person's word, or because both may be.

use std::time::Duration;

use pgsluice_fixtures::{Cluster, Proxy, Role, wait};

use crate::help::{WRITE, until_written};
use crate::stand::{LONG, SOON, Stand, fine, query, sqlstate};

fn count(server: &pgsluice_fixtures::Server) -> String {
    server.psql_in("app", "SELECT count(*) FROM w").unwrap()
}

#[test]
fn the_newer_timeline_is_the_primary_if_the_old_one_has_received_no_write_since() {
    let stand = Stand::new("");
    let (mut app, mut session) = (stand.connect("app"), stand.connect("sess"));
    fine(&mut app, WRITE);
    fine(&mut session, "CREATE TEMPORARY TABLE mine (id int)");
    stand.cluster.wait_for_replay(LONG).unwrap();
    // The replica has to be seen as one after the last write.
    std::thread::sleep(Duration::from_secs(1));
    stand.cluster.replica(0).promote().unwrap();
    stand.wait_for_roles(&["contested", "primary"]);
    until_written(&mut app, SOON);
    until_written(&mut stand.connect("late"), SOON);
    assert_eq!((&*count(stand.cluster.primary()), &*count(stand.cluster.replica(0))), ("1", "3"));
    let log = stand.proxy.log();
    assert!(log.contains("the newer timeline is the primary"), "{log}");
    // What a session had on the old one is gone with it.
    let frames = session
        .send(&pgsluice_fixtures::raw::message::query("SELECT * FROM mine"))
        .and_then(|()| session.frames_until_closed(LONG));
    assert_eq!(sqlstate(&frames.unwrap()), "57P01");
}

#[test]
fn a_person_decides_between_two_primaries() {
    let stand = Stand::new("");
    let (mut app, mut block) = (stand.connect("app"), stand.connect("app"));
    fine(&mut app, WRITE);
    stand.cluster.wait_for_replay(LONG).unwrap();
    fine(&mut block, "BEGIN");
    fine(&mut block, WRITE);
    stand.cluster.replica(0).promote().unwrap();
    stand.wait_for_roles(&["contested", "contested"]);
    let mut console =
        pgsluice_fixtures::Raw::connect(&stand.proxy.tcp(), &pgsluice_fixtures::Login::new("dba", "pgsluice")).unwrap();
    let port = stand.cluster.replica(0).port();
    for (wrong, code) in [
        ("CLUSTER nosuch PRIMARY x".to_owned(), "42704"),
        ("CLUSTER main PRIMARY nosuch".to_owned(), "42704"),
        ("CLUSTER main".to_owned(), "42601"),
        ("CLUSTER main PRIMARY".to_owned(), "42601"),
    ] {
        assert_eq!(sqlstate(&query(&mut console, &wrong)), code, "{wrong}");
    }
    assert_eq!(sqlstate(&query(&mut console, &format!("CLUSTER main PRIMARY 127.0.0.1:{port}"))), "");
    assert_eq!(stand.roles(), ["contested", "primary"]);
    until_written(&mut app, SOON);
    assert_eq!(count(stand.cluster.replica(0)), "2");
    assert_eq!(
        sqlstate(&query(&mut console, &format!("CLUSTER main PRIMARY '127.0.0.1:{}'", stand.cluster.primary().port()))),
        ""
    );
    assert_eq!(stand.roles(), ["primary", "contested"]);
    until_written(&mut app, SOON);
    assert!(stand.proxy.log().contains("decided by hand"));
    stand.cluster.replica(0).stop(pgsluice_fixtures::cluster::Mode::Fast).unwrap();
    stand.wait_for_roles(&["primary", "down"]);
    assert_eq!(sqlstate(&query(&mut console, &format!("CLUSTER main PRIMARY 127.0.0.1:{port}"))), "55000");
}

/// StilleBot: two servers that replicate each other's writes, and `dbctl down` and `up` as its document does them.
#[test]
fn stillebot_dbctl_down_here_leads_the_program_to_the_other_server_and_up_leaves_it_there() {
    let servers: Vec<Cluster> = (0..2)
        .map(|_| {
            let builder = Cluster::builder().hba(["host all all 127.0.0.1/32 trust"]).databases(["bot"]);
            let roles = [Role::new("bot"), Role::new("monitor").option("IN ROLE pg_monitor")];
            let cluster = builder.roles(roles).setting("wal_level", "logical").start().unwrap();
            cluster.primary().psql_in("bot", "CREATE TABLE w(who text); GRANT ALL ON w TO bot").unwrap();
            cluster
        })
        .collect();
    let upstreams: Vec<String> = servers.iter().map(|one| format!("\"127.0.0.1:{}\"", one.primary().port())).collect();
    let config = format!(
        "listen_port = {{port}}\nstate_file = \"{{dir}}/state.json\"\nauth_type = \"trust\"\nadmin_users = [\"bot\"]\n\
         [clusters.home]\nupstreams = [{}]\nmonitor_user = \"monitor\"\nmonitor_interval = \"300ms\"\nmulti_primary = true\n\
         [databases.bot]\n",
        upstreams.join(", ")
    );
    let proxy = Proxy::builder(pgsluice_fixtures::proxy::binary(env!("CARGO_BIN_EXE_pgsluice")))
        .config(config)
        .start()
        .unwrap();
    let connect = |database: &str| {
        pgsluice_fixtures::Raw::connect(&proxy.tcp(), &pgsluice_fixtures::Login::new("bot", database)).unwrap()
    };
    let roles = || {
        let rows = fine(&mut connect("pgsluice"), "SHOW UPSTREAMS");
        rows.into_iter().map(|row| row[2].clone()).collect::<Vec<_>>()
    };
    // Whichever was seen first is the active one.
    let active = wait::until(LONG, "one of them", || {
        let is = roles();
        let both = is.contains(&"primary".to_owned()) && is.contains(&"contested".to_owned());
        both.then(|| is.iter().position(|role| role == "primary").unwrap())
    });
    let other = 1 - active;
    let wait_for = |at: usize| wait::until(LONG, "the active one", || (roles()[at] == "primary").then_some(()));
    let mut program = connect("bot");
    fine(&mut program, WRITE);
    let dbctl = |at: usize, word: &str| {
        let sql = format!("ALTER DATABASE bot SET default_transaction_read_only TO {word}");
        servers[at].primary().psql_in("postgres", &sql).unwrap();
    };
    let stat = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'bot' AND usename = 'bot'";
    dbctl(active, "on");
    wait_for(other);
    fine(&mut program, WRITE);
    servers[active].primary().wait_until(stat, "0", LONG).unwrap();
    // "Down" outlives a reboot.
    servers[active].primary().restart().unwrap();
    wait_for(other);
    dbctl(active, "off");
    std::thread::sleep(Duration::from_secs(1));
    fine(&mut program, WRITE);
    wait_for(other);
    let rows = |at: usize| servers[at].primary().psql_in("bot", "SELECT count(*) FROM w").unwrap();
    assert_eq!((&*rows(active), &*rows(other)), ("1", "2"), "{}", proxy.log());
    // With both down nothing is written anywhere, and the one that is up first is used.
    dbctl(other, "on");
    wait_for(active);
    dbctl(active, "on");
    wait::until(LONG, "a refusal", || (sqlstate(&query(&mut program, WRITE)) == "25006").then_some(()));
    dbctl(other, "off");
    wait_for(other);
    until_written(&mut program, LONG);
}
