//! Server connections: how they are opened ([`login`]), what kind they are ([`guard`]), how they are shared ([`pool`],
//! [`limit`]) and what state they carry ([`server`], [`named`], [`vars`]). Nothing here knows of clients, nor what the servers
//! are: that is [`crate::topology`].

mod address;
pub mod guard;
mod home;
pub mod ledger;
pub mod limit;
pub mod login;
pub mod named;
pub mod pool;
pub mod query;
mod race;
pub mod server;
mod target;
pub mod vars;
mod watch;

pub use address::Address;
pub use guard::{AnyConn, Conn, Guarded, InPlace, KindTag, Unguarded};
pub use home::Home;
pub use pool::{AcquireError, Pool};
pub use server::Server;
pub use target::CancelTarget;
pub use watch::Watch;
