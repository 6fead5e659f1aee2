//! Reads on replicas: whose writes they show, what is never read there, and how they are shared out. Real servers, with the built
//! binary in front.

#![allow(dead_code, reason = "the stand has more than is used here")]

mod elsewhere;
mod load;
mod own_writes;
mod shares;
#[path = "../failover/stand.rs"]
mod stand;
mod standby;
