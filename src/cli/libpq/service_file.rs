//! A service of the connection service file: <https://www.postgresql.org/docs/current/libpq-pgservice.html>

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use super::account::home;
use super::console_url::parameter;

/// Bytes of a file that are read.
const LARGEST: u64 = 1 << 20;

/// Where packages have the file of the whole system.
const SYSTEM: [&str; 2] = ["/etc/postgresql-common", "/etc/sysconfig/pgsql"];

/// Parameters that we use, and the variables that each of them goes before.
const USED: [(&str, &str); 10] = [
    ("user", "PGUSER"),
    ("password", "PGPASSWORD"),
    ("host", "PGHOST"),
    ("hostaddr", "PGHOSTADDR"),
    ("port", "PGPORT"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("sslmode", "PGSSLMODE"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
];

/// Other parameters of libpq.
const UNUSED: &str = "dbname passfile channel_binding client_encoding options application_name fallback_application_name \
     keepalives keepalives_idle keepalives_interval keepalives_count tcp_user_timeout sslnegotiation sslcompression sslcertmode \
     sslpassword sslcrl sslcrldir sslsni sslkeylogfile requirepeer require_auth ssl_min_protocol_version \
     ssl_max_protocol_version min_protocol_version max_protocol_version gssencmode krbsrvname gsslib gssdelegation replication \
     target_session_attrs load_balance_hosts scram_client_key scram_server_key oauth_issuer oauth_client_id \
     oauth_client_secret oauth_scope";

/// Parameters by their names.
#[derive(Debug, Default, PartialEq)]
pub struct Service(Vec<(String, String)>);

impl Service {
    /// The service that the URL or `PGSERVICE` names; an empty one if none is named.
    ///
    /// # Errors
    /// There is no such service, or its file cannot be used.
    pub fn named(url: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let Some(name) = parameter(url, "service").map(str::to_owned).or_else(|| variable("PGSERVICE")) else {
            return Ok(Self::default());
        };
        let own = parameter(url, "servicefile").map(str::to_owned).or_else(|| variable("PGSERVICEFILE"));
        let own_path = own.as_ref().map(PathBuf::from);
        let first = own_path.or_else(|| Some(home()?.join(".pg_service.conf")));
        let system = variable("PGSYSCONFDIR").map_or(SYSTEM.map(PathBuf::from).to_vec(), |folder| vec![folder.into()]);
        let more = system.into_iter().map(|folder| folder.join("pg_service.conf"));
        for (at, path) in first.into_iter().chain(more).enumerate() {
            match text(&path)? {
                Some(text) => {
                    if let Some(found) = Self::in_text(&text, &path, &name)? {
                        return Ok(found);
                    }
                }
                None if at == 0 && own.is_some() => {
                    return Err(format!("service file \"{}\" not found", path.display()));
                }
                None => {}
            }
        }
        Err(format!("definition of service \"{name}\" not found"))
    }

    /// What stands for a variable of libpq.
    pub fn instead_of(&self, variable: &str) -> Option<String> {
        let (wanted, _) = USED.iter().find(|(_, name)| *name == variable)?;
        self.0.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone())
    }

    fn in_text(text: &str, path: &Path, wanted: &str) -> Result<Option<Self>, String> {
        let mut found: Option<Vec<(String, String)>> = None;
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if let Some(rest) = line.strip_prefix('[') {
                if found.is_some() {
                    break;
                }
                found = rest.strip_prefix(wanted).filter(|rest| rest.starts_with(']')).map(|_| Vec::new());
                continue;
            }
            let Some(found) = found.as_mut().filter(|_| !line.is_empty() && !line.starts_with('#')) else { continue };
            let place = format!("in service file \"{}\", line {}", path.display(), at + 1);
            match line.split_once('=') {
                Some(("service" | "servicefile", _)) => {
                    return Err(format!("nested \"service\" specifications not supported {place}"));
                }
                Some((name, value)) if USED.iter().any(|(used, _)| *used == name) => {
                    found.push((name.to_owned(), value.to_owned()));
                }
                Some((name, _)) if UNUSED.split(' ').any(|unused| unused == name) => {}
                _ => return Err(format!("syntax error {place}")),
            }
        }
        Ok(found.map(|mut found| {
            found.retain(|(_, value)| !value.is_empty());
            Self(found)
        }))
    }
}

/// None if there is no such file.
fn text(path: &Path) -> Result<Option<String>, String> {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(LARGEST).read_to_end(&mut bytes)) {
        Ok(_) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(format!("could not read service file \"{}\": {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(text: &str) -> Result<Option<Service>, String> {
        Service::in_text(text, Path::new("f"), "dba")
    }

    #[test]
    fn a_service_ends_where_the_next_one_begins_and_the_first_of_two_lines_counts() {
        let text = "nonsense\n[other]\nport=1\n[dba] # mine\n # comment\n\n  host=h \nport=7\nport=8\ndbname=x\nuser=\n[dba]\nuser=late\n";
        let found = service(text).unwrap().unwrap();
        let seen = ["PGHOST", "PGPORT", "PGUSER", "PGDATABASE"].map(|name| found.instead_of(name));
        assert_eq!(seen, [Some("h".to_owned()), Some("7".to_owned()), None, None]);
        assert_eq!(service("[db]\nhost=a\n[dbas]\nhost=b\n"), Ok(None));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_as_libpq_does() {
        for (line, words) in [
            ("port", "syntax error in service file \"f\", line 2"),
            ("port =1", "syntax error in service file \"f\", line 2"),
            ("prot=1", "syntax error in service file \"f\", line 2"),
            ("service=x", "nested \"service\" specifications not supported in service file \"f\", line 2"),
        ] {
            assert_eq!(service(&format!("[dba]\n{line}\n")).unwrap_err(), words);
            assert_eq!(service(&format!("[other]\n{line}\n")), Ok(None), "only its own lines matter");
        }
    }
}
