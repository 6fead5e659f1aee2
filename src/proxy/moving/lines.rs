//! What is found before a move, in words: each a line with what it means and what can be done about it.

use crate::moving::{Line, Status};

/// Sessions, tables and other things that are named.
const SHOWN: usize = 5;

/// All is well.
pub(super) fn ok(name: &str, text: impl Into<String>) -> Line {
    Line::check(name, Status::Ok, text)
}

/// A person should know it.
pub(super) fn warn(name: &str, text: impl Into<String>, remedy: impl Into<String>) -> Line {
    Line::check(name, Status::Warn, text).with_remedy(remedy)
}

/// The move would fail.
pub(super) fn fail(name: &str, text: impl Into<String>, remedy: impl Into<String>) -> Line {
    Line::check(name, Status::Fail, text).with_remedy(remedy)
}

/// The first few, and how many more there are.
pub(super) fn listed(rows: impl Iterator<Item = String>) -> String {
    let all: Vec<String> = rows.collect();
    let more = all.len().saturating_sub(SHOWN);
    let mut words = all.into_iter().take(SHOWN).collect::<Vec<_>>().join(", ");
    if more > 0 {
        words.push_str(&format!(" and {more} more"));
    }
    words
}
