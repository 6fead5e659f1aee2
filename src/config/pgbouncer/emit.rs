//! The TOML that a pgbouncer.ini becomes, line by line, each with the place that it comes from.

use super::ini::{Entry, Origin};
use crate::config::file::error::{Finding, Place};
use crate::config::file::reader::join;
use crate::config::keys::setting::toml_text;

/// A line of TOML comes from this key.
#[derive(Clone, Debug)]
struct From {
    origin: Option<Origin>,
    key: String,
}

/// TOML under way.
#[derive(Debug, Default)]
pub(super) struct Emitter {
    text: String,
    /// One for each line of the text.
    lines: Vec<Option<From>>,
}

impl Emitter {
    fn line(&mut self, text: &str, from: Option<From>) {
        // A line each: what stands in comments has been cut at its line breaks, and values are escaped.
        self.text.push_str(text);
        self.text.push('\n');
        self.lines.push(from);
    }

    pub(super) fn comment(&mut self, text: &str) {
        for line in text.lines() {
            let line: String = line.chars().filter(|c| !c.is_control()).collect();
            self.line(format!("# {line}").trim_end(), None);
        }
    }

    pub(super) fn blank(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with("\n\n") {
            self.line("", None);
        }
    }

    /// `[table.name]`
    pub(super) fn table(&mut self, table: &str, name: &str, entry: Option<&Entry>) {
        self.blank();
        let from = entry.map(|entry| From { origin: Some(entry.origin.clone()), key: entry.path() });
        self.line(&format!("[{}]", join(table, name)), from);
    }

    /// `key = literal`, because of that entry.
    pub(super) fn key(&mut self, key: &str, literal: &str, entry: Option<&Entry>) {
        let from = From {
            origin: entry.map(|entry| entry.origin.clone()),
            key: entry.map_or_else(|| key.to_owned(), |entry| format!("{}.{key}", entry.path())),
        };
        self.line(&format!("{key} = {literal}"), Some(from));
    }

    /// As [`Emitter::key`], where the key of the entry is the one that a person knows.
    pub(super) fn same(&mut self, key: &str, literal: &str, entry: &Entry) {
        let from = From { origin: Some(entry.origin.clone()), key: entry.path() };
        self.line(&format!("{key} = {literal}"), Some(from));
    }

    pub(super) fn finish(self) -> Emitted {
        Emitted { text: self.text, lines: self.lines }
    }
}

/// TOML, and where each line of it comes from.
#[derive(Debug)]
pub(super) struct Emitted {
    pub(super) text: String,
    lines: Vec<Option<From>>,
}

impl Emitted {
    /// A finding about a line of the TOML as one about the line that it comes from.
    pub(super) fn back(&self, finding: Finding, file: &str) -> Finding {
        let from = finding.place.and_then(|place| self.lines.get(place.line.checked_sub(1)? as usize)?.as_ref());
        let Some(From { origin, key }) = from else {
            return Finding { file: file.to_owned(), place: None, ..finding };
        };
        match origin {
            Some(origin) => Finding {
                file: origin.file.to_string(),
                place: Some(Place { line: origin.line, column: 1 }),
                key: key.clone(),
                reason: finding.reason,
            },
            None => Finding { file: file.to_owned(), place: None, key: key.clone(), reason: finding.reason },
        }
    }
}

/// A text as a literal.
pub(super) fn text(value: &str) -> String {
    toml_text(value)
}

/// Texts as a list.
pub(super) fn list<'v>(values: impl Iterator<Item = &'v str>) -> String {
    let values: Vec<String> = values.map(toml_text).collect();
    format!("[{}]", values.join(", "))
}
