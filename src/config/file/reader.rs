//! Reads one table of the file: it is asked for keys, and whatever nobody asked for is unknown.

use std::cell::RefCell;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::report::Report;
use crate::config::checks::hints::unknown_key;
use crate::config::keys::setting::{Key, Setting, describe, toml_text};

/// One table and its path.
pub(crate) struct Reader<'t, 'r> {
    table: &'t DeTable<'t>,
    path: String,
    asked: RefCell<Vec<&'static str>>,
    pub(crate) report: &'r Report<'t>,
    folder: &'r Path,
}

/// A dotted path with one more key, quoted where TOML wants it.
pub(crate) fn join(path: &str, key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let key = if !key.is_empty() && key.chars().all(bare) { key.to_owned() } else { toml_text(key) };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

impl<'t, 'r> Reader<'t, 'r> {
    /// The whole file; relative paths in it are relative to `folder`.
    pub(crate) fn new(table: &'t DeTable<'t>, report: &'r Report<'t>, folder: &'r Path) -> Self {
        Self { table, path: String::new(), asked: RefCell::default(), report, folder }
    }

    /// The dotted path of one of its keys.
    pub(crate) fn key_path(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// The value of a key; none if it is not written or was refused, which is reported.
    pub(crate) fn get<T: Setting>(&self, key: &Key) -> Option<T> {
        self.asked.borrow_mut().push(key.name);
        let path = self.key_path(key.name);
        let (name, value) = self.find(key.name)?;
        self.report.saw(&path, name.span());
        match T::from_spanned(value, key, self.folder) {
            Ok(value) => Some(value),
            Err(faults) => {
                for fault in faults {
                    self.report.error_at(fault.span, &path, fault.reason);
                }
                None
            }
        }
    }

    /// The sub-table of that name, if it is written.
    pub(crate) fn table(&self, name: &'static str) -> Option<Self> {
        self.asked.borrow_mut().push(name);
        let (key, value) = self.find(name)?;
        self.reader_of(key, value, "")
    }

    /// The tables inside the sub-table of that name, such as `[databases.app]` in `databases`.
    pub(crate) fn children(&self, name: &'static str) -> Vec<(String, Self)> {
        self.asked.borrow_mut().push(name);
        let Some((key, value)) = self.find(name) else {
            return Vec::new();
        };
        let Some(parent) = self.reader_of(key, value, ".NAME") else {
            return Vec::new();
        };
        let child = |(key, value)| {
            let reader = parent.reader_of(key, value, "")?;
            Some((key.get_ref().to_string(), reader))
        };
        parent.table.iter().filter_map(child).collect()
    }

    /// The tables of a list of tables, `[[webhook]]`; one that is written as `[webhook]` is a list of one. Their paths are numbered
    /// from 1.
    pub(crate) fn items(&self, name: &'static str) -> Vec<Self> {
        self.asked.borrow_mut().push(name);
        let Some((key, value)) = self.find(name) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            return self.reader_of(key, value, "").into_iter().collect();
        };
        let item = |(at, item): (usize, &'t Spanned<DeValue<'t>>)| {
            let path = format!("{}.{}", self.key_path(name), at + 1);
            match item.get_ref() {
                DeValue::Table(table) => {
                    Some(Self { table, path, asked: RefCell::default(), report: self.report, folder: self.folder })
                }
                other => {
                    let reason = format!("must be tables, [[{name}]], found {}", describe(other));
                    self.report.error_at(item.span(), &path, reason);
                    None
                }
            }
        };
        items.iter().enumerate().filter_map(item).collect()
    }

    fn find(&self, name: &str) -> Option<(&'t Spanned<Text<'t>>, &'t Spanned<DeValue<'t>>)> {
        self.table.iter().find(|(key, _)| key.get_ref() == name)
    }

    fn reader_of(&self, key: &'t Spanned<Text<'t>>, value: &'t Spanned<DeValue<'t>>, below: &str) -> Option<Self> {
        let path = self.key_path(key.get_ref());
        self.report.saw(&path, key.span());
        match value.get_ref() {
            DeValue::Table(table) => {
                Some(Self { table, path, asked: RefCell::default(), report: self.report, folder: self.folder })
            }
            other => {
                let found = describe(other);
                let reason = format!("must be a table, [{path}{below}], found {found}");
                self.report.error_at(key.span(), &path, reason);
                None
            }
        }
    }

    /// Reports every key that nobody asked for.
    pub(crate) fn finish(self) {
        let asked = self.asked.into_inner();
        for (key, _) in self.table.iter() {
            let name = key.get_ref().as_ref();
            if !asked.contains(&name) {
                let reason = unknown_key(&self.path, name, &asked);
                let path = join(&self.path, name);
                self.report.saw(&path, key.span());
                self.report.error_at(key.span(), &path, reason);
            }
        }
    }
}

type Text<'t> = toml::de::DeString<'t>;
