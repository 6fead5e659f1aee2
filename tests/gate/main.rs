//! The gate as a whole, upon a world in memory and a clock that the test turns.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    clippy::unreachable,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]
mod crashes;
mod flips;
mod times;
mod world;
