//! The protocol and the start of a session, through the real program: an application cannot tell that its server
//! connections are others' too. Most tests ask a direct connection the same and compare.

mod defaults;
mod errors;
mod replication;
mod stand;
