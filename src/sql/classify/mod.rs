//! From a text to a verdict for each statement in it ([`analyzer`], [`one_statement`]).

pub(in crate::sql) mod analyzer;
pub(in crate::sql) mod builtins;
pub(in crate::sql) mod ddl_tags;
pub(in crate::sql) mod embedded_sql;
pub(in crate::sql) mod function_calls;
pub(in crate::sql) mod one_statement;
pub mod read_write;
pub(in crate::sql) mod readonly_exceptions;
pub(in crate::sql) mod session_effects;
