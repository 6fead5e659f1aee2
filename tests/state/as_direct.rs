//! What else a session has on a connection of its own.

use crate::stand::{Client, Place, SOON, USER};
use pgsluice_fixtures::raw::message::{parse, sync};
use pgsluice_fixtures::{Address, Login, Raw};

/// Notices and warnings at a log-in, by all that does not hang on the server's version.
fn notices(address: &Address, login: &Login) -> Vec<Vec<String>> {
    let mut raw = Raw::open(address).unwrap();
    let frames = raw.log_in(login).unwrap();
    let notices = frames.iter().filter(|frame| frame.tag == b'N').map(|frame| frame.error_fields());
    notices.map(|fields| "SVCMDR".chars().filter_map(|field| fields.get(&field).cloned()).collect()).collect()
}

#[test]
fn notices_at_log_in_are_those_of_a_connection_of_ones_own() {
    let place = Place::new();
    let (server, proxy) = (place.stand.server(), place.stand.proxy.tcp());
    let named = |name: &str| Login::new(USER, &place.database).parameter("application_name", name);
    for name in ["short".to_owned(), "x".repeat(63), "x".repeat(64), "of two \"clients\" ".repeat(9)] {
        let direct = notices(&server, &named(&name));
        assert_eq!(direct.is_empty(), name.len() < 64, "{name}");
        assert_eq!(notices(&proxy, &named(&name)), direct, "{name}");
    }
    place.direct().ask(&format!("ALTER DATABASE {} SET default_text_search_config = 'nosuch'", place.database));
    place.stand.client(USER, "pgsluice").ask("RECONNECT");
    for name in ["short".to_owned(), "x".repeat(64)] {
        let direct = notices(&server, &named(&name));
        assert!(direct.iter().flatten().any(|field| field == "WARNING"), "{direct:?}");
        for _ in 0..2 {
            assert_eq!(sorted(notices(&proxy, &named(&name))), sorted(direct.clone()), "{name}");
        }
    }
}

fn sorted(mut notices: Vec<Vec<String>>) -> Vec<Vec<String>> {
    notices.sort();
    notices
}

#[test]
fn prepared_statements_are_shown_in_the_clients_order() {
    let place = Place::new();
    let (mut one, mut other) = (place.client(), place.client());
    one.ask("PREPARE z AS SELECT 1");
    one.0.round_trip(&[parse("m", "SELECT 2", &[]), sync()].concat(), SOON).unwrap();
    one.ask("PREPARE a AS SELECT 3");
    one.ask("PREPARE k AS SELECT 4");
    let shown = |client: &mut Client| client.ask("SELECT name FROM pg_prepared_statements ORDER BY prepare_time");
    for between in ["SELECT 1", "PREPARE z AS SELECT 5", "DISCARD ALL", "PREPARE k AS SELECT 6", "DEALLOCATE ALL"] {
        other.ask(between);
        assert_eq!(shown(&mut one), ["z", "m", "a", "k"], "after {between}");
        other.ask("DISCARD ALL");
        one.ask("EXECUTE k");
        one.ask("EXECUTE z");
        assert_eq!(shown(&mut one), ["z", "m", "a", "k"], "some used, after {between}");
    }
}

#[test]
fn a_session_is_idle_no_longer_than_it_wants_and_nobody_else_ends_with_it() {
    let place = Place::new();
    let start = Login::new(USER, &place.database).parameter("options", "-c idle_session_timeout=1s");
    let by_start = Raw::connect(&place.stand.proxy.tcp(), &start).unwrap();
    let (mut set, mut function, mut block) = (place.client(), place.client(), place.client());
    let (mut longer, mut other) = (place.client(), place.client());
    longer.ask("SET idle_session_timeout = '1h'");
    set.ask("SET idle_session_timeout = 1000");
    function.ask("DO $$BEGIN SET idle_session_timeout = '1s'; END$$");
    block.ask("BEGIN; SET idle_session_timeout = '1s'; ROLLBACK");
    for mut ends in [Client(by_start), set, function] {
        assert_eq!(other.value("SHOW idle_session_timeout"), "0");
        let frames = ends.0.frames_until_closed(SOON).unwrap();
        assert_eq!(frames.iter().find_map(|frame| frame.error()).unwrap().code(), "57P05");
    }
    assert_eq!(
        (longer.value("SELECT 1"), block.value("SELECT 1"), other.value("SELECT 1")),
        ("1".into(), "1".into(), "1".into())
    );
}
