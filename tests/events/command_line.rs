//! The command line against a running proxy: what it prints, in which form, and its exit codes.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};

use pgsluice_fixtures::{Proxy, wait};
use serde_json::{Value, json};

use crate::stand::{SOON, builder, config, config_for, console, proxy_with, raw, rows, shown};

fn command(proxy: &Proxy, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgsluice"));
    command.args(args).env("PGSLUICE_ADMIN", format!("postgres://admin:secret@127.0.0.1:{}/pgsluice", proxy.port()));
    command
}

fn run(proxy: &Proxy, args: &[&str]) -> Output {
    command(proxy, args).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn json_of(proxy: &Proxy, args: &[&str]) -> Value {
    let output = run(proxy, &[args, &["--output", "json"]].concat());
    assert_eq!(code(&output), 0, "{args:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{args:?}: {error}: {}", text(&output)))
}

#[test]
fn every_command_of_the_gate_has_its_place_and_json_has_values_of_their_kinds() {
    let proxy = proxy_with(&config("", ""));
    let on = json_of(&proxy, &["maintenance", "on", "app", "--message", "it's \"on\""]);
    assert_eq!((&on[0]["mode"], &on[0]["epoch"], &on[0]["changed"]), (&json!("read_only"), &json!(1), &json!(true)));
    assert_eq!((&on[0]["message"], &on[0]["waited_ms"].is_u64()), (&json!("it's \"on\""), &true));
    let status = json_of(&proxy, &["maintenance", "status"]);
    assert_eq!(status.as_array().unwrap().iter().filter(|row| row["mode"] == "read_only").count(), 2, "{status}");
    assert!(status[0]["until"].is_null());
    assert_eq!(json_of(&proxy, &["offline", "app"])[0]["mode"], "offline");
    assert_eq!(json_of(&proxy, &["online", "app"])[0]["mode"], "read_only");
    assert_eq!(json_of(&proxy, &["maintenance", "off", "*"])[0]["mode"], "read_write");
    let _client = raw(&proxy, "app", "app");
    assert_eq!(json_of(&proxy, &["maintenance", "announce", "app", "it's soon"])[0]["clients"], 1);
    json_of(&proxy, &["maintenance", "rehearse", "app", "--for", "10min"]);
    assert!(
        !rows(&mut console(&proxy), "SHOW REHEARSAL").is_empty()
            || json_of(&proxy, &["maintenance", "rehearse", "app", "--stop"]).is_array()
    );
    let events = json_of(&proxy, &["events", "app"]);
    let announced = events.as_array().unwrap().iter().find(|one| one["event"] == "announcement").unwrap();
    assert!(announced["id"].is_u64() && announced["fields"].as_str().unwrap().contains("it's soon"));
    assert!(text(&run(&proxy, &["events"])).contains("drain_ended"));
}

#[test]
fn exit_codes_are_those_of_the_documentation() {
    let proxy = proxy_with(&config("", ""));
    assert_eq!(code(&run(&proxy, &["maintenance", "on"])), 2);
    assert_eq!(code(&run(&proxy, &["maintenance", "rehearse", "app"])), 2);
    assert_eq!(code(&run(&proxy, &["events", "--output", "xml"])), 2);
    let nobody = ["events", "--admin", "postgres://admin:secret@127.0.0.1:1/pgsluice"];
    assert_eq!(code(&run(&proxy, &nobody)), 3);
    let wrong = format!("postgres://admin:wrong@127.0.0.1:{}/pgsluice", proxy.port());
    for command in ["top", "events"] {
        assert_eq!(code(&run(&proxy, &[command, "--admin", &wrong])), 4);
    }
    assert_eq!(code(&run(&proxy, &["offline", "nosuch"])), 4);
    assert_eq!(code(&run(&proxy, &["maintenance", "watch", "nosuch"])), 4);
    let mut writer = raw(&proxy, "app", "app");
    rows(&mut writer, "begin; insert into t values (1)");
    let on = ["maintenance", "on", "app", "--drain-timeout", "300ms", "--on-timeout", "revert"];
    assert_eq!(code(&run(&proxy, &on)), 5);
}

#[test]
fn events_are_followed_as_they_happen() {
    let proxy = proxy_with(&config("", ""));
    let mut follows =
        command(&proxy, &["events", "--follow", "--output", "json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follows.stdout.take().unwrap()).lines();
    let mut next = |name: &str| loop {
        let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        if line["event"] == name {
            return line["id"].as_u64().unwrap();
        }
    };
    next("ready");
    rows(&mut console(&proxy), "MAINTENANCE ANNOUNCE app 'one'");
    let first = next("announcement");
    rows(&mut console(&proxy), "MAINTENANCE ANNOUNCE app 'two'");
    assert!(next("announcement") > first);
    follows.kill().unwrap();
    follows.wait().unwrap();
}

/// What a terminal was told, with a blank where it moved the cursor: blanks themselves are not drawn.
fn drawn(told: &[u8]) -> String {
    let text = String::from_utf8_lossy(told);
    let mut pieces = text.split("\u{1b}[");
    let mut all = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        match piece.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').strip_prefix('H') {
            Some(after) => all.extend([" ", after]),
            None => all.extend(["\u{1b}[", piece]),
        }
    }
    all
}

/// Runs it in a terminal of 80 columns, with these keys typed as soon as it shows `shown`.
fn in_terminal(proxy: &Proxy, args: &[&str], shown: &str, then: impl FnOnce() -> &'static str) -> (i32, String) {
    in_terminal_of((80, 40), proxy, args, shown, then)
}

fn in_terminal_of(
    (columns, lines): (u16, u16),
    proxy: &Proxy,
    args: &[&str],
    shown: &str,
    then: impl FnOnce() -> &'static str,
) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("screen");
    let program = command(proxy, args);
    let words: Vec<_> = args.iter().map(|word| format!("'{word}'")).collect();
    let line = format!("stty cols {columns} rows {lines}; '{}' {}", env!("CARGO_BIN_EXE_pgsluice"), words.join(" "));
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--flush", "--command", &line]).arg(&log).env("TERM", "xterm");
    script.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut running = script.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let seen = || std::fs::read(&log).map(|bytes| drawn(&bytes)).unwrap_or_default();
    wait::until(SOON, shown, || seen().contains(shown).then_some(()));
    running.stdin.as_mut().unwrap().write_all(then().as_bytes()).unwrap();
    let status = wait::until(SOON, "its end", || running.try_wait().unwrap());
    (status.code().unwrap(), seen())
}

#[test]
fn a_drain_has_a_bar_in_a_terminal() {
    let proxy = proxy_with(&config("", ""));
    let mut writer = raw(&proxy, "app", "app");
    rows(&mut writer, "begin; insert into t values (1)");
    let on = ["maintenance", "on", "app", "--drain-timeout", "20s"];
    let (code, screen) = in_terminal(&proxy, &on, "s of 20s", || {
        rows(&mut writer, "commit");
        ""
    });
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains("[##") && screen.contains("waiting for 1 open transaction"), "{screen}");
    assert!(screen.contains("read_only"), "{screen}");
}

#[test]
fn the_live_screens_follow_what_happens_and_end_with_q() {
    let proxy = proxy_with(&config("", ""));
    let mut admin = console(&proxy);
    rows(&mut admin, "MAINTENANCE ON app WITH (message 'moving house')");
    let watch = ["maintenance", "watch"];
    let (code, screen) = in_terminal(&proxy, &watch, "moving house", || "q");
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains("READ_ONLY") && screen.contains("\u{1b}[?1049l"), "the terminal is given back: {screen}");
    assert_eq!(in_terminal(&proxy, &["top"], "queries/s", || "q").0, 0);
    // Where nobody looks, one picture is enough.
    let picture = text(&run(&proxy, &["maintenance", "watch", "app"]));
    assert!(
        picture.contains("READ_ONLY") && picture.contains("moving house") && picture.contains("primary"),
        "{picture}"
    );
    assert!(picture.lines().all(|line| line.chars().count() <= 80), "{picture}");
    assert_eq!(json_of(&proxy, &["top"])["maintenance"][0]["database"], "app");
    let picture = text(&run(&proxy, &["top"]));
    assert!(picture.contains("queries/s") && picture.contains("maxwait"), "{picture}");
    assert!(!shown(&mut admin, "").is_empty());
}

#[test]
fn bash_completes_what_the_command_line_has_and_man_shows_its_pages() {
    let folder = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_pgsluice");
    let completion = Command::new(program).args(["completion", "bash"]).output().unwrap();
    let file = folder.path().join("completion.bash");
    std::fs::write(&file, &completion.stdout).unwrap();
    let script = format!(
        "source '{}'; COMP_WORDS=(pgsluice maintenance on --dra); COMP_CWORD=3; _pgsluice pgsluice --dra on; echo ${{COMPREPLY[*]}}",
        file.display()
    );
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert_eq!(text(&output).trim(), "--drain-timeout", "{output:?}");
    assert!(Command::new(program).arg("man").arg(folder.path()).status().unwrap().success());
    let page = std::fs::read_to_string(folder.path().join("pgsluice-maintenance-on.1")).unwrap();
    assert!(page.contains("\\-\\-drain\\-timeout"), "{page}");
}

#[test]
fn a_check_that_fails_is_a_code_of_its_own_in_either_form_and_one_that_only_warns_is_none() {
    // Nobody listens on that port.
    let lost = builder(&config_for(&[1], "", "")).start().unwrap();
    for form in ["text", "json"] {
        let output = run(&lost, &["maintenance", "check", "app", "--output", form]);
        assert_eq!(code(&output), 6, "{output:?}");
        assert!(
            text(&output).contains("primary") && text(&output).contains("fail"),
            "the checks are shown: {output:?}"
        );
        assert_eq!(code(&run(&lost, &["maintenance", "check", "nosuch", "--output", form])), 4);
    }
    let proxy = proxy_with(&config("", ""));
    let output = run(&proxy, &["maintenance", "check", "app"]);
    assert!(code(&output) == 0 && text(&output).contains("warn"), "{output:?}");
}

#[test]
fn the_live_screens_fit_terminals_of_any_size() {
    let proxy = proxy_with(&config("", ""));
    rows(
        &mut console(&proxy),
        "MAINTENANCE ON app WITH (message 'moving house, which takes longer than anybody wants')",
    );
    for size in [(80, 24), (40, 10), (20, 10), (20, 3), (9, 2)] {
        for screen in [&["maintenance", "watch"][..], &["maintenance", "watch", "app"], &["top"]] {
            let (code, told) = in_terminal_of(size, &proxy, screen, "pgsluice", || "q");
            assert_eq!(code, 0, "{size:?} {screen:?}: {told}");
            assert!(!told.contains("panicked") && told.contains("\u{1b}[?1049l"), "{size:?} {screen:?}: {told}");
        }
    }
}

#[test]
fn each_shell_has_a_completion_that_knows_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let output = Command::new(env!("CARGO_BIN_EXE_pgsluice")).args(["completion", shell]).output().unwrap();
        assert_eq!(code(&output), 0, "{output:?}");
        let words =
            ["maintenance", "rehearse", "announce", "watch", "offline", "online", "events", "top", "drain-timeout"];
        for word in words.into_iter().chain(["output", "switchover", "migrate", "completion"]) {
            assert!(text(&output).contains(word), "{shell} does not complete {word}");
        }
    }
    assert_eq!(code(&Command::new(env!("CARGO_BIN_EXE_pgsluice")).args(["completion", "csh"]).output().unwrap()), 2);
}
