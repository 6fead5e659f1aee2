//! Logging in to an upstream: [`ServerLogin`], fed with the bodies of its `R` messages.

use std::fmt;

use thiserror::Error;

use super::code;
use super::md5::Md5Hash;
pub use super::scram_client::{ChannelBinding, MAX_ITERATIONS};
use super::scram_client::{ExpectSignature, ScramClient, begin};
use super::secret::Credential;

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum LoginStep {
    /// Send a `p` message with this body.
    Send(Vec<u8>),
    /// Wait for the next message.
    Continue,
    /// The server has let us in (AuthenticationOk).
    Ok,
}

/// Why a log-in to an upstream failed on our side. (What the server itself refuses comes as its ErrorResponse.)
///
/// The texts name no host: the caller does, in its log.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LoginError {
    /// What we hold of the user cannot serve the method.
    #[error("the server asks for {method}, but for this user there is only {have}")]
    Missing {
        /// What the server wants.
        method: &'static str,
        /// What we have.
        have: &'static str,
    },
    /// A method that we do not speak.
    #[error("the server asks for {0} authentication, which is not supported")]
    Unsupported(String),
    /// A message that breaks the protocol.
    #[error("malformed authentication message from the server: {0}")]
    Malformed(&'static str),
    /// A message that may not come now.
    #[error("unexpected authentication message from the server: {0}")]
    Unexpected(&'static str),
    /// More PBKDF2 rounds than [`MAX_ITERATIONS`].
    #[error("the server asks for more than {MAX_ITERATIONS} SCRAM iterations")]
    TooManyIterations,
    /// The server does not know the user's verifier: it is not the one that it claims to be.
    #[error("incorrect server signature: the server could not prove that it knows the user")]
    WrongServerSignature,
    /// The server ended the exchange with an error of its own.
    #[error("the server ended the SCRAM exchange: {0}")]
    Refused(String),
    /// The kernel gave no random bytes.
    #[error("could not generate random nonce")]
    NoRandomness,
}

impl LoginError {
    pub(crate) fn missing(have: &Credential, method: &'static str) -> Self {
        Self::Missing { method, have: have.noun() }
    }
}

/// Our log-in to one upstream connection.
///
/// A server that never asks for anything lets us in without a credential (trust, peer, certificate).
pub struct ServerLogin {
    user: String,
    credential: Credential,
    binding: ChannelBinding,
    state: State,
}

enum State {
    /// Nothing asked for yet.
    Start,
    /// A password was sent; only AuthenticationOk may follow.
    Answered,
    /// The client-first-message was sent.
    ScramBegun(Box<ScramClient>),
    /// Our proof was sent; the server now owes us its own.
    ScramProven(ExpectSignature),
    /// The server has proven itself; only AuthenticationOk may follow.
    ScramVerified,
    Over,
}

impl ServerLogin {
    /// A log-in as `user`.
    #[must_use]
    pub fn new(user: &str, credential: Credential) -> Self {
        Self { user: user.to_owned(), credential, binding: ChannelBinding::Impossible, state: State::Start }
    }

    /// Uses SCRAM-SHA-256-PLUS where the server offers it.
    #[must_use]
    pub fn with_channel_binding(mut self, binding: ChannelBinding) -> Self {
        self.binding = binding;
        self
    }

    /// Whether [`receive`](Self::receive) would compute for more than some ten milliseconds with this body: the server
    /// wants many SCRAM rounds and no connection with this password has done them yet. Then call it off the event loop.
    #[must_use]
    pub fn is_heavy(&self, body: &[u8]) -> bool {
        match (&self.state, split(body)) {
            (State::ScramBegun(exchange), Ok((code::SASL_CONTINUE, data))) => exchange.is_heavy(data),
            _ => false,
        }
    }

    /// Takes the body of an `R` message, code included.
    ///
    /// # Errors
    /// [`LoginError`]; the connection is then of no more use.
    pub fn receive(&mut self, body: &[u8]) -> Result<LoginStep, LoginError> {
        let (code, data) = split(body)?;
        match (std::mem::replace(&mut self.state, State::Over), code) {
            (State::Start | State::Answered | State::ScramVerified, code::OK) => {
                if data.is_empty() {
                    Ok(LoginStep::Ok)
                } else {
                    Err(LoginError::Malformed("AuthenticationOk with data"))
                }
            }
            (State::Start, code::CLEARTEXT) => self.cleartext(data),
            (State::Start, code::MD5) => self.md5(data),
            (State::Start, code::SASL) => self.sasl(data),
            (State::ScramBegun(exchange), code::SASL_CONTINUE) => {
                let (answer, expected) = exchange.answer(data)?;
                self.state = State::ScramProven(expected);
                Ok(LoginStep::Send(answer))
            }
            (State::ScramProven(expected), code::SASL_FINAL) => {
                expected.check(data)?;
                self.state = State::ScramVerified;
                Ok(LoginStep::Continue)
            }
            (State::ScramBegun(_) | State::ScramProven(_), code::OK) => {
                Err(LoginError::Unexpected("AuthenticationOk before the server has proven itself"))
            }
            (State::Start, code) => Err(LoginError::Unsupported(match code {
                2 => "Kerberos V5".to_owned(),
                6 => "SCM credential".to_owned(),
                7 | 8 => "GSSAPI".to_owned(),
                9 => "SSPI".to_owned(),
                other => format!("method {other}"),
            })),
            _ => Err(LoginError::Unexpected("out of order")),
        }
    }

    fn cleartext(&mut self, data: &[u8]) -> Result<LoginStep, LoginError> {
        if !data.is_empty() {
            return Err(LoginError::Malformed("AuthenticationCleartextPassword with data"));
        }
        let Credential::Password(password) = &self.credential else {
            return Err(LoginError::missing(&self.credential, "a clear-text password"));
        };
        let body = string(password.as_bytes());
        self.state = State::Answered;
        Ok(LoginStep::Send(body))
    }

    fn md5(&mut self, data: &[u8]) -> Result<LoginStep, LoginError> {
        let salt = data
            .try_into()
            .map_err(|_| LoginError::Malformed("AuthenticationMD5Password without four bytes of salt"))?;
        let hash = match &self.credential {
            Credential::Md5Hash(hash) => hash.clone(),
            Credential::Password(password) => Md5Hash::of(password.as_bytes(), &self.user),
            other @ (Credential::None | Credential::ScramKeys(_)) => {
                return Err(LoginError::missing(other, "md5"));
            }
        };
        self.state = State::Answered;
        Ok(LoginStep::Send(string(&hash.response(salt))))
    }

    fn sasl(&mut self, data: &[u8]) -> Result<LoginStep, LoginError> {
        match &self.credential {
            Credential::Password(_) | Credential::ScramKeys(_) => {}
            other @ (Credential::None | Credential::Md5Hash(_)) => {
                return Err(LoginError::missing(other, "SCRAM-SHA-256"));
            }
        }
        let offered = mechanisms(data)?;
        let (mechanism, first, exchange) = begin(&offered, self.credential.clone(), &self.binding)?;
        let length = i32::try_from(first.len()).map_err(|_| LoginError::Malformed("the exchange grew too long"))?;
        let mut body = string(mechanism.as_bytes());
        body.extend_from_slice(&length.to_be_bytes());
        body.extend_from_slice(&first);
        self.state = State::ScramBegun(Box::new(exchange));
        Ok(LoginStep::Send(body))
    }
}

impl fmt::Debug for ServerLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerLogin")
            .field("user", &self.user)
            .field("credential", &self.credential)
            .finish_non_exhaustive()
    }
}

fn split(body: &[u8]) -> Result<(i32, &[u8]), LoginError> {
    body.split_first_chunk::<4>()
        .map(|(code, data)| (i32::from_be_bytes(*code), data))
        .ok_or(LoginError::Malformed("shorter than its code"))
}

/// Names, each ended by a NUL, and an empty one at the end.
fn mechanisms(data: &[u8]) -> Result<Vec<&str>, LoginError> {
    let malformed = LoginError::Malformed("AuthenticationSASL without a list of mechanisms");
    let Some(names) = data.strip_suffix(b"\0\0") else {
        return Err(malformed);
    };
    // Two are all that we know; a server that lists hundreds has something else in mind.
    if data.len() > 1024 {
        return Err(malformed);
    }
    names.split(|&c| c == 0).map(|name| std::str::from_utf8(name).map_err(|_| malformed.clone())).collect()
}

fn string(text: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(text.len() + 1);
    body.extend_from_slice(text);
    body.push(0);
    body
}
