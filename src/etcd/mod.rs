//! etcd by its HTTP/JSON gateway: keys with leases, comparisons, and a stream of changes.
//!
//! [`Client`] asks one of several endpoints and goes on with the next when one does not answer ([`client`]); every request has a
//! bound in time, and every answer one in size. What goes over the wire is put together and read in [`json`]. A [`Watch`] is the
//! stream of changes behind a revision ([`watch`]).

mod client;
mod json;
mod watch;

pub use crate::etcd::client::{Client, Settings};
pub use crate::etcd::json::{Compare, Entry, Op, Read};
pub use crate::etcd::watch::{Change, Watch};

/// Why a request has failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EtcdError {
    /// No endpoint has answered.
    #[error("{0}")]
    Unreachable(String),
    /// It was refused, with the reason that etcd gives.
    #[error("{0}")]
    Refused(String),
    /// It is not the etcd that has answered before.
    #[error("the endpoints belong to another etcd than before")]
    Another,
    /// The lease is not there any more.
    #[error("the lease has ended")]
    LeaseGone,
    /// The answer cannot be understood.
    #[error("the answer cannot be understood: {0}")]
    Answer(String),
}
