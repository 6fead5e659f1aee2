//! What a text names, found from its tokens alone: functions where they can be called, relations where they can be read,
//! types where a value can be made one, operators, and text that is put together to be run. Rather too much than too little: without a grammar
//! some names are taken for what they are not.

pub(in crate::sql::hidden_writers) mod arguments;
pub(in crate::sql::hidden_writers) mod ctes;

use super::catalog::made_types::{makes_types, names_its_types};
use super::harmless::is_harmless;
use super::run_text::built::{Builder, Built, Place};
use super::statement_forms::copy_writes;
use super::stopped::Utility;
use super::utility::{Section, is_utility};
use crate::sql::classify::analyzer::Scope;
use crate::sql::classify::embedded_sql::is_variable;
use crate::sql::classify::function_calls;
use crate::sql::classify::one_statement;
use crate::sql::hidden_writers::mentions::arguments::{Given, Sides, gives_constant, rewrites, text_of};
use crate::sql::hidden_writers::mentions::ctes::Ctes;
use crate::sql::lex::keyword::Keyword as K;
use crate::sql::lex::lexer::{Lexer, Shape, Token};
use crate::sql::lex::literal::{decode, name, without_dotted_i};
use crate::sql::lex::token_facts::scan;
use crate::sql::statement::{Reason, Refusal};

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
    /// A value of a type may be made that is named by a number or a text: `array_in(…)`.
    AnyType,
    /// An operator, or a few that stand together, with what stands beside them.
    Operator(&'b [u8], Sides),
    /// A word that stands for an operator: `IN`, `LIKE`.
    Implied(&'static str, Sides),
    /// It can write to a table: INSERT, COPY and their like.
    Writes,
    /// A text is run that is no constant.
    Builds(Built),
    /// A call hands to a function what is no constant, or leaves out what has a default: `schema.name(`, how the worst of it is built.
    Hands(Option<&'b [u8]>, &'b [u8], Built),
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
    Utility(Utility),
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
    section: Section,
    before: Before,
    depth: u32,
    /// Levels within a FROM list.
    from: u64,
    /// Levels within CAST ( … ).
    cast: u64,
    /// Levels that hold a query: a name behind an expression is a column's alias there, and no type.
    query: u64,
    /// Levels within the condition of a join.
    on: u64,
    /// Levels that hold an INSERT.
    insert: u64,
    ctes: Ctes,
    head: K,
    builder: Builder<'a>,
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
        constants(lexer.clone(), scope, !body, tell);
    }
    let place = match (body, quoted) {
        (_, true) => Place::Constant,
        (true, false) => Place::Body,
        (false, false) => Place::Statement,
    };
    let builder = Builder::new(lexer.clone(), place);
    let mut walk = Walk {
        lexer,
        scope,
        body,
        quoted,
        section: Section::Statements,
        before: [Token::NONE; 6],
        depth: 0,
        from: 0,
        cast: 0,
        query: 0,
        on: 0,
        insert: 0,
        ctes: Ctes::default(),
        head: K::None,
        builder,
        tell,
    };
    let mut token = walk.lexer.next();
    while token.shape != Shape::End {
        let next = walk.lexer.next();
        token = walk.token(token, next);
    }
}

/// Tells what a value names that is run as a text, or as a part of one.
pub(super) fn mentions_of_value(lexer: Lexer, scope: Scope<'_>, tell: &mut dyn FnMut(Mention<'_, '_>)) {
    first_names(lexer.clone(), tell);
    look(lexer, scope, true, true, Depth::Constants, tell);
}

/// What the constants of a text name, if they were run.
fn constants(mut lexer: Lexer, scope: Scope<'_>, handed: bool, tell: &mut dyn FnMut(Mention<'_, '_>)) {
    let text = lexer.text();
    loop {
        let token = lexer.next();
        match token.shape {
            Shape::End => return,
            Shape::Str(_) => {
                let inner = decode(token, text);
                let Some(below) = scope.below() else {
                    // Too deep to be read: it may be anything that a text can be which is run.
                    if could_be_run(&inner) {
                        return tell(Mention::Builds(Built::Open));
                    }
                    whole_name(lexer.other(&inner), tell);
                    continue;
                };
                let inside = lexer.other(&inner);
                if handed {
                    first_names(inside.clone(), tell);
                } else {
                    whole_name(inside.clone(), tell);
                }
                look(inside, below, true, true, Depth::Constants, tell);
            }
            _ => {}
        }
    }
}

/// Whether a constant is more than one word, or a word that is a command.
fn could_be_run(constant: &[u8]) -> bool {
    let several = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'(' | b';' | b'/' | b'-');
    constant.trim_ascii().iter().any(several) || is_utility(Lexer::new(constant, true).next().keyword)
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

/// What a function is given may be a list of relations, behind a FROM of its own.
fn first_names(mut lexer: Lexer, tell: &mut dyn FnMut(Mention<'_, '_>)) {
    let text = lexer.text();
    let mut token = lexer.next();
    while token.is_name() && token.keyword.names() && !is_utility(token.keyword) {
        let mut next = lexer.next();
        let mut schema = None;
        if next.is(b'.') {
            schema = Some(name(token, text));
            (token, next) = (lexer.next(), lexer.next());
        }
        if !next.is(b'(') && token.is_name() {
            tell(Mention::Relation(schema.as_deref(), &name(token, text)));
        }
        while !matches!(next.shape, Shape::End | Shape::Punct(b',')) {
            next = lexer.next();
        }
        token = lexer.next();
    }
}

fn is_operator(token: Token) -> bool {
    matches!(token.shape, Shape::Punct(byte) if b"~!@#^&|`?+-*/%<>=".contains(&byte))
}

/// Functions that run the text they are given, or read the relation.
pub(super) fn runs_text(name: &[u8]) -> bool {
    std::str::from_utf8(name).is_ok_and(function_calls::runs_text)
        || memchr::memmem::find(name, b"_to_xml").is_some()
        || matches!(name, b"dblink" | b"dblink_open" | b"dblink_send_query")
}

/// Those of them that are given a relation, a schema or a cursor.
fn names_relation(name: &[u8]) -> bool {
    [&b"table_to"[..], b"schema_to", b"database_to", b"cursor_to"].iter().any(|stem| name.starts_with(stem))
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
                    match token.keyword {
                        K::Declare if self.scope.declares && !self.quoted => self.section = Section::Declarations,
                        K::Begin => self.section = Section::Statements,
                        _ => {}
                    }
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
                self.ctes.opens(self.depth, opened);
                if bit != u64::MAX {
                    let casts = matches!(opened.keyword, K::Cast | K::Xmlserialize | K::Treat);
                    self.from = if inherits { self.from | bit } else { self.from & !bit };
                    self.cast = if casts { self.cast | bit } else { self.cast & !bit };
                    self.query &= !bit;
                    self.on &= !bit;
                    self.insert &= !bit;
                }
            }
            Shape::Punct(b')') => {
                self.depth = self.depth.saturating_sub(1);
                self.ctes.closes(self.depth);
            }
            Shape::Punct(b',') => {
                self.on &= !self.bit();
                self.ctes.comma(self.depth, next, self.lexer.clone());
            }
            Shape::Punct(b';') => {
                self.depth = 0;
                self.statement_ends();
            }
            Shape::Punct(_) if is_operator(token) => {
                let mut last = token;
                while is_operator(next) && next.start == last.end {
                    last = next;
                    next = self.lexer.next();
                }
                let run = self.lexer.text().get(token.start as usize..last.end as usize).unwrap_or_default();
                let left = arguments::left([self.before[0], self.before[1]]);
                let right = arguments::right(next, self.lexer.clone());
                if self.body && run == b"%" {
                    self.type_of_column(next);
                }
                (self.tell)(Mention::Operator(run, [left, right]));
            }
            _ => {}
        }
        let [a, b, c, d, e, _] = self.before;
        self.before = [token, a, b, c, d, e];
        next
    }

    /// `table.column%TYPE`: what the type of the column leads to, that of the table's rows does.
    fn type_of_column(&mut self, next: Token) {
        let text = self.lexer.text();
        let [_, dot, table, dot_of_schema, schema, _] = self.before;
        if next.text(text).eq_ignore_ascii_case(b"type") && dot.is(b'.') && table.is_name() {
            let schema = (dot_of_schema.is(b'.') && schema.is_name()).then(|| name(schema, text));
            (self.tell)(Mention::Type(schema.as_deref(), &name(table, text)));
        }
    }

    /// What a statement has opened is over.
    fn statement_ends(&mut self) {
        (self.from, self.cast, self.query, self.on, self.insert) = (0, 0, 0, 0, 0);
        self.ctes.clear();
    }

    fn imply(&mut self, operators: &[&'static str], sides: Sides) {
        for operator in operators {
            (self.tell)(Mention::Implied(operator, sides));
        }
    }

    /// Words that stand for operators.
    fn implied(&mut self, token: Token, next: Token) {
        let [prev, prev2, prev3, ..] = self.before;
        let not = prev.keyword == K::Not;
        let left = arguments::left(if not { [prev2, prev3] } else { [prev, prev2] });
        let any = [left, Given::Any];
        match token.keyword {
            K::From if prev.keyword == K::Distinct => self.imply(&["="], [Given::Any; 2]),
            K::Using if next.is(b'(') => self.imply(&["="], [Given::Any; 2]),
            K::Natural | K::Nullif => self.imply(&["="], [Given::Any; 2]),
            K::Case if next.keyword != K::When => self.imply(&["="], [Given::Any; 2]),
            K::In if next.is(b'(') => {
                let sides = [left, arguments::members(self.lexer.clone())];
                self.imply(if not { &["<>"] } else { &["="] }, sides);
            }
            K::Like => self.imply(if not { &["!~~"] } else { &["~~"] }, any),
            K::Ilike => self.imply(if not { &["!~~*"] } else { &["~~*"] }, any),
            K::Similar => self.imply(if not { &["!~"] } else { &["~"] }, any),
            K::Between => {
                let sides = [left, arguments::bounds(next, self.lexer.clone())];
                self.imply(if not { &["<", ">", "<=", ">="] } else { &["<=", ">="] }, sides);
            }
            _ => {}
        }
    }

    fn keyword(&mut self, token: Token, next: Token) {
        let prev = self.before[0];
        let bit = self.bit();
        self.implied(token, next);
        match token.keyword {
            K::Select | K::Insert | K::Update | K::Delete | K::Merge | K::Values | K::Table => {
                self.ctes.ends_list(self.depth);
            }
            K::With if self.insert & bit == 0 => self.ctes.with(self.depth, next, self.lexer.clone()),
            // In a body a statement may begin here.
            K::Begin | K::Then | K::Else | K::Declare if self.body => {
                self.query = 0;
                self.ctes.clear();
            }
            K::None if self.body && token.text(self.lexer.text()).eq_ignore_ascii_case(b"loop") => {
                self.query = 0;
                self.ctes.clear();
            }
            _ => {}
        }
        if bit != u64::MAX {
            self.note_query(token, next, bit);
        }
        match token.keyword {
            K::From if prev.keyword == K::Distinct => {}
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
            K::Using => self.from |= if self.head == K::Delete || self.head == K::Merge { bit } else { 0 },
            K::Insert | K::Update | K::Delete | K::Merge | K::Truncate => (self.tell)(Mention::Writes),
            K::Copy | K::Checkpoint => {
                let from = self.lexer.part(next.start, u32::MAX);
                if token.keyword == K::Copy && (self.body || copy_writes(from)) {
                    (self.tell)(Mention::Writes);
                }
                if self.body {
                    self.command(token);
                }
            }
            K::Execute if self.body => self.execute(next),
            _ => {}
        }
    }

    /// Notes in which parentheses a query is, and how far its FROM goes.
    fn note_query(&mut self, token: Token, next: Token, bit: u64) {
        let queries = match token.keyword {
            K::Select | K::With => true,
            K::Insert | K::Merge => next.keyword == K::Into,
            K::Delete => next.keyword == K::From,
            K::Update => self.depth == 0,
            _ => false,
        };
        self.query |= if queries { bit } else { 0 };
        self.insert |= if token.keyword == K::Insert && next.keyword == K::Into { bit } else { 0 };
        match token.keyword {
            K::On if self.from & bit != 0 => self.on |= bit,
            K::Join => self.on &= !bit,
            _ => {}
        }
    }

    /// EXECUTE in a body: a text is run.
    fn execute(&mut self, next: Token) {
        let privilege = matches!(next.keyword, K::On | K::Function | K::Procedure);
        let mut ahead = self.lexer.clone();
        let behind = ahead.next();
        let whole = next.is_str()
            && (matches!(behind.shape, Shape::End | Shape::Punct(b';'))
                || matches!(behind.keyword, K::Into | K::Using)
                || behind.text(self.lexer.text()).eq_ignore_ascii_case(b"loop"));
        (self.tell)(Mention::Executes);
        if !privilege && !whole {
            let from = self.lexer.part(next.start, u32::MAX);
            let built = self.builder.text(from);
            (self.tell)(Mention::Builds(built));
        }
    }

    /// A word in a body that begins a command, if it stands where one does.
    fn utility(&mut self, token: Token) {
        let prev = self.before[0];
        let begins = matches!(prev.shape, Shape::Punct(b';' | b'>'))
            || matches!(prev.keyword, K::Begin | K::Then | K::Else | K::Atomic)
            || prev == Token::NONE
            || prev.text(self.lexer.text()).eq_ignore_ascii_case(b"loop");
        if begins
            && token.keyword != K::Set
            && (self.section == Section::Declarations || is_variable(self.lexer.part(token.end, u32::MAX)))
        {
            return;
        }
        (self.tell)(Mention::Utility(Utility::of(token, begins, self.quoted, &self.lexer, self.scope)));
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
        let statement = one_statement::statement(&self.lexer, facts, self.scope, 0);
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
        let columns = matches!(prev.keyword, K::As | K::With | K::Recursive | K::Tablesample);
        let names_columns = !qualified && (columns || self.is_alias(prev, prev2));
        if called && !target && !names_columns && !is_cast {
            // The lexer stands behind the parenthesis.
            let arguments = self.lexer.clone();
            if runs_text(&own) {
                (self.tell)(Mention::RunsText);
                if !gives_constant(arguments.clone()) && !rewrites(&own, arguments.clone()) {
                    let built = match text_of(&own, arguments.clone()) {
                        Some(text) => self.builder.argument(text),
                        None => self.builder.arguments(arguments.clone()),
                    };
                    // Of a relation it is given no more than the name.
                    let built = if names_relation(&own) { built.min(Built::Quoted) } else { built };
                    (self.tell)(Mention::Builds(built));
                }
                if own.starts_with(b"schema_to") || own.starts_with(b"database_to") {
                    (self.tell)(Mention::AnyRelation);
                }
            }
            if makes_types(&own) && !names_its_types(&own, arguments.clone(), &mut self.tell) {
                (self.tell)(Mention::AnyType);
            }
            if !is_harmless(&own) && !runs_text(&own) {
                let built = self.builder.arguments(arguments.clone());
                if built > Built::Quoted {
                    (self.tell)(Mention::Hands(schema, &own, built));
                }
            }
            (self.tell)(Mention::Call(schema, &own, arguments));
        }
        if qualified && !called {
            (self.tell)(Mention::Field(&own));
        }
        let bit = self.bit();
        let listed = self.from & bit != 0 && (prev.is(b',') || prev.is(b'('));
        let emptied = self.head == K::Truncate && (prev.keyword == K::Truncate || prev.is(b','));
        let begins = matches!(prev.keyword, K::From | K::Join | K::Only | K::Table | K::Update | K::Using);
        let is_cte = schema.is_none() && self.ctes.has(&own);
        if target || emptied || !called && !is_cte && (listed || begins && prev2.keyword != K::Distinct) {
            (self.tell)(Mention::Relation(schema, &own));
        }
        let in_query = self.query & bit != 0 && bit != u64::MAX;
        let in_cast = prev.keyword == K::As && self.cast & bit != 0;
        let words = prev.keyword.names() && (prev.keyword == K::Rows || !prev.keyword.opens_clause(prev2));
        let declared = prev.is_name() && words && self.from & bit == 0 || prev.keyword == K::Returning;
        let everywhere = self.body || self.head == K::Prepare;
        // `(value).name` casts the value where there is no such field; a row's name in front of it cannot be cast so.
        let of_value = qualified && !called && !second.is_name();
        let by_place = !in_query && (everywhere || !target && declared) || of_value;
        if is_cast || in_cast || next.is_str() || by_place || !target && !names_columns && called {
            (self.tell)(Mention::Type(schema, &own));
        }
    }

    /// Whether a name behind these tokens, with a parenthesis behind it, is an alias with columns: `FROM t AS a (x)` without AS.
    fn is_alias(&self, prev: Token, prev2: Token) -> bool {
        let bit = self.bit();
        let listed = self.from & self.query & bit != 0 && self.on & bit == 0 && bit != u64::MAX;
        let named = prev.is_name() && prev.keyword.names() && !prev.keyword.opens_clause(prev2);
        !self.body && listed && (named || prev.is(b')'))
    }
}

#[cfg(test)]
#[path = "mentions_tests.rs"]
mod tests;
