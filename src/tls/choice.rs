//! Which versions of TLS and which cipher suites.

use std::sync::Arc;

use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;
use rustls::version::{TLS12, TLS13};

/// What a configuration leaves of what there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Whether TLS 1.2 may be spoken.
    pub tls12: bool,
    /// Whether TLS 1.3 may be spoken.
    pub tls13: bool,
    /// Suites of TLS 1.2, as rustls names them. Empty: all.
    pub suites12: Vec<&'static str>,
    /// Suites of TLS 1.3, likewise.
    pub suites13: Vec<&'static str>,
}

impl Default for Choice {
    fn default() -> Self {
        Self { tls12: true, tls13: true, suites12: Vec::new(), suites13: Vec::new() }
    }
}

impl Choice {
    /// The versions. With none chosen there would be no TLS at all: a configuration cannot say so.
    pub(super) fn versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        let chosen = [(self.tls13, &TLS13), (self.tls12, &TLS12)];
        chosen.into_iter().filter_map(|(is, version)| is.then_some(version)).collect()
    }

    /// The cryptography, with these suites only.
    pub(super) fn provider(&self) -> Arc<CryptoProvider> {
        let mut provider = rustls::crypto::ring::default_provider();
        provider.cipher_suites.retain(|suite| {
            let chosen = if suite.tls13().is_some() { &self.suites13 } else { &self.suites12 };
            let name = format!("{:?}", suite.suite());
            chosen.is_empty() || chosen.contains(&name.as_str())
        });
        Arc::new(provider)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_taken_out_by_name_and_versions_by_number() {
        let choice = Choice { tls12: false, suites13: vec!["TLS13_AES_128_GCM_SHA256"], ..Choice::default() };
        assert_eq!(choice.versions().len(), 1);
        let provider = choice.provider();
        let left = provider.cipher_suites.iter().filter(|suite| suite.tls13().is_some()).count();
        assert_eq!(left, 1);
        assert_eq!(Choice::default().provider().cipher_suites.len(), 9);
    }
}
