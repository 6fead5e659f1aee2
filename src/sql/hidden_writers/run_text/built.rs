//! How a text that is about to be run is put together, and so whether its own constants, and what its function is given, tell what it
//! can be. A constant is read; a name or a value between constants that `quote_ident`, `quote_literal` or `format` has quoted stays
//! one; what a function is given is read where it is called. Whatever else goes into a text, a row or `reverse(…)`, may be anything.

use std::cell::OnceCell;

use super::calls::is_time;
use super::pieces::{Edges, Piece, built, grown, of_one, one_of};
use super::selected::is_empty_array;
use super::types::{Kind, kind as kind_of_type};
use super::variables::{Known, Selected, Variables};
use crate::sql::lex::keyword::Keyword as K;
use crate::sql::lex::lexer::{Lexer, Shape, Token};
use crate::sql::lex::literal::{decode, name};

/// What is known of such a text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(in crate::sql::hidden_writers) enum Built {
    /// It is made of constants.
    #[default]
    Constant,
    /// Constants with quoted names and values between them.
    Quoted,
    /// Constants, and what its function or statement is given.
    Given,
    /// It may be anything.
    Open,
}

/// Where the expression of a text stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::sql::hidden_writers) enum Place {
    /// In a statement: a name is a column.
    Statement,
    /// In the body of a function: a name is a variable or a parameter.
    Body,
    /// In a constant: a name is a variable if the constant, the body of a DO, declares it.
    Constant,
}

/// Tokens of an expression that are looked at; what a longer one makes may be anything.
const MOST_TOKENS: usize = 4096;

/// Variables that are assigned from one another, and calls in calls, up to this depth.
const DEEPEST: u8 = 12;

/// Reads the expressions of one text.
pub(in crate::sql::hidden_writers) struct Builder<'a> {
    whole: Lexer<'a>,
    place: Place,
    variables: OnceCell<Variables<'a>>,
}

impl<'a> Builder<'a> {
    pub fn new(whole: Lexer<'a>, place: Place) -> Self {
        Self { whole, place, variables: OnceCell::new() }
    }

    /// How the text is built whose expression the lexer stands in front of: behind EXECUTE.
    pub fn text(&self, mut lexer: Lexer<'a>) -> Built {
        let mut reading = Reading { builder: self, left: MOST_TOKENS, depth: 0, under_way: Vec::new(), columns: false };
        reading.expression(&mut lexer).map_or(Built::Open, |pieces| built(&pieces))
    }

    /// How the arguments of a call are built, the worst of them; the lexer stands behind its parenthesis.
    pub fn arguments(&self, mut lexer: Lexer<'a>) -> Built {
        let columns = self.place == Place::Body && self.variables().reads_tables;
        let mut reading = Reading { builder: self, left: MOST_TOKENS, depth: 0, under_way: Vec::new(), columns };
        let Some(all) = reading.list(&mut lexer) else { return Built::Open };
        all.iter().map(of_one).max().unwrap_or_default()
    }

    /// How one argument is built; the lexer stands in front of it.
    pub fn argument(&self, mut lexer: Lexer<'a>) -> Built {
        let columns = self.place == Place::Body && self.variables().reads_tables;
        let mut reading = Reading { builder: self, left: MOST_TOKENS, depth: 0, under_way: Vec::new(), columns };
        reading.expression(&mut lexer).map_or(Built::Open, |pieces| built(&pieces))
    }

    fn variables(&self) -> &Variables<'a> {
        self.variables.get_or_init(|| match self.place {
            Place::Statement => Variables::default(),
            Place::Body | Place::Constant => Variables::of(self.whole.clone()),
        })
    }
}

pub(super) struct Reading<'b, 'a> {
    builder: &'b Builder<'a>,
    left: usize,
    depth: u8,
    /// Variables whose assignments are being read.
    under_way: Vec<Vec<u8>>,
    /// Names that are not declared may be columns.
    pub(super) columns: bool,
}

impl<'a> Reading<'_, 'a> {
    pub(super) fn next(&mut self, lexer: &mut Lexer<'a>) -> Option<Token> {
        self.left = self.left.checked_sub(1)?;
        Some(lexer.next())
    }

    /// The parts of an expression, up to what ends it, which is left in front of the lexer. None: it may be anything.
    pub(super) fn expression(&mut self, lexer: &mut Lexer<'a>) -> Option<Vec<Piece>> {
        self.expression_up_to(lexer, ends)
    }

    /// The same of an item of a SELECT list, which may be followed by a name of its own.
    pub(super) fn expression_in_list(&mut self, lexer: &mut Lexer<'a>) -> Option<Vec<Piece>> {
        self.expression_up_to(lexer, |token, text| ends(token, text) || token.is_name())
    }

    fn expression_up_to(&mut self, lexer: &mut Lexer<'a>, ends: fn(Token, &[u8]) -> bool) -> Option<Vec<Piece>> {
        let mut pieces = Vec::new();
        loop {
            let mut term = self.term(lexer)?;
            let mut ahead = lexer.clone();
            let mut token = self.next(&mut ahead)?;
            while matches!(token.shape, Shape::Punct(b'+' | b'-' | b'*' | b'/' | b'%')) {
                // What numbers make is one.
                *lexer = ahead;
                let other = self.term(lexer)?;
                if !(is_number(&term) && is_number(&other)) {
                    return None;
                }
                term = number();
                ahead = lexer.clone();
                token = self.next(&mut ahead)?;
            }
            pieces.extend(term);
            if ends(token, lexer.text()) {
                return Some(pieces);
            }
            let second = self.next(&mut ahead)?;
            if !(token.is(b'|') && second.is(b'|') && second.start == token.end) {
                return None;
            }
            *lexer = ahead;
        }
    }

    fn term(&mut self, lexer: &mut Lexer<'a>) -> Option<Vec<Piece>> {
        let pieces = self.uncast(lexer)?;
        let pieces = self.cast(pieces, lexer)?;
        (!pieces.contains(&Piece::Open)).then_some(pieces)
    }

    /// A term without the cast behind it, which may make a number of anything.
    fn uncast(&mut self, lexer: &mut Lexer<'a>) -> Option<Vec<Piece>> {
        let text = lexer.text();
        let token = self.next(lexer)?;
        Some(match token.shape {
            Shape::Str(_) => vec![Piece::Text(decode(token, text))],
            Shape::Number => vec![Piece::Text(token.text(text).to_vec())],
            Shape::Param if self.builder.place == Place::Constant => return None,
            Shape::Param => vec![self.parameter(token.text(text))],
            Shape::Punct(b'(') => {
                let mut inside = lexer.clone();
                let mut ahead = lexer.clone();
                if self.next(&mut ahead)?.keyword == K::Select {
                    let item = self.only_item(ahead);
                    self.skip_group(lexer)?;
                    return Some(vec![item.map_or(Piece::Open, |item| one_of(&[item]))]);
                }
                match self.deeper(|own| own.expression(&mut inside)) {
                    Some(inner) if self.next(&mut inside)?.is(b')') => {
                        *lexer = inside;
                        inner
                    }
                    _ => {
                        self.skip_group(lexer)?;
                        vec![Piece::Open]
                    }
                }
            }
            Shape::Word if token.keyword == K::Case => self.branches(lexer)?,
            Shape::Word if token.keyword == K::Array => vec![self.array(lexer)?],
            Shape::Word if matches!(token.keyword, K::True | K::False) => vec![Piece::Text(token.text(text).to_vec())],
            Shape::Word if token.keyword == K::Null => vec![Piece::Text(Vec::new())],
            Shape::Word if is_time(token, text) => number(),
            Shape::Punct(b'-') if self.next(lexer)?.shape == Shape::Number => number(),
            _ if token.is_name() => self.named(token, lexer)?,
            _ => return None,
        })
    }

    /// Goes behind the end of a group in parentheses.
    pub(super) fn skip_group(&mut self, lexer: &mut Lexer<'a>) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            let token = self.next(lexer)?;
            match token.shape {
                Shape::Punct(b'(') => depth += 1,
                Shape::Punct(b')') if depth == 0 => return Some(()),
                Shape::Punct(b')') => depth -= 1,
                Shape::End => return None,
                _ => {}
            }
        }
    }

    /// What a CASE may be; the lexer stands behind that word.
    fn branches(&mut self, lexer: &mut Lexer<'a>) -> Option<Vec<Piece>> {
        let (mut all, mut open, mut inner) = (Vec::new(), false, 0_usize);
        loop {
            let token = self.next(lexer)?;
            match (token.shape, token.keyword) {
                (Shape::End | Shape::Punct(b';'), _) => return None,
                (Shape::Punct(b'('), _) => self.skip_group(lexer)?,
                (_, K::Case) => inner += 1,
                (_, K::End) if inner > 0 => inner -= 1,
                (_, K::End) => break,
                (_, K::Then | K::Else) if inner == 0 => {
                    let mut branch = lexer.clone();
                    match self.deeper(|own| own.expression(&mut branch)) {
                        Some(pieces) => {
                            all.push(pieces);
                            *lexer = branch;
                        }
                        None => open = true,
                    }
                }
                _ => {}
            }
        }
        Some(vec![if open { Piece::Open } else { one_of(&all) }])
    }

    /// What a name stands for: a call or a variable.
    fn named(&mut self, token: Token, lexer: &mut Lexer<'a>) -> Option<Vec<Piece>> {
        let text = lexer.text();
        let first = name(token, text);
        let (mut last, mut parts) = (first.clone(), 1);
        loop {
            let mut ahead = lexer.clone();
            let next = self.next(&mut ahead)?;
            if next.is(b'(') {
                *lexer = ahead;
                let own = parts == 1 || parts == 2 && first == b"pg_catalog";
                if own {
                    return self.call(&last, lexer);
                }
                self.skip_group(lexer)?;
                return Some(vec![Piece::Open]);
            }
            if next.is(b'[') {
                while !self.next(&mut ahead)?.is(b']') {}
                *lexer = ahead;
                continue;
            }
            if !next.is(b'.') {
                break;
            }
            *lexer = ahead;
            let part = self.next(lexer)?;
            if !part.is_name() {
                return None;
            }
            (last, parts) = (name(part, text), parts + 1);
        }
        let plain = token.shape != Shape::Word || token.keyword.names();
        if !plain {
            return None;
        }
        Some(vec![match parts {
            1 => self.by_type(&first).unwrap_or_else(|| self.variable(first)),
            2 => self.field_of(&first, &last).unwrap_or_else(|| self.variable(first)),
            _ => self.variable(first),
        }])
    }

    /// What is given, unless something else is put into it.
    fn parameter(&mut self, name: &[u8]) -> Piece {
        let changes = matches!(self.builder.variables().of_name(name), Known::Filled | Known::Assigned(..));
        let given = |own: &mut Self| if changes { own.variable(name.to_vec()) } else { Piece::Given };
        self.by_type(name).unwrap_or_else(|| given(self))
    }

    /// The constant that the first argument of a call is: a variable that has no other value, or had none before this very call,
    /// which makes the next of it.
    pub(super) fn constant_variable(&mut self, mut lexer: Lexer<'a>) -> Option<Vec<u8>> {
        let token = self.next(&mut lexer)?;
        let alone = matches!(self.next(&mut lexer)?.shape, Shape::Punct(b',' | b')'));
        let own = name(token, lexer.text());
        if !alone || !token.is_name() || self.builder.place != Place::Body {
            return None;
        }
        let Known::Assigned(all, []) = self.builder.variables().of_name(&own) else { return None };
        let (mut found, mut others) = (None, 0_usize);
        let values = all.to_vec();
        for mut value in values {
            let (token, behind) = (self.next(&mut value)?, self.next(&mut value)?);
            if !token.is_str() || !ends(behind, value.text()) {
                others += 1;
            } else if let constant = decode(token, value.text())
                && found.replace(constant.clone()).is_some_and(|known| known != constant)
            {
                return None;
            }
        }
        let once = self.under_way.contains(&own) && others == 1 && !self.builder.variables().loops;
        found.filter(|_| others == 0 || once)
    }

    /// What a variable or parameter is by its type.
    fn by_type(&self, name: &[u8]) -> Option<Piece> {
        Some(match self.builder.variables().kind(name)? {
            Kind::Number => Piece::Number,
            Kind::Numbers => Piece::Array(vec![number()]),
            Kind::Name => Piece::Quoted(Built::Open),
        })
    }

    /// What a field of a record is, where nothing but queries that can be read fills that.
    fn field_of(&mut self, record: &[u8], field: &[u8]) -> Option<Piece> {
        let Known::Assigned([], queries) = self.builder.variables().of_name(record) else { return None };
        let queries = queries.to_vec();
        let own = record.to_vec();
        if self.under_way.contains(&own) {
            return None;
        }
        self.under_way.push(own);
        let found = self.deeper(|reading| reading.field(&queries, field));
        self.under_way.pop();
        Some(found.unwrap_or(Piece::Open))
    }

    fn variable(&mut self, name: Vec<u8>) -> Piece {
        if self.under_way.contains(&name) {
            // Whatever else is assigned to it counts where its assignments are read.
            return Piece::Variable(Built::Constant, true, Edges::UNKNOWN);
        }
        match self.builder.variables().of_name(&name) {
            Known::Filled => Piece::Open,
            Known::Assigned(all, queries) => {
                let (all, queries) = (all.to_vec(), queries.to_vec());
                self.under_way.push(name.clone());
                let found = self.assigned(&name, all, &queries);
                self.under_way.pop();
                found
            }
            Known::Declared => Piece::Given,
            Known::Not if self.builder.place == Place::Body && !self.columns => Piece::Given,
            Known::Not => Piece::Open,
        }
    }

    /// What a variable is by the expressions that are assigned to it.
    fn assigned(&mut self, name: &[u8], all: Vec<Lexer<'a>>, queries: &[Selected<'a>]) -> Piece {
        let (mut bases, mut added, mut whole) = (Vec::new(), Vec::new(), Vec::new());
        let mut arrays = Vec::new();
        for query in queries {
            match self.deeper(|reading| reading.selected(query)) {
                Some(pieces) => whole.push(pieces),
                None => return Piece::Open,
            }
        }
        arrays.extend(whole.iter().filter_map(|pieces| elements(pieces)).flatten());
        let mut others = whole.iter().filter(|pieces| elements(pieces).is_none()).count();
        for expression in all {
            let mut own = expression.clone();
            // Behind an expression there may be a FROM: the two are a query without its SELECT.
            let read = self.deeper(|reading| reading.expression(&mut own));
            let read = read.or_else(|| self.deeper(|reading| reading.only_item(expression.clone())));
            let Some(pieces) = read else { return Piece::Open };
            match (self.behind_itself(name, expression), &*pieces) {
                (Some(mut rest), _) => match self.deeper(|reading| reading.expression(&mut rest)) {
                    Some(rest) => added.push(rest),
                    None => return Piece::Open,
                },
                (None, one) if elements(one).is_some() => arrays.extend(elements(one).unwrap_or_default()),
                (None, [Piece::Text(text)]) => bases.push(text.clone()),
                (None, _) => others += 1,
            }
            whole.push(pieces);
        }
        if bases.is_empty() && others == 0 && whole.len() > added.len() {
            // An array, with what is added to it.
            let more = added.into_iter().flat_map(|one| elements(&one).unwrap_or_else(|| vec![one]));
            arrays.extend(more);
            return Piece::Array(arrays);
        }
        if whole.iter().all(|pieces| matches!(&**pieces, [Piece::Given])) {
            return Piece::Given;
        }
        let grows = !added.is_empty() && !bases.is_empty() && bases.len() + added.len() == whole.len();
        if grows { grown(&bases, &added) } else { one_of(&whole) }
    }

    /// `name || …`: what stands behind.
    fn behind_itself(&mut self, own: &[u8], mut lexer: Lexer<'a>) -> Option<Lexer<'a>> {
        let mut first = self.next(&mut lexer)?;
        if first.is_name() && name(first, lexer.text()) == b"array_append" {
            let opened = self.next(&mut lexer)?.is(b'(');
            first = self.next(&mut lexer)?;
            let itself = opened && first.is_name() && name(first, lexer.text()) == own;
            return (itself && self.next(&mut lexer)?.is(b',')).then_some(lexer);
        }
        let (one, two) = (self.next(&mut lexer)?, self.next(&mut lexer)?);
        let itself = first.is_name() && name(first, lexer.text()) == own;
        (itself && one.is(b'|') && two.is(b'|') && two.start == one.end).then_some(lexer)
    }

    /// The arguments of a call, up to behind its closing parenthesis; those that may be anything are None.
    pub(super) fn list(&mut self, lexer: &mut Lexer<'a>) -> Option<Vec<Option<Vec<Piece>>>> {
        let mut all = Vec::new();
        let mut ahead = lexer.clone();
        if self.next(&mut ahead)?.is(b')') {
            *lexer = ahead;
            return Some(all);
        }
        loop {
            self.skip_argument_name(lexer)?;
            let mut inside = lexer.clone();
            if self.next(&mut inside)?.keyword != K::Distinct {
                inside = lexer.clone();
            }
            let pieces = self.expression(&mut inside);
            // Where it could be read the end is in front; else it is sought.
            if pieces.is_some() {
                *lexer = inside;
            }
            all.push(pieces);
            let mut depth = 0_usize;
            loop {
                let token = self.next(lexer)?;
                match token.shape {
                    Shape::Punct(b'(' | b'[') => depth += 1,
                    Shape::Punct(b')') if depth == 0 => return Some(all),
                    Shape::Punct(b')' | b']') => depth = depth.saturating_sub(1),
                    Shape::Punct(b',') if depth == 0 => break,
                    Shape::End => return None,
                    _ => {}
                }
            }
        }
    }

    /// `name =>` or `name :=` in front of an argument.
    fn skip_argument_name(&mut self, lexer: &mut Lexer<'a>) -> Option<()> {
        let mut ahead = lexer.clone();
        let first = self.next(&mut ahead)?;
        let (one, two) = (self.next(&mut ahead)?, self.next(&mut ahead)?);
        let arrow = one.is(b'=') && two.is(b'>') || one.is(b':') && two.is(b'=');
        if first.is_name() && arrow && two.start == one.end {
            *lexer = ahead;
        }
        Some(())
    }

    /// `::type` behind a term.
    fn cast(&mut self, mut pieces: Vec<Piece>, lexer: &mut Lexer<'a>) -> Option<Vec<Piece>> {
        loop {
            let mut ahead = lexer.clone();
            let (one, two) = (self.next(&mut ahead)?, self.next(&mut ahead)?);
            if !(one.is(b':') && two.is(b':') && two.start == one.end) {
                return Some(pieces);
            }
            let mut kind = self.next(&mut ahead)?;
            if name(kind, ahead.text()) == b"pg_catalog" {
                let mut further = ahead.clone();
                if self.next(&mut further)?.is(b'.') {
                    kind = self.next(&mut further)?;
                    ahead = further;
                }
            }
            let mut further = ahead.clone();
            let array = self.next(&mut further)?.is(b'[');
            if array {
                while !self.next(&mut further)?.is(b']') {}
                ahead = further;
            }
            *lexer = ahead;
            let kind = name(kind, lexer.text());
            pieces = match (&*kind, kind_of_type(&kind)) {
                (b"text" | b"varchar" | b"name", _) if !array || elements(&pieces).is_some() => pieces,
                (_, Some(Kind::Number)) if array => vec![Piece::Array(vec![number()])],
                (_, Some(Kind::Number)) => number(),
                (_, Some(Kind::Name)) if !array => vec![Piece::Quoted(Built::Open)],
                _ => return None,
            };
        }
    }

    pub(super) fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        if self.depth >= DEEPEST {
            return None;
        }
        self.depth += 1;
        let found = read(self);
        self.depth -= 1;
        found
    }
}

/// What has no letters that anybody could choose is as good as a number.
pub(super) fn number() -> Vec<Piece> {
    vec![Piece::Number]
}

fn is_number(pieces: &[Piece]) -> bool {
    match pieces {
        [Piece::Number] => true,
        [Piece::Text(text)] => text.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.'),
        _ => false,
    }
}

/// The texts of which each element of an array is one; None: it is no array.
pub(super) fn elements(pieces: &[Piece]) -> Option<Vec<Vec<Piece>>> {
    match pieces {
        [Piece::Array(all)] => Some(all.clone()),
        pieces => is_empty_array(pieces).then(Vec::new),
    }
}

/// Whether an expression ends in front of this token.
fn ends(token: Token, text: &[u8]) -> bool {
    matches!(token.shape, Shape::End | Shape::Punct(b';' | b',' | b')' | b']'))
        || matches!(token.keyword, K::Into | K::Using | K::When | K::Then | K::Else | K::End | K::Order)
        || token.shape == Shape::Word && token.text(text).eq_ignore_ascii_case(b"loop")
}

#[cfg(test)]
#[path = "built_tests.rs"]
mod tests;
