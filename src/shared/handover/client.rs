//! A client's session at rest, as it is handed over. Each part is written and read by whoever owns that part of a session.
//!
//! What is missing in a document of an earlier version has its default, and what a later version has added is passed over.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::auth::handed::Handed;
use crate::protocol::Octets;
use crate::server::state::handover::{HandedServer, HandedVars, HandedWelcome};
use crate::sql::LexContext;

/// See the module.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HandedClient {
    /// Who it is.
    pub identity: HandedIdentity,
    /// Which server process it was told that it has.
    pub backend: HandedBackend,
    /// Its settings.
    pub settings: HandedSettings,
    /// What it was told of the server.
    pub told: HandedTold,
    /// What it has prepared.
    pub names: HandedNames,
    /// The server connection that it keeps.
    pub lease: HandedLease,
    /// What binds it to that.
    pub pins: Vec<String>,
    /// What of that may have ended.
    pub doubted: Vec<String>,
    /// Bytes that it has sent and nobody has looked at: a message that is held, or waits for a server connection.
    pub unread: Octets,
    /// How long ago they came: a wait for a server connection has begun then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unread_ms: Option<u64>,
    /// For how long that has been held behind the closed gate.
    pub held_ms: Option<u64>,
    /// What its reads have to show; None: the process that hands it over does not follow that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub own_writes: Option<HandedWrites>,
}

/// How far a replica must have come for a session's reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HandedWrites {
    /// Any will do.
    #[default]
    None,
    /// To this position.
    Before(u64),
    /// Further than is known.
    #[serde(other)]
    Awaited,
}

/// Who a client is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HandedIdentity {
    /// Its number, with its core in it.
    pub id: u64,
    /// The secret of its cancel key.
    pub secret: Octets,
    /// Where it comes from.
    pub address: Option<SocketAddr>,
    /// Our end.
    pub local: Option<SocketAddr>,
    /// Its role.
    pub user: String,
    /// The name of its database.
    pub database: String,
    /// As it has set it.
    pub application_name: String,
    /// What may be shown to servers.
    pub credential: Handed,
    /// When it connected (microseconds of Unix time).
    pub since: u64,
    /// For how long it has been idle.
    pub idle_ms: u64,
    /// Since when it has asked for nothing.
    pub requested_ms: u64,
    /// Parameters of its start-up packet, where a connection of its own is opened with them.
    pub startup: Vec<(String, String)>,
}

/// See `client/checkout/backend_pid.rs`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HandedBackend {
    /// The process id in its cancel key.
    pub told: Option<u32>,
    /// The number of the server connection with that process.
    pub home: Option<u64>,
    /// It, or its program, has asked for its process.
    pub asks: bool,
    /// It has asked itself.
    pub knows: bool,
    /// The server connection on which it may last have moved a sequence on.
    pub sequences_on: Option<u64>,
}

/// Its settings, and what they go back to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HandedSettings {
    /// As they are.
    pub vars: HandedVars,
    /// What RESET goes back to.
    pub defaults: Option<Vec<(String, String)>>,
    /// The application_name that it began with.
    pub default_name: String,
    /// The default_transaction_read_only that it began with.
    pub default_read_only: Option<bool>,
    /// That of the session outside of maintenance.
    pub read_only: Option<bool>,
    /// That which the client has set.
    pub read_only_set: Option<bool>,
}

/// What it was told.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HandedTold {
    /// At its log-in.
    pub welcome: HandedWelcome,
    /// Since then.
    pub since: Vec<(String, String)>,
    /// What default_transaction_read_only was last reported to be.
    pub read_only: bool,
    /// Whether the gate was closed when it was last told of it.
    pub closed: bool,
}

/// What it has prepared, in the order in which it has.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HandedNames {
    /// Each of them; the unnamed one has an empty name.
    pub statements: Vec<HandedStatement>,
    /// It was told what its unnamed statement is.
    pub unnamed_described: bool,
    /// Some are pgsluice's own.
    pub own: bool,
}

/// A prepared statement.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HandedStatement {
    /// The client's name for it.
    pub name: Octets,
    /// It comes from SQL's PREPARE, and the text is that.
    pub sql: bool,
    /// Its number, which is its name on servers.
    pub id: u64,
    /// The text.
    pub text: Octets,
    /// Types of its parameters.
    pub oids: Octets,
    /// How the text is read.
    pub context: LexContext,
    /// Where it finds its tables, unless that is where the session looks now.
    pub path: Option<u64>,
    /// The settings that it was parsed under, unless those are the session's own.
    pub settings: Option<HandedVars>,
}

/// The server connection that a session keeps between its transactions, and by what right.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HandedLease {
    /// None.
    #[default]
    None,
    /// One that may write once there is a ticket for it.
    Bound(Box<HandedServer>),
    /// One that is guarded in place.
    InPlace {
        /// The connection.
        server: Box<HandedServer>,
        /// Whether the guard stands.
        up: bool,
    },
    /// One to a replica.
    Replica {
        /// The connection.
        server: Box<HandedServer>,
        /// Whether the gate is why.
        maintenance: bool,
    },
    /// An operator's.
    Operator(Box<HandedServer>),
}

impl HandedLease {
    /// The connection.
    pub fn server(&self) -> Option<&HandedServer> {
        match self {
            Self::None => None,
            Self::Bound(server) | Self::Operator(server) => Some(server),
            Self::InPlace { server, .. } | Self::Replica { server, .. } => Some(server),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As format 1 was first written: it has to be understood for as long as `OLDEST_FORMAT` says so.
    const FORMAT_1: &str = include_str!("format_1.json");

    #[test]
    fn a_state_of_the_first_format_is_understood_and_what_a_later_version_adds_is_passed_over() {
        let state: HandedClient = serde_json::from_str(FORMAT_1).unwrap();
        assert_eq!((state.identity.id, &*state.identity.user), (16_777_219, "app"));
        assert_eq!((state.backend.told, state.backend.home), (Some(4711), Some(7)));
        assert_eq!(state.settings.vars.len(), 3);
        assert_eq!(state.pins, ["listen"]);
        assert_eq!((state.names.statements.len(), state.names.statements[1].sql), (2, true));
        assert_eq!(state.unread.0, b"Q\0\0\0\x0dselect 1\0");
        let HandedLease::Bound(server) = &state.lease else { panic!("{:?}", state.lease) };
        assert_eq!((&*server.place.address, server.place.guarded), ("127.0.0.1:5432", false));
        // It is written as it is read.
        let again: serde_json::Value = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
        let mut more: serde_json::Value = serde_json::from_str(FORMAT_1).unwrap();
        assert_eq!(again, more);
        // What has been added since is not known of it, which is not the same as that there is nothing.
        assert_eq!(state.own_writes, None);
        let written = HandedClient { own_writes: Some(HandedWrites::Before(7)), ..state.clone() };
        let written: HandedClient = serde_json::from_str(&serde_json::to_string(&written).unwrap()).unwrap();
        assert_eq!(written.own_writes, Some(HandedWrites::Before(7)));
        more["identity"]["later"] = "added".into();
        more["lease"]["bound"]["place"]["later"] = 1.into();
        more["whole"] = serde_json::json!({ "new": [1, 2] });
        let later: HandedClient = serde_json::from_value(more).unwrap();
        assert_eq!(later.identity.id, state.identity.id);
        // And what an earlier one lacks has its default.
        assert!(serde_json::from_str::<HandedClient>("{}").unwrap().names.statements.is_empty());
    }
}
