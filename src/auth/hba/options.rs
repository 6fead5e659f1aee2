//! Options of a rule: `name=value`, with PostgreSQL's checks and texts.

use zeroize::Zeroizing;

use super::rule::{Connection, RuleMethod};

/// What the certificate of a client has to be, besides whatever the method asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificate {
    /// From an authority that is trusted.
    VerifyCa,
    /// That, and in the name of the role.
    VerifyFull,
}

/// Which name of a certificate is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CertificateName {
    /// The common name.
    #[default]
    Cn,
    /// The whole distinguished name, in the form of RFC 2253.
    Dn,
}

/// How an LDAP server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LdapScheme {
    /// Plain, or with `ldaptls`.
    #[default]
    Ldap,
    /// TLS from the beginning.
    Ldaps,
}

/// Options of `ldap`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LdapOptions {
    /// `ldapserver`: names with blanks between, tried in turn.
    pub server: String,
    /// `ldapport`
    pub port: Option<u16>,
    /// `ldapscheme`
    pub scheme: LdapScheme,
    /// `ldaptls`: StartTLS.
    pub tls: bool,
    /// `ldapprefix`, for a simple bind.
    pub prefix: Option<String>,
    /// `ldapsuffix`, for a simple bind.
    pub suffix: Option<String>,
    /// `ldapbasedn`, for search and bind.
    pub base_dn: Option<String>,
    /// `ldapbinddn`
    pub bind_dn: Option<String>,
    /// `ldapbindpasswd`
    pub bind_password: Option<Zeroizing<String>>,
    /// `ldapsearchattribute`
    pub search_attribute: Option<String>,
    /// `ldapsearchfilter`
    pub search_filter: Option<String>,
    /// The scope of `ldapurl`: 0 base, 1 one, 2 sub.
    pub scope: u8,
}

/// All options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `map`
    pub map: Option<String>,
    /// `clientcert`
    pub client_certificate: Option<ClientCertificate>,
    /// `clientname`
    pub certificate_name: CertificateName,
    /// Of `ldap`.
    pub ldap: Option<Box<LdapOptions>>,
    /// `pamservice`
    pub pam_service: Option<String>,
    /// `pam_use_hostname`: taken, and without effect, since names of clients are not looked up.
    pub pam_use_hostname: bool,
}

pub(super) fn parse<'t>(
    texts: impl Iterator<Item = &'t str>,
    connection: Connection,
    method: RuleMethod,
) -> Result<Options, String> {
    let mut options = Options::default();
    if method == RuleMethod::Ldap {
        options.ldap = Some(Box::new(LdapOptions { scope: 2, ..LdapOptions::default() }));
    }
    for text in texts {
        let (name, value) =
            text.split_once('=').ok_or_else(|| format!("authentication option not in name=value format: {text}"))?;
        one(&mut options, name, value, connection, method)?;
    }
    if let Some(ldap) = &options.ldap {
        check_ldap(ldap)?;
    }
    if method == RuleMethod::Cert {
        options.client_certificate = Some(ClientCertificate::VerifyFull);
    }
    Ok(options)
}

fn only_for(name: &str, methods: &str) -> String {
    format!("authentication option \"{name}\" is only valid for authentication methods {methods}")
}

fn one(
    options: &mut Options,
    name: &str,
    value: &str,
    connection: Connection,
    method: RuleMethod,
) -> Result<(), String> {
    match name {
        "map" if matches!(method, RuleMethod::Peer | RuleMethod::Cert) => options.map = Some(value.to_owned()),
        "map" => return Err(only_for(name, "ident, peer, gssapi, sspi, and cert")),
        "clientcert" | "clientname" if connection != Connection::HostSsl => {
            return Err(format!("{name} can only be configured for \"hostssl\" rows"));
        }
        "clientcert" => {
            options.client_certificate = Some(match value {
                "verify-full" => ClientCertificate::VerifyFull,
                "verify-ca" if method == RuleMethod::Cert => {
                    return Err("clientcert only accepts \"verify-full\" when using \"cert\" authentication".to_owned());
                }
                "verify-ca" => ClientCertificate::VerifyCa,
                _ => return Err(format!("invalid value for clientcert: \"{value}\"")),
            });
        }
        "clientname" => {
            options.certificate_name = match value {
                "CN" => CertificateName::Cn,
                "DN" => CertificateName::Dn,
                _ => return Err(format!("invalid value for clientname: \"{value}\"")),
            };
        }
        "pamservice" | "pam_use_hostname" if method != RuleMethod::Pam => return Err(only_for(name, "pam")),
        "pamservice" => options.pam_service = Some(value.to_owned()),
        "pam_use_hostname" => options.pam_use_hostname = value == "1",
        _ if name.starts_with("ldap") => return ldap_option(options.ldap.as_deref_mut(), name, value),
        _ => return Err(format!("unrecognized authentication option name: \"{name}\"")),
    }
    Ok(())
}

fn ldap_option(ldap: Option<&mut LdapOptions>, name: &str, value: &str) -> Result<(), String> {
    const NAMES: [&str; 12] = [
        "ldapurl",
        "ldaptls",
        "ldapscheme",
        "ldapserver",
        "ldapport",
        "ldapbinddn",
        "ldapbindpasswd",
        "ldapsearchattribute",
        "ldapsearchfilter",
        "ldapbasedn",
        "ldapprefix",
        "ldapsuffix",
    ];
    if !NAMES.contains(&name) {
        return Err(format!("unrecognized authentication option name: \"{name}\""));
    }
    let ldap = ldap.ok_or_else(|| only_for(name, "ldap"))?;
    let text = || Some(value.to_owned());
    match name {
        "ldapurl" => ldap_url(ldap, value)?,
        "ldaptls" => ldap.tls = value == "1",
        "ldapscheme" => {
            ldap.scheme = match value {
                "ldap" => LdapScheme::Ldap,
                "ldaps" => LdapScheme::Ldaps,
                _ => return Err(format!("invalid ldapscheme value: \"{value}\"")),
            };
        }
        "ldapserver" => value.clone_into(&mut ldap.server),
        "ldapport" => match value.parse() {
            Ok(port) if port > 0 => ldap.port = Some(port),
            _ => return Err(format!("invalid LDAP port number: \"{value}\"")),
        },
        "ldapbinddn" => ldap.bind_dn = text(),
        "ldapbindpasswd" => ldap.bind_password = Some(value.to_owned().into()),
        "ldapsearchattribute" => ldap.search_attribute = text(),
        "ldapsearchfilter" => ldap.search_filter = text(),
        "ldapbasedn" => ldap.base_dn = text(),
        "ldapprefix" => ldap.prefix = text(),
        _ => ldap.suffix = text(),
    }
    Ok(())
}

/// `ldap[s]://host[:port]/basedn[?[attribute][?[scope][?[filter]]]]`
fn ldap_url(ldap: &mut LdapOptions, url: &str) -> Result<(), String> {
    let bad = || format!("could not parse LDAP URL \"{url}\"");
    let (scheme, rest) = url.split_once("://").ok_or_else(bad)?;
    ldap.scheme = match scheme {
        "ldap" => LdapScheme::Ldap,
        "ldaps" => LdapScheme::Ldaps,
        other => return Err(format!("unsupported LDAP URL scheme: {other}")),
    };
    let (server, path) = rest.split_once('/').unwrap_or((rest, ""));
    let port = server.rsplit_once(':').filter(|(_, port)| port.bytes().all(|c| c.is_ascii_digit()));
    let (host, port) = match port {
        Some((host, port)) => (host, Some(port.parse().map_err(|_| bad())?)),
        None => (server, None),
    };
    host.clone_into(&mut ldap.server);
    ldap.port = port.or(ldap.port);
    let mut parts = path.split('?');
    let mut part = || parts.next().filter(|part| !part.is_empty()).map(decoded);
    ldap.base_dn = part().or(ldap.base_dn.take());
    ldap.search_attribute = part().or(ldap.search_attribute.take());
    ldap.scope = match part().as_deref() {
        None | Some("base") => 0,
        Some("one") => 1,
        Some("sub") => 2,
        Some(_) => return Err(bad()),
    };
    ldap.search_filter = part().or(ldap.search_filter.take());
    Ok(())
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| byte == b'%') {
            Some(code) => {
                bytes.push(code);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn check_ldap(ldap: &LdapOptions) -> Result<(), String> {
    let needs = |argument: &str| Err(format!("authentication method \"ldap\" requires argument {argument} to be set"));
    if ldap.server.is_empty() {
        return needs("\"ldapserver\"");
    }
    let simple = ldap.prefix.is_some() || ldap.suffix.is_some();
    let search = ldap.base_dn.is_some()
        || ldap.bind_dn.is_some()
        || ldap.bind_password.is_some()
        || ldap.search_attribute.is_some()
        || ldap.search_filter.is_some();
    if simple && search {
        return Err("cannot mix options for simple bind and search+bind modes".to_owned());
    }
    if !simple && ldap.base_dn.is_none() {
        return needs("\"ldapbasedn\", \"ldapprefix\", or \"ldapsuffix\"");
    }
    if ldap.search_attribute.is_some() && ldap.search_filter.is_some() {
        return Err("cannot use ldapsearchattribute together with ldapsearchfilter".to_owned());
    }
    Ok(())
}

impl Options {
    /// As `pg_hba_file_rules` shows them; passwords are asterisks.
    #[must_use]
    pub fn shown(&self) -> Vec<String> {
        let mut all = Vec::new();
        let mut put = |name: &str, value: Option<&str>| all.extend(value.map(|value| format!("{name}={value}")));
        put("map", self.map.as_deref());
        put(
            "clientcert",
            self.client_certificate.map(|kind| match kind {
                ClientCertificate::VerifyCa => "verify-ca",
                ClientCertificate::VerifyFull => "verify-full",
            }),
        );
        put("clientname", (self.certificate_name == CertificateName::Dn).then_some("DN"));
        put("pamservice", self.pam_service.as_deref());
        if let Some(ldap) = self.ldap.as_deref() {
            let port = ldap.port.map(|port| port.to_string());
            put("ldapserver", Some(&ldap.server));
            put("ldapport", port.as_deref());
            put("ldapscheme", (ldap.scheme == LdapScheme::Ldaps).then_some("ldaps"));
            put("ldaptls", ldap.tls.then_some("true"));
            put("ldapprefix", ldap.prefix.as_deref());
            put("ldapsuffix", ldap.suffix.as_deref());
            put("ldapbasedn", ldap.base_dn.as_deref());
            put("ldapbinddn", ldap.bind_dn.as_deref());
            put("ldapbindpasswd", ldap.bind_password.as_ref().map(|_| "********"));
            put("ldapsearchattribute", ldap.search_attribute.as_deref());
            put("ldapsearchfilter", ldap.search_filter.as_deref());
        }
        all
    }
}
