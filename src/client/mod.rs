//! One client's life, from its first byte to its last, driven by one task on one core.
//!
//! - [`startup`]: from the first byte to the first ReadyForQuery.
//! - [`conversation`]: the loop that reads messages from both sides, looks at each and passes it on, and what is owed for each.
//! - [`request`]: the forms in which a client asks: simple queries, the extended query protocol, whole batches at once, statement
//!   mode, `SHOW pgsluice.mode`.
//! - [`io`]: the client's socket, and bytes on their way in both directions.
//! - [`decide`]: what becomes of a statement, as one pure function.
//! - [`errors`]: the catalogue of what pgsluice itself tells a client.
//! - [`checkout`]: a server connection is taken by value for a transaction, brought to the client's settings, and given back.
//!   The session's own task reads and writes both sockets, so that no other task is woken on the way of a query.
//! - [`state`]: what follows the client from one server connection to the next.
//! - [`prepared`]: prepared statements, the protocol's by name and those of SQL's PREPARE.
//! - [`maintenance`]: everything that exists for maintenance alone. The rest can be read without it.
//! - [`takeover`]: a session goes to the process that takes over, or comes from the one before.
//! - [`fanout`]: an operator's statements on several servers at once.
//! - [`replication`]: connections that stream the write-ahead log.

mod checkout;
pub mod conversation;
mod decide;
mod errors;
mod fanout;
mod goodbye;
mod io;
mod maintenance;
mod prepared;
pub mod replication;
mod request;
pub mod startup;
mod state;
pub mod takeover;

use std::rc::Rc;
use std::sync::Arc;

use crate::client::checkout::Checkout;
use crate::client::checkout::lease::Lease;
use crate::client::conversation::protocol_state::{Conversation, Settling};
use crate::client::io::Io;
use crate::client::maintenance::Maintenance;
use crate::client::prepared::protocol_names::Names;
use crate::client::startup::Account;
use crate::client::state::{Bindings, Settings};
use crate::protocol::Report;
use crate::shared::{Client, Database, WorkerState};

/// Why a session is over.
#[derive(Debug)]
pub enum End {
    /// The client said goodbye.
    Goodbye,
    /// The client went without a word, or its socket failed.
    ClientGone,
    /// The client is told this, and the connection closed.
    Report(Box<Report>),
    /// The server sent a FATAL that the client has been given.
    ServerSaidFatal,
    /// Another process serves the client from now on.
    HandedOver,
}

impl From<Report> for End {
    fn from(report: Report) -> Self {
        Self::Report(Box::new(report))
    }
}

/// See the module. Each part owns what it is named after.
pub struct Session {
    core: Rc<WorkerState>,
    me: Rc<Client>,
    db: Arc<Database>,
    account: Account,
    io: Io,
    conversation: Conversation,
    lease: Lease,
    checkout: Checkout,
    settings: Settings,
    bindings: Bindings,
    names: Names,
    maintenance: Maintenance,
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_session_stays_small() {
        let bytes = size_of::<super::Session>();
        assert!(bytes <= 1192, "{bytes} bytes, for each idle client: box what only some have");
    }
}
