//! Prepared statements: the protocol's by name, and those of SQL's PREPARE.

pub(in crate::client) mod names_in_flight;
mod prepare_again;
pub(in crate::client) mod protocol_names;
pub(in crate::client) mod result_shape;
pub(in crate::client) mod sql_prepare;
