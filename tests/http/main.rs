//! The HTTP endpoint: who may ask, the API, its document, and the status page in a browser.

mod access;
mod api;
mod crowd;
mod degraded;
mod document;
mod in_turn;
mod many;
mod odd_names;
mod odd_requests;
mod page;
mod price;
mod readiness;
mod stand;
mod streams;
