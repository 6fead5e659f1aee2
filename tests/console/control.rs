//! PAUSE, RESUME, KILL, RECONNECT, RELOAD, SHUTDOWN and their like.

use std::time::Duration;

use pgsluice_fixtures::raw::message::query;
use pgsluice_fixtures::{Frame, Login, Raw, wait};

use crate::stand::{SOON, client, cluster, config, console, proxy, proxy_with, raw, refusal, rows, table};

fn server_connections(console: &mut Raw) -> usize {
    let servers = table(console, "SHOW SERVERS");
    servers.matching(&[("database", "app")]).len()
}

#[test]
fn pause_waits_for_transactions_and_holds_new_ones() {
    let proxy = proxy();
    let mut pausing = console(&proxy);
    let mut other = console(&proxy);
    let mut busy = client(&proxy);
    let mut idle = client(&proxy);
    rows(&mut idle, "select 1");
    rows(&mut busy, "begin; select 1");
    pausing.send(&query("PAUSE app")).unwrap();
    wait::until(SOON, "the pause", || {
        (table(&mut other, "SHOW DATABASES").value(&[("name", "app")], "paused") == "1").then_some(())
    });
    idle.send(&query("select 2")).unwrap();
    wait::until(SOON, "a client that is held", || {
        (table(&mut other, "SHOW POOLS").value(&[("database", "app")], "cl_waiting") == "1").then_some(())
    });
    assert!(pausing.frames_so_far().unwrap().is_empty());
    // A transaction that is open goes on.
    rows(&mut busy, "select 3");
    rows(&mut busy, "commit");
    let frames = pausing.frames_until_ready(SOON).unwrap();
    assert_eq!(frames[0].strings(), ["PAUSE"]);
    assert_eq!(server_connections(&mut other), 0);
    let direct = "select count(*) from pg_stat_activity where usename = 'app' and query = 'select 3'";
    wait::until(SOON, "its backend to be gone", || (cluster().primary().psql(direct).unwrap() == "0").then_some(()));
    assert!(idle.frames_so_far().unwrap().is_empty());
    // The other database goes on.
    rows(&mut raw(&proxy, "app", "other"), "select 1");

    rows(&mut other, "RESUME app");
    idle.frames_until_ready(SOON).unwrap();
    assert_eq!(refusal(&mut other, "RESUME app"), "55000");
    assert_eq!(refusal(&mut other, "PAUSE nosuch"), "3D000");
}

#[test]
fn pause_of_all_is_shown_and_outlives_its_console() {
    let proxy = proxy();
    let mut other = console(&proxy);
    let mut busy = client(&proxy);
    rows(&mut busy, "begin; select 1");
    let mut lost = console(&proxy);
    lost.send(&query("PAUSE")).unwrap();
    wait::until(SOON, "the pause", || {
        (table(&mut other, "SHOW STATE").value(&[("key", "paused")], "value") == "yes").then_some(())
    });
    lost.cancel(SOON).unwrap();
    let frames = lost.frames_until_ready(SOON).unwrap();
    assert_eq!(frames.iter().find_map(Frame::error).unwrap().code(), "57014");
    assert_eq!(table(&mut other, "SHOW DATABASES").matching(&[("paused", "1")]).len(), 2);
    rows(&mut busy, "commit");
    rows(&mut lost, "PAUSE");
    rows(&mut other, "RESUME");
    rows(&mut busy, "select 1");
    assert_eq!(refusal(&mut other, "RESUME"), "55000");
}

#[test]
fn kill_drops_everybody_and_holds_who_comes() {
    let proxy = proxy();
    let mut console = console(&proxy);
    let mut open = client(&proxy);
    let mut idle = client(&proxy);
    let mut running = client(&proxy);
    let mut apart = raw(&proxy, "app", "other");
    rows(&mut open, "begin; select 1");
    running.send(&query("select pg_sleep(600)")).unwrap();
    wait::until(SOON, "a server connection for each", || (server_connections(&mut console) == 3).then_some(()));
    rows(&mut console, "KILL app");
    for victim in [&mut open, &mut idle, &mut running] {
        let frames = victim.frames_until_closed(SOON).unwrap();
        assert!(frames.iter().filter_map(Frame::error).any(|error| error.code() == "57P01"), "{frames:?}");
    }
    assert_eq!(server_connections(&mut console), 0);
    let sleeping = "select count(*) from pg_stat_activity where query = 'select pg_sleep(600)' and state = 'active'";
    wait::until(SOON, "the statement to end", || (cluster().primary().psql(sleeping).unwrap() == "0").then_some(()));
    rows(&mut apart, "select 1");
    let mut late = client(&proxy);
    late.send(&query("select 1")).unwrap();
    wait::until(SOON, "a client that is held", || {
        (table(&mut console, "SHOW POOLS").value(&[("database", "app")], "cl_waiting") == "1").then_some(())
    });
    rows(&mut console, "RESUME app");
    late.frames_until_ready(SOON).unwrap();
}

#[test]
fn one_client_is_killed() {
    let proxy = proxy();
    let mut console = console(&proxy);
    let mut victim = client(&proxy);
    let mut other = client(&proxy);
    rows(&mut victim, "begin");
    let clients = table(&mut console, "SHOW CLIENTS");
    let id = clients.value(&[("user", "app"), ("in_transaction", "t")], "id");
    rows(&mut console, &format!("KILL_CLIENT {id}"));
    victim.frames_until_closed(SOON).unwrap();
    rows(&mut other, "select 1");
    wait::until(SOON, "it to be gone", || {
        (refusal(&mut console, &format!("KILL_CLIENT {id}")) == "42704").then_some(())
    });
}

#[test]
fn reconnect_and_wait_close() {
    let proxy = proxy();
    let mut console = console(&proxy);
    let mut idle = client(&proxy);
    let mut busy = client(&proxy);
    rows(&mut busy, "begin");
    rows(&mut idle, "select 1");
    let pid = |raw: &mut Raw| rows(raw, "select pg_backend_pid()")[0][0].clone().unwrap();
    let (old_idle, old_busy) = (pid(&mut idle), pid(&mut busy));
    rows(&mut console, "RECONNECT app");
    assert_eq!(table(&mut console, "SHOW SERVERS").matching(&[("state", "active"), ("close_needed", "1")]).len(), 1);
    assert_ne!(pid(&mut idle), old_idle);
    assert_eq!(pid(&mut busy), old_busy);
    let mut waiting = crate::stand::console(&proxy);
    waiting.send(&query("WAIT_CLOSE app")).unwrap();
    rows(&mut console, "SHOW VERSION");
    assert!(waiting.frames_so_far().unwrap().is_empty());
    rows(&mut busy, "commit");
    waiting.frames_until_ready(SOON).unwrap();
    assert_ne!(pid(&mut busy), old_busy);
}

#[test]
fn disable_and_enable() {
    let proxy = proxy();
    let mut console = console(&proxy);
    let mut there = client(&proxy);
    rows(&mut console, "DISABLE app");
    let login = Login::new("app", "app").password("app");
    let refused = Raw::connect(&proxy.tcp(), &login).unwrap_err();
    assert_eq!(refused.sqlstate(), Some("55000"), "{refused}");
    rows(&mut there, "select 1");
    assert_eq!(table(&mut console, "SHOW DATABASES").value(&[("name", "app")], "disabled"), "1");
    rows(&mut console, "ENABLE app");
    client(&proxy);
}

#[test]
fn reload_tells_what_is_wrong_and_where() {
    let mut proxy = proxy();
    let mut console = console(&proxy);
    proxy.reconfigure(&config("default_pool_size = 0", "")).unwrap();
    let frames = console.round_trip(&query("RELOAD"), SOON).unwrap();
    let fields = frames.iter().find(|frame| frame.tag == b'E').unwrap().error_fields();
    assert_eq!(fields[&'C'], "F0000");
    assert!(fields[&'D'].contains("pgsluice.toml:10: default_pool_size: "), "{fields:?}");
    let size = |console: &mut Raw| table(console, "SHOW CONFIG").value(&[("key", "default_pool_size")], "value");
    assert_eq!(size(&mut console), "20");
    proxy.reconfigure(&config("default_pool_size = 7", "[databases.third]")).unwrap();
    rows(&mut console, "RELOAD");
    assert_eq!(size(&mut console), "7");
    assert_eq!(table(&mut console, "SHOW DATABASES").value(&[("name", "third")], "pool_size"), "7");
}

#[test]
fn rights_are_those_of_the_last_reload() {
    let mut proxy = proxy();
    let mut console = console(&proxy);
    proxy.reconfigure(&config("", "").replace("admin_users = [\"admin\"]", "admin_users = [\"stats\"]")).unwrap();
    rows(&mut console, "RELOAD");
    assert_eq!(refusal(&mut console, "SHOW STATS"), "42501");
    rows(&mut raw(&proxy, "stats", "pgsluice"), "PAUSE app");
}

#[test]
fn shutdown_answers_and_ends() {
    let mut proxy = proxy();
    let mut console = console(&proxy);
    let mut busy = client(&proxy);
    rows(&mut busy, "begin");
    console.send(&query("SHUTDOWN")).unwrap();
    let frames = console.frames_until_closed(SOON).unwrap();
    assert!(frames.iter().any(|frame| frame.tag == b'C' && frame.strings() == ["SHUTDOWN"]), "{frames:?}");
    let told = busy.frames_until_closed(SOON).unwrap();
    assert_eq!(told.iter().find_map(Frame::error).unwrap().code(), "57P01");
    assert!(proxy.wait_for_exit(SOON).unwrap().success());
}

#[test]
fn shutdown_waits_for_servers() {
    let mut proxy = proxy();
    let mut console = console(&proxy);
    let mut busy = client(&proxy);
    let mut idle = client(&proxy);
    rows(&mut busy, "begin");
    console.send(&query("SHUTDOWN WAIT_FOR_SERVERS")).unwrap();
    idle.frames_until_closed(SOON).unwrap();
    rows(&mut busy, "select 1");
    assert!(proxy.wait_for_exit(Duration::from_millis(200)).is_err());
    busy.send(&query("commit")).unwrap();
    busy.frames_until_closed(SOON).unwrap();
    assert!(proxy.wait_for_exit(SOON).unwrap().success());
}

#[test]
fn shutdown_waits_for_clients() {
    let mut proxy = proxy();
    let mut console = console(&proxy);
    let mut idle = client(&proxy);
    rows(&mut console, "SHUTDOWN WAIT_FOR_CLIENTS");
    wait::until(SOON, "the door to be shut", || Raw::open(&proxy.tcp()).is_err().then_some(()));
    rows(&mut idle, "select 1");
    rows(&mut console, "SHOW CLIENTS");
    assert!(proxy.wait_for_exit(Duration::from_millis(200)).is_err());
    drop(idle);
    console.frames_until_closed(SOON).unwrap();
    assert!(proxy.wait_for_exit(SOON).unwrap().success());
}

#[test]
fn a_full_proxy_still_lets_an_admin_in() {
    let proxy = proxy_with(&config("max_client_conn = 1", ""));
    let login = Login::new("app", "app").password("app");
    // Whoever saw that the proxy is up may still be counted.
    let _client = wait::until(SOON, "the only place", || Raw::connect(&proxy.tcp(), &login).ok());
    assert_eq!(Raw::connect(&proxy.tcp(), &login).unwrap_err().sqlstate(), Some("53300"));
    rows(&mut console(&proxy), "SHOW POOLS");
}

#[test]
fn unavailable_is_said() {
    let proxy = proxy();
    let mut console = console(&proxy);
    for (sql, code) in [("SUSPEND NOW", "42601"), ("SET listen_port = 5", "22023"), ("SHUTDOWN NOW", "42601")] {
        assert_eq!(refusal(&mut console, sql), code, "{sql}");
    }
}
