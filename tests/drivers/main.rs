//! The drivers and programs that people use, through pgsluice: TLS with certificates checked in full, SCRAM, transaction
//! mode, two server connections. Each connects, queries, prepares, copies, cancels, and lives through a maintenance.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    clippy::unreachable,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod attrs;
mod dump;
mod login;
mod pgbench;
mod prepared;
mod psql;
mod read_write;
mod rust;
mod scripts;
mod session_mode;
mod stand;
mod tls;
