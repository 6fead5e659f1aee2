//! The example file and the documentation say what the reader reads.

use super::read;
use crate::config::keys::example::{documentation, example};
use crate::config::*;

/// The example with every key that is commented out put in force.
fn uncommented() -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => rest.to_owned(),
        _ => line.to_owned(),
    };
    example().lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_example_is_a_configuration_of_defaults_without_warnings() {
    let config = read(&example()).unwrap();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let live = ["clusters.main.upstreams", "clusters.main.monitor_user"];
    for entry in config.entries() {
        let is_live = live.contains(&entry.key.as_str()) || entry.key == "databases.app.cluster";
        assert!(entry.value == entry.default || is_live, "{entry:?}");
    }
    assert_eq!(config.sections().map(shown), Config::empty().sections().map(shown));
}

fn shown(section: &dyn crate::config::file::section::Section) -> Vec<String> {
    section.shown().into_iter().map(|s| s.plain).collect()
}

#[test]
fn every_commented_key_says_its_default() {
    let plain = read(&example()).unwrap();
    let config = read(&uncommented()).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    // Keys that show something because their default shows nothing.
    let examples: Vec<&str> = Config::general_keys()
        .chain(User::KEYS)
        .chain(Cluster::KEYS)
        .filter(|key| !key.example.is_empty())
        .map(|key| key.name)
        .collect();
    for (now, before) in config
        .entries()
        .iter()
        .filter(|e| !e.key.starts_with("users.") && !e.key.starts_with("webhook."))
        .zip(plain.entries())
    {
        assert_eq!(now.key, before.key);
        let last = now.key.rsplit('.').next().unwrap();
        assert!(now.value == before.value || examples.contains(&last), "{now:?} was {before:?}");
    }
}

#[test]
fn the_example_and_the_documentation_have_every_key() {
    let (text, docs) = (uncommented(), documentation());
    let tables = [
        Maintenance::KEYS,
        Http::KEYS,
        Metrics::KEYS,
        Refusals::KEYS,
        Fleet::KEYS,
        Webhook::KEYS,
        Cluster::KEYS,
        Database::KEYS,
        User::KEYS,
    ];
    for key in Config::general_keys().chain(tables.into_iter().flatten()) {
        assert!(text.lines().any(|l| l.starts_with(&format!("{} = ", key.name))), "{}", key.name);
        assert!(docs.contains(&format!("| `{}` |", key.name)), "{}", key.name);
        assert!(!key.doc.trim().is_empty() && !key.doc.contains('|'), "{}", key.name);
    }
}

/// `UPDATE_DOCS=1 cargo test` writes the files anew.
#[test]
fn the_files_in_docs_are_in_step() {
    let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    for (name, text) in [("CONFIGURATION.md", documentation()), ("pgsluice.example.toml", example())] {
        let path = docs.join(name);
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(written == text, "{name} is not in step: run UPDATE_DOCS=1 cargo test");
    }
}
