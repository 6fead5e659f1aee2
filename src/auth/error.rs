//! Why a client was not let in: PostgreSQL's own words and SQLSTATEs, and what only the log may know.

use thiserror::Error;

/// A failed authentication of a client. Severity is always FATAL; the connection ends with it.
///
/// `Display` is the primary message for the client. It never tells an unknown user from a wrong password.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AuthError {
    /// Wrong password, unknown user, or a secret that cannot serve this method.
    #[error("password authentication failed for user \"{user}\"")]
    Refused {
        /// The user as the client named itself.
        user: String,
        /// The true reason, for the log alone.
        why: Refusal,
    },
    /// An empty password was sent; PostgreSQL refuses it before comparing.
    #[error("empty password returned by client")]
    EmptyPassword,
    /// The user was let in without a password but there is no such role.
    #[error("role \"{0}\" does not exist")]
    NoSuchRole(String),
    /// A SCRAM message that does not follow RFC 5802.
    #[error("malformed SCRAM message")]
    MalformedScram {
        /// DETAIL of the error.
        detail: String,
    },
    /// The nonce of the client's final message is not the one agreed on.
    #[error("invalid SCRAM response")]
    NonceMismatch,
    /// Any other breach of the protocol; the text is PostgreSQL's.
    #[error("{0}")]
    Protocol(String),
    /// Something RFC 5802 has and PostgreSQL has not; the text is PostgreSQL's.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The client supports channel binding and was made to believe that we do not: a downgrade.
    #[error("SCRAM channel binding negotiation error")]
    ChannelBindingDowngrade,
    /// The client sees another certificate than ours: somebody sits in between.
    #[error("SCRAM channel binding check failed")]
    ChannelBindingMismatch,
    /// The kernel gave no random bytes.
    #[error("could not generate random nonce")]
    NoRandomness,
}

/// Why a client was refused. For the log; a client must not see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such user.
    UnknownUser,
    /// The user exists with an empty password.
    NoPassword,
    /// The stored secret cannot serve the method asked for (an MD5 hash with SCRAM).
    UnsuitableSecret,
    /// The proof or password is wrong.
    WrongPassword,
}

impl AuthError {
    /// The five characters of the SQLSTATE ([PostgreSQL: Error Codes](https://www.postgresql.org/docs/current/errcodes-appendix.html)).
    #[must_use]
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::Refused { .. } | Self::EmptyPassword => "28P01",
            Self::NoSuchRole(_) | Self::ChannelBindingDowngrade | Self::ChannelBindingMismatch => "28000",
            Self::MalformedScram { .. } | Self::NonceMismatch | Self::Protocol(_) => "08P01",
            Self::Unsupported(_) => "0A000",
            Self::NoRandomness => "XX000",
        }
    }

    /// The DETAIL field for the client, if PostgreSQL sends one.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::MalformedScram { detail } => Some(detail),
            Self::NonceMismatch => Some("Nonce does not match."),
            Self::ChannelBindingDowngrade => Some(
                "The client supports SCRAM channel binding but thinks the server does not.  \
                 However, this server does support channel binding.",
            ),
            _ => None,
        }
    }

    /// What PostgreSQL adds to its server log and keeps from the client.
    #[must_use]
    pub fn log_detail(&self) -> Option<String> {
        let Self::Refused { user, why } = self else {
            return None;
        };
        Some(match why {
            Refusal::UnknownUser => format!("Role \"{user}\" does not exist."),
            Refusal::NoPassword => format!("User \"{user}\" has no password assigned."),
            Refusal::UnsuitableSecret => {
                format!("User \"{user}\" does not have a valid SCRAM secret.")
            }
            Refusal::WrongPassword => format!("Password does not match for user \"{user}\"."),
        })
    }

    /// A proof that does not fit.
    pub(crate) fn wrong_password(user: &str) -> Self {
        Self::Refused { user: user.to_owned(), why: Refusal::WrongPassword }
    }

    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::MalformedScram { detail: detail.into() }
    }

    pub(crate) fn protocol(text: impl Into<String>) -> Self {
        Self::Protocol(text.into())
    }
}
