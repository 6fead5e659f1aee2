//! How an upstream's certificate is judged.
//!
//! rustls does the work; two things that libpq's users rely on and rustls leaves out are added. A self-signed server
//! certificate that stands in the CA file itself is trusted although it is marked as a CA (`openssl req -x509`, the
//! recipe of PostgreSQL's documentation, marks it so). And a certificate without any subjectAltName for hosts is
//! checked by its common name, which that same recipe gives.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::first_version;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_parser::prelude::{ASN1Time, FromDer, GeneralName, X509Certificate};

/// Whose certificates are good.
#[derive(Debug)]
pub(in crate::tls) enum Trust {
    /// Anybody's: encryption against listeners only.
    Anybody,
    /// Those of certain CAs.
    Roots {
        roots: RootCertStore,
        /// The same certificates, each trusted as a server's own too.
        pinned: Vec<CertificateDer<'static>>,
        names: Names,
    },
}

/// Whether the certificate must be for the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tls) enum Names {
    Checked,
    Ignored,
}

#[derive(Debug)]
pub(in crate::tls) struct UpstreamVerifier {
    trust: Trust,
    algorithms: WebPkiSupportedAlgorithms,
}

impl UpstreamVerifier {
    pub(in crate::tls) fn new(trust: Trust, provider: &Arc<CryptoProvider>) -> Self {
        Self { trust, algorithms: provider.signature_verification_algorithms }
    }

    /// One without extensions: the name is the common name.
    fn verify_first_version(
        &self,
        certificate: &CertificateDer<'_>,
        server_name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Trust::Roots { pinned, names, .. } = &self.trust else { return Ok(ServerCertVerified::assertion()) };
        if pinned.iter().any(|trusted| trusted == certificate) {
            check_validity(certificate, now)?;
        } else {
            first_version::check(certificate, pinned, now, self.algorithms.all)?;
        }
        if *names == Names::Checked && !common_name_matches(certificate, server_name) {
            return Err(CertificateError::NotValidForName.into());
        }
        Ok(ServerCertVerified::assertion())
    }
}

impl ServerCertVerifier for UpstreamVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Trust::Roots { roots, pinned, names } = &self.trust else {
            return Ok(ServerCertVerified::assertion());
        };
        if first_version::read(end_entity).is_some() {
            return self.verify_first_version(end_entity, server_name, now);
        }
        let certificate = ParsedCertificate::try_from(end_entity)?;
        if pinned.iter().any(|trusted| trusted == end_entity) {
            check_validity(end_entity, now)?;
        } else {
            verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, self.algorithms.all)?;
        }
        if *names == Names::Checked {
            verify_server_name(&certificate, server_name).or_else(|error| {
                match common_name_matches(end_entity, server_name) {
                    true => Ok(()),
                    false => Err(error),
                }
            })?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        first_version::check_signature_12(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        first_version::check_signature_13(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    X509Certificate::from_der(certificate).ok().map(|(_, parsed)| parsed)
}

pub(super) fn check_validity(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let bad = Error::InvalidCertificate(CertificateError::BadEncoding);
    let parsed = parse(certificate).ok_or(bad)?;
    let seconds = |time: ASN1Time| {
        // Before 1970 is as good as 1970.
        let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    };
    let not_before = seconds(parsed.validity().not_before);
    let not_after = seconds(parsed.validity().not_after);
    if now < not_before {
        Err(CertificateError::NotValidYetContext { time: now, not_before }.into())
    } else if now > not_after {
        Err(CertificateError::ExpiredContext { time: now, not_after }.into())
    } else {
        Ok(())
    }
}

/// libpq's rule: the common name counts if there is no subjectAltName for host names or addresses.
fn common_name_matches(certificate: &CertificateDer<'_>, server_name: &ServerName<'_>) -> bool {
    let Some(parsed) = parse(certificate) else {
        return false;
    };
    // An extension that cannot be read might have held names.
    let Ok(alternative) = parsed.subject_alternative_name() else {
        return false;
    };
    let has_names = alternative.is_some_and(|extension| {
        extension
            .value
            .general_names
            .iter()
            .any(|name| matches!(name, GeneralName::DNSName(_) | GeneralName::IPAddress(_)))
    });
    let common_name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    match (common_name, server_name) {
        (Some(pattern), ServerName::DnsName(host)) if !has_names => name_matches(pattern, host.as_ref()),
        (Some(address), ServerName::IpAddress(host)) if !has_names => {
            address.parse::<IpAddr>().is_ok_and(|address| address == IpAddr::from(*host))
        }
        _ => false,
    }
}

/// A host name, or one whose first label is `*`, which stands for exactly one label.
fn name_matches(pattern: &str, host: &str) -> bool {
    if let Some(suffix) = pattern.strip_prefix("*.") {
        return host.split_once('.').is_some_and(|(label, rest)| {
            !label.is_empty() && suffix.contains('.') && rest.eq_ignore_ascii_case(suffix)
        });
    }
    pattern.eq_ignore_ascii_case(host)
}

#[cfg(test)]
mod tests {
    use super::name_matches;

    #[test]
    fn common_names() {
        for (pattern, host, matches) in [
            ("db.example.com", "DB.example.com", true),
            ("db.example.com", "db.example.org", false),
            ("*.example.com", "db.example.com", true),
            ("*.example.com", "a.db.example.com", false),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*.com", "example.com", false),
            ("d*.example.com", "db.example.com", false),
            ("*", "db", false),
            ("", "", true),
        ] {
            assert_eq!(name_matches(pattern, host), matches, "{pattern} {host}");
        }
    }
}
