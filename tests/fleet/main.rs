//! Several pgsluice with one mode, through a real etcd, before a real server.

mod crowd;
mod etcd;
mod faults;
mod flips;
mod hooks;
mod lease;
mod members;
#[path = "../events/receiver.rs"]
#[allow(dead_code, reason = "other tests ask for more of it")]
mod receiver;
mod stand;
