//! The protocol and the start of a session, through the real program: an application cannot tell that its server
//! connections are others' too. Most tests ask a direct connection the same and compare.

mod cancel;
mod copy_in;
mod defaults;
mod ends;
mod errors;
mod malformed;
mod on_18;
mod own_statements;
mod pgwire;
mod replication;
mod single;
mod stand;
mod tls;
mod versions;
mod whole;
