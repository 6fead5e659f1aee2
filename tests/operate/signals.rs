//! Signals: what each of them does, and that the end comes at once for whoever only waits.

use std::io::Read as _;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Cluster, Login, Mode, Proxy, Raw, Role, Signal, wait};

use crate::stand::{SOON, await_primary, builder, config, config_for, proxy_with, raw, rows};

fn show(console: &mut Raw, sql: &str) -> String {
    format!("{:?}", rows(console, sql))
}

#[test]
fn sigusr1_pauses_and_sigusr2_resumes() {
    let mut proxy = proxy_with(&config("", ""));
    let (mut app, mut console) = (raw(&proxy, "app", "app"), raw(&proxy, "admin", "pgsluice"));
    rows(&mut app, "begin; select 1");
    proxy.signal(Signal::SIGUSR1).unwrap();
    let paused = |yes: &str| format!("[Some(\"paused\"), Some(\"{yes}\")]");
    wait::until(SOON, "the pause", || show(&mut console, "SHOW STATE").contains(&paused("yes")).then_some(()));
    rows(&mut app, "commit");
    app.send(&message::query("select 2")).unwrap();
    wait::until(SOON, "all to be closed", || rows(&mut console, "SHOW SERVERS").is_empty().then_some(()));
    // Another one changes nothing.
    proxy.signal(Signal::SIGUSR1).unwrap();
    // Of two signals at once nobody knows which was the first.
    wait::until(SOON, "the second signal", || (proxy.log().matches("event=\"pause\"").count() == 2).then_some(()));
    proxy.signal(Signal::SIGUSR2).unwrap();
    wait::until(SOON, "the end of the pause", || {
        show(&mut console, "SHOW STATE").contains(&paused("no")).then_some(())
    });
    let frames = app.frames_until_ready(SOON).unwrap();
    assert!(frames.iter().any(|frame| frame.tag == b'D'), "{frames:?}");
    proxy.signal(Signal::SIGUSR2).unwrap();
    wait::until(SOON, "what it says", || proxy.log().contains("nothing is paused").then_some(()));
    assert!(proxy.log().contains("event=\"pause\""), "{}", proxy.log());
}

#[test]
fn sigint_and_sigquit_wait_for_nobody() {
    for signal in [Signal::SIGINT, Signal::SIGQUIT] {
        let mut proxy = proxy_with(&config("", ""));
        let mut app = raw(&proxy, "app", "app");
        rows(&mut app, "begin; select 1");
        proxy.signal(signal).unwrap();
        assert!(proxy.wait_for_exit(Duration::from_secs(15)).unwrap().success(), "{}", proxy.log());
        assert!(proxy.log().contains(&format!("signal=\"{signal}\"")), "{}", proxy.log());
    }
}

#[test]
fn sigterm_waits_for_transactions_and_for_none_longer_than_shutdown_timeout() {
    let (short, long) = (Duration::from_secs(2), Duration::from_secs(3600));
    for (timeout, ends) in [(short, true), (long, false)] {
        let mut proxy = proxy_with(&config(&format!("shutdown_timeout = '{}s'", timeout.as_secs()), ""));
        let (mut block, mut running) = (raw(&proxy, "app", "app"), raw(&proxy, "app", "app"));
        rows(&mut block, "begin; insert into t values (1)");
        running.send(&message::query("select pg_sleep(600)")).unwrap();
        let began = Instant::now();
        proxy.signal(Signal::SIGTERM).unwrap();
        if ends {
            assert_eq!(last_words(&mut block), "57P01");
            assert!(began.elapsed() >= timeout, "{:?}", began.elapsed());
            assert_eq!(last_words(&mut running), "57P01");
            assert!(proxy.wait_for_exit(Duration::from_secs(20)).unwrap().success(), "{}", proxy.log());
        } else {
            // Longer than the other one had.
            thread::sleep(short + Duration::from_secs(2));
            rows(&mut block, "insert into t values (2)");
            // Whoever finds that too long says it again.
            proxy.signal(Signal::SIGTERM).unwrap();
            assert!(proxy.wait_for_exit(Duration::from_secs(20)).unwrap().success(), "{}", proxy.log());
        }
    }
}

/// The SQLSTATE with which a connection ends.
fn last_words(raw: &mut Raw) -> String {
    let frames = raw.frames_until_closed(SOON).unwrap();
    let error = frames.iter().rfind(|frame| frame.tag == b'E').unwrap_or_else(|| panic!("{frames:?}"));
    error.error_fields()[&'C'].clone()
}

#[test]
fn sigterm_ends_at_once_who_only_waits_while_the_database_is_down() {
    let cluster = Cluster::builder()
        .roles([Role::new("app").password("app"), Role::new("nobody").password("nobody")])
        .databases(["app"])
        .start()
        .unwrap();
    let config = config_for(cluster.primary().port(), "", "");
    let mut proxy: Proxy = builder(&config).start().unwrap();
    await_primary(&proxy);
    let mut waits = raw(&proxy, "app", "app");
    rows(&mut waits, "select 1");
    let mut idle = raw(&proxy, "app", "app");
    cluster.primary().stop(Mode::Fast).unwrap();
    wait::until(SOON, "the server to be lost", || proxy.log().contains("event=\"server_lost\"").then_some(()));
    waits.send(&message::query("select 1")).unwrap();
    // One at its log-in, one that has said nothing, and one that has not told its password.
    let address = proxy.tcp();
    let at_login = thread::spawn(move || Raw::connect(&address, &Login::new("nobody", "app").password("nobody")));
    let mut silent = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
    let mut half = Raw::open(&proxy.tcp()).unwrap();
    half.send(&Login::new("app", "app").startup()).unwrap();
    half.frames_until(SOON, |frame| frame.tag == b'R').unwrap();
    let mut console = raw(&proxy, "admin", "pgsluice");
    wait::until(SOON, "two to wait", || {
        let waiting = show(&mut console, "SHOW CLIENTS").matches("Some(\"waiting\")").count();
        (waiting >= 2).then_some(())
    });
    let began = Instant::now();
    proxy.signal(Signal::SIGTERM).unwrap();
    for client in [&mut waits, &mut idle, &mut half] {
        assert_eq!(last_words(client), "57P01");
    }
    assert_eq!(at_login.join().unwrap().err().unwrap().sqlstate(), Some("57P01"));
    let _ = silent.read_to_end(&mut Vec::new());
    assert!(proxy.wait_for_exit(SOON).unwrap().success(), "{}", proxy.log());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}: {}", began.elapsed(), proxy.log());
}

#[test]
fn sigterm_tells_how_many_it_waits_for() {
    let mut proxy = proxy_with(&config("", ""));
    let (mut busy, mut idle) = (raw(&proxy, "app", "app"), raw(&proxy, "app", "app"));
    rows(&mut busy, "begin; select 1");
    proxy.signal(Signal::SIGTERM).unwrap();
    assert_eq!(last_words(&mut idle), "57P01");
    let line = || proxy.log().lines().find(|line| line.contains("event=\"shutting_down\"")).map(str::to_owned);
    let line = wait::until(SOON, "what it waits for", line);
    assert!(line.contains("clients=2 ") && line.contains("waits_for=1 "), "{line}");
    rows(&mut busy, "select 2");
    busy.send(&message::query("commit")).unwrap();
    assert_eq!(last_words(&mut busy), "57P01");
    assert!(proxy.wait_for_exit(SOON).unwrap().success());
}
