//! Versions and cipher suites of TLS, in the words of libtls and OpenSSL that PgBouncer takes.

use std::path::Path;

use toml::de::DeValue;

use super::setting::{Key, Kind, Setting, text};
use crate::config::values::units::quoted;

/// Versions of TLS. 1.0 and 1.1 are not spoken by anybody who should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsProtocols {
    words: String,
    /// Whether TLS 1.2 may be spoken.
    pub tls12: bool,
    /// Whether TLS 1.3 may be spoken.
    pub tls13: bool,
}

impl Default for TlsProtocols {
    fn default() -> Self {
        Self { words: "secure".to_owned(), tls12: true, tls13: true }
    }
}

impl Setting for TlsProtocols {
    const KIND: Kind = Kind::new("list of versions");
    /// As libtls reads them: with `!` a version is taken out.
    fn from_value(value: &DeValue<'_>, _: &Key, _: &Path) -> Result<Self, String> {
        let words = text(value)?;
        let mut read = Self { words: words.to_owned(), tls12: false, tls13: false };
        for (at, word) in words.split([',', ':']).map(|word| word.trim().to_ascii_lowercase()).enumerate() {
            let (on, name) = match word.strip_prefix('!') {
                Some(name) => (false, name),
                None => (true, word.as_str()),
            };
            if at == 0 && !on {
                (read.tls12, read.tls13) = (true, true);
            }
            match name {
                "all" | "legacy" | "secure" | "default" => (read.tls12, read.tls13) = (on, on),
                "tlsv1" => (read.tls12, read.tls13) = (on, on),
                "tlsv1.0" | "tlsv1.1" => {}
                "tlsv1.2" => read.tls12 = on,
                "tlsv1.3" => read.tls13 = on,
                other => {
                    return Err(format!(
                        "must be \"secure\", \"all\", \"tlsv1.2\" or \"tlsv1.3\", found {}",
                        quoted(other)
                    ));
                }
            }
        }
        if read.tls12 || read.tls13 {
            Ok(read)
        } else {
            Err(format!("names no version that is spoken: TLS 1.2 and 1.3 are, found {}", quoted(words)))
        }
    }
    fn plain(&self) -> String {
        self.words.clone()
    }
}

/// The suites that there are: OpenSSL's name and IANA's.
const SUITES: &[(&str, &str)] = &[
    ("TLS_AES_256_GCM_SHA384", "TLS13_AES_256_GCM_SHA384"),
    ("TLS_AES_128_GCM_SHA256", "TLS13_AES_128_GCM_SHA256"),
    ("TLS_CHACHA20_POLY1305_SHA256", "TLS13_CHACHA20_POLY1305_SHA256"),
    ("ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
    ("ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
    ("ECDHE-RSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
    ("ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
    ("ECDHE-RSA-CHACHA20-POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
];

/// Cipher suites; none stands for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsCiphers {
    words: String,
    /// By IANA's name, as rustls spells it. Empty: all.
    pub suites: Vec<&'static str>,
}

impl Default for TlsCiphers {
    fn default() -> Self {
        Self { words: "default".to_owned(), suites: Vec::new() }
    }
}

impl Setting for TlsCiphers {
    const KIND: Kind = Kind::new("list of cipher suites");
    /// Names are taken out of a list such as OpenSSL's; words that stand for many (`HIGH`, `!aNULL`) stand for all that are there.
    fn from_value(value: &DeValue<'_>, _: &Key, _: &Path) -> Result<Self, String> {
        let words = text(value)?;
        let named = |word: &str| {
            SUITES.iter().find(|(openssl, iana)| openssl.eq_ignore_ascii_case(word) || iana.eq_ignore_ascii_case(word))
        };
        let all: Vec<&str> = words.split([':', ',', ' ']).filter(|word| !word.is_empty()).collect();
        let wide = |word: &&str| {
            let plain = word.trim_start_matches(['!', '-', '+', '@']).to_ascii_uppercase();
            word.starts_with(['!', '-', '+', '@'])
                || matches!(
                    plain.split('+').next().unwrap_or_default(),
                    "DEFAULT"
                        | "SECURE"
                        | "COMPAT"
                        | "LEGACY"
                        | "INSECURE"
                        | "ALL"
                        | "NORMAL"
                        | "FAST"
                        | "HIGH"
                        | "MEDIUM"
                        | "ECDHE"
                        | "EECDH"
                        | "ECDH"
                        | "AES"
                        | "AESGCM"
                        | "AES256"
                        | "AES128"
                        | "CHACHA20"
                        | "TLSV1.2"
                        | "TLSV1.3"
                )
        };
        let suites: Vec<&'static str> = all.iter().filter_map(|word| named(word).map(|(_, iana)| *iana)).collect();
        let is_wide = all.iter().any(|word| wide(word) && !word.starts_with(['!', '-', '+', '@']));
        if suites.is_empty() && !all.is_empty() && !is_wide {
            let known: Vec<&str> = SUITES.iter().map(|(openssl, _)| *openssl).collect();
            return Err(format!(
                "names no cipher suite that is there, found {}; there are {}",
                quoted(words),
                known.join(", ")
            ));
        }
        Ok(Self { words: words.to_owned(), suites: if is_wide { Vec::new() } else { suites } })
    }
    fn plain(&self) -> String {
        self.words.clone()
    }
}
