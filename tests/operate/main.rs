//! What an operator meets: starting, ports, signals, the command line, the log.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    clippy::unreachable,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod keys;
mod log;
mod ports;
mod service_manager;
mod signals;
mod stand;
mod starting;
