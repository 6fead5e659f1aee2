//! How a text that is about to be run is put together, and so whether its own constants, and what its function is given, tell what it
//! can be. A constant is read; a name or a value between constants that `quote_ident`, `quote_literal` or `format` has quoted stays
//! one; what a function is given is read where it is called. Whatever else goes into a text, a row or `reverse(…)`, may be anything.

use std::cell::OnceCell;

use super::variables::{Known, Variables};
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

/// One part of a text.
#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Text(Vec<u8>),
    /// A name or value that is quoted where it has to be, and how what it was made of is built.
    Quoted(Built),
    /// What the function is given.
    Given,
    /// A variable to which texts of that kind are assigned, and whether each of them ends outside quotes.
    Variable(Built, bool),
}

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

    fn variables(&self) -> &Variables<'a> {
        self.variables.get_or_init(|| match self.place {
            Place::Statement => Variables::default(),
            Place::Body | Place::Constant => Variables::of(self.whole.clone()),
        })
    }
}

struct Reading<'b, 'a> {
    builder: &'b Builder<'a>,
    left: usize,
    depth: u8,
    /// Variables whose assignments are being read.
    under_way: Vec<Vec<u8>>,
    /// Names that are not declared may be columns.
    columns: bool,
}

impl<'a> Reading<'_, 'a> {
    fn next(&mut self, lexer: &mut Lexer<'a>) -> Option<Token> {
        self.left = self.left.checked_sub(1)?;
        Some(lexer.next())
    }

    /// The parts of an expression, up to what ends it, which is left in front of the lexer. None: it may be anything.
    fn expression(&mut self, lexer: &mut Lexer<'a>) -> Option<Vec<Piece>> {
        let mut pieces = Vec::new();
        loop {
            pieces.extend(self.term(lexer)?);
            let mut ahead = lexer.clone();
            let token = self.next(&mut ahead)?;
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
        let text = lexer.text();
        let token = self.next(lexer)?;
        let pieces = match token.shape {
            Shape::Str(_) => vec![Piece::Text(decode(token, text))],
            Shape::Number => vec![Piece::Text(token.text(text).to_vec())],
            Shape::Param if self.builder.place == Place::Constant => return None,
            Shape::Param => vec![Piece::Given],
            Shape::Punct(b'(') => {
                let inner = self.deeper(|own| own.expression(lexer))?;
                if !self.next(lexer)?.is(b')') {
                    return None;
                }
                inner
            }
            Shape::Word if matches!(token.keyword, K::True | K::False | K::Null) => number(),
            Shape::Punct(b'-') if self.next(lexer)?.shape == Shape::Number => number(),
            _ if token.is_name() => self.named(token, lexer)?,
            _ => return None,
        };
        self.cast(pieces, lexer)
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
                return if own { self.call(&last, lexer) } else { None };
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
        self.variable(first).map(|piece| vec![piece])
    }

    fn variable(&mut self, name: Vec<u8>) -> Option<Piece> {
        if self.under_way.contains(&name) {
            // Whatever else is assigned to it counts where its assignments are read.
            return Some(Piece::Variable(Built::Constant, true));
        }
        match self.builder.variables().of_name(&name) {
            Known::Filled => None,
            Known::Assigned(all) => {
                let all = all.to_vec();
                self.under_way.push(name);
                let (mut worst, mut balanced) = (Built::Constant, true);
                for mut expression in all {
                    let pieces = self.deeper(|own| own.expression(&mut expression))?;
                    let (built, ends_plain) = built_and_balanced(&pieces);
                    (worst, balanced) = (worst.max(built), balanced && ends_plain);
                }
                self.under_way.pop();
                (worst < Built::Open).then_some(Piece::Variable(worst, balanced))
            }
            Known::Declared => Some(Piece::Given),
            Known::Not if self.builder.place == Place::Body && !self.columns => Some(Piece::Given),
            Known::Not => None,
        }
    }

    /// What one of the functions makes that are known to put nothing else into a text.
    fn call(&mut self, function: &[u8], lexer: &mut Lexer<'a>) -> Option<Vec<Piece>> {
        let arguments = self.deeper(|own| own.list(lexer))?;
        match function {
            b"quote_ident" | b"quote_literal" | b"quote_nullable" => {
                let inner = arguments.iter().map(of_one).max().unwrap_or_default();
                return Some(vec![Piece::Quoted(inner)]);
            }
            b"format" => return format(arguments),
            _ => {}
        }
        let mut all: Vec<Vec<Piece>> = arguments.into_iter().collect::<Option<_>>()?;
        match function {
            b"concat" => Some(all.concat()),
            b"concat_ws" if !all.is_empty() => {
                let between = all.remove(0);
                Some(all.join(&between[..]))
            }
            b"lower" | b"upper" | b"btrim" if all.len() == 1 => all.pop(),
            b"coalesce" => {
                let worst = all.iter().map(|pieces| built(pieces)).max()?;
                (worst < Built::Open).then(|| vec![Piece::Variable(worst, false)])
            }
            _ => None,
        }
    }

    /// The arguments of a call, up to behind its closing parenthesis; those that may be anything are None.
    fn list(&mut self, lexer: &mut Lexer<'a>) -> Option<Vec<Option<Vec<Piece>>>> {
        let mut all = Vec::new();
        let mut ahead = lexer.clone();
        if self.next(&mut ahead)?.is(b')') {
            *lexer = ahead;
            return Some(all);
        }
        loop {
            self.skip_argument_name(lexer)?;
            let mut inside = lexer.clone();
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
            *lexer = ahead;
            match &*name(kind, lexer.text()) {
                b"text" | b"varchar" | b"name" => {}
                b"regclass" | b"regtype" | b"regrole" | b"regnamespace" => pieces = vec![Piece::Quoted(Built::Open)],
                b"oid" | b"int" | b"integer" | b"bigint" | b"smallint" | b"int2" | b"int4" | b"int8" | b"numeric"
                | b"boolean" | b"bool" | b"date" | b"timestamp" | b"timestamptz" | b"uuid" => {
                    pieces = number();
                }
                _ => return None,
            }
        }
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
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
fn number() -> Vec<Piece> {
    vec![Piece::Text(b"0".to_vec())]
}

/// Whether an expression ends in front of this token.
fn ends(token: Token, text: &[u8]) -> bool {
    matches!(token.shape, Shape::End | Shape::Punct(b';' | b',' | b')'))
        || matches!(token.keyword, K::Into | K::Using)
        || token.shape == Shape::Word && token.text(text).eq_ignore_ascii_case(b"loop")
}

/// What `format` makes of its arguments.
fn format(arguments: Vec<Option<Vec<Piece>>>) -> Option<Vec<Piece>> {
    let mut arguments = arguments.into_iter();
    let first = arguments.next()??;
    let given: Vec<_> = arguments.collect();
    let [Piece::Text(pattern)] = &*first else { return given.is_empty().then_some(first) };
    let (mut pieces, mut chunk, mut at) = (Vec::new(), Vec::new(), 0);
    let mut rest = pattern.iter().copied();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            chunk.push(byte);
            continue;
        }
        let mut digits = 0_usize;
        let kind = loop {
            match rest.next()? {
                digit @ b'0'..=b'9' => digits = digits.saturating_mul(10).saturating_add(usize::from(digit - b'0')),
                b'$' => at = std::mem::take(&mut digits).checked_sub(1)?,
                b'-' => {}
                kind => break kind,
            }
        };
        if kind == b'%' {
            chunk.push(kind);
            continue;
        }
        pieces.push(Piece::Text(std::mem::take(&mut chunk)));
        match kind {
            b'I' | b'L' => pieces.push(Piece::Quoted(of_one(given.get(at)?))),
            b's' => pieces.extend(given.get(at)?.clone()?),
            _ => return None,
        }
        at += 1;
    }
    pieces.push(Piece::Text(chunk));
    Some(pieces)
}

/// What the parts make together.
fn built(pieces: &[Piece]) -> Built {
    built_and_balanced(pieces).0
}

/// The same, and whether the text ends outside quotes whatever it is given.
fn built_and_balanced(pieces: &[Piece]) -> (Built, bool) {
    let full: Vec<&Piece> =
        pieces.iter().filter(|piece| !matches!(piece, Piece::Text(text) if text.is_empty())).collect();
    if let [Piece::Variable(alone, balanced)] = &*full {
        return (*alone, *balanced);
    }
    let open = (Built::Open, false);
    let mut worst = Built::Constant;
    // The constants ahead of a part, as one text; and whether something stands among them that may open a quote.
    let (mut ahead, mut unknown) = (Vec::<u8>::new(), false);
    for (at, piece) in full.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| full.get(at)).copied();
        let behind = full.get(at + 1).copied();
        let alone = |ahead: &[u8]| !hides_context(ahead) && stands_alone(before, behind);
        match piece {
            Piece::Text(text) => ahead.extend_from_slice(text),
            Piece::Quoted(inner) => {
                if !stays_quoted(&ahead, behind) || unknown && *inner == Built::Open {
                    return open;
                }
                worst = worst.max(if unknown { Built::Given } else { Built::Quoted });
                ahead.extend_from_slice(b" x ");
            }
            Piece::Given | Piece::Variable(..) if !alone(&ahead) => return open,
            Piece::Given => {
                (worst, unknown) = (Built::Given, true);
                ahead.extend_from_slice(b" x ");
            }
            Piece::Variable(built, balanced) => {
                (worst, unknown) = (worst.max(*built), unknown || !balanced);
                ahead.extend_from_slice(b" x ");
            }
        }
    }
    (worst, !unknown && is_balanced(&ahead))
}

fn is_balanced(text: &[u8]) -> bool {
    let even = |quote: u8| memchr::memchr_iter(quote, text).count().is_multiple_of(2);
    even(b'\'') && even(b'"') && !hides_context(text)
}

fn of_one(pieces: &Option<Vec<Piece>>) -> Built {
    pieces.as_ref().map_or(Built::Open, |pieces| built(pieces))
}

fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..)
}

/// Whether a quoted name or value behind that text stays a name or a value, and calls nothing.
fn stays_quoted(ahead: &[u8], behind: Option<&Piece>) -> bool {
    let called = matches!(behind, Some(Piece::Text(text)) if begins_call(text))
        || matches!(behind, Some(Piece::Given | Piece::Variable(..)));
    let word = ahead.iter().rposition(|byte| !is_letter(*byte)).map_or(0, |at| at + 1);
    // Where a statement begins a name would say which.
    let begun = ahead.get(..word).unwrap_or_default().trim_ascii_end();
    let runs = memchr::memmem::find(&ahead.to_ascii_lowercase(), b"execute").is_some();
    is_balanced(ahead) && !called && !runs && !begun.is_empty() && !begun.ends_with(b";")
}

/// Whether a name in front of that text is called, with the letters that it begins with or without them.
fn begins_call(text: &[u8]) -> bool {
    let letters = text.iter().position(|byte| !is_letter(*byte)).unwrap_or(text.len());
    text.get(letters..).unwrap_or_default().trim_ascii_start().starts_with(b"(")
}

/// Whether what follows that text may be read otherwise than by itself: in a comment, a dollar-quoted constant, behind a backslash.
fn hides_context(ahead: &[u8]) -> bool {
    let dollar = ahead
        .windows(2)
        .any(|two| matches!(two, [b'$', next] if *next == b'$' || next.is_ascii_alphabetic() || *next == b'_'));
    let find = |what: &[u8]| memchr::memmem::find(ahead, what).is_some();
    dollar || find(b"\\") || find(b"--") || find(b"/*")
}

/// Whether what is given stands between constants so that no word reaches beyond it.
fn stands_alone(before: Option<&Piece>, behind: Option<&Piece>) -> bool {
    let ahead = match before {
        None => true,
        Some(Piece::Text(text)) => !text.trim_ascii().is_empty() && !text.last().copied().is_some_and(is_letter),
        Some(_) => false,
    };
    ahead
        && match behind {
            None => true,
            Some(Piece::Text(text)) => {
                let rest = text.trim_ascii_start();
                !rest.is_empty() && !rest.starts_with(b"(") && !text.first().copied().is_some_and(is_letter)
                    || rest.is_empty()
            }
            Some(_) => false,
        }
}

#[cfg(test)]
#[path = "built_tests.rs"]
mod tests;
