//! A file is one idea.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::sources;

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
