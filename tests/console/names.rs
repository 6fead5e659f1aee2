//! Several names of one database: the gate belongs to the database.

use std::collections::BTreeSet;

use pgsluice_fixtures::raw::message::query;
use pgsluice_fixtures::{Proxy, Raw, Signal, wait};

use crate::stand::{Named, SOON, config, console, proxy_with, raw, refusal, rows, table};

const WRITE: &str = "insert into t values (1)";
/// Every name that is not in the file is one of the same database too.
const ANY: &str = "[databases.\"*\"]\ndbname = \"app\"\n";

fn names(table: &Named) -> BTreeSet<String> {
    table.rows.iter().map(|row| row[0].clone().unwrap()).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn client(proxy: &Proxy, name: &str) -> Raw {
    raw(proxy, "app", name)
}

fn detail(raw: &mut Raw) -> String {
    let frames = raw.round_trip(&query(WRITE), SOON).unwrap();
    let error = frames.iter().find(|frame| frame.tag == b'E').expect("a refusal");
    error.error_fields().get(&'D').cloned().unwrap_or_default()
}

fn mode(console: &mut Raw, name: &str) -> String {
    table(console, "SHOW MAINTENANCE").value(&[("database", name)], "mode")
}

/// Takes over another configuration.
fn reload(proxy: &mut Proxy, console: &mut Raw, text: &str) {
    proxy.reconfigure(text).unwrap();
    rows(console, "RELOAD");
}

#[test]
fn all_names_of_a_database_close_and_open_together() {
    let mut proxy = proxy_with(&config("", ANY));
    let mut admin = console(&proxy);
    let mut clients = ["app", "other", "by_star"].map(|name| client(&proxy, name));
    clients.iter_mut().for_each(|client| _ = rows(client, WRITE));
    let frames = admin.round_trip(&query("MAINTENANCE ON other WITH (message 'm')"), SOON).unwrap();
    let told = frames.iter().find(|frame| frame.tag == b'N').expect("a notice").error_fields()[&'M'].clone();
    for name in ["app", "other", "by_star"] {
        assert!(told.contains(&format!("\"{name}\"")), "{told}");
    }
    assert_eq!(frames.iter().filter(|frame| frame.tag == b'D').count(), 1, "one database, one row");
    for (client, name) in clients.iter_mut().zip(["app", "other", "by_star"]) {
        assert_eq!(refusal(client, WRITE), "25006");
        assert!(detail(client).contains(&format!("database \"{name}\" is in maintenance")), "{name}");
    }
    assert_eq!(refusal(&mut client(&proxy, "late"), WRITE), "25006");
    let shown = table(&mut admin, "SHOW MAINTENANCE");
    assert_eq!(shown.matching(&[("mode", "read_only")]).len(), 4);
    let check = table(&mut admin, "MAINTENANCE CHECK app");
    assert!(check.value(&[("database", "app"), ("check", "names")], "detail").contains("\"other\""));

    proxy.kill_9();
    proxy.start_again().unwrap();
    for name in ["app", "other", "later"] {
        assert_eq!(refusal(&mut client(&proxy, name), WRITE), "25006", "{name}");
    }
    let mut admin = console(&proxy);
    rows(&mut admin, "MAINTENANCE OFF later");
    for name in ["app", "other", "later", "last"] {
        rows(&mut client(&proxy, name), WRITE);
    }
}

#[test]
fn offline_rehearsals_and_announcements_are_of_all_names() {
    let proxy = proxy_with(&config("", ""));
    let mut admin = console(&proxy);
    assert_eq!(names(&table(&mut admin, "MAINTENANCE REHEARSE app FOR 1min")), set(&["app", "other"]));
    rows(&mut admin, "OFFLINE app");
    let refused = pgsluice_fixtures::Login::new("app", "other").password("app");
    assert!(Raw::connect(&proxy.tcp(), &refused).is_err(), "the other name is offline too");
    rows(&mut admin, "ONLINE other");
    rows(&mut client(&proxy, "app"), WRITE);
}

#[test]
fn a_drain_waits_for_the_transactions_of_every_name() {
    let proxy = proxy_with(&config("", ""));
    let (mut admin, mut other) = (console(&proxy), client(&proxy, "other"));
    rows(&mut other, "begin; insert into t values (7)");
    admin.send(&query("MAINTENANCE ON app")).unwrap();
    wait::until(SOON, "the drain", || (mode(&mut console(&proxy), "other") == "draining").then_some(()));
    rows(&mut other, "commit");
    admin.frames_until_ready(SOON).unwrap();
    assert_eq!(mode(&mut admin, "other"), "read_only");
}

#[test]
fn a_reload_that_adds_a_name_of_a_closed_database_finds_it_closed() {
    let mut proxy = proxy_with(&config("", ""));
    let mut admin = console(&proxy);
    rows(&mut admin, "MAINTENANCE ON app");
    reload(&mut proxy, &mut admin, &config("", "[databases.third]\ndbname = \"app\"\n"));
    assert_eq!(refusal(&mut client(&proxy, "third"), WRITE), "25006");
    assert_eq!(mode(&mut admin, "third"), "read_only");
    rows(&mut admin, "MAINTENANCE OFF third");
    rows(&mut client(&proxy, "app"), WRITE);
}

#[test]
fn a_name_that_is_led_elsewhere_by_a_reload_takes_its_sessions_along() {
    let moving = |to: &str| config("", &format!("[databases.moving]\ndbname = \"{to}\"\n"));
    let mut proxy = proxy_with(&moving("app"));
    let mut admin = console(&proxy);
    let mut session = client(&proxy, "moving");
    let place = |session: &mut Raw| rows(session, "select current_database()")[0][0].clone().unwrap();
    assert_eq!(place(&mut session), "app");
    // Closed where it was: closed where it comes to, and that is a state of its own.
    rows(&mut admin, "MAINTENANCE ON moving");
    reload(&mut proxy, &mut admin, &moving("postgres"));
    assert_eq!(place(&mut session), "postgres");
    assert_eq!(refusal(&mut session, "create table here (n int)"), "25006");
    wait::until(SOON, "quiesced there too", || (mode(&mut admin, "moving") == "read_only").then_some(()));
    // Back again, and what came along is not left behind.
    reload(&mut proxy, &mut admin, &moving("app"));
    assert_eq!(place(&mut session), "app");
    assert_eq!(refusal(&mut session, WRITE), "25006");
    assert_eq!(names(&table(&mut admin, "SHOW MAINTENANCE")), set(&["app", "other", "moving"]));
    rows(&mut admin, "MAINTENANCE OFF moving");
    rows(&mut session, WRITE);
    // From an open one to a closed one.
    reload(&mut proxy, &mut admin, &moving("postgres"));
    rows(&mut admin, "MAINTENANCE ON app");
    rows(&mut session, "select 1");
    reload(&mut proxy, &mut admin, &moving("app"));
    assert_eq!(refusal(&mut session, WRITE), "25006");
    rows(&mut admin, "MAINTENANCE OFF app");
    rows(&mut session, WRITE);
}

fn moving(to: &str, mode: &str) -> String {
    config("", &format!("[databases.moving]\ndbname = \"{to}\"\npool_mode = \"{mode}\"\n"))
}

fn fatal(raw: &mut Raw, sql: &str) -> (String, String) {
    raw.send(&query(sql)).unwrap();
    let frames = raw.frames_until(SOON, |frame| frame.tag == b'E').expect("an error before the end");
    let fields = frames.last().expect("an error").error_fields();
    (fields[&'C'].clone(), fields.get(&'D').cloned().unwrap_or_default())
}

#[test]
fn a_session_that_keeps_its_connection_does_not_write_past_the_gate_of_where_its_name_leads_now() {
    let mut proxy = proxy_with(&moving("app", "session"));
    let mut admin = console(&proxy);
    let mut session = client(&proxy, "moving");
    assert_eq!(rows(&mut session, "select current_database()")[0][0].as_deref(), Some("app"));
    reload(&mut proxy, &mut admin, &moving("postgres", "session"));
    // The new place is closed, the old one is open.
    rows(&mut admin, "MAINTENANCE ON moving");
    assert_eq!(refusal(&mut session, "create table here (n int)"), "25006");
    assert_eq!(rows(&mut session, "select current_database()")[0][0].as_deref(), Some("postgres"));
    // The new place is open, the old one is closed.
    rows(&mut admin, "MAINTENANCE OFF moving");
    reload(&mut proxy, &mut admin, &moving("app", "session"));
    rows(&mut session, WRITE);
    reload(&mut proxy, &mut admin, &moving("postgres", "session"));
    rows(&mut admin, "MAINTENANCE ON app");
    assert_eq!(refusal(&mut session, WRITE), "42P01", "there is no such table");
    rows(&mut admin, "MAINTENANCE OFF app");
}

#[test]
fn a_session_that_is_pinned_ends_when_its_name_is_led_elsewhere() {
    let mut proxy = proxy_with(&moving("app", "transaction"));
    let mut admin = console(&proxy);
    for closed in [false, true] {
        let [mut pinned, mut guarded] = [0, 1].map(|_| client(&proxy, "moving"));
        rows(&mut pinned, "create temp table mine (n int)");
        if closed {
            rows(&mut guarded, "create temp table mine (n int)");
            rows(&mut admin, "MAINTENANCE ON moving");
            rows(&mut guarded, "select * from mine");
        }
        reload(&mut proxy, &mut admin, &moving("postgres", "transaction"));
        let mut sessions = vec![pinned];
        sessions.extend(closed.then_some(guarded));
        for session in &mut sessions {
            let (code, detail) = fatal(session, "select 1");
            assert_eq!(code, "57P01");
            assert!(detail.contains("\"moving\" leads to another database"), "{detail}");
        }
        reload(&mut proxy, &mut admin, &moving("app", "transaction"));
    }
}

#[test]
fn a_transaction_that_was_open_when_its_name_was_led_elsewhere_is_one_of_the_old_gate() {
    let mut proxy = proxy_with(&moving("app", "transaction"));
    let mut admin = console(&proxy);
    let [mut waited_for, mut late] = [0, 1].map(|_| client(&proxy, "moving"));
    for session in [&mut waited_for, &mut late] {
        rows(session, "begin; insert into t values (91)");
    }
    reload(&mut proxy, &mut admin, &moving("postgres", "transaction"));
    // Nothing of it is in the way of the new place.
    let on = table(&mut admin, "MAINTENANCE ON moving WITH (drain_timeout 5s, on_timeout revert)");
    assert_eq!(on.value(&[("database", "moving")], "mode"), "read_only");
    let mut other = console(&proxy);
    other.send(&query("MAINTENANCE ON app WITH (drain_timeout 3s, on_timeout cancel)")).unwrap();
    wait::until(SOON, "the drain", || (mode(&mut admin, "app") == "draining").then_some(()));
    let waiting = table(&mut admin, "SHOW MAINTENANCE").value(&[("database", "app")], "in_flight");
    assert_eq!(waiting, "2");
    rows(&mut waited_for, "commit");
    let frames = other.frames_until_ready(SOON).unwrap();
    let row = frames.iter().find(|frame| frame.tag == b'D').unwrap_or_else(|| panic!("{frames:?}")).values();
    let text = |at: usize| String::from_utf8(row[at].clone().unwrap_or_default().to_vec()).unwrap();
    assert_eq!((text(1).as_str(), text(8).as_str(), text(10).as_str()), ("read_only", "1", "1"), "{frames:?}");
    let notices: Vec<_> = frames.iter().filter(|frame| frame.tag == b'N').map(|one| one.error_fields()).collect();
    assert!(
        notices.iter().any(|notice| notice[&'M'].contains("user \"app\"")),
        "who is waited for is named: {notices:?}"
    );
    assert_eq!(refusal(&mut late, "select 1"), "25006");
    rows(&mut late, "rollback");
    rows(&mut admin, "MAINTENANCE OFF app");
    rows(&mut admin, "MAINTENANCE OFF moving");
}

#[test]
fn what_was_taken_out_of_the_file_while_closed_can_be_opened_by_its_name() {
    let with = config("", "[databases.gone]\ndbname = \"postgres\"\n");
    let mut proxy = proxy_with(&with);
    let mut admin = console(&proxy);
    rows(&mut admin, "MAINTENANCE ON gone");
    reload(&mut proxy, &mut admin, &config("", ""));
    assert_eq!(mode(&mut admin, "gone"), "read_only");
    proxy.kill_9();
    proxy.start_again().unwrap();
    let mut admin = console(&proxy);
    assert_eq!(mode(&mut admin, "gone"), "read_only");
    let off = table(&mut admin, "MAINTENANCE OFF gone");
    assert_eq!(off.value(&[("database", "gone")], "mode"), "read_write");
    assert_eq!(names(&table(&mut admin, "SHOW MAINTENANCE")), set(&["app", "other"]));
    assert_eq!(refusal(&mut admin, "MAINTENANCE OFF gone"), "3D000");
}

/// Ends it by SIGKILL, or by SIGTERM and waits, and starts it with another configuration.
fn restart(proxy: &mut Proxy, gently: bool, text: &str) -> Raw {
    if gently {
        proxy.signal(Signal::SIGTERM).unwrap();
        proxy.wait_for_exit(SOON).unwrap();
    }
    proxy.kill_9();
    proxy.reconfigure(text).unwrap();
    proxy.start_again().unwrap();
    console(proxy)
}

fn epoch(console: &mut Raw, name: &str) -> u64 {
    table(console, "SHOW MAINTENANCE").value(&[("database", name)], "epoch").parse().unwrap()
}

fn closed_rows(console: &mut Raw) -> BTreeSet<String> {
    let shown = table(console, "SHOW MAINTENANCE");
    shown.rows.iter().filter(|row| row[1].as_deref() != Some("read_write")).map(|row| row[0].clone().unwrap()).collect()
}

/// The cluster has that name in the file.
fn cluster_named(name: &str) -> String {
    config("", "").replace("[clusters.main]", &format!("[clusters.{name}]"))
}

#[test]
fn a_restart_opens_nothing_when_the_cluster_has_another_name_in_the_file() {
    for (gently, opened_by) in [(false, "app"), (true, "other")] {
        let mut proxy = proxy_with(&config("", ""));
        rows(&mut console(&proxy), "MAINTENANCE ON app WITH (message 'm')");
        let before = epoch(&mut console(&proxy), "app");
        let mut admin = restart(&mut proxy, gently, &cluster_named("prim"));
        for name in ["app", "other"] {
            assert_eq!(refusal(&mut client(&proxy, name), WRITE), "25006", "{name}");
        }
        let told = "is closed and leads to prim.app now: that is closed too, until a person opens it";
        assert!(proxy.log().contains(told), "{}", proxy.log());
        assert_eq!(closed_rows(&mut admin), set(&["app", "other", "main.app"]));
        assert!(epoch(&mut admin, "app") > before, "a new state has a new epoch");
        // Another name again: what was closed on the way only is not left behind.
        let mut admin = restart(&mut proxy, !gently, &cluster_named("third"));
        assert_eq!(refusal(&mut client(&proxy, "app"), WRITE), "25006");
        assert_eq!(closed_rows(&mut admin), set(&["app", "other", "main.app"]));
        let off = table(&mut admin, &format!("MAINTENANCE OFF {opened_by}"));
        assert_eq!(names(&off), set(&[opened_by, "main.app"]));
        assert_eq!(closed_rows(&mut admin), set(&[]));
        rows(&mut client(&proxy, "app"), WRITE);
        for text in [cluster_named("third"), cluster_named("prim"), config("", "")] {
            let mut admin = restart(&mut proxy, gently, &text);
            assert_eq!(closed_rows(&mut admin), set(&[]), "opened once is open");
            rows(&mut client(&proxy, "other"), WRITE);
        }
    }
}

#[test]
fn what_no_name_leads_to_after_a_restart_is_opened_by_its_own_name() {
    let mut proxy = proxy_with(&config("", ""));
    rows(&mut console(&proxy), "MAINTENANCE ON app");
    let mut admin = restart(&mut proxy, false, &cluster_named("prim"));
    rows(&mut admin, "MAINTENANCE OFF main.app");
    assert_eq!(closed_rows(&mut admin), set(&["app", "other"]));
    let mut admin = restart(&mut proxy, false, &cluster_named("prim"));
    assert_eq!(closed_rows(&mut admin), set(&["app", "other"]));
    assert_eq!(refusal(&mut client(&proxy, "app"), WRITE), "25006");
    // Back where it came from, open there by then: closed with the name.
    let mut admin = restart(&mut proxy, false, &config("", ""));
    assert_eq!(refusal(&mut client(&proxy, "app"), WRITE), "25006");
    rows(&mut admin, "MAINTENANCE OFF app");
    let mut admin = restart(&mut proxy, false, &cluster_named("prim"));
    assert_eq!(closed_rows(&mut admin), set(&[]));
}

#[test]
fn a_restart_opens_no_name_that_leads_to_another_database_now() {
    for gently in [false, true] {
        let mut proxy = proxy_with(&moving("app", "transaction"));
        rows(&mut console(&proxy), "MAINTENANCE ON moving");
        let mut admin = restart(&mut proxy, gently, &moving("postgres", "transaction"));
        assert_eq!(refusal(&mut client(&proxy, "moving"), "create table here (n int)"), "25006");
        assert_eq!(refusal(&mut client(&proxy, "app"), WRITE), "25006");
        assert!(proxy.log().contains("leads to main.postgres now"), "{}", proxy.log());
        // Two databases, two states.
        rows(&mut admin, "MAINTENANCE OFF moving");
        assert_eq!(closed_rows(&mut admin), set(&["app", "other"]));
        let mut admin = restart(&mut proxy, gently, &moving("postgres", "transaction"));
        assert_eq!(closed_rows(&mut admin), set(&["app", "other"]));
        rows(&mut admin, "MAINTENANCE OFF other");
        let mut admin = restart(&mut proxy, gently, &moving("app", "transaction"));
        assert_eq!(closed_rows(&mut admin), set(&[]));
    }
}

#[test]
fn names_that_came_after_the_closing_stay_closed_over_a_restart_that_leads_them_elsewhere() {
    let with =
        |to: &str| config("", &format!("[databases.third]\ndbname = \"{to}\"\n[databases.\"*\"]\ndbname = \"{to}\"\n"));
    let mut proxy = proxy_with(&config("", ""));
    let mut admin = console(&proxy);
    rows(&mut admin, "MAINTENANCE ON app");
    reload(&mut proxy, &mut admin, &with("app"));
    assert_eq!(refusal(&mut client(&proxy, "by_star"), WRITE), "25006");
    let kept = || std::fs::read_to_string(proxy.dir().join("state.json")).unwrap();
    wait::until(SOON, "the names on disk", || {
        ["third", "by_star"].iter().all(|name| kept().contains(name)).then_some(())
    });
    restart(&mut proxy, false, &with("postgres"));
    for name in ["third", "by_star"] {
        assert_eq!(refusal(&mut client(&proxy, name), "create table here (n int)"), "25006", "{name}");
    }
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg()))
    })
}

#[test]
fn a_state_file_by_names_closes_the_databases_of_those_names() {
    let mut proxy = proxy_with(&config("", ""));
    proxy.kill_9();
    let since = "2026-01-01T00:00:00Z";
    let open =
        format!("\"since\":\"{since}\",\"quiesced\":null,\"switches\":{{\"maintenance\":null,\"offline\":null}}");
    let terms = format!(
        "{{\"cause\":\"operator\",\"who\":{{\"user\":\"admin\",\"address\":null}},\"since\":\"{since}\",\
         \"message\":\"m\",\"until\":null,\"expire_at\":null,\"writes\":\"reject\",\"hold_timeout\":1000,\
         \"drain_timeout\":1000,\"on_timeout\":\"cancel\",\"reads\":\"any\"}}"
    );
    let closed =
        format!("\"since\":\"{since}\",\"quiesced\":null,\"switches\":{{\"maintenance\":{terms},\"offline\":null}}");
    let body = format!(
        "{{\"all\":{{\"epoch\":0,{open}}},\"databases\":{{\"app\":{{\"epoch\":8,{open}}},\
         \"other\":{{\"epoch\":5,{closed}}},\"gone\":{{\"epoch\":3,{closed}}}}}}}"
    );
    let text = format!("{{\"version\":1,\"checksum\":\"{:08x}\",\"body\":{body}}}\n", crc32c(body.as_bytes()));
    std::fs::write(proxy.dir().join("state.json"), text).unwrap();
    proxy.start_again().unwrap();
    let mut admin = console(&proxy);
    let shown = table(&mut admin, "SHOW MAINTENANCE");
    assert_eq!(names(&shown), set(&["app", "other", "gone"]), "{}", proxy.log());
    assert_eq!(shown.matching(&[("message", "m")]).len(), 3);
    assert_eq!(refusal(&mut client(&proxy, "app"), WRITE), "25006");
    let off = table(&mut admin, "MAINTENANCE OFF app");
    assert!(off.value(&[("database", "app")], "epoch").parse::<u64>().unwrap() > 9, "no epoch is used twice");
    rows(&mut client(&proxy, "other"), WRITE);
    rows(&mut admin, "MAINTENANCE OFF gone");
    proxy.kill_9();
    proxy.start_again().unwrap();
    assert!(table(&mut console(&proxy), "SHOW MAINTENANCE").matching(&[("mode", "read_only")]).is_empty());
}
