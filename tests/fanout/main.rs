//! DDL on two servers at once, each of which takes in what is written to the other: real servers, with the built binary in front.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod activate;
mod leftover;
mod stand;
mod together;
