//! Server connections: how they are opened ([`login`]), what kind they are ([`guard`]), how they are shared ([`pool`],
//! [`limit`]), what state they carry ([`server`], [`named`], [`vars`]), and what is known of the servers they lead to ([`cluster`],
//! [`monitor`]). Nothing here knows of clients.

mod address;
pub mod cluster;
pub mod guard;
mod home;
pub mod limit;
pub mod login;
pub mod monitor;
pub mod named;
pub mod pool;
pub mod query;
pub mod server;
mod target;
pub mod vars;

pub use address::Address;
pub use cluster::{Cluster, Role, Upstream};
pub use guard::{AnyConn, Conn, Guarded, InPlace, KindTag, Unguarded};
pub use home::Home;
pub use pool::{AcquireError, Pool};
pub use server::Server;
pub use target::CancelTarget;
