//! Several pgsluice with one mode, through a real etcd, before a real server.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    clippy::unreachable,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod crowd;
mod flips;
mod lease;
mod members;
mod stand;
