//! Databases that close by themselves when their servers take no writes, and open again: real servers, with the built binary in
//! front.

#![allow(dead_code, reason = "the stand has more than is used here")]

mod certificates;
mod closed_throughout;
mod contest;
mod heartbeat;
mod help;
mod lost;
mod names;
mod own_setting;
mod renewed;
#[path = "../failover/stand.rs"]
mod stand;
mod states;
mod sync_gateway;
mod two_faults;
