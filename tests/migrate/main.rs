//! A major upgrade under load, by logical replication and REROUTE as docs/MOVING.md has it, and the way back. Real servers of two
//! versions, the built binary in front.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    clippy::unreachable,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod load;
mod stand;
mod upgrade;
