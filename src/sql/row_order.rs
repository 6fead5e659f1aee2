//! What a statement says of the order of its rows, and of which rows they are.

use super::lex::encoding::{LexContext, StandardStrings, mask};
use super::lex::keyword::Keyword;
use super::lex::lexer::{Lexer, Shape};

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowOrder {
    /// It has an ORDER BY of its own.
    Given,
    /// It has none: the order says nothing.
    Any,
    /// It asks for some of its rows, whichever: LIMIT, FETCH or OFFSET without ORDER BY.
    SomeRows,
}

/// Reads one statement.
pub fn row_order(text: &[u8], context: LexContext) -> RowOrder {
    let (masked, _) = mask(text, context.encoding);
    let mut lexer = Lexer::new(&masked, context.strings != StandardStrings::Off);
    let (mut depth, mut limited, mut before) = (0_usize, false, Keyword::None);
    loop {
        let token = lexer.next();
        if lexer.broken || token.shape == Shape::End {
            break;
        }
        match (token.shape, token.keyword) {
            (Shape::Punct(b'(' | b'['), _) => depth += 1,
            (Shape::Punct(b')' | b']'), _) => depth = depth.saturating_sub(1),
            (Shape::Word, Keyword::By) if depth == 0 && before == Keyword::Order => return RowOrder::Given,
            (Shape::Word, Keyword::Limit | Keyword::Fetch | Keyword::Offset) if depth == 0 => limited = true,
            _ => {}
        }
        before = token.keyword;
    }
    if limited { RowOrder::SomeRows } else { RowOrder::Any }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_whole_statement_says_counts() {
        for (text, expected) in [
            ("SELECT v FROM t ORDER BY v", RowOrder::Given),
            ("select v from t order /* by */ by v limit 3", RowOrder::Given),
            ("SELECT v FROM t", RowOrder::Any),
            ("SELECT array_agg(v ORDER BY v) FROM t", RowOrder::Any),
            ("SELECT * FROM (SELECT v FROM t ORDER BY v LIMIT 3) x", RowOrder::Any),
            ("SELECT 'order by', \"order\" FROM t -- ORDER BY v", RowOrder::Any),
            ("SELECT v FROM t LIMIT 3", RowOrder::SomeRows),
            ("SELECT v FROM t FETCH FIRST ROW ONLY", RowOrder::SomeRows),
            ("SELECT v FROM t OFFSET 3", RowOrder::SomeRows),
            ("WITH x AS (SELECT v FROM t LIMIT 1) TABLE x", RowOrder::Any),
        ] {
            assert_eq!(row_order(text.as_bytes(), LexContext::default()), expected, "{text}");
        }
    }
}
