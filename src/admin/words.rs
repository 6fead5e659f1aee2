//! What is typed on the console, cut into words: a small part of PostgreSQL's lexical rules, and nothing that fails on the rest.

use crate::wire::Report;

/// A word or a mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// A bare word or number, as typed. Dots and inner hyphens belong to it: names of databases have them.
    Word(String),
    /// `"a name"`.
    Quoted(String),
    /// `'a text'`.
    Text(String),
    /// `$1`.
    Parameter(u16),
    /// Anything else.
    Mark(char),
}

impl Token {
    /// For error messages: as typed, cut to what a person needs.
    pub fn shown(&self) -> String {
        const MOST: usize = 60;
        let cut = |text: &str| text.chars().take(MOST).collect::<String>();
        match self {
            Self::Word(text) => cut(text),
            Self::Quoted(text) => format!("\"{}\"", cut(text)),
            Self::Text(text) => format!("'{}'", cut(text)),
            Self::Parameter(number) => format!("${number}"),
            Self::Mark(mark) => mark.to_string(),
        }
    }
}

/// Cuts a text into statements and those into tokens; empty statements are dropped.
///
/// # Errors
/// 42601: a string, a name or a comment without its end, or a parameter that cannot be.
pub fn statements(text: &str) -> Result<Vec<Vec<Token>>, Report> {
    let mut all = vec![Vec::new()];
    let mut rest = text;
    while let Some((token, tail)) = next(rest)? {
        match (token, all.last_mut()) {
            (Token::Mark(';'), _) => all.push(Vec::new()),
            (token, Some(last)) => last.push(token),
            (_, None) => {}
        }
        rest = tail;
    }
    all.retain(|tokens| !tokens.is_empty());
    Ok(all)
}

fn next(text: &str) -> Result<Option<(Token, &str)>, Report> {
    let text = skip_blanks(text)?;
    let mut chars = text.chars();
    let Some(first) = chars.next() else { return Ok(None) };
    let rest = chars.as_str();
    let found = match first {
        '\'' => quoted(rest, '\'', false).map(|(text, tail)| (Token::Text(text), tail)),
        '"' => quoted(rest, '"', false).map(|(text, tail)| (Token::Quoted(text), tail)),
        'e' | 'E' if rest.starts_with('\'') => {
            quoted(rest.get(1..).unwrap_or_default(), '\'', true).map(|(text, tail)| (Token::Text(text), tail))
        }
        '$' if rest.starts_with(|c: char| c.is_ascii_digit()) => return parameter(rest).map(Some),
        _ => {
            let end = word_end(text);
            Some(match text.split_at_checked(end).filter(|(word, _)| !word.is_empty()) {
                Some((word, tail)) => (Token::Word(word.to_owned()), tail),
                None => (Token::Mark(first), rest),
            })
        }
    };
    found.map(Some).ok_or_else(|| {
        let what = if first == '"' { "quoted identifier" } else { "quoted string" };
        syntax(format!("unterminated {what}"))
    })
}

/// A syntax error (42601).
pub fn syntax(message: impl Into<String>) -> Report {
    Report::error("42601", message).with_hint(Some("SHOW HELP lists the commands.".into()))
}

fn skip_blanks(mut text: &str) -> Result<&str, Report> {
    loop {
        text = text.trim_start();
        if let Some(comment) = text.strip_prefix("--") {
            text = comment.find('\n').and_then(|end| comment.get(end..)).unwrap_or_default();
        } else if let Some(comment) = text.strip_prefix("/*") {
            text = block_comment(comment).ok_or_else(|| syntax("unterminated /* comment"))?;
        } else {
            return Ok(text);
        }
    }
}

/// What stands behind a comment; comments nest.
fn block_comment(mut text: &str) -> Option<&str> {
    let mut depth = 1;
    while depth > 0 {
        let at = text.find(['*', '/'])?;
        text = text.get(at..)?;
        let step = match text.get(..2) {
            Some("*/") => {
                depth -= 1;
                2
            }
            Some("/*") => {
                depth += 1;
                2
            }
            _ => 1,
        };
        text = text.get(step..)?;
    }
    Some(text)
}

/// The text up to the closing quote, doubled quotes taken as one, and what follows.
fn quoted(text: &str, quote: char, escapes: bool) -> Option<(String, &str)> {
    let mut found = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if escapes && c == '\\' {
            found.push(match chars.next()? {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                other => other,
            });
        } else if c != quote {
            found.push(c);
        } else if let Some(tail) = chars.as_str().strip_prefix(quote) {
            found.push(quote);
            chars = tail.chars();
        } else {
            return Some((found, chars.as_str()));
        }
    }
    None
}

fn parameter(text: &str) -> Result<(Token, &str), Report> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, tail) = text.split_at(end);
    match digits.parse::<u16>() {
        Ok(number @ 1..) => Ok((Token::Parameter(number), tail)),
        _ => Err(Report::error(
            "42P02",
            format!("there is no parameter ${}", digits.chars().take(10).collect::<String>()),
        )),
    }
}

/// Where a bare word ends; 0 if none begins here.
fn word_end(text: &str) -> usize {
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let follows = chars.peek().map(|(_, next)| *next);
        let belongs = match c {
            '_' => true,
            '$' | '.' => at > 0,
            // A sign before a number, or inside a name; two of them begin a comment.
            '-' => follows.is_some_and(|next| next.is_alphanumeric()),
            c => c.is_alphanumeric(),
        };
        if !belongs {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<Vec<Token>> {
        statements(text).unwrap()
    }

    fn word(text: &str) -> Token {
        Token::Word(text.to_owned())
    }

    #[test]
    fn statements_are_parted_and_comments_dropped() {
        let show = vec![word("SHOW"), word("stats")];
        for text in ["SHOW stats", " SHOW stats ;; ", "-- x\nSHOW/* a /* b */ ; */stats;--", "SHOW\tstats;"] {
            assert_eq!(words(text), std::slice::from_ref(&show), "{text}");
        }
        assert_eq!(words("SHOW stats;SHOW stats"), [show.clone(), show]);
        assert!(words(" ; -- nothing").is_empty());
    }

    #[test]
    fn names_texts_and_parameters() {
        assert_eq!(
            words(r#"pause my-app.v2 "A ""b" 'it''s; -- $1' $12 *"#),
            [[
                word("pause"),
                word("my-app.v2"),
                Token::Quoted("A \"b".into()),
                Token::Text("it's; -- $1".into()),
                Token::Parameter(12),
                Token::Mark('*')
            ]]
        );
        assert_eq!(words(r"E'a\'b\\c'"), [[Token::Text(r"a'b\c".into())]]);
        assert_eq!(words("x=-1,é"), [[word("x"), Token::Mark('='), word("-1"), Token::Mark(','), word("é")]]);
    }

    #[test]
    fn what_has_no_end_is_refused() {
        for text in ["'a", "\"a", "/* a", "/* /* */", "'a''", "E'a\\'", "$0", "$99999", "E'\\"] {
            assert!(statements(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(text in "\\PC*") {
            let _ = statements(&text);
        }
    }
}
