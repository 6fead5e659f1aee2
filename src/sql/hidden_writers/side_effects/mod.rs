//! What functions and other objects of a database leave behind in the session that runs them.

pub(in crate::sql) mod bodies;
pub(in crate::sql::hidden_writers) mod catalog;
