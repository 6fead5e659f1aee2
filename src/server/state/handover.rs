//! A server connection on its way to the process that takes over: its socket goes with what is known of its state, so that
//! nobody has to log in anew, and a session that lives in it goes on.
//!
//! Both processes know the socket for a moment. The one that gives it away says nothing over it from then on, and lets it go
//! without a goodbye once the other has said that it has it.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::client_names::Stands;
use super::session_vars::{Value, Vars};
use crate::auth::handed::Handed;
use crate::net::{Socket, Stream};
use crate::protocol::Octets;
use crate::server::backend_ledger::Backend;
use crate::server::connection::{Entry, Server};
use crate::server::guard::{AnyConn, KindTag};
use crate::server::login::Fresh;
use crate::server::pool::{Pool, Welcome};

/// Settings by name.
pub type HandedVars = Vec<(String, Value)>;

/// Settings as they are handed over.
pub fn hand_vars(vars: &Vars) -> HandedVars {
    vars.iter().map(|(name, value)| (name.to_owned(), value.clone())).collect()
}

/// What a server reports at a log-in.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HandedWelcome {
    parameters: Vec<(String, String)>,
    read_only: Option<bool>,
    notices: Vec<Octets>,
}

impl From<&Welcome> for HandedWelcome {
    fn from(welcome: &Welcome) -> Self {
        let notices = welcome.notices.iter().map(|notice| notice.as_slice().into()).collect();
        Self { parameters: welcome.parameters.clone(), read_only: welcome.read_only, notices }
    }
}

impl From<HandedWelcome> for Welcome {
    fn from(handed: HandedWelcome) -> Self {
        let notices = handed.notices.iter().map(|notice| notice.0.clone()).collect();
        Self { parameters: handed.parameters, read_only: handed.read_only, notices }
    }
}

/// To which pool it belongs, and who it is there.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HandedPlace {
    /// The database's name as clients know it.
    pub database: String,
    /// The role as clients know it.
    pub user: String,
    /// The server, as the configuration names it.
    pub address: String,
    /// What the pool logs in with.
    pub credential: Handed,
    /// Whether it was opened READ ONLY by default.
    pub guarded: bool,
    /// The role and the database that it has logged in with; None: an earlier version does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    login: Option<(String, String)>,
    /// What else it was opened with; None likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    opened_with: Option<Vec<(String, String)>>,
    /// It is to be closed as soon as it comes back.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    closes: bool,
    /// Its number.
    id: u64,
    pid: u32,
    secret: Octets,
    backend: Option<Backend>,
    welcome: Option<HandedWelcome>,
    age_ms: u64,
}

/// What stands under a name of a client's own.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum HandedStands {
    Sql(u64),
    Protocol(u64),
    Empty,
    #[serde(other)]
    Unknown,
}

/// See the module.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HandedServer {
    /// Where it belongs.
    pub place: HandedPlace,
    vars: HandedVars,
    default_read_only: Option<bool>,
    in_recovery: Option<bool>,
    read_only_set: Option<bool>,
    prepared: Vec<(u64, bool)>,
    named: Vec<(Octets, HandedStands)>,
    unnamed: u64,
    born_guarded: bool,
    used: bool,
    sequences: Option<u64>,
}

impl Server {
    /// It, and a second descriptor of its socket; None if no other process can go on with it.
    pub fn hand_over(&mut self, guarded: bool) -> Option<(HandedServer, OwnedFd)> {
        // What it has said by itself is taken in here: it is read once.
        let quiet = !self.left_running && !self.ends && self.still_lives();
        let socket = quiet.then(|| self.stream.to_pass()).flatten()?;
        let pool = self.permit.pool();
        let named = self.named.stands().map(|(name, stands)| (name.into(), stands.into()));
        let place = HandedPlace {
            database: pool.database.to_string(),
            user: pool.user.to_string(),
            address: pool.login().address.to_string(),
            credential: (&pool.login().credential.get()).into(),
            guarded,
            login: Some(pool.role_and_database()),
            opened_with: Some(pool.opens_with()),
            closes: pool.closes(self.generation),
            id: self.id,
            pid: self.key.0,
            secret: (&*self.key.1).into(),
            backend: self.entry.as_ref().and_then(|entry| entry.backend()),
            welcome: pool.welcome().map(|welcome| (&*welcome).into()),
            age_ms: crate::log::millis(self.opened.elapsed()),
        };
        let handed = HandedServer { place, named: named.collect(), ..self.to_hand_over() };
        Some((handed, socket))
    }

    /// Every field is named: one that is added is a question to whoever adds it.
    fn to_hand_over(&self) -> HandedServer {
        let Self {
            // Handed over with its place, or by who it is.
            stream: _,
            key: _,
            id: _,
            opened: _,
            facts: _,
            permit: _,
            named: _,
            // What is lent is lent anew there, and as good as one that was opened just now.
            turn: _,
            moves: _,
            generation: _,
            core: _,
            idle_since: _,
            entry: _,
            target: _,
            seed: _,
            _presence: _,
            _own: _,
            // One that ends, or runs something, is not handed over.
            left_running: _,
            ends: _,
            closing_because: _,
            vars,
            default_read_only,
            in_recovery,
            read_only_set,
            prepared,
            unnamed,
            born_guarded,
            used,
            sequences,
        } = self;
        HandedServer {
            vars: hand_vars(vars),
            default_read_only: *default_read_only,
            in_recovery: *in_recovery,
            read_only_set: *read_only_set,
            prepared: prepared.entries().map(|entry| (entry.id, entry.overtaken)).collect(),
            unnamed: *unnamed,
            born_guarded: *born_guarded,
            used: *used,
            sequences: *sequences,
            ..HandedServer::default()
        }
    }

    /// Another process has it: it is let go without a word.
    pub fn leave_to_other(mut self: Box<Self>) {
        if let Some(entry) = self.entry.as_mut() {
            entry.end();
        }
    }
}

impl From<Stands> for HandedStands {
    fn from(stands: Stands) -> Self {
        match stands {
            Stands::Sql(id) => Self::Sql(id),
            Stands::Protocol(id) => Self::Protocol(id),
            Stands::Empty => Self::Empty,
            Stands::Unknown => Self::Unknown,
        }
    }
}

impl From<HandedStands> for Stands {
    fn from(handed: HandedStands) -> Self {
        match handed {
            HandedStands::Sql(id) => Self::Sql(id),
            HandedStands::Protocol(id) => Self::Protocol(id),
            HandedStands::Empty => Self::Empty,
            HandedStands::Unknown => Self::Unknown,
        }
    }
}

impl AnyConn {
    /// As [`Server::hand_over`].
    pub fn hand_over(&mut self) -> Option<(HandedServer, OwnedFd)> {
        let guarded = self.tag() == KindTag::Guarded;
        self.server().hand_over(guarded)
    }
}

impl Pool {
    fn role_and_database(&self) -> (String, String) {
        (self.login().user.to_string(), self.login().dbname.clone())
    }

    /// Whether a connection of the process before this one is to the same database here, as the same role.
    pub fn has_login_of(&self, handed: &HandedServer) -> bool {
        handed.place.login.as_ref().is_none_or(|login| *login == self.role_and_database())
    }

    /// Whether it is closed as soon as it comes back: as after a RELOAD, if the configuration wants others now.
    fn closes_handed(&self, handed: &HandedServer) -> bool {
        let as_opened = handed.place.opened_with.as_ref().is_none_or(|opened| *opened == self.opens_with());
        handed.place.closes || !self.has_login_of(handed) || !as_opened || self.login().tls.is_required()
    }

    /// A connection that another process hands over, for this core.
    ///
    /// # Errors
    /// The socket is none, or the server has turned.
    pub async fn take_over(
        self: &Arc<Self>,
        handed: &HandedServer,
        socket: OwnedFd,
        core: usize,
    ) -> Result<AnyConn, String> {
        let place = &handed.place;
        let stream = Stream::Plain(Socket::passed(socket).map_err(|error| error.to_string())?);
        let tag = if place.guarded { KindTag::Guarded } else { KindTag::Unguarded };
        let permit = self.permit_for_handed().ok_or("the pool is closed")?;
        let key = (place.pid, place.secret.0.clone());
        let own = Some(self.login().own.enter(place.pid));
        let fresh = Fresh { stream, parameters: Vec::new(), key, notices: Vec::new(), own };
        let mut server = self.adopt(fresh, permit, place.id, core, tag, self.closes_handed(handed));
        let now = Instant::now();
        server.opened = now.checked_sub(Duration::from_millis(place.age_ms)).unwrap_or(now);
        for (name, value) in &handed.vars {
            let seed = server.seed.clone();
            server.vars.put(&seed, name, Some(value.clone()));
        }
        server.default_read_only = handed.default_read_only;
        server.in_recovery = handed.in_recovery;
        server.read_only_set = handed.read_only_set;
        for (id, overtaken) in &handed.prepared {
            server.prepared.push(Entry { id: *id, overtaken: *overtaken });
        }
        handed.named.iter().for_each(|(name, stands)| server.named.put(&name.0, (*stands).into()));
        server.unnamed = handed.unnamed;
        server.born_guarded = handed.born_guarded;
        server.used = handed.used;
        server.sequences = handed.sequences;
        if let Some(backend) = place.backend.clone() {
            self.note_backend(&mut server, backend).await;
        }
        if let Some(welcome) = &place.welcome {
            self.take_over_welcome(Welcome::from(welcome.clone()));
        }
        Ok(AnyConn::opened(server, tag))
    }
}
