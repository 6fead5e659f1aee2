//! Where clients come in and where servers are.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};

use super::units::quoted;
use crate::config::keys::list::Item;
use crate::config::keys::setting::Kind;

/// PostgreSQL's port, where none is given.
pub const POSTGRES_PORT: u16 = 5432;

/// The longest path of a unix socket on Linux: sun_path has 108 bytes and ends with a NUL (unix(7)).
pub(crate) const LONGEST_SOCKET_PATH: usize = 107;

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddr {
    /// `*`: all addresses, IPv6 and IPv4.
    All,
    /// One address.
    Ip(IpAddr),
    /// A host name, to be looked up at start.
    Name(String),
}

impl ListenAddr {
    /// Reads `address:port`, such as `127.0.0.1:6432`, `[::1]:6432` or `*:6432`.
    ///
    /// # Errors
    /// What would be right.
    pub fn with_port(text: &str) -> Result<(Self, u16), String> {
        let wrong = |why: String| format!("{why}; write 127.0.0.1:6432, [::1]:6432 or *:6432");
        if let Some(port) = text.strip_prefix("*:") {
            return Ok((Self::All, parse_port(port).map_err(wrong)?));
        }
        let (host, port) = parse_host_port(text).map_err(wrong)?;
        let port = port.ok_or_else(|| wrong("there is no port".to_owned()))?;
        Ok((host.parse().map_or(Self::Name(host), Self::Ip), port))
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// `http://host:port` of a REST interface.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RestUrl {
    /// Host name or address, IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Patroni's port, where none is given.
const PATRONI_PORT: u16 = 8008;

impl Item for RestUrl {
    const KIND: Kind = Kind::new("list of URLs");
    fn from_text(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
        let read = rest.filter(|rest| !rest.contains(['/', '@', '?'])).and_then(|rest| parse_host_port(rest).ok());
        match read {
            Some((host, port)) => Ok(Self { host, port: port.unwrap_or(PATRONI_PORT) }),
            None => Err(format!("must be a URL such as \"http://10.0.0.1:8008\", found {}", quoted(text))),
        }
    }
    fn show(&self) -> String {
        match self.host.contains(':') {
            true => format!("http://[{}]:{}", self.host, self.port),
            false => format!("http://{}:{}", self.host, self.port),
        }
    }
}

/// A PostgreSQL server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Upstream {
    /// By TCP: a host name in lower case or an IP address (IPv6 without brackets), and a port.
    Tcp {
        /// Host name or address.
        host: String,
        /// Port, never 0.
        port: u16,
    },
    /// By unix socket.
    Unix {
        /// The folder of the socket.
        folder: PathBuf,
        /// The port that is part of the socket's name.
        port: u16,
    },
}

impl Upstream {
    /// The path of the unix socket, in PostgreSQL's naming; none for TCP.
    pub fn socket_path(&self) -> Option<PathBuf> {
        match self {
            Self::Tcp { .. } => None,
            Self::Unix { folder, port } => Some(socket_path(folder, *port)),
        }
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix { folder, port } => write!(f, "unix:{}:{port}", folder.display()),
        }
    }
}

/// The name that PostgreSQL and libpq give to a socket in a folder.
pub(crate) fn socket_path(folder: &Path, port: u16) -> PathBuf {
    folder.join(format!(".s.PGSQL.{port}"))
}

/// Why a path cannot be a unix socket's, if so.
pub(crate) fn socket_path_too_long(path: &Path) -> Option<String> {
    let length = path.as_os_str().len();
    (length > LONGEST_SOCKET_PATH)
        .then(|| format!("the socket's path would have {length} bytes, at most {LONGEST_SOCKET_PATH} are possible"))
}

pub(crate) fn parse_port(text: &str) -> Result<u16, String> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(port) if digits && port > 0 => Ok(port),
        _ => Err(format!("the port must be from 1 to 65535, found {}", quoted(text))),
    }
}

/// Splits `host`, `host:port`, `[v6]` or `[v6]:port`.
pub(crate) fn parse_host_port(text: &str) -> Result<(String, Option<u16>), String> {
    if let Some(rest) = text.strip_prefix('[') {
        let (inside, after) = rest.split_once(']').ok_or("the bracket is not closed")?;
        let ip: Ipv6Addr = inside.parse().map_err(|_| format!("{} is not an IPv6 address", quoted(inside)))?;
        let port = match after.strip_prefix(':') {
            Some(port) => Some(parse_port(port)?),
            None if after.is_empty() => None,
            None => return Err(format!("{} follows the bracket", quoted(after))),
        };
        return Ok((ip.to_string(), port));
    }
    let (host, port) = match text.split_once(':') {
        Some((_, port)) if port.contains(':') => {
            return Err("an IPv6 address stands in brackets".to_owned());
        }
        Some((host, port)) => (host, Some(parse_port(port)?)),
        None => (text, None),
    };
    Ok((parse_host(host)?, port))
}

/// Checks a host name or IPv4 address: letters, digits, `-`, `_` and dots; lower case comes out.
fn parse_host(host: &str) -> Result<String, String> {
    if host.is_empty() {
        return Err("there is no host".to_owned());
    }
    let label_ok = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    };
    let name = host.strip_suffix('.').unwrap_or(host);
    if name.len() > 253 || !name.split('.').all(label_ok) {
        return Err(format!("{} is not a host name", quoted(host)));
    }
    // A last label of digits alone is an IPv4 address that went wrong, never a name (RFC 3696, section 2).
    let last = name.rsplit('.').next().unwrap_or(name);
    if last.bytes().all(|b| b.is_ascii_digit()) && name.parse::<std::net::Ipv4Addr>().is_err() {
        return Err(format!("{} is not an IPv4 address", quoted(host)));
    }
    Ok(name.to_ascii_lowercase())
}

impl Item for ListenAddr {
    const KIND: Kind = Kind::new("list of addresses");
    fn from_text(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::All);
        }
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if let Ok(ip) = bare.parse() {
            return Ok(Self::Ip(ip));
        }
        match parse_host_port(text) {
            Ok((name, None)) => Ok(Self::Name(name)),
            Ok((name, Some(port))) => Err(format!(
                "must be an address without a port, found {}; write {} here and {port} as listen_port",
                quoted(text),
                quoted(&name)
            )),
            Err(why) => Err(format!("must be an IP address, a host name or \"*\", found {}: {why}", quoted(text))),
        }
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

impl Item for Upstream {
    const KIND: Kind = Kind::new("list of servers");
    fn from_text(text: &str) -> Result<Self, String> {
        parse_upstream(text).map_err(|why| {
            format!(
                "bad address {}: {why}; write \"host:5432\", \"[::1]:5432\" or \"unix:/folder:5432\"",
                quoted(&without_password(text))
            )
        })
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

/// Somebody may write a whole URL: its password is not for the log.
fn without_password(text: &str) -> String {
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://...@{host}"),
        _ => text.to_owned(),
    }
}

fn parse_upstream(text: &str) -> Result<Upstream, String> {
    if text.contains("://") {
        return Err("this is a URL".to_owned());
    }
    if text.starts_with('/') {
        return Err("a folder needs \"unix:\" before it".to_owned());
    }
    let Some(rest) = text.strip_prefix("unix:") else {
        let (host, port) = parse_host_port(text)?;
        let port = port.unwrap_or(POSTGRES_PORT);
        return Ok(Upstream::Tcp { host, port });
    };
    let (folder, port) = match rest.rsplit_once(':') {
        Some((folder, port)) => (folder, parse_port(port)?),
        None => (rest, POSTGRES_PORT),
    };
    if !folder.starts_with('/') {
        return Err("the folder must begin with \"/\"".to_owned());
    }
    // "/run/postgresql/" and "/run/postgresql" are one server.
    let folder: PathBuf = Path::new(folder).components().collect();
    match socket_path_too_long(&socket_path(&folder, port)) {
        Some(why) => Err(why),
        None => Ok(Upstream::Unix { folder, port }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_are_read_and_shown() {
        for (text, shown) in [
            ("127.0.0.1:5432", "127.0.0.1:5432"),
            ("DB1.example.com", "db1.example.com:5432"),
            ("[::1]:5433", "[::1]:5433"),
            ("[0:0::1]", "[::1]:5432"),
            ("unix:/run/postgresql:5432", "unix:/run/postgresql:5432"),
            ("unix:/run/postgresql/", "unix:/run/postgresql:5432"),
        ] {
            let upstream = Upstream::from_text(text).unwrap();
            assert_eq!(upstream.to_string(), shown);
            assert_eq!(Upstream::from_text(shown), Ok(upstream));
        }
    }

    #[test]
    fn bad_upstreams_are_refused() {
        for text in [
            "",
            ":5432",
            "host:",
            "host:0",
            "host:65536",
            "host:+5",
            "::1",
            "::1:5432",
            "[::1",
            "[::1]x",
            "[host]:1",
            "unix:run:1",
            "unix:",
            "/run/postgresql",
            "a b:1",
            "1.2.3.4.5:1",
            "1.2.3:1",
            "999.1.1.1",
            "a..b",
            "postgres://u:secret@h/db",
        ] {
            let error = Upstream::from_text(text).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
        assert!(Upstream::from_text(&format!("unix:/{}", "x".repeat(100))).is_err());
    }

    #[test]
    fn listen_addresses() {
        let read = |text| ListenAddr::from_text(text);
        assert_eq!(read("*"), Ok(ListenAddr::All));
        assert_eq!(read("[::]"), Ok(ListenAddr::Ip("::".parse().unwrap())));
        assert_eq!(read("localhost"), Ok(ListenAddr::Name("localhost".into())));
        assert!(read("127.0.0.1:6432").unwrap_err().contains("listen_port"));
        assert!(read("127.0.0").is_err());
    }
}
