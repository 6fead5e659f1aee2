//! The password file, `~/.pgpass`: <https://www.postgresql.org/docs/current/libpq-pgpass.html>

use std::env;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::account::home;

/// Bytes of the file that are read.
const LARGEST: u64 = 1 << 20;

/// What a password is looked for by.
#[derive(Clone, Copy, Debug)]
pub struct Place<'p> {
    /// The host as it was given; the folder of a unix socket.
    pub host: &'p str,
    /// The port.
    pub port: u16,
    /// The database.
    pub database: &'p str,
    /// The role.
    pub user: &'p str,
}

/// Where the file is: `PGPASSFILE`, or `.pgpass` in the home folder.
pub fn path() -> Option<PathBuf> {
    let named = env::var_os("PGPASSFILE").filter(|value| !value.is_empty()).map(PathBuf::from);
    named.or_else(|| Some(home()?.join(".pgpass")))
}

/// The password of the first line that fits. None too if there is no such file.
///
/// # Errors
/// The file is not used, and why.
pub fn password(path: &Path, place: Place<'_>) -> Result<Option<String>, String> {
    let Ok(meta) = std::fs::metadata(path) else { return Ok(None) };
    let name = path.display();
    if !meta.is_file() {
        return Err(format!("password file \"{name}\" is not a plain file"));
    }
    if meta.mode() & 0o077 != 0 {
        return Err(format!(
            "password file \"{name}\" has group or world access; permissions should be u=rw (0600) or less"
        ));
    }
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LARGEST).read_to_end(&mut bytes));
    read.map_err(|error| format!("could not read password file \"{name}\": {error}"))?;
    Ok(String::from_utf8_lossy(&bytes).lines().find_map(|line| in_line(line, place)))
}

fn in_line(line: &str, place: Place<'_>) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let mut fields = Fields(line);
    let port = place.port.to_string();
    // The default folder of the server's unix socket goes by this name, as in libpq.
    let default_folder = matches!(place.host, "/tmp" | "/var/run/postgresql" | "/run/postgresql");
    let host = if default_folder { "localhost" } else { place.host };
    let mut fits = |values: &[&str]| fields.next().is_some_and(|(raw, text)| raw == "*" || values.contains(&&*text));
    let all = fits(&[place.host, host]) && fits(&[&port]) && fits(&[place.database]) && fits(&[place.user]);
    let password = fields.next().filter(|_| all)?.1;
    Some(password).filter(|password| !password.is_empty())
}

/// Fields between colons, as they are written and with backslashes undone.
struct Fields<'l>(&'l str);

impl<'l> Iterator for Fields<'l> {
    type Item = (&'l str, String);
    fn next(&mut self) -> Option<Self::Item> {
        let mut text = String::new();
        let mut chars = self.0.char_indices();
        while let Some((at, char)) = chars.next() {
            match char {
                ':' => {
                    let raw = self.0.get(..at)?;
                    self.0 = self.0.get(at + 1..)?;
                    return Some((raw, text));
                }
                '\\' => text.push(chars.next().map_or('\\', |(_, escaped)| escaped)),
                other => text.push(other),
            }
        }
        Some((std::mem::take(&mut self.0), text))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const PLACE: Place<'_> = Place { host: "127.0.0.1", port: 6432, database: "pgsluice", user: "dba" };

    #[test]
    fn a_line_fits_as_in_libpq() {
        for (line, password) in [
            ("127.0.0.1:6432:pgsluice:dba:secret", Some("secret")),
            ("*:*:*:*:any", Some("any")),
            ("*:6432:*:dba:with\\:colon\\\\", Some("with:colon\\")),
            ("*:*:*:d\\ba:escaped", Some("escaped")),
            ("*:*:*:*:secret:more", Some("secret")),
            ("*:*:*:*:sp ace ", Some("sp ace ")),
            ("# *:*:*:*:comment", None),
            ("127.0.0.2:6432:pgsluice:dba:x", None),
            ("*:5432:*:*:x", None),
            ("*:*:other:*:x", None),
            ("*:*:*:other:x", None),
            ("*:*:*:\\*:x", None),
            (":*:*:*:x", None),
            ("*:*:*:*:", None),
            ("*:*:*:*", None),
            ("", None),
        ] {
            // A line without a host is one for no host at all, not for ours.
            assert_eq!(in_line(line, PLACE).as_deref(), password, "{line}");
        }
        let socket = |host| Place { host, ..PLACE };
        assert!(in_line("localhost:*:*:*:x", socket("/tmp")).is_some());
        assert!(in_line("/srv/run:*:*:*:x", socket("/srv/run")).is_some());
        assert!(in_line("localhost:*:*:*:x", socket("/srv/run")).is_none());
    }

    #[test]
    fn the_first_line_that_fits_counts_and_others_must_not_read_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pgpass");
        assert_eq!(password(&path, PLACE), Ok(None));
        std::fs::write(&path, "other:*:*:*:no\r\n\n127.0.0.1:*:*:dba:first\r\n*:*:*:*:second\n").unwrap();
        let set = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        set(0o600);
        assert_eq!(password(&path, PLACE), Ok(Some("first".to_owned())));
        for mode in [0o640, 0o604, 0o601, 0o610] {
            set(mode);
            assert!(password(&path, PLACE).unwrap_err().contains("group or world access"));
        }
        assert!(password(folder.path(), PLACE).unwrap_err().contains("not a plain file"));
    }
}
