//! From a client's first byte to its first ReadyForQuery: [`negotiate`], then [`open`].

pub(in crate::client) mod login_wait;
pub mod negotiate;
pub mod open;
pub(in crate::client) mod startup_parameters;
