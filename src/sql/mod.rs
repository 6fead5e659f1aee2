//! Reading statements: from the text of a Query or Parse message to a verdict for each statement in it.
//!
//! `encoding` makes text of every client encoding safe to lex, `lexer` finds the tokens, `scan` walks over them once
//! and gathers facts (with `calls` judging functions and `constants` what text they are given), and `classify` turns a statement's first words and its facts
//! into a verdict, with the help of `session` (SET, BEGIN) and `ddl` (CREATE, ALTER, DROP). `refused` is the list of
//! what PostgreSQL would run in a READ ONLY transaction although it writes, `unseen` what of a database's own leads there unseen. `analyzer` is the way in, `cache` keeps
//! verdicts by text. `own_statements` builds every statement that pgsluice itself sends, `quote` puts names and values into them. `held_cursor` finds the query of a cursor, `own` knows pgsluice's own settings, `normal` takes the constants out of a statement. `tree` stands apart: it names tables and functions where rules and routing need them, and decides
//! nothing about safety.
//!
//! All of it is pure: no sockets, no modes, no clock. Nothing here recurses on what a client sends.

pub mod block_setup;
pub mod cache;
pub mod classify;
mod guard_settings;
pub mod hidden_writers;
#[cfg(test)]
mod hostile_tests;
pub mod lex;
#[cfg(test)]
mod live_tests;
pub mod other_databases;
pub mod own_statements;
mod pgsluice_settings;
mod row_order;
mod statement;
pub mod tree;
pub mod with_hold_cursor;
pub mod write_target;

pub use crate::sql::cache::normalize::normalised;
pub use crate::sql::classify::analyzer::{Analyzer, MAX_STATEMENTS, MAX_TEXT_BYTES, analyze};
pub use crate::sql::classify::readonly_exceptions::{ListError, RefusalList, Why, names_in_pieces};
pub use crate::sql::lex::encoding::{Encoding, LexContext, StandardStrings};
pub use crate::sql::pgsluice_settings::{FanoutUse, Own, OwnUse, fanout_use, is_ours, may_use_own, own_use, set_name};
pub use crate::sql::row_order::{RowOrder, row_order};
pub use crate::sql::statement::{
    Analysis, CopyDirection, Isolation, Kind, Name, Process, Proven, Reason, Refusal, SessionEffect, Statement,
    TransactionModes, TransactionVerb,
};
