//! SCRAM-SHA-256 arithmetic (RFC 5802, RFC 7677): salted passwords, keys, proofs, and the verifier PostgreSQL stores.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The mechanism without channel binding.
pub const MECHANISM: &str = "SCRAM-SHA-256";
/// The mechanism with channel binding.
pub const MECHANISM_PLUS: &str = "SCRAM-SHA-256-PLUS";
/// The only channel binding that PostgreSQL knows (RFC 5929).
pub const CHANNEL_BINDING_TYPE: &str = "tls-server-end-point";
/// PBKDF2 rounds of a new verifier, as PostgreSQL's `scram_iterations` has them by default.
pub const DEFAULT_ITERATIONS: u32 = 4096;
/// Bytes of salt of a new verifier, as in PostgreSQL.
pub const SALT_LEN: usize = 16;

/// A SHA-256 sum or anything as long as one.
pub(crate) type Key = [u8; 32];

/// The two keys of a password under one salt: enough to log in with, so as secret as the password.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct ScramKeys {
    pub(crate) client_key: Key,
    pub(crate) server_key: Key,
}

impl ScramKeys {
    /// Whether they are the same.
    #[must_use]
    pub fn are_same(&self, other: &Self) -> bool {
        bool::from(self.client_key.ct_eq(&other.client_key) & self.server_key.ct_eq(&other.server_key))
    }

    /// Keys known from elsewhere.
    #[must_use]
    pub fn new(client_key: [u8; 32], server_key: [u8; 32]) -> Self {
        Self { client_key, server_key }
    }

    /// Derives the keys of a password: `iterations` rounds of HMAC, about 2.5 milliseconds for 4096 of them.
    #[must_use]
    pub fn derive(password: &[u8], salt: &[u8], iterations: u32) -> Self {
        let prepared = saslprep(password);
        let mut salted = [0; 32];
        pbkdf2::pbkdf2_hmac::<Sha256>(&prepared, salt, iterations, &mut salted);
        let keys = Self { client_key: hmac(&salted, &[b"Client Key"]), server_key: hmac(&salted, &[b"Server Key"]) };
        salted.zeroize();
        keys
    }

    /// `StoredKey`, which proves a ClientKey without giving it.
    #[must_use]
    pub(crate) fn stored_key(&self) -> Key {
        sha256(&self.client_key)
    }

    /// The client's proof for an exchange.
    pub(crate) fn proof(&self, auth_message: &[&[u8]]) -> Key {
        xor(&self.client_key, &hmac(&self.stored_key(), auth_message))
    }

    /// The signature by which the server of an exchange proves itself.
    pub(crate) fn server_signature(&self, auth_message: &[&[u8]]) -> Key {
        hmac(&self.server_key, auth_message)
    }
}

impl fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScramKeys(..)")
    }
}

/// What PostgreSQL stores in `pg_authid.rolpassword`: proves a password, and does not suffice to log in with.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct ScramVerifier {
    pub(crate) iterations: u32,
    pub(crate) salt: Vec<u8>,
    pub(crate) stored_key: Key,
    pub(crate) server_key: Key,
}

impl ScramVerifier {
    /// The verifier of a password.
    #[must_use]
    pub fn derive(password: &[u8], salt: &[u8], iterations: u32) -> Self {
        let keys = ScramKeys::derive(password, salt, iterations);
        Self { iterations, salt: salt.to_vec(), stored_key: keys.stored_key(), server_key: keys.server_key }
    }

    /// Reads `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`; `None` if any part is not as PostgreSQL writes it.
    #[must_use]
    pub fn parse(secret: &str) -> Option<Self> {
        let rest = secret.strip_prefix("SCRAM-SHA-256$")?;
        let (parameters, keys) = rest.split_once('$')?;
        let (iterations, salt) = parameters.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        let iterations = iterations.parse().ok().filter(|&rounds| rounds > 0)?;
        let salt = BASE64.decode(salt).ok().filter(|salt| !salt.is_empty())?;
        Some(Self {
            iterations,
            salt,
            stored_key: decode_key(stored_key.as_bytes())?,
            server_key: decode_key(server_key.as_bytes())?,
        })
    }

    /// The text that [`parse`](Self::parse) reads: for `CREATE ROLE … PASSWORD` or a userlist. Not a `Display`, so that
    /// it does not get into a log by accident.
    #[must_use]
    pub fn to_secret_text(&self) -> String {
        format!(
            "SCRAM-SHA-256${}:{}${}:{}",
            self.iterations,
            BASE64.encode(&self.salt),
            BASE64.encode(self.stored_key),
            BASE64.encode(self.server_key)
        )
    }

    /// Whether `password` is the one; costs as much as [`ScramKeys::derive`].
    #[must_use]
    pub fn matches(&self, password: &[u8]) -> bool {
        let keys = ScramKeys::derive(password, &self.salt, self.iterations);
        bool::from(keys.server_key.ct_eq(&self.server_key))
    }

    /// Checks the client's proof in constant time. From a right one comes the ClientKey, and with it all that is
    /// needed to log in elsewhere as this user.
    pub(crate) fn verify_proof(&self, proof: &Key, auth_message: &[&[u8]]) -> Option<ScramKeys> {
        let client_key = xor(proof, &hmac(&self.stored_key, auth_message));
        bool::from(sha256(&client_key).ct_eq(&self.stored_key)).then(|| ScramKeys::new(client_key, self.server_key))
    }

    /// The signature by which we prove ourselves to the client.
    pub(crate) fn server_signature(&self, auth_message: &[&[u8]]) -> Key {
        hmac(&self.server_key, auth_message)
    }
}

impl fmt::Debug for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramVerifier").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

pub(crate) fn encode(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

pub(crate) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}

pub(crate) fn decode_key(text: &[u8]) -> Option<Key> {
    decode(text)?.try_into().ok()
}

/// 18 random bytes in base64: 24 characters without a comma, as long as PostgreSQL's own.
pub(crate) fn nonce() -> Option<String> {
    let mut raw = [0; 18];
    getrandom::fill(&mut raw).ok()?;
    Some(encode(&raw))
}

/// RFC 5802's `attr-val` values: `None` where a nonce holds a comma, a blank or something that is not ASCII.
pub(crate) fn is_printable(nonce: &[u8]) -> bool {
    nonce.iter().all(|&c| (0x21..=0x7e).contains(&c) && c != b',')
}

pub(crate) fn hmac(key: &Key, parts: &[&[u8]]) -> Key {
    // A key as long as HMAC's block is the same key, and its length is known to the compiler.
    let mut block = [0; 64];
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    let mut mac = Hmac::<Sha256>::new(&block.into());
    block.zeroize();
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn sha256(bytes: &[u8]) -> Key {
    Sha256::digest(bytes).into()
}

fn xor(a: &Key, b: &Key) -> Key {
    let mut out = *a;
    for (byte, other) in out.iter_mut().zip(b) {
        *byte ^= other;
    }
    out
}

/// As `pg_saslprep`: what cannot be prepared (not UTF-8, prohibited characters) is used as it is.
fn saslprep(password: &[u8]) -> zeroize::Zeroizing<Vec<u8>> {
    let prepared = if password.is_ascii() {
        None
    } else {
        std::str::from_utf8(password)
            .ok()
            .and_then(|text| stringprep::saslprep(text).ok())
            .filter(|text| !text.is_empty())
    };
    zeroize::Zeroizing::new(match prepared {
        Some(text) => text.into_owned().into_bytes(),
        None => password.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_7677_example() {
        let salt = decode(b"W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let keys = ScramKeys::derive(b"pencil", &salt, 4096);
        let auth_message: [&[u8]; 1] = [b"n=user,r=rOprNGfwEbeRWgbNEkqO,\
            r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
            c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"];
        let proof = keys.proof(&auth_message);
        assert_eq!(encode(&proof), "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        assert_eq!(encode(&keys.server_signature(&auth_message)), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");

        let verifier = ScramVerifier::derive(b"pencil", &salt, 4096);
        let recovered = verifier.verify_proof(&proof, &auth_message).unwrap();
        assert_eq!(recovered.client_key, keys.client_key);
        assert!(verifier.verify_proof(&[0; 32], &auth_message).is_none());
        assert!(verifier.matches(b"pencil"));
        assert!(!verifier.matches(b"pencils"));
    }

    #[test]
    fn verifier_text_round_trips_and_broken_ones_are_refused() {
        let text = ScramVerifier::derive(b"x", b"0123456789abcdef", 10).to_secret_text();
        assert_eq!(ScramVerifier::parse(&text).unwrap().to_secret_text(), text);
        for broken in [
            "SCRAM-SHA-256$0:AAAA$k:k",
            "SCRAM-SHA-256$4096",
            "SCRAM-SHA-256$4096:AAAA$AAAA:AAAA",
            "SCRAM-SHA-512$4096:AAAA$AAAA:AAAA",
            &text.replacen("$10:", "$ten:", 1),
            &format!("{text}="),
        ] {
            assert!(ScramVerifier::parse(broken).is_none(), "{broken}");
        }
    }

    /// RFC 4013 section 3, and PostgreSQL's fall-back to the raw bytes.
    #[test]
    fn passwords_are_prepared_as_postgresql_does() {
        for (raw, prepared) in [
            ("I\u{ad}X".as_bytes(), "IX".as_bytes()),
            ("\u{aa}".as_bytes(), b"a"),
            ("\u{2168}".as_bytes(), b"IX"),
            ("a\u{a0}b".as_bytes(), b"a b"),
            (b"a\x07b", b"a\x07b"),
            ("\u{627}1".as_bytes(), "\u{627}1".as_bytes()),
            ("\u{ad}".as_bytes(), "\u{ad}".as_bytes()),
            (b"\xff\xfe", b"\xff\xfe"),
            (b"", b""),
        ] {
            assert_eq!(&*saslprep(raw), prepared, "{raw:?}");
        }
    }

    #[test]
    fn debug_tells_nothing() {
        let keys = ScramKeys::new([7; 32], [9; 32]);
        assert_eq!(format!("{keys:?}"), "ScramKeys(..)");
        let verifier = ScramVerifier::derive(b"x", b"0123456789abcdef", 1);
        assert_eq!(format!("{verifier:?}"), "ScramVerifier { iterations: 1, .. }");
    }
}
