//! Texts that are put together and run: what is known of their pieces, in each language.

pub(in crate::sql::hidden_writers) mod built;
pub(in crate::sql::hidden_writers) mod calls;
pub(in crate::sql::hidden_writers) mod languages;
mod pieces;
pub(in crate::sql::hidden_writers) mod remote;
mod selected;
pub(in crate::sql::hidden_writers) mod types;
pub(in crate::sql::hidden_writers) mod variables;
