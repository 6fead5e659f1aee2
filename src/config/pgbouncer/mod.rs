//! A pgbouncer.ini as it is: read by libusual's rules ([`ini`]), translated key by key into our own TOML ([`general`],
//! [`databases`], [`users`], [`emit`]), and that is read like any other configuration. So whatever PgBouncer's file says is checked by the
//! same checks, `pgsluice import-pgbouncer` prints exactly what `pgsluice run` would read, and no key is lost: what has no
//! place here is named, with a sentence why.

mod databases;
mod emit;
mod general;
mod ini;
mod users;
mod values;

use std::path::{Path, PathBuf};

use crate::config::file::error::{ConfigErrors, Finding};
use crate::config::keys::entries::ConfigNote;
use crate::config::{Config, Overrides};
use emit::{Emitted, Emitter};
use ini::Entry;

/// Whether a text is a pgbouncer.ini and not TOML of ours.
pub(in crate::config) fn is_ini(text: &str, path: Option<&Path>) -> bool {
    let says_so = |line: &str| {
        line == "[pgbouncer]" || line.strip_prefix("%include").is_some_and(|rest| rest.starts_with([' ', '\t']))
    };
    let by_name = path.and_then(Path::extension).is_some_and(|ext| ext.eq_ignore_ascii_case("ini"));
    by_name || text.lines().any(|line| says_so(line.trim()))
}

pub(in crate::config) use general::is_known;

/// What stands in a pgbouncer.ini, on its way into TOML.
struct Translation<'t> {
    out: Emitter,
    folder: &'t Path,
    port: u16,
    size: i64,
    auth_file: bool,
    /// Keys of `[pgsluice]`.
    own: Vec<String>,
    socket_folder: Option<PathBuf>,
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
    notes: Vec<ConfigNote>,
}

/// For a comment or a line of the log; a password in a connection string is none of anybody's business.
fn one_line(value: &str) -> String {
    let mut line: String = value.chars().filter(|c| !c.is_control()).take(200).collect();
    if let Some(at) = line.find("password") {
        line.truncate(at);
        line.push_str("password=...");
    }
    line
}

impl Translation<'_> {
    fn error(&mut self, entry: &Entry, reason: impl Into<String>) {
        self.errors.push(entry.origin.finding(&entry.path(), reason));
    }

    fn warn(&mut self, entry: &Entry, reason: impl Into<String>) {
        self.warnings.push(entry.origin.finding(&entry.path(), reason));
    }

    /// Something that is taken otherwise than it is written.
    fn note(&mut self, entry: &Entry, reason: String) {
        self.out.comment(&format!("{}: {reason}", entry.key));
        self.warn(entry, reason.clone());
        self.account(entry, reason);
    }

    /// A row of SHOW CONFIG NOTES for a key that is not one of ours.
    fn account(&mut self, entry: &Entry, note: String) {
        self.notes.push(ConfigNote { key: entry.path(), value: one_line(&entry.value), note });
    }
}

/// A pgbouncer.ini in our words.
#[derive(Debug)]
struct Translated {
    toml: Emitted,
    warnings: Vec<Finding>,
    notes: Vec<ConfigNote>,
}

fn failed(errors: Vec<Finding>, warnings: Vec<Finding>) -> ConfigErrors {
    ConfigErrors { errors, warnings }
}

fn translate(text: &str, name: &str, path: Option<&Path>) -> Result<Translated, ConfigErrors> {
    let folder = path.and_then(Path::parent).unwrap_or(Path::new(""));
    let open = |file: &str| {
        let path = values::path(file, folder);
        crate::config::read_file(&path).map_err(|(_, reason)| reason)
    };
    let entries = ini::read(name, text, &open).map_err(|finding| failed(vec![finding], Vec::new()))?;
    let mut translation = Translation {
        out: Emitter::default(),
        folder,
        port: 6432,
        size: 20,
        auth_file: false,
        own: entries.iter().filter(|entry| entry.section == "pgsluice").map(|entry| entry.key.clone()).collect(),
        socket_folder: None,
        errors: Vec::new(),
        warnings: Vec::new(),
        notes: Vec::new(),
    };
    translation.out.comment(&format!("Made from {name}, a configuration of PgBouncer."));
    translation.out.blank();
    let of =
        |section: &str| -> Vec<Entry> { entries.iter().filter(|entry| entry.section == section).cloned().collect() };
    for entry in &entries {
        if !matches!(entry.section.as_str(), "pgbouncer" | "databases" | "users" | "peers" | "pgsluice") {
            translation.error(entry, format!("invalid section \"{}\"", entry.section));
        }
    }
    translation.general(&of("pgbouncer"));
    translation.tables(&of("pgsluice"), &of("databases"), &of("users"), &of("peers"));
    let Translation { out, errors, warnings, notes, .. } = translation;
    if errors.is_empty() {
        Ok(Translated { toml: out.finish(), warnings, notes })
    } else {
        Err(failed(errors, warnings))
    }
}

/// Reads a pgbouncer.ini as a configuration.
pub(in crate::config) fn parse(
    text: &str,
    name: &str,
    path: Option<&Path>,
    overrides: &Overrides,
) -> Result<Config, ConfigErrors> {
    let Translated { toml, warnings, notes } = translate(text, name, path)?;
    let back =
        |findings: Vec<Finding>| findings.into_iter().map(|finding| toml.back(finding, name)).collect::<Vec<_>>();
    match Config::parse_toml(&toml.text, name, path, overrides) {
        Ok(mut config) => {
            config.warnings = warnings.into_iter().chain(back(config.warnings)).collect();
            config.notes = notes;
            Ok(config)
        }
        Err(errors) => Err(ConfigErrors {
            errors: back(errors.errors),
            warnings: warnings.into_iter().chain(back(errors.warnings)).collect(),
        }),
    }
}

/// The TOML that a pgbouncer.ini becomes, and what a person should know of it.
///
/// # Errors
/// The file cannot be read, or not everything in it can be understood; each with its place.
pub fn import_pgbouncer(path: &Path) -> Result<(String, Vec<Finding>), ConfigErrors> {
    let name = path.display().to_string();
    let text = crate::config::read_file(path).map_err(|(place, reason)| {
        failed(vec![Finding { file: name.clone(), place, key: String::new(), reason }], Vec::new())
    })?;
    let translated = translate(&text, &name, Some(path))?;
    Ok((translated.toml.text, translated.warnings))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_told_by_what_stands_in_it() {
        assert!(is_ini("; x\n[databases]\n  [pgbouncer]\n", None));
        assert!(is_ini("%include /etc/pgbouncer/pgbouncer.ini\n", None));
        assert!(is_ini("[databases]\n", Some(Path::new("a.INI"))));
        assert!(!is_ini("pool_mode = 'session'\n[databases.pgbouncer]\n", Some(Path::new("a.toml"))));
    }
}
