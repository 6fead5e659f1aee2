//! Limits that pools share, and what clients and buffers may cost.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    clippy::unreachable,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod attack;
mod client_memory;
mod flip;
mod guaranteed;
mod large;
mod memory;
mod shared_limits;
mod stall;
mod stand;
