//! What a text names, found from its tokens alone: functions where they can be called, relations where they can be read,
//! types where a value can be made one, operators, and text that is put together to be run. Rather too much than too little: without a grammar
//! some names are taken for what they are not.

use super::super::analyzer::Scope;
use super::super::calls;
use super::super::classify;
use super::super::keyword::Keyword as K;
use super::super::lexer::{Lexer, Shape, Token};
use super::super::literal::{decode, name, without_dotted_i};
use super::super::scan::scan;
use super::super::statement::{Reason, Refusal};

/// Something a text names.
pub(super) enum Mention<'a, 'b> {
    /// `schema.name(`, with the lexer behind the parenthesis.
    Call(Option<&'b [u8]>, &'b [u8], Lexer<'a>),
    /// `.name` behind a value, which calls a function where there is no such column.
    Field(&'b [u8]),
    /// A name where a relation can stand.
    Relation(Option<&'b [u8]>, &'b [u8]),
    /// A name where a type can stand.
    Type(Option<&'b [u8]>, &'b [u8]),
    /// An operator, or a few that stand together.
    Operator(&'b [u8]),
    /// A word that stands for an operator: `IN`, `LIKE`.
    Implied(&'static str),
    /// It can write to a table: INSERT, COPY and their like.
    Writes,
    /// A text is run that is no constant.
    Builds,
    /// Text is handed to something of PostgreSQL's that runs it.
    RunsText,
    /// Reads relations without naming them.
    AnyRelation,
    /// A command of the refusal list.
    Command(&'static str),
    /// The same as a constant: it is one if the constant is run.
    QuotedCommand(&'static str),
    /// Text is run, constant or not.
    Executes,
    /// A word with which a command begins that is no query.
    Utility,
}

/// Where constants are looked into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Depth {
    /// Nowhere.
    Words,
    /// Each may be run.
    Constants,
}

/// Tokens that are remembered, youngest first.
type Before = [Token; 6];

struct Walk<'a, 's, F> {
    lexer: Lexer<'a>,
    scope: Scope<'s>,
    body: bool,
    /// It is a constant in another text.
    quoted: bool,
    before: Before,
    depth: u32,
    /// Levels within a FROM list.
    from: u64,
    /// Levels within CAST ( … ).
    cast: u64,
    head: K,
    tell: F,
}

/// Tells `tell` what a text names. `body` is for bodies of functions and blocks, where variables are declared.
pub(super) fn mentions<'a>(
    lexer: Lexer<'a>,
    scope: Scope<'_>,
    body: bool,
    depth: Depth,
    tell: &mut dyn FnMut(Mention<'_, '_>),
) {
    look(lexer, scope, body, false, depth, tell);
}

fn look<'a>(
    lexer: Lexer<'a>,
    scope: Scope<'_>,
    body: bool,
    quoted: bool,
    depth: Depth,
    tell: &mut dyn FnMut(Mention<'_, '_>),
) {
    if depth == Depth::Constants {
        constants(lexer.clone(), scope, tell);
    }
    let mut walk =
        Walk { lexer, scope, body, quoted, before: [Token::NONE; 6], depth: 0, from: 0, cast: 0, head: K::None, tell };
    let mut token = walk.lexer.next();
    while token.shape != Shape::End {
        let next = walk.lexer.next();
        token = walk.token(token, next);
    }
}

/// What the constants of a text name, if they were run.
fn constants(mut lexer: Lexer, scope: Scope<'_>, tell: &mut dyn FnMut(Mention<'_, '_>)) {
    let text = lexer.text();
    loop {
        let token = lexer.next();
        match token.shape {
            Shape::End => return,
            Shape::Str(_) => {
                // Too deep to be read: it may be anything.
                let Some(below) = scope.below() else { return tell(Mention::Builds) };
                let inner = decode(token, text);
                let inside = lexer.other(&inner);
                whole_name(inside.clone(), tell);
                look(inside, below, true, true, Depth::Constants, tell);
            }
            _ => {}
        }
    }
}

/// A constant that is nothing but a name may be that of a relation.
fn whole_name(mut lexer: Lexer, tell: &mut dyn FnMut(Mention<'_, '_>)) {
    let text = lexer.text();
    let tokens: [Token; 4] = std::array::from_fn(|_| lexer.next());
    let end = |token: Token| token.shape == Shape::End;
    match tokens {
        [one, next, ..] if one.is_name() && one.keyword.names() && end(next) => {
            tell(Mention::Relation(None, &name(one, text)))
        }
        [schema, dot, one, next] if schema.is_name() && dot.is(b'.') && one.is_name() && end(next) => {
            tell(Mention::Relation(Some(&name(schema, text)), &name(one, text)));
        }
        _ => {}
    }
}

fn is_operator(token: Token) -> bool {
    matches!(token.shape, Shape::Punct(byte) if b"~!@#^&|`?+-*/%<>=".contains(&byte))
}

/// Words with which commands begin that are no queries: they change tables, the catalog or the session, or say what COMMIT does.
fn is_utility(word: K) -> bool {
    matches!(
        word,
        K::Abort
            | K::Alter
            | K::Analyse
            | K::Analyze
            | K::Call
            | K::Checkpoint
            | K::Cluster
            | K::Comment
            | K::Commit
            | K::Copy
            | K::Create
            | K::Deallocate
            | K::Delete
            | K::Discard
            | K::Do
            | K::Drop
            | K::Explain
            | K::Grant
            | K::Hold
            | K::Import
            | K::Insert
            | K::Listen
            | K::Load
            | K::Lock
            | K::Merge
            | K::Notify
            | K::Prepare
            | K::Reassign
            | K::Refresh
            | K::Reindex
            | K::Release
            | K::Repack
            | K::Reset
            | K::Revoke
            | K::Rollback
            | K::Savepoint
            | K::Security
            | K::Set
            | K::Start
            | K::Truncate
            | K::Unlisten
            | K::Update
            | K::Vacuum
    )
}

/// Functions that run the text they are given, or read the relation.
pub(super) fn runs_text(name: &[u8]) -> bool {
    std::str::from_utf8(name).is_ok_and(calls::runs_text)
        || memchr::memmem::find(name, b"_to_xml").is_some()
        || matches!(name, b"dblink" | b"dblink_open" | b"dblink_send_query")
}

impl<'a, F: FnMut(Mention<'_, '_>)> Walk<'a, '_, F> {
    fn bit(&self) -> u64 {
        // Deeper than there are bits everything counts.
        1u64.checked_shl(self.depth).unwrap_or(u64::MAX)
    }

    /// Looks at a token, with the one behind it; gives the next to look at.
    fn token(&mut self, token: Token, next: Token) -> Token {
        let mut next = next;
        match token.shape {
            Shape::Word | Shape::Quoted | Shape::UnicodeQuoted => {
                if self.head == K::None {
                    self.head = token.keyword;
                }
                if !self.before[0].is(b'.') {
                    self.keyword(token, next);
                    if self.body && is_utility(token.keyword) {
                        self.utility(token);
                    }
                }
                let [prev, prev2, ..] = self.before;
                let names = token.shape != Shape::Word
                    || prev.is(b'.')
                    || if next.is(b'(') { token.keyword.may_call([prev, prev2]) } else { token.keyword.names() };
                if names && !next.is(b'.') {
                    self.name(token, next);
                }
            }
            Shape::Punct(b'(') => {
                let opened = self.before[0];
                let inherits = self.from & self.bit() != 0
                    && (matches!(opened.keyword, K::From | K::Join | K::Lateral | K::Only)
                        || opened.is(b',')
                        || opened.is(b'('));
                self.depth += 1;
                let bit = self.bit();
                if bit != u64::MAX {
                    self.from = if inherits { self.from | bit } else { self.from & !bit };
                    self.cast = if opened.keyword == K::Cast { self.cast | bit } else { self.cast & !bit };
                }
            }
            Shape::Punct(b')') => self.depth = self.depth.saturating_sub(1),
            Shape::Punct(b';') => (self.depth, self.from, self.cast) = (0, 0, 0),
            Shape::Punct(_) if is_operator(token) => {
                let mut last = token;
                while is_operator(next) && next.start == last.end {
                    last = next;
                    next = self.lexer.next();
                }
                let run = self.lexer.text().get(token.start as usize..last.end as usize).unwrap_or_default();
                (self.tell)(Mention::Operator(run));
            }
            _ => {}
        }
        let [a, b, c, d, e, _] = self.before;
        self.before = [token, a, b, c, d, e];
        next
    }

    fn keyword(&mut self, token: Token, next: Token) {
        let prev = self.before[0];
        let bit = self.bit();
        match token.keyword {
            K::From if prev.keyword == K::Distinct => (self.tell)(Mention::Implied("=")),
            K::From | K::Join => self.from |= bit,
            K::Where
            | K::Group
            | K::Having
            | K::Window
            | K::Order
            | K::Limit
            | K::Offset
            | K::Fetch
            | K::For
            | K::Union
            | K::Intersect
            | K::Except
            | K::Returning
            | K::Select
            | K::Set
            | K::Values
                if bit != u64::MAX =>
            {
                self.from &= !bit;
            }
            K::Using => {
                self.from |= if self.head == K::Delete || self.head == K::Merge { bit } else { 0 };
                (self.tell)(Mention::Implied("="));
            }
            K::In | K::Case | K::Nullif | K::Natural => (self.tell)(Mention::Implied("=")),
            K::Like | K::Similar => (self.tell)(Mention::Implied("~~")),
            K::Ilike => (self.tell)(Mention::Implied("~~*")),
            K::Between => (self.tell)(Mention::Implied("<=")),
            K::Insert | K::Update | K::Delete | K::Merge | K::Truncate => (self.tell)(Mention::Writes),
            K::Copy | K::Checkpoint => {
                if token.keyword == K::Copy {
                    (self.tell)(Mention::Writes);
                }
                if self.body {
                    self.command(token);
                }
            }
            K::Execute if self.body => {
                let privilege = matches!(next.keyword, K::On | K::Function | K::Procedure);
                let mut ahead = self.lexer.clone();
                let behind = ahead.next();
                let whole = next.is_str()
                    && (matches!(behind.shape, Shape::End | Shape::Punct(b';'))
                        || matches!(behind.keyword, K::Into | K::Using)
                        || behind.text(self.lexer.text()).eq_ignore_ascii_case(b"loop"));
                (self.tell)(Mention::Executes);
                if !privilege && !whole {
                    (self.tell)(Mention::Builds);
                }
            }
            _ => {}
        }
    }

    /// A word in a body that begins a command, if it stands where one does.
    fn utility(&mut self, token: Token) {
        (self.tell)(Mention::Utility);
        let prev = self.before[0];
        let begins = matches!(prev.shape, Shape::Punct(b';' | b'>'))
            || matches!(prev.keyword, K::Begin | K::Then | K::Else | K::Atomic)
            || prev == Token::NONE
            || prev.text(self.lexer.text()).eq_ignore_ascii_case(b"loop");
        // COPY and CHECKPOINT are looked at wherever they stand.
        if begins && !matches!(token.keyword, K::Copy | K::Checkpoint) {
            self.command(token);
        }
    }

    /// A command of the refusal list in a body.
    fn command(&mut self, token: Token) {
        let end = u32::try_from(self.lexer.text().len()).unwrap_or(u32::MAX);
        let mut part = self.lexer.part(token.start, end);
        let facts = scan(&mut part, self.scope);
        let statement = classify::statement(&self.lexer, facts, self.scope, 0);
        if let Refusal::ByPgsluice(Reason::Command(_)) = statement.refusal {
            let everywhere = matches!(token.keyword, K::Copy | K::Checkpoint);
            (self.tell)(match self.quoted && !everywhere {
                true => Mention::QuotedCommand(statement.tag),
                false => Mention::Command(statement.tag),
            });
        }
    }

    /// The last part of a name.
    fn name(&mut self, token: Token, next: Token) {
        let text = self.lexer.text();
        let [first, second, third, fourth, ..] = self.before;
        let qualified = first.is(b'.');
        let schema = (qualified && second.is_name()).then(|| name(second, text));
        // What stands before the whole name.
        let mut prev = if qualified { third } else { first };
        let mut prev2 = if qualified { fourth } else { second };
        if qualified && third.is(b'.') {
            [prev, prev2] = [self.before[4], self.before[5]];
        }
        let mut own = name(token, text);
        if !own.is_ascii() {
            own = without_dotted_i(own);
        }
        let schema = schema.as_deref();
        let called = next.is(b'(');
        let is_cast = prev.is(b':') && prev2.is(b':') && prev2.end == prev.start;
        let target = matches!(prev.keyword, K::Into | K::Copy);
        let names_columns = !qualified && matches!(prev.keyword, K::As | K::With | K::Recursive | K::Tablesample);
        if called && !target && !names_columns && !is_cast {
            // The lexer stands behind the parenthesis.
            let arguments = self.lexer.clone();
            if runs_text(&own) {
                (self.tell)(Mention::RunsText);
                if !gives_constant(arguments.clone()) {
                    (self.tell)(Mention::Builds);
                }
                if own.starts_with(b"schema_to") || own.starts_with(b"database_to") {
                    (self.tell)(Mention::AnyRelation);
                }
            }
            (self.tell)(Mention::Call(schema, &own, arguments));
        }
        if qualified && !called {
            (self.tell)(Mention::Field(&own));
        }
        let listed = self.from & self.bit() != 0 && (prev.is(b',') || prev.is(b'('));
        let begins = matches!(prev.keyword, K::From | K::Join | K::Only | K::Table | K::Update | K::Using);
        if target || !called && (listed || begins && prev2.keyword != K::Distinct) {
            (self.tell)(Mention::Relation(schema, &own));
        }
        let in_cast = prev.keyword == K::As && self.cast & self.bit() != 0;
        let words = prev.keyword.names() && !prev.keyword.opens_clause(prev2);
        let declared = prev.is_name() && words && self.from & self.bit() == 0;
        let everywhere = self.body || self.head == K::Prepare;
        if is_cast || in_cast || next.is_str() || everywhere || !target && (declared || called) {
            (self.tell)(Mention::Type(schema, &own));
        }
    }
}

/// Whether the first or second argument is a whole constant: the text that is run, or its connection's name and it.
fn gives_constant(mut lexer: Lexer) -> bool {
    let first = lexer.next();
    if first.shape == Shape::Punct(b')') {
        return true;
    }
    let mut constant = first.is_str();
    let (mut behind, mut arguments) = (lexer.next(), 1);
    // Each of the first few that is a text has to be one; what is no text is no matter.
    while behind.is(b',') && arguments < 4 {
        let argument = lexer.next();
        behind = lexer.next();
        let plain = argument.is_str()
            || argument.shape == Shape::Number
            || matches!(argument.keyword, K::True | K::False | K::Null);
        constant &= plain || arguments > 1;
        arguments += 1;
    }
    constant && (behind.is(b')') || behind.is(b',') || arguments > 2)
}

#[cfg(test)]
#[path = "mentions_tests.rs"]
mod tests;
