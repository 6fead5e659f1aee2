//! What is wrong at the start is said at the start, in words that tell what to do.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use pgsluice_fixtures::cluster::{SUPERUSER, SUPERUSER_PASSWORD};
use pgsluice_fixtures::port::Port;
use pgsluice_fixtures::{Login, Raw, wait};

use crate::stand::{Running, SOON, builder, cluster, config, pgsluice};

/// Runs it in front of the URL; it is expected to end.
fn run_with(url: &str) -> Output {
    let port = Port::lease().unwrap();
    let listen = format!("127.0.0.1:{}", port.number());
    let mut command = Command::new("timeout");
    command.args(["30"]).arg(pgsluice()).args(["run", "--upstream", url, "--listen", &listen]);
    command.output().unwrap()
}

#[test]
fn a_url_that_the_server_refuses_ends_with_the_servers_error() {
    let at = format!("127.0.0.1:{}", cluster().primary().port());
    for (url, words) in [
        (format!("postgres://{SUPERUSER}:wrong@{at}/postgres"), "password authentication failed for user"),
        (format!("postgres://{SUPERUSER}:{SUPERUSER_PASSWORD}@{at}/nosuch"), "database \"nosuch\" does not exist"),
        (format!("postgres://{SUPERUSER}:{SUPERUSER_PASSWORD}@{at}/postgres?sslmode=require"), "does not support TLS"),
        (format!("postgres://{SUPERUSER}@{at}/postgres"), "asks for a password for role"),
        (format!("postgres://nosuch:x@{at}/postgres"), "password authentication failed for user"),
    ] {
        let began = Instant::now();
        let output = run_with(&url);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{url}: {told}");
        assert!(told.contains(&format!("cannot log in to {at} as ")) && told.contains(words), "{url}: {told}");
        assert!(!told.contains("pgsluice is ready") && !told.contains(":wrong@"), "{told}");
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    }
}

#[test]
fn clients_are_told_that_the_monitor_cannot_log_in() {
    for (password, why) in [
        ("monitor_password = \"wrong\"", "password authentication failed"),
        ("", "none is configured: set monitor_password, or add the role to auth_file"),
    ] {
        let config = config("", "").replace("monitor_password = \"postgres\"", password);
        let proxy = builder(&config).start().unwrap();
        let began = Instant::now();
        let error = Raw::connect(&proxy.tcp(), &Login::new("app", "app").password("app")).err().unwrap();
        let text = format!("{error:?}");
        assert_eq!(error.sqlstate(), Some("08006"), "{text}");
        assert!(text.contains("monitor of pgsluice cannot log in") && text.contains("monitor_password"), "{text}");
        assert!(text.contains(why), "{text}");
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        assert!(proxy.log().contains(why), "{}", proxy.log());
    }
}

#[test]
fn the_limit_of_open_files_is_raised_and_compared_and_told_with_its_remedy() {
    let proxy = builder(&config("", "")).start().unwrap();
    let path = proxy.dir().join("few.toml");
    let port = Port::lease().unwrap();
    let text = std::fs::read_to_string(proxy.dir().join("pgsluice.toml")).unwrap();
    let text = text.replace(&format!("listen_port = {}", proxy.port()), &format!("listen_port = {}", port.number()));
    std::fs::write(&path, text.replace("state.json", "few.json")).unwrap();
    let log = std::fs::File::create(proxy.dir().join("few.log")).unwrap();
    let mut command = Command::new("sh");
    // Soft 32, hard 64: raised to the latter.
    command.args(["-c", "ulimit -Sn 32; ulimit -Hn 64; exec \"$0\" run --config \"$1\""]).arg(pgsluice()).arg(&path);
    let _few = Running(command.stderr(log).process_group(0).spawn().unwrap());
    let read = || std::fs::read_to_string(proxy.dir().join("few.log")).unwrap();
    let told = wait::until(SOON, "the comparison", || {
        read().lines().find(|line| line.contains("open_files")).map(str::to_owned)
    });
    assert!(told.contains("WARN") && told.contains("limit=64 ") && told.contains("max_client_conn=10000"), "{told}");
    assert!(told.contains("ulimit -n"), "{told}");
    let connect = || std::net::TcpStream::connect(("127.0.0.1", port.number()));
    wait::until(SOON, "it to listen", || connect().ok());
    let _many: Vec<_> = (0..100).filter_map(|_| connect().ok()).collect();
    let reached = || read().lines().find(|line| line.contains("too_many_open_files")).map(str::to_owned);
    let told = wait::until(SOON, "the limit to be reached", reached);
    assert!(told.contains("Too many open files") && told.contains("LimitNOFILE="), "{told}");
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(read().matches("too_many_open_files").count(), 1, "{}", read());
}

/// What check-config says of a file of that name and text.
fn check(name: &str, text: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    let output = Command::new(pgsluice()).args(["check-config", name]).current_dir(folder.path()).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_pgbouncer_ini_is_known_as_one_and_warnings_are_called_so() {
    let ini = ";; PgBouncer\n[databases]\napp = host=127.0.0.1 port=5432\n\n[pgbouncer]\nlisten_port = 6432\nauth_type = md5\n";
    let (code, told) = check("pgbouncer.ini", ini);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("pgbouncer.ini:7: auth_type: ") || told.contains("auth_file: missing"), "{told}");
    let (code, told) = check("any.name", &ini.replace("md5", "trust"));
    assert_eq!(code, Some(0), "{told}");
    let good = "auth_type = 'trust'\nstate_file = ''\n[clusters.main]\nupstreams = ['10.0.0.1']\nmonitor_user = 'w'\n\
                [clusters.unused]\nupstreams = ['10.0.0.2']\nmonitor_user = 'w'\n[databases.app]\ncluster = 'main'\n";
    let (code, told) = check("t.toml", good);
    assert_eq!(code, Some(0), "{told}");
    assert!(!told.is_empty() && told.lines().all(|line| line.starts_with("warning: t.toml")), "{told}");
    let (code, told) = check("t.toml", &format!("server_round_robin = 1\n{good}"));
    assert!(code == Some(1) && told.contains("t.toml:1: server_round_robin: unknown key; leave it out"), "{told}");
}
