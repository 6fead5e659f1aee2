//! A major upgrade under load, by logical replication and REROUTE as docs/MOVING.md has it, and the way back. Real servers of two
//! versions, the built binary in front.

mod load;
mod stand;
mod upgrade;
