//! The two kinds of server connection, told apart by type.
//!
//! A [`Guarded`] one was opened with `default_transaction_read_only=on` in its start-up packet, or leads to a server in
//! recovery: PostgreSQL itself refuses to write on it. An [`Unguarded`] one may write, and only who holds a ticket of
//! the gate may send anything over it. A pooled connection never changes its kind. [`InPlace`] is for a connection
//! that cannot be changed for another because a session's state lives in it: it was unguarded, has been told
//! `SET default_transaction_read_only = on`, and is checked after every statement.

use std::marker::PhantomData;

use super::connection::Server;
use super::pool::Permit;

mod sealed {
    pub trait Sealed {}
}

/// A kind of pooled server connection.
pub trait Kind: sealed::Sealed + Sized + Send + 'static {
    /// The kind as a value.
    const TAG: KindTag;
    /// Takes a connection out of its wrapping if it is of this kind.
    ///
    /// # Errors
    /// It is of the other kind, and given back.
    fn from_any(conn: AnyConn) -> Result<Conn<Self>, AnyConn>;
}

/// Opened READ ONLY by default: the server refuses writes.
pub struct Guarded;
/// May write.
pub struct Unguarded;
/// Bound to a session and made READ ONLY after it was opened.
pub struct InPlace;

impl sealed::Sealed for Guarded {}
impl sealed::Sealed for Unguarded {}

/// The kinds as values, for lists and tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KindTag {
    /// See [`Guarded`].
    Guarded,
    /// See [`Unguarded`].
    Unguarded,
}

/// A server connection of a kind.
pub struct Conn<K> {
    server: Box<Server>,
    kind: PhantomData<K>,
}

impl<K> Conn<K> {
    /// What is below the kind.
    #[inline]
    pub fn server(&mut self) -> &mut Server {
        &mut self.server
    }

    /// What is below the kind, to look at.
    #[inline]
    pub fn peek(&self) -> &Server {
        &self.server
    }

    /// Whether the server has last reported that transactions are READ ONLY by default.
    #[inline]
    pub fn is_read_only_by_default(&self) -> bool {
        self.server.default_read_only == Some(true)
    }
}

/// A server connection of either kind, as the pool keeps it.
pub enum AnyConn {
    /// See [`Guarded`].
    Guarded(Conn<Guarded>),
    /// See [`Unguarded`].
    Unguarded(Conn<Unguarded>),
}

impl AnyConn {
    /// Wraps a connection that was opened as one of this kind.
    pub(super) fn opened(server: Box<Server>, tag: KindTag) -> Self {
        match tag {
            KindTag::Guarded => Self::Guarded(Conn { server, kind: PhantomData }),
            KindTag::Unguarded => Self::Unguarded(Conn { server, kind: PhantomData }),
        }
    }

    /// Which kind it is.
    pub fn tag(&self) -> KindTag {
        match self {
            Self::Guarded(_) => KindTag::Guarded,
            Self::Unguarded(_) => KindTag::Unguarded,
        }
    }

    /// What is below the kind.
    pub fn server(&mut self) -> &mut Server {
        match self {
            Self::Guarded(conn) => &mut conn.server,
            Self::Unguarded(conn) => &mut conn.server,
        }
    }

    /// What is below the kind, to look at.
    pub fn peek(&self) -> &Server {
        match self {
            Self::Guarded(conn) => &conn.server,
            Self::Unguarded(conn) => &conn.server,
        }
    }
}

impl Kind for Guarded {
    const TAG: KindTag = KindTag::Guarded;
    fn from_any(conn: AnyConn) -> Result<Conn<Self>, AnyConn> {
        match conn {
            AnyConn::Guarded(conn) => Ok(conn),
            other => Err(other),
        }
    }
}

impl Kind for Unguarded {
    const TAG: KindTag = KindTag::Unguarded;
    fn from_any(conn: AnyConn) -> Result<Conn<Self>, AnyConn> {
        match conn {
            AnyConn::Unguarded(conn) => Ok(conn),
            other => Err(other),
        }
    }
}

impl From<Conn<Guarded>> for AnyConn {
    fn from(conn: Conn<Guarded>) -> Self {
        Self::Guarded(conn)
    }
}

impl From<Conn<Unguarded>> for AnyConn {
    fn from(conn: Conn<Unguarded>) -> Self {
        Self::Unguarded(conn)
    }
}

pub use crate::sql::own_statements::transaction::{ARM, DISARM, DISARM_TO_DEFAULT};

impl Conn<Unguarded> {
    /// Turns it into a connection guarded in place. The caller sends [`ARM`] before anything else.
    pub fn arm(self) -> Conn<InPlace> {
        Conn { server: self.server, kind: PhantomData }
    }
}

impl Conn<Guarded> {
    /// Keeps it for one session, whose state lives in it now. It never goes back to the pool.
    pub fn bind(mut self) -> Conn<InPlace> {
        self.server.born_guarded = true;
        Conn { server: self.server, kind: PhantomData }
    }
}

impl Conn<InPlace> {
    /// Lays it with those that may write, its guard still up: whoever takes it next sends [`ARM`] or [`DISARM`].
    pub fn shelve(mut self) -> Conn<Unguarded> {
        self.server.read_only_set = Some(true);
        Conn { server: self.server, kind: PhantomData }
    }

    /// Takes the guard off. The caller holds a ticket of the gate and sends [`DISARM`] before anything else.
    pub fn disarm(self) -> Conn<Unguarded> {
        Conn { server: self.server, kind: PhantomData }
    }
}

impl<K> Conn<K> {
    /// Another process has it.
    pub fn leave_to_other(self) {
        self.server.leave_to_other();
    }

    /// Closes it.
    pub fn close(self) {
        self.server.close();
    }
}

impl AnyConn {
    /// Notes why it is closed, for the log.
    #[must_use]
    pub fn because(mut self, why: &'static str) -> Self {
        self.server().closing_because = why;
        self
    }

    /// Closes it and keeps its place within the limits.
    pub fn into_permit(self) -> Permit {
        match self {
            Self::Guarded(conn) => conn.server.into_permit(),
            Self::Unguarded(conn) => conn.server.into_permit(),
        }
    }

    /// Another process has it.
    pub fn leave_to_other(self) {
        match self {
            Self::Guarded(conn) => conn.leave_to_other(),
            Self::Unguarded(conn) => conn.leave_to_other(),
        }
    }

    /// One that another process had guarded in place.
    pub fn guarded_in_place(self) -> Conn<InPlace> {
        match self {
            Self::Guarded(conn) => conn.bind(),
            Self::Unguarded(conn) => conn.arm(),
        }
    }

    /// Closes it.
    pub fn close(self) {
        match self {
            Self::Guarded(conn) => conn.close(),
            Self::Unguarded(conn) => conn.close(),
        }
    }
}
