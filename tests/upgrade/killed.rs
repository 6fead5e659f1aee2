//! kill -9 of either process at some moment of the take-over: each client is on exactly one side.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use pgsluice_fixtures::{Login, Raw};

use crate::stand::{SOON, Stand, cluster, config, rows};

/// Which of the two is killed.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Former,
    New,
}

fn kill(pid: u32) {
    let _ = kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL);
}

/// The process that was started by `former`.
fn child_of(former: u32) -> Option<u32> {
    let text = std::fs::read_to_string(format!("/proc/{former}/task/{former}/children")).ok()?;
    text.split_whitespace().last()?.parse().ok()
}

/// One take-over in which a process is killed `after` the new one was started. Gives how many clients have been served on.
fn killed(victim: Victim, after: Duration) -> (usize, usize) {
    let stand = Stand::new(&config("", ""));
    let mut clients: Vec<_> = (0..20).map(|_| stand.raw("app", "app")).collect();
    for (nth, client) in clients.iter_mut().enumerate() {
        rows(client, &format!("set application_name = 'k{nth}'; create temp table own as select {nth} as n"));
    }
    rows(&mut stand.raw("admin", "pgsluice"), "maintenance on shut with (writes reject)");
    let former = stand.pid();
    let asks = std::thread::scope(|scope| {
        let ask = scope.spawn(|| stand.try_upgrade(&[]));
        let until = Instant::now() + SOON;
        let new = loop {
            if let Some(new) = child_of(former) {
                break new;
            }
            assert!(Instant::now() < until, "no new process");
            std::thread::yield_now();
        };
        std::thread::sleep(after);
        kill(match victim {
            Victim::Former => former,
            Victim::New => new,
        });
        (ask.join().unwrap(), new)
    });
    let (asked, new) = asks;
    let mut served = 0;
    for (nth, mut client) in clients.into_iter().enumerate() {
        // Either it is served as before, by one process that knows all of it, or its connection has ended.
        if let Ok(results) = client.query("select n, current_setting('application_name') from own", SOON) {
            assert_eq!(results[0].rows[0], [Some(nth.to_string()), Some(format!("k{nth}"))]);
            served += 1;
        }
    }
    let until = Instant::now() + SOON;
    // Whoever lives serves new clients as well. A new process that had not begun ends when the former one is gone.
    let lives = loop {
        let lives = [former, new].into_iter().filter(|pid| stand.runs(*pid)).count();
        assert!(lives <= 1, "{victim:?} after {after:?}: {asked:?}");
        let login = Login::new("app", "app").password("app");
        let new_client = Raw::connect(&stand.proxy.tcp(), &login).and_then(|mut raw| raw.query("select 1", SOON));
        if lives == 0 || new_client.is_ok() {
            break lives;
        }
        assert!(Instant::now() < until, "{victim:?} after {after:?}: {asked:?}, {new_client:?}");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(lives == 1 || served == 0);
    if lives == 1 {
        // A closed gate stays closed, whichever process it is.
        let error = stand.raw("app", "shut").query("insert into w values (-1)", SOON).unwrap_err();
        assert_eq!(error.sqlstate(), Some("25006"), "{victim:?} after {after:?}: {error}");
    }
    for pid in [former, new].into_iter().filter(|pid| stand.runs(*pid)) {
        kill(pid);
        stand.await_end_of(pid);
    }
    (served, lives)
}

/// How many kills: a slice, or what the environment says.
fn rounds() -> u64 {
    std::env::var("PGSLUICE_UPGRADE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(6)
}

#[test]
fn whichever_process_is_killed_when_each_client_is_on_one_side() {
    cluster();
    let (mut all, mut alone) = (0, 0);
    for nth in 0..rounds() {
        let victim = if nth % 2 == 0 { Victim::New } else { Victim::Former };
        // Over the whole of it: the new process takes some hundred milliseconds to be ready, less for the rest.
        let after = Duration::from_micros(nth * 79_190 % 900_000 + nth % 7 * 1_301);
        let (served, lives) = killed(victim, after);
        println!("{victim:?} after {after:?}: {served} of 20 served, {lives} processes left");
        all += served;
        alone += lives;
    }
    println!("{} kills: {all} clients served on, {alone} times a process was left", rounds());
}
