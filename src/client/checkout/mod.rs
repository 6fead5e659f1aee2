//! A server connection is checked out for a transaction ([`acquire`]), brought to the client's settings, and checked in.

pub(in crate::client) mod abandoned;
pub(in crate::client) mod acquire;
pub(in crate::client) mod backend_pid;
pub(in crate::client) mod lease;
pub(in crate::client) mod server_changed;
mod signals;
pub(in crate::client) mod sync_settings;
