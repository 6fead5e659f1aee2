//! What a user who does not exist looks like: PostgreSQL's mock authentication.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::error::AuthError;
use super::scram::{DEFAULT_ITERATIONS, Key, SALT_LEN, ScramVerifier, hmac};
use super::secret::SecretKind;

/// Answers for users who do not exist. The same user gets the same salt each time, as a real one would, and nobody
/// without the key can tell it from a real one.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Decoy {
    key: Key,
    #[zeroize(skip)]
    kind: SecretKind,
}

impl Decoy {
    /// A decoy with a random key, to be made once per process: its salts change with it. `kind` is what most users
    /// have, see [`Userlist::common_kind`](crate::auth::Userlist::common_kind): the method `md5` asks users with a SCRAM
    /// verifier in another way than the rest, and an unknown one should look like most.
    ///
    /// # Errors
    /// [`AuthError::NoRandomness`].
    pub fn random(kind: SecretKind) -> Result<Self, AuthError> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|_| AuthError::NoRandomness)?;
        Ok(Self { key, kind })
    }

    /// A decoy with a key that several processes share, so that they show the same salts.
    #[must_use]
    pub fn with_key(key: [u8; 32], kind: SecretKind) -> Self {
        Self { key, kind }
    }

    /// The same salts with another kind: for a reloaded userlist.
    #[must_use]
    pub fn with_kind(&self, kind: SecretKind) -> Self {
        Self { key: self.key, kind }
    }

    pub(crate) fn kind(&self) -> SecretKind {
        self.kind
    }

    pub(crate) fn salt(&self, user: &str) -> Vec<u8> {
        let mut salt = hmac(&self.key, &[b"salt", user.as_bytes()]).to_vec();
        salt.truncate(SALT_LEN);
        salt
    }

    /// A verifier that no password satisfies.
    pub(crate) fn verifier(&self, user: &str) -> ScramVerifier {
        ScramVerifier {
            iterations: DEFAULT_ITERATIONS,
            salt: self.salt(user),
            stored_key: hmac(&self.key, &[b"stored key", user.as_bytes()]),
            server_key: hmac(&self.key, &[b"server key", user.as_bytes()]),
        }
    }
}

impl fmt::Debug for Decoy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoy").field("kind", &self.kind).finish_non_exhaustive()
    }
}
