//! TOML itself: all its syntax errors, and whether enough is left to go on and check the rest.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, Error};

use super::report::Report;

/// What stands in the file as far as it is TOML.
pub(crate) struct Parsed<'t> {
    pub(crate) table: Spanned<DeTable<'t>>,
    errors: Vec<SyntaxError>,
}

/// An error after which the parser goes on in the next line as if nothing had happened.
struct SyntaxError {
    span: Range<usize>,
    what: What,
}

enum What {
    /// A key or table that stands there for a second time; the first one counts.
    Duplicate,
    /// Anything else: the value that was made up instead counts for nothing.
    Invalid(String),
}

impl<'t> Parsed<'t> {
    /// Parses; `None` when the structure is broken and too little is left to check, which is then reported.
    pub(crate) fn new(text: &'t str, report: &Report<'t>) -> Option<Self> {
        let (table, mut found) = DeTable::parse_recoverable(text);
        let start = |e: &Error| e.span().map_or(0, |s| s.start);
        found.sort_by_key(start);
        // What follows a broken bracket is reported as broken too: only the first is the author's.
        let broken = found.iter().find(|e| !is_local(e.message())).map(start);
        let own = |e: &&Error| broken.is_none_or(|at| start(e) <= at);
        let errors = one_per_line(found.iter().filter(own), report);
        for error in &errors {
            match &error.what {
                What::Invalid(reason) if broken.is_some() => {
                    report.syntax_error(error.span.clone(), "", reason.clone());
                }
                What::Invalid(_) => report.spoil(error.span.start),
                What::Duplicate if broken.is_some() => {
                    let (key, reason) = duplicate(text, &error.span, report);
                    report.syntax_error(error.span.clone(), &key, reason);
                }
                What::Duplicate => {}
            }
        }
        match broken {
            Some(_) => None,
            None => Some(Self { table, errors }),
        }
    }

    /// Reports the errors that did not stop the reading, now that the keys' places are known.
    pub(crate) fn report_errors(&self, text: &str, report: &Report<'t>) {
        for SyntaxError { span, what } in &self.errors {
            let (key, reason) = match what {
                What::Invalid(reason) => (report.key_in_line_of(span.start), reason.clone()),
                What::Duplicate => duplicate(text, span, report),
            };
            report.syntax_error(span.clone(), &key, reason);
        }
    }
}

const DUPLICATE: &str = "duplicate key";
const UNQUOTED: &str = "string values must be quoted";

fn is_local(message: &str) -> bool {
    let value = message.starts_with(UNQUOTED) || message.starts_with("invalid");
    message == DUPLICATE || (value && !message.contains("multi-line"))
}

/// The first error of each line: what the parser says of the rest of the line follows from it.
fn one_per_line<'e>(errors: impl Iterator<Item = &'e Error>, report: &Report<'_>) -> Vec<SyntaxError> {
    let mut last = 0;
    let mut kept = Vec::new();
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        let line = report.place(span.start).line;
        if line != last {
            last = line;
            let what = what(error.message(), span.is_empty());
            kept.push(SyntaxError { span, what });
        }
    }
    kept
}

/// The parser's message in the words of somebody who writes a file.
fn what(message: &str, nothing_there: bool) -> What {
    let said = match message {
        DUPLICATE => return What::Duplicate,
        m if m.starts_with(UNQUOTED) && nothing_there => "there is no value",
        m if m.starts_with(UNQUOTED) => "text must stand in quotes, such as \"text\"",
        "invalid basic string, expected `\"`" | "invalid literal string, expected `'`" => {
            "the closing quote is missing"
        }
        other => other,
    };
    What::Invalid(format!("not valid TOML: {said}"))
}

/// Path and reason of a second key or table. The path is taken from the text: the parser keeps only the first.
fn duplicate(text: &str, span: &Range<usize>, report: &Report<'_>) -> (String, String) {
    let before = text.get(..span.start).unwrap_or("");
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let above = text.get(..start).unwrap_or("");
    let line = text.get(start..).and_then(|t| t.lines().next());
    let (what, key, first) = match line.and_then(header) {
        Some(path) => {
            let first = above.lines().position(|l| header(l).as_ref() == Some(&path));
            let first = first.and_then(|at| u32::try_from(at).ok()?.checked_add(1));
            ("table", path, first)
        }
        None => {
            let name = text.get(span.clone()).unwrap_or("");
            let path = match above.lines().rev().find_map(header) {
                Some(table) => format!("{table}.{name}"),
                None => name.to_owned(),
            };
            let first = report.line_of(&path);
            ("key", path, first)
        }
    };
    let here = report.place(span.start).line;
    let first = match first.filter(|line| *line < here) {
        Some(line) => format!(", first in line {line}"),
        None => String::new(),
    };
    (key, format!("this {what} stands here for a second time{first}"))
}

/// The path in a line such as `[databases.app]`.
fn header(line: &str) -> Option<String> {
    let inside = line.trim_start().strip_prefix('[')?;
    Some(inside.split(']').next()?.trim().to_owned())
}
