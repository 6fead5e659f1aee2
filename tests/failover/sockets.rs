//! What sockets do about a server that has gone without a word.

use std::process::Command;
use std::time::{Duration, Instant};

use pgsluice_fixtures::namespace::{Network, run_in_own_network};
use pgsluice_fixtures::raw::{Address, message};
use pgsluice_fixtures::{Login, Raw, wait};

use crate::stand::{LONG, Stand, fine, sqlstate};

/// Timers of the proxy's TCP connections to a port, by `/proc/net/tcp`: whether keepalive probes are due, and when at the latest.
fn keepalive(pid: u32, port: u16) -> Vec<Option<Duration>> {
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).expect("a table");
    let own = sockets_of(pid);
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let to_port = rows
        .filter(|row| row[2].ends_with(&format!(":{port:04X}")) && row[3] == "01" && own.contains(&row[9].to_owned()));
    to_port
        .map(|row| {
            let (timer, when) = row[5].split_once(':').expect("a timer");
            // Hundredths of a second.
            let when = u64::from_str_radix(when, 16).expect("a time");
            (timer == "02").then(|| Duration::from_millis(10 * when))
        })
        .collect()
}

fn sockets_of(pid: u32) -> Vec<String> {
    let links = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("its files").flatten();
    let names = links.filter_map(|link| std::fs::read_link(link.path()).ok()?.into_os_string().into_string().ok());
    names.filter_map(|name| Some(name.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())).collect()
}

#[test]
fn keepalive_probes_are_sent_to_servers_as_to_clients() {
    for (top, at_most) in [
        ("tcp_keepidle = \"20s\"\ntcp_keepintvl = \"5s\"\ntcp_keepcnt = 3\n", Some(Duration::from_secs(20))),
        ("", Some(Duration::from_secs(10))),
        ("tcp_keepalive = false\ntcp_keepidle = \"20s\"\n", None),
    ] {
        let stand = Stand::new(top);
        let mut app = stand.connect("app");
        fine(&mut app, "SELECT 1");
        let pid = stand.proxy.pid().expect("it runs");
        let to_servers = keepalive(pid, stand.cluster.primary().port());
        assert!(to_servers.len() >= 2, "the monitor's and the pool's: {to_servers:?}");
        for timer in to_servers {
            // What was just sent may have a timer of its own for a moment.
            assert!(timer.is_some_and(|when| Some(when) <= at_most) || timer == at_most, "{top}: {timer:?}");
        }
    }
}

/// From now on every packet of this network is swallowed.
fn swallow_packets() {
    // They are accepted for sending, and never sent.
    let args = "qdisc add dev lo root tbf rate 8bit burst 200 limit 10mb".split(' ');
    assert!(Command::new("tc").args(args).status().expect("tc").success());
}

#[test]
fn what_runs_on_a_server_that_swallows_packets_ends() {
    match run_in_own_network("sockets::what_runs_on_a_server_that_swallows_packets_ends") {
        Network::Own => {}
        Network::Done => return,
        Network::Impossible => return eprintln!("this machine gives no network of one's own"),
    }
    ends_within(
        Duration::from_secs(20),
        "tcp_keepidle = \"1s\"\ntcp_keepintvl = \"1s\"\ntcp_keepcnt = 2\ntcp_user_timeout = \"2s\"\n",
    );
}

#[test]
fn by_default_what_runs_on_a_server_that_swallows_packets_ends_within_half_a_minute() {
    let name = "sockets::by_default_what_runs_on_a_server_that_swallows_packets_ends_within_half_a_minute";
    match run_in_own_network(name) {
        Network::Own => {}
        Network::Done => return,
        Network::Impossible => return eprintln!("this machine gives no network of one's own"),
    }
    ends_within(Duration::from_secs(30), "");
}

fn ends_within(limit: Duration, top: &str) {
    let stand = Stand::new(&format!("unix_socket_dir = \"{{dir}}\"\n{top}"));
    let address = Address::socket(stand.proxy.dir(), stand.proxy.port());
    let connect = |user: &str| Raw::connect(&address, &Login::new(user, "app")).expect("a client");
    let (mut runs, mut sends) = (connect("app"), connect("app"));
    // One has nothing to say, of the other something stays unacknowledged.
    runs.send(&message::query("SELECT pg_sleep(100)")).unwrap();
    fine(&mut sends, "BEGIN; INSERT INTO w(who) VALUES ('block')");
    let busy = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'";
    stand.cluster.primary().wait_until(busy, "1", LONG).unwrap();
    swallow_packets();
    drop(sends.send(&message::query("INSERT INTO w(who) VALUES ('more')")));
    let began = Instant::now();
    for raw in [&mut runs, &mut sends] {
        let frames = raw.frames_until_closed(limit).expect("an end");
        assert_eq!(sqlstate(&frames), "08006", "{frames:?}");
    }
    println!("both ended after {:?}", began.elapsed());
    wait::until(LONG, "the server to be lost", || stand.proxy.log().contains("upstream lost").then_some(()));
}

#[test]
fn what_a_reload_says_of_checking_connections_holds_for_pools_that_are_there() {
    let mut stand = Stand::new("");
    let primary = stand.cluster.primary();
    primary.psql_in("app", "CREATE SEQUENCE checks; GRANT ALL ON checks TO PUBLIC").unwrap();
    let mut app = stand.connect("app");
    fine(&mut app, "SELECT 1");
    stand.reload_with_top("server_check_delay = 0\nserver_check_query = \"SELECT nextval('checks')\"");
    for _ in 0..3 {
        fine(&mut app, "SELECT 1");
    }
    let checks = stand.cluster.primary().psql_in("app", "SELECT last_value FROM checks").unwrap();
    assert!(checks.parse::<u32>().unwrap() >= 2, "{checks}");
}
