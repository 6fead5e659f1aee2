//! A credential as it is handed to the process that takes over.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::md5::Md5Hash;
use super::scram::ScramKeys;
use super::secret::Credential;
use crate::protocol::Octets;

/// See the module. One of a kind that the other process does not know is [`Handed::None`] to it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Handed {
    /// See [`Credential::None`].
    #[default]
    None,
    /// The password.
    Password(Octets),
    /// ClientKey and ServerKey.
    ScramKeys(Octets, Octets),
    /// The digits.
    Md5(Octets),
}

impl From<&Credential> for Handed {
    fn from(credential: &Credential) -> Self {
        match credential {
            Credential::None => Self::None,
            Credential::Password(password) => Self::Password(password.as_bytes().into()),
            Credential::ScramKeys(keys) => {
                Self::ScramKeys(keys.client_key.as_slice().into(), keys.server_key.as_slice().into())
            }
            Credential::Md5Hash(hash) => Self::Md5(hash.digits().as_slice().into()),
        }
    }
}

impl From<&Handed> for Credential {
    fn from(handed: &Handed) -> Self {
        match handed {
            Handed::None => Self::None,
            Handed::Password(password) => Self::password(password.0.clone()),
            Handed::ScramKeys(client, server) => match (client.0.as_slice().try_into(), server.0.as_slice().try_into())
            {
                (Ok(client), Ok(server)) => Self::ScramKeys(Arc::new(ScramKeys::new(client, server))),
                _ => Self::None,
            },
            Handed::Md5(digits) => {
                let text = String::from_utf8_lossy(&digits.0);
                Md5Hash::parse(&format!("md5{text}")).map_or(Self::None, Self::Md5Hash)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_arrives_as_it_was_and_is_never_shown() {
        let hash = Md5Hash::of(b"hunter2", "ann");
        for credential in [
            Credential::None,
            Credential::password("hunter2"),
            Credential::ScramKeys(Arc::new(ScramKeys::new([1; 32], [2; 32]))),
            Credential::Md5Hash(hash),
        ] {
            let handed = Handed::from(&credential);
            assert!(!format!("{handed:?}").contains("hunter2"));
            let text = serde_json::to_string(&handed).unwrap();
            assert!(Credential::from(&serde_json::from_str::<Handed>(&text).unwrap()).is_same(&credential));
        }
    }
}
