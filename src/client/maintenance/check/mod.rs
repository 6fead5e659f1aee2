//! How a guarded transaction is shown to have written nothing, and which reads need no check.

pub(in crate::client) mod catalog_change;
pub(in crate::client) mod clean_reads;
pub(in crate::client) mod hidden_writers;
pub(in crate::client) mod inline_write_check;
pub(in crate::client) mod search_path;
pub(in crate::client) mod with_hold_cursor;
pub(in crate::client) mod write_check;
