//! Moving from PgBouncer: its files start as they are, its commands are there, and what is different is said.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    clippy::unreachable,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod console;
mod files;
mod keys;
mod stand;
