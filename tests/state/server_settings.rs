//! Settings that no client has set are the server's: they follow the server, and are never brought from one server connection
//! to another.

use std::time::Duration;

use crate::stand::{Client, SOON, Stand, USER};
use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Login, Raw, wait};

/// Name, another value, as SHOW tells it.
const SETTINGS: [(&str, &str, &str); 6] = [
    ("work_mem", "'7MB'", "7MB"),
    ("statement_timeout", "'77s'", "77s"),
    ("default_transaction_read_only", "on", "on"),
    ("timezone", "'Asia/Tokyo'", "Asia/Tokyo"),
    ("datestyle", "'German, DMY'", "German, DMY"),
    ("application_name", "'of the server'", "of the server"),
];

/// Settings as they are, and as the client was last told.
fn seen(client: &mut Client) -> Vec<String> {
    let shown = SETTINGS.map(|(name, ..)| format!("{name}={}", client.value(&format!("SHOW {name}"))));
    let told = ["default_transaction_read_only", "TimeZone", "DateStyle", "application_name"];
    let parameters = client.0.parameters();
    let told = told.map(|name| format!("told {name}={}", parameters.get(name).map_or("", String::as_str)));
    shown.into_iter().chain(told).collect()
}

/// Who may alter the server's settings whatever they are.
fn alters(stand: &Stand) -> Client {
    let mut dba = stand.direct(USER, "postgres");
    dba.ask("SET default_transaction_read_only = off");
    dba
}

/// Ends every connection to the database, by the console or by the server.
fn reconnect(stand: &Stand, by_server: bool) {
    if by_server {
        stand
            .direct(USER, "postgres")
            .ask("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = 'd0'");
    } else {
        stand.client(USER, "pgsluice").ask("RECONNECT");
    }
}

fn levels() -> [(&'static str, String); 3] {
    [
        ("database", "ALTER DATABASE d0".into()),
        ("role", "ALTER ROLE alice".into()),
        ("role in database", "ALTER ROLE alice IN DATABASE d0".into()),
    ]
}

#[test]
fn what_is_altered_for_a_database_or_role_counts_from_the_next_server_connection_on() {
    for size in [1, 20] {
        let stand = Stand::start(&format!("default_pool_size = {size}"), 1);
        let mut dba = alters(&stand);
        let before = seen(&mut stand.direct("alice", "d0"));
        for (level, alter) in levels() {
            for sets in [true, false] {
                let (mut old, mut open) = (stand.client("alice", "d0"), stand.client("alice", "d0"));
                let old_seen = seen(&mut old);
                open.ask("BEGIN");
                for (name, value, _) in SETTINGS {
                    dba.ask(&if sets {
                        format!("{alter} SET {name} = {value}")
                    } else {
                        format!("{alter} RESET {name}")
                    });
                }
                let direct = seen(&mut stand.direct("alice", "d0"));
                assert_eq!(direct == before, !sets, "{level}");
                open.ask("SELECT 1");
                open.ask("COMMIT");
                // The server connections are what they were, and nobody makes others of them.
                assert_eq!(seen(&mut old), old_seen, "{level} {sets} {size}");
                reconnect(&stand, level == "role");
                assert_eq!(seen(&mut stand.client("alice", "d0")), direct, "a new one, {level} {sets} {size}");
                for client in [&mut old, &mut open] {
                    // It is told behind its first statement at the latest.
                    client.ask("SELECT 1");
                    assert_eq!(seen(client), direct, "{level} {sets} {size}");
                }
                let writes = old.0.query("CREATE TABLE written (n int); DROP TABLE written", SOON);
                assert_eq!(writes.is_err(), sets, "{level} {size}: {writes:?}");
            }
        }
    }
}

#[test]
fn what_is_reloaded_is_seen_as_on_a_connection_of_ones_own() {
    for (size, mode) in [(1, "transaction"), (20, "transaction"), (20, "session")] {
        let stand = Stand::start(&format!("default_pool_size = {size}\npool_mode = \"{mode}\""), 1);
        let mut dba = alters(&stand);
        let mut direct = stand.direct("alice", "d0");
        let before = seen(&mut direct);
        let mut old = stand.client("alice", "d0");
        let mut set = stand.client("alice", "d0");
        let mut open = stand.client("alice", "d0");
        assert_eq!(seen(&mut old), before);
        set.ask("SET timezone = 'Europe/Berlin'; SET work_mem = '5MB'; SET default_transaction_read_only = off");
        for sets in [true, false] {
            if size > 1 {
                open.ask("BEGIN");
            }
            for (name, value, _) in SETTINGS {
                dba.ask(&if sets {
                    format!("ALTER SYSTEM SET {name} = {value}")
                } else {
                    format!("ALTER SYSTEM RESET {name}")
                });
            }
            dba.ask("SELECT pg_reload_conf()");
            wait::until(SOON, "the reload", || ((direct.value("SHOW work_mem") == "7MB") == sets).then_some(()));
            let expected = seen(&mut direct);
            assert_eq!(expected == before, !sets);
            for client in [&mut old, &mut open] {
                client.ask("SELECT 1");
                assert_eq!(seen(client), expected, "{size} {sets}");
            }
            if size > 1 {
                open.ask("COMMIT");
                assert_eq!(seen(&mut open), expected, "{size} {sets}");
            }
            let own = seen(&mut set);
            for line in ["timezone=Europe/Berlin", "work_mem=5MB", "told TimeZone=Europe/Berlin"] {
                assert!(own.contains(&line.to_owned()), "{line}: {own:?}");
            }
            assert!(own.contains(&"default_transaction_read_only=off".to_owned()), "{own:?}");
            let mut new = stand.client("alice", "d0");
            new.ask("SELECT 1");
            assert_eq!(seen(&mut new), expected, "a new one, {size} {sets}");
            assert_eq!(seen(&mut old), expected, "behind one that has set its own, {size} {sets}");
        }
    }
}

#[test]
fn a_setting_is_the_clients_whatever_way_it_has_set_it() {
    let stand = Stand::start("default_pool_size = 1", 1);
    let mut dba = stand.direct(USER, "d0");
    dba.ask(
        "CREATE FUNCTION sets(text) RETURNS void LANGUAGE plpgsql AS $$BEGIN EXECUTE 'SET timezone TO '||quote_literal($1); END$$;
         CREATE FUNCTION seoul() RETURNS text LANGUAGE sql SET timezone = 'Asia/Seoul' AS $$SELECT current_setting('timezone')$$",
    );
    let mut other = stand.client(USER, "d0");
    let default = other.value("SHOW timezone");
    for sets in [
        "SET timezone = 'Asia/Tokyo'",
        "SET TIME ZONE 'Asia/Tokyo'",
        "SELECT set_config('timezone', 'Asia/Tokyo', false)",
        "SELECT sets('Asia/Tokyo')",
        "DO $$BEGIN PERFORM sets('Asia/Tokyo'); END$$",
        "BEGIN; SET LOCAL timezone = 'Asia/Seoul'; COMMIT; SET timezone = 'Asia/Tokyo'",
        "BEGIN; SET timezone = 'Asia/Tokyo'; SAVEPOINT s; SET timezone = 'Asia/Seoul'; ROLLBACK TO s; COMMIT",
    ] {
        let mut one = stand.client(USER, "d0");
        one.ask(sets);
        one.ask("SELECT 1");
        drop(std::mem::replace(&mut other, stand.client(USER, "d0")));
        assert_eq!(other.value("SHOW timezone"), default, "the other's, after {sets}");
        assert_eq!(other.0.parameters()["TimeZone"], default, "{sets}");
        assert_eq!(one.value("SHOW timezone"), "Asia/Tokyo", "{sets}");
        assert_eq!(one.0.parameters()["TimeZone"], "Asia/Tokyo", "{sets}");
        one.ask("RESET timezone");
        assert_eq!(one.value("SHOW timezone"), default, "{sets}");
        assert_eq!(one.0.parameters()["TimeZone"], default, "{sets}");
    }
    for passes in [
        "SELECT seoul()",
        "BEGIN; SET timezone = 'Asia/Tokyo'; ROLLBACK",
        "BEGIN; SET LOCAL timezone = 'Asia/Tokyo'; COMMIT",
    ] {
        other.ask(passes);
        other.ask("SELECT 1");
        assert_eq!(other.0.parameters()["TimeZone"], default, "{passes}");
        assert_eq!(other.value("SHOW timezone"), default, "{passes}");
    }
}

#[test]
fn what_says_how_text_is_read_stays_as_a_client_was_told() {
    let stand = Stand::start("default_pool_size = 1", 1);
    let mut dba = alters(&stand);
    let mut old = stand.client("alice", "d0");
    assert_eq!(old.value("SHOW client_encoding"), "UTF8");
    dba.ask(
        "ALTER DATABASE d0 SET client_encoding = 'LATIN1'; ALTER DATABASE d0 SET standard_conforming_strings = off",
    );
    reconnect(&stand, false);
    let mut new = stand.client("alice", "d0");
    assert_eq!(new.value("SHOW client_encoding"), "LATIN1");
    assert_eq!(new.0.parameters()["standard_conforming_strings"], "off");
    for _ in 0..2 {
        assert_eq!(old.value("SELECT length('\u{e4}') || '\\'"), "1\\");
        assert_eq!(new.value("SELECT length('\\'')"), "1");
    }
}

#[test]
fn a_client_asks_for_its_own_over_what_is_the_servers() {
    let stand = Stand::start("default_pool_size = 1", 1);
    let mut dba = alters(&stand);
    dba.ask("ALTER DATABASE d0 SET timezone = 'Asia/Tokyo'; ALTER DATABASE d0 SET default_transaction_read_only = on");
    let own = Login::new("alice", "d0")
        .parameter("timezone", "UTC")
        .parameter("application_name", "own")
        .parameter("options", "-c default_transaction_read_only=off");
    let mut asks = Client(Raw::connect(&stand.proxy.tcp(), &own).unwrap());
    let mut plain = stand.client("alice", "d0");
    for _ in 0..2 {
        let shown = |client: &mut Client| {
            ["timezone", "application_name", "default_transaction_read_only"]
                .map(|name| client.value(&format!("SHOW {name}")))
        };
        assert_eq!(shown(&mut asks), ["UTC", "own", "off"]);
        assert_eq!(shown(&mut plain), ["Asia/Tokyo", "", "on"]);
        asks.ask("RESET ALL");
        assert_eq!(shown(&mut asks), ["UTC", "own", "off"]);
        plain.ask("SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE");
        assert_eq!(shown(&mut plain), ["Asia/Tokyo", "", "off"]);
        asks.ask("DISCARD ALL");
        assert_eq!(shown(&mut asks), ["UTC", "own", "off"]);
        assert_eq!(shown(&mut plain), ["Asia/Tokyo", "", "off"]);
        plain.ask("RESET default_transaction_read_only");
    }
    let frames = plain.0.round_trip(&message::query("SHOW timezone"), Duration::from_secs(5)).unwrap();
    assert!(frames.iter().all(|frame| frame.tag != b'S'), "nothing new is told: {frames:?}");
}
