//! Clusters of the configuration that lead to one server: names of one database there close and open together, however its address
//! is spelled, and whenever that is found out.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

use pgsluice_fixtures::proxy::binary;
use pgsluice_fixtures::raw::message::query;
use pgsluice_fixtures::{Proxy, Raw, wait};

use crate::stand::{Named, SOON, cluster, config, console, raw, refusal, rows, table};

const WRITE: &str = "insert into t values (1)";

/// A cluster of that name with that server, and a name of the database there.
fn beside(name: &str, upstream: &str, dbname: &str) -> String {
    format!(
        "[clusters.{name}]\nupstreams = [\"{upstream}\"]\nmonitor_user = \"postgres\"\nmonitor_password = \"postgres\"\n\
         monitor_interval = \"100ms\"\n[databases.by_{name}]\ncluster = \"{name}\"\ndbname = \"{dbname}\"\n"
    )
}

fn all(end: &str) -> String {
    let text = config("", end);
    text.replace("[databases.app]", "[databases.app]\ncluster = \"main\"")
        .replace("[databases.other]", "[databases.other]\ncluster = \"main\"")
}

/// A proxy of which so many servers are known to be primaries.
fn proxy_with(text: &str, primaries: usize) -> Proxy {
    let users = "\"app\" \"app\"\n\"op\" \"op\"\n\"admin\" \"secret\"\n";
    let proxy =
        Proxy::builder(binary(env!("CARGO_BIN_EXE_pgsluice"))).config(text).file("users", users).start().unwrap();
    await_primaries(&proxy, primaries);
    proxy
}

fn await_primaries(proxy: &Proxy, count: usize) {
    let mut console = console(proxy);
    wait::until(SOON, "the primaries", || {
        (table(&mut console, "SHOW UPSTREAMS").matching(&[("role", "primary")]).len() == count).then_some(())
    });
}

fn client(proxy: &Proxy, name: &str) -> Raw {
    raw(proxy, "app", name)
}

fn mode(console: &mut Raw, name: &str) -> String {
    table(console, "SHOW MAINTENANCE").value(&[("database", name)], "mode")
}

fn closed(console: &mut Raw) -> BTreeSet<String> {
    let shown: Named = table(console, "SHOW MAINTENANCE");
    shown.rows.iter().filter(|row| row[1].as_deref() != Some("read_write")).map(|row| row[0].clone().unwrap()).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// A way to the primary that can be there or not.
struct Way {
    port: u16,
    open: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
}

impl Way {
    fn shut() -> Way {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let (port, to) = (listener.local_addr().unwrap().port(), cluster().primary().port());
        let (open, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (is_open, is_over) = (open.clone(), over.clone());
        thread::spawn(move || {
            while !is_over.load(SeqCst) {
                let Ok((near, _)) = listener.accept() else {
                    thread::sleep(std::time::Duration::from_millis(2));
                    continue;
                };
                if is_open.load(SeqCst) {
                    near.set_nonblocking(false).unwrap();
                    join(near, TcpStream::connect(("127.0.0.1", to)).unwrap());
                }
            }
        });
        Way { port, open, over }
    }

    fn open(&self) {
        self.open.store(true, SeqCst);
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.over.store(true, SeqCst);
    }
}

fn join(near: TcpStream, far: TcpStream) {
    let again = |stream: &TcpStream| stream.try_clone().unwrap();
    for (mut from, mut to) in [(again(&near), again(&far)), (far, near)] {
        thread::spawn(move || {
            let mut room = [0; 4096];
            while let Ok(read @ 1..) = from.read(&mut room) {
                if to.write_all(&room[..read]).is_err() {
                    break;
                }
            }
            let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
        });
    }
}

/// By another spelling, by a unix socket, and another database of the same server.
fn spellings() -> String {
    let primary = cluster().primary();
    let socket = format!("unix:{}:{}", primary.socket_dir().display(), primary.port());
    let local = format!("localhost:{}", primary.port());

    [beside("local", &local, "app"), beside("socket", &socket, "app")].concat()
        + "[databases.apart]\ncluster = \"local\"\ndbname = \"postgres\"\n"
}

const TOGETHER: [&str; 4] = ["app", "other", "by_local", "by_socket"];

#[test]
fn names_by_any_spelling_of_the_server_close_and_open_together() {
    let mut proxy = proxy_with(&all(&spellings()), 3);
    let mut admin = console(&proxy);
    let mut clients = TOGETHER.map(|name| client(&proxy, name));
    clients.iter_mut().for_each(|client| _ = rows(client, WRITE));
    // One that has written by another name is waited for.
    rows(&mut clients[2], "begin; insert into t values (2)");
    let mut other = console(&proxy);
    other.send(&query("MAINTENANCE ON app WITH (message 'm')")).unwrap();
    wait::until(SOON, "the drain", || (mode(&mut admin, "by_socket") == "draining").then_some(()));
    rows(&mut clients[2], "commit");
    let frames = other.frames_until_ready(SOON).unwrap();
    let notices: Vec<_> =
        frames.iter().filter(|frame| frame.tag == b'N').map(|one| one.error_fields()[&'M'].clone()).collect();
    let told = notices.iter().find(|text| text.contains("every name")).unwrap_or_else(|| panic!("{notices:?}"));
    assert!(TOGETHER.iter().all(|name| told.contains(&format!("\"{name}\""))), "{told}");
    let row = frames.iter().find(|frame| frame.tag == b'D').expect("a row").values();
    assert_eq!(row[11].as_deref().unwrap_or_default(), b"", "nobody writes past this proxy");
    clients.iter_mut().for_each(|client| assert_eq!(refusal(client, WRITE), "25006"));
    assert_eq!(closed(&mut admin), set(&TOGETHER));
    rows(&mut client(&proxy, "apart"), "create temp table mine (n int)");
    let check = table(&mut admin, "MAINTENANCE CHECK app");
    let names = check.value(&[("database", "app"), ("check", "names")], "detail");
    assert!(names.contains("\"by_local\"") && names.contains("\"by_socket\""), "{names}");
    // A restart finds them closed, and opens them together.
    proxy.kill_9();
    proxy.start_again().unwrap();
    for name in TOGETHER {
        assert_eq!(refusal(&mut client(&proxy, name), WRITE), "25006", "{name}");
    }
    await_primaries(&proxy, 3);
    let mut admin = console(&proxy);
    wait::until(SOON, "together again", || (closed(&mut admin) == set(&TOGETHER)).then_some(()));
    rows(&mut admin, "MAINTENANCE OFF by_socket");
    assert_eq!(closed(&mut admin), set(&[]));
    for name in TOGETHER {
        rows(&mut client(&proxy, name), WRITE);
    }
    rows(&mut admin, "OFFLINE by_local");
    assert_eq!(closed(&mut admin), set(&TOGETHER));
    rows(&mut admin, "ONLINE other");
    assert_eq!(closed(&mut admin), set(&[]));
}

#[test]
fn a_cluster_that_a_reload_adds_is_found_closed_before_its_first_transaction() {
    let mut proxy = proxy_with(&all(""), 1);
    let mut admin = console(&proxy);
    rows(&mut admin, "MAINTENANCE ON app");
    proxy.reconfigure(&all(&spellings())).unwrap();
    rows(&mut admin, "RELOAD");
    for name in ["by_local", "by_socket"] {
        assert_eq!(refusal(&mut client(&proxy, name), WRITE), "25006", "{name}");
    }
    assert_eq!(closed(&mut admin), set(&TOGETHER));
    // Taken away again: what was closed stays so, and nothing of it is left when it is opened.
    proxy.reconfigure(&all("")).unwrap();
    rows(&mut admin, "RELOAD");
    rows(&mut admin, "MAINTENANCE OFF app");
    assert_eq!(closed(&mut admin), set(&[]));
    rows(&mut client(&proxy, "other"), WRITE);
}

#[test]
fn a_server_that_is_known_only_later_is_found_closed_or_open_as_its_other_name_is() {
    let way = Way::shut();
    let late = beside("late", &format!("127.0.0.1:{}", way.port), "app");
    let mut proxy = proxy_with(&all(&late), 1);
    let mut admin = console(&proxy);
    rows(&mut admin, "MAINTENANCE ON app");
    assert_eq!(closed(&mut admin), set(&["app", "other"]));
    way.open();
    // Its first write comes as soon as there is a server for it.
    assert_eq!(refusal(&mut client(&proxy, "by_late"), WRITE), "25006");
    assert_eq!(closed(&mut admin), set(&["app", "other", "by_late"]));
    // Closed in an earlier life, and opened in this one before the other way is there.
    proxy.kill_9();
    way.open.store(false, SeqCst);
    proxy.start_again().unwrap();
    await_primaries(&proxy, 1);
    let mut admin = console(&proxy);
    rows(&mut admin, "MAINTENANCE OFF app");
    way.open();
    await_primaries(&proxy, 2);
    wait::until(SOON, "open with it", || closed(&mut admin).is_empty().then_some(()));
    rows(&mut client(&proxy, "by_late"), WRITE);
    rows(&mut client(&proxy, "app"), WRITE);
}

#[test]
fn a_replica_in_a_cluster_of_its_own_is_no_other_name_of_its_primary() {
    let replica = format!("localhost:{}", cluster().replica(0).port());
    let proxy = proxy_with(&all(&beside("report", &replica, "app")), 1);
    let mut admin = console(&proxy);
    wait::until(SOON, "the replicas", || {
        (table(&mut admin, "SHOW UPSTREAMS").matching(&[("role", "replica")]).len() == 2).then_some(())
    });
    let causes = |admin: &mut Raw| {
        let shown = table(admin, "SHOW MAINTENANCE");
        ["app", "other", "by_report"].map(|name| shown.value(&[("database", name)], "cause"))
    };
    // It is read_only by itself: there is no primary in its cluster.
    wait::until(SOON, "the mode of a cluster without a primary", || {
        (causes(&mut admin) == ["", "", "no_primary"]).then_some(())
    });
    rows(&mut admin, "MAINTENANCE ON app");
    assert_eq!(causes(&mut admin), ["command", "command", "no_primary"]);
    rows(&mut admin, "MAINTENANCE OFF app");
    assert_eq!(causes(&mut admin), ["", "", "no_primary"]);
}
