//! Which console a command goes to: a URL, and for what that leaves out the environment variables of libpq:
//! <https://www.postgresql.org/docs/current/libpq-envars.html>

use std::net::IpAddr;
use std::time::Duration;

use super::account::Account;
use crate::config::SslMode;

/// A console on this machine, at the port where pgsluice listens by default.
const HOST: &str = "127.0.0.1";
const PORT: &str = "6432";

/// Parameters of a URL and the variables that stand in for them.
const VARIABLES: [(&str, &str); 4] =
    [("sslmode", "PGSSLMODE"), ("sslrootcert", "PGSSLROOTCERT"), ("sslcert", "PGSSLCERT"), ("sslkey", "PGSSLKEY")];

/// Looks up an environment variable; an empty one counts as unset, as in libpq.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The URL with everything in it that it takes to connect.
///
/// # Errors
/// A variable cannot be used, and why.
pub fn complete(url: &str, variable: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    // What is no URL is told from a wrong one by the parser.
    let Some((_, rest)) = url.split_once("://") else { return Ok(url.to_owned()) };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let has = |name: &str| parameter(url, name).is_some();
    let mut missing = Vec::new();
    if login.split(':').next().unwrap_or_default().is_empty() && !has("user") {
        let named = ["PGUSER", "USER", "LOGNAME"].iter().find_map(|name| variable(name));
        let user = named.or_else(|| Account::own().map(|account| account.name));
        missing.push(("user", user.unwrap_or_else(|| "postgres".to_owned())));
    }
    if hosts.is_empty() && !has("host") {
        let address = hostaddr(url, &variable)?.map(|address| address.to_string());
        missing.push(("host", variable("PGHOST").or(address).unwrap_or_else(|| HOST.to_owned())));
    }
    if !has("port") {
        let port = variable("PGPORT").map(|port| port_of(&port)).transpose()?;
        missing.push(("port", port.unwrap_or_else(|| PORT.to_owned())));
    }
    for (name, from) in VARIABLES {
        if let Some(value) = variable(from).filter(|_| !has(name)) {
            if name == "sslmode" {
                value.parse::<SslMode>().map_err(|why| format!("{from}: {why}"))?;
            }
            missing.push((name, value));
        }
    }
    let mut full = without(url, &["hostaddr", "service", "servicefile"]);
    for (name, value) in missing {
        let separator = if full.contains('?') { '&' } else { '?' };
        full.push_str(&format!("{separator}{name}={}", escaped(&value)));
    }
    Ok(full)
}

/// How long connecting may take, in whole seconds; none if nothing is said or no limit is wanted.
///
/// # Errors
/// It is not a number.
pub fn connect_timeout(url: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Option<Duration>, String> {
    let given = parameter(url, "connect_timeout").map(|value| ("connect_timeout", value.to_owned()));
    let Some((name, value)) = given.or_else(|| Some(("PGCONNECT_TIMEOUT", variable("PGCONNECT_TIMEOUT")?))) else {
        return Ok(None);
    };
    let seconds: i32 = value.trim().parse().map_err(|_| format!("{name}: must be a number of seconds"))?;
    Ok(u64::try_from(seconds).ok().filter(|&seconds| seconds > 0).map(Duration::from_secs))
}

/// Where to connect to, whatever the host is called.
///
/// # Errors
/// It is no IP address.
pub fn hostaddr(url: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Option<IpAddr>, String> {
    let given = parameter(url, "hostaddr").map(str::to_owned).or_else(|| variable("PGHOSTADDR"));
    // Of a list the first counts, as with hosts.
    let given = given.as_deref().and_then(|list| list.split(',').next()).filter(|first| !first.is_empty());
    given.map(|text| text.parse().map_err(|_| format!("could not parse network address \"{text}\""))).transpose()
}

fn without(url: &str, names: &[&str]) -> String {
    let Some((start, query)) = url.split_once('?') else { return url.to_owned() };
    let is_kept = |pair: &&str| !names.contains(&pair.split('=').next().unwrap_or_default());
    let kept: Vec<_> = query.split('&').filter(is_kept).collect();
    if kept.is_empty() { start.to_owned() } else { format!("{start}?{}", kept.join("&")) }
}

/// A parameter of a URL as it is written; an empty one counts as left out.
pub fn parameter<'u>(url: &'u str, name: &str) -> Option<&'u str> {
    let (_, query) = url.split_once('?')?;
    let mut pairs = query.split('&').filter_map(|parameter| parameter.split_once('='));
    pairs.find(|(given, value)| *given == name && !value.is_empty()).map(|(_, value)| value)
}

fn port_of(text: &str) -> Result<String, String> {
    match text.trim().parse::<u16>() {
        Ok(port) if port > 0 => Ok(port.to_string()),
        _ => Err("PGPORT: must be a port, 1 to 65535".to_owned()),
    }
}

fn escaped(text: &str) -> String {
    let escape = |byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b':' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Variables as `NAME=value` with blanks between.
    fn with(variables: &'static str) -> impl Fn(&str) -> Option<String> {
        |name| variables.split(' ').find_map(|pair| Some(pair.strip_prefix(name)?.strip_prefix('=')?.to_owned()))
    }

    #[test]
    fn what_a_url_leaves_out_comes_from_the_environment() {
        for (url, variables, full) in [
            ("postgres://", "USER=me", "postgres://?user=me&host=127.0.0.1&port=6432"),
            (
                "postgres:///pgsluice",
                "PGUSER=dba USER=me PGHOST=db1 PGPORT=7000",
                "postgres:///pgsluice?user=dba&host=db1&port=7000",
            ),
            ("postgres://u@h/pgsluice", "PGUSER=x PGHOST=y", "postgres://u@h/pgsluice?port=6432"),
            ("postgres://u:p@h:1", "PGPORT=2", "postgres://u:p@h:1?port=2"),
            ("postgres://:p@h", "LOGNAME=o/b@c", "postgres://:p@h?user=o/b%40c&port=6432"),
            ("postgres://h?user=u&port=9", "PGPORT=2", "postgres://h?user=u&port=9"),
            (
                "postgres://u@?host=/run",
                "PGHOST=x PGSSLMODE=disable",
                "postgres://u@?host=/run&port=6432&sslmode=disable",
            ),
            ("postgres://u@h?sslmode=require", "PGSSLMODE=disable", "postgres://u@h?sslmode=require&port=6432"),
            ("postgres://u@?hostaddr=::1", "PGHOSTADDR=10.0.0.1", "postgres://u@?host=::1&port=6432"),
            ("postgres://u@/", "PGHOSTADDR=10.0.0.1,10.0.0.2", "postgres://u@/?host=10.0.0.1&port=6432"),
            ("postgres://u@?service=x&sslmode=allow", "PGHOST=h PGPORT=1", "postgres://u@?sslmode=allow&host=h&port=1"),
            ("nonsense", "USER=me", "nonsense"),
        ] {
            assert_eq!(complete(url, with(variables)).as_deref(), Ok(full), "{url} {variables}");
        }
    }

    #[test]
    fn a_variable_that_cannot_be_used_is_named() {
        for (variables, name) in
            [("PGPORT=0", "PGPORT: "), ("PGPORT=5432,5433", "PGPORT: "), ("PGSSLMODE=on", "PGSSLMODE: ")]
        {
            assert!(complete("postgres://u@h", with(variables)).unwrap_err().starts_with(name), "{variables}");
        }
        assert!(connect_timeout("", with("PGCONNECT_TIMEOUT=soon")).unwrap_err().starts_with("PGCONNECT_TIMEOUT: "));
    }

    #[test]
    fn a_limit_for_connecting_is_in_seconds_and_0_is_none() {
        let seconds = |url, variables| connect_timeout(url, with(variables)).map(|limit| limit.map(|l| l.as_secs()));
        assert_eq!(seconds("postgres://h", ""), Ok(None));
        assert_eq!(seconds("postgres://h", "PGCONNECT_TIMEOUT=3"), Ok(Some(3)));
        assert_eq!(seconds("postgres://h?connect_timeout=5", "PGCONNECT_TIMEOUT=3"), Ok(Some(5)));
        assert_eq!(seconds("postgres://h", "PGCONNECT_TIMEOUT=0"), Ok(None));
        assert_eq!(seconds("postgres://h", "PGCONNECT_TIMEOUT=-1"), Ok(None));
    }
}
