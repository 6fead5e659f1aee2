//! What an operator meets on a bad day: a full disk, servers that are away, hundreds of databases, and what is told of it.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use pgsluice_fixtures::proxy::binary;
use pgsluice_fixtures::raw::message::query;
use pgsluice_fixtures::{Cluster, Frame, Proxy, Raw, Role, wait};

use crate::stand::{SOON, client, config, console, proxy, raw, refusal, rows, table};

const WRITE: &str = "insert into t values (1)";

fn texts(frames: &[Frame], tag: u8) -> Vec<String> {
    frames.iter().filter(|frame| frame.tag == tag).map(|frame| frame.error_fields()[&'M'].clone()).collect()
}

fn run(console: &mut Raw, sql: &str) -> Vec<Frame> {
    console.round_trip(&query(sql), SOON).unwrap()
}

#[test]
fn a_disk_that_cannot_be_written_does_not_keep_the_gate_closed() {
    let mut proxy = proxy();
    let mut console = console(&proxy);
    let mut app = client(&proxy);
    rows(&mut console, "MAINTENANCE ON app");
    // As a full disk: the new state file cannot be made.
    let blocked = proxy.dir().join("state.json.new");
    std::fs::create_dir(&blocked).unwrap();
    let frames = run(&mut console, "MAINTENANCE OFF app");
    let error = frames.iter().find(|frame| frame.tag == b'E').expect("an error").error_fields();
    assert_eq!(error[&'C'], "58030");
    assert!(error[&'H'].contains("WITH (unsaved)"), "{error:?}");
    assert_eq!(refusal(&mut app, WRITE), "25006");
    for sql in ["MAINTENANCE OFF app WITH (message 'x')", "MAINTENANCE ON app WITH (unsaved)"] {
        assert_eq!(refusal(&mut console, sql), "22023", "{sql}");
    }
    let frames = run(&mut console, "MAINTENANCE OFF app WITH (unsaved)");
    assert!(texts(&frames, b'N').iter().any(|text| text.contains("not saved")), "{frames:?}");
    rows(&mut app, WRITE);
    // What could not be saved is saved as soon as it can be.
    std::fs::remove_dir(&blocked).unwrap();
    wait::until(SOON, "the state is saved", || proxy.log().contains("state_saved").then_some(()));
    proxy.kill_9();
    proxy.start_again().unwrap();
    rows(&mut client(&proxy), WRITE);
}

#[test]
fn no_epoch_is_given_twice_over_restarts_on_a_disk_that_cannot_be_written() {
    let mut proxy = proxy();
    let epoch = |proxy: &Proxy| -> u64 {
        let shown = table(&mut console(proxy), "SHOW MAINTENANCE");
        shown.value(&[("database", "app")], "epoch").parse().unwrap()
    };
    rows(&mut console(&proxy), "MAINTENANCE ON app");
    let mut used = epoch(&proxy);
    std::fs::create_dir(proxy.dir().join("state.json.new")).unwrap();
    for _ in 0..3 {
        run(&mut console(&proxy), "MAINTENANCE OFF app WITH (unsaved)");
        run(&mut console(&proxy), "OFFLINE app");
        let now = epoch(&proxy);
        assert!(now > used, "{now} after {used}");
        used = now;
        proxy.kill_9();
        proxy.start_again().unwrap();
        // Closed again, as on disk, and with an epoch that nobody has seen.
        assert_eq!(refusal(&mut client(&proxy), WRITE), "25006");
        let now = epoch(&proxy);
        assert!(now > used, "{now} after {used}");
        used = now;
    }
}

#[test]
fn a_check_leaves_no_file_behind() {
    let proxy = proxy();
    let files =
        || -> BTreeSet<_> { std::fs::read_dir(proxy.dir()).unwrap().map(|one| one.unwrap().file_name()).collect() };
    let before = files();
    let check = table(&mut console(&proxy), "MAINTENANCE CHECK app");
    assert_eq!(check.value(&[("check", "state file")], "status"), "ok");
    assert_eq!(files(), before);
}

#[test]
fn check_config_tries_the_folder_of_the_state_file() {
    let folder = tempfile::tempdir().unwrap();
    let text = |state: &str| {
        format!(
            "auth_type = 'trust'\nstate_file = '{state}'\n[clusters.main]\nupstreams = ['10.0.0.1']\n\
             monitor_user = 'w'\n[databases.app]\n"
        )
    };
    for (state, code) in [("state.json", 0), ("/proc/state.json", 1)] {
        std::fs::write(folder.path().join("t.toml"), text(state)).unwrap();
        let checked = Command::new(binary(env!("CARGO_BIN_EXE_pgsluice")))
            .args(["check-config", "t.toml"])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert_eq!(checked.status.code(), Some(code), "{state}: {checked:?}");
        assert_eq!(String::from_utf8_lossy(&checked.stderr).contains("state_file"), code == 1, "{checked:?}");
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|one| one.unwrap().file_name()).collect();
    assert_eq!(left, ["t.toml"]);
}

#[test]
fn a_reload_tells_which_keys_wait_for_a_restart() {
    let mut proxy = proxy();
    let mut console = console(&proxy);
    proxy.reconfigure(&config("", "").replace("workers = 2", "workers = 1")).unwrap();
    let frames = run(&mut console, "RELOAD");
    let told = texts(&frames, b'N').join(" ");
    assert!(told.contains("workers") && told.contains("restart"), "{frames:?}");
    assert!(proxy.log().lines().any(|line| line.contains("WARN") && line.contains("restart: workers")));
}

#[test]
fn a_reload_takes_the_privilege_from_sessions_of_former_operators() {
    let mut proxy = proxy();
    let mut admin = console(&proxy);
    rows(&mut admin, "MAINTENANCE ON app");
    let mut sessions = [0, 1, 2].map(|_| raw(&proxy, "op", "app"));
    rows(&mut sessions[0], "insert into t values (70)");
    rows(&mut sessions[1], "begin; insert into t values (71)");
    sessions[2].send(&query("select pg_sleep(20); insert into t values (72)")).unwrap();
    wait::until(SOON, "it runs", || {
        let active = table(&mut admin, "SHOW CLIENTS").matching(&[("user", "op"), ("state", "active")]).len();
        (active > 0).then_some(())
    });
    proxy.reconfigure(&config("", "").replace("operators = [\"op\"]", "operators = []")).unwrap();
    rows(&mut admin, "RELOAD");
    for session in &mut sessions[..2] {
        let frames = session.round_trip(&query("insert into t values (73)"), SOON);
        let told = frames.as_ref().ok().and_then(|frames| frames.iter().find(|frame| frame.tag == b'E'));
        if let Some(error) = told {
            assert_eq!(error.error_fields()[&'C'], "57P01");
        }
        assert!(session.round_trip(&query("commit"), SOON).is_err(), "the session has ended");
    }
    assert_eq!(refusal(&mut raw(&proxy, "op", "app"), WRITE), "25006", "a new session is as any other");
    let written = rows(&mut raw(&proxy, "op", "app"), "select n from t where n in (71, 72, 73)");
    assert_eq!(written.len(), 0, "{written:?}");
}

#[test]
fn a_command_without_a_name_says_what_it_needs() {
    let proxy = proxy();
    let mut console = console(&proxy);
    for sql in ["MAINTENANCE ON", "MAINTENANCE OFF", "OFFLINE", "ONLINE;"] {
        let frames = run(&mut console, sql);
        let error = frames.iter().find(|frame| frame.tag == b'E').expect("an error").error_fields();
        assert_eq!(error[&'C'], "42601");
        assert!(error[&'M'].contains("name of a database") && error[&'H'].contains("SHOW DATABASES"), "{error:?}");
    }
}

#[test]
fn what_is_told_each_second_is_short_and_names_the_true_seconds() {
    let proxy = proxy();
    let mut admin = console(&proxy);
    let mut writers: Vec<_> = (0..6).map(|_| client(&proxy)).collect();
    writers.iter_mut().for_each(|writer| _ = rows(writer, "begin; insert into t values (3)"));
    let frames = run(&mut admin, "MAINTENANCE ON app WITH (drain_timeout 3s, on_timeout revert)");
    let told: Vec<_> = texts(&frames, b'N').into_iter().filter(|text| text.contains("waiting for")).collect();
    assert!(told.len() >= 2, "{told:?}");
    for (at, text) in told.iter().enumerate() {
        let lines: Vec<_> = text.lines().collect();
        assert!(text.len() < 600 && lines.len() == 5 && lines[0].contains("6 open transactions"), "{text}");
        assert!(
            lines[1..4].iter().all(|line| line.starts_with("  user \"app\"")) && lines[4] == "  and 3 more",
            "{text}"
        );
        let seconds = text.split(" s)").next().and_then(|head| head.rsplit('(').next()).unwrap();
        assert!(seconds.parse::<usize>().unwrap() > at, "the {at}th says {text}");
    }
}

#[test]
fn without_a_primary_closing_takes_no_longer_than_its_drain_timeout() {
    let text = config("", "");
    let line = text.lines().find(|line| line.starts_with("upstreams")).unwrap().to_owned();
    let text = text.replace(&line, "upstreams = [\"127.0.0.1:1\"]");
    let users = "\"admin\" \"secret\"\n";
    let proxy =
        Proxy::builder(binary(env!("CARGO_BIN_EXE_pgsluice"))).config(text).file("users", users).start().unwrap();
    let mut admin = console(&proxy);
    let began = Instant::now();
    let frames = run(&mut admin, "MAINTENANCE ON app WITH (drain_timeout 3s)");
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    let mut last = 0;
    for text in texts(&frames, b'N').iter().filter(|text| text.contains("waiting for the primary")) {
        let seconds = text.split(" s)").next().and_then(|head| head.rsplit('(').next()).unwrap().parse().unwrap();
        assert!(seconds > last, "{text}");
        last = seconds;
    }
    assert_eq!(table(&mut admin, "SHOW MAINTENANCE app").value(&[("database", "app")], "mode"), "read_only");
}

/// Servers have room for few connections, and there are many databases; `PGSLUICE_TEST_DATABASES` makes them more.
fn many() -> usize {
    std::env::var("PGSLUICE_TEST_DATABASES").map_or(60, |number| number.parse().unwrap())
}

#[test]
fn closing_many_databases_leaves_the_server_to_others() {
    let many = many();
    let names: Vec<String> = (0..many).map(|n| format!("d{n}")).collect();
    let cluster = Cluster::builder()
        .roles([Role::new("app").password("app")])
        .databases(names.clone())
        .setting("max_connections", "20")
        .start()
        .unwrap();
    let entries: String = names.iter().map(|name| format!("[databases.{name}]\n")).collect();
    let text = format!(
        "listen_port = {{port}}\nstate_file = \"{{dir}}/state.json\"\nauth_file = \"{{dir}}/users\"\n\
         admin_users = [\"admin\"]\nworkers = 2\n[clusters.main]\nupstreams = [\"127.0.0.1:{}\"]\n\
         monitor_user = \"postgres\"\nmonitor_password = \"postgres\"\nmonitor_interval = \"100ms\"\n{entries}",
        cluster.primary().port()
    );
    let users = "\"admin\" \"secret\"\n\"app\" \"app\"\n";
    let mut proxy =
        Proxy::builder(binary(env!("CARGO_BIN_EXE_pgsluice"))).config(text).file("users", users).start().unwrap();
    let mut admin = console(&proxy);
    wait::until(SOON, "the primary", || {
        (table(&mut admin, "SHOW UPSTREAMS").matching(&[("role", "primary")]).len() == 1).then_some(())
    });
    let asking = "select count(*) from pg_stat_activity where application_name like 'pgsluice%'";
    let mut watcher = cluster.primary().connect("postgres", "postgres").unwrap();
    let mut watch = |until: Instant| {
        let mut most = 0;
        while Instant::now() < until {
            most = most.max(rows(&mut watcher, asking)[0][0].as_deref().unwrap().parse::<usize>().unwrap());
            drop(cluster.primary().connect("app", "postgres").expect("others find room"));
        }
        most
    };
    let began = Instant::now();
    admin.send(&query("MAINTENANCE ON *")).unwrap();
    let most = watch(began + Duration::from_secs(2));
    let frames = admin.frames_until_ready(SOON).unwrap();
    let closed: Vec<_> = frames.iter().filter(|frame| frame.tag == b'D').map(|frame| frame.values()).collect();
    assert_eq!(closed.len(), many);
    let waited = closed.iter().map(|row| String::from_utf8_lossy(row[7].as_deref().unwrap()).parse::<u64>().unwrap());
    let slowest = Duration::from_millis(waited.max().unwrap());
    eprintln!("{many} databases quiesced within {slowest:?}, {most} connections asked");
    assert!(slowest < Duration::from_secs(3), "{slowest:?}");
    assert!(closed.iter().all(|row| row[1].as_deref() == Some(b"read_only") && row[6].is_some()), "{closed:?}");
    // The monitor's own, and two that ask.
    assert!(most <= 3, "{most} at once");
    for name in ["d0", &format!("d{}", many - 1)] {
        assert_eq!(
            refusal(&mut raw(&proxy, "app", name), "create temp table x (n int); create table y (n int)"),
            "25006"
        );
        assert_eq!(rows(&mut raw(&proxy, "app", name), "select 1")[0][0].as_deref(), Some("1"));
    }
    proxy.kill_9();
    proxy.start_again().unwrap();
    let began = Instant::now();
    let answered = raw(&proxy, "app", "d1").query("select 1", SOON).map(|_| began.elapsed());
    eprintln!("a read after the restart took {answered:?}");
    assert!(watch(Instant::now() + Duration::from_secs(2)) <= 4, "with the client's own");
    let mut admin = console(&proxy);
    assert_eq!(table(&mut admin, "SHOW MAINTENANCE").matching(&[("mode", "read_only")]).len(), many + 1);
    rows(&mut admin, "MAINTENANCE OFF *");
}
