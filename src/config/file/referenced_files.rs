//! Files that the configuration names: looked at when it is loaded from a file, so that a missing one is reported with
//! its line and not when it is first needed.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::reader::join;
use super::report::Report;
use crate::config::keys::general::{ServerTls, StateFile};
use crate::config::{Config, Credentials};

/// Reports files and folders that are missing or cannot be read, and secrets that others can read.
pub(crate) fn check_files(config: &Config, report: &Report<'_>) {
    if let Credentials::File(path) = &config.credentials {
        secret_file("auth_file", path, report);
    }
    let auth = &config.auth;
    for (key, path) in [("auth_hba_file", &auth.auth_hba_file), ("auth_ident_file", &auth.auth_ident_file)] {
        if let Some(path) = path {
            readable(key, path, report);
        }
    }
    let tls = &config.client_tls;
    if let Some(path) = &tls.client_tls_key_file {
        secret_file("client_tls_key_file", path, report);
    }
    for (key, path) in
        [("client_tls_cert_file", &tls.client_tls_cert_file), ("client_tls_ca_file", &tls.client_tls_ca_file)]
    {
        if let Some(path) = path {
            readable(key, path, report);
        }
    }
    server_tls_files("", &config.server_tls, None, report);
    for (name, cluster) in &config.clusters {
        let path = join("clusters", name);
        server_tls_files(&path, &cluster.server_tls, Some(&config.server_tls), report);
    }
    for (at, webhook) in config.webhooks.iter().enumerate() {
        if let Some(file) = &webhook.ca_file {
            readable(&format!("webhook.{}.ca_file", at + 1), file, report);
        }
    }
    for (key, path) in [("fleet.ca_file", &config.fleet.ca_file), ("fleet.cert_file", &config.fleet.cert_file)] {
        if let Some(path) = path {
            readable(key, path, report);
        }
    }
    if let Some(path) = &config.fleet.key_file {
        secret_file("fleet.key_file", path, report);
    }
    if let Some(folder) = &config.listen.unix_socket_dir {
        is_folder("unix_socket_dir", folder, report);
    }
    for (key, path) in [("logfile", &config.log.logfile), ("pidfile", &config.process.pidfile)] {
        if let Some(folder) = path.as_deref().and_then(Path::parent) {
            is_folder(key, folder, report);
        }
    }
    if let StateFile::Path(path) = &config.process.state_file {
        if path.is_dir() {
            report.error("state_file", format!("{} is a folder, not a file", path.display()));
        } else if let Some(folder) = path.parent() {
            if report.line_of("state_file").is_none() && !folder.is_dir() {
                report.error("state_file", format!("no folder {}, which {DEFAULT_STATE_FOLDER}", folder.display()));
            } else {
                is_folder("state_file", folder, report);
            }
        }
    }
    let holds_secret = config.clusters.values().any(|c| !c.monitor_password.is_empty())
        || config.databases.values().any(|d| !d.password.is_empty())
        || !config.http.token.is_empty()
        || !config.webhooks.is_empty()
        || !config.fleet.password.is_empty()
        || !config.http.read_tokens.is_empty()
        || !config.http.operate_tokens.is_empty();
    if let Some(path) = config.file.as_deref().filter(|path| holds_secret && others_read(path)) {
        let name = path.display();
        report.warn("", format!("every user can read the passwords in this file: chmod o-rwx {name}"));
    }
}

/// Those of a cluster that differ from the ones `above` it: the others have been looked at.
fn server_tls_files(path: &str, tls: &ServerTls, above: Option<&ServerTls>, report: &Report<'_>) {
    let own = |of: fn(&ServerTls) -> Option<&Path>| match above {
        Some(above) if of(above) == of(tls) => None,
        _ => of(tls),
    };
    if let Some(file) = own(|tls| tls.server_tls_ca_file.as_deref()) {
        readable(&join(path, "server_tls_ca_file"), file, report);
    }
    if let Some(file) = own(|tls| tls.server_tls_cert_file.as_deref()) {
        readable(&join(path, "server_tls_cert_file"), file, report);
    }
    if let Some(file) = own(|tls| tls.server_tls_key_file.as_deref()) {
        secret_file(&join(path, "server_tls_key_file"), file, report);
    }
}

fn readable(key: &str, path: &Path, report: &Report<'_>) -> bool {
    // Looked at before it is opened: opening a pipe would wait for a writer.
    let reason = match std::fs::metadata(path) {
        Ok(meta) if meta.is_file() => match File::open(path) {
            Ok(_) => return true,
            Err(error) => format!("cannot read {}: {}", path.display(), plain(&error)),
        },
        Ok(meta) if meta.is_dir() => format!("{} is a folder, not a file", path.display()),
        Ok(_) => format!("{} is not a plain file", path.display()),
        Err(error) => format!("cannot read {}: {}", path.display(), plain(&error)),
    };
    report.error(key, reason);
    false
}

fn secret_file(key: &str, path: &Path, report: &Report<'_>) {
    if readable(key, path, report) && others_read(path) {
        report.warn(key, format!("every user can read it: chmod o-rwx {}", path.display()));
    }
}

fn others_read(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o004 != 0)
}

/// What is said where the key is not written and its folder is not there.
const DEFAULT_STATE_FOLDER: &str = "is where the state is kept by default: make it, owned by the user that pgsluice runs as \
    (packages and their unit do), or name another file with state_file = \"...\"; \"\" keeps no state, and a restart then opens \
    every gate that was closed";

fn is_folder(key: &str, path: &Path, report: &Report<'_>) {
    // The parent of a bare file name is the current folder.
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => {}
        Ok(_) => report.error(key, format!("{} is not a folder", path.display())),
        Err(error) => {
            report.error(key, format!("no folder {}: {}", path.display(), plain(&error)));
        }
    }
}

/// The operating system's reason without its number.
pub(crate) fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((reason, _)) => reason.to_lowercase(),
        None => text,
    }
}
