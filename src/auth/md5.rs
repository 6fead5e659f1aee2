//! PostgreSQL's `md5` authentication: `md5(md5(password ∥ user) ∥ salt)`.

use std::fmt;

use md5::{Digest, Md5};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// What PostgreSQL stores for an MD5 user: `md5` and 32 lower-case hex digits. Whoever has it can log in with it.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Md5Hash([u8; 32]);

impl Md5Hash {
    /// Whether it is the same one.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        bool::from(self.0.ct_eq(&other.0))
    }

    /// The hash of `password` for `user`.
    #[must_use]
    pub fn of(password: &[u8], user: &str) -> Self {
        Self(hex_md5(&[password, user.as_bytes()]))
    }

    /// Reads `md5…`; `None` if it is not what PostgreSQL takes for an MD5 hash.
    #[must_use]
    pub fn parse(secret: &str) -> Option<Self> {
        let digits: [u8; 32] = secret.strip_prefix("md5")?.as_bytes().try_into().ok()?;
        digits.iter().all(|digit| HEX.contains(digit)).then_some(Self(digits))
    }

    /// Its digits.
    pub(crate) fn digits(&self) -> &[u8; 32] {
        &self.0
    }

    /// The answer to a challenge, without the NUL that ends it on the wire.
    #[must_use]
    pub fn response(&self, salt: [u8; 4]) -> [u8; 35] {
        let mut response = *b"md500000000000000000000000000000000";
        let digits = hex_md5(&[&self.0, &salt]);
        for (to, from) in response.iter_mut().skip(3).zip(digits) {
            *to = from;
        }
        response
    }

    /// Whether `response` answers the challenge, in constant time.
    #[must_use]
    pub fn verify(&self, salt: [u8; 4], response: &[u8]) -> bool {
        bool::from(self.response(salt).ct_eq(response))
    }

    /// Whether `password` is the one that was hashed, in constant time.
    #[must_use]
    pub fn matches(&self, password: &[u8], user: &str) -> bool {
        bool::from(self.0.ct_eq(&Self::of(password, user).0))
    }
}

impl fmt::Debug for Md5Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Md5Hash(..)")
    }
}

fn hex_md5(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Md5::new();
    for part in parts {
        hasher.update(part);
    }
    let mut digits = [0; 32];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(hasher.finalize()) {
        for (digit, nibble) in pair.iter_mut().zip([byte >> 4, byte & 15]) {
            *digit = HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
        }
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_another_implementation() {
        let hash = Md5Hash::of(b"secret", "alice");
        let theirs = postgres_protocol::authentication::md5_hash(b"alice", b"secret", [1, 2, 3, 4]);
        assert_eq!(hash.response([1, 2, 3, 4]), theirs.as_bytes());
        assert!(hash.verify([1, 2, 3, 4], theirs.as_bytes()));
        assert!(!hash.verify([1, 2, 3, 5], theirs.as_bytes()));
    }

    #[test]
    fn only_lower_case_hex_of_the_right_length_is_a_hash() {
        assert!(Md5Hash::parse("md5d96c1b2ff9b1d9c9a4ab5b1c0e8a1f11").is_some());
        assert!(Md5Hash::parse("md5D96c1b2ff9b1d9c9a4ab5b1c0e8a1f11").is_none());
        assert!(Md5Hash::parse("md5d96c").is_none());
        assert!(Md5Hash::parse("md5").is_none());
    }
}
