//! A flip of the gate is told to a crowd of idle clients a few at a time, so that others are served between.

use std::time::Instant;

use pgsluice_fixtures::Raw;

use crate::stand::{LONG, Stand};

/// Clients that are told of each flip and do nothing.
const IDLE: usize = 2000;

#[test]
fn every_idle_client_of_a_crowd_is_told_of_each_flip() {
    let stand = Stand::new(1, 1, "default_pool_size = 4", "");
    let mut idle: Vec<Raw> = (0..IDLE).map(|_| stand.client(0, 0)).collect();
    for (command, value) in [("MAINTENANCE ON d0", "on"), ("MAINTENANCE OFF d0", "off")] {
        stand.console(command);
        let until = Instant::now() + LONG;
        for client in &mut idle {
            // They have asked for nothing.
            let left = until.saturating_duration_since(Instant::now());
            let told = client.frames_until(left, |frame| frame.tag == b'S').expect("a word of the flip");
            let words = told.last().expect("a parameter").strings();
            assert_eq!(words, ["default_transaction_read_only", value]);
        }
    }
}
