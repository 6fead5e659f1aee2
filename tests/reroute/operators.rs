//! On which side an operator works is the operator's choice.

use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Login, Raw};

use crate::stand::{LONG, Stand, fine, query, rows, site, sqlstate, written};

#[test]
fn an_operator_chooses_the_cluster_and_clients_do_not() {
    let stand = Stand::new();
    let mut dba = stand.connect("dba");
    assert_eq!(fine(&mut dba, "SHOW pgsluice.cluster").concat(), ["a"]);
    assert_eq!(site(&mut dba), "a");
    for form in ["SET pgsluice.cluster = 'b'", "set PGSLUICE.cluster to b", "SET SESSION pgsluice.cluster = \"b\""] {
        fine(&mut dba, form);
        assert_eq!(site(&mut dba), "b", "{form}");
        assert_eq!(fine(&mut dba, "SHOW pgsluice.cluster").concat(), ["b"]);
        fine(&mut dba, "RESET pgsluice.cluster");
        assert_eq!(site(&mut dba), "a", "{form}");
    }
    for (sql, code) in [
        ("SET pgsluice.cluster = 'nosuch'", "42704"),
        ("SET pgsluice.cluster = ''", "22023"),
        ("SET pgsluice.cluster = a, b", "22023"),
        ("SET LOCAL pgsluice.cluster = 'b'", "0A000"),
        ("SET pgsluice.nosuch = 'b'", "42704"),
    ] {
        assert_eq!(sqlstate(&query(&mut dba, sql)), code, "{sql}");
        assert_eq!(site(&mut dba), "a", "{sql}");
    }
    // Within a transaction it would tear that apart.
    fine(&mut dba, "BEGIN");
    assert_eq!(sqlstate(&query(&mut dba, "SET pgsluice.cluster = 'b'")), "55P02");
    fine(&mut dba, "ROLLBACK");
    let mut client = stand.connect("app");
    assert_eq!(sqlstate(&query(&mut client, "SET pgsluice.cluster = 'b'")), "42501");
    assert_eq!(site(&mut client), "a");
}

#[test]
fn the_choice_is_made_in_the_extended_protocol_too() {
    let stand = Stand::new();
    let mut dba = stand.connect("dba");
    for (value, there) in [("'b'", "b"), ("DEFAULT", "a")] {
        dba.send(&message::parse("", &format!("SET pgsluice.cluster TO {value}"), &[])).expect("sent");
        dba.send(&message::bind("", "", &[])).expect("sent");
        dba.send(&message::execute("", 0)).expect("sent");
        dba.send(&message::sync()).expect("sent");
        let frames = dba.frames_until_ready(LONG).expect("an answer");
        assert_eq!(sqlstate(&frames), "");
        let tags: String = frames.iter().map(|frame| char::from(frame.tag)).collect();
        assert!(tags.ends_with("12CZ"), "{tags}");
        assert_eq!(site(&mut dba), there);
    }
}

#[test]
fn operators_stay_where_they_are_and_reach_both_sides_while_clients_are_led_elsewhere() {
    let stand = Stand::new();
    let mut before = stand.connect("dba");
    fine(&mut before, "CREATE TEMP TABLE notes (x int)");
    let answer = stand.ask_console("REROUTE app TO b WITH (dbname 'app2')");
    assert_eq!(rows(&answer).concat()[8], "1");
    // With all that it has there.
    assert_eq!(site(&mut before), "a");
    fine(&mut before, "INSERT INTO notes VALUES (1)");
    assert_eq!(fine(&mut before, "SHOW pgsluice.cluster").concat(), ["a"]);
    // One that comes now is where the clients are, and may write there.
    let mut after = stand.connect("dba");
    assert_eq!(site(&mut after), "b.app2");
    fine(&mut after, "INSERT INTO w(who) VALUES ('operator')");
    // The name of the database is the one that it has on each side.
    fine(&mut after, "SET pgsluice.cluster = 'a'");
    assert_eq!(site(&mut after), "a");
    fine(&mut after, "ALTER TABLE site ADD COLUMN migrated bool");
    fine(&mut after, "SET pgsluice.cluster = 'b'");
    assert_eq!(site(&mut after), "b.app2");
    stand.console("REROUTE app BACK");
    assert_eq!(site(&mut after), "b.app2");
    assert_eq!(fine(&mut stand.connect("app"), "SELECT migrated FROM site").len(), 1);
    assert_eq!(written(stand.b.primary(), "app2"), ["operator"]);
}

#[test]
fn programs_choose_by_their_start_up_packet() {
    let stand = Stand::new();
    let login = |user: &str| Login::new(user, "app");
    let options = "-c work_mem=3MB -c pgsluice.cluster=b";
    for login in [login("dba").parameter("options", options), login("dba").parameter("pgsluice.cluster", "b")] {
        let mut dba = Raw::connect(&stand.proxy.tcp(), &login).expect("an operator");
        assert_eq!(site(&mut dba), "b");
        assert_eq!(fine(&mut dba, "SHOW pgsluice.cluster").concat(), ["b"]);
    }
    let mut dba = Raw::connect(&stand.proxy.tcp(), &login("dba").parameter("options", options)).expect("an operator");
    assert_eq!(fine(&mut dba, "SHOW work_mem").concat(), ["3MB"]);
    for (user, cluster, code) in [("app", "b", "42501"), ("dba", "nosuch", "42704")] {
        let refused = Raw::connect(&stand.proxy.tcp(), &login(user).parameter("pgsluice.cluster", cluster));
        assert_eq!(refused.expect_err("it is refused").sqlstate(), Some(code), "{user} {cluster}");
    }
}
