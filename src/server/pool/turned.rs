//! Connections whose server is not what it was when they were opened.

use super::Permit;
use crate::server::login::Fresh;
use std::sync::atomic::Ordering::SeqCst;

use super::Pool;
use crate::server::connection::Server;
use crate::server::guard::{AnyConn, KindTag};
use crate::server::watch::{RETIRED, Watch};

/// As many places as nobody has.
const BEYOND: usize = 1 << 20;

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

    /// A place for what comes from another process, beyond the limits: it has been within them there.
    pub(in crate::server) fn permit_for_handed(&self) -> Option<Permit> {
        self.permit(BEYOND, BEYOND).ok()
    }

    /// An idle connection, to be handed to another process.
    pub fn take_to_hand_over(&self) -> Option<AnyConn> {
        (0..self.cores()).find_map(|core| self.queue(core).idle.pop())
    }

    /// What makes a connection that is opened now another one than one that was opened before the configuration has changed.
    pub(in crate::server) fn opens_with(&self) -> Vec<(String, String)> {
        let query = ("connect_query".to_owned(), self.settings.connect_query.clone());
        self.login().parameters.iter().cloned().chain([query]).collect()
    }

    /// Makes a connection that another process hands over one of its own: it is as good as one that was opened now, unless it
    /// `closes` when it comes back.
    pub(in crate::server) fn adopt(
        &self,
        fresh: Fresh,
        permit: Permit,
        id: u64,
        core: usize,
        kind: KindTag,
        closes: bool,
    ) -> Box<Server> {
        let generation = self.generation.load(SeqCst).wrapping_sub(closes.into());
        let mut server = Server::new(fresh, permit, id, core, generation, kind, self.seed.clone());
        (server.turn, server.moves) = (self.settings.watch.turns(), self.settings.watch.moves());
        self.opened.fetch_add(1, SeqCst);
        self.homes().add(&server.facts);
        server
    }

    /// Closes idle connections that are not lent any more since the server has turned.
    pub fn close_turned(&self) -> usize {
        let turns = self.settings.watch.turns();
        self.close_idle("the server has turned", |conn| conn.peek().turn != turns)
    }
}
