//! What a server connection holds for the client that has it checked out.

pub(in crate::server) mod advertised_backend;
pub mod client_names;
pub mod handover;
pub mod session_vars;
