//! Several pgsluice with one mode, through a real etcd, before a real server.

mod crowd;
mod flips;
mod lease;
mod members;
mod stand;
