//! What is in the log: each event on one line, with its name and its values in fields of their own.

use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Login, Proxy, Raw, Signal, wait};

use crate::stand::{SOON, builder, config, proxy_with, raw, rows};

/// Lines of that event.
fn lines(proxy: &Proxy, event: &str) -> Vec<String> {
    let (text, json) = (format!("event=\"{event}\""), format!("\"event\":\"{event}\""));
    let is = |line: &&str| line.contains(&text) || line.contains(&json);
    proxy.log().lines().filter(is).map(str::to_owned).collect()
}

/// Waits for the line of that event that has all these words.
fn line(proxy: &Proxy, event: &str, words: &[&str]) -> String {
    let found = || lines(proxy, event).into_iter().find(|line| words.iter().all(|word| line.contains(word)));
    wait::until(SOON, &format!("{event} {words:?} in the log"), found)
}

/// How often what a line is about has happened.
fn times(line: &str) -> u64 {
    line.rsplit("times=").next().unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

fn refused(proxy: &Proxy, login: Login) -> String {
    match Raw::connect(&proxy.tcp(), &login) {
        Ok(_) => panic!("let in"),
        Err(error) => error.sqlstate().unwrap_or_default().to_owned(),
    }
}

#[test]
fn who_is_turned_away_is_in_the_log_and_counted() {
    let proxy = proxy_with(&config("max_client_conn = 2", ""));
    let login = |user: &str, database: &str| Login::new(user, database).password(user);
    assert_eq!(refused(&proxy, Login::new("app", "app").password("wrong")), "28P01");
    let told = line(&proxy, "login_refused", &["user=app", "database=app", "client=127.0.0.1:", "WARN"]);
    assert!(told.contains("detail=\"Password does not match for user \\\"app\\\".\""), "{told}");
    assert_eq!(refused(&proxy, login("ghost", "app")), "28P01");
    line(&proxy, "login_refused", &["user=ghost", "does not exist"]);
    assert_eq!(refused(&proxy, login("app", "nosuch")), "3D000");
    line(&proxy, "unknown_database", &["user=app", "database=nosuch", "client=127.0.0.1:", "sqlstate=\"3D000\""]);
    assert_eq!(refused(&proxy, login("nobody", "pgsluice")), "42501");
    line(&proxy, "console_not_allowed", &["user=nobody", "database=pgsluice", "client=127.0.0.1:"]);
    let _clients = [raw(&proxy, "app", "app"), raw(&proxy, "app", "app")];
    for _ in 0..3 {
        assert_eq!(refused(&proxy, login("app", "app")), "53300");
    }
    line(&proxy, "too_many_clients", &["user=app", "database=app", "client=127.0.0.1:", "limit=2", "times=1"]);
    let mut console = raw(&proxy, "admin", "pgsluice");
    let state = rows(&mut console, "SHOW LISTS");
    let count = |key: &str| state.iter().find(|row| row[0].as_deref() == Some(key)).unwrap()[1].clone().unwrap();
    assert_eq!((count("too_many_clients"), count("failed_logins")), ("3".to_owned(), "7".to_owned()));
}

#[test]
fn nobody_writes_lines_or_fields_of_their_own() {
    let proxy = proxy_with(&config("", ""));
    let forged = "x\n2026-01-01T00:00:00Z ERROR forged\r\u{1b}[2J user=\"root\" \"y\"";
    for (user, database) in [(forged, "app"), ("app", forged)] {
        let login = Login::new(user, database).password("app");
        assert!(!refused(&proxy, login).is_empty());
    }
    let mut app = Raw::connect(&proxy.tcp(), &Login::new("app", "app").password("app")).unwrap();
    rows(&mut app, "select 1");
    let mut console = raw(&proxy, "admin", "pgsluice");
    console.query(&format!("MAINTENANCE OFF \"{forged}\""), SOON).unwrap_err();
    console.query(&format!("MAINTENANCE ON app WITH (message '{forged}')"), SOON).unwrap_err();
    console.query("MAINTENANCE ON app WITH (message 'x user=\"root\" ')", SOON).unwrap();
    console.query("MAINTENANCE ANNOUNCE app 'x\n user=\"root\" '", SOON).unwrap();
    app.query("create table forbidden (n int)", SOON).unwrap_err();
    line(&proxy, "write_refused", &["CREATE TABLE"]);
    for text in proxy.log().lines() {
        // The fixture's own time stamps begin with the year.
        assert!(text.starts_with("20") && !text.starts_with("2026-01-01"), "{text:?}");
        assert!(!text.contains('\u{1b}') && !text.contains(" user=\"root\" "), "{text:?}");
    }
}

#[test]
fn refused_writes_are_counted_in_one_line_a_second() {
    let proxy = proxy_with(&config("", ""));
    let mut console = raw(&proxy, "admin", "pgsluice");
    rows(&mut console, "MAINTENANCE ON app");
    let login = |name: &str| Login::new("app", "app").password("app").parameter("application_name", name);
    let mut one = Raw::connect(&proxy.tcp(), &login("one")).unwrap();
    let mut other = Raw::connect(&proxy.tcp(), &login("other")).unwrap();
    for _ in 0..200 {
        assert_eq!(one.query("insert into t values (1)", SOON).unwrap_err().sqlstate(), Some("25006"));
    }
    let extended = [
        message::parse("", "delete from t", &[]),
        message::bind("", "", &[]),
        message::execute("", 0),
        message::sync(),
    ]
    .concat();
    other.round_trip(&extended, SOON).unwrap();
    let who = ["user=app", "database=app", "application_name=one", "statement=INSERT", "client=\"127.0.0.1:"];
    line(&proxy, "write_refused", &who);
    line(&proxy, "write_refused", &["application_name=other", "statement=DELETE", "times=1"]);
    let of_one = || lines(&proxy, "write_refused").into_iter().filter(|line| line.contains("application_name=one"));
    wait::until(SOON, "all 200 to be counted", || {
        (of_one().map(|line| times(&line)).sum::<u64>() == 200).then_some(())
    });
    assert!(of_one().count() < 30, "{}", proxy.log());
}

#[test]
fn waits_that_end_and_commands_that_fail_are_warnings() {
    let proxy = proxy_with(&config(
        "query_wait_timeout = \"1s\"\ndefault_pool_size = 1\nidle_transaction_timeout = \"1s\"",
        "",
    ));
    let mut first = raw(&proxy, "app", "app");
    let mut second = raw(&proxy, "app", "app");
    rows(&mut first, "begin; select 1");
    assert_eq!(second.query("select 1", SOON).unwrap_err().sqlstate(), Some("57014"));
    let who = ["WARN", "user=app", "database=app", "client=127.0.0.1:", "sqlstate="];
    line(&proxy, "query_wait_timeout", &who);
    line(&proxy, "idle_transaction_timeout", &who);
    let closing = line(&proxy, "closing", &["reason=\"query_wait_timeout\""]);
    let age = closing.rsplit("age_ms=").next().unwrap().split(' ').next().unwrap();
    assert!(age.parse::<u64>().is_ok_and(|ms| ms >= 1000), "{closing}");
    let mut console = raw(&proxy, "admin", "pgsluice");
    assert_eq!(console.query("RESUME app", SOON).unwrap_err().sqlstate(), Some("55000"));
    let told =
        line(&proxy, "console_command_failed", &["WARN", "user=admin", "client=127.0.0.1:", "sqlstate=\"55000\""]);
    assert!(told.contains("command=\"RESUME app\""), "{told}");
    console.query("PAUSE nosuch", SOON).unwrap_err();
    console.query("SHOW NONSENSE", SOON).unwrap_err();
    line(&proxy, "console_command_failed", &["syntax error"]);
    line(&proxy, "console_command", &["command=\"PAUSE\"", "target=\"nosuch\""]);
    rows(&mut console, "RELOAD");
    line(&proxy, "console_command", &["command=\"RELOAD\""]);
}

#[test]
fn a_line_of_json_has_each_name_once_and_ages_are_numbers() {
    let mut proxy = builder(&config("log_format = \"json\"", "")).start().unwrap();
    wait::until(SOON, "the primary", || proxy.log().contains("\"to\":\"primary\"").then_some(()));
    let mut console = raw(&proxy, "admin", "pgsluice");
    rows(&mut console, "MAINTENANCE ON app WITH (message 'it is \"on\"', expire '1h')");
    let mut app = raw(&proxy, "app", "app");
    app.query("insert into t values (1)", SOON).unwrap_err();
    rows(&mut console, "MAINTENANCE OFF app");
    rows(&mut console, "MAINTENANCE REHEARSE app FOR '10min'");
    rows(&mut console, "MAINTENANCE REHEARSE app STOP");
    rows(&mut console, "MAINTENANCE ANNOUNCE app 'soon'");
    drop(app);
    line(&proxy, "closing", &["\"age_ms\":"]);
    console.query("SHUTDOWN WAIT_FOR_CLIENTS", SOON).unwrap();
    line(&proxy, "shutdown", &["SHUTDOWN WAIT_FOR_CLIENTS"]);
    proxy.signal(Signal::SIGTERM).unwrap();
    assert!(proxy.wait_for_exit(SOON).unwrap().success());
    let log = proxy.log();
    for line in log.lines() {
        assert!(line.starts_with('{') && line.ends_with('}'), "{line}");
        for name in ["message", "event", "database", "user", "client"] {
            assert!(line.matches(&format!("\"{name}\":")).count() <= 1, "{name} twice: {line}");
        }
        assert!(line.contains("\"event\":\""), "{line}");
        assert!(!line.contains("\"age\":") && !line.contains("WaitFor") && !line.contains("Reload"), "{line}");
    }
}

#[test]
fn what_the_pooler_itself_says_can_be_left_out_of_the_log() {
    let proxy =
        proxy_with(&config("log_pooler_errors = false\nquery_wait_timeout = \"1s\"\ndefault_pool_size = 1", ""));
    assert_eq!(refused(&proxy, Login::new("app", "app").password("wrong")), "28P01");
    let (mut first, mut second) = (raw(&proxy, "app", "app"), raw(&proxy, "app", "app"));
    rows(&mut first, "begin; select 1");
    assert_eq!(second.query("select 1", SOON).unwrap_err().sqlstate(), Some("57014"));
    line(&proxy, "closing", &["query_wait_timeout"]);
    for event in ["login_refused", "query_wait_timeout"] {
        assert!(lines(&proxy, event).is_empty(), "{}", proxy.log());
    }
}

#[test]
fn the_level_is_taken_over_by_a_reload_and_debug_says_more() {
    let mut proxy = proxy_with(&config("log_level = \"info\"", ""));
    let mut app = raw(&proxy, "app", "app");
    rows(&mut app, "select 1");
    assert!(!proxy.log().contains("DEBUG"), "{}", proxy.log());
    proxy.reconfigure(&config("log_level = \"debug\"", "")).unwrap();
    proxy.signal(Signal::SIGHUP).unwrap();
    line(&proxy, "monitor_look", &["DEBUG", "upstream="]);
    let mut other = raw(&proxy, "app", "other");
    rows(&mut other, "select 1");
    line(&proxy, "server_connection_opened", &["DEBUG", "database=other", "user=app", "upstream="]);
    rows(&mut raw(&proxy, "admin", "pgsluice"), "RECONNECT other");
    line(&proxy, "server_connection_closed", &["database=other"]);
    proxy.reconfigure(&config("log_level = \"error\"", "")).unwrap();
    proxy.signal(Signal::SIGHUP).unwrap();
    let quiet = || {
        let before = proxy.log().len();
        std::thread::sleep(std::time::Duration::from_millis(300));
        (proxy.log().len() == before).then_some(())
    };
    wait::until(SOON, "silence", quiet);
}

#[test]
fn why_a_mode_changes_and_why_a_drain_gives_up_is_told() {
    let proxy = proxy_with(&config("", ""));
    let mut console = raw(&proxy, "admin", "pgsluice");
    let mut app = raw(&proxy, "app", "app");
    rows(&mut app, "begin; insert into t values (4711)");
    let on = "MAINTENANCE ON app WITH (drain_timeout '1s', on_timeout revert)";
    assert_eq!(console.query(on, SOON).unwrap_err().sqlstate(), Some("55P03"));
    let gave_up = line(&proxy, "drain_gave_up", &["WARN", "database=app", "command=\"MAINTENANCE ON\"", "user=admin"]);
    assert!(gave_up.contains("In the way: ") && gave_up.contains("127.0.0.1:"), "{gave_up}");
    line(&proxy, "mode", &["mode: read_write", "cause=\"revert\"", "user=admin", "client=\"127.0.0.1:"]);
    rows(&mut app, "rollback");
    rows(&mut console, "MAINTENANCE ON app WITH (message 'now')");
    line(
        &proxy,
        "mode",
        &["mode: read_only", "cause=\"MAINTENANCE ON\"", "maintenance_message=\"now\"", "quiesced_lsn="],
    );
    rows(&mut console, "MAINTENANCE OFF app");
    line(&proxy, "mode", &["mode: read_write", "cause=\"MAINTENANCE OFF\"", "user=admin", "client=\"127.0.0.1:"]);
    rows(&mut console, "MAINTENANCE ON app WITH (expire '1s')");
    line(&proxy, "mode", &["mode: read_write", "cause=\"expire\""]);
    // The line comes before the end of the command.
    wait::until(SOON, "the end of what expire has begun", || console.query("OFFLINE app", SOON).ok());
    rows(&mut console, "ONLINE app");
    line(&proxy, "mode", &["mode: offline", "cause=\"OFFLINE\""]);
    line(&proxy, "mode", &["mode: read_write", "cause=\"ONLINE\""]);
}

#[test]
fn errors_of_pgsluices_own_inside_a_session_are_in_the_log_unless_they_are_left_out() {
    let pin = "pin_sessions = false\nmax_message_size = \"4kB\"";
    for logged in [true, false] {
        let proxy = proxy_with(&config(&format!("log_pooler_errors = {logged}\n{pin}"), ""));
        let login = Login::new("app", "app").password("app").parameter("application_name", "shop");
        let mut app = Raw::connect(&proxy.tcp(), &login).unwrap();
        for _ in 0..20 {
            assert_eq!(app.query("listen news", SOON).unwrap_err().sqlstate(), Some("0A000"));
        }
        assert_eq!(app.query("set pgsluice.mode = 'x'", SOON).unwrap_err().sqlstate(), Some("55P02"));
        let large = format!("select '{}'", "x".repeat(5000));
        assert_eq!(app.query(&large, SOON).unwrap_err().sqlstate(), Some("54000"));
        let prepared = [message::parse("", "set pgsluice.nothing = 1", &[]), message::bind("", "", &[])].concat();
        app.round_trip(&[prepared, message::execute("", 0), message::sync()].concat(), SOON).unwrap();
        rows(&mut app, "select 1");
        drop(app);
        line(&proxy, "closing", &[]);
        if !logged {
            assert!(lines(&proxy, "error_sent").is_empty(), "{}", proxy.log());
            continue;
        }
        let who = ["WARN", "user=app", "database=app", "application_name=shop", "client=\"127.0.0.1:"];
        line(&proxy, "error_sent", &[&who[..], &["sqlstate=\"0A000\"", "times=1"]].concat());
        let listens = || lines(&proxy, "error_sent").into_iter().filter(|line| line.contains("LISTEN"));
        let all = || listens().map(|line| times(&line)).sum::<u64>() == 20;
        wait::until(SOON, "all 20 to be counted", || all().then_some(()));
        assert!(listens().count() < 10, "{}", proxy.log());
        line(&proxy, "error_sent", &["sqlstate=\"55P02\"", "pgsluice.mode"]);
        line(&proxy, "error_sent", &["sqlstate=\"42704\"", "pgsluice.nothing"]);
        line(&proxy, "error_sent", &["sqlstate=\"54000\"", "too large"]);
    }
}

#[test]
fn who_does_not_finish_its_log_in_is_named_as_far_as_it_has_named_itself() {
    use std::io::Write as _;
    let proxy = proxy_with(&config("client_login_timeout = \"1s\"", ""));
    let mut silent = std::net::TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
    silent.write_all(&message::startup(196_608, &[("user", "app"), ("database", "other")])).unwrap();
    let who = ["WARN", "user=app", "database=other", "client=127.0.0.1:"];
    line(&proxy, "client_login_timeout", &who);
    // A crowd's probes that say nothing at all are no client's.
    let mute = std::net::TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
    let address = format!("client={}", mute.local_addr().unwrap());
    line(&proxy, "client_login_timeout", &[&address]);
}
