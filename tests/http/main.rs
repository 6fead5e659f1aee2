//! The HTTP endpoint: who may ask, the API, its document, and the status page in a browser.

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
