//! The query of a `DECLARE … CURSOR WITH HOLD`, found from its tokens.

use super::lex::encoding::{LexContext, StandardStrings, mask};
use super::lex::keyword::Keyword as K;
use super::lex::lexer::Lexer;
use super::lex::token_cursor::Cursor;
use super::statement::Statement;

/// How a cursor is declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Declaration<'a> {
    /// It says BINARY.
    pub binary: bool,
    /// It says NO SCROLL: PostgreSQL refuses to go back in it.
    pub forward_only: bool,
    /// The text behind FOR.
    pub query: &'a [u8],
}

/// What a DECLARE says. None: it is none that can be read in one way.
pub fn declaration<'a>(text: &'a [u8], context: LexContext, statement: &Statement) -> Option<Declaration<'a>> {
    let (masked, _) = mask(text, context.encoding);
    let standard = context.strings != StandardStrings::Off;
    if context.strings == StandardStrings::Unknown && text.contains(&b'\\') {
        return None;
    }
    let lexer = Lexer::new(&masked, standard);
    let mut cursor = Cursor::new(&lexer, statement.span.start, statement.span.end);
    if !cursor.eat(K::Declare) {
        return None;
    }
    // The name may be one of the words that follow.
    cursor.name()?;
    let (mut binary, mut forward_only) = (false, false);
    while !cursor.at(K::For) {
        if cursor.at_end() {
            return None;
        }
        let word = cursor.bump().text(&masked);
        binary |= word.eq_ignore_ascii_case(b"binary");
        // NO stands ahead of SCROLL alone.
        forward_only |= word.eq_ignore_ascii_case(b"no");
    }
    cursor.bump();
    let query = text.get(cursor.now.start as usize..statement.span.end as usize)?;
    Some(Declaration { binary, forward_only, query })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::Analyzer;

    #[test]
    fn a_cursors_query_is_what_stands_behind_for() {
        for (sql, query) in [
            ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", Some("SELECT 1")),
            ("DECLARE binary INSENSITIVE Binary CURSOR WITH HOLD FOR TABLE t", Some("TABLE t")),
            ("declare \"for\" no scroll cursor with hold for/* x */(select 1) -- y", Some("(select 1)")),
            ("DECLARE c CURSOR WITH HOLD FOR VALUES ('for'); ", Some("VALUES ('for')")),
            ("DECLARE no SCROLL CURSOR WITH HOLD FOR SELECT 2", Some("SELECT 2")),
            ("DECLARE c CURSOR", None),
            ("SELECT 1 FOR UPDATE", None),
        ] {
            let analysis = Analyzer::default().analyze(sql.as_bytes(), LexContext::default());
            let found = declaration(sql.as_bytes(), LexContext::default(), &analysis.statements[0]);
            assert_eq!(found.map(|found| str::from_utf8(found.query).unwrap()), query, "{sql}");
            assert_eq!(found.is_some_and(|found| found.binary), sql.contains("Binary"), "{sql}");
            assert_eq!(found.is_some_and(|found| found.forward_only), sql.contains("no scroll"), "{sql}");
        }
    }
}
