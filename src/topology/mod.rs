//! Which servers there are and what each of them is: who takes writes, who serves reads, and how far a replica has come.
//!
//! The [`monitor`] keeps one connection to each server and notes what it sees in the [`Cluster`]. The [`election`] decides from
//! what all servers claim which one takes writes. Each time a server's role or the decision changes, that server's connections
//! are out of date ([`crate::server::Watch`]), and a [`monitor::Follower`] is told: it has whoever waits choose again. If several claim it, [`contest`]
//! says whether one of them can be told from the others. The [`outlook`]
//! says whether a loss is more than a moment's, and the [`state`] what a person is shown of a server.
//! A [`handover`] is a change of the primary that is planned.
//! [`discover`] finds servers that the configuration does not name one by one.
//! [`cluster::written`] is how a replica is found that has what somebody wrote.
//! A cluster without a role for its monitor is watched through one that pools use ([`roles`]).

mod cluster;
mod contest;
pub mod discover;
mod election;
mod floor;
mod handover;
pub mod monitor;
mod outlook;
mod own_settings;
pub mod roles;
mod server;
mod state;

pub use crate::topology::cluster::written::{LastWrite, ReadFloor, WriteEnd};
pub use crate::topology::cluster::{Avoid, Cluster, Standing};
pub use crate::topology::contest::{Activity, NotDecided};
pub use crate::topology::election::Leader;
pub use crate::topology::outlook::Outlook;
pub use crate::topology::own_settings::{OwnSetting, OwnSettings};
pub use crate::topology::server::{Facts, InUse, Instance, Look, Role, Upstream};
pub use crate::topology::state::{Loss, Outage, Silence, State};
