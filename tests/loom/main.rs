//! The barrier: `src/gate/state/register.rs` itself is compiled upon loom's threads. One session against the flipper is run through
//! every interleaving; two sessions against it through every one with at most three involuntary switches.
//!
//! The promise: once `drained` reports, no transaction still holds a ticket and none gets one. Each ticket holder writes to
//! a cell that the flipper reads after the drain; loom panics when the two are not ordered, so both halves, and the
//! visibility of what the transaction did, are one check.
//!
//! `weak_orders` and `check_then_act` are the same file upon atomics broken on purpose: these must be caught, or this test
//! proves nothing.

// The same source upon different atomics is the whole point.
#![allow(clippy::duplicate_mod)]
#![allow(unsafe_code, reason = "cells of loom's are looked into")]

mod check_then_act;
mod real;
mod weak_orders;

macro_rules! scenarios {
    ($variant:ident) => {{
        use crate::$variant::mode::{DrainTo, Epoch, Mode, State, Writes};
        use crate::$variant::register::Register;
        use loom::{cell::UnsafeCell, future::block_on, sync::Arc, thread};

        const OPEN: State = State { mode: Mode::ReadWrite, epoch: Epoch(1) };
        const DRAINING: State =
            State { mode: Mode::Draining { to: DrainTo::ReadOnly { writes: Writes::Reject } }, epoch: Epoch(2) };
        const REOPENED: State = State { mode: Mode::ReadWrite, epoch: Epoch(3) };

        struct World {
            register: Register,
            work: [UnsafeCell<u64>; 2],
        }

        impl World {
            fn new(shards: usize) -> Arc<World> {
                Arc::new(World {
                    register: Register::new(shards, OPEN),
                    work: [UnsafeCell::new(0), UnsafeCell::new(0)],
                })
            }

            /// A transaction that works between getting its ticket and giving it back.
            fn transaction(&self, place: usize, reopens: bool) {
                match self.register.enter(place) {
                    Ok(ticket) => {
                        assert!(ticket.epoch() == OPEN.epoch || reopens && ticket.epoch() == REOPENED.epoch);
                        if ticket.epoch() == OPEN.epoch {
                            // SAFETY: each place has one thread; loom checks it against the flipper.
                            self.work[place].with_mut(|work| unsafe { *work += 1 });
                        }
                        drop(ticket);
                    }
                    Err(closed) => assert_eq!(closed.state, DRAINING),
                }
            }

            fn drain(&self) {
                self.register.flip(DRAINING);
                block_on(self.register.drained());
                for work in &self.work {
                    // SAFETY: reading is right only if no ticket is out: that is what loom checks here.
                    work.with(|work| unsafe { assert!(*work <= 1) });
                }
            }
        }

        fn run(shards: usize, sessions: usize, reopen: bool) {
            // Three threads are bounded to three involuntary switches (loom's own advice); two are not bounded.
            let mut model = loom::model::Builder::new();
            model.preemption_bound = (sessions > 1).then_some(3);
            model.check(move || {
                let world = World::new(shards);
                let threads: Vec<_> = (0..sessions)
                    .map(|place| {
                        let world = world.clone();
                        thread::spawn(move || world.transaction(place, reopen))
                    })
                    .collect();
                world.drain();
                if reopen {
                    world.register.flip(REOPENED);
                }
                for thread in threads {
                    thread.join().unwrap();
                }
                assert_eq!(world.register.in_flight(), 0);
            });
        }
        run
    }};
}

#[test]
fn one_session_against_the_flip() {
    scenarios!(real)(1, 1, false);
}

#[test]
fn two_sessions_on_two_cores() {
    scenarios!(real)(2, 2, false);
}

#[test]
fn two_sessions_on_one_core() {
    scenarios!(real)(1, 2, false);
}

#[test]
fn closed_and_opened_again() {
    scenarios!(real)(1, 1, true);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_relaxed_leave_is_caught() {
    scenarios!(weak_orders)(1, 1, false);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn looking_before_registering_is_caught() {
    scenarios!(check_then_act)(1, 1, false);
}
