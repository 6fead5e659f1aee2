//! Over which line: TLS 1.2 and 1.3 by rustls, towards clients ([`ClientTls`]) and towards upstreams ([`ServerTls`]).
//!
//! A configuration (file names and an sslmode) is *loaded* into what connections use; a [`FileWatch`] tells
//! when the files have changed. What they hold then takes its place, without touching connections that are open. The caller owns the
//! SSLRequest before the handshake and must refuse bytes that came with it (CVE-2021-23222).
//!
//! - [`server`]: we are the server: key, certificate chain, and the CA of client certificates;
//! - [`client`]: we are the client: sslmode as libpq means it, decided in `verifier`;
//! - [`choice`]: which versions and cipher suites;
//! - [`reload`]: files that change; [`binding`]: the certificate hash that SCRAM-SHA-256-PLUS is bound to.
//!
//! The cryptography is ring's, passed explicitly: no process-wide default is set or needed. Sessions are never
//! resumed, as in PostgreSQL and libpq: each handshake proves the certificates anew.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

pub mod binding;
pub mod choice;
pub mod client;
pub mod error;
pub mod expiry;
mod files;
pub mod reload;
pub mod server;
mod subject;
mod verify;

pub use crate::tls::binding::server_end_point;
pub use crate::tls::choice::Choice;
pub use crate::tls::client::{CaSource, ServerTls, ServerTlsConfig, ServerTlsPolicy};
pub use crate::tls::error::TlsError;
pub use crate::tls::reload::{FileWatch, TlsFiles};
pub use crate::tls::server::{ClientTls, ClientTlsConfig, ClientTlsPolicy, client_name};
pub use crate::tls::subject::{common_name, distinguished_name};

/// The protocol name that PostgreSQL 17 and libpq 17 negotiate by ALPN.
pub const ALPN: &[u8] = b"postgresql";

/// The words of libpq's `sslmode` and of PgBouncer's `client_tls_sslmode` and `server_tls_sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum SslMode {
    /// Never TLS.
    #[default]
    Disable,
    /// TLS if the other side insists.
    Allow,
    /// TLS if the other side can.
    Prefer,
    /// TLS or nothing.
    Require,
    /// TLS with a certificate from a CA that we trust.
    VerifyCa,
    /// The same, and towards upstreams the certificate must be for the host that we meant.
    VerifyFull,
}

/// A word that is no sslmode.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("invalid sslmode value: \"{0}\"; expected one of disable, allow, prefer, require, verify-ca, verify-full")]
pub struct UnknownSslMode(String);

impl FromStr for SslMode {
    type Err = UnknownSslMode;

    fn from_str(word: &str) -> Result<Self, UnknownSslMode> {
        match word {
            "disable" => Ok(Self::Disable),
            "allow" => Ok(Self::Allow),
            "prefer" => Ok(Self::Prefer),
            "require" => Ok(Self::Require),
            "verify-ca" => Ok(Self::VerifyCa),
            "verify-full" => Ok(Self::VerifyFull),
            _ => Err(UnknownSslMode(word.to_owned())),
        }
    }
}

impl fmt::Display for SslMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disable => "disable",
            Self::Allow => "allow",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sslmode_words_round_trip_and_others_are_told_what_is_right() {
        for word in ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] {
            assert_eq!(word.parse::<SslMode>().unwrap().to_string(), word);
        }
        let error = "verify_full".parse::<SslMode>().unwrap_err().to_string();
        assert!(error.contains("\"verify_full\"") && error.contains("verify-full"), "{error}");
    }
}
