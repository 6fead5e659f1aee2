//! A reroute outlives the process, and a RELOAD.

use crate::stand::{LONG, Stand, detail, fine, query, site, sqlstate, written};

#[test]
fn it_survives_kill_9_and_so_does_the_way_back() {
    let mut stand = Stand::new();
    stand.console("REROUTE app TO b WITH (message 'moving')");
    for _ in 0..2 {
        stand.proxy.kill_9();
        stand.proxy.start_again().expect("it starts");
        let mut client = stand.connect("app");
        assert_eq!(site(&mut client), "b");
        let refused = query(&mut client, "INSERT INTO w(who) VALUES ('x')");
        assert_eq!(sqlstate(&refused), "25006");
        assert_eq!(detail(&refused), "database \"app\" is served by a read-only copy: moving");
    }
    let row = stand.console("SHOW REROUTES").into_iter().find(|row| row[0] == "app").expect("a row");
    assert_eq!(row[8], "dba");
    stand.console("REROUTE app BACK");
    stand.proxy.kill_9();
    stand.proxy.start_again().expect("it starts");
    let mut client = stand.connect("app");
    assert_eq!(site(&mut client), "a");
    fine(&mut client, "INSERT INTO w(who) VALUES ('back')");
    assert_eq!(written(stand.a.primary(), "app"), ["back"]);
}

#[test]
fn it_survives_a_reload_and_one_without_its_cluster_is_refused() {
    let mut stand = Stand::new();
    stand.console("REROUTE app TO b");
    let mut client = stand.connect("app");
    assert_eq!(site(&mut client), "b");
    stand.console("RELOAD");
    assert_eq!(site(&mut client), "b");
    let changed =
        stand.config.replace("[users.sess]", "[databases.third]\ncluster = \"a\"\ndbname = \"app\"\n[users.sess]");
    stand.proxy.reconfigure(&changed).expect("a configuration");
    stand.console("RELOAD");
    assert_eq!(site(&mut client), "b");
    assert_eq!(site(&mut stand.connect_to("app", "third")), "b", "a new name of the database goes along");
    let (head, rest) = changed.split_once("[clusters.b]").expect("its cluster");
    let rest = rest.split_once("[databases.app]").expect("a database").1;
    let without = format!("{head}[databases.app]{}", rest.replace("cluster = \"b\"", "cluster = \"a\""));
    stand.proxy.reconfigure(&without).expect("a configuration");
    let refused = stand.ask_console("RELOAD");
    assert!(detail(&refused).contains("\"b\" is missing"), "{}", detail(&refused));
    assert_eq!(site(&mut client), "b");
    stand.proxy.reconfigure(&changed).expect("a configuration");
    stand.console("REROUTE app BACK");
    assert_eq!(site(&mut client), "a");
    stand.proxy.reconfigure(&without).expect("a configuration");
    stand.console("RELOAD");
    assert_eq!(site(&mut client), "a");
}

#[test]
fn a_reroute_that_the_configuration_has_made_its_own_is_forgotten() {
    let mut stand = Stand::new();
    stand.console("REROUTE app TO b WITH (writes allow)");
    let mut client = stand.connect("app");
    assert_eq!(site(&mut client), "b");
    let own = |name: &str| format!("[databases.{name}]\ncluster = \"a\"");
    let there = |name: &str| format!("[databases.{name}]\ncluster = \"b\"");
    let changed =
        ["app", "alias"].iter().fold(stand.config.clone(), |text, name| text.replace(&own(name), &there(name)));
    stand.proxy.reconfigure(&changed).expect("a configuration");
    stand.console("RELOAD");
    assert_eq!(site(&mut client), "b");
    assert!(stand.console("SHOW REROUTES").is_empty());
    stand.proxy.kill_9();
    stand.proxy.start_again().expect("it starts");
    let mut client = stand.connect("app");
    assert_eq!(site(&mut client), "b");
    stand.wait_for_servers();
    // The way is free in the other direction.
    stand.console("REROUTE app TO a WITH (writes allow)");
    assert_eq!(site(&mut client), "a");
    stand.console("REROUTE app BACK");
    fine(&mut client, "INSERT INTO w(who) VALUES ('there')");
    assert_eq!(written(stand.b.primary(), "app"), ["there"]);
}

#[test]
fn a_persons_gate_and_a_reroute_do_not_undo_each_other_over_restarts() {
    let mut stand = Stand::new();
    stand.console("MAINTENANCE ON app WITH (message 'hours')");
    stand.console("REROUTE app TO b");
    stand.proxy.kill_9();
    stand.proxy.start_again().expect("it starts");
    let mut client = stand.connect("app");
    assert_eq!(site(&mut client), "b");
    assert_eq!(sqlstate(&query(&mut client, "INSERT INTO w(who) VALUES ('x')")), "25006");
    // The person's part of it ends, the reroute's does not.
    stand.console("MAINTENANCE OFF app");
    let refused = query(&mut client, "INSERT INTO w(who) VALUES ('x')");
    assert_eq!(detail(&refused), "database \"app\" is served by a read-only copy");
    stand.console("MAINTENANCE ON app");
    stand.console("REROUTE app BACK");
    assert_eq!(site(&mut client), "a");
    assert_eq!(sqlstate(&query(&mut client, "INSERT INTO w(who) VALUES ('x')")), "25006", "only a person opens a gate");
    stand.proxy.kill_9();
    stand.proxy.start_again().expect("it starts");
    let mut client = stand.connect("app");
    assert_eq!(sqlstate(&query(&mut client, "INSERT INTO w(who) VALUES ('x')")), "25006");
    stand.console("MAINTENANCE OFF app");
    fine(&mut client, "INSERT INTO w(who) VALUES ('open')");
    assert_eq!(written(stand.a.primary(), "app"), ["open"]);
    stand.a.primary().wait_until("SELECT 1", "1", LONG).expect("it is there");
}
