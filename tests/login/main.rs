//! Who gets in, how, and as whom: against real servers, beside their own answers.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    clippy::unreachable,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod auth_query;
mod client;
mod cve;
mod first_reading;
mod hba;
#[cfg(any(feature = "ldap", feature = "pam"))]
mod outside;
mod pgbouncer;
mod stand;
mod timing;
