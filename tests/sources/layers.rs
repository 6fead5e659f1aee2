//! Folders are layers: what lies below knows nothing of what lies above (docs/ARCHITECTURE.md).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::{code, is_test, sources};

/// What a word in the table's column "knows nothing of" stands for.
const WORDS: [(&str, &[&str]); 7] = [
    ("SQL", &["sql"]),
    ("pools", &["upstream"]),
    ("sockets", &["net"]),
    ("modes", &["gate"]),
    ("clients", &["hub", "session"]),
    ("PostgreSQL", &["wire", "sql", "upstream"]),
    ("the console", &["admin"]),
];

/// For each folder of `src`, those that it imports from.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources(&["src"]).iter().filter(|source| !is_test(source)) {
        let parts: Vec<_> = source.path.iter().map(|part| part.to_str().unwrap()).collect();
        let [_, folder, _, ..] = parts[..] else { continue };
        let imported = all.entry(folder.to_owned()).or_default();
        let text = code(source);
        for (at, start) in text.match_indices("crate::") {
            let rest = &text[at + start.len()..];
            let named: Vec<&str> = match rest.strip_prefix('{') {
                Some(group) => group.split('}').next().unwrap().split(',').collect(),
                None => vec![rest],
            };
            let word = |text: &str| -> String {
                text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
            };
            imported.extend(named.into_iter().map(word).filter(|name| name != folder));
        }
    }
    all
}

/// Folders of the table, and what its column says that they know nothing of.
fn table() -> BTreeMap<String, Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ARCHITECTURE.md");
    let text = fs::read_to_string(path).unwrap();
    let rows = text.lines().skip_while(|line| !line.contains("knows nothing of")).take_while(|line| line.starts_with('|'));
    let mut table = BTreeMap::new();
    for row in rows.skip(2) {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let unknown: Vec<_> = cells.get(2).copied().unwrap_or("").split(", ").map(str::to_owned).collect();
        for name in cells[0].split("[`").skip(1) {
            table.insert(name.split('`').next().unwrap().to_owned(), unknown.clone());
        }
    }
    table
}

#[test]
fn folders_are_those_of_the_table_and_import_nothing_that_they_know_nothing_of() {
    let (imports, table) = (imports(), table());
    assert_eq!(imports.keys().collect::<Vec<_>>(), table.keys().collect::<Vec<_>>(), "docs/ARCHITECTURE.md");
    for (folder, unknown) in &table {
        for word in unknown.iter().filter(|word| !word.is_empty()) {
            let (_, means) = WORDS.iter().find(|(known, _)| known == word).unwrap_or_else(|| panic!("what is {word}?"));
            for name in *means {
                assert!(!imports[folder].contains(*name), "{folder} imports from {name}, but knows nothing of {word}");
            }
        }
    }
}

#[test]
fn layers_have_no_circles() {
    let mut left = imports();
    while !left.is_empty() {
        let names: BTreeSet<String> = left.keys().cloned().collect();
        let lowest: Vec<String> = left
            .iter()
            .filter(|(_, imported)| imported.is_disjoint(&names))
            .map(|(folder, _)| folder.clone())
            .collect();
        assert!(!lowest.is_empty(), "a circle among {left:?}");
        lowest.iter().for_each(|folder| _ = left.remove(folder));
    }
}
