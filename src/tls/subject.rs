//! Whose certificate it is.

use x509_parser::der_parser::asn1_rs::Tag;
use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::prelude::{FromDer, X509Certificate};

/// The common name of a certificate's subject, the first one if there are several. None: it has none, or one that is no
/// text, or that holds a NUL.
#[must_use]
pub fn common_name(certificate: &[u8]) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let name = parsed.subject().iter_common_name().next()?.as_str().ok()?;
    (!name.is_empty() && !name.contains('\0')).then(|| name.to_owned())
}

/// The distinguished name of a certificate's subject as RFC 2253 writes it: the last part first.
#[must_use]
pub fn distinguished_name(certificate: &[u8]) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let mut parts = Vec::new();
    for part in parsed.subject().iter() {
        let mut values = Vec::new();
        for attribute in part.iter() {
            let kind = attribute.attr_type();
            let name = oid2abbrev(kind, oid_registry()).map_or_else(|_| kind.to_id_string(), str::to_owned);
            let text = match attribute.attr_value().tag() {
                Tag::BmpString | Tag::UniversalString => return None,
                _ => std::str::from_utf8(attribute.as_slice()).ok()?,
            };
            values.push(format!("{name}={}", escaped(text)?));
        }
        parts.push(values.join("+"));
    }
    parts.reverse();
    Some(parts.join(","))
}

/// As RFC 2253 and OpenSSL escape a value. None: it holds a NUL.
fn escaped(text: &str) -> Option<String> {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        let ends = at == 0 || at + c.len_utf8() == text.len();
        match c {
            '\0' => return None,
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => out.extend(['\\', c]),
            ' ' if ends => out.push_str("\\ "),
            '#' if at == 0 => out.push_str("\\#"),
            c if c.is_ascii() && !c.is_ascii_control() => out.push(c),
            c => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    let _ = write!(out, "\\{byte:02X}");
                }
            }
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped_as_rfc_2253_says() {
        for (text, shown) in [
            ("ann", "ann"),
            ("a,b+c", "a\\,b\\+c"),
            (" a b ", "\\ a b\\ "),
            ("#x#", "\\#x#"),
            ("J\u{fc}rg", "J\\C3\\BCrg"),
        ] {
            assert_eq!(escaped(text).as_deref(), Some(shown));
        }
        assert!(escaped("a\0b").is_none());
    }

    #[test]
    fn names_of_a_certificate() {
        use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Acme, Inc.");
        params.distinguished_name.push(DnType::CommonName, "ann");
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        assert_eq!(common_name(certificate.der()).as_deref(), Some("ann"));
        assert_eq!(distinguished_name(certificate.der()).as_deref(), Some("CN=ann,O=Acme\\, Inc."));
        assert!(common_name(b"nonsense").is_none());
    }
}
