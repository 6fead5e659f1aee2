//! A file is one idea.

use crate::sources;

const LINES: usize = 600;

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
