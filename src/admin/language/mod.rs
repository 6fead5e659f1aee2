//! The console's language: words, commands and the parser between them.

pub mod command;
pub mod parser;
pub mod words;
