//! The admin console of the real program, in front of a real primary and its replica.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    clippy::unreachable,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]
mod ckan;
mod control;
mod drivers;
mod exporters;
mod gate;
mod names;
mod operating;
mod protocol;
mod remote;
mod same_server;
mod show;
mod stand;
