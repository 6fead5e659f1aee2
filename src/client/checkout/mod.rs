//! A server connection is checked out for a transaction ([`acquire`]), brought to the client's settings, and checked in.

pub(in crate::client) mod abandoned;
pub(in crate::client) mod acquire;
pub(in crate::client) mod backend_pid;
pub(in crate::client) mod chosen_cluster;
pub(in crate::client) mod lease;
mod operators_server;
pub(in crate::client) mod own_writes;
pub(in crate::client) mod server_changed;
mod signals;
pub(in crate::client) mod sync_settings;
mod take;

use std::sync::Arc;

use crate::client::checkout::backend_pid::{Identity, ServerPreference};
use crate::client::checkout::own_writes::OwnWrites;
use crate::gate::Lane;
use crate::protocol::Report;
use crate::server::Pool;
use crate::shared::database::DatabaseSetup;
use crate::shared::handover::client::HandedBackend;
use crate::topology::Avoid;

/// What the choice of a server connection goes by.
pub(in crate::client) struct Checkout {
    /// Place at the gate's door while no ticket is held.
    lane: Option<Lane>,
    pools: PoolCache,
    /// Servers that are tried last.
    avoid: Avoid,
    identity: Identity,
    /// Of a session whose writes somebody has to know of.
    own_writes: Option<Box<OwnWrites>>,
    /// What the client is told when its transaction is over, and it is sent away.
    ending: Option<Box<Report>>,
}

impl Checkout {
    /// Of a session that begins.
    pub(in crate::client) fn new(identity: Identity, own_writes: Option<Box<OwnWrites>>) -> Self {
        Self { lane: None, pools: PoolCache::default(), avoid: Avoid::default(), identity, own_writes, ending: None }
    }

    /// Which server process the client was told of, for the process that takes over.
    pub(in crate::client) fn hand_over(&self) -> HandedBackend {
        // The gate's door, pools and servers that have failed are found anew; writes are asked for by themselves.
        let Self { lane: _, pools: _, avoid: _, identity, own_writes: _, ending: _ } = self;
        identity.hand_over()
    }

    /// The number of the server connection with that process, if the session has asked for it.
    pub(in crate::client) fn known_home(&self) -> Option<u64> {
        self.identity.known_home()
    }

    /// Whether the client is sent away when its transaction is over.
    pub(in crate::client) fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// A ticket has been given back: the place at the gate's door is kept.
    pub(in crate::client) fn keep_lane(&mut self, lane: Option<Lane>) {
        self.lane = lane;
    }

    /// The pool of a server, if the session has had one of its connections.
    pub(in crate::client) fn pool(&self, at: usize) -> Option<&Arc<Pool>> {
        self.pools.by_upstream.get(at).and_then(Option::as_ref)
    }

    /// Whether somebody has to know of what the session writes.
    #[inline]
    pub(in crate::client) fn follows_writes(&self) -> bool {
        self.own_writes.is_some()
    }

    /// Which server connection is wanted for what comes next.
    pub(in crate::client) fn server_wish(&self) -> ServerPreference {
        self.identity.wish()
    }

    /// A server has failed: others are tried first.
    pub(in crate::client) fn avoid(&mut self, at: usize) {
        self.avoid.add(at);
    }

    /// Whether any has.
    pub(in crate::client) fn avoids_any(&self) -> bool {
        self.avoid.is_any()
    }

    /// Servers that are tried last.
    pub(in crate::client) fn avoided(&self) -> Avoid {
        self.avoid
    }
}

/// A database's setup and the pools by upstream, as they were at one generation.
#[derive(Default)]
struct PoolCache {
    generation: u64,
    setup: Option<Arc<DatabaseSetup>>,
    by_upstream: Box<[Option<Arc<Pool>>]>,
}
