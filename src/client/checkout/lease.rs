//! The server connection a session holds, and by what right.

use crate::gate::WriteTicket;
use crate::server::{Conn, Guarded, InPlace, Server, Unguarded};
use crate::shared::ChangeUnderWay;
use crate::topology::{InUse, Upstream};

/// See the module. Fencing turns `Write` into `InPlace` in the middle of a transaction.
pub enum Lease {
    /// None: between transactions.
    None,
    /// A connection that may write, and the gate's ticket for one transaction on it.
    Write {
        /// The connection.
        conn: Conn<Unguarded>,
        /// The right to send anything over it.
        ticket: WriteTicket,
    },
    /// A connection on which the server refuses writes.
    Guarded {
        /// The connection.
        conn: Conn<Guarded>,
        /// The replica it leads to; None for the primary.
        replica: Option<OnReplica>,
        /// Whether the gate is why: then what PostgreSQL would let through is refused too.
        maintenance: bool,
    },
    /// A connection in which the session's state lives, between transactions: nothing may be sent.
    Bound {
        /// The connection.
        conn: Conn<Unguarded>,
    },
    /// The same in maintenance, guarded in place.
    InPlace {
        /// The connection.
        conn: Conn<InPlace>,
        /// Its guard.
        guard: InPlaceGuard,
    },
    /// One that may write what a rule allows while the gate is closed, for one message.
    Allowed {
        /// The connection.
        conn: Conn<Unguarded>,
    },
    /// An operator's: never gated.
    Operator {
        /// The connection.
        conn: Conn<Unguarded>,
        /// What has been sent in the open transaction may change the catalog.
        changes: Option<ChangeUnderWay>,
    },
}

/// A replica on which a transaction runs, and is counted for as long as this lives.
pub struct OnReplica {
    /// Its number in the cluster of that time.
    at: usize,
    _counted: InUse,
}

impl OnReplica {
    /// A transaction begins there.
    pub fn new(at: usize, server: &Upstream) -> Self {
        Self { at, _counted: server.lend() }
    }
}

/// The guard of a connection guarded in place, `default_transaction_read_only`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InPlaceGuard {
    /// It is put up once the transaction that is open, READ ONLY by itself or aborted, has ended.
    Due,
    /// It stands, or its SET has been sent.
    Up,
}

impl Lease {
    /// The connection, if there is one.
    #[inline]
    pub fn server(&mut self) -> Option<&mut Server> {
        match self {
            Self::None => None,
            Self::Write { conn, .. } | Self::Bound { conn } | Self::Allowed { conn } | Self::Operator { conn, .. } => {
                Some(conn.server())
            }
            Self::Guarded { conn, .. } => Some(conn.server()),
            Self::InPlace { conn, .. } => Some(conn.server()),
        }
    }

    /// The same, to look at.
    pub fn peek_server(&self) -> Option<&Server> {
        match self {
            Self::None => None,
            Self::Write { conn, .. } | Self::Bound { conn } | Self::Allowed { conn } | Self::Operator { conn, .. } => {
                Some(conn.peek())
            }
            Self::Guarded { conn, .. } => Some(conn.peek()),
            Self::InPlace { conn, .. } => Some(conn.peek()),
        }
    }

    /// Whether there is one.
    #[inline]
    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Whether statements on it are kept from writing because the gate is closed.
    #[inline]
    pub fn in_maintenance(&self) -> bool {
        matches!(self, Self::Guarded { maintenance: true, .. } | Self::InPlace { .. })
    }

    /// The gate has closed while a transaction was open on a replica: from now on what it runs is looked at.
    pub fn enter_maintenance(&mut self) {
        if let Self::Guarded { maintenance, replica: Some(_), .. } = self {
            *maintenance = true;
        }
    }

    /// Whether it is an operator's.
    #[inline]
    pub fn is_operator(&self) -> bool {
        matches!(self, Self::Operator { .. })
    }

    /// The replica it leads to.
    pub fn replica(&self) -> Option<usize> {
        match self {
            Self::Guarded { replica, .. } => replica.as_ref().map(|replica| replica.at),
            _ => None,
        }
    }

    /// Takes it, leaving none.
    pub fn take(&mut self) -> Self {
        std::mem::replace(self, Self::None)
    }

    /// Closes the connection, if there is one.
    pub fn close(&mut self) {
        match self.take() {
            Self::None => {}
            Self::Write { conn, ticket } => {
                // First the connection, then the ticket: the gate must not think the transaction over before it is.
                conn.close();
                drop(ticket);
            }
            Self::Bound { conn } | Self::Allowed { conn } | Self::Operator { conn, .. } => conn.close(),
            Self::Guarded { conn, .. } => conn.close(),
            Self::InPlace { conn, .. } => conn.close(),
        }
    }
}
