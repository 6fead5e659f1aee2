//! REROUTE: the clients of a database are led to another cluster's copy of it, and back. Real servers, the built binary in front.

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
mod clients;
mod commands;
mod operators;
mod stand;
mod survives;
