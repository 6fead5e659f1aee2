//! Types of which a value, as a text, is a number, a time or a quoted name, whatever the value is.

use crate::sql::lex::keyword::Keyword as K;
use crate::sql::lex::lexer::{Lexer, Shape, Token};
use crate::sql::lex::literal::name;

/// What the text of a value can be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Digits and the letters of a number, a time, a truth value: nothing that anybody could choose.
    Number,
    /// An array of them.
    Numbers,
    /// A name, quoted where it has to be.
    Name,
}

/// The names of types that a schema of somebody's own could have too. The others are words of PostgreSQL's grammar.
pub(in crate::sql::hidden_writers) const TYPES: [&str; 16] = [
    "bool",
    "date",
    "float4",
    "float8",
    "int2",
    "int4",
    "int8",
    "oid",
    "regclass",
    "regnamespace",
    "regrole",
    "regtype",
    "timestamptz",
    "timetz",
    "uuid",
    "xid",
];

/// What a value of the type of that name can be as a text.
pub(super) fn kind(name: &[u8]) -> Option<Kind> {
    Some(match name {
        b"regclass" | b"regtype" | b"regrole" | b"regnamespace" => Kind::Name,
        b"oid" | b"xid" | b"int" | b"integer" | b"bigint" | b"smallint" | b"int2" | b"int4" | b"int8" | b"numeric"
        | b"decimal" | b"dec" | b"real" | b"float" | b"float4" | b"float8" | b"double" | b"boolean" | b"bool"
        | b"date" | b"time" | b"timetz" | b"timestamp" | b"timestamptz" | b"interval" | b"uuid" => Kind::Number,
        _ => return None,
    })
}

/// The type of a declaration, behind the name that is declared.
pub(super) fn declared(mut lexer: Lexer<'_>) -> Option<Kind> {
    let text = lexer.text();
    let word = |token: Token, wanted: &[u8]| token.text(text).eq_ignore_ascii_case(wanted);
    let mut token = lexer.next();
    if word(token, b"constant") {
        token = lexer.next();
    }
    if word(token, b"pg_catalog") {
        token = if lexer.next().is(b'.') { lexer.next() } else { return None };
    }
    let found = kind(&name(token, text)).filter(|_| token.is_name())?;
    loop {
        let token = lexer.next();
        match token.shape {
            Shape::Punct(b'[') => return (found == Kind::Number).then_some(Kind::Numbers),
            Shape::Punct(b'%' | b'.') => return None,
            Shape::Punct(b';' | b':' | b'=') | Shape::End => return Some(found),
            _ if token.keyword == K::Array => return (found == Kind::Number).then_some(Kind::Numbers),
            _ if word(token, b"default") || token.keyword == K::Not => return Some(found),
            _ => {}
        }
    }
}
