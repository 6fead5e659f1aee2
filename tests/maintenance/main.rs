//! A maintenance on real servers: a primary, a replica, and the built binary in front of them.

mod commits;
mod differential;
mod django;
mod fence;
mod flips;
mod greeting;
mod hold;
mod rules;
mod stand;
mod survives;
mod ways_around;
