//! Random input, for as long as `PGSLUICE_TEST_FUZZ_SECONDS` says: two seconds each in every test run, ten minutes in
//! `make conformance-fuzz`. A case is a number; `seeds.txt` keeps those that once found something.

mod classifier;
mod protocol;
#[path = "../corpus/stand.rs"]
mod stand;
mod wire;

use pgsluice_fixtures::mutate::Dice;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const SEEDS: &str = include_str!("seeds.txt");

/// The kept seeds of a target, then new ones until time is up. Tells the seed of the case that fails.
fn cases(target: &str, mut case: impl FnMut(&mut Dice)) {
    let seconds = std::env::var("PGSLUICE_TEST_FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let deadline = Instant::now() + Duration::from_secs(seconds.unwrap_or(2));
    let kept =
        SEEDS.lines().filter_map(|line| line.split('#').next()?.trim().strip_prefix(target)?.trim().parse().ok());
    // Every long run looks elsewhere, a test run sees what it saw before.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let first = seconds.map_or(1, |_: u64| now.as_micros() as u64);
    let fresh = (0u64..).map(|n| first + n).take_while(|_| Instant::now() < deadline);
    let mut count = 0u64;
    for seed in kept.chain(fresh) {
        count += 1;
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| case(&mut Dice::new(seed)))) {
            eprintln!("found by: {target} {seed}");
            resume_unwind(panic);
        }
    }
    println!("{target}: {count} cases");
    assert!(count > 0);
}
