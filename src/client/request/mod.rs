//! The forms in which a client asks: simple queries, the extended query protocol, whole batches at once, function calls,
//! statement mode. What becomes of a statement is decided in [`decide`](crate::client::decide).

pub(in crate::client) mod extended_query;
pub(in crate::client) mod fast_path;
mod function_call;
mod leave_replica;
mod mirrored;
pub(in crate::client) mod pgsluice_settings;
pub(in crate::client) mod read_ahead;
mod simple_query;
mod slow_statement;
pub(in crate::client) mod statement_mode;
