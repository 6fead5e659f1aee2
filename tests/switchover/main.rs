//! SWITCHOVER: another server of a cluster becomes its primary under clients that write and read, and what becomes of it when
//! something fails at each step. Real servers, with the built binary in front.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    clippy::unreachable,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod back_and_forth;
mod checks;
mod conformance;
mod failures;
mod load;
mod programs;
mod stand;
mod surfaces;
