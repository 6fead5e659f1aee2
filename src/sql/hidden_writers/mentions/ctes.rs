//! Names of common table expressions in sight: such a name is no relation's.

use crate::sql::lex::keyword::Keyword as K;
use crate::sql::lex::lexer::{Lexer, Shape, Token};
use crate::sql::lex::literal::name;

/// More names than these are taken for relations.
const MOST: usize = 256;

struct Cte {
    name: Vec<u8>,
    depth: u32,
    /// Its definition is over, or it may refer to itself.
    visible: bool,
}

struct List {
    depth: u32,
    recursive: bool,
}

/// See the module. Depths are those of parentheses.
#[derive(Default)]
pub(in crate::sql::hidden_writers) struct Ctes {
    all: Vec<Cte>,
    /// WITH lists that are not over.
    lists: Vec<List>,
    /// Depths of definitions that are not over.
    bodies: Vec<u32>,
}

impl Ctes {
    /// WITH stands in front of `next`; the lexer is behind that.
    pub fn with(&mut self, depth: u32, next: Token, lexer: Lexer<'_>) {
        let mut behind = lexer.clone();
        let second = behind.next();
        let recursive = next.keyword == K::Recursive && second.is_name() && second.keyword != K::As;
        let found = if recursive { head(second, behind) } else { head(next, lexer) };
        if let Some(name) = found {
            self.lists.push(List { depth, recursive });
            self.add(name, depth, recursive);
        }
    }

    /// A comma stands in front of `next`.
    pub fn comma(&mut self, depth: u32, next: Token, lexer: Lexer<'_>) {
        if let Some(list) = self.lists.last().filter(|list| list.depth == depth) {
            let recursive = list.recursive;
            if let Some(name) = head(next, lexer) {
                self.add(name, depth, recursive);
            }
        }
    }

    fn add(&mut self, name: Vec<u8>, depth: u32, visible: bool) {
        if self.all.len() < MOST {
            self.all.push(Cte { name, depth, visible });
        }
    }

    /// The list of this depth is over: the statement that it belongs to begins.
    pub fn ends_list(&mut self, depth: u32) {
        if self.lists.last().is_some_and(|list| list.depth == depth) {
            self.lists.pop();
        }
    }

    /// A parenthesis has opened behind `opener`; `depth` is the one within it.
    pub fn opens(&mut self, depth: u32, opener: Token) {
        let outer = self.lists.last().is_some_and(|list| list.depth + 1 == depth);
        if outer && matches!(opener.keyword, K::As | K::Materialized) {
            self.bodies.push(depth);
        }
    }

    /// A parenthesis has closed; `depth` is the one outside of it.
    pub fn closes(&mut self, depth: u32) {
        while self.lists.last().is_some_and(|list| list.depth > depth) {
            self.lists.pop();
        }
        while self.all.last().is_some_and(|one| one.depth > depth) {
            self.all.pop();
        }
        while let Some(body) = self.bodies.pop_if(|body| *body > depth) {
            if body == depth + 1 {
                self.all.iter_mut().filter(|one| one.depth == depth).for_each(|one| one.visible = true);
            }
        }
    }

    /// A statement is over.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether that name, without a schema, is one of them.
    pub fn has(&self, name: &[u8]) -> bool {
        self.all.iter().any(|one| one.visible && one.name == name)
    }
}

/// The name in `name [(columns)] AS [[NOT] MATERIALIZED] (`.
fn head(first: Token, mut lexer: Lexer<'_>) -> Option<Vec<u8>> {
    let text = lexer.text();
    if !first.is_name() {
        return None;
    }
    let mut token = lexer.next();
    if token.is(b'(') {
        while !token.is(b')') {
            token = lexer.next();
            if !(token.is_name() || matches!(token.shape, Shape::Punct(b',' | b')'))) {
                return None;
            }
        }
        token = lexer.next();
    }
    if token.keyword != K::As {
        return None;
    }
    token = lexer.next();
    if token.keyword == K::Not {
        token = lexer.next();
    }
    if token.keyword == K::Materialized {
        token = lexer.next();
    }
    token.is(b'(').then(|| name(first, text))
}
