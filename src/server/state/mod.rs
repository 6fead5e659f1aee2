//! What a server connection holds for the client that has it checked out, and that it is ours.

pub(in crate::server) mod advertised_backend;
pub mod client_names;
pub mod handover;
pub mod own_processes;
pub mod session_vars;
