//! A flip of the gate is told to a crowd of idle clients a few at a time, so that others are served between.

use std::time::{Duration, Instant};

use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Raw, wait};

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

#[test]
fn a_write_that_was_held_for_long_has_all_its_other_time_limits_before_it_when_the_gate_opens() {
    let limits =
        "default_pool_size = 1\nquery_wait_timeout = \"3s\"\nquery_timeout = \"3s\"\ntransaction_timeout = \"3s\"";
    let stand = Stand::new(1, 1, limits, "");
    stand.superuser(0, "create table public.t (n int); grant all on public.t to public");
    let mut clients: Vec<Raw> = (0..3).map(|_| stand.client(0, 0)).collect();
    stand.console("MAINTENANCE ON d0 WITH (writes hold, hold_timeout '60s')");
    let began = Instant::now();
    for client in &mut clients {
        client.send(&message::query("insert into public.t select 1 from pg_sleep(0.5)")).expect("a write");
    }
    // For longer than any of the limits.
    wait::until(LONG, "the hold", || (began.elapsed() > Duration::from_secs(4)).then_some(()));
    stand.console("MAINTENANCE OFF d0");
    for client in &mut clients {
        let frames = client.frames_until_ready(LONG).expect("an answer");
        assert!(frames.iter().any(|frame| frame.tag == b'C'), "{frames:?}");
    }
}
