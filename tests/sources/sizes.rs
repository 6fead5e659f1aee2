//! A file is one idea.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::{Source, is_test, sources};

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
pub const FUNCTION: usize = 80;

/// A function: its lines, its file, and how it begins.
pub struct Function {
    pub lines: usize,
    pub path: PathBuf,
    words: String,
}

/// The functions of these files.
pub fn functions(sources: &[Source]) -> Vec<Function> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| !is_test(source)) {
        let lines: Vec<&str> = source.text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let words = line.trim_start();
            let begins = ["fn ", "async fn ", "unsafe fn ", "const fn ", "pub fn ", "pub async fn ", "pub const fn "];
            let after =
                words.split_once(") ").filter(|(before, _)| before.starts_with("pub(")).map_or(words, |(_, rest)| rest);
            if !begins.iter().any(|begin| after.starts_with(begin)) || line.ends_with(';') {
                continue;
            }
            let end = format!("{}}}", " ".repeat(indent));
            let length = lines[at..].iter().position(|line| **line == end).map_or(1, |last| last + 1);
            found.push(Function { lines: length, path: source.path.clone(), words: words.to_owned() });
        }
    }
    found
}

#[test]
fn no_function_is_longer_than_80_lines() {
    let all = functions(&sources(&["src"]));
    assert!(all.len() > 2000, "functions are found: {}", all.len());
    let long: Vec<_> = all
        .iter()
        .filter(|function| function.lines > FUNCTION)
        .map(|function| (function.lines, function.path.display(), &function.words))
        .collect();
    assert!(long.is_empty(), "too long: {long:#?}");
}
