//! StilleBot's transfer: tell the programs the other name, down here, stat until it is clear, work, up, and back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Login, Raw, wait};

use crate::stand::{LONG, Stand, frames, outcome, words};

/// Clients that write one row after the other, and keep what they were told is written.
struct Writers {
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<Vec<u32>>>,
}

impl Writers {
    fn begin(stand: &Stand) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..4)
            .map(|number| {
                let (address, stop) = (stand.proxy.tcp(), stop.clone());
                thread::spawn(move || {
                    let mut client = Raw::connect(&address, &Login::new("bot", "bot")).unwrap();
                    let mut written = Vec::new();
                    for at in 0.. {
                        if stop.load(Ordering::SeqCst) {
                            break;
                        }
                        let id = number * 1_000_000 + at;
                        client.query(&format!("INSERT INTO w VALUES ({id}, 'bot')"), LONG).unwrap();
                        written.push(id);
                    }
                    written
                })
            })
            .collect();
        Self { stop, threads }
    }

    fn end(self) -> Vec<u32> {
        self.stop.store(true, Ordering::SeqCst);
        self.threads.into_iter().flat_map(|one| one.join().unwrap()).collect()
    }
}

impl Stand {
    /// Number of the server that is used.
    pub fn active(&self) -> usize {
        let mut console = self.connect("dba", "pgsluice");
        wait::until(LONG, "one that is used", || {
            let rows = console.query("SHOW UPSTREAMS", LONG).unwrap().remove(0).rows;
            rows.iter().position(|row| row[2].as_deref() == Some("primary"))
        })
    }

    fn is_down(&self) -> Vec<String> {
        self.both("SHOW default_transaction_read_only")
    }
}

#[test]
fn stillebot_is_transferred_to_the_other_server_and_back_without_an_error() {
    let stand = Stand::new("5");
    let first = stand.active();
    let other = 1 - first;
    let writers = Writers::begin(&stand);
    let mut console = stand.connect("dba", "pgsluice");
    let dry =
        console.query(&format!("ACTIVATE bot ON {} WITH (dry_run)", stand.name(other)), LONG).unwrap().remove(0).rows;
    assert!(dry.iter().any(|row| row[1].as_deref() == Some("replication there")), "{dry:?}");
    assert_eq!((stand.active(), stand.is_down()), (first, vec!["off".to_owned(), "off".to_owned()]));
    for to in [other, first, other] {
        thread::sleep(Duration::from_millis(300));
        let told = frames(&mut console, &format!("ACTIVATE bot ON '{}'", stand.name(to)));
        assert!(told.iter().all(|frame| frame.tag != b'E'), "{}", words(&told));
        assert_eq!(stand.active(), to);
        let down = stand.is_down();
        assert_eq!((&*down[to], &*down[1 - to]), ("off", "on"));
    }
    // Whoever asks for what is so already is told so.
    let so = console.query(&format!("ACTIVATE bot ON {}", stand.name(other)), LONG).unwrap().remove(0).rows;
    assert!(format!("{so:?}").contains("used already"), "{so:?}");
    thread::sleep(Duration::from_millis(300));
    let mut written = writers.end();
    written.sort_unstable();
    assert!(!written.is_empty());
    let expected = written.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
    for server in &stand.servers {
        let all = "SELECT string_agg(id::text, ' ' ORDER BY id) FROM w";
        wait::until(LONG, "every row on both servers, once", || {
            (server.primary().psql_in("bot", all).unwrap() == expected).then_some(())
        });
    }
    // Down outlives a reboot, and nothing leads to it.
    stand.servers[first].primary().restart().unwrap();
    assert_eq!(stand.is_down()[first], "on");
    stand.connect("bot", "bot").query("INSERT INTO w VALUES (-1, 'after')", LONG).unwrap();
    let after = "SELECT count(*) FROM w WHERE id = -1";
    assert_eq!(stand.servers[other].primary().psql_in("bot", after).unwrap(), "1");
}

#[test]
fn nothing_is_moved_while_replication_is_broken_either_way() {
    let stand = Stand::new("5");
    let first = stand.active();
    for (broken, there) in [(1 - first, "replication there"), (first, "replication back")] {
        let server = stand.servers[broken].primary();
        server.psql_in("bot", "ALTER SUBSCRIPTION from_other DISABLE").unwrap();
        let mut console = stand.connect("dba", "pgsluice");
        let told = frames(&mut console, &format!("ACTIVATE bot ON {}", stand.name(1 - first)));
        let said = words(&told);
        assert!(said.contains(there) && told.iter().any(|frame| frame.tag == b'E'), "{said}");
        assert_eq!((stand.active(), stand.is_down()), (first, vec!["off".to_owned(), "off".to_owned()]));
        server.psql_in("bot", "ALTER SUBSCRIPTION from_other ENABLE").unwrap();
        let runs = "SELECT count(*) FROM pg_stat_subscription WHERE pid IS NOT NULL";
        server.wait_until(runs, "1", LONG).unwrap();
        let received = "SELECT count(*) FROM pg_replication_slots WHERE active";
        stand.servers[1 - broken].primary().wait_until(received, "1", LONG).unwrap();
    }
    stand.connect("bot", "bot").query("INSERT INTO w VALUES (1, 'x')", LONG).unwrap();
}

/// Replication stops while it drains, a transaction is prepared, somebody past the proxy does not go: back, and nothing is lost.
#[test]
fn what_fails_on_the_way_leads_back_and_held_writes_go_on_there() {
    let stand = Stand::new("5");
    let first = stand.active();
    let here = stand.servers[first].primary();
    here.psql_in("bot", "BEGIN; INSERT INTO w VALUES (9, 'prepared'); PREPARE TRANSACTION 'mine'").unwrap();
    let mut console = stand.connect("dba", "pgsluice");
    let told = frames(&mut console, &format!("ACTIVATE bot ON {}", stand.name(1 - first)));
    assert!(words(&told).contains("is prepared there"), "{}", words(&told));
    assert_eq!((stand.active(), stand.is_down()), (first, vec!["off".to_owned(), "off".to_owned()]));
    here.psql_in("bot", "ROLLBACK PREPARED 'mine'").unwrap();
    // The other server cannot take in what was written: a lock is in the way.
    let there = stand.servers[1 - first].primary();
    let mut blocker = there.connect("dba", "bot").unwrap();
    blocker.query("BEGIN; LOCK TABLE w", LONG).unwrap();
    stand.connect("bot", "bot").query("INSERT INTO w VALUES (1, 'x')", LONG).unwrap();
    let mut bot = stand.connect("bot", "bot");
    console.send(&message::query(&format!("ACTIVATE bot ON {} WITH (timeout '3s')", stand.name(1 - first)))).unwrap();
    wait::until(LONG, "the gate to be closed", || {
        (outcome(&mut stand.connect("dba", "pgsluice"), "MAINTENANCE ON bot") == "55006").then_some(())
    });
    let held = bot.query("INSERT INTO w VALUES (2, 'held')", LONG);
    assert!(held.is_ok(), "{held:?}");
    let told = words(&console.frames_until_ready(LONG).unwrap());
    assert!(told.contains("the time was over at step drain"), "{told}");
    assert_eq!((stand.active(), stand.is_down()), (first, vec!["off".to_owned(), "off".to_owned()]));
    blocker.query("ROLLBACK", LONG).unwrap();
    there.wait_until("SELECT count(*) FROM w", "2", LONG).ok();
}

#[test]
fn after_a_kill_at_any_moment_one_server_is_used_and_the_other_is_not() {
    let mut stand = Stand::new("5");
    for round in 0..6_u64 {
        let first = stand.active();
        stand.connect("bot", "bot").query(&format!("INSERT INTO w VALUES ({round}, 'x')"), LONG).unwrap();
        let mut console = stand.connect("dba", "pgsluice");
        console.send(&message::query(&format!("ACTIVATE bot ON {}", stand.name(1 - first)))).unwrap();
        // Another moment each time.
        thread::sleep(Duration::from_millis(40 * round));
        stand.proxy.kill_9();
        stand.proxy.start_again().unwrap();
        wait::until(Duration::from_secs(60), "writes", || {
            let mut bot = Raw::connect(&stand.proxy.tcp(), &Login::new("bot", "bot")).ok()?;
            bot.query(&format!("INSERT INTO w VALUES ({}, 'after')", 1000 + round), Duration::from_secs(20)).ok()
        });
        let active = stand.active();
        assert_eq!(stand.is_down()[active], "off", "round {round}");
        // It has ended, forward or back.
        let moves = stand.connect("dba", "pgsluice").query("SHOW MOVES", LONG).unwrap().remove(0).rows;
        assert!(moves.iter().all(|row| row[5].as_deref() != Some("running")), "{moves:?}");
        // Both have the same.
        let rows = (2 * (round + 1)).to_string();
        for server in &stand.servers {
            server.primary().wait_until("SELECT count(*) FROM w", &rows, LONG).unwrap();
        }
    }
}

#[test]
fn what_it_cannot_be_asked_for() {
    let stand = Stand::new("5");
    let other = stand.name(1 - stand.active());
    let mut console = stand.connect("dba", "pgsluice");
    for (command, code) in [
        (format!("ACTIVATE nosuch ON {other}"), "3D000"),
        ("ACTIVATE bot ON nosuch".to_owned(), "42704"),
        ("ACTIVATE bot".to_owned(), "42601"),
        ("ACTIVATE".to_owned(), "42601"),
        (format!("ACTIVATE bot TO {other}"), "42601"),
        (format!("ACTIVATE bot ON {other} WITH (speed 'high')"), "22023"),
        (format!("ACTIVATE bot ON {other} WITH (timeout 'soon')"), "22023"),
        (format!("ACTIVATE bot ON {other} WITH (timeout '2d')"), "22023"),
        (format!("ACTIVATE bot ON {other} WITH (dry_run, timeout '1s', Timeout '2s')"), "22023"),
        (format!("SWITCHOVER bot TO {other}"), "55000"),
    ] {
        assert_eq!(outcome(&mut console, &command), code, "{command}");
    }
}
