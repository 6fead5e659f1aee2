//! Everything that exists for maintenance alone: a write is refused, held, discarded or allowed; a read runs guarded.

pub(in crate::client) mod barred;
pub(in crate::client) mod check;
pub(in crate::client) mod guarded_query;
pub(in crate::client) mod hold;
pub(in crate::client) mod kept_out;
mod other_databases;
pub(in crate::client) mod query_split;
pub(in crate::client) mod read_only_block;
pub(in crate::client) mod read_write;
pub(in crate::client) mod refuse;
pub(in crate::client) mod rehearse;
pub(in crate::client) mod transition;
pub(in crate::client) mod write_rules;
