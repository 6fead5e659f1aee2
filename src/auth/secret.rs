//! What we hold of a user ([`Secret`]) and what of it an upstream can be shown ([`Credential`]).

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::decoy::Decoy;
use super::md5::Md5Hash;
use super::scram::{DEFAULT_ITERATIONS, ScramKeys, ScramVerifier};

/// How many (salt, rounds) pairs a password keeps keys for: one per cluster that knows it; physical replicas share theirs.
const CACHED_KEYS: usize = 8;

/// A plain password together with what was derived from it, since each derivation costs thousands of hash rounds.
/// Shared by `Arc`, so that many connections pay once.
pub struct Password {
    text: Zeroizing<Vec<u8>>,
    verifier: OnceLock<ScramVerifier>,
    keys: Mutex<Vec<CachedKeys>>,
}

struct CachedKeys {
    salt: Vec<u8>,
    iterations: u32,
    keys: ScramKeys,
}

impl Password {
    /// Takes a password as a person would type it.
    #[must_use]
    pub fn new(text: impl Into<Vec<u8>>) -> Self {
        Self { text: Zeroizing::new(text.into()), verifier: OnceLock::new(), keys: Mutex::new(Vec::new()) }
    }

    /// The password itself.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// The verifier clients are checked against, derived on first use. Its salt is the decoy's for this user, so that a
    /// user with a plain password shows the same salt after a reload and looks like one who does not exist.
    pub(crate) fn verifier(&self, user: &str, decoy: &Decoy) -> &ScramVerifier {
        self.verifier.get_or_init(|| ScramVerifier::derive(&self.text, &decoy.salt(user), DEFAULT_ITERATIONS))
    }

    /// The keys under an upstream's salt. Whoever asks for the same ones meanwhile waits instead of deriving them too.
    pub(crate) fn keys(&self, salt: &[u8], iterations: u32) -> ScramKeys {
        let mut cached = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hit) = find(&cached, salt, iterations) {
            return hit.clone();
        }
        let keys = ScramKeys::derive(&self.text, salt, iterations);
        if cached.len() >= CACHED_KEYS {
            cached.remove(0);
        }
        cached.push(CachedKeys { salt: salt.to_vec(), iterations, keys: keys.clone() });
        keys
    }

    /// Whether [`keys`](Self::keys) would answer without deriving.
    pub(crate) fn has_keys(&self, salt: &[u8], iterations: u32) -> bool {
        let cached = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        find(&cached, salt, iterations).is_some()
    }

    pub(crate) fn matches(&self, password: &[u8]) -> bool {
        bool::from(self.text.ct_eq(password))
    }
}

fn find<'a>(cached: &'a [CachedKeys], salt: &[u8], iterations: u32) -> Option<&'a ScramKeys> {
    cached.iter().find(|entry| entry.iterations == iterations && entry.salt == salt).map(|entry| &entry.keys)
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// What is known of a user. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Secret {
    /// The user exists and has no password: only methods that ask for none let it in.
    Empty,
    /// The password itself.
    Plain(Arc<Password>),
    /// PostgreSQL's MD5 hash of it.
    Md5(Md5Hash),
    /// PostgreSQL's SCRAM verifier of it.
    Scram(Arc<ScramVerifier>),
}

/// The kinds of [`Secret`] that a password can be checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SecretKind {
    /// Plain text.
    Plain,
    /// MD5 hash.
    Md5,
    /// SCRAM verifier, PostgreSQL's default.
    #[default]
    Scram,
}

impl Secret {
    /// Tells the kind of `text` as PostgreSQL does: a well-formed MD5 hash or SCRAM verifier is one, all else is a
    /// plain password.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        if text.is_empty() {
            Self::Empty
        } else if let Some(hash) = Md5Hash::parse(text) {
            Self::Md5(hash)
        } else if let Some(verifier) = ScramVerifier::parse(text) {
            Self::Scram(Arc::new(verifier))
        } else {
            Self::Plain(Arc::new(Password::new(text)))
        }
    }

    /// The kind, or `None` for [`Empty`](Self::Empty).
    #[must_use]
    pub fn kind(&self) -> Option<SecretKind> {
        match self {
            Self::Empty => None,
            Self::Plain(_) => Some(SecretKind::Plain),
            Self::Md5(_) => Some(SecretKind::Md5),
            Self::Scram(_) => Some(SecretKind::Scram),
        }
    }

    /// Derives now what the first log-in would otherwise derive, about 2.5 milliseconds for a plain password. Call it off
    /// the event loop when secrets are loaded: a first log-in that takes longer would tell that the user exists.
    pub fn prepare(&self, user: &str, decoy: &Decoy) {
        if let Self::Plain(password) = self {
            password.verifier(user, decoy);
        }
    }

    /// What an upstream can be shown if the client itself proves nothing (trust).
    #[must_use]
    pub fn credential(&self) -> Credential {
        match self {
            Self::Plain(password) => Credential::Password(Arc::clone(password)),
            Self::Md5(hash) => Credential::Md5Hash(hash.clone()),
            Self::Empty | Self::Scram(_) => Credential::None,
        }
    }
}

/// What to log in with at an upstream. Cheap to clone; clones share derived keys.
#[derive(Clone, Debug)]
pub enum Credential {
    /// Nothing: only trust, peer or certificate authentication will do.
    None,
    /// A password: serves every method.
    Password(Arc<Password>),
    /// SCRAM keys: serve SCRAM-SHA-256 at servers that hold the very verifier they come from (same salt and rounds).
    ScramKeys(Arc<ScramKeys>),
    /// An MD5 hash: serves md5.
    Md5Hash(Md5Hash),
}

impl Credential {
    /// Whether an upstream would be shown the same.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => true,
            (Self::Password(one), Self::Password(other)) => Arc::ptr_eq(one, other) || one.matches(other.as_bytes()),
            (Self::ScramKeys(one), Self::ScramKeys(other)) => Arc::ptr_eq(one, other) || one.are_same(other),
            (Self::Md5Hash(one), Self::Md5Hash(other)) => one.is_same(other),
            _ => false,
        }
    }

    /// A plain password.
    #[must_use]
    pub fn password(text: impl Into<Vec<u8>>) -> Self {
        Self::Password(Arc::new(Password::new(text)))
    }

    /// The word for error texts.
    pub(crate) fn noun(&self) -> &'static str {
        match self {
            Self::None => "no password",
            Self::Password(_) => "a password",
            Self::ScramKeys(_) => "SCRAM keys",
            Self::Md5Hash(_) => "an MD5 hash",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_derived_once_and_the_cache_is_bounded() {
        let password = Password::new("secret");
        assert!(!password.has_keys(b"salt", 2));
        let keys = password.keys(b"salt", 2);
        assert!(password.has_keys(b"salt", 2));
        assert_eq!(keys.client_key, password.keys(b"salt", 2).client_key);
        assert_ne!(keys.client_key, password.keys(b"salt", 3).client_key);
        for salt in 0..100u8 {
            password.keys(&[salt], 1);
        }
        assert_eq!(password.keys.lock().unwrap().len(), CACHED_KEYS);
        assert!(password.has_keys(&[99], 1));
    }

    #[test]
    fn debug_never_shows_a_secret() {
        let shown = format!(
            "{:?} {:?} {:?}",
            Secret::from_text("hunter2"),
            Secret::from_text("md5d96c1b2ff9b1d9c9a4ab5b1c0e8a1f11"),
            Credential::password("hunter2"),
        );
        assert!(!shown.contains("hunter2") && !shown.contains("d96c"), "{shown}");
    }
}
