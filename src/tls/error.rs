//! What is wrong with a TLS configuration: the file and the reason.

use std::path::PathBuf;

use thiserror::Error;

use super::SslMode;

/// A TLS configuration that cannot be used. File texts begin as PostgreSQL's do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A certificate file that cannot be read or holds no certificate.
    #[error("could not load certificate file \"{}\": {reason}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A key file that cannot be read or holds no key that we can use.
    #[error("could not load private key file \"{}\": {reason}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A CA file that cannot be read or holds no certificate.
    #[error("could not load root certificate file \"{}\": {reason}", path.display())]
    Root {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Key and certificate do not belong together, or the chain is broken.
    #[error("certificate file \"{}\" cannot be used with private key file \"{}\": {reason}", certificate.display(), key.display())]
    Pair {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
        /// Why.
        reason: String,
    },
    /// A file that the mode cannot do without.
    #[error("sslmode {mode} needs a {what}")]
    Needs {
        /// The mode.
        mode: SslMode,
        /// What is missing.
        what: &'static str,
    },
    /// One of certificate and key without the other.
    #[error("a {have} was given without a {missing}")]
    Half {
        /// What there is.
        have: &'static str,
        /// What there is not.
        missing: &'static str,
    },
    /// libpq's rule: whoever trusts the public CAs must check the host name, since anybody can have a certificate.
    #[error("weak sslmode \"{0}\" may not be used with the CA file \"system\" (use \"verify-full\")")]
    WeakWithSystemRoots(SslMode),
    /// The operating system has no root certificates, or they cannot be read.
    #[error("could not load the system's root certificates: {0}")]
    SystemRoots(String),
    /// A host that can stand in no certificate.
    #[error("\"{0}\" is neither a host name nor an IP address that TLS could verify")]
    HostName(String),
    /// Anything else rustls refuses.
    #[error("TLS configuration: {0}")]
    Rustls(#[from] rustls::Error),
}

/// Why a certificate and a key cannot be used together.
pub(super) fn pair_reason(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InconsistentKeys(_) => "the key is not that of the certificate".to_owned(),
        other => other.to_string(),
    }
}
