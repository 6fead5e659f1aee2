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

mod analyzer;
mod builtins;
pub mod cache;
mod calls;
mod classify;
mod constants;
mod cursor;
mod ddl;
mod encoding;
pub mod held_cursor;
mod keyword;
mod lexer;
mod literal;
mod normal;
mod own;
pub mod own_statements;
mod pattern;
pub mod quote;
pub mod read_write;
mod refused;
mod scan;
mod session;
mod settings;
pub mod setup;
mod statement;
pub mod target;
pub mod tree;
pub mod unseen;

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod live_tests;

pub use analyzer::{Analyzer, MAX_STATEMENTS, MAX_TEXT_BYTES, analyze};
pub use encoding::{Encoding, LexContext, StandardStrings};
pub use normal::normalised;
pub use own::{Own, OwnUse, is_ours, may_use_own, own_use, set_name};
pub use refused::{ListError, RefusalList, Why, names_in_pieces};
pub use statement::{
    Analysis, CopyDirection, Isolation, Kind, Name, Process, Proven, Reason, Refusal, SessionEffect, Statement,
    TransactionModes, TransactionVerb,
};
