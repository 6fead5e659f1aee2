//! What a service manager is told, and what it passes.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use pgsluice_fixtures::{Address, Login, Raw, Signal};

use crate::stand::{Running, SOON, builder, config, pgsluice};

fn told(listener: &UnixDatagram, word: &str) -> String {
    pgsluice_fixtures::service_manager::told(listener, word, SOON)
}

#[test]
fn the_service_manager_is_told_of_ready_reload_life_and_stop() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let listener = UnixDatagram::bind(&path).unwrap();
    let config = config("shutdown_timeout = '20s'", "");
    let builder = builder(&config).env("NOTIFY_SOCKET", path.display().to_string()).env("WATCHDOG_USEC", "600000");
    let mut proxy = builder.start().unwrap();
    told(&listener, "READY=1");
    told(&listener, "WATCHDOG=1");
    told(&listener, "WATCHDOG=1");
    proxy.signal(Signal::SIGHUP).unwrap();
    assert!(told(&listener, "RELOADING=1").contains("MONOTONIC_USEC="));
    told(&listener, "READY=1");
    proxy.signal(Signal::SIGTERM).unwrap();
    assert!(told(&listener, "STOPPING=1").contains("EXTEND_TIMEOUT_USEC=30000000"));
}

#[test]
fn sockets_that_were_opened_ahead_serve_and_who_came_before_the_start_waits() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap());
    let early = std::thread::spawn(move || {
        // Nobody accepts yet.
        Raw::connect(&address, &Login::new("app", "app").password("app")).map(|_| address)
    });
    let stand = builder(&config("", "")).start().unwrap();
    let text = std::fs::read_to_string(stand.dir().join("pgsluice.toml")).unwrap();
    let path = stand.dir().join("passed.toml");
    std::fs::write(&path, text.replace("state.json", "passed.json").replace("unix_socket_dir", "#")).unwrap();
    let log = std::fs::File::create(stand.dir().join("passed.log")).unwrap();
    let script = "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$BASHPID exec \"$0\" run --config \"$1\"";
    let mut command = Command::new("bash");
    command.args(["-c", script]).arg(pgsluice()).arg(&path).stdin(Stdio::from(OwnedFd::from(listener)));
    let _running = Running(command.stdout(Stdio::null()).stderr(log).process_group(0).spawn().unwrap());
    let address = early.join().unwrap().unwrap();
    Raw::connect(&address, &Login::new("app", "app").password("app")).unwrap();
}
