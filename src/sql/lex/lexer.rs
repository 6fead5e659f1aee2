//! Tokens, exactly where PostgreSQL's scanner (`src/backend/parser/scan.l`) sees them, in one pass and linear time.
//!
//! Operators are given one character at a time: that finds the same comments inside them (`@--x`, `*/*`) and nothing
//! here needs whole operators. Nested comments are counted, not rescanned. Text must be masked (see `encoding`).

use super::keyword::Keyword;
use memchr::{memchr, memchr2};

/// How a string constant was written, and so how it is decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::sql) enum Flavour {
    /// `'…'` with `standard_conforming_strings` on.
    Plain,
    /// `E'…'`, or `'…'` with it off.
    Escape,
    /// `U&'…'`.
    Unicode,
    /// `$tag$…$tag$`.
    Dollar,
    /// `B'…'` or `X'…'`.
    Bits,
}

/// What a token is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::sql) enum Shape {
    /// End of the text.
    End,
    /// An identifier or keyword without quotes.
    Word,
    /// `"…"`.
    Quoted,
    /// `U&"…"`, with its UESCAPE clause.
    UnicodeQuoted,
    /// A string constant, with its continuations and UESCAPE clause.
    Str(Flavour),
    /// A number.
    Number,
    /// `$1`.
    Param,
    /// One character of punctuation or of an operator.
    Punct(u8),
}

/// A token: its place in the text and what it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::sql) struct Token {
    pub shape: Shape,
    /// Only words have one.
    pub keyword: Keyword,
    /// Escape character of `U&` forms.
    pub escape: u8,
    pub start: u32,
    pub end: u32,
}

impl Token {
    /// Stands where no token is.
    pub const NONE: Token = Token { shape: Shape::End, keyword: Keyword::None, escape: b'\\', start: 0, end: 0 };

    #[inline]
    pub fn is(&self, punct: u8) -> bool {
        self.shape == Shape::Punct(punct)
    }

    #[inline]
    pub fn is_name(&self) -> bool {
        matches!(self.shape, Shape::Word | Shape::Quoted | Shape::UnicodeQuoted)
    }

    /// Whether an expression can end with it.
    pub fn ends_operand(&self) -> bool {
        match self.shape {
            Shape::Word => self.keyword.ends_operand(),
            Shape::Punct(byte) => matches!(byte, b')' | b']'),
            Shape::End => false,
            _ => true,
        }
    }

    #[inline]
    pub fn is_str(&self) -> bool {
        matches!(self.shape, Shape::Str(_))
    }

    /// The token's bytes.
    #[inline]
    pub fn text<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        text.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

const SPACE: u8 = 1;
const START: u8 = 2;
const DIGIT: u8 = 4;
const DOLLAR: u8 = 8;
const IDENT: u8 = START | DIGIT | DOLLAR;

#[expect(clippy::indexing_slicing, reason = "the compiler evaluates it, and stops at an index that is wrong")]
static CLASS: [u8; 256] = {
    let mut class = [0u8; 256];
    let mut b = 0;
    while b < 256 {
        class[b] = match b as u8 {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => SPACE,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80..=0xff => START,
            b'0'..=b'9' => DIGIT,
            b'$' => DOLLAR,
            _ => 0,
        };
        b += 1;
    }
    class
};

#[inline]
#[expect(clippy::indexing_slicing, reason = "the table has a place for each byte")]
fn class(b: u8) -> u8 {
    CLASS[b as usize]
}

/// Whether a byte is white space to PostgreSQL.
pub(in crate::sql) fn is_space(b: u8) -> bool {
    class(b) == SPACE
}

/// Where the literal that was closed just before `at` goes on, if it does: only across white space and `--` comments
/// with at least one newline. Gives the first byte of the next piece.
pub(in crate::sql) fn continuation(text: &[u8], mut at: usize) -> Option<usize> {
    let mut newline = false;
    loop {
        match *text.get(at)? {
            b'\n' | b'\r' => newline = true,
            b'-' if text.get(at + 1) == Some(&b'-') => {
                at += memchr2(b'\n', b'\r', text.get(at..)?)?;
                newline = true;
            }
            b'\'' if newline => return Some(at + 1),
            b if class(b) == SPACE => {}
            _ => return None,
        }
        at += 1;
    }
}

/// Walks over a text; `Clone` makes a cheap look-ahead.
#[derive(Clone)]
#[expect(clippy::struct_excessive_bools, reason = "to become enums with a lifetime")]
pub(in crate::sql) struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    standard_strings: bool,
    /// Looks for UESCAPE after `U&` forms; off in that very look-ahead, or it would recurse.
    joins: bool,
    /// A literal, identifier or comment had no end: the server refuses the whole text.
    pub broken: bool,
}

impl<'a> Lexer<'a> {
    pub fn new(text: &'a [u8], standard_strings: bool) -> Self {
        Self { text, at: 0, standard_strings, joins: true, broken: false }
    }

    /// A lexer for the part of the text from `start` to before `end`.
    pub fn part(&self, start: u32, end: u32) -> Self {
        let text = self.text.get(..end as usize).unwrap_or(self.text);
        Self { text, at: start as usize, standard_strings: self.standard_strings, joins: true, broken: false }
    }

    /// A lexer for another text in the same session.
    pub fn other<'b>(&self, text: &'b [u8]) -> Lexer<'b> {
        Lexer::new(text, self.standard_strings)
    }

    pub fn text(&self) -> &'a [u8] {
        self.text
    }

    #[inline]
    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    #[inline]
    fn token(&self, shape: Shape, start: usize) -> Token {
        Token { shape, keyword: Keyword::None, escape: b'\\', start: start as u32, end: self.at as u32 }
    }

    /// The rest of the text belongs to something that never ends.
    fn give_up(&mut self) {
        self.broken = true;
        self.at = self.text.len();
    }

    /// The next token; `Shape::End` for ever after the last.
    pub fn next(&mut self) -> Token {
        self.step()
    }

    /// As [`Self::next`], for the one loop where a call for each token would show: a token that is returned through
    /// memory field by field and copied whole stalls the processor.
    #[inline(always)]
    pub fn step(&mut self) -> Token {
        loop {
            let start = self.at;
            let Some(b) = self.peek(0) else { return self.token(Shape::End, start) };
            match class(b) {
                SPACE => self.at += 1,
                START => return self.word(start, b),
                DIGIT => return self.number(start),
                DOLLAR => return self.dollar(start),
                _ => match b {
                    b'-' if self.peek(1) == Some(b'-') => {
                        self.at = memchr2(b'\n', b'\r', self.rest()).map_or(self.text.len(), |n| start + n);
                    }
                    b'/' if self.peek(1) == Some(b'*') => self.comment(),
                    b'\'' => {
                        let flavour = if self.standard_strings { Flavour::Plain } else { Flavour::Escape };
                        return self.string(start, start + 1, flavour);
                    }
                    b'"' => return self.quoted(start, start + 1, Shape::Quoted),
                    b'.' if self.peek(1).is_some_and(|c| c.is_ascii_digit()) => return self.number(start),
                    _ => {
                        self.at += 1;
                        return self.token(Shape::Punct(b), start);
                    }
                },
            }
        }
    }

    #[inline(always)]
    fn word(&mut self, start: usize, first: u8) -> Token {
        match (first | 0x20, self.peek(1)) {
            (b'e', Some(b'\'')) => return self.string(start, start + 2, Flavour::Escape),
            (b'b' | b'x', Some(b'\'')) => return self.string(start, start + 2, Flavour::Bits),
            (b'u', Some(b'&')) => match self.peek(2) {
                Some(b'\'') => return self.string(start, start + 3, Flavour::Unicode),
                Some(b'"') => return self.quoted(start, start + 3, Shape::UnicodeQuoted),
                _ => {}
            },
            _ => {}
        }
        let len = self.rest().iter().position(|&b| class(b) & IDENT == 0);
        self.at = len.map_or(self.text.len(), |n| start + n);
        let mut token = self.token(Shape::Word, start);
        token.keyword = Keyword::of(token.text(self.text));
        token
    }

    fn digits(&mut self, more: impl Fn(u8) -> bool) {
        while self.peek(0).is_some_and(&more) {
            self.at += 1;
        }
    }

    fn number(&mut self, start: usize) -> Token {
        let decimal = |b: u8| b.is_ascii_digit() || b == b'_';
        let radix = |b: u8| b.is_ascii_hexdigit() || b == b'_';
        if self.peek(0) == Some(b'0')
            && matches!(self.peek(1), Some(b'x' | b'X' | b'o' | b'O' | b'b' | b'B'))
            && self.peek(2).is_some_and(radix)
        {
            // PostgreSQL 16's notation; an error in 15.
            self.at += 2;
            self.digits(radix);
            return self.token(Shape::Number, start);
        }
        self.digits(|b| b.is_ascii_digit());
        if self.peek(0) == Some(b'_') && self.peek(1).is_some_and(|b| b.is_ascii_digit()) {
            self.digits(decimal);
        }
        if self.peek(0) == Some(b'.') && self.peek(1) != Some(b'.') {
            self.at += 1;
            self.digits(|b| b.is_ascii_digit());
        }
        if matches!(self.peek(0), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(self.peek(1), Some(b'+' | b'-')));
            if self.peek(1 + sign).is_some_and(|b| b.is_ascii_digit()) {
                self.at += 1 + sign;
                self.digits(|b| b.is_ascii_digit());
            }
        }
        self.token(Shape::Number, start)
    }

    fn dollar(&mut self, start: usize) -> Token {
        self.at += 1;
        if self.peek(0).is_some_and(|b| b.is_ascii_digit()) {
            self.digits(|b| b.is_ascii_digit());
            return self.token(Shape::Param, start);
        }
        let rest = self.rest();
        let tag = rest.iter().position(|&b| class(b) & (START | DIGIT) == 0).unwrap_or(rest.len());
        if rest.get(tag) != Some(&b'$') {
            return self.token(Shape::Punct(b'$'), start);
        }
        let fence = self.text.get(start..start + tag + 2).unwrap_or_default();
        self.at = start + fence.len();
        // A match can begin at any dollar of the body, so one look at each is enough.
        while let Some(n) = memchr(b'$', self.rest()) {
            self.at += n;
            if self.rest().starts_with(fence) {
                self.at += fence.len();
                return self.token(Shape::Str(Flavour::Dollar), start);
            }
            self.at += 1;
        }
        self.give_up();
        self.token(Shape::Str(Flavour::Dollar), start)
    }

    fn comment(&mut self) {
        self.at += 2;
        let mut depth = 1u32;
        while let Some(n) = memchr2(b'*', b'/', self.rest()) {
            self.at += n;
            match (self.peek(0), self.peek(1)) {
                (Some(b'/'), Some(b'*')) => {
                    depth += 1;
                    self.at += 2;
                }
                (Some(b'*'), Some(b'/')) => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return;
                    }
                }
                _ => self.at += 1,
            }
        }
        self.give_up();
    }

    fn string(&mut self, start: usize, body: usize, flavour: Flavour) -> Token {
        self.at = body;
        loop {
            let found = match flavour {
                Flavour::Escape => memchr2(b'\'', b'\\', self.rest()),
                _ => memchr(b'\'', self.rest()),
            };
            let Some(n) = found else {
                self.give_up();
                break;
            };
            self.at += n;
            if self.peek(0) == Some(b'\\') {
                self.at += 2;
                continue;
            }
            self.at += 1;
            if flavour != Flavour::Bits && self.peek(0) == Some(b'\'') {
                self.at += 1;
                continue;
            }
            match continuation(self.text, self.at) {
                Some(next) => self.at = next,
                None => break,
            }
        }
        self.at = self.at.min(self.text.len());
        let token = self.token(Shape::Str(flavour), start);
        if flavour == Flavour::Unicode { self.uescape(token) } else { token }
    }

    fn quoted(&mut self, start: usize, body: usize, shape: Shape) -> Token {
        self.at = body;
        loop {
            let Some(n) = memchr(b'"', self.rest()) else {
                self.give_up();
                break;
            };
            self.at += n + 1;
            if self.peek(0) != Some(b'"') {
                break;
            }
            self.at += 1;
        }
        let token = self.token(shape, start);
        if shape == Shape::UnicodeQuoted { self.uescape(token) } else { token }
    }

    /// `UESCAPE 'c'` belongs to the token before it, as in PostgreSQL's `base_yylex`.
    fn uescape(&mut self, mut token: Token) -> Token {
        if !self.joins {
            return token;
        }
        let mut ahead = Self { joins: false, ..self.clone() };
        if ahead.next().keyword != Keyword::Uescape {
            return token;
        }
        let constant = ahead.next();
        if !constant.is_str() {
            return token;
        }
        self.at = ahead.at;
        self.broken |= ahead.broken;
        token.end = constant.end;
        let mut decoded = super::literal::decode(constant, self.text).into_iter();
        match (decoded.next(), decoded.next()) {
            (Some(c), None) if !c.is_ascii_hexdigit() && !b"+'\"".contains(&c) && !is_space(c) => token.escape = c,
            // The server raises an error.
            _ => self.broken = true,
        }
        token
    }
}

#[cfg(test)]
#[path = "lexer_tests.rs"]
mod tests;
