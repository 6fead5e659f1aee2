//! Authenticating a client: [`ClientAuth`], fed with the bodies of its `p` messages.
//!
//! Follows PostgreSQL's `auth.c`: a user who does not exist goes through the same messages as one who does and is
//! refused in the same words; the method `md5` turns into SCRAM for a user whose secret is a SCRAM verifier.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use super::decoy::Decoy;
use super::error::{AuthError, Refusal};
use super::md5::Md5Hash;
use super::scram::{MECHANISM, MECHANISM_PLUS, ScramVerifier};
use super::scram_client::{CHEAP_ITERATIONS, MAX_ITERATIONS};
use super::scram_server::{Binding, Outcome, ScramServer};
use super::secret::{Credential, Password, Secret, SecretKind};
use super::{MAX_PASSWORD_BODY, MAX_SASL_BODY, code};

/// How clients prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Not at all.
    Trust,
    /// By a password in clear text.
    Password,
    /// By PostgreSQL's MD5 challenge, or by SCRAM where the stored secret is a SCRAM verifier.
    Md5,
    /// By SCRAM-SHA-256, or SCRAM-SHA-256-PLUS over TLS.
    ScramSha256,
}

/// A word that is no authentication method.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unknown authentication method \"{0}\"; expected one of scram-sha-256, md5, plain, trust")]
pub struct UnknownMethod(String);

impl FromStr for Method {
    type Err = UnknownMethod;

    /// PgBouncer's `auth_type` words, and PostgreSQL's `password` for `plain`.
    fn from_str(word: &str) -> Result<Self, UnknownMethod> {
        match word {
            "trust" => Ok(Self::Trust),
            "plain" | "password" => Ok(Self::Password),
            "md5" => Ok(Self::Md5),
            "scram-sha-256" => Ok(Self::ScramSha256),
            _ => Err(UnknownMethod(word.to_owned())),
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trust => "trust",
            Self::Password => "plain",
            Self::Md5 => "md5",
            Self::ScramSha256 => "scram-sha-256",
        })
    }
}

/// A client that has proven who it is.
#[derive(Debug, Clone)]
pub struct Authenticated {
    /// What an upstream can be shown in its name: the password where it is known, else the SCRAM keys that its proof
    /// has uncovered, else what the userlist has.
    pub credential: Credential,
}

/// What to do next. Bodies are those of `R` messages, code included.
#[derive(Debug)]
pub enum Step {
    /// Send this and wait for a `p` message.
    Send(Vec<u8>),
    /// The client is in: go on with AuthenticationOk.
    Done(Authenticated),
    /// Send this, then the client is in: go on with AuthenticationOk.
    SendThenDone(Vec<u8>, Authenticated),
    /// Send this error as FATAL and close.
    Fail(AuthError),
}

/// The authentication of one client.
///
/// Most steps cost microseconds. A password in clear text against a SCRAM verifier, and the first log-in of a user
/// whose plain password was not [prepared](Secret::prepare), cost the rounds of the verifier (4096: about 2.5 milliseconds).
pub struct ClientAuth {
    method: Method,
    user: String,
    secret: Option<Secret>,
    decoy: Decoy,
    end_point: Option<Vec<u8>>,
    state: State,
    checked: Option<Checked>,
}

/// What the client's last answer was about, where it can be checked against another secret.
enum Checked {
    Password,
    Md5 { salt: [u8; 4] },
}

enum State {
    New,
    Password,
    Md5 { salt: [u8; 4] },
    SaslOffered,
    Scram(Box<ScramServer>),
    Over,
}

impl ClientAuth {
    /// `secret` is `None` for a user who does not exist. With [`Method::Trust`] such a user is let in without a
    /// credential, as by PostgreSQL's `trust`; whether the role exists is then the caller's or the upstream's to say,
    /// in the words of [`AuthError::NoSuchRole`].
    #[must_use]
    pub fn new(method: Method, user: &str, secret: Option<Secret>, decoy: &Decoy) -> Self {
        Self {
            method,
            user: user.to_owned(),
            secret,
            decoy: decoy.clone(),
            end_point: None,
            state: State::New,
            checked: None,
        }
    }

    /// Offers SCRAM-SHA-256-PLUS. `end_point` is our certificate's `tls-server-end-point` hash (RFC 5929); `None`
    /// without TLS.
    #[must_use]
    pub fn with_channel_binding(mut self, end_point: Option<Vec<u8>>) -> Self {
        self.end_point = end_point;
        self
    }

    /// The longest body, in bytes, that the next message may have. Refuse a longer one before reading it, with 08P01
    /// `invalid message length`.
    #[must_use]
    pub fn max_body(&self) -> usize {
        match self.state {
            State::Password | State::Md5 { .. } => MAX_PASSWORD_BODY,
            State::New | State::SaslOffered | State::Scram(_) | State::Over => MAX_SASL_BODY,
        }
    }

    /// The first step. To be called once.
    pub fn start(&mut self) -> Step {
        if !matches!(self.state, State::New) {
            return self.fail(AuthError::protocol("authentication has already begun"));
        }
        let kind = match &self.secret {
            Some(secret) => secret.kind(),
            None => None,
        };
        match (self.method, kind.unwrap_or(self.decoy.kind())) {
            (Method::Trust, _) => {
                self.state = State::Over;
                let credential = match &self.secret {
                    Some(secret) => secret.credential(),
                    None => Credential::None,
                };
                Step::Done(Authenticated { credential })
            }
            (Method::Password, _) => {
                self.state = State::Password;
                Step::Send(body(code::CLEARTEXT, &[]))
            }
            (Method::Md5, SecretKind::Plain | SecretKind::Md5) => {
                let mut salt = [0; 4];
                if getrandom::fill(&mut salt).is_err() {
                    return self.fail(AuthError::NoRandomness);
                }
                self.state = State::Md5 { salt };
                Step::Send(body(code::MD5, &salt))
            }
            (Method::Md5, SecretKind::Scram) | (Method::ScramSha256, _) => {
                self.state = State::SaslOffered;
                let mut mechanisms = String::new();
                if self.end_point.is_some() {
                    mechanisms.push_str(MECHANISM_PLUS);
                    mechanisms.push('\0');
                }
                mechanisms.push_str(MECHANISM);
                mechanisms.push_str("\0\0");
                Step::Send(body(code::SASL, mechanisms.as_bytes()))
            }
        }
    }

    /// The next step, for the body of a `p` message.
    pub fn receive(&mut self, message: &[u8]) -> Step {
        if message.len() > self.max_body() {
            return self.fail(AuthError::protocol("invalid message length"));
        }
        let result = match std::mem::replace(&mut self.state, State::Over) {
            State::Password => {
                self.checked = Some(Checked::Password);
                self.password(message)
            }
            State::Md5 { salt } => {
                self.checked = Some(Checked::Md5 { salt });
                self.md5(salt, message)
            }
            State::SaslOffered => self.sasl_initial(message),
            State::Scram(exchange) => self.scram(exchange, message),
            State::New | State::Over => Err(AuthError::protocol("unexpected password message")),
        };
        result.unwrap_or_else(|error| self.fail(error))
    }

    /// Checks the client's answer, which was refused, against another secret: the user's password has been changed. None
    /// where that cannot be: what a client answers to a SCRAM challenge hangs on the salt of the old one.
    pub fn check_again(&mut self, secret: Option<Secret>, message: &[u8]) -> Option<Step> {
        let result = match self.checked.take()? {
            Checked::Password => {
                self.secret = secret;
                self.password(message)
            }
            Checked::Md5 { salt } => {
                self.secret = secret;
                self.md5(salt, message)
            }
        };
        Some(result.unwrap_or_else(|error| self.fail(error)))
    }

    /// Whether [`receive`](Self::receive) would compute for more than some ten milliseconds: a password in clear text is
    /// compared with a SCRAM verifier of many rounds. Then call it off the event loop.
    #[must_use]
    pub fn is_heavy(&self) -> bool {
        match (&self.state, &self.secret) {
            (State::Password, Some(Secret::Scram(verifier))) => verifier.iterations > CHEAP_ITERATIONS,
            _ => false,
        }
    }

    fn fail(&mut self, error: AuthError) -> Step {
        self.state = State::Over;
        Step::Fail(error)
    }

    fn refused(&self, why: Refusal) -> AuthError {
        // A user without a password and one who is not there are refused for that, whatever was sent.
        let why = match &self.secret {
            None => Refusal::UnknownUser,
            Some(Secret::Empty) => Refusal::NoPassword,
            Some(_) => why,
        };
        AuthError::Refused { user: self.user.clone(), why }
    }

    fn password(&self, message: &[u8]) -> Result<Step, AuthError> {
        let sent = password_of(message)?;
        let right = match &self.secret {
            Some(Secret::Plain(password)) => password.matches(sent),
            Some(Secret::Md5(hash)) => hash.matches(sent, &self.user),
            // Nobody's verifier has so many rounds, whatever a server says.
            Some(Secret::Scram(verifier)) => verifier.iterations <= MAX_ITERATIONS && verifier.matches(sent),
            None | Some(Secret::Empty) => {
                // The work that most users cost, for nothing.
                match self.decoy.kind() {
                    SecretKind::Plain => {}
                    SecretKind::Md5 => drop(Md5Hash::of(sent, &self.user)),
                    SecretKind::Scram => drop(self.decoy.verifier(&self.user).matches(sent)),
                }
                false
            }
        };
        if !right {
            return Err(self.refused(Refusal::WrongPassword));
        }
        let credential = match &self.secret {
            // The stored one shares what was derived from it.
            Some(Secret::Plain(password)) => Credential::Password(Arc::clone(password)),
            _ => Credential::Password(Arc::new(Password::new(sent))),
        };
        Ok(Step::Done(Authenticated { credential }))
    }

    fn md5(&self, salt: [u8; 4], message: &[u8]) -> Result<Step, AuthError> {
        let sent = password_of(message)?;
        let hash = match &self.secret {
            Some(Secret::Md5(hash)) => hash.clone(),
            Some(Secret::Plain(password)) => Md5Hash::of(password.as_bytes(), &self.user),
            None | Some(Secret::Empty | Secret::Scram(_)) => Md5Hash::of(&self.decoy.salt(&self.user), &self.user),
        };
        let right = hash.verify(salt, sent);
        match &self.secret {
            Some(secret @ (Secret::Plain(_) | Secret::Md5(_))) if right => {
                Ok(Step::Done(Authenticated { credential: secret.credential() }))
            }
            _ => Err(self.refused(Refusal::WrongPassword)),
        }
    }

    fn sasl_initial(&mut self, message: &[u8]) -> Result<Step, AuthError> {
        let nul =
            message.iter().position(|&c| c == 0).ok_or_else(|| AuthError::protocol("invalid string in message"))?;
        let (mechanism, rest) = message.split_at(nul);
        let binding = match (mechanism, self.end_point.take()) {
            (name, Some(hash)) if name == MECHANISM_PLUS.as_bytes() => Binding::Bound(hash),
            (name, Some(_)) if name == MECHANISM.as_bytes() => Binding::Declined,
            (name, None) if name == MECHANISM.as_bytes() => Binding::NotOffered,
            _ => {
                return Err(AuthError::protocol("client selected an invalid SASL authentication mechanism"));
            }
        };
        let exchange = Box::new(ScramServer::new(self.verifier(), binding));

        let rest = rest.get(1..).unwrap_or_default();
        let (length, data) =
            rest.split_first_chunk::<4>().ok_or_else(|| AuthError::protocol("insufficient data left in message"))?;
        match i32::from_be_bytes(*length) {
            // No initial response: RFC 4422 has the server ask for it with an empty challenge.
            -1 if data.is_empty() => {
                self.state = State::Scram(exchange);
                Ok(Step::Send(body(code::SASL_CONTINUE, &[])))
            }
            length => match usize::try_from(length) {
                Ok(length) if length == data.len() => self.scram(exchange, data),
                Ok(length) if length < data.len() => Err(AuthError::protocol("invalid message format")),
                _ if length == -1 => Err(AuthError::protocol("invalid message format")),
                _ => Err(AuthError::protocol("insufficient data left in message")),
            },
        }
    }

    fn scram(&mut self, mut exchange: Box<ScramServer>, message: &[u8]) -> Result<Step, AuthError> {
        match exchange.receive(message)? {
            Outcome::Challenge(challenge) => {
                self.state = State::Scram(exchange);
                Ok(Step::Send(body(code::SASL_CONTINUE, &challenge)))
            }
            Outcome::Proven(proof, keys) => {
                let credential = match &self.secret {
                    Some(Secret::Plain(password)) => Credential::Password(Arc::clone(password)),
                    Some(Secret::Scram(_)) => Credential::ScramKeys(Arc::new(keys)),
                    // A decoy's proof cannot be made without its key; if it were, it would open nothing.
                    None | Some(Secret::Empty | Secret::Md5(_)) => {
                        return Err(self.refused(Refusal::UnsuitableSecret));
                    }
                };
                Ok(Step::SendThenDone(body(code::SASL_FINAL, &proof), Authenticated { credential }))
            }
            Outcome::Refused => Err(self.refused(match &self.secret {
                Some(Secret::Md5(_)) => Refusal::UnsuitableSecret,
                _ => Refusal::WrongPassword,
            })),
        }
    }

    fn verifier(&self) -> ScramVerifier {
        match &self.secret {
            Some(Secret::Plain(password)) => password.verifier(&self.user, &self.decoy).clone(),
            Some(Secret::Scram(verifier)) => ScramVerifier::clone(verifier),
            None | Some(Secret::Empty | Secret::Md5(_)) => self.decoy.verifier(&self.user),
        }
    }
}

impl fmt::Debug for ClientAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientAuth").field("method", &self.method).field("user", &self.user).finish_non_exhaustive()
    }
}

fn body(code: i32, data: &[u8]) -> Vec<u8> {
    let mut body = code.to_be_bytes().to_vec();
    body.extend_from_slice(data);
    body
}

/// The password in a `p` message: one string, ended by the body's only NUL.
pub(crate) fn password_of(message: &[u8]) -> Result<&[u8], AuthError> {
    match message.split_last() {
        Some((0, password)) if password.contains(&0) => Err(AuthError::protocol("invalid password packet size")),
        Some((0, [])) => Err(AuthError::EmptyPassword),
        Some((0, password)) => Ok(password),
        _ => Err(AuthError::protocol("invalid password packet size")),
    }
}
