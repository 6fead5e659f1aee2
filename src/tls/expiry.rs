//! When certificates expire.

use std::path::Path;

use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::error::TlsError;
use super::files;

/// The first certificate of a file: its own, ahead of those who have signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// Its subject.
    pub subject: String,
    /// The last moment at which it counts, in seconds since 1970.
    pub not_after: i64,
}

/// Looks at a file. None for a certificate that cannot be read. Blocks on the file system.
///
/// # Errors
/// The file cannot be read.
pub fn of_file(path: &Path) -> Result<Option<Expiry>, TlsError> {
    let chain = files::chain(path)?;
    let Some(first) = chain.first() else { return Ok(None) };
    let Ok((_, parsed)) = X509Certificate::from_der(first) else { return Ok(None) };
    Ok(Some(Expiry { subject: parsed.subject().to_string(), not_after: parsed.validity().not_after.timestamp() }))
}
