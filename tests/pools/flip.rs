//! A flip of the gate does not hold up those who work, however many are idle.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use pgsluice_fixtures::Raw;

use crate::stand::{LONG, Stand};

/// Clients that are told of each flip and do nothing.
const IDLE: usize = 3000;
/// The longest that a statement may take meanwhile, on a busy machine and in a build that is not optimized.
const PROMPT: Duration = Duration::from_millis(1500);

#[test]
fn telling_idle_clients_of_a_flip_lets_others_be_served_between() {
    let stand = Stand::new(1, 2, "default_pool_size = 4", "");
    let mut idle: Vec<Raw> = (0..IDLE).map(|_| stand.client(0, 0)).collect();
    let over = AtomicBool::new(false);
    let slowest = thread::scope(|scope| {
        let works = || {
            let mut client = stand.client(1, 0);
            let mut slowest = Duration::ZERO;
            while !over.load(SeqCst) {
                let began = Instant::now();
                client.query("select 1", LONG).expect("a turn");
                slowest = slowest.max(began.elapsed());
            }
            slowest
        };
        let working: Vec<_> = (0..4).map(|_| scope.spawn(works)).collect();
        for _ in 0..3 {
            stand.console("MAINTENANCE ON d0");
            stand.console("MAINTENANCE OFF d0");
        }
        over.store(true, SeqCst);
        working.into_iter().map(|one| one.join().expect("one that works")).max().expect("some")
    });
    assert!(slowest < PROMPT, "{slowest:?}");
    // All are told, in whatever order: the last word is that the gate is open.
    for client in &mut idle {
        client.query("select 1", LONG).expect("a turn");
        assert_eq!(client.parameters().get("default_transaction_read_only").map(String::as_str), Some("off"));
    }
}
