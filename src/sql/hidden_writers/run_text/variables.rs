//! The variables of a PL/pgSQL body: what is assigned to them, as far as a text is concerned that is made of them.

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};

use super::types::{self, Kind};
use crate::sql::lex::keyword::Keyword as K;
use crate::sql::lex::lexer::{Lexer, Shape, Token};
use crate::sql::lex::literal::name;

/// What is known of a name.
pub(in crate::sql::hidden_writers) enum Known<'v, 'a> {
    /// It is no variable that the body declares or assigns to.
    Not,
    /// It is declared, and nothing is assigned to it.
    Declared,
    /// These expressions are assigned to it, and these queries put one of their columns, or their rows, into it.
    Assigned(&'v [Lexer<'a>], &'v [Selected<'a>]),
    /// A query, or something else that nobody reads, fills it.
    Filled,
}

/// A query that fills a variable.
#[derive(Clone)]
pub(in crate::sql::hidden_writers) struct Selected<'a> {
    /// Behind its SELECT.
    pub list: Lexer<'a>,
    /// Which of its columns goes into the variable, of how many.
    pub at: usize,
    pub of: usize,
}

/// See the module.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is one fact about a body, and they hold together")]
pub(in crate::sql::hidden_writers) struct Variables<'a> {
    assigned: HashMap<Vec<u8>, Vec<Lexer<'a>>, RandomState>,
    selected: HashMap<Vec<u8>, Vec<Selected<'a>>, RandomState>,
    /// By the types that are declared; None where two declarations differ.
    kinds: HashMap<Vec<u8>, Option<Kind>, RandomState>,
    /// A name may be a column although a variable has it.
    columns_first: bool,
    declared: HashSet<Vec<u8>, RandomState>,
    filled: HashSet<Vec<u8>, RandomState>,
    /// It has a query on tables, so that a name may be a column.
    pub reads_tables: bool,
    /// What stands in it may run more than once.
    pub loops: bool,
}

/// Names that have their values from elsewhere.
const FROM_ELSEWHERE: [&[u8]; 11] = [
    b"current_catalog",
    b"current_query",
    b"current_role",
    b"current_schema",
    b"current_user",
    b"new",
    b"old",
    b"session_user",
    b"sqlerrm",
    b"sqlstate",
    b"system_user",
];

impl<'a> Variables<'a> {
    /// Reads a body.
    pub fn of(mut lexer: Lexer<'a>) -> Self {
        let mut found = Self::default();
        let text = lexer.text();
        let first_behind = lexer.clone();
        let mut reader =
            Reader { found: &mut found, first: Token::NONE, first_behind, length: 0, depth: 0, declares: false };
        let mut token = lexer.next();
        while token.shape != Shape::End {
            reader.token(token, &lexer, text);
            token = lexer.next();
        }
        found
    }

    pub fn of_name(&self, name: &[u8]) -> Known<'_, 'a> {
        if self.filled.contains(name) || FROM_ELSEWHERE.contains(&name) || name.starts_with(b"tg_") {
            return Known::Filled;
        }
        match (self.assigned.get(name), self.selected.get(name)) {
            (None, None) if self.declared.contains(name) => Known::Declared,
            (None, None) => Known::Not,
            (assigned, selected) => {
                let selected = selected.map(Vec::as_slice).unwrap_or_default();
                Known::Assigned(assigned.map(Vec::as_slice).unwrap_or_default(), selected)
            }
        }
    }

    /// What its type says of its text.
    pub(super) fn kind(&self, name: &[u8]) -> Option<Kind> {
        if self.columns_first { None } else { *self.kinds.get(name)? }
    }
}

struct Reader<'f, 'a> {
    found: &'f mut Variables<'a>,
    /// The first token of the statement at hand, and how many it has so far.
    first: Token,
    first_behind: Lexer<'a>,
    length: usize,
    depth: usize,
    /// In a DECLARE section.
    declares: bool,
}

impl<'a> Reader<'_, 'a> {
    fn token(&mut self, token: Token, behind: &Lexer<'a>, text: &'a [u8]) {
        match token.shape {
            Shape::Punct(b'(' | b'[') => self.depth += 1,
            Shape::Punct(b')' | b']') => self.depth = self.depth.saturating_sub(1),
            Shape::Punct(b';') => return self.begins(),
            _ => {}
        }
        let word = |wanted: &[u8]| token.shape == Shape::Word && token.text(text).eq_ignore_ascii_case(wanted);
        if matches!(token.keyword, K::From | K::Join | K::Update | K::Merge) {
            self.found.reads_tables = true;
        }
        self.found.loops |= word(b"loop");
        if word(b"use_column") {
            (self.found.reads_tables, self.found.columns_first) = (true, true);
        }
        if matches!(token.keyword, K::Begin | K::Then | K::Else | K::Declare)
            || word(b"loop")
            || token.is(b'>') && self.length < 5
        {
            self.declares = token.keyword == K::Declare || self.declares && token.is(b'>');
            return self.begins();
        }
        if self.length == 0 {
            (self.first, self.first_behind) = (token, behind.clone());
            self.head(token, behind, text);
        }
        self.length += 1;
        if self.depth == 0 || self.length == 1 {
            self.assignment(token, behind, text);
        }
        if token.keyword == K::Into {
            let selects = self.first.keyword == K::Select && self.depth == 0 && self.length > 2;
            let list = selects.then(|| self.first_behind.clone());
            self.fill(list, behind.clone(), text);
        }
    }

    fn begins(&mut self) {
        (self.first, self.length, self.depth) = (Token::NONE, 0, 0);
    }

    /// The first word of a statement.
    fn head(&mut self, token: Token, behind: &Lexer<'a>, text: &'a [u8]) {
        let is = |wanted: &[u8]| token.text(text).eq_ignore_ascii_case(wanted);
        if self.declares && token.is_name() {
            let (own, kind) = (name(token, text), types::declared(behind.clone()));
            self.found.declared.insert(own.clone());
            self.found.kinds.entry(own).and_modify(|known| *known = known.filter(|_| *known == kind)).or_insert(kind);
        }
        if is(b"get") || is(b"call") {
            self.fill_statement(behind.clone(), text);
        } else if token.keyword == K::For && !counts(behind.clone(), text) {
            let query = query_of_loop(behind.clone());
            if query.is_none() {
                // A loop over a cursor declares a record of that name.
                self.found.kinds.insert(name(behind.clone().next(), text), None);
            }
            self.fill(query, behind.clone(), text);
        } else if is(b"foreach") {
            self.fill_list(behind.clone(), text);
        }
    }

    /// A list of variables that a query fills, if it can be read; `list` is behind its SELECT.
    fn fill(&mut self, list: Option<Lexer<'a>>, mut targets: Lexer<'a>, text: &'a [u8]) {
        let whole = targets.clone();
        let mut names = Vec::new();
        let mut token = targets.next();
        if token.text(text).eq_ignore_ascii_case(b"strict") {
            token = targets.next();
        }
        let next = loop {
            if !token.is_name() {
                break token;
            }
            names.push(name(token, text));
            let next = targets.next();
            if !next.is(b',') {
                break next;
            }
            token = targets.next();
        };
        let plain = !names.is_empty() && !matches!(next.shape, Shape::Punct(b'.' | b'[' | b','));
        let Some(list) = list.filter(|_| plain) else { return self.fill_list(whole, text) };
        let of = names.len();
        for (at, own) in names.into_iter().enumerate() {
            self.found.selected.entry(own).or_default().push(Selected { list: list.clone(), at, of });
        }
    }

    /// `name := …`, `name = …`, `name type DEFAULT …`, `name ALIAS FOR …`.
    fn assignment(&mut self, token: Token, behind: &Lexer<'a>, text: &'a [u8]) {
        if !self.first.is_name() {
            return;
        }
        let target = name(self.first, text);
        let mut ahead = behind.clone();
        let next = ahead.next();
        let colon = token.is(b':') && next.is(b'=') && next.start == token.end;
        let equals = token.is(b'=') && (self.length == 2 || self.declares);
        let default = self.declares && token.shape == Shape::Word && token.text(text).eq_ignore_ascii_case(b"default");
        if colon || equals || default {
            let expression = if colon { ahead } else { behind.clone() };
            if self.length > 2 && !self.declares {
                // A field or an element of it.
                self.found.filled.insert(target);
            } else {
                self.found.assigned.entry(target).or_default().push(expression);
            }
        } else if self.declares && self.length == 2 && token.text(text).eq_ignore_ascii_case(b"alias") {
            // What is put into one of the two is in both.
            let of = ahead.next();
            let other = if of.is_name() { name(of, text) } else { of.text(text).to_vec() };
            self.found.filled.extend([target, other]);
        } else if self.length == 2 && !self.declares && matches!(token.shape, Shape::Punct(b'.' | b'[')) {
            self.element(target, behind.clone());
        }
    }

    /// A statement that begins with `name.` or `name[`, which may assign.
    fn element(&mut self, target: Vec<u8>, mut lexer: Lexer<'a>) {
        loop {
            let token = lexer.next();
            match token.shape {
                Shape::End | Shape::Punct(b';') => return,
                Shape::Punct(b':' | b'=') => {
                    self.found.filled.insert(target);
                    return;
                }
                _ => {}
            }
        }
    }

    /// A list of names: all are filled.
    fn fill_list(&mut self, mut lexer: Lexer<'a>, text: &'a [u8]) {
        let mut token = lexer.next();
        if token.text(text).eq_ignore_ascii_case(b"strict") {
            token = lexer.next();
        }
        while token.is_name() {
            let (own, mut next) = (name(token, text), lexer.next());
            self.found.filled.insert(own);
            // `block.variable`, `record.field`, `array[1]`.
            while next.is(b'.') {
                self.found.filled.insert(name(lexer.next(), text));
                next = lexer.next();
            }
            if next.is(b'[') {
                while !matches!(next.shape, Shape::End | Shape::Punct(b']')) {
                    next = lexer.next();
                }
                next = lexer.next();
            }
            if !next.is(b',') {
                return;
            }
            token = lexer.next();
        }
    }

    /// Every name up to the end of the statement.
    fn fill_statement(&mut self, mut lexer: Lexer<'a>, text: &'a [u8]) {
        let mut token = lexer.next();
        while !matches!(token.shape, Shape::End | Shape::Punct(b';')) {
            if token.is_name() {
                self.found.filled.insert(name(token, text));
            }
            token = lexer.next();
        }
    }
}

/// The query of a `FOR … IN SELECT …`, behind its SELECT.
fn query_of_loop(mut lexer: Lexer<'_>) -> Option<Lexer<'_>> {
    loop {
        let token = lexer.next();
        match token.keyword {
            K::In => return (lexer.next().keyword == K::Select).then_some(lexer),
            _ if token.is_name() || token.is(b',') => {}
            _ => return None,
        }
    }
}

/// Whether a FOR counts: `FOR i IN 1 .. 10 LOOP`.
fn counts(mut lexer: Lexer<'_>, text: &[u8]) -> bool {
    let mut before = lexer.next();
    loop {
        let token = lexer.next();
        let word = token.shape == Shape::Word && token.text(text).eq_ignore_ascii_case(b"loop");
        if word || matches!(token.shape, Shape::End | Shape::Punct(b';')) {
            return false;
        }
        let between = text.get(before.start as usize..token.end as usize).unwrap_or_default();
        if !before.is_str() && !token.is_str() && memchr::memmem::find(between, b"..").is_some() {
            return true;
        }
        before = token;
    }
}
