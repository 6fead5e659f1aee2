//! The settings that hold the guard, how PostgreSQL reads a boolean, and which calls of set_config certainly run.

use super::lex::keyword::Keyword as K;
use super::lex::lexer::{Lexer, Shape};
use super::lex::literal::name;

/// Whether a setting of this name (in any case) is one of the two that make transactions read-only.
pub(super) fn is_guard(name: &[u8]) -> bool {
    is(name, b"default_transaction_read_only") || is_transaction_read_only(name)
}

/// Whether it is the setting of the current transaction: its default is read-write whatever the session's is
/// (measured), so RESET lifts the guard.
pub(super) fn is_transaction_read_only(name: &[u8]) -> bool {
    is(name, b"transaction_read_only")
}

fn is(name: &[u8], setting: &[u8]) -> bool {
    name.eq_ignore_ascii_case(setting)
        || !name.is_ascii() && super::lex::literal::without_dotted_i(name.to_vec()).eq_ignore_ascii_case(setting)
}

/// Whether PostgreSQL's `parse_bool` takes the text for true: `on`, `1`, and every prefix of `true` and `yes`.
pub(super) fn is_on(value: &[u8]) -> bool {
    let prefix_of = |word: &[u8]| {
        !value.is_empty() && word.get(..value.len()).is_some_and(|front| front.eq_ignore_ascii_case(value))
    };
    prefix_of(b"true") || prefix_of(b"yes") || value.eq_ignore_ascii_case(b"on") || value == b"1"
}

/// Whether `parse_bool` takes it for false: `off`, `of`, `0`, and every prefix of `false` and `no`.
pub(super) fn is_off(value: &[u8]) -> bool {
    let prefix_of = |word: &[u8], least| {
        value.len() >= least && word.get(..value.len()).is_some_and(|w| w.eq_ignore_ascii_case(value))
    };
    prefix_of(b"false", 1) || prefix_of(b"no", 1) || prefix_of(b"off", 2) || value == b"0"
}

/// Whether a statement is a SELECT of calls of set_config and of nothing else: each of them runs.
pub(super) fn only_sets(mut lexer: Lexer) -> bool {
    let text = lexer.text();
    if lexer.next().keyword != K::Select {
        return false;
    }
    loop {
        let mut token = lexer.next();
        if token.is_name() && name(token, text) == b"pg_catalog" && lexer.next().is(b'.') {
            token = lexer.next();
        }
        if !token.is_name() || name(token, text) != b"set_config" || !lexer.next().is(b'(') {
            return false;
        }
        let mut depth = 1;
        while depth > 0 {
            match lexer.next().shape {
                Shape::End => return false,
                Shape::Punct(b'(') => depth += 1,
                Shape::Punct(b')') => depth -= 1,
                _ => {}
            }
        }
        token = lexer.next();
        if token.keyword == K::As && lexer.next().is_name() {
            token = lexer.next();
        }
        match token.shape {
            Shape::End | Shape::Punct(b';') => return true,
            Shape::Punct(b',') => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_certainly_run_stand_alone() {
        let alone = |text: &str| only_sets(Lexer::new(text.as_bytes(), true));
        for text in [
            "SELECT set_config('a', 'b', false)",
            "select pg_catalog.set_config('a', (SELECT 'b'), false) AS x, \"set_config\"('c', 'd', false);",
        ] {
            assert!(alone(text), "{text}");
        }
        for text in [
            "SELECT set_config('a', 'b', false) WHERE false",
            "SELECT set_config('a', 'b', false) LIMIT 0",
            "SELECT coalesce('x', set_config('a', 'b', false))",
            "SELECT set_config('a', 'b', false) FROM t",
            "EXPLAIN SELECT set_config('a', 'b', false)",
            "SELECT set_config('a', 'b', false",
        ] {
            assert!(!alone(text), "{text}");
        }
    }

    #[test]
    fn booleans_as_postgresql_reads_them() {
        for on in ["on", "ON", "t", "tr", "true", "y", "YES", "1"] {
            assert!(is_on(on.as_bytes()), "{on}");
        }
        for off in ["off", "of", "o", "0", "f", "false", "n", "no", "", "truer", "2", "01"] {
            assert!(!is_on(off.as_bytes()), "{off}");
        }
        for off in ["off", "OF", "0", "f", "fa", "false", "n", "no"] {
            assert!(is_off(off.as_bytes()), "{off}");
        }
        for neither in ["o", "", "on", "falsey", "offf", "00", "nope"] {
            assert!(!is_off(neither.as_bytes()), "{neither}");
        }
    }

    #[test]
    fn names_in_any_case() {
        assert!(is_guard(b"Default_Transaction_READ_ONLY") && is_guard("transact\u{130}on_read_only".as_bytes()));
        assert!(!is_guard(b"transaction_isolation"));
    }
}
