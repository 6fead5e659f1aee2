//! A connection to an upstream, from nothing to its first ReadyForQuery.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::Address;
use super::state::own_processes::{OwnProcess, OwnProcesses};
use crate::auth::client::ChannelBinding;
use crate::auth::{Credential, LoginStep, ServerLogin};
use crate::net::{Socket, Stream, TcpOptions};
use crate::protocol::frame;
use crate::protocol::frame::HEADER;
use crate::protocol::{ErrorFields, TxStatus, WireError, frontend, startup_packet};
use crate::sql::own_statements;
use crate::tls::client::ServerTlsPolicy;
use crate::tls::{ALPN, ServerTls, server_end_point};

/// The application_name of the monitor's connections.
pub const MONITOR: &str = "pgsluice monitor";

/// The application_name of connections that carry a move out.
pub const MOVER: &str = "pgsluice switchover";

/// Longest message that a server may send before it is ready (bytes).
pub(super) const LONGEST: usize = 64 * 1024;

/// How long room is waited for on a server that has none.
const FULL_PATIENCE: Duration = Duration::from_secs(1);

/// Who logs in where, and how.
pub struct Login {
    /// The server.
    pub address: Address,
    /// What its socket does about a server that has gone without a word.
    pub tcp: TcpOptions,
    /// TLS towards it.
    pub tls: Arc<ServerTls>,
    /// The role.
    pub user: Arc<str>,
    /// What proves it.
    pub credential: CurrentCredential,
    /// The database on the server.
    pub dbname: String,
    /// Further parameters of the start-up packet.
    pub parameters: Vec<(String, String)>,
    /// How long it may take in all.
    pub timeout: Duration,
    /// Where it is noted that the connection is ours.
    pub own: Arc<OwnProcesses>,
}

/// What proves a role. A person may change a password while pgsluice runs: the newest is used.
pub struct CurrentCredential(Mutex<Credential>);

impl From<Credential> for CurrentCredential {
    fn from(credential: Credential) -> Self {
        Self(Mutex::new(credential))
    }
}

impl CurrentCredential {
    /// The one of now.
    pub fn get(&self) -> Credential {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another one in its place: true if it is another one.
    pub fn set(&self, credential: &Credential) -> bool {
        let mut own = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let news = !own.is_same(credential);
        if news {
            own.clone_from(credential);
        }
        news
    }
}

/// A connection that has just become ready.
pub struct Fresh {
    /// The stream; nothing is left unread in it.
    pub stream: Stream,
    /// Parameters that the server reported.
    pub parameters: Vec<(String, String)>,
    /// Process id and secret for cancel requests.
    pub key: (u32, Vec<u8>),
    /// Notices and warnings, as the server wrote them; at most [`MOST_NOTICES`].
    pub notices: Vec<Vec<u8>>,
    /// Notes that it is ours, while it is open.
    pub own: Option<OwnProcess>,
}

/// Notices at a log-in that are kept, and the longest of them (bytes).
const MOST_NOTICES: usize = 16;
const LONGEST_NOTICE: usize = 4096;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// Nobody listens, the network fails, or the server hung up.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It took longer than server_connect_timeout.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The server said no: the body of its ErrorResponse.
    #[error("{}", ErrorFields::new(.0).summary())]
    Refused(Vec<u8>),
    /// TLS could not be agreed on, or the certificate is not good.
    #[error("TLS: {0}")]
    Tls(String),
    /// The server asks for a password, and there is none.
    #[error("server {server} asks for a password for role \"{user}\" and none is configured: {remedy}")]
    NoPassword {
        /// The server.
        server: String,
        /// The role.
        user: String,
        /// Where to put it.
        remedy: &'static str,
    },
    /// The server asks for a proof that cannot be given.
    #[error("{0}")]
    Auth(#[from] crate::auth::LoginError),
    /// It lets nobody write, since it is in recovery: it is not the primary.
    #[error("the server is in recovery")]
    InRecovery,
    /// The gate is closed, and a login event trigger may write.
    #[error("no log-in while the gate is closed: a login event trigger may write")]
    Barred,
    /// The lease in the fleet is over: what is written now may come behind what others take for the end.
    #[error("cannot reach the fleet")]
    FleetLost,
    /// The server does not speak the protocol.
    #[error("protocol violation: {0}")]
    Protocol(#[from] WireError),
}

impl LoginError {
    /// Whether waiting a little may help: nobody listens yet, the server starts up or has no room.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Io(_) | Self::Timeout(_) | Self::InRecovery => true,
            Self::Refused(body) => {
                matches!(ErrorFields::new(body).code(), b"57P03" | b"53300" | b"57P01" | b"57P02")
            }
            _ => false,
        }
    }

    /// Until when an attempt that began then is worth another one, for who may wait until `deadline` and has no other connection that may
    /// come free. A server that has no room left for the role has some again in a moment, or not for long.
    pub fn worth_trying_until(&self, began: Instant, deadline: Instant) -> Instant {
        let full = matches!(self, Self::Refused(body) if ErrorFields::new(body).code() == b"53300");
        if full { deadline.min(began + FULL_PATIENCE) } else { deadline }
    }

    /// Whether it will be the same until somebody changes something: a wrong password, no such database, no TLS.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Tls(_) | Self::Auth(_) | Self::NoPassword { .. } => true,
            Self::Refused(_) => !self.is_transient(),
            _ => false,
        }
    }

    /// Whether the server answers and says no to this role or database: others may well be let in.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Refused(body) => !is_unavailable(ErrorFields::new(body).code()),
            Self::Auth(_) | Self::NoPassword { .. } => true,
            _ => false,
        }
    }
}

/// Whether a server that says so is not there for anybody: it starts, shuts down or has crashed.
pub fn is_unavailable(code: &[u8]) -> bool {
    matches!(code, b"57P01" | b"57P02" | b"57P03")
}

impl Login {
    /// Connects and logs in, with `more` parameters in the start-up packet.
    ///
    /// # Errors
    /// As [`LoginError`] lists them.
    pub async fn run(&self, more: &[(&str, &str)]) -> Result<Fresh, LoginError> {
        self.run_as(0, more).await
    }

    /// As [`Self::run`], asking for that minor version of the protocol.
    ///
    /// # Errors
    /// As [`LoginError`] lists them.
    pub async fn run_as(&self, minor: u32, more: &[(&str, &str)]) -> Result<Fresh, LoginError> {
        timeout(self.timeout, self.try_both_ways(minor, more)).await.map_err(|_| LoginError::Timeout(self.timeout))?
    }

    /// As libpq does with `allow` and `prefer`: what is refused one way is tried the other way.
    async fn try_both_ways(&self, minor: u32, more: &[(&str, &str)]) -> Result<Fresh, LoginError> {
        let with_tls = !matches!(self.tls.policy(), ServerTlsPolicy::Never | ServerTlsPolicy::PlainFirst);
        let first = self.connect(with_tls, minor, more).await;
        let Err(error) = &first else { return first };
        let refused = matches!(error, LoginError::Refused(body) if ErrorFields::new(body).code() == b"28000");
        let again = match self.tls.policy() {
            ServerTlsPolicy::PlainFirst => refused,
            ServerTlsPolicy::TlsFirst => refused || matches!(error, LoginError::Tls(_)),
            ServerTlsPolicy::Never | ServerTlsPolicy::Always => false,
        };
        if !again || self.address.host().is_none() {
            return first;
        }
        match self.connect(!with_tls, minor, more).await {
            // The first refusal is the one that says what is wrong.
            Err(_) => first,
            second => second,
        }
    }

    async fn connect(&self, with_tls: bool, minor: u32, more: &[(&str, &str)]) -> Result<Fresh, LoginError> {
        let mut stream = self.secure(self.address.connect(self.tcp).await?, with_tls).await?;
        let mut out = Vec::with_capacity(128);
        let parameters = self.parameters.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        let who = [("user", &*self.user), ("database", &*self.dbname)];
        startup_packet::write_start(&mut out, minor, who.into_iter().chain(parameters).chain(more.iter().copied()));
        stream.write_all(&out).await?;

        let mut login = ServerLogin::new(&self.user, self.credential.get()).with_channel_binding(binding(&stream));
        let mut fresh = Fresh { stream, parameters: Vec::new(), key: (0, Vec::new()), notices: Vec::new(), own: None };
        let mut input = Vec::with_capacity(1024);
        let mut authenticated = false;
        loop {
            let header = next_frame(&mut fresh.stream, &mut input).await?;
            let body = input.get(HEADER..header.total).unwrap_or_default();
            match header.tag {
                b'E' => return Err(LoginError::Refused(body.to_vec())),
                b'R' => match login.receive(body).map_err(|error| self.explained(error))? {
                    LoginStep::Send(answer) => {
                        let mut out = Vec::with_capacity(answer.len() + HEADER);
                        frontend::write_password(&mut out, &answer);
                        fresh.stream.write_all(&out).await?;
                    }
                    LoginStep::Continue => {}
                    LoginStep::Ok => authenticated = true,
                },
                b'v' if !authenticated => {
                    // It speaks an older minor version: nothing that was asked for hangs on it.
                    let (version, _) = frame::take_u32(body)?;
                    if version >> 16 != 3 || version & 0xffff > minor {
                        return Err(WireError::Format.into());
                    }
                }
                b'S' if authenticated => {
                    let (name, rest) = frame::take_str(body)?;
                    let (value, _) = frame::take_str(rest)?;
                    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                    fresh.parameters.push((text(name), text(value)));
                }
                b'K' if authenticated => {
                    let (pid, secret) = frame::take_u32(body)?;
                    fresh.key = (pid, secret.to_vec());
                    fresh.own = Some(self.own.enter(pid));
                }
                b'Z' if authenticated => {
                    // Anything behind the first ReadyForQuery was not asked for.
                    return if body == [TxStatus::Idle.byte()] && input.len() == header.total {
                        Ok(fresh)
                    } else {
                        Err(WireError::Format.into())
                    };
                }
                b'N' if authenticated && fresh.notices.len() < MOST_NOTICES && body.len() <= LONGEST_NOTICE => {
                    fresh.notices.push(body.to_vec());
                }
                b'N' | b'v' => {}
                other => return Err(WireError::UnknownBackend(other).into()),
            }
            input.drain(..header.total);
        }
    }

    fn explained(&self, error: crate::auth::LoginError) -> LoginError {
        if !matches!(error, crate::auth::LoginError::Missing { .. })
            || !matches!(self.credential.get(), Credential::None)
        {
            return error.into();
        }
        let is_monitor = self.parameters.iter().any(|(_, value)| value == MONITOR);
        let remedy = if is_monitor {
            "set monitor_password, or add the role to auth_file with its password (a SCRAM verifier does not log in anywhere)"
        } else {
            "add the role to auth_file, or set user and password of the database"
        };
        LoginError::NoPassword { server: self.address.to_string(), user: self.user.to_string(), remedy }
    }

    async fn secure(&self, socket: Socket, with_tls: bool) -> Result<Stream, LoginError> {
        let Some(host) = self.address.host().filter(|_| with_tls) else { return Ok(Stream::Plain(socket)) };
        if self.tls.is_direct() {
            let stream = self.tls.connect(host, socket).await.map_err(|error| LoginError::Tls(error.to_string()))?;
            if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
                return Err(LoginError::Tls("the server did not name PostgreSQL by ALPN".into()));
            }
            return Ok(Stream::ToServer(Box::new(stream)));
        }
        let mut stream = Stream::Plain(socket);
        let mut out = Vec::with_capacity(8);
        startup_packet::write_ssl_request(&mut out);
        stream.write_all(&out).await?;
        let mut answer = Vec::with_capacity(1);
        // One byte only: what follows a yes belongs to the handshake, and must not be read as plain text.
        stream.read_some(&mut answer, 1).await?;
        match (answer.first(), stream) {
            (Some(b'S'), Stream::Plain(socket)) => {
                let stream =
                    self.tls.connect(host, socket).await.map_err(|error| LoginError::Tls(error.to_string()))?;
                Ok(Stream::ToServer(Box::new(stream)))
            }
            (Some(b'N'), stream) if self.tls.policy() != ServerTlsPolicy::Always => Ok(stream),
            (Some(b'N'), _) => {
                Err(LoginError::Tls("the server does not support TLS, but server_tls_sslmode demands it".into()))
            }
            _ => Err(WireError::Format.into()),
        }
    }
}

/// What SCRAM-SHA-256-PLUS is bound to.
fn binding(stream: &Stream) -> ChannelBinding {
    let Stream::ToServer(tls) = stream else { return ChannelBinding::Impossible };
    let certificate = tls.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    certificate.and_then(server_end_point).map_or(ChannelBinding::Impossible, ChannelBinding::EndPoint)
}

/// Reads until a whole message lies at the front of `input`.
///
/// # Errors
/// The peer has gone, or what it sends is no message.
pub async fn next_frame(stream: &mut Stream, input: &mut Vec<u8>) -> Result<frame::Header, LoginError> {
    next_frame_within(stream, input, LONGEST).await
}

/// As [`next_frame`], for messages up to that length (bytes).
///
/// # Errors
/// As [`next_frame`].
pub async fn next_frame_within(
    stream: &mut Stream,
    input: &mut Vec<u8>,
    longest: usize,
) -> Result<frame::Header, LoginError> {
    loop {
        match frame::peek_back(input)? {
            Some(header) if header.total > longest => return Err(WireError::Length.into()),
            Some(header) if header.total <= input.len() => return Ok(header),
            _ => stream.read_some(input, 4096).await?,
        }
    }
}

/// Sends a cancel request and waits until the server has taken it.
///
/// # Errors
/// The server cannot be reached.
pub async fn cancel(login: &Login, pid: u32, secret: &[u8]) -> Result<(), LoginError> {
    timeout(login.timeout, async {
        let with_tls = !matches!(login.tls.policy(), ServerTlsPolicy::Never | ServerTlsPolicy::PlainFirst);
        let mut stream = match login.secure(login.address.connect(login.tcp).await?, with_tls).await {
            Err(LoginError::Tls(_)) if login.tls.policy() == ServerTlsPolicy::TlsFirst => {
                login.secure(login.address.connect(login.tcp).await?, false).await?
            }
            other => other?,
        };
        let mut out = Vec::with_capacity(16);
        startup_packet::write_cancel(&mut out, pid, secret);
        stream.write_all(&out).await?;
        // The postmaster closes the connection once the signal has been sent.
        let mut nothing = Vec::new();
        let _ = stream.read_some(&mut nothing, 16).await;
        Ok(())
    })
    .await
    .map_err(|_| LoginError::Timeout(login.timeout))?
}

/// Logs in and has a back end terminated.
///
/// # Errors
/// The server cannot be reached, or refuses.
pub async fn terminate(login: &Login, pid: u32) -> Result<(), LoginError> {
    let mut fresh = login.run(&[]).await?;
    timeout(login.timeout, fresh.rows(&own_statements::servers::terminate(pid)))
        .await
        .map_err(|_| LoginError::Timeout(login.timeout))?
        .map(|_| ())
}
