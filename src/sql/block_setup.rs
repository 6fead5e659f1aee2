//! Statements with which a block is set up before it does its work: they show no data, and do the same when they run again.

use super::lex::lexer::{Lexer, Shape};
use super::lex::literal;
use super::statement::{Kind, SessionEffect as E, Statement, TransactionVerb as T};

/// Whether the statement, of that text, is such a one: SET, `SELECT set_config(…)`, SET TRANSACTION, savepoints.
pub fn sets_up(statement: &Statement, text: &[u8]) -> bool {
    match &statement.kind {
        Kind::Session => {
            let sets = |effect: &E| {
                matches!(
                    effect,
                    E::Set { .. } | E::SetConfig { .. } | E::SetRole { .. } | E::SetSessionAuthorization { .. }
                )
            };
            statement.tag == "SET" && !statement.effects.is_empty() && statement.effects.iter().all(sets)
        }
        Kind::Transaction(verb) => matches!(
            verb,
            T::SetTransaction { snapshot: false, .. } | T::Savepoint(_) | T::Release(_) | T::RollbackTo(_)
        ),
        Kind::Read => !statement.effects.is_empty() && only_sets(statement.text(text)),
        _ => false,
    }
}

/// `SELECT set_config(…) [[AS] name], …` and nothing else.
fn only_sets(text: &[u8]) -> bool {
    if text.contains(&b'\\') {
        return false;
    }
    let mut lexer = Lexer::new(text, true);
    let is = |token, word: &[u8]| literal::name(token, text) == word;
    if !is(lexer.next(), b"select") {
        return false;
    }
    loop {
        let mut called = lexer.next();
        if called.is_name() && is(called, b"pg_catalog") && lexer.next().is(b'.') {
            called = lexer.next();
        }
        if !called.is_name() || !is(called, b"set_config") || !lexer.next().is(b'(') {
            return false;
        }
        loop {
            let token = lexer.next();
            match token.shape {
                Shape::Punct(b')') => break,
                Shape::Punct(b'(' | b';') | Shape::End => return false,
                _ => {}
            }
        }
        let mut token = lexer.next();
        if token.is_name() && is(token, b"as") {
            token = lexer.next();
        }
        if token.is_name() && !is(token, b"from") && !is(token, b"where") {
            token = lexer.next();
        }
        match token.shape {
            Shape::Punct(b',') => {}
            shape => return shape == Shape::End,
        }
    }
}

/// The value that the statement gives a setting, as it is spelled.
pub fn value_of<'a>(statement: &'a Statement, text: &'a [u8], setting: &[u8]) -> Option<&'a [u8]> {
    statement.effects.iter().rev().find_map(|effect| match effect {
        E::Set { name, value, default: false, .. } if **name == *setting => {
            text.get(value.start as usize..value.end as usize)
        }
        E::SetConfig { name, value: Some(value), .. } if **name == *setting => Some(value),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{Analyzer, LexContext};

    #[test]
    fn what_sets_a_block_up() {
        for (sql, does) in [
            ("SET LOCAL search_path = a, b", true),
            ("SET LOCAL ROLE x", true),
            ("set statement_timeout to '1s'", true),
            ("SAVEPOINT a", true),
            ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", true),
            ("SELECT set_config('a.b', $1, true), pg_catalog.set_config('role', $2, true) AS r", true),
            ("select set_config('a.b', '1', true) set_config", true),
            ("SELECT set_config('a.b', (SELECT f()), true)", false),
            ("SELECT set_config('a.b', '1', true), f()", false),
            ("SELECT set_config('a.b', v, true) FROM t", false),
            ("SELECT 1", false),
            ("RESET ALL", false),
            ("LISTEN x", false),
            ("SET TRANSACTION SNAPSHOT 'x'", false),
        ] {
            let analysis = Analyzer::default().analyze(sql.as_bytes(), LexContext::default());
            assert_eq!(sets_up(&analysis.statements[0], sql.as_bytes()), does, "{sql}");
        }
    }
}
