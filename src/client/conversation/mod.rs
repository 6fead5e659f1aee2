//! Messages in both directions and what is owed for each: the loop is in [`run`].

pub(in crate::client) mod client_messages;
pub(in crate::client) mod copy_in;
pub(in crate::client) mod large_messages;
pub(in crate::client) mod memory_limit;
pub(in crate::client) mod own_messages;
pub(in crate::client) mod parse_settings;
mod parts;
pub mod pending_replies;
pub(in crate::client) mod protocol_state;
pub(in crate::client) mod run;
pub(in crate::client) mod server_errors;
pub(in crate::client) mod server_messages;
