//! What must not run on a replica although its words only read: views, policies, operators and the like that lead to functions which
//! may write, or which the catalog has as volatile.

use super::mentions::{Depth, mentions};
use super::reach::Reach;
use crate::sql::classify::analyzer::Analyzer;
use crate::sql::lex::encoding::{LexContext, StandardStrings, mask};
use crate::sql::lex::lexer::Lexer;
use crate::sql::statement::Statement;

/// See the module.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Routing(pub(super) Reach);

impl Routing {
    /// Whether there is nothing of the kind that a statement which calls PostgreSQL's own functions only could name.
    pub fn is_empty(&self) -> bool {
        self.0.is_by_function_alone()
    }

    /// Whether a statement of this text names any of it.
    pub fn needs_primary(&self, analyzer: &Analyzer, text: &[u8], context: LexContext, one: &Statement) -> bool {
        let (masked, _) = mask(text, context.encoding);
        let mut found = self.0.everywhere;
        let mut look = |standard| {
            let lexer = Lexer::new(&masked, standard).part(one.span.start, one.span.end);
            mentions(lexer, analyzer.scope(), false, Depth::Words, &mut |mention| {
                found |= self.0.named(&mention).is_some();
            });
        };
        match context.strings {
            StandardStrings::On => look(true),
            StandardStrings::Off => look(false),
            StandardStrings::Unknown => [true, false].into_iter().for_each(look),
        }
        found
    }
}
