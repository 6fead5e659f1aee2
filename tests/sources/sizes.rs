//! A file is one idea.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::{is_test, sources};

const LINES: usize = 600;
const FILES: usize = 12;

#[test]
fn no_file_is_longer_than_600_lines() {
    let all = sources(&["src", "fixtures", "benches", "tests"]);
    assert!(all.len() > 300, "files are found");
    let long: Vec<_> = all
        .iter()
        .map(|source| (source.text.lines().count(), &source.path))
        .filter(|(lines, _)| *lines > LINES)
        .collect();
    assert!(long.is_empty(), "too long: {long:?}");
}

#[test]
fn no_folder_has_more_than_12_files() {
    let mut folders: BTreeMap<PathBuf, usize> = BTreeMap::new();
    for source in sources(&["src"]) {
        let folder = source.path.parent().map(Path::to_owned).unwrap_or_default();
        *folders.entry(folder).or_default() += 1;
    }
    assert!(folders.len() > 30, "folders are found");
    folders.retain(|_, files| *files > FILES);
    assert!(folders.is_empty(), "too many files: {folders:?}");
}

/// Lines of a function, its signature and its last bracket among them.
const FUNCTION: usize = 80;

#[test]
fn no_function_is_longer_than_80_lines() {
    let mut known = 0;
    let mut long = Vec::new();
    for source in sources(&["src"]).iter().filter(|source| !is_test(source)) {
        let lines: Vec<&str> = source.text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let words = line.trim_start();
            let begins = ["fn ", "pub fn ", "async fn ", "pub async fn ", "const fn ", "pub const fn "];
            let after =
                words.split_once(") ").filter(|(before, _)| before.starts_with("pub(")).map_or(words, |(_, rest)| rest);
            if !begins.iter().any(|begin| after.starts_with(begin)) {
                continue;
            }
            known += 1;
            let end = format!("{}}}", " ".repeat(indent));
            let length = lines[at..].iter().position(|line| **line == end).map_or(1, |last| last + 1);
            if length > FUNCTION && !line.ends_with(';') {
                long.push((length, source.path.display().to_string(), words.to_owned()));
            }
        }
    }
    assert!(known > 2000, "functions are found: {known}");
    assert!(long.is_empty(), "too long: {long:#?}");
}
