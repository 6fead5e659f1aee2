//! What of a relation's own a statement can run, by its form.
//!
//! | form | triggers, checks, defaults, generated columns | index expressions | views, rules, policies | functions it names |
//! | --- | --- | --- | --- | --- |
//! | INSERT, UPDATE, DELETE, MERGE, COPY FROM | yes | yes | yes | yes |
//! | SELECT, COPY (query) TO | no | when it is planned | yes | yes |
//! | COPY table TO | no | where policies make it a query | policies | none |
//! | LOCK | no | no | no | none |
//!
//! A write is told by [`Mention::Writes`](super::mentions::Mention::Writes): with it what only a write runs counts.

use crate::sql::lex::keyword::Keyword as K;
use crate::sql::lex::lexer::{Lexer, Shape};
use crate::sql::statement::{Kind, Statement};

/// Whether it runs nothing that a database has of its own, whatever it names.
pub(super) fn runs_nothing(one: &Statement) -> bool {
    matches!(one.kind, Kind::Transaction(_)) || one.tag == "LOCK TABLE"
}

/// Whether a COPY writes to a table, from what stands behind that word: a query in parentheses has words of its own for that.
pub(super) fn copy_writes(mut lexer: Lexer<'_>) -> bool {
    let mut depth = 0_u32;
    loop {
        let token = lexer.next();
        match token.shape {
            Shape::Punct(b'(') => depth += 1,
            Shape::Punct(b')') => depth = depth.saturating_sub(1),
            Shape::End | Shape::Punct(b';') => return true,
            _ if depth == 0 && token.keyword == K::From => return true,
            _ if depth == 0 && token.keyword == K::To => return false,
            _ => {}
        }
    }
}
