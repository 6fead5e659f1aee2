//! Names and values in SQL text that we build. Nothing else in the crate may put a name or a value into SQL.
//!
//! Names are always quoted, so that no list of keywords has to be kept for each version of PostgreSQL. A value keeps its
//! meaning under either setting of `standard_conforming_strings`, under every `backslash_quote`, and in every client
//! encoding: in some, a backslash can be the second byte of a character, so a value that holds one is never escaped.

/// A name: of a role, a cursor, a column.
pub fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A setting's name. Dots separate the words of a custom setting's name.
pub fn setting_name(name: &str) -> String {
    name.split('.').map(ident).collect::<Vec<_>>().join(".")
}

/// A string constant.
pub fn literal(text: &str) -> String {
    if text.contains('\\') { dollar_quoted(text) } else { format!("'{}'", text.replace('\'', "''")) }
}

/// A string constant of the console's language, which has no backslashes and no dollar quotes.
pub fn console_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A string constant in ASCII, so that it means the same whatever `client_encoding` is. The server's own encoding must know
/// the characters.
pub fn ascii_literal(text: &str) -> String {
    if text.is_ascii() {
        return literal(text);
    }
    let escaped = text.chars().map(|c| match c {
        '\'' => "''".to_owned(),
        '\\' => "\\\\".to_owned(),
        c if c.is_ascii() => c.to_string(),
        c => format!("\\U{:08X}", u32::from(c)),
    });
    format!("E'{}'", escaped.collect::<String>())
}

fn dollar_quoted(text: &str) -> String {
    // A tag of letters only: a text can hold but finitely many of them.
    let mut tag = String::from("$q$");
    // A text that ends in the tag without its last character would end too late.
    while format!("{text}$").contains(&tag) {
        tag.insert(1, 'q');
    }
    format!("{tag}{text}{tag}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{Analyzer, LexContext, StandardStrings};

    #[test]
    fn nothing_breaks_out_of_its_quotes() {
        assert_eq!(literal("a'b"), "'a''b'");
        assert_eq!(literal("a\\'b"), "$q$a\\'b$q$");
        assert_eq!(literal("\\$q$"), "$qq$\\$q$$qq$");
        assert_eq!(literal("\\$q"), "$qq$\\$q$qq$");
        assert_eq!(literal("\\$"), "$q$\\$$q$");
        assert_eq!(ascii_literal("it's"), "'it''s'");
        assert_eq!(ascii_literal("ü'\\"), "E'\\U000000FC''\\\\'");
        assert_eq!(ident("a.b"), "\"a.b\"");
        assert_eq!(setting_name("TimeZone"), "\"TimeZone\"");
        assert_eq!(setting_name("my.x\"y"), "\"my\".\"x\"\"y\"");
    }

    #[test]
    fn a_value_is_one_constant_however_strings_are_read() {
        let pieces = ["'", "\\", "$", "q", "$q$", "\"", "--", "é", "x"];
        for number in 0..pieces.len().pow(4) {
            let at = |power| pieces.get(number / pieces.len().pow(power) % pieces.len()).copied().unwrap_or_default();
            let text = format!("{}{}{}{}", at(3), at(2), at(1), at(0));
            let sql = format!("SELECT {}; COMMIT", literal(&text));
            for strings in [StandardStrings::On, StandardStrings::Off] {
                let context = LexContext { strings, ..LexContext::default() };
                let analysis = Analyzer::default().analyze(sql.as_bytes(), context);
                assert_eq!(analysis.statements.len(), 2, "{sql}");
                assert!(!analysis.ambiguous, "{sql}");
            }
        }
    }
}
