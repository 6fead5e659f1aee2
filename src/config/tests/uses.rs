//! A key that is read and does nothing is worse than one that is not known.

use crate::config::*;

/// Keys of which only one value is accepted so far, and it is the default.
const WITHOUT_A_CHOICE: [&str; 1] = ["ddl"];

/// The text of every source file outside of the configuration.
fn sources(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("src/config") {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// Whether a field of that name is read.
fn is_read(text: &str, name: &str) -> bool {
    let field = format!(".{name}");
    text.match_indices(&field).any(|(at, _)| {
        let next = text[at + field.len()..].chars().next();
        !next.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

#[test]
fn every_key_has_a_use() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = String::new();
    sources(&root.join("src"), &mut text);
    // What the configuration itself makes something else of before others see it.
    let made = ["mod.rs", "keys/tables.rs", "values/url.rs"]
        .map(|name| std::fs::read_to_string(root.join("src/config").join(name)).unwrap());
    let elsewhere = [
        ("auth_file", "Credentials::File"),
        ("auth_user", "Some(AuthQuery {"),
        ("auth_query", "Some(AuthQuery {"),
        ("auth_dbname", "Some(AuthQuery {"),
        ("default_pool_size", "pool_size: pooling.default_pool_size"),
    ];
    let keys: Vec<&str> = Config::general_keys()
        .chain(Cluster::KEYS)
        .chain(Database::KEYS)
        .chain(User::KEYS)
        .chain(Http::KEYS)
        .chain(Maintenance::KEYS)
        .chain(Refusals::KEYS)
        .map(|key| key.name)
        .collect();
    assert!(keys.len() > 80, "keys are found");
    for key in keys {
        let passed_on = elsewhere.iter().find(|(name, _)| *name == key);
        let used = is_read(&text, key)
            || passed_on.is_some_and(|(_, how)| made.iter().any(|text| text.contains(how)))
            || WITHOUT_A_CHOICE.contains(&key);
        assert!(used, "{key} is read and never used");
    }
}
