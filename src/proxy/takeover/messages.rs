//! What the two processes say to each other. The new one speaks first, and says which formats it understands.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::protocol::Octets;
use crate::shared::handover::Counted;

/// The format that this program speaks. It grows when a process that knows the former one only would misread the new one: what is
/// added and may be missing leaves it as it is.
pub const FORMAT: u32 = 1;
/// The oldest format that it understands.
pub const OLDEST_FORMAT: u32 = 1;

/// The first word of the new process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The oldest and the newest format that it understands.
    pub formats: (u32, u32),
    /// The program's version.
    pub program: String,
}

/// What the new process needs before it is ready.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Begin {
    /// The format of what follows.
    pub format: u32,
    /// The version of the program that speaks.
    pub program: String,
    /// The state of the gates.
    pub gates: String,
    /// Where it is kept; None: in memory.
    pub state_file: Option<PathBuf>,
    /// How often a process has taken over from another one, this time included.
    pub lives: u16,
    /// Numbers of clients up to this are in use.
    pub client_ids: u64,
    /// Numbers of server connections up to this are in use.
    pub server_ids: u64,
    /// Numbers of events up to this are in use.
    pub events: u64,
    /// Databases that are used, by the names of clients.
    pub databases: Vec<String>,
    /// Those that PAUSE holds.
    pub paused: Vec<String>,
    /// Whether it holds all.
    pub all_paused: bool,
    /// Which command it was.
    pub pause: PauseOfAll,
    /// Those that are disabled.
    pub disabled: Vec<String>,
    /// Those of which a rehearsal runs, and how long it goes on (ms).
    pub rehearsals: Vec<(String, u64)>,
    /// Those with a write that every session's reads have to show.
    pub written: Vec<String>,
    /// How many sockets follow.
    pub sockets: usize,
    /// Whether the service manager has opened those of clients.
    pub activated: bool,
    /// What SET has changed, by key, in that order.
    pub set: Vec<(String, String)>,
    /// How much is logged, if SET has changed that.
    pub log_level: Option<String>,
}

/// Which command holds all databases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PauseOfAll {
    /// PAUSE.
    #[default]
    Pause,
    /// SUSPEND.
    Suspend,
}

/// What a socket that listens is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListensFor {
    /// Clients over TCP, and whether it is bound to all addresses.
    Clients(SocketAddr, bool),
    /// Clients over the unix socket of that path.
    UnixClients(PathBuf),
    /// HTTP.
    Http(SocketAddr),
    /// `pgsluice upgrade`, at that path.
    Command(PathBuf),
}

/// To the new process.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToNew {
    /// What it begins with. The lock of the state file comes with it, if there is one.
    Begin(Box<Begin>),
    /// A socket that listens.
    Socket(ListensFor),
    /// It accepts connections from now on: the former one does not any more.
    Serve,
    /// A client, with its socket and that of the server connection that it keeps.
    Client {
        /// Of this offer.
        number: u64,
        /// The client's own.
        id: u64,
        /// See [`crate::shared::handover::HandedClient`].
        state: Box<RawValue>,
    },
    /// An idle server connection.
    Server {
        /// Of this offer.
        number: u64,
        /// See [`crate::server::state::handover::HandedServer`].
        state: Box<RawValue>,
    },
    /// A cancel request has been dealt with.
    Cancelled {
        /// The number of the request.
        number: u64,
        /// Whether the client was known.
        known: bool,
    },
    /// How many clients the former process still serves.
    Clients(usize),
    /// What it has counted; the last that it says.
    Counted(Box<Counted>),
}

/// To the former process.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToFormer {
    /// See [`Hello`].
    Hello(Hello),
    /// It cannot start.
    Failed(String),
    /// All that it needs is there.
    Ready,
    /// It accepts connections.
    Serving,
    /// The answer to an offer.
    Answer {
        /// Of the offer.
        number: u64,
        /// Why not; None: it has it.
        refused: Option<String>,
    },
    /// A cancel request for a client that it does not know.
    Cancel {
        /// Of the request.
        number: u64,
        /// The process id in it.
        pid: u32,
        /// The secret.
        secret: Octets,
    },
}

/// Whether a process that speaks `format` is understood by one that says this of itself; else why not.
pub fn is_understood(hello: &Hello, format: u32) -> Result<(), String> {
    let (oldest, newest) = hello.formats;
    if (oldest..=newest).contains(&format) {
        return Ok(());
    }
    Err(format!(
        "the new program ({}) understands state of the formats {oldest} to {newest}, and this one ({}) gives format {format}: \
         restart it instead",
        hello.program,
        env!("CARGO_PKG_VERSION")
    ))
}
