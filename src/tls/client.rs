//! TLS towards upstreams: sslmode as [libpq](https://www.postgresql.org/docs/current/libpq-ssl.html) means it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::error::TlsError;
use super::reload::TlsFiles;
use super::verify::upstream::{Names, Trust, UpstreamVerifier};
use super::{ALPN, Choice, SslMode, files};

/// Which files, and how much is asked of upstreams.
///
/// | sslmode | TLS | certificate |
/// | --- | --- | --- |
/// | disable | never | - |
/// | allow | if the server refuses without | not checked |
/// | prefer | if the server can | not checked |
/// | require | always | not checked; with a CA file as verify-ca |
/// | verify-ca | always | from a CA in the CA file |
/// | verify-full | always | the same, and for the host we connect to |
///
/// In allow and prefer a CA file is not used: a check whose failure leads to a connection without TLS protects nobody.
#[derive(Debug, Clone, Default)]
pub struct ServerTlsConfig {
    /// `server_tls_sslmode`.
    pub mode: SslMode,
    /// `server_tls_ca_file`.
    pub ca: Option<CaSource>,
    /// `server_tls_cert_file`: PEM, our client certificate first, then intermediate ones.
    pub cert_file: Option<PathBuf>,
    /// `server_tls_key_file`: PEM, without passphrase.
    pub key_file: Option<PathBuf>,
    /// `server_tls_negotiation`: TLS begins at once, without an SSLRequest.
    pub direct: bool,
    /// `server_tls_protocols` and the ciphers.
    pub choice: Choice,
}

/// Where trusted CAs come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaSource {
    /// The operating system's store: the word `system`. Only with verify-full, as in libpq.
    System,
    /// A PEM file. A self-signed server certificate may stand in it itself.
    File(PathBuf),
}

impl From<&str> for CaSource {
    fn from(setting: &str) -> Self {
        match setting {
            "system" => Self::System,
            path => Self::File(path.into()),
        }
    }
}

/// In which order to try a connection with and without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerTlsPolicy {
    /// Without.
    Never,
    /// Without; if the server refuses that, once more with (allow).
    PlainFirst,
    /// With, if the server answers `S`; without, if it answers `N` or the handshake fails (prefer).
    TlsFirst,
    /// With.
    Always,
}

/// A loaded configuration: what connections use. Clones of it are renewed together.
#[derive(Debug, Clone)]
pub struct ServerTls {
    policy: ServerTlsPolicy,
    config: Option<Arc<ArcSwap<ClientConfig>>>,
    direct: bool,
    /// The host instead of the one that is connected to.
    name: Option<Arc<str>>,
}

impl ServerTls {
    /// Whether nothing is said without it.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.policy == ServerTlsPolicy::Always
    }

    /// No TLS.
    #[must_use]
    pub fn disabled() -> Self {
        Self { policy: ServerTlsPolicy::Never, config: None, direct: false, name: None }
    }

    /// For a host that is reached by an address of another form: this name is asked for and verified.
    #[must_use]
    pub fn verifying(&self, host: &str) -> Self {
        Self { name: Some(host.into()), ..self.clone() }
    }

    /// What to try in which order. Never TLS over a unix socket, as in libpq: that is the caller's to know.
    #[must_use]
    pub fn policy(&self) -> ServerTlsPolicy {
        self.policy
    }

    /// Whether TLS begins without an SSLRequest.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        self.direct
    }

    /// For rustls; `None` if TLS is never used.
    #[must_use]
    pub fn config(&self) -> Option<Arc<ClientConfig>> {
        self.config.as_ref().map(|config| config.load_full())
    }

    /// New connections use what was loaded there, from the files that this was loaded from.
    pub fn renew(&self, newer: &Self) {
        if let (Some(config), Some(newer)) = (&self.config, newer.config()) {
            config.store(newer);
        }
    }

    /// The handshake, after the server has answered SSLRequest with `S`. `host` is the name or address that was
    /// configured, not what it resolved to. Puts no limit on time: the caller does.
    ///
    /// For channel binding, see [`server_end_point`](crate::tls::server_end_point) and the stream's `peer_certificates`.
    ///
    /// # Errors
    /// `InvalidData` with rustls's reason if the handshake fails, `InvalidInput` if `host` cannot be verified,
    /// `Unsupported` if TLS is never used.
    pub async fn connect<IO>(&self, host: &str, io: IO) -> io::Result<TlsStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let config = self.config().ok_or(io::ErrorKind::Unsupported)?;
        let name = server_name(self.name.as_deref().unwrap_or(host))
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        TlsConnector::from(config).connect(name, io).await
    }
}

/// The name to ask for and to verify.
///
/// # Errors
/// [`TlsError::HostName`].
pub fn server_name(host: &str) -> Result<ServerName<'static>, TlsError> {
    // A host name may end in a dot, a name in a certificate may not.
    let name = host.strip_suffix('.').unwrap_or(host);
    ServerName::try_from(name.to_owned()).map_err(|_| TlsError::HostName(host.to_owned()))
}

impl ServerTlsConfig {
    fn trust(&self) -> Result<Trust, TlsError> {
        let mode = self.mode;
        let names = match (mode, &self.ca) {
            (SslMode::Disable | SslMode::Allow | SslMode::Prefer, _) | (SslMode::Require, None) => {
                return Ok(Trust::Anybody);
            }
            (SslMode::VerifyCa | SslMode::VerifyFull, None) => {
                return Err(TlsError::Needs { mode, what: "CA file (\"system\" for the system's trusted roots)" });
            }
            (SslMode::VerifyFull, Some(_)) => Names::Checked,
            (_, Some(CaSource::System)) => return Err(TlsError::WeakWithSystemRoots(mode)),
            (_, Some(CaSource::File(_))) => Names::Ignored,
        };
        let (roots, pinned) = match &self.ca {
            Some(CaSource::File(path)) => files::roots(path)?,
            _ => (system_roots()?, Vec::new()),
        };
        Ok(Trust::Roots { roots, pinned, names })
    }
}

impl TlsFiles for ServerTlsConfig {
    type Loaded = ServerTls;

    fn files(&self) -> Vec<&Path> {
        let ca = match &self.ca {
            Some(CaSource::File(path)) => Some(path),
            _ => None,
        };
        let all = [ca, self.cert_file.as_ref(), self.key_file.as_ref()];
        match self.mode {
            SslMode::Disable => Vec::new(),
            _ => all.into_iter().flatten().map(PathBuf::as_path).collect(),
        }
    }

    fn load(&self) -> Result<ServerTls, TlsError> {
        let policy = match self.mode {
            SslMode::Disable => return Ok(ServerTls::disabled()),
            SslMode::Allow => ServerTlsPolicy::PlainFirst,
            SslMode::Prefer => ServerTlsPolicy::TlsFirst,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => ServerTlsPolicy::Always,
        };
        let provider = self.choice.provider();
        let key_provider = provider.key_provider;
        let verifier = UpstreamVerifier::new(self.trust()?, &provider);
        // "Dangerous" is replacing the verifier; what ours leaves out is the table above.
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.choice.versions())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match (&self.cert_file, &self.key_file) {
            (None, None) => builder.with_no_client_auth(),
            (Some(cert_file), Some(key_file)) => {
                let chain = files::chain(cert_file)?;
                let key = files::key(key_file)?;
                let pair = |error: rustls::Error| TlsError::Pair {
                    certificate: cert_file.clone(),
                    key: key_file.clone(),
                    reason: super::error::pair_reason(&error),
                };
                if files::is_first_version(&chain) {
                    builder
                        .with_client_cert_resolver(files::first_version_pair(chain, key, key_provider).map_err(pair)?)
                } else {
                    builder.with_client_auth_cert(chain, key).map_err(pair)?
                }
            }
            (Some(_), None) => {
                return Err(TlsError::Half { have: "certificate file", missing: "private key file" });
            }
            (None, Some(_)) => {
                return Err(TlsError::Half { have: "private key file", missing: "certificate file" });
            }
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        let config = Arc::new(ArcSwap::from_pointee(config));
        Ok(ServerTls { policy, config: Some(config), direct: self.direct, name: None })
    }
}

/// Certificates of the store that cannot be read are left out, as everywhere; none at all is an error.
fn system_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let reason = found.errors.first().map(ToString::to_string);
        return Err(TlsError::SystemRoots(reason.unwrap_or_else(|| "none found".to_owned())));
    }
    Ok(roots)
}
