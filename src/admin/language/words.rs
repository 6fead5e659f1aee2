//! What is typed on the console, cut into words: a small part of PostgreSQL's lexical rules, and nothing that fails on the rest.

use crate::protocol::Report;

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
        match self {
            Self::Word(text) => cut(text),
            Self::Quoted(text) => format!("\"{}\"", cut(text)),
            Self::Text(text) => format!("'{}'", cut(text)),
            Self::Parameter(number) => format!("${number}"),
            Self::Mark(mark) => mark.to_string(),
        }
    }
}

/// A statement: its tokens, and where each of them and the end of the statement are in the text, in characters from 1 on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// What was typed.
    pub tokens: Vec<Token>,
    /// One for each token, and one for the end.
    pub places: Vec<u32>,
}

/// Counts characters as it goes through a text.
struct Ruler<'t> {
    text: &'t str,
    bytes: usize,
    chars: u32,
}

impl Ruler<'_> {
    /// The place of what begins with this rest of the text.
    fn place_of(&mut self, rest: &str) -> u32 {
        let at = self.text.len().saturating_sub(rest.len());
        let passed = self.text.get(self.bytes..at).unwrap_or_default();
        self.chars = self.chars.saturating_add(u32::try_from(passed.chars().count()).unwrap_or(u32::MAX));
        self.bytes = at;
        self.chars.saturating_add(1)
    }
}

/// Cuts a text into statements and those into tokens; empty statements are dropped.
///
/// # Errors
/// 42601: a string, a name or a comment without its end, or a parameter that cannot be.
pub fn statements(text: &str) -> Result<Vec<Words>, Report> {
    let mut all = Vec::new();
    let mut words = Words::default();
    let mut ruler = Ruler { text, bytes: 0, chars: 0 };
    let mut rest = text;
    loop {
        rest = skip_blanks(rest).map_err(|comment| {
            syntax(format!("unterminated /* comment at or near \"{}\"", cut(comment)))
                .with_position(Some(ruler.place_of(comment)))
        })?;
        let place = ruler.place_of(rest);
        let found = next(rest).map_err(|report| report.with_position(Some(place)))?;
        words.places.push(place);
        match found {
            Some((Token::Mark(';'), _)) | None => all.push(std::mem::take(&mut words)),
            Some((ref token, _)) => words.tokens.push(token.clone()),
        }
        match found {
            Some((_, tail)) => rest = tail,
            None => break,
        }
    }
    all.retain(|words| !words.tokens.is_empty());
    Ok(all)
}

/// What a person needs to see of a long text.
fn cut(text: &str) -> String {
    const MOST: usize = 60;
    text.chars().take(MOST).collect()
}

fn next(text: &str) -> Result<Option<(Token, &str)>, Report> {
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
        syntax(format!("unterminated {what} at or near \"{}\"", cut(text)))
    })
}

/// A syntax error (42601).
pub fn syntax(message: impl Into<String>) -> Report {
    Report::error("42601", message).with_hint(Some("SHOW HELP lists the commands.".into()))
}

/// What stands behind white space and comments; the error is the comment that has no end.
fn skip_blanks(mut text: &str) -> Result<&str, &str> {
    loop {
        text = text.trim_start();
        if let Some(comment) = text.strip_prefix("--") {
            text = comment.find('\n').and_then(|end| comment.get(end..)).unwrap_or_default();
        } else if let Some(comment) = text.strip_prefix("/*") {
            text = block_comment(comment).ok_or(text)?;
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
        statements(text).unwrap().into_iter().map(|words| words.tokens).collect()
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

    #[test]
    fn every_word_has_its_place() {
        let all = statements("SHOW é 'x' ;-- c\n  pause").unwrap();
        let places: Vec<_> = all.iter().map(|words| words.places.as_slice()).collect();
        assert_eq!(places, [&[1, 6, 8, 12][..], &[20, 25]]);
        for (text, place) in [("é 'a", "3"), ("x  \"a", "4"), ("é /* a", "3"), ("x $0", "3")] {
            let position = statements(text).unwrap_err().position;
            assert_eq!(position.as_deref(), Some(place), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(text in "\\PC*") {
            let _ = statements(&text);
        }
    }
}
