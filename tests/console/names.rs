//! Several names of one database: the gate belongs to the database.

use std::collections::BTreeSet;

use pgsluice_fixtures::raw::message::query;
use pgsluice_fixtures::{Proxy, Raw, wait};

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
