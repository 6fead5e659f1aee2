//! A new process that does not come up changes nothing.

use std::os::unix::fs::PermissionsExt as _;

use pgsluice_fixtures::raw::message;

use crate::stand::{SOON, Stand, Writers, config, rows, value};

/// Tries an upgrade that has to fail with that text, under writers; everything is as it was.
fn fails(stand: &Stand, more: &[&str], text: &str) {
    let (before, writers) = (stand.pid(), Writers::start(stand, 2, "app"));
    let mut client = stand.raw("app", "app");
    let error = stand.try_upgrade(more).unwrap_err();
    assert!(error.contains("the running process goes on") && error.contains(text), "{error}");
    assert_eq!(stand.pid(), before);
    assert_eq!(value(&mut client, "select 1"), "1");
    assert_eq!(value(&mut stand.raw("app", "app"), "select 1"), "1");
    writers.finish();
}

#[test]
fn a_new_process_that_does_not_come_up_leaves_everything_with_the_one_that_runs() {
    let mut stand = Stand::new(&config("", ""));
    let script = |name: &str, text: &str| {
        let path = stand.proxy.dir().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path.display().to_string()
    };
    let (ends, crashes) = (script("ends", "#!/bin/sh\nexit 3\n"), script("crashes", "#!/bin/sh\nkill -9 $$\n"));
    let talks = script("talks", "#!/bin/sh\necho nonsense >&0\nsleep 1\n");
    fails(&stand, &["--binary", "/nowhere/pgsluice"], "/nowhere/pgsluice");
    fails(&stand, &["--binary", &ends], "has ended before it was ready");
    fails(&stand, &["--binary", &crashes], "has ended before it was ready");
    fails(&stand, &["--binary", &talks], "");
    let open = script("open", "#!/bin/sh\n");
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
    fails(&stand, &["--binary", &open], "could have been changed by somebody else");
    // A configuration that is wrong, and ones that take a restart.
    let right = config("", "");
    for (wrong, text) in [
        (right.replace("workers = 2", "workers = 'many'"), "workers"),
        (right.replace("listen_port = {port}", "listen_port = {port:other}"), "takes a restart"),
        (right.replace("state.json", "another.json"), ""),
    ] {
        stand.proxy.reconfigure(&wrong).unwrap();
        let state = stand.proxy.dir().join("state.json").display().to_string();
        let before = stand.pid();
        let error = std::process::Command::new(crate::stand::pgsluice())
            .args(["upgrade", "--state-file", &state])
            .output()
            .map(|done| String::from_utf8_lossy(&done.stderr).into_owned())
            .unwrap();
        assert!(error.contains("goes on") && error.contains(text), "{error}");
        assert_eq!(stand.pid(), before);
    }
    stand.proxy.reconfigure(&right).unwrap();
    stand.upgrade();
    assert!(stand.proxy.log().contains("upgrade_failed"));
}

#[test]
fn a_gate_can_be_closed_after_an_upgrade_that_has_failed_and_survives_the_next_start() {
    let stand = Stand::new(&config("", ""));
    fails(&stand, &["--binary", "/bin/false"], "has ended before it was ready");
    rows(&mut stand.raw("admin", "pgsluice"), "maintenance on app with (writes reject)");
    stand.upgrade();
    let mut client = stand.raw("app", "app");
    let error = client.query("insert into w values ('failed', 1)", SOON).unwrap_err();
    assert_eq!(error.sqlstate(), Some("25006"));
}

#[test]
fn the_console_can_ask_too_and_clients_that_cannot_go_are_served_until_the_deadline() {
    let stand = Stand::new(&config("upgrade_timeout = '4s'", ""));
    let mut block = stand.raw("app", "app");
    rows(&mut block, "begin");
    let former = stand.pid();
    let mut admin = stand.raw("admin", "pgsluice");
    let frames = admin.round_trip(&message::query("upgrade"), SOON).unwrap();
    assert!(frames.iter().any(|frame| frame.tag == b'N'), "{frames:?}");
    assert_eq!(value(&mut block, "select 1"), "1");
    let frames = block.frames_until_closed(SOON).unwrap();
    assert_eq!(frames.iter().find_map(|frame| frame.error()).unwrap().code(), "57P01");
    stand.await_end_of(former);
}
