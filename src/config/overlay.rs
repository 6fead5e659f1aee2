//! Values that SET on the console gives to keys at the top of the file.

use toml::de::DeTable;

use super::file::syntax::Parsed;
use super::keys::setting::toml_text;
use super::{Config, Overrides};

/// The value of a key as a literal: as it is written in our file or in PgBouncer's.
fn literal(key: &str, value: &str) -> String {
    let noun = Config::general_keys().find(|known| known.name == key).map_or("", |known| known.kind.noun);
    match (noun, value.to_ascii_lowercase().as_str()) {
        ("true or false", "1" | "on" | "yes" | "true") => return "true".to_owned(),
        ("true or false", "0" | "off" | "no" | "false") => return "false".to_owned(),
        _ => {}
    }
    let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let takes_numbers = noun.starts_with("number") || noun.starts_with("duration") || noun == "size";
    if is_number && takes_numbers { value.to_owned() } else { toml_text(value) }
}

/// The TOML of some keys.
pub(super) fn text(set: &[(String, String)]) -> String {
    set.iter().map(|(key, value)| format!("{key} = {}\n", literal(key, value))).collect()
}

/// Puts them in the place of what the file says.
pub(super) fn lay_over<'t>(parsed: &mut Parsed<'t>, set: &'t str) {
    let Ok(over) = DeTable::parse(set) else { return };
    for (key, value) in over.into_inner() {
        parsed.table.get_mut().insert(key, value);
    }
}

impl Overrides {
    /// Gives a key another value until it is forgotten.
    pub fn set(&mut self, key: &str, value: &str) {
        self.set.retain(|(known, _)| known != key);
        self.set.push((key.to_owned(), value.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_goes_before_the_file() {
        let file = "pool_mode = 'session'\n[clusters.main]\nupstreams = ['h']\n[databases.app]\n";
        let mut overrides = Overrides::default();
        for (key, value) in [
            ("pool_mode", "transaction"),
            ("query_timeout", "5"),
            ("log_connections", "0"),
            ("admin_users", "a, b"),
            ("pool_mode", "statement"),
        ] {
            overrides.set(key, value);
        }
        let config = Config::parse(file, "t.toml", None, &overrides).unwrap();
        assert_eq!(config.pooling.pool_mode, crate::config::PoolMode::Statement);
        assert_eq!(config.databases["app"].pool_mode, crate::config::PoolMode::Statement);
        assert_eq!(config.timeouts.query_timeout, crate::config::Timeout::secs(5));
        assert!(!config.log.log_connections);
        assert_eq!(config.auth.admin_users, ["a", "b"]);
        overrides.set("pool_mode", "sometimes");
        assert!(Config::parse(file, "t.toml", None, &overrides).is_err());
    }
}
