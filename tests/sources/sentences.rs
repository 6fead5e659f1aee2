//! Whoever has a sentence in mind finds its file by the names of folders and files alone (docs/ARCHITECTURE.md).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Sentences that were asked for, and the words of a path that lead to their files.
const SENTENCES: [(&str, &[&str]); 10] = [
    ("a held write is sent once the gate opens", &["client", "maintenance", "hold"]),
    ("a cancel request finds its server", &["proxy", "cancel_requests"]),
    ("the statement is prepared again on another server connection", &["client", "prepared", "prepare_again"]),
    ("a replica beyond max_lag gets no reads", &["topology", "cluster", "replica_choice"]),
    ("the client is told of the flip", &["client", "maintenance", "transition", "mode_notifications"]),
    ("an open transaction that has written nothing is fenced", &["client", "maintenance", "transition", "fence"]),
    ("settings are made on a server connection that is checked out", &["client", "checkout", "sync_settings"]),
    ("a line of the HBA file matches a log-in", &["auth", "hba", "matching"]),
    ("an event is delivered to a webhook", &["webhooks", "deliver"]),
    ("SHOW POOLS lists the pools", &["admin", "show", "pools"]),
];

#[test]
fn a_sentence_leads_to_its_file_by_names_alone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs/ARCHITECTURE.md")).unwrap();
    let section = text.split("## Ten sentences").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: BTreeMap<&str, &str> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | "))
        .filter_map(|(sentence, file)| Some((sentence, file.strip_prefix('`')?.strip_suffix('`')?)))
        .collect();
    assert_eq!(rows.len(), SENTENCES.len(), "{rows:?}");
    for (sentence, words) in SENTENCES {
        let file = rows[sentence];
        assert_eq!(file, format!("src/{}.rs", words.join("/")), "{sentence}");
        assert!(root.join(file).is_file(), "{sentence}: {file} is not there");
    }
}
