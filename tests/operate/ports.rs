//! A port, or a unix socket's path, belongs to one process.

use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use pgsluice_fixtures::Proxy;

use crate::stand::{Running, SOON, config, proxy_with, raw, rows};

/// Writes a configuration like the proxy's own, with changes and a state file of its own, beside it.
fn sibling(proxy: &Proxy, name: &str, changes: &[(&str, &str)]) -> PathBuf {
    let mut text = std::fs::read_to_string(proxy.dir().join("pgsluice.toml")).unwrap();
    text = text.replace("state.json", &format!("{name}.json"));
    for (from, to) in changes {
        assert!(text.contains(from), "{from} in {text}");
        text = text.replace(from, to);
    }
    let path = proxy.dir().join(format!("{name}.toml"));
    std::fs::write(&path, text).unwrap();
    path
}

/// Starts it and expects that it ends with code 1 and names what is taken.
fn is_refused(config: &Path, taken: &str) {
    let code = Running::start(config).exit_code();
    let log = std::fs::read_to_string(config.with_extension("log")).unwrap();
    assert_eq!(code, Some(1), "{taken}: {log}");
    assert!(log.contains(&format!("cannot listen on {taken}")), "{taken}: {log}");
    assert!(log.contains("Address already in use"), "{taken}: {log}");
}

#[test]
fn a_second_process_does_not_share_the_port_of_the_first() {
    let proxy = proxy_with(&config("", ""));
    let port = proxy.port();
    let unix = format!("unix_socket_dir = \"{}\"", proxy.dir().display());
    let listen = |addresses: &str| format!("{unix}\nlisten_addr = {addresses}").replace(&unix, "");
    for (name, addresses, taken) in [
        ("same", "\"127.0.0.1\"", format!("127.0.0.1:{port}")),
        ("all", "\"*\"", format!("[::]:{port}")),
        ("every", "\"0.0.0.0\"", format!("0.0.0.0:{port}")),
        ("second", "[\"127.0.0.2\", \"127.0.0.1\"]", format!("127.0.0.1:{port}")),
    ] {
        is_refused(&sibling(&proxy, name, &[(&unix, &listen(addresses))]), &taken);
    }
    // Started as the first one was, with the unix socket too: that is still the first one's afterwards.
    is_refused(&sibling(&proxy, "alike", &[]), &format!("127.0.0.1:{port}"));
    let socket = proxy.dir().join(format!(".s.PGSQL.{port}"));
    std::os::unix::net::UnixStream::connect(&socket).unwrap();
    assert_eq!(rows(&mut raw(&proxy, "app", "app"), "select 1").len(), 1);
}

#[test]
fn a_port_of_any_other_program_is_not_shared_either() {
    let http = config("", "[http]\nlisten = \"127.0.0.1:{port:http}\"\nbanner_public = true");
    let proxy = proxy_with(&http);
    let http = format!("listen = \"127.0.0.1:{}\"", proxy.port_named("http").unwrap());
    let port = format!("listen_port = {}", proxy.port());
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let taken = other.local_addr().unwrap();
    let moved = format!("listen_port = {}", taken.port());
    is_refused(&sibling(&proxy, "other", &[(&port, &moved), (&http, "")]), &taken.to_string());
    let moved = format!("listen_port = {free}");
    let elsewhere = format!("listen = \"{taken}\"");
    is_refused(&sibling(&proxy, "http", &[(&port, &moved), (&http, &elsewhere)]), &taken.to_string());
    let same = format!("127.0.0.1:{}", proxy.port_named("http").unwrap());
    is_refused(&sibling(&proxy, "http-too", &[(&port, &moved)]), &same);
}

#[test]
fn the_unix_socket_of_a_living_process_stays_its_own() {
    let proxy = proxy_with(&config("", ""));
    let tcp = "listen_addr = \"\"\nworkers = 2";
    let socket = proxy.dir().join(format!(".s.PGSQL.{}", proxy.port()));
    is_refused(&sibling(&proxy, "unix", &[("workers = 2", tcp)]), &socket.display().to_string());
    std::os::unix::net::UnixStream::connect(&socket).unwrap();
    // Nor is anything removed that is no socket.
    let folder = proxy.dir().join("folder");
    std::fs::create_dir(&folder).unwrap();
    let own = format!("unix_socket_dir = \"{}\"", proxy.dir().display());
    let in_folder = format!("unix_socket_dir = \"{}\"", folder.display());
    let file = folder.join(format!(".s.PGSQL.{}", proxy.port()));
    std::fs::write(&file, "precious").unwrap();
    is_refused(&sibling(&proxy, "file", &[("workers = 2", tcp), (&own, &in_folder)]), &file.display().to_string());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
}

#[test]
fn a_socket_that_a_killed_process_left_behind_is_taken_over() {
    let mut proxy = proxy_with(&config("", ""));
    let socket = proxy.dir().join(format!(".s.PGSQL.{}", proxy.port()));
    proxy.kill_9();
    assert!(socket.exists());
    proxy.start_again().unwrap();
    std::os::unix::net::UnixStream::connect(&socket).unwrap();
    // What has taken its place since is not removed at the end.
    std::fs::remove_file(&socket).unwrap();
    let _other = UnixListener::bind(&socket).unwrap();
    proxy.signal(pgsluice_fixtures::Signal::SIGTERM).unwrap();
    assert!(proxy.wait_for_exit(SOON).unwrap().success(), "{}", proxy.log());
    assert!(socket.exists());
}

#[test]
fn addresses_that_cover_one_another_are_one_process_s_own() {
    for addresses in
        ["\"*\"", "[\"0.0.0.0\", \"::\"]", "[\"127.0.0.1\", \"0.0.0.0\"]", "[\"localhost\", \"127.0.0.1\"]"]
    {
        let proxy = proxy_with(&config(&format!("listen_addr = {addresses}"), ""));
        TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
        is_refused(&sibling(&proxy, "alike", &[]), "");
    }
}
