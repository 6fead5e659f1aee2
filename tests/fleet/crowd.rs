//! Many members with many clients.

use std::time::{Duration, Instant};

use crate::stand::{LONG, Stand, Writers, program, stays_still, verify};
use pgsluice_fixtures::wait;

#[test]
fn many_members_with_many_clients_flip_as_one() {
    let Some(program) = program() else { return };
    let members = std::env::var("PGSLUICE_TEST_FLEET_CROWD").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    // Each with a hundred clients where it is to be known; most of them idle.
    let clients = if members > 5 { 100 } else { 5 };
    let mut stand = Stand::start(program, 1, members, "default_pool_size = 5\n", "");
    let idle: Vec<_> = stand.members.iter().flat_map(|member| (1..clients).map(|_| member.connect("app"))).collect();
    let writers = Writers::start(&stand, 1);
    let mut slowest = Duration::ZERO;
    for flip in 0..if members > 5 { 10 } else { 2 } {
        let before = writers.acknowledged.load(std::sync::atomic::Ordering::SeqCst);
        wait::until_ok(LONG, "writes", || {
            let now = writers.acknowledged.load(std::sync::atomic::Ordering::SeqCst);
            if now > before + members as u64 { Ok(()) } else { Err(now.to_string()) }
        });
        let began = Instant::now();
        let rows = stand.members[flip % members].console("MAINTENANCE ON app");
        slowest = slowest.max(began.elapsed());
        let each: Vec<u64> = rows[1..].iter().map(|row| row[7].parse().unwrap_or(0)).collect();
        println!("flip {flip}: {:?}, the slowest member {} ms", began.elapsed(), each.iter().max().unwrap());
        stays_still(&stand, &rows[0][6], Duration::from_millis(200));
        // One that joins in the middle.
        if flip == 0 {
            stand.join("late", "", "");
            stand.wait_for_members(members + 1);
            assert_eq!(stand.members[members].mode(), "read_only");
        }
        stand.members[(flip + 1) % members].console("MAINTENANCE OFF app");
    }
    verify(&stand, &writers.stop());
    println!("{members} members, {} idle clients: ON to quiesced at most {slowest:?}", idle.len());
}
