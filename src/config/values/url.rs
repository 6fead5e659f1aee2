//! `postgres://user:password@host:port,host:port/database?sslmode=...`, libpq's connection URI:
//! <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS>

use std::path::{Path, PathBuf};

use super::address::{POSTGRES_PORT, Upstream, parse_host_port, parse_port, socket_path, socket_path_too_long};
use super::plain::Secret;
use super::units::quoted;
use crate::config::checks::between_keys;
use crate::config::checks::nearest::nearest;
use crate::config::file::report::Report;
use crate::config::keys::tables::{Cluster, Database};
use crate::config::keys::words::{AuthType, SslMode};
use crate::config::{Config, ConfigErrors, Credentials, Overrides, StateFile};

/// How the URL is called in findings.
const NAME: &str = "--upstream";
const SHAPE: &str = "write postgres://user:password@host:5432/database?sslmode=prefer";

/// What a URL says.
#[derive(Debug, PartialEq)]
struct Url {
    user: String,
    password: Secret,
    upstreams: Vec<Upstream>,
    database: Option<String>,
    sslmode: SslMode,
    root_cert: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
}

/// See [`Config::for_upstream`].
pub(crate) fn config_for(text: &str, overrides: &Overrides) -> Result<Config, ConfigErrors> {
    let report = Report::new(NAME, "");
    let mut config = Config::empty();
    match Url::parse(text) {
        Ok(url) => {
            fill(&mut config, url);
            config.apply(overrides);
            between_keys::check(&config, &report);
        }
        Err(reason) => report.error("", reason),
    }
    let warnings = report.finish()?;
    // That nothing is kept goes without saying when somebody gives a URL instead of a file.
    config.warnings = warnings.into_iter().filter(|w| w.key != "state_file").collect();
    Ok(config)
}

/// See [`Config::server_of_url`].
pub(crate) fn server_of(text: &str) -> Result<Cluster, String> {
    let url = Url::parse(text)?;
    let mut config = Config::empty();
    fill(&mut config, url);
    // Nobody listens here: the server may well be a pgsluice.
    config.listen.listen_addr.clear();
    let report = Report::new(NAME, "");
    between_keys::clusters(&config, &report);
    let sentence = |errors: ConfigErrors| errors.errors.into_iter().map(|finding| finding.reason).collect::<Vec<_>>();
    report.finish().map_err(|errors| sentence(errors).join("; "))?;
    config.clusters.into_values().next().ok_or_else(|| format!("has no host; {SHAPE}"))
}

fn fill(config: &mut Config, url: Url) {
    config.process.state_file = StateFile::Ephemeral;
    config.auth.auth_file = None;
    config.auth.admin_users = vec![url.user.clone()];
    let mut cluster = Cluster {
        upstreams: url.upstreams,
        monitor_user: url.user.clone(),
        monitor_password: url.password.clone(),
        ..Cluster::default()
    };
    if let Some(database) = url.database {
        cluster.monitor_database = database;
    }
    config.server_tls.server_tls_sslmode = url.sslmode;
    config.server_tls.server_tls_ca_file = url.root_cert;
    config.server_tls.server_tls_cert_file = url.cert;
    config.server_tls.server_tls_key_file = url.key;
    cluster.server_tls = config.server_tls.clone();
    let mut any = Database::inherited("*", &config.pooling, &config.timeouts, &config.maintenance);
    any.cluster = "main".to_owned();
    if url.password.is_empty() {
        config.auth.auth_type = AuthType::Trust;
    } else {
        any.user.clone_from(&url.user);
        any.password = url.password.clone();
        config.credentials = Credentials::One { user: url.user, password: url.password };
    }
    config.clusters.insert("main".to_owned(), cluster);
    config.databases.insert("*".to_owned(), any);
}

impl Url {
    /// The error never repeats what may be a password.
    fn parse(text: &str) -> Result<Self, String> {
        let rest = ["postgres://", "postgresql://"]
            .iter()
            .find_map(|scheme| text.strip_prefix(scheme))
            .ok_or_else(|| format!("must begin with postgres://; {SHAPE}"))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        // A password may hold an unescaped "@": the last one ends it.
        let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let mut url = Self {
            user: decode(user, "user")?,
            password: Secret::new(decode(password, "password")?),
            upstreams: Vec::new(),
            database: Some(decode(database, "database")?).filter(|name| !name.is_empty()),
            sslmode: SslMode::Prefer,
            root_cert: None,
            cert: None,
            key: None,
        };
        let mut socket = SocketParameters::default();
        for parameter in query.split('&').filter(|p| !p.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            url.parameter(name, decode(value, name)?, &mut socket)?;
        }
        if url.user.is_empty() {
            return Err(format!("has no user; {SHAPE}"));
        }
        url.upstreams = upstreams(hosts, socket)?;
        Ok(url)
    }

    fn parameter(&mut self, name: &str, value: String, socket: &mut SocketParameters) -> Result<(), String> {
        let path = |value: String| Some(PathBuf::from(value)).filter(|p| !p.as_os_str().is_empty());
        match name {
            "user" => self.user = value,
            "password" => self.password = Secret::new(value),
            "dbname" => self.database = Some(value).filter(|name| !name.is_empty()),
            "host" => socket.host = Some(value),
            "port" => socket.port = Some(parse_port(&value)?),
            "sslmode" => self.sslmode = value.parse().map_err(|why| format!("sslmode: {why}"))?,
            "sslrootcert" => self.root_cert = path(value),
            "sslcert" => self.cert = path(value),
            "sslkey" => self.key = path(value),
            // What drivers add for themselves says nothing about the server.
            "application_name" | "fallback_application_name" | "connect_timeout" | "target_session_attrs" => {}
            other => {
                let known =
                    ["sslmode", "sslrootcert", "sslcert", "sslkey", "host", "port", "user", "password", "dbname"];
                let hint = match nearest(other, known.into_iter()) {
                    Some(word) => format!("did you mean {word}?"),
                    None => format!("known are {}", known.join(", ")),
                };
                return Err(format!("unknown parameter {}; {hint}", quoted(other)));
            }
        }
        Ok(())
    }
}

/// `?host=/folder&port=5432`, the way to name a unix socket.
#[derive(Default)]
struct SocketParameters {
    host: Option<String>,
    port: Option<u16>,
}

fn upstreams(hosts: &str, given: SocketParameters) -> Result<Vec<Upstream>, String> {
    let default = given.port.unwrap_or(POSTGRES_PORT);
    let listed = match &given.host {
        Some(host) => host.clone(),
        None => hosts.to_owned(),
    };
    if listed.is_empty() {
        return Err(format!("has no host; {SHAPE}"));
    }
    let mut all = Vec::new();
    for host in listed.split(',') {
        let one = upstream(host, default).map_err(|why| format!("bad host {}: {why}", quoted(host)))?;
        if all.contains(&one) {
            return Err(format!("{one} is given twice"));
        }
        all.push(one);
    }
    Ok(all)
}

fn upstream(host: &str, default_port: u16) -> Result<Upstream, String> {
    let decoded = decode(host, "host")?;
    if decoded.starts_with('/') {
        let (folder, port) = match decoded.rsplit_once(':') {
            Some((folder, port)) => (folder, parse_port(port)?),
            None => (decoded.as_str(), default_port),
        };
        let folder: PathBuf = Path::new(folder).components().collect();
        return match socket_path_too_long(&socket_path(&folder, port)) {
            Some(why) => Err(why),
            None => Ok(Upstream::Unix { folder, port }),
        };
    }
    let (host, port) = parse_host_port(&decoded)?;
    Ok(Upstream::Tcp { host, port: port.unwrap_or(default_port) })
}

/// Percent-decoding (RFC 3986, section 2.1).
fn decode(text: &str, what: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        match (digit(rest.next()), digit(rest.next())) {
            (Some(high), Some(low)) => bytes.push((high * 16 + low) as u8),
            _ => {
                return Err(format!("{what}: \"%\" must be followed by two hexadecimal digits; write %25 for \"%\""));
            }
        }
    }
    match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text),
        _ => Err(format!("{what}: must be UTF-8 text without NUL")),
    }
}
