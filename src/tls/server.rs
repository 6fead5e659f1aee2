//! TLS towards clients, with the words of PgBouncer's `client_tls_*` settings.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::error::TlsError;
use super::reload::TlsFiles;
use super::verify::client::{ClientVerifier, Insists};
use super::{ALPN, Choice, SslMode, binding, files};

/// Which files, and how much is asked of clients.
///
/// | sslmode | TLS | client certificate |
/// | --- | --- | --- |
/// | disable | refused | - |
/// | allow, prefer | if the client asks for it | asked for with `asks` |
/// | require | required | asked for with `asks` |
/// | verify-ca, verify-full | required | required, from a CA in `ca_file` |
#[derive(Debug, Clone, Default)]
pub struct ClientTlsConfig {
    /// `client_tls_sslmode`.
    pub mode: SslMode,
    /// `client_tls_key_file`: PEM, without passphrase.
    pub key_file: Option<PathBuf>,
    /// `client_tls_cert_file`: PEM, our certificate first, then intermediate ones.
    pub cert_file: Option<PathBuf>,
    /// `client_tls_ca_file`: PEM, the CAs of client certificates. Read in the verify modes, and with `asks`.
    pub ca_file: Option<PathBuf>,
    /// A client is asked for a certificate in the other modes too, and need not have one: the log-in judges.
    pub asks: bool,
    /// `client_tls_protocols` and the ciphers.
    pub choice: Choice,
}

/// What a client that asks for TLS, or does not, is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientTlsPolicy {
    /// SSLRequest is answered with `N`.
    Refused,
    /// Both ways are fine.
    Offered,
    /// A start-up packet without TLS is refused (PgBouncer: `SSL required`, 08P01).
    Required,
}

/// A loaded configuration: what connections use.
#[derive(Debug, Clone)]
pub struct ClientTls(Option<Loaded>);

#[derive(Debug, Clone)]
struct Loaded {
    required: bool,
    config: Arc<ServerConfig>,
    http: Arc<ServerConfig>,
    end_point: Option<Arc<[u8]>>,
}

impl ClientTls {
    /// No TLS.
    #[must_use]
    pub fn disabled() -> Self {
        Self(None)
    }

    /// How to answer.
    #[must_use]
    pub fn policy(&self) -> ClientTlsPolicy {
        match &self.0 {
            None => ClientTlsPolicy::Refused,
            Some(loaded) if loaded.required => ClientTlsPolicy::Required,
            Some(_) => ClientTlsPolicy::Offered,
        }
    }

    /// For rustls; `None` if TLS is refused.
    #[must_use]
    pub fn config(&self) -> Option<&Arc<ServerConfig>> {
        self.0.as_ref().map(|loaded| &loaded.config)
    }

    /// The `tls-server-end-point` hash of our certificate, for SCRAM-SHA-256-PLUS on connections that use this load.
    #[must_use]
    pub fn end_point(&self) -> Option<&[u8]> {
        self.0.as_ref()?.end_point.as_deref()
    }

    /// The handshake, after SSLRequest was answered with `S`. Puts no limit on time: the caller does.
    ///
    /// # Errors
    /// `InvalidData` with rustls's reason if the handshake fails; `Unsupported` if TLS is refused.
    pub async fn accept<IO>(&self, io: IO) -> io::Result<TlsStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let config = self.config().ok_or(io::ErrorKind::Unsupported)?;
        TlsAcceptor::from(Arc::clone(config)).accept(io).await
    }
}

impl ClientTls {
    /// The handshake of the HTTP endpoint, which asks for a certificate where there is an authority, and does not insist; `None` if
    /// there is no certificate of ours. Puts no limit on time: the caller does.
    pub fn accept_http<IO>(&self, io: IO) -> Option<tokio_rustls::Accept<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let loaded = self.0.as_ref()?;
        Some(TlsAcceptor::from(Arc::clone(&loaded.http)).accept(io))
    }
}

/// The name (CN) in the certificate that a client has shown.
pub fn client_name<IO>(stream: &TlsStream<IO>) -> Option<String> {
    super::common_name(stream.get_ref().1.peer_certificates()?.first()?)
}

impl ClientTlsConfig {
    /// The same for HTTP. The authorities of a mode that does not ask PostgreSQL's clients for certificates are used if they can be read.
    fn http(&self, postgres: &ServerConfig) -> Result<ServerConfig, TlsError> {
        let roots = self.ca_file.as_ref().map(|path| (path, files::roots(path)));
        let verifier = match roots {
            None => None,
            Some((_, Err(_))) if self.mode < SslMode::VerifyCa => None,
            Some((path, roots)) => {
                let verifier = ClientVerifier::new(roots?, Insists::No, self.choice.provider())
                    .map_err(|error| TlsError::Root { path: path.clone(), reason: error.to_string() })?;
                Some(verifier)
            }
        };
        let builder = ServerConfig::builder_with_provider(self.choice.provider())
            .with_protocol_versions(&self.choice.versions())?;
        let builder = match verifier {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(postgres.cert_resolver.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}

impl TlsFiles for ClientTlsConfig {
    type Loaded = ClientTls;

    fn files(&self) -> Vec<&Path> {
        let all = [&self.key_file, &self.cert_file, &self.ca_file];
        match self.mode {
            SslMode::Disable => Vec::new(),
            _ => all.into_iter().flatten().map(PathBuf::as_path).collect(),
        }
    }

    fn load(&self) -> Result<ClientTls, TlsError> {
        let mode = self.mode;
        if mode == SslMode::Disable {
            return Ok(ClientTls::disabled());
        }
        let needs = |what| TlsError::Needs { mode, what };
        let key_file = self.key_file.as_ref().ok_or(needs("private key file"))?;
        let cert_file = self.cert_file.as_ref().ok_or(needs("certificate file"))?;
        let chain = files::chain(cert_file)?;
        let key = files::key(key_file)?;
        let end_point = chain.first().and_then(binding::server_end_point);

        let provider = self.choice.provider();
        let key_provider = provider.key_provider;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&self.choice.versions())?;
        let insists = matches!(mode, SslMode::VerifyCa | SslMode::VerifyFull);
        let builder = match &self.ca_file {
            None if insists => return Err(needs("CA file for client certificates")),
            Some(ca_file) if insists || self.asks => {
                let insists = if insists { Insists::Yes } else { Insists::No };
                let verifier = ClientVerifier::new(files::roots(ca_file)?, insists, provider)
                    .map_err(|error| TlsError::Root { path: ca_file.clone(), reason: error.to_string() })?;
                builder.with_client_cert_verifier(verifier)
            }
            _ => builder.with_no_client_auth(),
        };
        let pair = |error: rustls::Error| TlsError::Pair {
            certificate: cert_file.clone(),
            key: key_file.clone(),
            reason: super::error::pair_reason(&error),
        };
        let mut config = if files::is_first_version(&chain) {
            builder.with_cert_resolver(files::first_version_pair(chain, key, key_provider).map_err(pair)?)
        } else {
            builder.with_single_cert(chain, key).map_err(pair)?
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        // Like PostgreSQL: a resumed session would outlive the certificates that it was opened with.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        let http = self.http(&config)?;
        Ok(ClientTls(Some(Loaded {
            http: Arc::new(http),
            required: mode >= SslMode::Require,
            config: Arc::new(config),
            end_point: end_point.map(Arc::from),
        })))
    }
}
