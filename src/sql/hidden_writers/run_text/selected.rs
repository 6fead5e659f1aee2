//! Texts that a query puts together: the items of a SELECT list, of which a variable, a field of a record or an expression in
//! parentheses is one, and what aggregates and arrays make of many.

use super::built::Reading;
use super::pieces::{Piece, is_letter, of_one, one_of};
use super::variables::Selected;
use crate::sql::hidden_writers::run_text::built::Built;
use crate::sql::lex::keyword::Keyword as K;
use crate::sql::lex::lexer::{Lexer, Shape, Token};
use crate::sql::lex::literal::name;

/// Most items of a list that are looked at.
const MOST_ITEMS: usize = 64;

/// One item of a SELECT list: the name of its column, and its parts; None: they may be anything.
pub(super) struct Item {
    pub name: Option<Vec<u8>>,
    pub pieces: Option<Vec<Piece>>,
}

fn is_word(token: Token, text: &[u8], wanted: &[u8]) -> bool {
    token.shape == Shape::Word && token.text(text).eq_ignore_ascii_case(wanted)
}

impl<'a> Reading<'_, 'a> {
    /// The items of a query; the lexer stands behind its SELECT. None: what it gives cannot be told.
    pub(super) fn select_list(&mut self, lexer: &mut Lexer<'a>) -> Option<Vec<Item>> {
        let before = std::mem::replace(&mut self.columns, true);
        let found = self.deeper(|own| own.items(lexer));
        self.columns = before;
        found
    }

    fn items(&mut self, lexer: &mut Lexer<'a>) -> Option<Vec<Item>> {
        let text = lexer.text();
        let mut first = lexer.clone();
        if matches!(self.next(&mut first)?.keyword, K::All | K::Distinct) {
            *lexer = first;
        }
        let mut all = Vec::new();
        loop {
            let (item, end) = self.item(lexer)?;
            all.push(item);
            match end.shape {
                Shape::Punct(b',') if all.len() < MOST_ITEMS => {}
                Shape::Punct(b',') => return None,
                _ => {
                    self.is_single_query(end, lexer, text)?;
                    return Some(all);
                }
            }
        }
    }

    /// One item, and what stands behind it; the lexer is behind that.
    fn item(&mut self, lexer: &mut Lexer<'a>) -> Option<(Item, Token)> {
        let own_name = self.own_name(lexer.clone());
        let mut inside = lexer.clone();
        if let Some(pieces) = self.deeper(|own| own.expression_in_list(&mut inside))
            && let Some((name, end)) = self.name_of_item(&mut inside, own_name.clone())
        {
            *lexer = inside;
            return Some((Item { name, pieces: Some(pieces) }, end));
        }
        let (name, end) = self.unread_item(lexer, own_name)?;
        Some((Item { name, pieces: None }, end))
    }

    /// What stands behind an expression of a list: perhaps a name, and the end of the item.
    fn name_of_item(&mut self, lexer: &mut Lexer<'a>, own: Option<Vec<u8>>) -> Option<(Option<Vec<u8>>, Token)> {
        let text = lexer.text();
        let mut token = self.next(lexer)?;
        let mut named = own;
        if !ends_item(token, text) {
            if token.keyword == K::As {
                token = self.next(lexer)?;
            }
            named = Some(name(token, text)).filter(|_| token.is_name());
            named.as_ref()?;
            token = self.next(lexer)?;
        }
        ends_item(token, text).then_some((named, token))
    }

    /// The end of an item that may be anything, and its name where that is beyond doubt.
    fn unread_item(&mut self, lexer: &mut Lexer<'a>, own: Option<Vec<u8>>) -> Option<(Option<Vec<u8>>, Token)> {
        let text = lexer.text();
        let (mut depth, mut before) = (0_usize, [Token::NONE; 2]);
        loop {
            let token = self.next(lexer)?;
            match token.shape {
                Shape::Punct(b'(' | b'[') => depth += 1,
                Shape::Punct(b')' | b']') if depth > 0 => depth -= 1,
                _ if depth == 0 && ends_item(token, text) => {
                    let [last, ahead] = before;
                    let called = last.is_name() && ahead.keyword == K::As;
                    return Some((if called { Some(name(last, text)) } else { own }, token));
                }
                _ => {}
            }
            before = [token, before[0]];
        }
    }

    /// The name that a column has without AS: that of the column or function that it is.
    fn own_name(&mut self, mut lexer: Lexer<'a>) -> Option<Vec<u8>> {
        let text = lexer.text();
        let mut last = self.next(&mut lexer)?;
        if !last.is_name() || last.shape == Shape::Word && !last.keyword.names() {
            return None;
        }
        let mut behind = self.next(&mut lexer)?;
        while behind.is(b'.') {
            last = self.next(&mut lexer).filter(Token::is_name)?;
            behind = self.next(&mut lexer)?;
        }
        if behind.is(b'(') {
            self.skip_group(&mut lexer)?;
            behind = self.next(&mut lexer)?;
        }
        ends_item(behind, text).then(|| name(last, text))
    }

    /// Whether no second query adds rows of its own to those of the first.
    fn is_single_query(&mut self, end: Token, lexer: &mut Lexer<'a>, text: &[u8]) -> Option<()> {
        let (mut depth, mut token) = (0_usize, end);
        loop {
            match token.shape {
                Shape::Punct(b'(') => depth += 1,
                Shape::Punct(b')') if depth == 0 => return Some(()),
                Shape::Punct(b')') => depth -= 1,
                Shape::End | Shape::Punct(b';') => return Some(()),
                _ if depth == 0 && matches!(token.keyword, K::Union | K::Intersect | K::Except) => return None,
                _ if depth == 0 && is_word(token, text, b"loop") => return Some(()),
                _ => {}
            }
            token = self.next(lexer)?;
        }
    }

    /// The only item of a query in parentheses, behind its SELECT.
    pub(super) fn only_item(&mut self, mut lexer: Lexer<'a>) -> Option<Vec<Piece>> {
        let mut items = self.select_list(&mut lexer)?;
        let only = items.pop().filter(|_| items.is_empty())?;
        only.pieces
    }

    /// What a query puts into a variable.
    pub(super) fn selected(&mut self, one: &Selected<'a>) -> Option<Vec<Piece>> {
        let items = self.select_list(&mut one.list.clone())?;
        let fits = items.len() == one.of;
        items.into_iter().nth(one.at).filter(|_| fits)?.pieces
    }

    /// What a field of a record is that queries fill.
    pub(super) fn field(&mut self, queries: &[Selected<'a>], field: &[u8]) -> Option<Piece> {
        let mut all = Vec::new();
        for one in queries {
            let items = self.select_list(&mut one.list.clone()).filter(|_| one.of == 1)?;
            // The first of that name counts; one whose name is not known may have it.
            let found = items.into_iter().find(|item| item.name.as_deref().is_none_or(|name| name == field));
            if let Some(item) = found {
                item.name?;
                all.push(item.pieces?);
            }
        }
        (!all.is_empty()).then(|| one_of(&all))
    }

    /// `ARRAY[…]` and `ARRAY(SELECT …)`, behind that word.
    pub(super) fn array(&mut self, lexer: &mut Lexer<'a>) -> Option<Piece> {
        let opened = self.next(lexer)?;
        if opened.is(b'(') {
            let mut inside = lexer.clone();
            let selects = self.next(&mut inside)?.keyword == K::Select;
            let item = if selects { self.only_item(inside) } else { None };
            self.skip_group(lexer)?;
            return item.map(|item| Piece::Array(vec![item]));
        }
        let mut all = Vec::new();
        if !opened.is(b'[') {
            return None;
        }
        let mut ahead = lexer.clone();
        if self.next(&mut ahead)?.is(b']') {
            *lexer = ahead;
            return Some(Piece::Array(all));
        }
        loop {
            all.push(self.deeper(|own| own.expression(lexer))?);
            let token = self.next(lexer)?;
            if token.is(b']') {
                return Some(Piece::Array(all));
            }
            if !token.is(b',') {
                return None;
            }
        }
    }

    /// FILTER and OVER behind the call of an aggregate.
    pub(super) fn skip_clauses_of_aggregate(&mut self, lexer: &mut Lexer<'a>) -> Option<()> {
        loop {
            let mut ahead = lexer.clone();
            let token = self.next(&mut ahead)?;
            if !matches!(token.keyword, K::Filter | K::Over) || !self.next(&mut ahead)?.is(b'(') {
                return Some(());
            }
            self.skip_group(&mut ahead)?;
            *lexer = ahead;
        }
    }
}

fn ends_item(token: Token, text: &[u8]) -> bool {
    let clause = matches!(
        token.keyword,
        K::From
            | K::Into
            | K::Where
            | K::Group
            | K::Having
            | K::Order
            | K::Limit
            | K::Union
            | K::Intersect
            | K::Except
            | K::Offset
            | K::Fetch
    );
    matches!(token.shape, Shape::End | Shape::Punct(b',' | b';' | b')')) || clause || is_word(token, text, b"loop")
}

/// Many texts, one behind the other, with a constant between them that makes no word with one of them.
pub(super) fn joined(element: &[Piece], between: &[Piece]) -> Piece {
    let apart = |byte: Option<&u8>| byte.is_some_and(|byte| !is_letter(*byte));
    let Some(text) = constant(between).filter(|text| apart(text.first()) && apart(text.last())) else {
        return Piece::Open;
    };
    let between = &[Piece::Text(text)][..];
    let many = [element, between, element, between, element].concat();
    one_of(&[element.to_vec(), many])
}

/// What `array_to_string` makes of an array.
pub(super) fn array_to_string(array: &[Piece], between: &[Piece]) -> Piece {
    match array {
        [Piece::Array(all)] if all.is_empty() => Piece::Text(Vec::new()),
        [Piece::Array(all)] => match &**all {
            [only] => joined(only, between),
            several => joined(&[one_of(several)], between),
        },
        _ => Piece::Open,
    }
}

/// Whether a text is that of an empty array.
pub(super) fn is_empty_array(pieces: &[Piece]) -> bool {
    matches!(pieces, [Piece::Text(text)] if text.trim_ascii() == b"{}")
}

/// A text without these characters at its end. They are none of a word or of a quote.
pub(super) fn trimmed(pieces: &[Piece], characters: &[Piece]) -> Piece {
    let harmless = constant(characters).is_some_and(|all| all.iter().all(|byte| b" ,;\t\n".contains(byte)));
    if harmless { one_of(&[pieces.to_vec()]) } else { Piece::Open }
}

/// A constant with quoted names and numbers in the place of a word of it.
pub(super) fn replaced(whole: &[Piece], word: &[Piece], by: &[Piece]) -> Option<Vec<Piece>> {
    if by.is_empty() || !by.iter().all(|piece| matches!(piece, Piece::Quoted(_) | Piece::Number)) {
        return None;
    }
    let (whole, word) = (constant(whole)?, constant(word).filter(|word| !word.is_empty())?);
    let (mut pieces, mut rest) = (Vec::new(), &*whole);
    while let Some(at) = memchr::memmem::find(rest, &word) {
        pieces.push(Piece::Text(rest.get(..at)?.to_vec()));
        pieces.extend_from_slice(by);
        rest = rest.get(at + word.len()..)?;
    }
    pieces.push(Piece::Text(rest.to_vec()));
    Some(pieces)
}

fn constant(pieces: &[Piece]) -> Option<Vec<u8>> {
    let text = |piece: &Piece| match piece {
        Piece::Text(text) => Some(text.clone()),
        _ => None,
    };
    pieces.iter().map(text).collect::<Option<Vec<_>>>().map(|all| all.concat())
}

/// Whether a format of `to_char` has nothing in it but what stands for the parts of a time or the digits of a number.
pub(super) fn is_plain_format(pieces: &Option<Vec<Piece>>) -> bool {
    const PARTS: [&str; 14] =
        ["YYYY", "YY", "MM", "DD", "HH24", "HH12", "HH", "MI", "SS", "MS", "US", "IYYY", "IW", "Q"];
    let Some(text) = pieces.as_deref().and_then(constant) else { return false };
    let text = String::from_utf8_lossy(&text).to_uppercase();
    let left = PARTS.iter().fold(text, |text, part| text.replace(part, ""));
    left.bytes().all(|byte| b" :._,09/FM".contains(&byte) || byte == b'-')
}

/// The worst of several arguments.
pub(super) fn worst(arguments: &[Option<Vec<Piece>>]) -> Built {
    arguments.iter().map(of_one).max().unwrap_or_default()
}
