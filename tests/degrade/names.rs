//! Names that lead elsewhere, names with several addresses, and servers that are discovered. Names are those of a hosts file that only
//! the proxy sees, for which this machine has to let it mount one.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use pgsluice_fixtures::hosts::Hosts;
use pgsluice_fixtures::port::Port;
use pgsluice_fixtures::{Cluster, Login, Proxy, Raw, Relay, Role, Server, wait};

use crate::stand::{LONG, fine, query, sqlstate};

/// A proxy with a hosts file of its own.
struct Named {
    proxy: Proxy,
    hosts: Hosts,
}

impl Named {
    /// None: this machine does not let anybody mount.
    fn start(text: &str, cluster: &str) -> Option<Named> {
        let hosts = Hosts::of(&pgsluice_fixtures::proxy::binary(env!("CARGO_BIN_EXE_pgsluice")), text)?;
        let config = format!(
            "listen_port = {{port}}\nstate_file = \"{{dir}}/state.json\"\nauth_type = \"trust\"\nadmin_users = [\"app\"]\n\
             [clusters.main]\nmonitor_user = \"monitor\"\nmonitor_interval = \"300ms\"\ndns_max_ttl = \"500ms\"\n{cluster}\n\
             [databases.app]\n"
        );
        let proxy = Proxy::builder(hosts.program()).config(config).start().expect("a proxy");
        Some(Named { proxy, hosts })
    }

    fn now(&self, text: &str) {
        self.hosts.now(text);
    }

    fn connect(&self, database: &str) -> Raw {
        Raw::connect(&self.proxy.tcp(), &Login::new("app", database)).unwrap()
    }

    fn upstreams(&self) -> Vec<(String, String)> {
        let rows = fine(&mut self.connect("pgsluice"), "SHOW UPSTREAMS");
        rows.into_iter().map(|row| (row[1].clone(), row[2].clone())).collect()
    }

    fn wait_for(&self, wanted: &[(&str, &str)]) {
        wait::until_ok(LONG, "the servers", || {
            let is = self.upstreams();
            let same = is.iter().map(|(name, role)| (&**name, &**role)).eq(wanted.iter().copied());
            if same { Ok(()) } else { Err(format!("{is:?}")) }
        });
    }
}

fn cluster(replicas: usize, mark: &str) -> Cluster {
    let cluster = Cluster::builder()
        .replicas(replicas)
        .hba(["host all all 127.0.0.1/32 trust"])
        .roles([Role::new("app"), Role::new("monitor").option("IN ROLE pg_monitor")])
        .databases(["app"])
        .start()
        .unwrap();
    let sql = format!("CREATE TABLE mark AS SELECT '{mark}'::text AS mark; GRANT ALL ON mark TO app");
    cluster.primary().psql_in("app", &sql).unwrap();
    cluster.wait_for_replay(LONG).unwrap();
    cluster
}

fn mark(raw: &mut Raw) -> String {
    fine(raw, "SELECT mark FROM mark").remove(0).remove(0)
}

fn relay_to(server: &Server) -> Relay {
    Relay::to(server.port()).unwrap()
}

#[test]
fn a_name_that_leads_elsewhere_is_followed_while_the_old_server_lives_and_open_transactions_end_there() {
    let (old, new) = (cluster(0, "old"), cluster(0, "new"));
    let relay = relay_to(old.primary());
    let _other = relay.beside("127.0.0.2", new.primary().port()).unwrap();
    let upstream = format!("upstreams = [\"db.test:{}\"]", relay.port());
    let Some(named) = Named::start("127.0.0.1 db.test\n", &upstream) else { return };
    let (mut app, mut block) = (named.connect("app"), named.connect("app"));
    assert_eq!(mark(&mut app), "old");
    fine(&mut block, "BEGIN");
    assert_eq!(mark(&mut block), "old");
    named.now("127.0.0.2 db.test\n");
    wait::until(Duration::from_secs(5), "the other server", || (mark(&mut app) == "new").then_some(()));
    assert_eq!(mark(&mut named.connect("app")), "new");
    let frames = query(&mut block, "SELECT mark FROM mark");
    assert!(["", "25006", "57014"].contains(&&*sqlstate(&frames)), "{frames:?}");
    query(&mut block, "ROLLBACK");
    assert_eq!(mark(&mut block), "new", "a client is not dropped");
    assert!(named.proxy.log().contains("leads to another place"));
}

/// StilleBot: one of the two names has an IPv6 address where packets vanish.
#[test]
fn stillebot_an_ipv6_address_that_swallows_packets_is_passed_over() {
    let server = cluster(0, "here");
    let relay = relay_to(server.primary());
    let hole = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None).unwrap();
    hole.bind(&format!("[::1]:{}", relay.port()).parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    hole.listen(1).unwrap();
    // Nobody accepts, and its queue is full: further packets are dropped.
    let at = format!("[::1]:{}", relay.port()).parse().unwrap();
    let wait = Duration::from_millis(200);
    let _full: Vec<_> = (0..8).map_while(|_| std::net::TcpStream::connect_timeout(&at, wait).ok()).collect();
    let upstream = format!("upstreams = [\"db.test:{}\"]", relay.port());
    let Some(named) = Named::start("::1 db.test\n127.0.0.1 db.test\n", &upstream) else { return };
    let begun = std::time::Instant::now();
    assert_eq!(mark(&mut named.connect("app")), "here");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[test]
fn each_address_of_a_headless_service_is_a_server_and_they_come_and_go() {
    let cluster = cluster(1, "here");
    let relay = relay_to(cluster.primary());
    let _second = relay.beside("127.0.0.2", cluster.replica(0).port()).unwrap();
    let _third = relay.beside("127.0.0.3", cluster.replica(0).port()).unwrap();
    let port = relay.port();
    let upstream = format!("upstreams = [\"db.test:{port}\"]\nexpand_names = true");
    let Some(named) = Named::start("127.0.0.1 db.test\n127.0.0.2 db.test\n", &upstream) else { return };
    let at = |last: u8| format!("127.0.0.{last}:{port}");
    named.wait_for(&[(&at(1), "primary"), (&at(2), "replica")]);
    let mut app = named.connect("app");
    assert_eq!(mark(&mut app), "here");
    named.now("127.0.0.1 db.test\n127.0.0.3 db.test\n");
    named.wait_for(&[(&at(1), "primary"), (&at(3), "replica")]);
    assert_eq!(mark(&mut app), "here", "no client is dropped");
    fine(&mut app, "INSERT INTO mark VALUES ('x')");
}

/// Answers `GET /cluster` as Patroni does, with these members.
fn patroni(members: Arc<Mutex<Vec<(u16, &'static str)>>>) -> Port {
    let port = Port::lease().unwrap();
    let listener = TcpListener::bind(("127.0.0.1", port.number())).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 4096];
            let count = stream.read(&mut request).unwrap_or(0);
            let known = request[..count].starts_with(b"GET /cluster ");
            let list: Vec<String> = members
                .lock()
                .unwrap()
                .iter()
                .enumerate()
                .map(|(at, (port, state))| {
                    format!(
                        "{{\"name\": \"pg{at}\", \"role\": \"replica\", \"state\": \"{state}\", \"api_url\": \"http://127.0.0.1:8008/patroni\", \
                         \"host\": \"127.0.0.1\", \"port\": {port}, \"timeline\": 1, \"lag\": 0}}"
                    )
                })
                .collect();
            let body = format!("{{\"members\": [{}], \"scope\": \"demo\"}}", list.join(", "));
            let status = if known { "200 OK" } else { "404 Not Found" };
            let _ = write!(stream, "HTTP/1.0 {status}\r\nContent-Type: application/json\r\n\r\n{body}");
        }
    });
    port
}

#[test]
fn the_members_that_patroni_tells_of_are_the_servers() {
    let cluster = cluster(1, "here");
    let (primary, replica) = (cluster.primary().port(), cluster.replica(0).port());
    let members = Arc::new(Mutex::new(vec![(primary, "running")]));
    let (rest, dead) = (patroni(members.clone()), Port::lease().unwrap());
    let config = format!(
        "listen_port = {{port}}\nstate_file = \"{{dir}}/state.json\"\nauth_type = \"trust\"\nadmin_users = [\"app\"]\n\
         [clusters.main]\nmonitor_user = \"monitor\"\nmonitor_interval = \"300ms\"\nupstreams = [\"127.0.0.1:{replica}\"]\n\
         patroni = [\"http://127.0.0.1:{}\", \"http://127.0.0.1:{}\"]\n[databases.app]\n",
        dead.number(),
        rest.number()
    );
    let binary = pgsluice_fixtures::proxy::binary(env!("CARGO_BIN_EXE_pgsluice"));
    let proxy = Proxy::builder(binary).config(config).start().unwrap();
    let connect = |database: &str| Raw::connect(&proxy.tcp(), &Login::new("app", database)).unwrap();
    let wait_for = |wanted: &[&str]| {
        wait::until(LONG, "the members", || {
            let rows = fine(&mut connect("pgsluice"), "SHOW UPSTREAMS");
            rows.iter().map(|row| &*row[2]).eq(wanted.iter().copied()).then_some(())
        });
    };
    wait_for(&["primary"]);
    let mut app = connect("app");
    fine(&mut app, "INSERT INTO mark VALUES ('x')");
    members.lock().unwrap().extend([(replica, "streaming"), (1, "stopped")]);
    let mut roles = [(primary, "primary"), (replica, "replica")];
    roles.sort_unstable();
    wait_for(&roles.map(|(_, role)| role));
    // What it does not tell of any more is not used any more; where it does not answer, what was known stays.
    cluster.replica(0).promote().unwrap();
    *members.lock().unwrap() = vec![(replica, "running")];
    wait_for(&["primary"]);
    fine(&mut app, "INSERT INTO mark VALUES ('y')");
    let count = |server: &Server| server.psql_in("app", "SELECT count(*) FROM mark WHERE mark = 'y'").unwrap();
    assert_eq!((&*count(cluster.primary()), &*count(cluster.replica(0))), ("0", "1"));
}
