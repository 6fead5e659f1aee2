//! What is seen from outside: events in the log, on the console and in webhooks; metrics, and the alerts made of them.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    clippy::unreachable,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod alerts;
mod command_line;
mod console;
mod http;
mod logs;
mod metrics;
mod receiver;
mod secrets;
mod stand;
mod webhooks;
