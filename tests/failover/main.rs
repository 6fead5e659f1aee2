//! Servers that stop, are promoted, come back, or claim to be what they are not: real ones, with the built binary in front.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    clippy::unreachable,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod contested;
mod exact;
mod load;
mod passwords;
mod promoted;
mod promotion;
mod reads;
mod refused;
mod sockets;
mod stand;
mod waiters;
