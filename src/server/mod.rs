//! Server connections: how they are opened ([`login`]), what kind they are ([`guard`]), how they are shared ([`pool`],
//! [`limit`]), how they come to another process ([`handover`](crate::server::state::handover)) and what state they carry ([`connection`], [`client_names`](crate::server::state::client_names), [`session_vars`](crate::server::state::session_vars)). Nothing here knows of clients, nor what the servers
//! are: that is [`crate::topology`].

mod address;
mod address_race;
pub mod backend_ledger;
mod cancel_target;
pub mod connection;
pub mod guard;
pub mod limit;
mod lines;
pub mod login;
pub mod own_query;
pub mod pool;
pub mod state;
mod watch;

pub use crate::server::address::Address;
pub use crate::server::cancel_target::CancelTarget;
pub use crate::server::connection::Server;
pub use crate::server::guard::{AnyConn, Conn, Guarded, InPlace, KindTag, Unguarded};
pub use crate::server::pool::{AcquireError, Pool};
pub use crate::server::state::advertised_backend::Home;
pub use crate::server::watch::Watch;
