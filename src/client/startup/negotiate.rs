//! From a client's first byte to the session it gets: encryption, start-up packet, log-in.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use super::authenticate::{Candidate, authenticate};
use crate::auth::Credential;
use crate::client::errors;
use crate::client::replication::Replication;
use crate::log::clients;
use crate::log::clients::Who;
use crate::net::{Socket, Stream};
use crate::protocol::startup_packet::{First, NEWEST_MINOR, Start, StartError, first, length};
use crate::protocol::{Report, Severity, backend};
use crate::shared::{Setup, WorkerState};
use crate::tls::ALPN;
use crate::tls::server::ClientTlsPolicy;

/// First byte of a TLS handshake. As that of a length it would be too large.
const TLS_HANDSHAKE: u8 = 0x16;

/// Bytes that a first packet has at most, usually.
const USUAL: usize = 512;

/// Names of the console's database.
pub const CONSOLES: [&str; 2] = ["pgsluice", "pgbouncer"];

/// A client that has proven who it is.
pub struct Guest {
    /// Its stream.
    pub(super) stream: Stream,
    /// When it was accepted.
    pub(super) since: Instant,
    /// Where it comes from; None for a unix socket.
    pub(super) address: Option<SocketAddr>,
    /// The role.
    pub(super) user: Arc<str>,
    /// The database it asked for.
    pub(super) database: String,
    /// Its start-up packet.
    pub(super) start: Start,
    /// The kind of replication it is for, if any.
    pub(super) replication: Option<Replication>,
    /// What may be passed on to servers.
    pub(super) credential: Credential,
    /// Let in because its process runs as the same user as this one.
    pub(super) by_process: bool,
}

impl Guest {
    /// One that another process has let in.
    pub(in crate::client) fn handed_over(
        stream: Stream,
        address: Option<SocketAddr>,
        (user, database): (Arc<str>, String),
        credential: Credential,
    ) -> Self {
        let (since, start) = (Instant::now(), Start::default());
        Self { stream, since, address, user, database, start, replication: None, credential, by_process: false }
    }

    /// The role.
    pub fn user(&self) -> &Arc<str> {
        &self.user
    }

    /// The database it asked for.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Where it comes from; None for a unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Its start-up packet.
    pub fn start(&self) -> &Start {
        &self.start
    }

    /// What may be passed on to servers.
    pub(in crate::client) fn credential(&self) -> &Credential {
        &self.credential
    }

    /// Whether it was let in because its process runs as the same user as this one.
    pub fn is_let_in_by_process(&self) -> bool {
        self.by_process
    }

    /// Its stream.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The same, to talk to it.
    pub fn stream_mut(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// The same, for good.
    pub fn into_stream(self) -> Stream {
        self.stream
    }
}

/// What a connection turned out to be.
pub enum Greeted {
    /// A client.
    Guest(Box<Guest>),
    /// A cancel request, to be served by whoever has that client.
    Cancel {
        /// The number of the client.
        pid: u32,
        /// Its secret.
        secret: Vec<u8>,
        /// To be closed, in order, once the request has been passed on: that is the answer.
        stream: Stream,
    },
    /// Nothing more is to be done: it has gone, or has been told why not.
    Over,
}

/// Greets a connection, for `client_login_timeout` at most.
pub async fn greet(core: &Rc<WorkerState>, socket: Socket, address: Option<SocketAddr>) -> Greeted {
    let (mut stream, since) = (Stream::Plain(socket), Instant::now());
    let patience = core.setup().config.timeouts.client_login_timeout.get().unwrap_or(Duration::from_secs(3600));
    let mut named = Named::default();
    let met = tokio::select! {
        met = meet(core, &mut stream, address, &mut named) => met,
        () = core.until_stopping() => Err(shutting_down().into()),
        () = tokio::time::sleep(patience) => Err(Refused::TimedOut),
    };
    match met {
        Ok(Met::Cancel { pid, secret }) => Greeted::Cancel { pid, secret, stream },
        Ok(Met::Client { user, database, start, replication, credential, by_process }) => {
            let guest = Guest { stream, since, address, user, database, start, replication, credential, by_process };
            Greeted::Guest(Box::new(guest))
        }
        Err(Refused::ReportedParameters(report)) => {
            core.proxy.stats.failed_logins.fetch_add(1, SeqCst);
            named.log(core, address, &report);
            tell(&mut stream, &core.worded(&report)).await;
            Greeted::Over
        }
        Err(Refused::TimedOut) => {
            named.event = Some("client_login_timeout");
            named.log(core, address, &errors::client_login_timeout());
            Greeted::Over
        }
        Err(Refused::Tls(why)) => {
            named.event = Some("tls_failed");
            named.log(core, address, &errors::tls_failed(&why));
            Greeted::Over
        }
        Err(Refused::Gone) => Greeted::Over,
    }
}

/// What a client is told that comes while the process ends.
pub(in crate::client) fn shutting_down() -> Report {
    errors::terminated(None)
}

/// What a client is told that comes while others finish.
pub(in crate::client) fn closing() -> Report {
    Report { severity: Severity::Fatal, ..errors::proxy_stops() }
}

/// Tells a client why it is sent away, and closes.
pub async fn tell(stream: &mut Stream, report: &Report) {
    let mut out = Vec::with_capacity(128);
    report.write(&mut out);
    let _ = tokio::time::timeout(Duration::from_secs(1), stream.write_all(&out)).await;
    stream.close(&[]);
}

/// Whom a client that is refused has named, and why it is refused, for the log.
#[derive(Default)]
pub(super) struct Named {
    user: Option<String>,
    database: Option<String>,
    event: Option<&'static str>,
    /// What only the log may know.
    pub(super) detail: Option<String>,
}

impl Named {
    fn log(&self, core: &WorkerState, address: Option<SocketAddr>, report: &Report) {
        if !core.setup().config.log.log_pooler_errors {
            return;
        }
        let client = address.map_or_else(|| "unix".to_owned(), |address| address.to_string());
        let (user, detail) = (self.user.as_deref(), self.detail.as_deref());
        let who = Who { user, database: self.database.as_deref().or(user), client: &client };
        let said = &core.worded(report).message;
        match self.event {
            Some(event) => clients::turned_away_as(event, who, report, said, detail),
            None => clients::turned_away(who, report, said, detail),
        }
    }
}

enum Met {
    Cancel {
        pid: u32,
        secret: Vec<u8>,
    },
    Client {
        user: Arc<str>,
        database: String,
        start: Start,
        replication: Option<Replication>,
        credential: Credential,
        by_process: bool,
    },
}

/// As in PgBouncer, whoever runs processes as the same user, or as root, may do everything on the console, as "pgbouncer" over the unix socket.
fn runs_as_we_do(stream: &Stream, user: &str, database: &str) -> bool {
    let is_console = CONSOLES.contains(&user) && CONSOLES.contains(&database);
    is_console && stream.socket().peer_uid().is_some_and(|uid| uid == 0 || uid == rustix::process::geteuid().as_raw())
}

/// Why a connection goes no further.
pub(super) enum Refused {
    /// The client is told this.
    ReportedParameters(Report),
    /// The handshake failed: TLS itself has said so.
    Tls(String),
    /// It took longer than `client_login_timeout`.
    TimedOut,
    /// The client has gone.
    Gone,
}

impl From<Report> for Refused {
    fn from(report: Report) -> Self {
        Self::ReportedParameters(report)
    }
}

impl From<std::io::Error> for Refused {
    fn from(_: std::io::Error) -> Self {
        Self::Gone
    }
}

impl From<StartError> for Refused {
    fn from(error: StartError) -> Self {
        Self::ReportedParameters(Report::fatal(error.code(), error.to_string()))
    }
}

/// What a peer does that only looks whether somebody listens is no failure.
fn tls_failed(error: std::io::Error) -> Refused {
    match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Refused::Gone,
        _ => Refused::Tls(error.to_string()),
    }
}

async fn meet(
    core: &Rc<WorkerState>,
    stream: &mut Stream,
    address: Option<SocketAddr>,
    named: &mut Named,
) -> Result<Met, Refused> {
    let setup = core.setup();
    let (mut asked_tls, mut asked_gss) = (false, false);
    // Where TLS may begin, not a byte behind a packet may be read; where it cannot, what there is is read at once.
    let plain = setup.tls.policy() == ClientTlsPolicy::Refused || address.is_none();
    let mut early = Vec::new();
    if !plain && stream.socket().peek_first().await? == TLS_HANDSHAKE {
        begin_tls_at_once(&setup, stream, address).await?;
        asked_tls = true;
    }
    let start = loop {
        let packet = if plain { read_early(stream, &mut early).await? } else { read_first(stream).await? };
        match first(&packet)? {
            First::Ssl if !asked_tls && !stream.is_tls() => {
                asked_tls = true;
                // TLS on a unix socket protects nothing, PostgreSQL does not offer it either.
                if setup.tls.policy() == ClientTlsPolicy::Refused || address.is_none() {
                    stream.write_all(b"N").await?;
                    refuse_early(&early, "SSL request")?;
                    continue;
                }
                stream.write_all(b"S").await?;
                // Exactly the request was read: what was sent early is still in the socket and fails the handshake.
                let Stream::Plain(socket) = std::mem::replace(stream, Stream::Plain(Socket::lost())) else {
                    return Err(Refused::Gone);
                };
                let tls = setup.tls.accept(socket).await.map_err(tls_failed)?;
                *stream = Stream::FromClient(Box::new(tls));
            }
            First::Gss if !asked_gss && !stream.is_tls() => {
                asked_gss = true;
                stream.write_all(b"N").await?;
                refuse_early(&early, "GSSAPI encryption request")?;
            }
            // A second one is no protocol that is known.
            First::Ssl => return Err(StartError::Protocol(1234, 5679).into()),
            First::Gss => return Err(StartError::Protocol(1234, 5680).into()),
            First::Cancel { pid, secret } => return Ok(Met::Cancel { pid, secret }),
            First::Start(start) => break start,
        }
    };
    named.user = start.get("user").map(str::to_owned);
    named.database = start.get("database").filter(|name| !name.is_empty()).map(str::to_owned);
    if setup.tls.policy() == ClientTlsPolicy::Required && !stream.is_tls() && address.is_some() {
        named.event = Some("tls_required");
        return Err(errors::not_let_in("TLS is required: connect with sslmode=require or stronger").into());
    }
    let replication = Replication::read(start.get("replication"))?;
    let Some(user) = start.get("user").filter(|user| !user.is_empty()) else {
        return Err(errors::not_let_in("no PostgreSQL user name specified in startup packet").into());
    };
    let user: Arc<str> = user.into();
    let database = start.get("database").filter(|name| !name.is_empty()).unwrap_or(&user).to_owned();
    let unknown = start.protocol_options();
    if start.minor > NEWEST_MINOR || !unknown.is_empty() {
        let mut out = Vec::with_capacity(64);
        backend::negotiate_protocol_version(&mut out, start.minor.min(NEWEST_MINOR), &unknown);
        stream.write_all(&out).await?;
    }
    if !early.is_empty() {
        stream.hold_early(early);
    }
    let by_process = runs_as_we_do(stream, &user, &database);
    let credential = if by_process {
        Credential::None
    } else {
        let candidate = Candidate { user: &user, database: &database, address, replication };
        authenticate(core, stream, &candidate, named).await?
    };
    Ok(Met::Client { user, database, start, replication, credential, by_process })
}

/// TLS without an SSLRequest ahead of it (`sslnegotiation=direct` of libpq 17). It tells by ALPN that it means PostgreSQL:
/// else a browser could be led to send what its page holds.
async fn begin_tls_at_once(setup: &Setup, stream: &mut Stream, address: Option<SocketAddr>) -> Result<(), Refused> {
    if setup.tls.policy() == ClientTlsPolicy::Refused || address.is_none() {
        return Err(Refused::Gone);
    }
    let Stream::Plain(socket) = std::mem::replace(stream, Stream::Plain(Socket::lost())) else {
        return Err(Refused::Gone);
    };
    let tls = setup.tls.accept(socket).await.map_err(tls_failed)?;
    if tls.get_ref().1.alpn_protocol() != Some(ALPN) {
        let client = address.map(|address| address.to_string());
        tracing::info!(
            event = "alpn_missing",
            client,
            "a client began TLS at once and did not name PostgreSQL by ALPN"
        );
        return Err(Refused::Gone);
    }
    *stream = Stream::FromClient(Box::new(tls));
    Ok(())
}

/// Reads exactly one first packet, and not a byte more.
async fn read_first(stream: &mut Stream) -> Result<Vec<u8>, Refused> {
    let mut packet = Vec::with_capacity(256);
    while packet.len() < 4 {
        let missing = 4 - packet.len();
        stream.read_some(&mut packet, missing).await?;
    }
    let whole = length(&packet)?.unwrap_or(usize::MAX);
    while packet.len() < whole {
        let missing = whole - packet.len();
        stream.read_some(&mut packet, missing).await?;
    }
    Ok(packet)
}

/// Who asks for encryption waits for the answer (CVE-2021-23222).
fn refuse_early(early: &[u8], request: &str) -> Result<(), Refused> {
    if early.is_empty() {
        return Ok(());
    }
    Err(errors::early_data(request).into())
}

/// Reads a first packet; what comes behind it stays in `early`.
async fn read_early(stream: &mut Stream, early: &mut Vec<u8>) -> Result<Vec<u8>, Refused> {
    loop {
        if early.first() == Some(&TLS_HANDSHAKE) {
            return Err(Refused::Gone);
        }
        if let Some(whole) = length(early)?
            && early.len() >= whole
        {
            let rest = early.split_off(whole);
            return Ok(std::mem::replace(early, rest));
        }
        stream.read_some(early, USUAL).await?;
    }
}
