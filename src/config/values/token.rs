//! Bearer tokens of the HTTP endpoint, of which the file has only hashes.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::units::quoted;
use crate::config::keys::list::Item;
use crate::config::keys::setting::Kind;

/// The shortest token, in characters: what is shorter can be guessed.
pub const SHORTEST_TOKEN: usize = 16;
/// Bytes of the longest name.
const LONGEST_NAME: usize = 63;

/// Whose token it is, and its SHA-256.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenHash {
    /// Whose it is.
    pub name: String,
    /// Of the whole token.
    pub hash: [u8; 32],
}

impl TokenHash {
    /// The hash of a token.
    pub fn hash(token: &[u8]) -> [u8; 32] {
        Sha256::digest(token).into()
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.show())
    }
}

/// `NAME:HASH`
impl Item for TokenHash {
    const KIND: Kind = Kind::new("list of hashed tokens");

    fn from_text(text: &str) -> Result<Self, String> {
        let wrong = || {
            "must be a name and the SHA-256 of a token in hexadecimal digits, NAME:HASH, as pgsluice hash-token prints it"
                .to_owned()
        };
        let (name, hash) = text.split_once(':').ok_or_else(wrong)?;
        let name_ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '@');
        if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(name_ok) {
            return Err(format!(
                "the name of a token has 1 to {LONGEST_NAME} letters, digits and any of _-.@, found {}",
                quoted(name)
            ));
        }
        let digits = hash.as_bytes();
        let (pairs, rest) = digits.as_chunks::<2>();
        let mut bytes = [0; 32];
        if !rest.is_empty() || pairs.len() != bytes.len() {
            return Err(wrong());
        }
        for (byte, pair) in bytes.iter_mut().zip(pairs) {
            let digit = |c: u8| char::from(c).to_digit(16);
            let [Some(high), Some(low)] = pair.map(digit) else { return Err(wrong()) };
            *byte = (high * 16 + low) as u8;
        }
        Ok(Self { name: name.to_owned(), hash: bytes })
    }

    fn show(&self) -> String {
        format!("{}:********", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_read_and_never_shown() {
        let hash = "5994471abb01112afcc18159f6cc74b4f511b99806da59b3caf5a9c173cacfc5";
        for text in [format!("grafana:{hash}"), format!("grafana:{}", hash.to_uppercase())] {
            let read = TokenHash::from_text(&text).unwrap();
            assert_eq!(read.hash, TokenHash::hash(b"12345"));
            assert_eq!((read.show(), format!("{read:?}")), ("grafana:********".into(), "grafana:********".into()));
        }
        for wrong in
            ["", hash, "a:", "a:12", ":00", &format!("a b:{hash}"), &format!("a:{hash}0"), &format!("a:g{hash}")]
        {
            assert!(TokenHash::from_text(wrong).is_err(), "{wrong}");
        }
    }
}
