//! Connections whose server is not what it was when they were opened.

use std::sync::atomic::Ordering::SeqCst;

use super::Pool;
use crate::server::connection::Server;
use crate::server::guard::{AnyConn, KindTag};
use crate::server::watch::{RETIRED, Watch};

impl Pool {
    /// Whether a connection that comes back is lent again. A guarded one is not if its guard has fallen: on a server that is
    /// promoted it would let writes through.
    #[inline]
    pub(super) fn keeps(&self, conn: &mut AnyConn) -> bool {
        let fallen = conn.tag() == KindTag::Guarded && conn.server().default_read_only == Some(false);
        let used_up = self.settings.once && conn.server().used;
        !fallen && !used_up && self.is_current(conn.server()) && !self.closed.load(SeqCst)
    }

    /// Whether neither RECONNECT nor a turn of the server has come since a connection was opened.
    #[inline]
    pub(super) fn is_current(&self, server: &Server) -> bool {
        server.generation == self.generation.load(SeqCst) && server.turn == self.settings.watch.turns()
    }

    /// Whether the server has turned since a connection was opened or last checked.
    #[inline]
    pub fn has_turned_since(&self, server: &Server) -> bool {
        let turns = self.settings.watch.turns();
        server.turn != turns && turns != RETIRED
    }

    /// The same, or nobody watches the server any more: it is to be checked before the connection is used.
    #[inline]
    pub fn has_turned(&self, server: &Server) -> bool {
        let turns = self.settings.watch.turns();
        server.turn != turns || turns == RETIRED
    }

    /// A connection that a session keeps was found to be good for what its server is now.
    pub fn check_turn(&self, server: &mut Server) {
        if !self.settings.watch.is_retired() {
            server.turn = self.settings.watch.turns();
        }
    }

    /// Shared with whoever watches the server.
    pub fn watch(&self) -> &Watch {
        &self.settings.watch
    }

    /// Closes idle connections that are not lent any more since the server has turned.
    pub fn close_turned(&self) -> usize {
        let turns = self.settings.watch.turns();
        self.close_idle("the server has turned", |conn| conn.peek().turn != turns)
    }
}
