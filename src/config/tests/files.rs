//! Loading from a file: relative paths, and files that are named but not there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{LEAST, lines, warnings};
use crate::config::*;

fn write(folder: &Path, name: &str, text: &str, mode: u32) {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// What is said of a file in that folder, without the folder's name.
fn load(folder: &Path, text: &str) -> Result<Config, ConfigErrors> {
    write(folder, "p.toml", text, 0o600);
    Config::load(&folder.join("p.toml"))
}

fn short(lines: &[String], folder: &Path) -> Vec<String> {
    let prefix = format!("{}/", folder.display());
    lines.iter().map(|line| line.replace(&prefix, "")).collect()
}

#[test]
fn relative_paths_are_relative_to_the_files_folder() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "users.txt", "", 0o600);
    let config = load(folder.path(), &format!("auth_file = 'users.txt'\nstate_file = 'state.json'\n{LEAST}")).unwrap();
    assert_eq!(config.credentials, Credentials::File(folder.path().join("users.txt")));
    assert_eq!(config.process.state_file, StateFile::Path(folder.path().join("state.json")));
    assert_eq!(config.file, Some(folder.path().join("p.toml")));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn files_that_are_not_there_are_named_with_their_line() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "plain", "", 0o600);
    let text = format!(
        "auth_file = 'users.txt'\nstate_file = 'nowhere/state.json'\nunix_socket_dir = 'plain'\n\
         client_tls_sslmode = 'require'\nclient_tls_cert_file = 'c.crt'\nclient_tls_key_file = '.'\n\
         server_tls_ca_file = 'ca.crt'\n{LEAST}[clusters.two]\nupstreams = ['b']\nmonitor_user = 'w'\n\
         server_tls_ca_file = 'ca2.crt'\n[databases.two]\ncluster = 'two'\n"
    );
    let text = text.replace("[databases.app]", "[databases.app]\ncluster = 'main'");
    let said = short(&lines(load(folder.path(), &text)), folder.path());
    assert_eq!(
        said,
        [
            "p.toml:1: auth_file: cannot read users.txt: no such file or directory",
            "p.toml:2: state_file: no folder nowhere: no such file or directory",
            "p.toml:3: unix_socket_dir: plain is not a folder",
            "p.toml:5: client_tls_cert_file: cannot read c.crt: no such file or directory",
            "p.toml:6: client_tls_key_file: . is a folder, not a file",
            "p.toml:7: server_tls_ca_file: cannot read ca.crt: no such file or directory",
            "p.toml:17: clusters.two.server_tls_ca_file: cannot read ca2.crt: no such file or directory",
        ]
    );
}

#[test]
fn trust_does_not_need_the_default_auth_file() {
    let folder = tempfile::tempdir().unwrap();
    let config = load(folder.path(), &format!("auth_type = 'trust'\nstate_file = 's'\n{LEAST}")).unwrap();
    assert_eq!(config.credentials, Credentials::None);
}

#[test]
fn secrets_that_others_can_read_are_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "users.txt", "", 0o644);
    let text = format!("auth_file = 'users.txt'\nstate_file = 's'\n{LEAST}user = 'u'\npassword = 'p'\n");
    write(folder.path(), "open.toml", &text, 0o644);
    let config = Config::load(&folder.path().join("open.toml")).unwrap();
    assert_eq!(
        short(&warnings(&config), folder.path()),
        [
            "open.toml:1: auth_file: every user can read it: chmod o-rwx users.txt",
            "open.toml: every user can read the passwords in this file: chmod o-rwx open.toml",
        ]
    );
}

#[test]
fn the_file_itself() {
    let folder = tempfile::tempdir().unwrap();
    let said = |path: &Path| short(&lines(Config::load(path)), folder.path());
    assert_eq!(said(&folder.path().join("none.toml")), ["none.toml: cannot read it: no such file or directory"]);
    assert_eq!(said(Path::new("/dev/zero")), ["/dev/zero: is larger than 16MB: not a configuration"]);
    let latin = folder.path().join("latin.toml");
    fs::write(&latin, b"workers = 1\n# caf\xe9\n").unwrap();
    assert_eq!(said(&latin), ["latin.toml:2: not valid TOML: not UTF-8 text"]);
}

#[test]
fn the_command_line_goes_before_the_file() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        "p.toml",
        &format!("auth_type = 'trust'\nstate_file = 's'\nlisten_port = 7000\n{LEAST}"),
        0o600,
    );
    let overrides =
        Overrides { listen: Some((ListenAddr::All, 7001)), log_level: Some(LogLevel::Trace), set: Vec::new() };
    let config = Config::load_with(&folder.path().join("p.toml"), &overrides).unwrap();
    assert_eq!((config.listen.listen_port, config.log.log_level), (7001, LogLevel::Trace));
    assert_eq!(config.warnings.len(), 1, "trust on every address: checked with what the command line says");
}
