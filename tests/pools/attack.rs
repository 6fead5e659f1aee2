//! Pools under shared limits while everything happens to them that an operator may do: nobody starves, and in the end every counter
//! is what it was in the beginning.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use pgsluice_fixtures::raw::message::{bind, execute, parse, query, sync};
use pgsluice_fixtures::{Address, Frame, Login, Raw, wait};

use crate::stand::{LONG, Stand};

const LIMITS: &str = "max_server_connections = 7\nmax_db_connections = 4\nmax_user_connections = 5\ndefault_pool_size = 3\n\
                      reserve_pool_size = 1\nreserve_pool_timeout = \"100ms\"\nserver_lifetime = \"1s\"\nserver_idle_timeout = \"1s\"\n\
                      log_connections = false\nlog_disconnections = false\n";
const LOWER: &str = "max_server_connections = 3\nmax_db_connections = 2\nmax_user_connections = 2\ndefault_pool_size = 1\n\
                     reserve_pool_timeout = \"100ms\"\nserver_lifetime = \"1s\"\nserver_idle_timeout = \"1s\"\n\
                     log_connections = false\nlog_disconnections = false\n";

/// Longer than anything that is done to the pools here, on a busy machine.
const STARVED: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Tally {
    over: AtomicBool,
    answered: AtomicU64,
    sent_away: AtomicU64,
    longest: AtomicU64,
}

/// One client, which comes again when it is sent away.
fn work(address: &Address, nth: usize, tally: &Tally) -> u64 {
    let login = Login::new(&format!("u{}", nth % 2), &format!("d{}", nth / 2 % 2));
    let mut done = 0;
    while !tally.over.load(SeqCst) {
        let began = Instant::now();
        let Ok(mut client) = Raw::connect(address, &login) else {
            thread::sleep(Duration::from_millis(10));
            continue;
        };
        for step in 0..20 {
            let messages = match step % 4 {
                0 => vec![query("select 1")],
                1 => vec![query("begin"), query("select pg_sleep(0.003)"), query("commit")],
                2 => vec![[parse("", "select 2", &[]), bind("", "", &[]), execute("", 0), sync()].concat()],
                _ => vec![query("select pg_sleep(0.002)")],
            };
            let began = Instant::now();
            let answers = messages.iter().map(|one| client.round_trip(one, LONG));
            let good = |frames: Vec<Frame>| frames.iter().all(|frame| frame.error().is_none());
            if !answers.into_iter().all(|one| one.is_ok_and(good)) {
                tally.sent_away.fetch_add(1, SeqCst);
                break;
            }
            done += 1;
            tally.longest.fetch_max(u64::try_from(began.elapsed().as_millis()).unwrap(), SeqCst);
        }
        tally.answered.fetch_add(1, SeqCst);
        tally.longest.fetch_max(u64::try_from(began.elapsed().as_millis()).unwrap() / 20, SeqCst);
    }
    done
}

/// The sum of columns over all rows of a command.
fn sum(stand: &Stand, command: &str, columns: &[&str]) -> i64 {
    let rows = stand.console(command);
    let cells = rows.iter().filter(|row| !row.contains(&"database=pgsluice".to_owned())).flatten();
    let of = |cell: &String| {
        let (name, value) = cell.split_once('=')?;
        columns.contains(&name).then(|| value.parse::<i64>().ok()).flatten()
    };
    cells.filter_map(of).sum()
}

const USED: &str = "list=used_servers";

fn items(count: i64) -> String {
    format!("items={count}")
}

#[test]
fn under_shared_limits_nobody_starves_and_every_counter_returns_to_zero() {
    let seconds = std::env::var("PGSLUICE_TEST_ATTACK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(6);
    let mut stand = Stand::new(2, 2, &format!("{LIMITS}min_pool_size = 1\n"), "");
    let tally = Tally::default();
    let address = stand.proxy.tcp();
    let done = thread::scope(|scope| {
        let (tally, address) = (&tally, &address);
        let working: Vec<_> = (0..16).map(|nth| scope.spawn(move || work(address, nth, tally))).collect();
        let until = Instant::now() + Duration::from_secs(seconds);
        for round in 0.. {
            if Instant::now() > until {
                break;
            }
            match round % 8 {
                0 => drop(stand.console("PAUSE d0")),
                1 => drop(stand.console("RESUME d0")),
                2 => stand.reload(LOWER),
                3 => drop(stand.console("RECONNECT")),
                4 => stand.reload(&format!("{LIMITS}min_pool_size = 1\n")),
                5 => drop(stand.console("KILL d1")),
                6 => drop(stand.console("RESUME d1")),
                _ => {
                    stand.console("PAUSE");
                    stand.console("RESUME");
                }
            }
            thread::sleep(Duration::from_millis(150));
        }
        stand.console("RESUME");
        stand.console("RESUME d0");
        stand.console("RESUME d1");
        // With nothing done to them everybody goes on.
        thread::sleep(Duration::from_secs(1));
        tally.over.store(true, SeqCst);
        working.into_iter().map(|one| one.join().expect("a client")).collect::<Vec<_>>()
    });
    let longest = Duration::from_millis(tally.longest.load(SeqCst));
    println!("{done:?} done, {} sent away, longest wait {longest:?}", tally.sent_away.load(SeqCst));
    let (least, most) = (done.iter().min().unwrap(), done.iter().max().unwrap());
    assert!(*least > 0 && *most < least * 20, "{done:?}");
    assert!(longest < STARVED, "{longest:?}");
    // The counters agree with each other while some connections are kept.
    stand.reload(&format!("{LIMITS}min_pool_size = 1\n"));
    let servers = ["sv_active", "sv_active_cancel", "sv_being_canceled", "sv_idle", "sv_used", "sv_tested", "sv_login"];
    wait::until(LONG, "no client is counted", || {
        (sum(&stand, "SHOW POOLS", &["cl_active", "cl_waiting", "sv_active"]) == 0).then_some(())
    });
    let mut counted = Vec::new();
    wait::until(LONG, "the tables agree", || {
        let (pools, databases) =
            (sum(&stand, "SHOW POOLS", &servers), sum(&stand, "SHOW DATABASES", &["current_connections"]));
        let users = sum(&stand, "SHOW USERS", &["current_connections"]);
        let servers = stand.console("SHOW SERVERS").len() as i64;
        let now = vec![pools, databases, users, servers];
        if now != counted {
            println!("SHOW POOLS, DATABASES, USERS and SERVERS count {now:?}");
            counted = now;
        }
        let alike = counted.iter().all(|one| *one == pools);
        (alike && stand.shows("SHOW LISTS", &[USED, &items(pools)])).then_some(())
    });
    // All places are there.
    stand.reload(LIMITS);
    let mut clients: Vec<Raw> = (0..7).map(|nth| stand.client(nth % 2, nth / 2 % 2)).collect();
    clients.iter_mut().for_each(|client| _ = client.query("begin", LONG).expect("a place"));
    drop(clients);
    wait::until(LONG, "every connection is closed", || {
        let shown = sum(&stand, "SHOW POOLS", &servers) + sum(&stand, "SHOW DATABASES", &["current_connections"]);
        (shown == 0 && stand.shows("SHOW LISTS", &[USED, &items(0)])).then_some(())
    });
}
