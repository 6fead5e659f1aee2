//! A new process takes over from the one that runs: whoever is connected stays, and nothing is lost.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    clippy::unreachable,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod failures;
mod killed;
mod long;
mod maintenance;
mod outside;
mod sessions;
mod stand;
