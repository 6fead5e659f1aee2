//! From text to verdicts: bounds, encodings, the two readings of a backslash, and the split into statements.

use super::one_statement;
use super::readonly_exceptions::RefusalList;
use crate::sql::lex::encoding::{Encoding, LexContext, StandardStrings, mask, masked_in_every_way};
use crate::sql::lex::lexer::Lexer;
use crate::sql::lex::token_facts::scan;
use crate::sql::statement::{Analysis, Kind, Process, Proven, Refusal, Statement};
use memchr::memchr;
use std::sync::Arc;

/// Bytes of text that are read; a longer text is one unknown statement. Reading costs about a millisecond a megabyte.
pub const MAX_TEXT_BYTES: usize = 1 << 30;

/// Statements that one text may have; a text with more is one unknown statement.
pub const MAX_STATEMENTS: usize = 16_384;

/// Constants that hold SQL are read this many levels deep.
const NESTED_TEXTS: u8 = 3;

/// What reading a statement needs besides its tokens.
#[derive(Clone, Copy)]
pub(in crate::sql) struct Scope<'a> {
    pub list: &'a RefusalList,
    levels: u8,
    /// The text is the body of a function in PL/pgSQL, which declares its variables ahead of BEGIN.
    pub declares: bool,
}

impl<'a> Scope<'a> {
    /// For the body of a function in that language.
    pub fn of_body(self, language: &str) -> Self {
        Self { declares: language == "plpgsql", ..self }
    }

    /// For a text that lies in a constant of this one; `None` when that is too deep.
    pub fn below(self) -> Option<Self> {
        self.levels.checked_sub(1).map(|levels| Self { levels, declares: false, ..self })
    }
}

/// Reads statements; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Analyzer {
    list: Arc<RefusalList>,
}

/// Reads a text with the refusal list as it comes.
pub fn analyze(text: &[u8], ctx: LexContext) -> Analysis {
    Analyzer::default().analyze(text, ctx)
}

impl Analyzer {
    /// An analyzer with a configured refusal list.
    pub fn new(list: Arc<RefusalList>) -> Self {
        Self { list }
    }

    /// The list it refuses by.
    pub fn list(&self) -> &RefusalList {
        &self.list
    }

    /// The verdict on a text of so many bytes that is too long to be read.
    pub fn unread(length: usize) -> Analysis {
        unreadable(length, true)
    }

    /// What reading a statement needs.
    pub(in crate::sql) fn scope(&self) -> Scope<'_> {
        Scope { list: &self.list, levels: NESTED_TEXTS, declares: false }
    }

    /// Verdicts on every statement of the text of a Query or Parse message, without its final NUL. Linear in the
    /// text, no recursion, at most [`MAX_TEXT_BYTES`] and [`MAX_STATEMENTS`].
    pub fn analyze(&self, text: &[u8], ctx: LexContext) -> Analysis {
        let text = memchr(0, text).and_then(|end| text.get(..end)).unwrap_or(text);
        if text.len() > MAX_TEXT_BYTES {
            return unreadable(text.len(), true);
        }
        if ctx.encoding == Encoding::Any && !text.is_ascii() {
            return self.analyze_in_every_encoding(text, ctx.strings);
        }
        let (masked, sound) = mask(text, ctx.encoding);
        let mut analysis = self.analyze_masked(&masked, ctx.strings);
        analysis.ambiguous |= !sound;
        analysis
    }

    fn analyze_masked(&self, masked: &[u8], strings: StandardStrings) -> Analysis {
        let scope = self.scope();
        match strings {
            StandardStrings::On => read(masked, true, scope),
            StandardStrings::Off => read(masked, false, scope),
            StandardStrings::Unknown if memchr(b'\\', masked).is_none() => read(masked, true, scope),
            StandardStrings::Unknown => worse(read(masked, true, scope), read(masked, false, scope)),
        }
    }

    fn analyze_in_every_encoding(&self, text: &[u8], strings: StandardStrings) -> Analysis {
        let readings = masked_in_every_way(text).unwrap_or_default();
        let analyses = readings.iter().map(|masked| self.analyze_masked(masked, strings));
        analyses.reduce(worse).unwrap_or_else(|| unreadable(text.len(), true))
    }
}

/// Of two readings the one that weighs more; ambiguous unless they agree.
fn worse(a: Analysis, b: Analysis) -> Analysis {
    if a == b {
        return a;
    }
    let weight = |analysis: &Analysis| analysis.worst().map_or(0, |s| s.refusal.weight());
    let mut worse = if weight(&b) > weight(&a) { b } else { a };
    worse.ambiguous = true;
    worse
}

/// A text of which nothing can be said.
fn unreadable(length: usize, ambiguous: bool) -> Analysis {
    let whole = Statement {
        span: 0..u32::try_from(length).unwrap_or(u32::MAX),
        kind: Kind::Unknown,
        tag: "???",
        refusal: Refusal::Allowed,
        locks_rows: false,
        route: Proven::Doubt,
        contained: true,
        moves_sequences: true,
        process: Process::Any,
        effects: Box::default(),
    };
    Analysis { statements: Box::new([whole]), ambiguous }
}

/// Reads masked text one way.
pub(in crate::sql) fn read(text: &[u8], standard_strings: bool, scope: Scope<'_>) -> Analysis {
    let mut lexer = Lexer::new(text, standard_strings);
    // The first statement is mostly the only one: it needs no room for more.
    let mut first = None;
    let mut statements = Vec::new();
    loop {
        let facts = scan(&mut lexer, scope);
        if lexer.broken {
            // The server raises a syntax error for the text as a whole.
            return unreadable(text.len(), false);
        }
        if facts.tokens > 0 {
            if statements.len() == MAX_STATEMENTS {
                return unreadable(text.len(), true);
            }
            let terminated = facts.terminated;
            let statement = one_statement::statement(&lexer, facts, scope, 0);
            match first.take() {
                None if statements.is_empty() => first = Some(statement),
                before => {
                    statements.extend(before);
                    statements.push(statement);
                }
            }
            if terminated {
                continue;
            }
        } else if facts.terminated {
            continue;
        }
        let statements = match first {
            Some(only) => Box::new([only]) as Box<[Statement]>,
            None => statements.into_boxed_slice(),
        };
        return Analysis { statements, ambiguous: false };
    }
}

#[cfg(test)]
#[path = "analyzer_tests.rs"]
mod tests;
