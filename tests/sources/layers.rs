//! Folders are layers: what lies below knows nothing of what lies above (docs/ARCHITECTURE.md).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::{code, is_test, sources};

/// What a word in the table's column "knows nothing of" stands for.
const WORDS: [(&str, &[&str]); 10] = [
    ("SQL", &["sql"]),
    ("pools", &["server"]),
    ("sockets", &["net"]),
    ("modes", &["gate"]),
    ("clients", &["shared", "client"]),
    ("PostgreSQL", &["protocol", "sql", "server"]),
    ("the conversation with a server", &["client"]),
    ("the console", &["admin"]),
    ("HTTP", &["http"]),
    ("what becomes of it", &["server", "shared", "client", "proxy", "admin", "http", "cli"]),
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

/// Rows of the table: folders of one layer, and what its last column says that they know nothing of.
fn table() -> Vec<(Vec<String>, Vec<String>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ARCHITECTURE.md");
    let text = fs::read_to_string(path).unwrap();
    let rows = text.lines().skip_while(|line| !line.contains("knows nothing of"));
    let row = |row: &str| {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let names = cells[0].split("[`").skip(1).map(|name| name.split('`').next().unwrap().to_owned()).collect();
        let words = cells.get(2).copied().unwrap_or("").split(", ").filter(|word| !word.is_empty());
        (names, words.map(str::to_owned).collect())
    };
    rows.skip(2).take_while(|line| line.starts_with('|')).map(row).collect()
}

#[test]
fn folders_import_only_what_lies_above_them_in_the_table_and_nothing_that_they_know_nothing_of() {
    let (imports, table) = (imports(), table());
    let folders: BTreeSet<&String> = table.iter().flat_map(|(names, _)| names).collect();
    assert_eq!(imports.keys().collect::<BTreeSet<_>>(), folders, "the table in docs/ARCHITECTURE.md");
    let mut above: BTreeSet<&String> = BTreeSet::new();
    for (names, unknown) in &table {
        above.extend(names);
        for folder in names {
            let below: Vec<_> =
                imports[folder].iter().filter(|name| folders.contains(name) && !above.contains(name)).collect();
            assert!(below.is_empty(), "{folder} imports from {below:?}, which lie below it in the table");
            for word in unknown {
                let (_, means) =
                    WORDS.iter().find(|(known, _)| known == word).unwrap_or_else(|| panic!("what is {word}?"));
                let known: Vec<_> = means.iter().filter(|name| imports[folder].contains(**name)).collect();
                assert!(known.is_empty(), "{folder} imports from {known:?}, but knows nothing of {word}");
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
