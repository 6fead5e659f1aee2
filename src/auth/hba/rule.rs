//! What a line says: whom it is for, and the method that holds for them.

use std::net::IpAddr;
use std::str::FromStr as _;

use regex::Regex;

use super::options::{self, Options};
use super::tokens::{Field, Token};

/// The first word of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// A unix socket.
    Local,
    /// TCP, with TLS or without.
    Host,
    /// TCP with TLS.
    HostSsl,
    /// TCP without TLS.
    HostNoSsl,
    /// TCP with GSSAPI encryption, which pgsluice does not speak: it fits nobody.
    HostGssEnc,
    /// TCP without GSSAPI encryption: any.
    HostNoGssEnc,
}

impl Connection {
    /// The word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Host => "host",
            Self::HostSsl => "hostssl",
            Self::HostNoSsl => "hostnossl",
            Self::HostGssEnc => "hostgssenc",
            Self::HostNoGssEnc => "hostnogssenc",
        }
    }
}

/// A name in the column of databases or users, or in a map.
#[derive(Clone, Debug)]
pub enum Word {
    /// `all`
    All,
    /// `sameuser`
    SameUser,
    /// `samerole`, `samegroup`
    SameRole,
    /// `replication`
    Replication,
    /// `+role`: every member of it.
    Member(String),
    /// `/pattern`
    Pattern(Regex),
    /// Exactly this.
    Name(String),
}

/// From where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostMatch {
    /// `all`
    All,
    /// `samehost`: one of this machine's addresses.
    SameHost,
    /// `samenet`: a network that this machine is in.
    SameNet,
    /// An address and a mask.
    Net {
        /// The address.
        address: IpAddr,
        /// Of the same family.
        mask: IpAddr,
    },
}

/// The last word before the options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleMethod {
    /// Everybody is let in.
    Trust,
    /// Nobody is.
    Reject,
    /// MD5, or SCRAM where the secret is a verifier.
    Md5,
    /// A password in clear text.
    Password,
    /// SCRAM-SHA-256, with channel binding over TLS.
    ScramSha256,
    /// The certificate that the client shows.
    Cert,
    /// The user of the operating system at the other end of the unix socket.
    Peer,
    /// An LDAP server judges the password.
    Ldap,
    /// PAM judges the password.
    Pam,
}

impl RuleMethod {
    /// The word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Trust => "trust",
            Self::Reject => "reject",
            Self::Md5 => "md5",
            Self::Password => "password",
            Self::ScramSha256 => "scram-sha-256",
            Self::Cert => "cert",
            Self::Peer => "peer",
            Self::Ldap => "ldap",
            Self::Pam => "pam",
        }
    }

    /// Whether the secret of the user is needed for it.
    #[must_use]
    pub fn needs_secret(self) -> bool {
        matches!(self, Self::Md5 | Self::Password | Self::ScramSha256)
    }
}

/// A rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The kind of connection.
    pub connection: Connection,
    /// Databases, and how they are written.
    pub databases: Vec<Word>,
    /// Roles, and how they are written.
    pub users: Vec<Word>,
    /// Addresses; None for `local`.
    pub host: Option<HostMatch>,
    /// The method.
    pub method: RuleMethod,
    /// What stands behind the method.
    pub options: Options,
    /// The words of the columns of databases and users, as they are shown.
    pub written: (Vec<String>, Vec<String>),
}

impl Rule {
    pub(super) fn everybody(method: RuleMethod) -> Self {
        Self {
            connection: Connection::Host,
            databases: vec![Word::All],
            users: vec![Word::All],
            host: None,
            method,
            options: Options::default(),
            written: (vec!["all".into()], vec!["all".into()]),
        }
    }
}

/// Reads a line.
pub(super) fn parse(fields: &[Field]) -> Result<Rule, String> {
    let mut fields = fields.iter();
    let connection = connection(one(fields.next(), "connection type")?)?;
    let databases = fields.next().ok_or("end-of-line before database specification")?;
    let users = fields.next().ok_or("end-of-line before role specification")?;
    let host = match connection {
        Connection::Local => None,
        _ => Some(host(&mut fields)?),
    };
    let method = fields.next().ok_or("end-of-line before authentication method")?;
    let method = method_of(one(Some(method), "authentication type")?, connection)?;
    let options = options::parse(fields.flatten().map(|token| token.text.as_str()), connection, method)?;
    let texts = |field: &Field| field.iter().map(|token| token.text.clone()).collect();
    Ok(Rule {
        connection,
        written: (texts(databases), texts(users)),
        databases: databases.iter().map(database_word).collect::<Result<_, _>>()?,
        users: users.iter().map(user_word).collect::<Result<_, _>>()?,
        host,
        method,
        options,
    })
}

/// The only word of a field.
fn one<'f>(field: Option<&'f Field>, what: &str) -> Result<&'f Token, String> {
    match field.map(Vec::as_slice) {
        Some([token]) => Ok(token),
        Some(_) => Err(format!("multiple values specified for {what}")),
        None => Err(format!("end-of-line before {what}")),
    }
}

fn connection(token: &Token) -> Result<Connection, String> {
    Ok(match token.text.as_str() {
        "local" => Connection::Local,
        "host" => Connection::Host,
        "hostssl" => Connection::HostSsl,
        "hostnossl" => Connection::HostNoSsl,
        "hostgssenc" => Connection::HostGssEnc,
        "hostnogssenc" => Connection::HostNoGssEnc,
        other => return Err(format!("invalid connection type \"{other}\"")),
    })
}

pub(super) fn pattern(token: &Token) -> Result<Option<Regex>, String> {
    let Some(pattern) = token.text.strip_prefix('/') else { return Ok(None) };
    match Regex::new(pattern) {
        Ok(regex) => Ok(Some(regex)),
        Err(error) => {
            let reason = error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            Err(format!("invalid regular expression \"{pattern}\": {reason}"))
        }
    }
}

fn database_word(token: &Token) -> Result<Word, String> {
    if let Some(regex) = pattern(token)? {
        return Ok(Word::Pattern(regex));
    }
    Ok(match token.text.as_str() {
        "all" if !token.quoted => Word::All,
        "sameuser" if !token.quoted => Word::SameUser,
        "samerole" | "samegroup" if !token.quoted => Word::SameRole,
        "replication" if !token.quoted => Word::Replication,
        name => Word::Name(name.to_owned()),
    })
}

/// A word of the column of users, or of the roles of a map.
pub(super) fn user_word(token: &Token) -> Result<Word, String> {
    if let Some(regex) = pattern(token)? {
        return Ok(Word::Pattern(regex));
    }
    Ok(match token.text.strip_prefix('+') {
        Some(role) if !token.quoted => Word::Member(role.to_owned()),
        _ if token.is("all") => Word::All,
        _ => Word::Name(token.text.clone()),
    })
}

fn host<'f>(fields: &mut impl Iterator<Item = &'f Field>) -> Result<HostMatch, String> {
    let field = fields.next().ok_or("end-of-line before IP address specification")?;
    let token = one(Some(field), "host address")?;
    if token.is("all") {
        return Ok(HostMatch::All);
    } else if token.is("samehost") {
        return Ok(HostMatch::SameHost);
    } else if token.is("samenet") {
        return Ok(HostMatch::SameNet);
    }
    let (text, bits) = match token.text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (token.text.as_str(), None),
    };
    // Zones of link-local addresses are the system's to number anew at each start.
    let Ok(address) = IpAddr::from_str(text) else {
        return Err(match bits {
            Some(_) => format!("specifying both host name and CIDR mask is invalid: \"{}\"", token.text),
            None => format!("host name \"{text}\" is not supported: pgsluice does not look up the names of clients"),
        });
    };
    if let Some(bits) = bits {
        let invalid = || format!("invalid CIDR mask in address \"{}\"", token.text);
        let bits = bits.parse().ok().filter(|_| bits.bytes().all(|c| c.is_ascii_digit())).ok_or_else(invalid)?;
        let mask = mask(address, bits).ok_or_else(invalid)?;
        return Ok(HostMatch::Net { address, mask });
    }
    let field = fields.next().ok_or("end-of-line before netmask specification")?;
    let token = one(Some(field), "netmask")?;
    let mask = IpAddr::from_str(&token.text)
        .map_err(|_| format!("invalid IP mask \"{}\": Name or service not known", token.text))?;
    if address.is_ipv4() != mask.is_ipv4() {
        return Err("IP address and mask do not match".to_owned());
    }
    Ok(HostMatch::Net { address, mask })
}

fn mask(address: IpAddr, bits: u32) -> Option<IpAddr> {
    match address {
        IpAddr::V4(_) if bits <= 32 => Some(IpAddr::V4(u32::MAX.checked_shl(32 - bits).unwrap_or(0).into())),
        IpAddr::V6(_) if bits <= 128 => Some(IpAddr::V6(u128::MAX.checked_shl(128 - bits).unwrap_or(0).into())),
        _ => None,
    }
}

fn method_of(token: &Token, connection: Connection) -> Result<RuleMethod, String> {
    let is_local = connection == Connection::Local;
    let unsupported = || Err(format!("invalid authentication method \"{}\": not supported by this build", token.text));
    let method = match token.text.as_str() {
        "trust" => RuleMethod::Trust,
        "reject" => RuleMethod::Reject,
        "md5" => RuleMethod::Md5,
        "password" => RuleMethod::Password,
        "scram-sha-256" => RuleMethod::ScramSha256,
        "cert" => RuleMethod::Cert,
        "peer" => RuleMethod::Peer,
        // PostgreSQL takes it so.
        "ident" if is_local => RuleMethod::Peer,
        "ldap" if cfg!(feature = "ldap") => RuleMethod::Ldap,
        "pam" if cfg!(feature = "pam") => RuleMethod::Pam,
        "ldap" | "pam" | "ident" | "gss" | "sspi" | "bsd" | "radius" | "oauth" => return unsupported(),
        other => return Err(format!("invalid authentication method \"{other}\"")),
    };
    match method {
        RuleMethod::Peer if !is_local => Err("peer authentication is only supported on local sockets".to_owned()),
        RuleMethod::Cert if connection != Connection::HostSsl => {
            Err("cert authentication is only supported on hostssl connections".to_owned())
        }
        method => Ok(method),
    }
}
