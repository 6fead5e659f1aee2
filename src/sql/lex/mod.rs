//! Tokens, exactly where PostgreSQL's scanner sees them, and what can be known from them without a grammar.

pub(in crate::sql) mod encoding;
pub(in crate::sql) mod keyword;
pub(in crate::sql) mod lexer;
pub(in crate::sql) mod literal;
pub mod quote;
pub(in crate::sql) mod token_cursor;
pub(in crate::sql) mod token_facts;
