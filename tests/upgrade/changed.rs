//! What the configuration, the console and an operator have changed holds in the new process.

use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::wait;

use crate::stand::{SOON, Stand, config, rows, value};

/// The value of a key, as the console shows it.
fn shown(stand: &Stand, key: &str) -> String {
    let rows = rows(&mut stand.raw("admin", "pgsluice"), "show config");
    let row = rows.into_iter().find(|row| row[0].as_deref() == Some(key)).unwrap_or_else(|| panic!("{key}"));
    row[1].clone().unwrap_or_default()
}

/// The value beside a word of SHOW STATE.
fn state(stand: &Stand, word: &str) -> String {
    let rows = rows(&mut stand.raw("admin", "pgsluice"), "show state");
    rows.into_iter().find(|row| row[0].as_deref() == Some(word)).unwrap()[1].clone().unwrap()
}

fn console(stand: &Stand, sql: &str) {
    rows(&mut stand.raw("admin", "pgsluice"), sql);
}

#[test]
fn what_set_has_changed_goes_along_until_the_next_reload() {
    let mut stand = Stand::new(&config("query_timeout = '50s'", ""));
    let keys = ["query_timeout", "default_pool_size"];
    let level = |stand: &Stand| value(&mut stand.raw("admin", "pgsluice"), "show log_level");
    let plain = level(&stand);
    let before = keys.map(|key| shown(&stand, key));
    for sql in ["set query_timeout = '7s'", "set log_level = 'debug'", "set default_pool_size = 11"] {
        console(&stand, sql);
    }
    let set = keys.map(|key| shown(&stand, key));
    assert!(set.iter().zip(&before).all(|(set, before)| set != before), "{set:?} {before:?}");
    stand.upgrade();
    assert_eq!((keys.map(|key| shown(&stand, key)), &*level(&stand)), (set.clone(), "debug"));
    // The file is read anew, and what was set still goes before it.
    let other = config("query_timeout = '40s'\nclient_idle_timeout = '1h'", "");
    stand.proxy.reconfigure(&other).unwrap();
    stand.upgrade();
    assert_eq!(keys.map(|key| shown(&stand, key)), set);
    // An upgrade that fails leaves it as it was.
    let wrong = format!("{other}[databases.more]\ndefault_pool_size = 'x'\n");
    stand.proxy.reconfigure(&wrong).unwrap();
    assert!(stand.try_upgrade(&[]).is_err());
    assert_eq!(keys.map(|key| shown(&stand, key)), set);
    stand.proxy.reconfigure(&other).unwrap();
    console(&stand, "reload");
    assert_eq!(level(&stand), plain);
    assert_ne!(shown(&stand, "query_timeout"), set[0]);
    stand.upgrade();
    assert_eq!(level(&stand), plain);
}

#[test]
fn a_suspended_proxy_is_suspended_in_the_new_process_and_a_paused_one_paused() {
    let stand = Stand::new(&config("", ""));
    for (command, word) in [("suspend", "suspended"), ("pause", "paused")] {
        let mut client = stand.raw("app", "app");
        console(&stand, command);
        client.send(&message::query("select 1")).unwrap();
        stand.upgrade();
        assert_eq!(state(&stand, word), "yes");
        assert_eq!(state(&stand, if word == "paused" { "suspended" } else { "paused" }), "no");
        assert!(client.frames_so_far().unwrap().is_empty());
        console(&stand, "resume");
        client.frames_until_ready(SOON).unwrap();
        assert_eq!(state(&stand, "active"), "yes");
    }
}

#[test]
fn nobody_is_served_over_connections_to_the_database_or_role_that_the_configuration_named_before() {
    let before = config("upgrade_timeout = '3s'", "[databases.named]\ndbname = 'app'\n");
    let mut stand = Stand::new(&before);
    let mut clients: Vec<_> = (0..4).map(|_| stand.raw("app", "named")).collect();
    for client in &mut clients {
        client.send(&message::query("select pg_sleep(0.3)")).unwrap();
    }
    for client in &mut clients {
        client.frames_until_ready(SOON).unwrap();
    }
    // It lives in its server connection, which is to another database than what is named now.
    let mut bound = stand.raw("app", "named");
    rows(&mut bound, "create temp table kept (a int)");
    let former = stand.pid();
    let now = before.replace("[databases.named]\ndbname = 'app'", "[databases.named]\ndbname = 'shut'");
    stand.proxy.reconfigure(&now).unwrap();
    stand.try_upgrade(&[]).unwrap();
    for client in &mut clients {
        assert_eq!(value(client, "select current_database()"), "shut");
    }
    assert_eq!(value(&mut stand.raw("app", "named"), "select current_database()"), "shut");
    // Until the deadline it goes on where it is.
    let frames = bound.frames_until_closed(SOON).unwrap();
    assert_eq!(frames.iter().find_map(|frame| frame.error()).unwrap().code(), "57P01");
    stand.await_end_of(former);
    // Another role.
    let role = now.replace("dbname = 'shut'", "dbname = 'shut'\nuser = 'op'\npassword = 'op'");
    stand.proxy.reconfigure(&role).unwrap();
    stand.upgrade();
    for client in &mut clients {
        assert_eq!(value(client, "select current_user"), "op");
    }
}

#[test]
fn connections_that_reconnect_has_marked_and_those_opened_in_another_way_close_in_the_new_process() {
    let before = config("", "");
    let mut stand = Stand::new(&before);
    // It lives in its server connection, and keeps it.
    let mut client = stand.raw("app", "app");
    rows(&mut client, "create temp table kept (a int)");
    let pid = |client: &mut _| value(client, "select pg_backend_pid()");
    let first = pid(&mut client);
    console(&stand, "reconnect");
    stand.upgrade();
    let mut waiting = stand.raw("admin", "pgsluice");
    waiting.send(&message::query("wait_close app")).unwrap();
    assert_eq!(pid(&mut client), first);
    assert!(waiting.frames_so_far().unwrap().is_empty(), "its connection is open");
    drop(client);
    waiting.frames_until_ready(SOON).unwrap();
    // A connect_query that is new has run on whatever serves a client.
    let mut client = stand.raw("app", "app");
    rows(&mut client, "select 1");
    let now = before.replace("[databases.app]", "[databases.app]\nconnect_query = \"set my.mark = 'made'\"");
    stand.proxy.reconfigure(&now).unwrap();
    stand.upgrade();
    wait::until_ok(SOON, "a connection of the new kind", || {
        match value(&mut client, "select coalesce(current_setting('my.mark', true), '')").as_str() {
            "made" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
    // The one of before does not come back.
    for _ in 0..20 {
        assert_eq!(value(&mut client, "select current_setting('my.mark', true)"), "made");
    }
}
