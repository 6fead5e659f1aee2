//! Reads the head of a statement word by word, where its grammar matters.

use super::keyword::Keyword;
use super::lexer::{Lexer, Shape, Token};
use super::literal;
use crate::sql::statement::Name;

/// A token in hand and the lexer behind it.
#[derive(Clone)]
pub(in crate::sql) struct Cursor<'a> {
    lexer: Lexer<'a>,
    /// The token in hand.
    pub now: Token,
}

impl<'a> Cursor<'a> {
    /// Stands on the first token of the text from `start` to before `end`.
    pub fn new(lexer: &Lexer<'a>, start: u32, end: u32) -> Self {
        let mut lexer = lexer.part(start, end);
        let now = lexer.next();
        Self { lexer, now }
    }

    pub fn text(&self) -> &'a [u8] {
        self.lexer.text()
    }

    pub fn bump(&mut self) -> Token {
        std::mem::replace(&mut self.now, self.lexer.next())
    }

    /// The token after the one in hand.
    pub fn after(&self) -> Token {
        self.lexer.clone().next()
    }

    pub fn at(&self, keyword: Keyword) -> bool {
        self.now.keyword == keyword && keyword != Keyword::None
    }

    pub fn eat(&mut self, keyword: Keyword) -> bool {
        let found = self.at(keyword);
        if found {
            self.bump();
        }
        found
    }

    pub fn eat_punct(&mut self, punct: u8) -> bool {
        let found = self.now.is(punct);
        if found {
            self.bump();
        }
        found
    }

    pub fn at_end(&self) -> bool {
        self.now.shape == Shape::End
    }

    /// Takes an identifier.
    pub fn name(&mut self) -> Option<Name> {
        self.now.is_name().then(|| literal::name(self.bump(), self.lexer.text()).into())
    }

    /// Takes `name [. name]*`.
    pub fn dotted_name(&mut self) -> Option<Name> {
        let mut whole = self.name()?.into_vec();
        while self.eat_punct(b'.') {
            whole.push(b'.');
            whole.extend_from_slice(&self.name()?);
        }
        Some(whole.into())
    }

    /// Skips a parenthesised group that begins here; gives where its inside starts and ends.
    pub fn group(&mut self) -> Option<(u32, u32)> {
        if !self.now.is(b'(') {
            return None;
        }
        let start = self.now.end;
        let mut depth = 0u32;
        loop {
            let token = self.bump();
            match token.shape {
                Shape::Punct(b'(') => depth += 1,
                Shape::Punct(b')') => depth -= 1,
                Shape::End => return None,
                _ => {}
            }
            if depth == 0 {
                return Some((start, token.start));
            }
        }
    }
}
