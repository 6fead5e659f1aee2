//! A place under a limit that several pools share goes to who has waited longest, in whichever pool.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Address, Login, Raw, wait};

use crate::stand::{LONG, Stand, begin, end};

/// A place that becomes idle serves who waits for it within this, on a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// Five clients of one pool have all places, another pool's first client waits for one: served as soon as one is idle,
/// log-in included. So it is once the pools know each other, in both protocols.
fn the_other_pool_is_served(top: &str, end_of_config: &str, one: (usize, usize), other: (usize, usize)) {
    let stand = Stand::new(2, 2, top, end_of_config);
    for round in ["first log-in", "again"] {
        let mut five: Vec<Raw> = (0..5).map(|_| stand.client(one.0, one.1)).collect();
        five.iter_mut().for_each(|client| begin(client, "select pg_sleep(1)"));
        stand.wait_to_see("SHOW POOLS", &[&format!("user=u{}", one.0), "sv_active=5"]);
        let began = Instant::now();
        let mut waits = stand.client(other.0, other.1);
        waits.query("select 1", LONG).expect("a turn");
        assert!(began.elapsed() < SOON, "{round}: {:?}", began.elapsed());
        five.iter_mut().for_each(|client| _ = end(client));
        // Idle connections of one pool are closed for the other whenever they are needed.
        let began = Instant::now();
        for client in &mut five {
            client.query("begin", LONG).expect("a turn");
        }
        let bytes = [message::parse("", "select 1", &[]), message::bind("", "", &[]), message::execute("", 0)];
        waits.send(&[bytes.concat(), message::sync()].concat()).expect("sent");
        five.iter_mut().for_each(|client| _ = client.query("commit", LONG).expect("a turn"));
        end(&mut waits);
        assert!(began.elapsed() < SOON, "{round}: {:?}", began.elapsed());
    }
}

#[test]
fn under_max_db_connections_another_users_waiter_is_served() {
    the_other_pool_is_served("max_db_connections = 5\ndefault_pool_size = 10", "", (0, 0), (1, 0));
}

#[test]
fn under_a_databases_own_limit_another_users_waiter_is_served() {
    the_other_pool_is_served("default_pool_size = 10", "max_db_connections = 5", (0, 1), (1, 1));
}

#[test]
fn under_max_user_connections_another_databases_waiter_is_served() {
    the_other_pool_is_served("max_user_connections = 5", "", (0, 0), (0, 1));
}

#[test]
fn under_max_server_connections_another_pools_waiter_is_served() {
    the_other_pool_is_served("max_server_connections = 5\ndefault_pool_size = 5", "", (0, 0), (1, 1));
}

#[test]
fn two_full_limits_are_both_made_room_for() {
    let stand = Stand::new(2, 2, "max_db_connections = 1\nmax_user_connections = 1\ndefault_pool_size = 1", "");
    // The place of the database is another user's, and that of the user is in another database.
    let mut of_database = stand.client(1, 0);
    let mut of_user = stand.client(0, 1);
    of_database.query("select 1", LONG).expect("a turn");
    of_user.query("select 1", LONG).expect("a turn");
    let began = Instant::now();
    let mut both = stand.client(0, 0);
    both.query("select 1", LONG).expect("a turn");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    // The same while neither is idle at first.
    begin(&mut of_database, "select pg_sleep(0.5)");
    begin(&mut of_user, "select pg_sleep(1)");
    stand.wait_to_see("SHOW POOLS", &["database=d1", "user=u0", "sv_active=1"]);
    both.query("select 1", LONG).expect("a turn");
    end(&mut of_database);
    end(&mut of_user);
}

#[test]
fn a_limit_that_is_raised_serves_who_waits() {
    let mut stand = Stand::new(1, 2, "max_db_connections = 1", "");
    let mut holds = stand.client(0, 0);
    holds.query("begin", LONG).expect("a turn");
    thread::scope(|scope| {
        let waits = scope.spawn({
            let address = stand.proxy.tcp();
            move || Raw::connect(&address, &Login::new("u1", "d0")).expect("a client")
        });
        stand.wait_to_see("SHOW CLIENTS", &["user=u1", "state=waiting"]);
        stand.reload("max_db_connections = 2");
        waits.join().expect("let in").query("select 1", LONG).expect("a turn");
    });
}

#[test]
fn a_log_in_that_waits_is_seen_bounded_and_told() {
    let mut stand = Stand::new(1, 3, "max_db_connections = 1", "[users.u2]\npool_mode = \"session\"\n");
    let mut holds = stand.client(0, 0);
    holds.query("begin", LONG).expect("a turn");
    let open = |user: &str| {
        let mut client = Raw::open(&stand.proxy.tcp()).expect("a connection");
        client.send(&Login::new(user, "d0").startup()).expect("sent");
        client
    };
    // Seen, and forgotten once it has gone.
    let leaves = open("u1");
    stand.wait_to_see("SHOW CLIENTS", &["user=u1", "database=d0", "state=waiting"]);
    stand.wait_to_see("SHOW POOLS", &["user=u1", "cl_waiting=1", "maxwait=1"]);
    drop(leaves);
    wait::until(LONG, "nobody waits", || (!stand.shows("SHOW CLIENTS", &["user=u1"])).then_some(()));
    // Sent away from the console.
    let mut killed = open("u1");
    stand.wait_to_see("SHOW CLIENTS", &["user=u1", "state=waiting"]);
    stand.console("KILL d0");
    assert_eq!(last_error(&mut killed).0, "57P01");
    stand.console("RESUME d0");
    // Bounded; in session mode the log-in lasts until there is a server connection.
    let mut holds = stand.client(0, 0);
    holds.query("begin", LONG).expect("a turn");
    stand.reload("max_db_connections = 1\nclient_login_timeout = \"1s\"");
    for user in ["u1", "u2"] {
        let mut late = Raw::open(&stand.proxy.tcp()).expect("a connection");
        late.send(&Login::new(user, "d0").startup()).expect("sent");
        assert_eq!(last_error(&mut late), ("57014".to_owned(), "client_login_timeout".to_owned()), "{user}");
    }
    // Who is in waits for as long as before.
    holds.query("commit", LONG).expect("a turn");
    stand.client(1, 0).query("select 1", LONG).expect("a turn");
}

fn last_error(client: &mut Raw) -> (String, String) {
    let frames = client.frames_until_closed(LONG).expect("a goodbye");
    let error = frames.iter().filter_map(|frame| frame.error()).next_back().expect("an error");
    (error.code().to_owned(), error.message().to_owned())
}

/// When each of so many clients, which all begin at once, has done its transactions.
fn finish_times(stand: &Stand, clients: &[(usize, usize)], transactions: usize) -> Vec<Duration> {
    finish_times_at(&stand.proxy.tcp(), clients, transactions)
}

fn finish_times_at(address: &Address, clients: &[(usize, usize)], transactions: usize) -> Vec<Duration> {
    let start = Barrier::new(clients.len());
    thread::scope(|scope| {
        let run = |&(user, database): &(usize, usize)| {
            let start = &start;
            let login = Login::new(&format!("u{user}"), &format!("d{database}"));
            let whole = move || {
                start.wait();
                let began = Instant::now();
                let mut client = Raw::open(address).expect("a connection");
                client.send(&login.startup()).expect("sent");
                let welcome = client.frames_until_ready(PATIENT).expect("a welcome");
                assert!(welcome.iter().all(|frame| frame.error().is_none()), "{welcome:?}");
                for _ in 0..transactions {
                    client.query("select 1", PATIENT).expect("a turn");
                }
                began.elapsed()
            };
            thread::Builder::new().stack_size(128 * 1024).spawn_scoped(scope, whole).expect("a thread")
        };
        let running: Vec<_> = clients.iter().map(run).collect();
        let mut times: Vec<_> = running.into_iter().map(|one| one.join().expect("a client that finishes")).collect();
        times.sort();
        times
    })
}

/// How long anybody waits for a turn in a crowd.
const PATIENT: Duration = Duration::from_secs(600);

/// `PGSLUICE_TEST_DATABASES` times five users on `PGSLUICE_TEST_SERVER_CONNECTIONS`.
fn crowd() -> (usize, usize, usize) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match number("PGSLUICE_TEST_DATABASES") {
        Some(databases) => (databases, 5, number("PGSLUICE_TEST_SERVER_CONNECTIONS").unwrap_or(200)),
        None => (20, 3, 8),
    }
}

const PATIENT_CONFIG: &str = "client_login_timeout = \"10min\"\nquery_wait_timeout = \"10min\"\nlog_connections = false\n\
                              log_disconnections = false\ndefault_pool_size = 5";

fn print(what: &str, times: &[Duration]) {
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    println!("{what}: {} clients, median {:?}, 90% {:?}, slowest {:?}", times.len(), at(50), at(90), at(100));
}

#[test]
fn across_pools_nobody_is_served_three_times_later_than_most() {
    let (databases, users, connections) = crowd();
    let top = format!("max_server_connections = {connections}\n{PATIENT_CONFIG}");
    let stand = Stand::with_connections(connections + 50, databases, users, &top, "");
    let clients: Vec<_> = (0..databases * users).map(|at| (at % users, at / users)).collect();
    let times = finish_times(&stand, &clients, 5);
    print("pgsluice", &times);
    let (slowest, median) = (times[times.len() - 1], times[times.len() / 2]);
    assert!(slowest < median * 3, "{slowest:?} beside {median:?}");
}

/// The same crowd before PgBouncer, for a figure beside. It has no limit over everything: each user has its share of the places.
#[test]
#[ignore = "needs PgBouncer, make conformance-limits"]
fn the_same_crowd_before_pgbouncer() {
    let (databases, users, connections) = crowd();
    let stand = Stand::with_connections(connections + 50, databases, users, PATIENT_CONFIG, "");
    let folder = tempfile::tempdir().expect("a folder");
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
    let ini = format!(
        "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
         unix_socket_dir =\nauth_type = trust\nauth_file = {}\npool_mode = transaction\nmax_client_conn = 10000\ndefault_pool_size = 5\n\
         max_user_connections = {}\nquery_wait_timeout = 600\nclient_login_timeout = 600\nserver_login_retry = 1\n\
         logfile = {}\n",
        stand.server_port(),
        folder.path().join("users").display(),
        connections / users,
        folder.path().join("log").display()
    );
    let users_file: String = (0..users).map(|user| format!("\"u{user}\" \"\"\n")).collect();
    std::fs::write(folder.path().join("users"), users_file).expect("users");
    std::fs::write(folder.path().join("ini"), ini).expect("a configuration");
    let mut command = std::process::Command::new("/usr/sbin/pgbouncer");
    command.arg("-q").arg(folder.path().join("ini"));
    let id = |of: &[&str]| {
        let shown = std::process::Command::new("id").args(of).output().expect("id");
        String::from_utf8_lossy(&shown.stdout).trim().parse::<u32>().expect("a number")
    };
    if id(&["-u"]) == 0 {
        // It does not run as root.
        let (user, group) = (id(&["-u", "postgres"]), id(&["-g", "postgres"]));
        chown(folder.path(), Some(user), Some(group)).expect("its folder");
        command.uid(user).gid(group);
    }
    let mut child = command.spawn().expect("PgBouncer");
    let address = Address::local(port);
    wait::until(LONG, "PgBouncer listens", || Raw::open(&address).ok());
    let clients: Vec<_> = (0..databases * users).map(|at| (at % users, at / users)).collect();
    let times = finish_times_at(&address, &clients, 5);
    child.kill().expect("it ends");
    child.wait().expect("it has ended");
    print("PgBouncer", &times);
}

#[test]
fn a_crowded_pool_and_a_lonely_client_under_one_limit_are_served_alike() {
    let stand = Stand::new(1, 2, "max_db_connections = 2\ndefault_pool_size = 5", "");
    // Warm: both pools know what the server says.
    stand.client(1, 0).query("select 1", LONG).expect("a turn");
    let crowd: Vec<_> = vec![(0, 0); 12];
    thread::scope(|scope| {
        let lonely = scope.spawn(|| {
            let mut client = stand.client(1, 0);
            let slowest = (0..20).map(|_| {
                let began = Instant::now();
                client.query("select 1", LONG).expect("a turn");
                began.elapsed()
            });
            slowest.max().expect("some")
        });
        let times = finish_times(&stand, &crowd, 400);
        let slowest = lonely.join().expect("the lonely one");
        assert!(slowest < SOON / 4, "{slowest:?} beside {times:?}");
    });
}
