//! A statement in its text, in each way in which the server may read it.

use crate::sql::classify::analyzer::{Analyzer, Scope};
use crate::sql::lex::encoding::{LexContext, StandardStrings, mask};
use crate::sql::lex::lexer::Lexer;
use crate::sql::statement::Statement;

/// See the module.
#[derive(Clone, Copy)]
pub struct StatementReading<'a> {
    analyzer: &'a Analyzer,
    text: &'a [u8],
    context: LexContext,
    statement: &'a Statement,
}

impl<'a> StatementReading<'a> {
    /// That statement of a text, which the server reads under these settings.
    pub fn new(analyzer: &'a Analyzer, text: &'a [u8], context: LexContext, statement: &'a Statement) -> Self {
        Self { analyzer, text, context, statement }
    }

    /// The statement.
    pub(super) fn statement(&self) -> &'a Statement {
        self.statement
    }

    /// The text that it stands in.
    pub(super) fn text(&self) -> &'a [u8] {
        self.text
    }

    /// By which names of functions it is judged.
    pub(super) fn analyzer(&self) -> &'a Analyzer {
        self.analyzer
    }

    /// The same, for a walk over its tokens.
    pub(super) fn scope(&self) -> Scope<'a> {
        self.analyzer.scope()
    }

    /// Whether something holds in each way in which the server may read it.
    pub(super) fn holds(&self, holds: impl Fn(Lexer<'_>) -> bool) -> bool {
        self.find(|lexer| (!holds(lexer)).then_some(())).is_none()
    }

    /// What is found in one of these ways.
    pub(super) fn find<T>(&self, find: impl Fn(Lexer<'_>) -> Option<T>) -> Option<T> {
        let mut found = None;
        self.each(|lexer| found = found.take().or_else(|| find(lexer)));
        found
    }

    /// Reads it in each of these ways.
    pub(super) fn each(&self, read: impl FnMut(Lexer<'_>)) {
        let ways: &[bool] = match self.context.strings {
            StandardStrings::On => &[true],
            StandardStrings::Off => &[false],
            StandardStrings::Unknown => &[true, false],
        };
        self.in_ways(ways, read);
    }

    /// Reads it in each way that there is, whatever the settings are.
    pub(super) fn in_every_way(&self, read: impl FnMut(Lexer<'_>)) {
        self.in_ways(&[true, false], read);
    }

    /// Reads it in one of the ways in which the server may.
    pub(super) fn once(&self, read: impl FnMut(Lexer<'_>)) {
        self.in_ways(&[self.context.strings != StandardStrings::Off], read);
    }

    fn in_ways(&self, ways: &[bool], mut read: impl FnMut(Lexer<'_>)) {
        let (masked, _) = mask(self.text, self.context.encoding);
        for standard in ways {
            read(Lexer::new(&masked, *standard).part(self.statement.span.start, self.statement.span.end));
        }
    }
}
