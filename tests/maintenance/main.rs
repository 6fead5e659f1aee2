//! A maintenance on real servers: a primary, a replica, and the built binary in front of them.

mod banner;
mod beforehand;
mod bound;
mod clean;
mod commits;
mod differential;
mod django;
mod fence;
mod flips;
mod greeting;
mod hidden;
mod hidden_reach;
mod hold;
mod rules;
mod seen;
mod shown;
mod stand;
mod survives;
mod ways_around;
mod ways_around_exact;
mod ways_around_fallen;
mod ways_around_matrix;
mod ways_around_schema;
