//! The table of sizes in docs/ARCHITECTURE.md, before the rebuilding of a client's life and now.

use std::fs;
use std::path::Path;

use crate::sizes::{FUNCTION, functions};
use crate::structs::{on_clients_path, structs};
use crate::{Source, sources};

/// As counted at commit 2e86284, where a client's life was the folder `session`.
const BEFORE: [&str; 6] = [
    "248, 166, 590 lines",
    "51, 203, 590 lines",
    "8, 107 lines",
    "107 lines",
    "Session 39, 4; Flow 33, 17; Relay 17, 2; Prepared 12, 2; Io 9, 1",
    "all of Session and Flow",
];
const ROWS: [&str; 6] = [
    "files in `src`: number, median, largest",
    "of them a client's",
    "functions of more than 80 lines; the largest",
    "the largest of a client's",
    "five largest structs of a client: fields, booleans",
    "fields of a client's structs that other folders reach",
];

fn files(all: &[Source]) -> String {
    let mut lines: Vec<usize> = all.iter().map(|source| source.text.lines().count()).collect();
    lines.sort_unstable();
    format!("{}, {}, {} lines", lines.len(), lines[lines.len() / 2], lines[lines.len() - 1])
}

fn largest_structs() -> String {
    let mut all = Vec::new();
    for (_, code) in on_clients_path() {
        all.extend(structs(&code).iter().map(|one| (one.fields.len(), one.booleans(), one.name.to_owned())));
    }
    all.sort_by(|one, other| (other.0, other.1, &one.2).cmp(&(one.0, one.1, &other.2)));
    let words = all.iter().take(5).map(|(fields, booleans, name)| format!("{name} {fields}, {booleans}"));
    words.collect::<Vec<_>>().join("; ")
}

/// The table, as it is true of the sources.
fn table() -> String {
    let (all, client) = (sources(&["src"]), sources(&["src/client"]));
    let (functions, of_client) = (functions(&all), functions(&client));
    let largest = |of: &[crate::sizes::Function]| of.iter().map(|one| one.lines).max().unwrap();
    let long = functions.iter().filter(|one| one.lines > FUNCTION).count();
    let now = [
        files(&all),
        files(&client),
        format!("{long}, {} lines", largest(&functions)),
        format!("{} lines", largest(&of_client)),
        largest_structs(),
        "none".to_owned(),
    ];
    let row = |(at, now): (usize, &String)| format!("| {} | {} | {now} |\n", ROWS[at], BEFORE[at]);
    format!("| | before | now |\n| --- | --- | --- |\n{}", now.iter().enumerate().map(row).collect::<String>())
}

/// The documentation up to the table, the table, and what follows.
fn parts(text: &str) -> [&str; 3] {
    let begin = text.find("| | before | now |").unwrap();
    let end = begin + text[begin..].find("\n\n").unwrap() + 1;
    [&text[..begin], &text[begin..end], &text[end..]]
}

/// Writes the table anew: `cargo test --test sources -- --ignored the_table_of_sizes_is_written_anew`.
#[test]
#[ignore = "it changes docs/ARCHITECTURE.md"]
fn the_table_of_sizes_is_written_anew() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ARCHITECTURE.md");
    let text = fs::read_to_string(&path).unwrap();
    let [before, _, behind] = parts(&text);
    fs::write(&path, format!("{before}{}{behind}", table())).unwrap();
}

/// Numbers of a text.
fn numbers(text: &str) -> Vec<f64> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect()
}

#[test]
fn the_table_of_sizes_is_about_true() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ARCHITECTURE.md");
    let text = fs::read_to_string(path).unwrap();
    let (told, counted) = (numbers(parts(&text)[1]), numbers(&table()));
    let close = |(told, counted): (&f64, &f64)| (told - counted).abs() <= 2.0 + counted * 0.05;
    let alike = told.len() == counted.len() && told.iter().zip(&counted).all(close);
    assert!(alike, "run the test that writes it anew; it is:\n{}", table());
}
