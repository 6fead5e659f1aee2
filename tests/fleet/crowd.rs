//! Many members with many clients, and members that join in the middle of a flip.

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use crate::stand::{LONG, Stand, Writers, fails, fine, program, stays_still, verify};
use pgsluice_fixtures::{Signal, wait};

fn from_environment(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn many_members_with_many_clients_flip_as_one_and_within_a_second() {
    let Some(program) = program() else { return };
    let members = from_environment("PGSLUICE_TEST_FLEET_CROWD", 5);
    let is_long = members > 5;
    // Each with a hundred clients where it is to be known; most of them idle.
    let (clients, flips) = if is_long { (100, 20) } else { (20, 4) };
    let mut stand = Stand::start(program, 1, members, "default_pool_size = 5\n", "");
    let idle: Vec<_> = stand.members.iter().flat_map(|member| (1..clients).map(|_| member.connect("app"))).collect();
    let writers = Writers::start_with(&stand, 1, Duration::from_millis(if is_long { 20 } else { 2 }));
    let (mut all, mut behind) = (Vec::new(), Vec::new());
    for flip in 0..flips {
        let before = writers.acknowledged.load(SeqCst);
        wait::until_ok(LONG, "writes", || {
            let now = writers.acknowledged.load(SeqCst);
            if now > before + 10 * members as u64 { Ok(()) } else { Err(now.to_string()) }
        });
        let began = Instant::now();
        let rows = stand.members[flip % members].console("MAINTENANCE ON app");
        let took = began.elapsed();
        let each: Vec<u64> = rows[1..].iter().map(|row| row[7].parse().unwrap_or(0)).collect();
        let slowest = Duration::from_millis(each.iter().copied().max().unwrap_or(0));
        println!("flip {flip}: {took:?}, the slowest member {slowest:?}");
        assert_eq!(rows.len(), stand.members.len() + 1, "a row for each: {rows:?}");
        all.push(took);
        behind.push(took.saturating_sub(slowest));
        stays_still(&stand, &rows[0][6], Duration::from_millis(200));
        // One that joins in the middle.
        if flip == 0 {
            stand.join("late");
            stand.wait_for_members(members + 1);
            assert_eq!(stand.members[members].mode(), "read_only");
        }
        stand.members[(flip + 1) % members].console("MAINTENANCE OFF app");
    }
    verify(&stand, &writers.stop());
    all.sort();
    behind.sort();
    println!(
        "{members} members, {} clients, {flips} flips: ON to quiesced in {:?} (median), {:?} at most; behind the slowest member by {:?} \
         (median), {:?} at most",
        idle.len() + members,
        all[flips / 2],
        all[flips - 1],
        behind[flips / 2],
        behind[flips - 1]
    );
    // Debug programs on a busy machine are not held to it as the program of a release is.
    let limit = if is_long { Duration::from_secs(1) } else { Duration::from_secs(6) };
    assert!(all[flips / 2] < limit, "{all:?}");
}

#[test]
fn whoever_joins_in_the_middle_of_a_flip_is_closed_before_it_serves_and_the_flip_ends() {
    let Some(program) = program() else { return };
    let count = from_environment("PGSLUICE_TEST_FLEET_JOINS", 3);
    let mut stand = Stand::start(program, 1, 2, "", "");
    let mut slowest = Duration::ZERO;
    for round in 0..count {
        let mut inside = stand.members[0].connect("app");
        fine(&mut inside, "BEGIN");
        fine(&mut inside, &format!("INSERT INTO w VALUES (0, 7, {round})"));
        stand.members[1].console("MAINTENANCE ON app NOWAIT");
        // Ready only once it is closed: its first client is refused.
        stand.join(&format!("joins{round}"));
        let joined = stand.members.last().unwrap();
        let mut first = joined.connect("app");
        assert_eq!(fails(&mut first, &format!("INSERT INTO w VALUES (2, 7, {round})")).code(), "25006");
        assert_eq!(joined.mode(), "draining", "the flip goes on");
        fine(&mut inside, "COMMIT");
        let began = Instant::now();
        let rows = joined.console("MAINTENANCE ON app");
        slowest = slowest.max(began.elapsed());
        assert_eq!((rows.len(), rows[0][1].as_str()), (4, "read_only"), "it has acknowledged as well: {rows:?}");
        stays_still(&stand, &rows[0][6], Duration::from_millis(50));
        joined.console("MAINTENANCE OFF app");
        fine(&mut first, &format!("INSERT INTO w VALUES (2, 7, {round})"));
        let joined = stand.members.last_mut().unwrap();
        joined.proxy.signal(Signal::SIGTERM).unwrap();
        joined.proxy.wait_for_exit(LONG).unwrap();
        stand.members.pop();
    }
    println!(
        "{count} members have joined in the middle of a flip; from the COMMIT that it waited for to quiesced at most {slowest:?}"
    );
}
