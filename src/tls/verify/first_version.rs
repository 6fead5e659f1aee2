//! Certificates of X.509's first version. They have no extensions, and webpki does not read them; OpenSSL and PostgreSQL take them, and
//! `openssl x509 -req` and `openssl ca` make them by themselves, as in the recipe of PostgreSQL's documentation.
//!
//! One is good if a certificate of the CA file has signed it, its time has come and not passed. No certificate in between is looked
//! for: a chain needs to say who may sign, which takes extensions.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error};
use x509_parser::der_parser::asn1_rs::Sequence;
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};

use super::upstream::check_validity;

/// The certificate, if it is one of the first version.
pub(super) fn read<'a>(certificate: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    (parsed.version() == X509Version::V1).then_some(parsed)
}

fn bad_encoding() -> Error {
    CertificateError::BadEncoding.into()
}

/// The algorithm and the bits of a public key, as they stand in it.
fn key_of<'a>(certificate: &'a X509Certificate<'_>) -> Option<(&'a [u8], &'a [u8])> {
    let (_, whole) = Sequence::from_der(certificate.public_key().raw).ok()?;
    let content: &'a [u8] = match whole.content {
        std::borrow::Cow::Borrowed(content) => content,
        std::borrow::Cow::Owned(_) => return None,
    };
    let (rest, algorithm) = Sequence::from_der(content).ok()?;
    let algorithm: &'a [u8] = match algorithm.content {
        std::borrow::Cow::Borrowed(content) => content,
        std::borrow::Cow::Owned(_) => return None,
    };
    // BIT STRING, whose first byte counts the bits that are not used.
    let (_, bits) = x509_parser::der_parser::asn1_rs::Any::from_der(rest).ok()?;
    match bits.data.split_first() {
        Some((0, key)) => Some((algorithm, key)),
        _ => None,
    }
}

/// The signature algorithm of a certificate, the one that its signer has used.
fn signed_by<'a>(certificate: &'a CertificateDer<'_>) -> Option<&'a [u8]> {
    let (_, whole) = Sequence::from_der(certificate.as_ref()).ok()?;
    let std::borrow::Cow::Borrowed(content) = whole.content else { return None };
    let (behind, _) = Sequence::from_der(content).ok()?;
    let (_, algorithm) = Sequence::from_der(behind).ok()?;
    match algorithm.content {
        std::borrow::Cow::Borrowed(content) => Some(content),
        std::borrow::Cow::Owned(_) => None,
    }
}

/// Whether `issuer` may sign certificates: those of the first version cannot say that they may not.
fn may_sign(issuer: &X509Certificate<'_>) -> bool {
    match issuer.basic_constraints() {
        Ok(Some(constraints)) => constraints.value.ca,
        Ok(None) => issuer.version() == X509Version::V1,
        Err(_) => false,
    }
}

/// Whether one of these certificates has signed this one, and it holds now.
///
/// # Errors
/// Why it is not good.
pub(super) fn check(
    certificate: &CertificateDer<'_>,
    roots: &[CertificateDer<'static>],
    now: UnixTime,
    algorithms: &[&'static dyn SignatureVerificationAlgorithm],
) -> Result<(), Error> {
    check_validity(certificate, now)?;
    let parsed = read(certificate).ok_or_else(bad_encoding)?;
    let algorithm = signed_by(certificate).ok_or_else(bad_encoding)?;
    let signature = parsed.signature_value.data.as_ref();
    let signed = |root: &CertificateDer<'_>| -> Option<()> {
        let (_, issuer) = X509Certificate::from_der(root).ok()?;
        if issuer.subject().as_raw() != parsed.issuer().as_raw() || !may_sign(&issuer) {
            return None;
        }
        let (kind, key) = key_of(&issuer)?;
        let fits = |known: &&&dyn SignatureVerificationAlgorithm| {
            known.signature_alg_id().as_ref() == algorithm && known.public_key_alg_id().as_ref() == kind
        };
        let tbs = parsed.tbs_certificate.as_ref();
        algorithms.iter().filter(fits).find_map(|known| known.verify_signature(key, tbs, signature).ok())
    };
    roots.iter().find_map(signed).ok_or_else(|| CertificateError::UnknownIssuer.into())
}

/// Whether a handshake was signed by the key of this certificate of whatever version, in TLS 1.2.
///
/// # Errors
/// It was not, or by an algorithm that is not known.
pub(super) fn check_signature_12(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    dss: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let Some(first) = read(certificate) else {
        return verify_tls12_signature(message, certificate, dss, algorithms);
    };
    let (kind, key) = key_of(&first).ok_or_else(bad_encoding)?;
    let known =
        algorithms.mapping.iter().filter(|(scheme, _)| *scheme == dss.scheme).flat_map(|(_, known)| known.iter());
    let mut fitting = known.filter(|known| known.public_key_alg_id().as_ref() == kind);
    match fitting.find_map(|known| known.verify_signature(key, message, dss.signature()).ok()) {
        Some(()) => Ok(HandshakeSignatureValid::assertion()),
        None => Err(CertificateError::BadSignature.into()),
    }
}

/// The same in TLS 1.3.
///
/// # Errors
/// As [`check_signature_12`].
pub(super) fn check_signature_13(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    dss: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let Some(first) = read(certificate) else {
        return verify_tls13_signature(message, certificate, dss, algorithms);
    };
    let key = SubjectPublicKeyInfoDer::from(first.public_key().raw);
    verify_tls13_signature_with_raw_key(message, &key, dss, algorithms)
}
