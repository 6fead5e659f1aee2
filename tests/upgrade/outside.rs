//! What is around the two processes: the service manager, and clients that cannot move.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};

use pgsluice_fixtures::Tls;

use crate::stand::{SOON, Stand, config, value};

fn told(listener: &UnixDatagram, word: &str) -> String {
    pgsluice_fixtures::service_manager::told(listener, word, SOON)
}

#[test]
fn the_service_manager_is_told_of_the_new_main_process_which_gives_signs_of_life() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let listener = UnixDatagram::bind(&path).unwrap();
    let stand =
        Stand::with(&config("", ""), &[("NOTIFY_SOCKET", &path.display().to_string()), ("WATCHDOG_USEC", "600000")]);
    told(&listener, "READY=1");
    let before = stand.pid();
    stand.upgrade();
    let said = told(&listener, "MAINPID=");
    assert!(stand.pid() != before && said == format!("MAINPID={}", stand.pid()), "{said}");
    told(&listener, "READY=1");
    told(&listener, "WATCHDOG=1");
    // One that does not come up is never the main one for long.
    stand.try_upgrade(&["--binary", "/bin/false"]).unwrap_err();
    told(&listener, "WATCHDOG=1");
}

#[test]
fn a_client_over_tls_finishes_on_the_former_process_and_keeps_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let tls = Tls::in_folder(folder.path()).unwrap();
    let keys = format!(
        "client_tls_sslmode = 'allow'\nclient_tls_cert_file = '{}'\nclient_tls_key_file = '{}'",
        tls.server_cert.display(),
        tls.server_key.display()
    );
    let stand = Stand::new(&config(&keys, ""));
    let mut plain = stand.raw("app", "app");
    let url = format!("postgres://app:app@127.0.0.1:{}/app?sslmode=require", stand.proxy.port());
    let mut psql =
        Command::new("psql").args([&url, "-XAtq"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut says, mut hears) = (psql.stdin.take().unwrap(), BufReader::new(psql.stdout.take().unwrap()));
    let mut ask = |sql: &str| {
        writeln!(says, "{sql}").unwrap();
        let mut line = String::new();
        hears.read_line(&mut line).unwrap();
        line.trim().to_owned()
    };
    assert_eq!(ask("select 'before';"), "before");
    let former = stand.pid();
    let told = stand.try_upgrade(&[]).unwrap();
    assert!(told.contains("1 clients are still served by the former one"), "{told}");
    assert_eq!((ask("select 'after';"), value(&mut plain, "select 1")), ("after".to_owned(), "1".to_owned()));
    assert!(stand.runs(former));
    drop(says);
    psql.wait().unwrap();
    stand.await_end_of(former);
    assert_eq!(value(&mut plain, "select 1"), "1");
}
