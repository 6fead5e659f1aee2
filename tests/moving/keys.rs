//! Keys that PgBouncer has and that change what clients and servers see, one test each.

use std::time::{Duration, Instant};

use pgsluice_fixtures::wait;

use crate::stand::{APP, SOON, ini, proxy, raw, rows, try_raw, value};

#[test]
fn clients_of_a_database_and_of_a_user_have_limits_of_their_own() {
    let databases = format!("{APP}\nsmall = host=127.0.0.1 port={{server}} dbname=app max_db_client_connections=2");
    let proxy = proxy(
        &ini(&databases, "max_user_client_connections = 3\n[users]\nreports = max_user_client_connections=1"),
        &[],
    );
    let refused = |user: &str, database: &str| {
        let error = try_raw(&proxy, user, database).err().unwrap_or_else(|| panic!("{user} got into {database}"));
        assert_eq!(error.sqlstate(), Some("53300"), "{error}");
        error.to_string()
    };
    let small: Vec<_> = (0..2).map(|_| raw(&proxy, "app", "small")).collect();
    assert!(refused("app", "small").contains("max_db_client_connections"));
    let third = raw(&proxy, "app", "app");
    assert!(refused("app", "app").contains("max_user_client_connections"));
    let _one = raw(&proxy, "reports", "app");
    assert!(refused("reports", "app").contains("max_user_client_connections"));
    // A place comes back with the client that had it.
    drop((small, third));
    wait::until(SOON, "a place", || try_raw(&proxy, "app", "small").ok());
    let mut admin = raw(&proxy, "admin", "pgbouncer");
    let shown = rows(&mut admin, "show databases");
    assert!(shown.iter().any(|row| row[0].as_deref() == Some("small") && row[13].as_deref() == Some("2")), "{shown:?}");
    let users = rows(&mut admin, "show users");
    assert!(
        users.iter().any(|row| row[0].as_deref() == Some("reports") && row[6].as_deref() == Some("1")),
        "{users:?}"
    );
}

#[test]
fn a_new_server_connection_asks_for_what_its_database_says_and_runs_connect_query() {
    let databases = "app = host=127.0.0.1 port={server} timezone=Asia/Tokyo datestyle=German connect_query='set work_mem = ''7MB'''";
    let proxy = proxy(&ini(databases, ""), &[]);
    let mut app = raw(&proxy, "app", "app");
    assert_eq!(value(&mut app, "show timezone"), "Asia/Tokyo");
    assert_eq!(value(&mut app, "show datestyle"), "German, DMY");
    assert_eq!(value(&mut app, "show work_mem"), "7MB");
    // What a client sets is its own, and goes with it.
    rows_of(&mut app, "set work_mem = '9MB'");
    assert_eq!(value(&mut app, "show work_mem"), "9MB");
    assert_eq!(value(&mut raw(&proxy, "app", "app"), "show work_mem"), "7MB");
}

fn rows_of(raw: &mut pgsluice_fixtures::Raw, sql: &str) {
    raw.query(sql, SOON).unwrap_or_else(|error| panic!("{sql}: {error}"));
}

#[test]
fn a_client_that_waits_is_told_so_and_keeps_waiting() {
    let databases = "app = host=127.0.0.1 port={server} pool_size=1";
    let proxy = proxy(&ini(databases, "query_wait_notify = 1"), &[]);
    let (mut busy, mut waiting) = (raw(&proxy, "app", "app"), raw(&proxy, "app", "app"));
    rows_of(&mut busy, "begin; select 1");
    waiting.send(&pgsluice_fixtures::raw::message::query("select 2")).unwrap();
    let notice = wait::until(SOON, "a notice", || {
        let frame = waiting.frame(SOON).unwrap();
        assert_ne!(frame.tag, b'T', "it was served");
        (frame.tag == b'N').then_some(frame)
    });
    assert!(notice.strings().concat().contains("client being queued"), "{notice:?}");
    rows_of(&mut busy, "commit");
    wait::until(SOON, "its answer", || (waiting.frame(SOON).unwrap().tag == b'Z').then_some(()));
}

#[test]
fn a_user_has_time_limits_of_its_own() {
    let general = "[users]\nreports = query_timeout=1 query_wait_timeout=60\napp = client_idle_timeout=1";
    let proxy = proxy(&ini(APP, general), &[]);
    let mut app = raw(&proxy, "app", "app");
    assert_eq!(value(&mut app, "select 1 from pg_sleep(1.5)"), "1");
    let error = raw(&proxy, "reports", "app").query("select pg_sleep(30)", SOON).unwrap_err();
    assert_eq!(error.sqlstate(), Some("57014"), "{error}");
    let began = Instant::now();
    wait::until(SOON, "the idle client to be sent away", || {
        app.frame(SOON)
            .ok()
            .filter(|frame| frame.tag == b'E')
            .map(|frame| assert_eq!(frame.error().unwrap().code(), "57P05"))
    });
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[test]
fn servers_are_watched_through_a_role_of_pools_and_check_says_what_that_does_not_see() {
    // Nobody has a password that would serve before the first client comes with one.
    let proxy =
        proxy(&ini(APP, "").replace("{dir}/userlist.txt", "{dir}/verifiers.txt"), &[("verifiers.txt", &verifiers())]);
    assert_eq!(value(&mut raw(&proxy, "app", "app"), "select 1"), "1");
    let mut admin = raw(&proxy, "admin", "pgbouncer");
    let upstreams = rows(&mut admin, "show upstreams");
    assert!(upstreams[0].iter().any(|cell| cell.as_deref() == Some("primary")), "{upstreams:?}");
    let found = rows(&mut admin, "maintenance check app");
    let text = format!("{found:?}");
    assert!(text.contains("monitor's rights") && text.contains("does not see the activity of others"), "{text}");
    // The gate closes all the same.
    rows(&mut admin, "maintenance on app");
    let error = raw(&proxy, "app", "app").query("insert into t values (1)", SOON).unwrap_err();
    assert_eq!(error.sqlstate(), Some("25006"), "{error}");
    rows(&mut admin, "maintenance off app");
    rows_of(&mut raw(&proxy, "app", "app"), "insert into t values (1)");
}

#[test]
fn a_cancel_request_that_comes_to_the_wrong_process_is_passed_on_to_its_peers() {
    let first = proxy(&ini(APP, "peer_id = 1"), &[]);
    let peers = format!("peer_id = 2\n[peers]\n1 = host=127.0.0.1 port={}\n2 = host=127.0.0.1 port=1", first.port());
    let second = proxy(&ini(APP, &peers), &[]);
    let mut app = raw(&first, "app", "app");
    app.send(&pgsluice_fixtures::raw::message::query("select pg_sleep(60)")).unwrap();
    let key = app.key().unwrap();
    let cancel = |secret: &[u8]| {
        let request = pgsluice_fixtures::raw::message::cancel_request(key.pid, secret);
        let mut line = pgsluice_fixtures::Raw::open(&second.tcp()).unwrap();
        line.send(&request).unwrap();
        line.frames_until_closed(SOON).unwrap();
    };
    // Whose key is wrong cancels nothing anywhere.
    cancel(b"none");
    let right = key.secret.clone();
    wait::until(SOON, "it to run", || {
        let sql = "select count(*) from pg_stat_activity where query like 'select pg_sleep(60)%' and state = 'active'";
        (crate::stand::cluster().primary().psql(sql).unwrap() != "0").then_some(())
    });
    cancel(&right);
    let error = wait::until(SOON, "its error", || app.frame(SOON).ok().filter(|frame| frame.tag == b'E'));
    assert_eq!(error.error().unwrap().code(), "57014");
    let mut admin = raw(&second, "admin", "pgbouncer");
    assert_eq!(rows(&mut admin, "show peers").len(), 2);
    rows(&mut admin, "show sockets");
    rows(&mut admin, "show fds");
}

/// The server's own verifiers: what a client proves with them can be passed on.
fn verifiers() -> String {
    let sql = "select string_agg(format('\"%s\" \"%s\"', rolname, rolpassword), E'\\n') from pg_authid where rolname in ('app', 'reports')";
    let own = crate::stand::cluster().primary().psql(sql).unwrap();
    format!("{own}\n\"admin\" \"secret\"\n")
}
