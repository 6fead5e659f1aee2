//! Reading PEM files.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::KeyProvider;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use zeroize::Zeroizing;

use super::error::TlsError;

/// Ten times the bundle of all public CAs: what is larger is not a PEM file.
const MAX_FILE: u64 = 4 << 20;

pub(crate) fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    let read = File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if u64::try_from(read).is_ok_and(|read| read > MAX_FILE) {
        return Err(io::Error::other("the file is larger than 4 MiB"));
    }
    Ok(bytes)
}

/// A certificate chain, leaf first.
pub(crate) fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    certificates(path).map_err(|reason| TlsError::Certificate { path: path.to_owned(), reason })
}

pub(crate) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let failed = |reason: String| TlsError::Key { path: path.to_owned(), reason };
    let pem = read(path).map_err(|error| failed(error.to_string()))?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| match error {
        PemError::NoItemsFound if contains(&pem, b"BEGIN ENCRYPTED PRIVATE KEY") => {
            failed("the key is encrypted; expected one without a passphrase".to_owned())
        }
        PemError::NoItemsFound => failed("no private key in PEM format found".to_owned()),
        other => failed(other.to_string()),
    })
}

/// Trusted certificates, as the store that chains are built on and as they stand in the file.
pub(crate) fn roots(path: &Path) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), TlsError> {
    let failed = |reason: String| TlsError::Root { path: path.to_owned(), reason };
    let certificates = certificates(path).map_err(failed)?;
    let mut store = RootCertStore::empty();
    for (number, certificate) in (1..).zip(&certificates) {
        store.add(certificate.clone()).map_err(|error| failed(format!("certificate {number}: {error}")))?;
    }
    Ok((store, certificates))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read(path).map_err(|error| error.to_string())?;
    let certificates =
        CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    if certificates.is_empty() {
        return Err("no certificate in PEM format found".to_owned());
    }
    Ok(certificates)
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// Whether a certificate is one of X.509's first version, without extensions, as `openssl x509 -req` makes them by itself.
pub(crate) fn is_first_version(chain: &[CertificateDer<'_>]) -> bool {
    let first = chain.first().and_then(|der| x509_parser::parse_x509_certificate(der).ok());
    first.is_some_and(|(_, certificate)| certificate.version() == x509_parser::x509::X509Version::V1)
}

/// A certificate of the first version with its key. That they belong together is looked at here: webpki does not read it.
///
/// # Errors
/// The key cannot be used, or is another one's.
pub(crate) fn first_version_pair(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    keys: &dyn KeyProvider,
) -> Result<Arc<SingleCertAndKey>, rustls::Error> {
    let certified = CertifiedKey::new(chain, keys.load_private_key(key)?);
    same_key(&certified)?;
    Ok(Arc::new(SingleCertAndKey::from(certified)))
}

/// Whether the key is that of the certificate.
///
/// # Errors
/// It is another one's.
fn same_key(certified: &CertifiedKey) -> Result<(), rustls::Error> {
    let own = certified.key.public_key();
    let certificate = certified.cert.first().and_then(|der| x509_parser::parse_x509_certificate(der).ok());
    let same = certificate.zip(own).is_none_or(|((_, certificate), own)| certificate.public_key().raw == own.as_ref());
    if same { Ok(()) } else { Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) }
}
