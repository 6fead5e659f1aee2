//! Commands of PgBouncer's console.

use crate::stand::{APP, SOON, ini, proxy, raw, rows, value};

fn run(raw: &mut pgsluice_fixtures::Raw, sql: &str) -> Result<(), String> {
    raw.query(sql, SOON).map(|_| ()).map_err(|error| error.to_string())
}

#[test]
fn set_changes_a_key_until_the_next_reload() {
    let proxy = proxy(&ini(APP, "query_timeout = 0"), &[]);
    let mut admin = raw(&proxy, "admin", "pgbouncer");
    let shown = |admin: &mut pgsluice_fixtures::Raw, key: &str| {
        let rows = rows(admin, "show config");
        rows.into_iter().find(|row| row[0].as_deref() == Some(key)).and_then(|row| row[1].clone()).unwrap()
    };
    run(&mut admin, "set query_timeout = 1").unwrap();
    assert_eq!(shown(&mut admin, "query_timeout"), "1s");
    let error = raw(&proxy, "app", "app").query("select pg_sleep(30)", SOON).unwrap_err();
    assert_eq!(error.sqlstate(), Some("57014"), "{error}");
    for (sql, key, now) in [
        ("SET pool_mode = 'session'", "pool_mode", "session"),
        ("SET default_pool_size=7;", "default_pool_size", "7"),
        ("set admin_users = admin, app", "admin_users", "admin, app"),
        ("set log_connections to 0", "log_connections", "false"),
        ("set server_check_query = 'select 1; -- it''s'", "server_check_query", "select 1; -- it's"),
    ] {
        run(&mut admin, sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert_eq!(shown(&mut admin, key), now, "{sql}");
    }
    for (sql, said) in [
        ("set pool_mode = 'sometimes'", "must be \"session\""),
        ("set listen_port = 1", "takes effect with a restart"),
        ("set query_timeout = soon", "must be a number of seconds"),
    ] {
        let error = run(&mut admin, sql).unwrap_err();
        assert!(error.contains(said), "{sql}: {error}");
    }
    assert_eq!(shown(&mut admin, "pool_mode"), "session");
    run(&mut admin, "reload").unwrap();
    assert_eq!(shown(&mut admin, "pool_mode"), "transaction");
    assert_eq!(shown(&mut admin, "query_timeout"), "0");
}

#[test]
fn suspend_keeps_server_connections_and_resume_goes_on() {
    let proxy = proxy(&ini(APP, "suspend_timeout = 2"), &[]);
    let mut admin = raw(&proxy, "admin", "pgbouncer");
    let mut app = raw(&proxy, "app", "app");
    let pid = value(&mut app, "select pg_backend_pid()");
    run(&mut admin, "suspend").unwrap();
    let state = rows(&mut admin, "show state");
    let suspended = |state: &[Vec<Option<String>>]| {
        state.iter().any(|row| row[0].as_deref() == Some("suspended") && row[1].as_deref() == Some("yes"))
    };
    assert!(suspended(&state), "{state:?}");
    assert!(run(&mut admin, "suspend").unwrap_err().contains("already suspended/paused"));
    app.send(&pgsluice_fixtures::raw::message::query("select pg_backend_pid()")).unwrap();
    run(&mut admin, "resume").unwrap();
    let mut answer = Vec::new();
    while answer.last() != Some(&b'Z') {
        let frame = app.frame(SOON).unwrap();
        if frame.tag == b'D' {
            assert_eq!(frame.values()[0].as_deref(), Some(pid.as_bytes()));
        }
        answer.push(frame.tag);
    }
    // A transaction that does not end is not waited for without end.
    run(&mut app, "begin; select 1").unwrap();
    assert!(run(&mut admin, "suspend").unwrap_err().contains("suspend_timeout"));
    assert!(!suspended(&rows(&mut admin, "show state")));
    run(&mut app, "commit").unwrap();
}

#[test]
fn who_runs_as_the_same_user_is_admin_over_the_unix_socket() {
    let proxy = proxy(&ini(APP, "").replace("admin_users = admin\n", ""), &[]);
    let unix = pgsluice_fixtures::Address::socket(proxy.dir(), proxy.port());
    let login = pgsluice_fixtures::Login::new("pgbouncer", "pgbouncer");
    let mut admin = pgsluice_fixtures::Raw::connect(&unix, &login).unwrap();
    rows(&mut admin, "show databases");
    run(&mut admin, "reload").unwrap();
    assert!(pgsluice_fixtures::Raw::connect(&proxy.tcp(), &login).is_err());
    assert!(pgsluice_fixtures::Raw::connect(&unix, &pgsluice_fixtures::Login::new("pgbouncer", "app")).is_err());
}
