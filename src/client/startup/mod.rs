//! From a client's first byte to its first ReadyForQuery: [`negotiate`], in which it proves who it is (`authenticate`), then
//! [`open`].

mod authenticate;
mod login_rule;
pub(in crate::client) mod login_wait;
pub mod negotiate;
pub mod open;
mod outside;
pub(in crate::client) mod startup_parameters;
