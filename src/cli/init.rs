//! `pgsluice init --upstream URL`: a first configuration for a server, and the SQL for the role that it needs there.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::UpstreamUrl;
use super::exit::{Failure, print};
use crate::auth::ScramVerifier;
use crate::config::{Cluster, Config, toml_text};
use crate::proxy::system::process::group;
use crate::sql::lex::quote;

/// The role that watches the servers.
pub(super) const MONITOR: &str = "pgsluice_monitor";
/// The console's user.
const ADMIN: &str = "pgsluice_admin";
/// The group of the service, if it is installed.
const GROUP: &str = "pgsluice";
/// Rounds of PBKDF2, as PostgreSQL has them.
const ROUNDS: u32 = 4096;

/// `pgsluice init`.
#[derive(Debug, Args)]
pub struct Init {
    /// The server that it is for: postgres://user:password@host:5432/db
    ///
    /// The user is one that the application logs in as; with its password clients can log in at once.
    #[arg(long, value_name = "URL", env = "PGSLUICE_UPSTREAM", hide_env_values = true)]
    upstream: UpstreamUrl,

    /// Where the files go.
    #[arg(long, value_name = "FOLDER", default_value = "/etc/pgsluice")]
    folder: PathBuf,

    /// Write over files that are there.
    #[arg(long)]
    force: bool,
}

struct Written {
    name: &'static str,
    text: String,
    mode: u32,
}

/// Letters that need no quoting anywhere.
fn secret() -> Result<String, Failure> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0; 24];
    getrandom::fill(&mut bytes).map_err(|error| Failure::Other(format!("no randomness: {error}")))?;
    Ok(bytes.iter().filter_map(|byte| LETTERS.get(usize::from(byte & 31))).map(|byte| char::from(*byte)).collect())
}

/// Writes the files and says what comes next.
pub fn run(init: &Init) -> Result<(), Failure> {
    let cluster =
        Config::server_of_url(init.upstream.expose()).map_err(|why| Failure::Usage(format!("--upstream: {why}")))?;
    let (monitor, admin) = (secret()?, secret()?);
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|error| Failure::Other(format!("no randomness: {error}")))?;
    let verifier = ScramVerifier::derive(monitor.as_bytes(), &salt, ROUNDS).to_secret_text();
    let files = [
        Written { name: "pgsluice.toml", text: configuration(&init.folder, &cluster, &monitor), mode: 0o640 },
        Written { name: "userlist.txt", text: userlist(&cluster, &admin), mode: 0o640 },
        Written { name: "roles.sql", text: roles(&cluster, &verifier), mode: 0o644 },
    ];
    let other = |error: std::io::Error, path: &Path| Failure::Other(format!("{}: {error}", path.display()));
    std::fs::create_dir_all(&init.folder).map_err(|error| other(error, &init.folder))?;
    if let Some(file) = files.iter().find(|file| !init.force && init.folder.join(file.name).exists()) {
        let path = init.folder.join(file.name);
        return Err(Failure::Refused(format!("{} is there already: --force writes over it", path.display())));
    }
    for file in &files {
        let path = init.folder.join(file.name);
        write(&path, file).map_err(|error| other(error, &path))?;
    }
    print(&next(&init.folder, &cluster))
}

fn write(path: &Path, file: &Written) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(true).write(true).mode(file.mode).open(path)?.write_all(file.text.as_bytes())?;
    // Who is not root cannot give a file away, and has no service to give it to.
    if let Ok(group) = group(GROUP) {
        let _ = std::os::unix::fs::chown(path, None, Some(group));
    }
    Ok(())
}

/// The folder of the state, or the one of the configuration where that is not there.
fn state_folder(folder: &Path) -> PathBuf {
    let usual = Path::new("/var/lib/pgsluice");
    if usual.is_dir() { usual.to_owned() } else { std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()) }
}

fn configuration(folder: &Path, cluster: &Cluster, monitor: &str) -> String {
    let state = state_folder(folder);
    let upstreams: Vec<String> = cluster.upstreams.iter().map(|upstream| toml_text(&upstream.to_string())).collect();
    let text = |path: &Path| toml_text(&path.display().to_string());
    let mut out = String::from("# \"pgsluice example-config\" prints every key with its default.\n\n");
    let _ = writeln!(out, "listen_addr = \"127.0.0.1\"\nlisten_port = 6432");
    let _ = writeln!(out, "# The console for administrators of this machine; applications connect by TCP.");
    let _ = writeln!(out, "unix_socket_dir = {}\nstate_file = {}", text(&state), text(&state.join("state.json")));
    let _ = writeln!(out, "auth_type = \"scram-sha-256\"\nauth_file = \"userlist.txt\"\nadmin_users = [\"{ADMIN}\"]");
    let _ = writeln!(out, "# Roles whose sessions pass a closed gate: those who run the migration.\noperators = []");
    let mode = cluster.server_tls.server_tls_sslmode;
    let _ = writeln!(out, "server_tls_sslmode = \"{mode}\"");
    let files = [
        ("server_tls_ca_file", &cluster.server_tls.server_tls_ca_file),
        ("server_tls_cert_file", &cluster.server_tls.server_tls_cert_file),
        ("server_tls_key_file", &cluster.server_tls.server_tls_key_file),
    ];
    for (key, path) in files {
        if let Some(path) = path {
            let _ = writeln!(out, "{key} = {}", text(path));
        }
    }
    let _ = writeln!(
        out,
        "\n[clusters.main]\n# A primary and its replicas, in any order.\nupstreams = [{}]",
        upstreams.join(", ")
    );
    let _ = writeln!(out, "monitor_user = \"{MONITOR}\"\nmonitor_password = \"{monitor}\"");
    let _ = writeln!(out, "monitor_database = {}", toml_text(&cluster.monitor_database));
    let _ = writeln!(
        out,
        "\n# Every name that clients ask for is a database of that name on the server.\n[databases.\"*\"]"
    );
    if cluster.monitor_database != "postgres" {
        let _ = writeln!(out, "[{}]", Config::table_path("databases", &cluster.monitor_database));
    }
    out
}

/// In PgBouncer's format: a quote is doubled.
fn userlist(cluster: &Cluster, admin: &str) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let mut out = format!("; \"user\" \"password, md5 hash or SCRAM verifier\"\n\"{ADMIN}\" \"{admin}\"\n");
    if cluster.monitor_password.is_empty() {
        let _ = writeln!(out, "; {} \"...\"", quoted(&cluster.monitor_user));
    } else {
        let (user, password) = (quoted(&cluster.monitor_user), quoted(cluster.monitor_password.expose()));
        let _ = writeln!(out, "{user} {password}");
    }
    out
}

fn roles(cluster: &Cluster, verifier: &str) -> String {
    let database = quote::ident(&cluster.monitor_database);
    // Of a name, psql takes "…=…" for a connection string unless the name is part of one.
    let connect = format!(
        "\"dbname='{}'\"",
        cluster.monitor_database.replace('\\', "\\\\").replace('\'', "\\'").replace('"', "\"\"")
    );
    format!(
        "-- For a superuser of the server, once: psql -f roles.sql\n\
         -- It watches the servers, and sees what others do there; it reads no table.\n\
         DO $$ BEGIN\n\
         \x20   CREATE ROLE {MONITOR};\n\
         EXCEPTION WHEN duplicate_object THEN NULL;\n\
         END $$;\n\
         ALTER ROLE {MONITOR} LOGIN PASSWORD '{verifier}';\n\
         GRANT pg_monitor TO {MONITOR};\n\
         GRANT CONNECT ON DATABASE {database} TO {MONITOR};\n\
         -- Which server it is, wherever an address leads. What is granted of a function holds in one database alone.\n\
         \\connect -reuse-previous=on {connect}\n\
         GRANT EXECUTE ON FUNCTION pg_control_system() TO {MONITOR};\n"
    )
}

fn next(folder: &Path, cluster: &Cluster) -> String {
    let (at, state) = (folder.display(), state_folder(folder));
    let server = cluster.upstreams.first().map(ToString::to_string).unwrap_or_default();
    format!(
        "written: {at}/pgsluice.toml, {at}/userlist.txt, {at}/roles.sql\n\n\
         1. as a superuser of {server}:  psql -f {at}/roles.sql\n\
         2. start:                       systemctl enable --now pgsluice   (or: pgsluice run --config {at}/pgsluice.toml)\n\
         3. connect applications to:     127.0.0.1:6432, with the same users, passwords and databases\n\
         4. close the gate:              pgsluice maintenance on {} \\\n\
         \x20                                --admin 'postgres://pgsluice@/pgsluice?host={}'   (as root or as the service's user)\n",
        cluster.monitor_database,
        state.display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_a_configuration_without_a_word_of_complaint() {
        let folder = tempfile::tempdir().unwrap();
        let init = |url: &str, force| Init { upstream: url.parse().unwrap(), folder: folder.path().join("new"), force };
        run(&init("postgres://app:p%22w@db1,db2:5433/shop%20x?sslmode=require", false)).unwrap();
        let path = folder.path().join("new/pgsluice.toml");
        let config = Config::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
        assert_eq!(config.clusters["main"].upstreams.len(), 2);
        assert!(config.database("shop x").is_some() && config.database("other").is_some());
        let users = std::fs::read_to_string(folder.path().join("new/userlist.txt")).unwrap();
        let users = crate::auth::Userlist::parse(&users).unwrap();
        assert!(users.get("app").is_some() && users.get(ADMIN).is_some());
        let sql = std::fs::read_to_string(folder.path().join("new/roles.sql")).unwrap();
        assert!(sql.contains("PASSWORD 'SCRAM-SHA-256$4096:") && sql.contains("DATABASE \"shop x\""), "{sql}");
        assert!(sql.contains("\\connect -reuse-previous=on \"dbname='shop x'\""), "{sql}");
        assert!(!sql.contains(config.clusters["main"].monitor_password.expose()));
        let again = run(&init("postgres://app@db/x", false));
        assert!(matches!(again, Err(Failure::Refused(why)) if why.contains("--force")));
        run(&init("postgres://app@db/x", true)).unwrap();
    }
}
