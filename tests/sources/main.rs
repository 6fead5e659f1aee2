//! Rules of the house that can be read from the sources.

mod errors;
mod figures;
mod layers;
mod log_lines;
mod packages;
mod sentences;
mod sizes;
mod structs;

use std::fs;
use std::path::{Path, PathBuf};

/// One source file.
struct Source {
    /// From the root of the repository.
    path: PathBuf,
    text: String,
}

/// All `.rs` files below these folders.
fn sources(folders: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| root.join(folder)).collect();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push(Source { path: path.strip_prefix(root).unwrap().to_owned(), text });
            }
        }
    }
    assert!(!found.is_empty(), "{folders:?}");
    found
}

/// The text of what is built into the program: without comments, and without the tests at its end.
fn code(source: &Source) -> String {
    let text = source.text.split("#[cfg(test)]\nmod ").next().unwrap();
    text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// Whether a file holds tests alone.
fn is_test(source: &Source) -> bool {
    let path = source.path.to_str().unwrap();
    path.contains("/tests/") || path.ends_with("tests.rs")
}
