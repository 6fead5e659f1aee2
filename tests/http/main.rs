//! The HTTP endpoint: who may ask, the API, its document, and the status page in a browser.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    clippy::unreachable,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod access;
mod api;
#[expect(dead_code, reason = "shared with tests of TLS")]
#[path = "../certificates/mod.rs"]
mod certificates;
mod crowd;
mod degraded;
mod document;
mod in_turn;
mod page;
mod readiness;
mod stand;
mod streams;
