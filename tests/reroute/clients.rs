//! What the clients see.

use std::time::Duration;

use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::wait;

use crate::stand::{LONG, Stand, detail, fine, query, rows, site, sqlstate, written};

const COPY: &str = "database \"app\" is served by a read-only copy";

#[test]
fn clients_stay_and_their_next_transaction_goes_to_the_copy_with_all_that_is_theirs() {
    let stand = Stand::new();
    let mut client = stand.connect("app");
    fine(&mut client, "SET work_mem = '7MB'");
    fine(&mut client, "PREPARE whose AS SELECT name || $1 FROM site");
    client.send(&message::parse("named", "SELECT name FROM site", &[])).expect("sent");
    client.send(&message::sync()).expect("sent");
    client.frames_until_ready(LONG).expect("an answer");
    assert_eq!(site(&mut client), "a");
    fine(&mut client, "INSERT INTO w(who) VALUES ('before')");

    let row = stand.console("REROUTE app TO b WITH (message 'we are moving')").concat();
    assert_eq!(row[..5], ["app", "b", "app", "reject", "t"]);
    assert_eq!(site(&mut client), "b");
    assert_eq!(fine(&mut client, "SHOW work_mem").concat(), ["7MB"]);
    assert_eq!(fine(&mut client, "EXECUTE whose('!')").concat(), ["b!"]);
    client.send(&message::bind("", "named", &[])).expect("sent");
    client.send(&message::execute("", 0)).expect("sent");
    client.send(&message::sync()).expect("sent");
    assert_eq!(rows(&client.frames_until_ready(LONG).expect("an answer")).concat(), ["b"]);
    let refused = query(&mut client, "INSERT INTO w(who) VALUES ('there')");
    assert_eq!((sqlstate(&refused).as_str(), detail(&refused)), ("25006", format!("{COPY}: we are moving")));
    assert_eq!(fine(&mut client, "SHOW pgsluice.mode").concat(), ["read_only"]);
    assert_eq!(fine(&mut client, "SHOW pgsluice.cluster").concat(), ["b"]);
    // Who comes only now is where the others are.
    assert_eq!(site(&mut stand.connect("app")), "b");

    stand.console("REROUTE app BACK");
    assert_eq!(site(&mut client), "a");
    fine(&mut client, "INSERT INTO w(who) VALUES ('after')");
    assert_eq!(fine(&mut client, "SHOW work_mem").concat(), ["7MB"]);
    assert_eq!(
        (written(stand.a.primary(), "app"), written(stand.b.primary(), "app")),
        (vec!["before".to_owned(), "after".to_owned()], vec![])
    );
}

#[test]
fn every_name_of_the_database_goes_along_and_other_databases_stay() {
    let stand = Stand::new();
    let (mut alias, mut other) = (stand.connect_to("app", "alias"), stand.connect_to("app", "other"));
    stand.console("REROUTE app TO b");
    assert_eq!((site(&mut alias).as_str(), site(&mut other).as_str()), ("b", "a.other"));
    // Those who use the copy by a name of its own are told the same.
    assert_eq!(sqlstate(&query(&mut stand.connect_to("app", "app_on_b"), "INSERT INTO w(who) VALUES ('x')")), "25006");
    let names: Vec<_> = stand.console("SHOW REROUTES").into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(names, ["alias", "app"]);
    stand.console("REROUTE alias BACK");
    assert_eq!(site(&mut alias), "a");
    fine(&mut stand.connect_to("app", "app_on_b"), "INSERT INTO w(who) VALUES ('x')");
    // One that `*` stands for.
    stand.console("REROUTE other TO b WITH (dbname 'app2')");
    assert_eq!(site(&mut other), "b.app2");
    stand.console("REROUTE other BACK");
    assert_eq!(site(&mut other), "a.other");
}

#[test]
fn writes_go_to_the_copy_where_somebody_says_so() {
    let stand = Stand::new();
    let mut client = stand.connect("app");
    stand.console("REROUTE app TO b WITH (writes allow, dbname app2)");
    fine(&mut client, "INSERT INTO w(who) VALUES ('there')");
    assert_eq!(written(stand.b.primary(), "app2"), ["there"]);
    // Told otherwise, it is closed where it is.
    stand.console("REROUTE app TO b WITH (writes reject, dbname app2)");
    assert_eq!(sqlstate(&query(&mut client, "INSERT INTO w(who) VALUES ('x')")), "25006");
    stand.console("REROUTE app BACK");
    fine(&mut client, "INSERT INTO w(who) VALUES ('here')");
    assert_eq!(written(stand.a.primary(), "app"), ["here"]);
}

#[test]
fn a_transaction_ends_where_it_began_and_is_waited_for() {
    let stand = Stand::new();
    let mut client = stand.connect("app");
    fine(&mut client, "BEGIN");
    fine(&mut client, "INSERT INTO w(who) VALUES ('one')");
    let reroute = stand.console_later("REROUTE app TO b");
    let mut other = stand.connect("app");
    wait::until(LONG, "others to be led there", || (site(&mut other) == "b").then_some(()));
    assert!(!reroute.is_finished());
    let behind = stand.console("SHOW REROUTES").into_iter().find(|row| row[0] == "app").expect("a row");
    assert_eq!(behind[12], "1");
    fine(&mut client, "INSERT INTO w(who) VALUES ('two')");
    fine(&mut client, "COMMIT");
    assert_eq!(site(&mut client), "b");
    let done = rows(&reroute.join().expect("no panic")).concat();
    assert_eq!((done[4].as_str(), done[7].as_str()), ("t", "0"));
    assert_eq!(written(stand.a.primary(), "app"), ["one", "two"]);
}

#[test]
fn who_is_still_there_when_the_time_is_up_is_ended() {
    let stand = Stand::new();
    let mut open = stand.connect("app");
    fine(&mut open, "BEGIN");
    fine(&mut open, "INSERT INTO w(who) VALUES ('lost')");
    let done = stand.console("REROUTE app TO b WITH (timeout '300ms')").concat();
    assert_eq!(done[7], "1");
    let said = open.frames_until_closed(LONG).expect("its last words");
    assert_eq!(sqlstate(&said), "57P01");
    assert!(detail(&said).contains("leads to another database now"), "{}", detail(&said));
    assert_eq!(written(stand.a.primary(), "app"), Vec::<String>::new());
}

#[test]
fn a_session_with_a_server_connection_of_its_own_moves_unless_something_binds_it() {
    let stand = Stand::new();
    let (mut free, mut bound) = (stand.connect("sess"), stand.connect("sess"));
    assert_eq!((site(&mut free), site(&mut bound)), ("a".to_owned(), "a".to_owned()));
    fine(&mut bound, "CREATE TEMP TABLE mine (x int)");
    let done = stand.console("REROUTE app TO b WITH (timeout '500ms')").concat();
    assert_eq!(done[7], "1", "{done:?}");
    assert_eq!(site(&mut free), "b");
    assert_eq!(sqlstate(&bound.frames_until_closed(LONG).expect("its last words")), "57P01");
    let backends = "SELECT count(*) FROM pg_stat_activity WHERE usename IN ('sess', 'app') AND datname = 'app'";
    stand.a.primary().wait_until(backends, "0", Duration::from_secs(20)).expect("nobody is left");
}

#[test]
fn a_copy_that_is_a_replica_serves_reads_with_the_gate_open_and_closed() {
    let a = crate::stand::cluster("a", 1);
    a.wait_for_replay(LONG).expect("a replica that follows");
    let copy = a.replica(0).port();
    let stand = Stand::of(a, crate::stand::cluster("b", 0), Some(copy), "");
    let mut client = stand.connect("app");
    for closes in [false, true] {
        if closes {
            stand.console("MAINTENANCE ON app WITH (message 'hours')");
        }
        stand.console("REROUTE app TO b");
        assert_eq!(fine(&mut client, "SELECT name, pg_is_in_recovery() FROM site").concat(), ["a", "t"]);
        let refused = query(&mut client, "INSERT INTO w(who) VALUES ('x')");
        assert_eq!(sqlstate(&refused), "25006");
        if closes {
            assert!(detail(&refused).ends_with("and is served by a read-only copy: hours"), "{}", detail(&refused));
        }
        stand.console("REROUTE app BACK");
        assert_eq!(fine(&mut client, "SELECT name, pg_is_in_recovery() FROM site").concat(), ["a", "f"]);
    }
    stand.console("MAINTENANCE OFF app");
    fine(&mut client, "INSERT INTO w(who) VALUES ('x')");
}
