//! The list of findings while a configuration is read: knows where every key stands, so that a check made long
//! after parsing can still name the line.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::error::{ConfigErrors, Finding, Place};

/// Collects errors and warnings of one file.
pub(crate) struct Report<'t> {
    file: &'t str,
    text: &'t str,
    /// The offset at which each line begins.
    line_starts: Vec<usize>,
    found: RefCell<Found>,
}

#[derive(Default)]
struct Found {
    places: BTreeMap<String, Range<usize>>,
    /// The last key of each line.
    lines: BTreeMap<u32, String>,
    /// Lines of which nothing is said.
    spoilt: BTreeSet<u32>,
    /// Keys that have an error.
    refused: BTreeSet<String>,
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
}

impl<'t> Report<'t> {
    pub(crate) fn new(file: &'t str, text: &'t str) -> Self {
        Self {
            file,
            text,
            line_starts: std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect(),
            found: RefCell::default(),
        }
    }

    /// Remembers where a key stands.
    pub(crate) fn saw(&self, key: &str, span: Range<usize>) {
        let line = self.place(span.start).line;
        let mut found = self.found.borrow_mut();
        found.lines.insert(line, key.to_owned());
        found.places.insert(key.to_owned(), span);
    }

    /// Whether the key was written in the file.
    pub(crate) fn was_written(&self, key: &str) -> bool {
        self.found.borrow().places.contains_key(key)
    }

    /// From now on nothing is said of this line: it is not even TOML, and what was made of it is a guess.
    pub(crate) fn spoil(&self, offset: usize) {
        let line = self.place(offset).line;
        self.found.borrow_mut().spoilt.insert(line);
    }

    /// An error at a place.
    pub(crate) fn error_at(&self, span: Range<usize>, key: &str, reason: impl Into<String>) {
        let place = Some(self.place(span.start));
        self.add(self.finding(place, key, reason.into()));
    }

    /// An error of a key, at its place or, if it was not written, at the table it would stand in. A key that has an
    /// error already gets no further one: what is checked here would be its default.
    pub(crate) fn error(&self, key: &str, reason: impl Into<String>) {
        if self.is_sound(key) {
            self.add(self.finding(self.place_of(key), key, reason.into()));
        }
    }

    /// A warning, placed as [`Report::error`].
    pub(crate) fn warn(&self, key: &str, reason: impl Into<String>) {
        let finding = self.finding(self.place_of(key), key, reason.into());
        self.found.borrow_mut().warnings.push(finding);
    }

    /// A syntax error: said even of a spoilt line.
    pub(crate) fn syntax_error(&self, span: Range<usize>, key: &str, reason: String) {
        let finding = self.finding(Some(self.place(span.start)), key, reason);
        self.found.borrow_mut().errors.push(finding);
    }

    /// Whether the value of a key is what the file says (or its default), not what stood in for a refused one.
    pub(crate) fn is_sound(&self, key: &str) -> bool {
        let found = self.found.borrow();
        let line = found.places.get(key).map(|s| self.place(s.start).line);
        !found.refused.contains(key) && line.is_none_or(|line| !found.spoilt.contains(&line))
    }

    /// Whether nothing inside a table was refused.
    pub(crate) fn is_sound_below(&self, table: &str) -> bool {
        let inside = |key: &String| key.strip_prefix(table).is_some_and(|k| k.starts_with('.'));
        !self.found.borrow().refused.iter().any(inside)
    }

    /// The last key that was read in the same line, if any.
    pub(crate) fn key_in_line_of(&self, offset: usize) -> String {
        let line = self.place(offset).line;
        self.found.borrow().lines.get(&line).cloned().unwrap_or_default()
    }

    /// The line of a key, or of the table it would stand in.
    pub(crate) fn line_of(&self, key: &str) -> Option<u32> {
        self.place_of(key).map(|p| p.line)
    }

    fn add(&self, finding: Finding) {
        let mut found = self.found.borrow_mut();
        found.refused.insert(finding.key.clone());
        if finding.place.is_none_or(|p| !found.spoilt.contains(&p.line)) {
            found.errors.push(finding);
        }
    }

    /// Ends the list: the warnings if there was no error.
    pub(crate) fn finish(self) -> Result<Vec<Finding>, ConfigErrors> {
        let all = self.into_errors();
        if all.errors.is_empty() { Ok(all.warnings) } else { Err(all) }
    }

    /// Ends a list that is known to have errors. Both lists are in the order of the file.
    pub(crate) fn into_errors(self) -> ConfigErrors {
        let found = self.found.into_inner();
        let (mut errors, mut warnings) = (found.errors, found.warnings);
        // Errors of the file as a whole come last: they are often the consequence of one that has a line.
        let order = |f: &Finding| (f.place.is_none(), f.place);
        errors.sort_by_key(order);
        warnings.sort_by_key(order);
        errors.dedup();
        warnings.dedup();
        ConfigErrors { errors, warnings }
    }

    fn finding(&self, place: Option<Place>, key: &str, reason: String) -> Finding {
        Finding { file: self.file.to_owned(), place, key: key.to_owned(), reason }
    }

    fn place_of(&self, key: &str) -> Option<Place> {
        let found = self.found.borrow();
        let mut path = key;
        loop {
            if let Some(span) = found.places.get(path) {
                return Some(self.place(span.start));
            }
            path = &path[..path.rfind('.')?];
        }
    }

    /// Line and column of an offset.
    pub(crate) fn place(&self, offset: usize) -> Place {
        let line = self.line_starts.partition_point(|start| *start <= offset);
        let start = line.checked_sub(1).and_then(|at| self.line_starts.get(at));
        let before = self.text.get(start.copied().unwrap_or(0)..offset);
        let column = before.map_or(0, |text| text.chars().count());
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Place { line: count(line), column: count(column).saturating_add(1) }
    }
}
