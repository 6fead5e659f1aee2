//! Reads on replicas: whose writes they show, what is never read there, and how they are shared out. Real servers, with the built
//! binary in front.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    clippy::unwrap_used,
    dead_code,
    reason = "a test that panics has failed, and the stand has more than is used here"
)]

mod elsewhere;
mod load;
mod own_writes;
mod shares;
#[path = "../failover/stand.rs"]
mod stand;
mod standby;
