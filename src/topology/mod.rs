//! Which servers there are and what each of them is: who takes writes, who serves reads, and how far a replica has come.
//!
//! The [`monitor`] keeps one connection to each server and notes what it sees in the [`Cluster`]. The [`election`] decides from
//! what all servers claim which one takes writes. Each time a server's role or the decision changes, that server's connections
//! are out of date ([`crate::server::Watch`]), and a [`monitor::Follower`] is told: it has whoever waits choose again.
//! A cluster without a role for its monitor is watched through one that pools use ([`roles`]).

mod cluster;
mod election;
mod floor;
pub mod monitor;
pub mod roles;
mod server;

pub use crate::topology::cluster::{Avoid, Cluster, Standing};
pub use crate::topology::election::Leader;
pub use crate::topology::server::{InUse, Instance, Look, Role, Upstream};
