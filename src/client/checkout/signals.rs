//! Statements that signal processes, `pg_terminate_backend()` and `pg_cancel_backend()`, mean others than their own.
//!
//! Where clients outnumber server connections several have been told of one process, and a statement that signals one of them
//! must not run there. Which process it means is readable where it names it, in its text or in a parameter; then any other
//! connection will do. Where it is computed, or looked up in `pg_stat_activity`, the statement has a connection of whose process
//! no other client has been told. If the pool has none, one is opened for it, one beyond `pool_size` if need be; where even
//! that cannot be had, in the place of another. Who names a process that it knows to be its own means itself.

use std::sync::Arc;
use std::time::Instant;

use super::acquire::{Denied, denied};
use super::backend_pid::{PATIENCE, TRIES};
use crate::client::Session;
use crate::client::prepared::protocol_names::Known;
use crate::server::connection::Server;
use crate::server::guard::Kind;
use crate::server::{AnyConn, Conn, Home, Pool};
use crate::sql::cache::verdicts::Cached;
use crate::sql::hidden_writers::Kinds;
use crate::sql::{LexContext, Process, SessionEffect};

/// `pg_cancel_backend()` and `pg_terminate_backend()` in PostgreSQL's catalog.
const BY_OID: [u32; 2] = [2171, 2096];

/// Whether a process id is in what a client has sent: in digits, or as the four bytes of a binary parameter.
fn names_process(sent: &[u8], pid: u32) -> bool {
    let digits = pid.to_string();
    let is_digit = |at: Option<usize>| at.and_then(|at| sent.get(at)).is_some_and(u8::is_ascii_digit);
    let as_text = |at: usize| !is_digit(at.checked_sub(1)) && !is_digit(Some(at + digits.len()));
    let mut places = sent.windows(digits.len()).enumerate().filter(|(_, bytes)| *bytes == digits.as_bytes());
    places.any(|(at, _)| as_text(at)) || sent.windows(4).any(|bytes| *bytes == pid.to_be_bytes())
}

/// What a statement that signals processes is to keep clear of.
#[derive(Clone)]
struct Others {
    sent: Arc<[u8]>,
    /// The session's own home, if it is nobody else's.
    own: Option<u64>,
}

impl Others {
    fn names(&self, pid: u32) -> bool {
        names_process(&self.sent, pid)
    }

    /// Whether no other client can have been told of its process.
    fn is_unknown(&self, server: &Server) -> bool {
        let unseen = !server.used && server.facts.clients() == 0;
        !self.names(server.facts.pid) && (unseen || self.own == Some(server.facts.id))
    }
}

impl Session {
    /// Notes what comes next, as far as the choice of a server connection hangs on it.
    #[inline]
    pub(in crate::client) fn note_next(&mut self, cached: Option<&Cached>, context: LexContext) {
        self.checkout.identity.note_next(cached.map(|cached| &cached.analysis));
        let Some(cached) = cached.filter(|_| self.db.catalog.leaves() || self.names.has_sql()) else { return };
        if self.executes_signal(cached) || self.calls_signal(cached, context) {
            self.checkout.identity.note_signals();
        }
    }

    /// The same of a call by message.
    pub(in crate::client) fn note_next_call(&mut self, oid: u32) {
        self.checkout.identity.note_next(None);
        if BY_OID.contains(&oid) || self.db.catalog.reading().leavings.of_function(oid).kinds().has(Kinds::SIGNALS) {
            self.checkout.identity.note_signals();
        }
    }

    /// Whether a text runs, by name, what signals processes.
    fn executes_signal(&self, cached: &Cached) -> bool {
        let signals = |effect: &SessionEffect| match effect {
            SessionEffect::Execute(name) => match self.names.known(name) {
                Some(Known::Sql(inner)) => inner.runs().is_some_and(|(_, _, one)| one.process == Process::Signals),
                Some(Known::Protocol(statement)) => {
                    let mut all = statement.cached.analysis.statements.iter();
                    all.any(|one| one.process == Process::Signals)
                }
                None => false,
            },
            _ => false,
        };
        cached.analysis.statements.iter().flat_map(|one| &one.effects).any(signals)
    }

    /// Whether a function that it calls does.
    fn calls_signal(&self, cached: &Cached, context: LexContext) -> bool {
        self.db.catalog.leaves() && self.marks(cached, context).kinds().has(Kinds::SIGNALS)
    }

    /// For what signals processes: the session's own server connection, if that is what is meant.
    fn means_itself(&self, sent: &[u8]) -> Option<u64> {
        let (home, knows) = self.checkout.identity.home()?;
        (names_process(sent, home.pid()) && (knows || home.is_own())).then(|| home.id())
    }

    /// Takes a server connection for what signals processes.
    pub(in crate::client) async fn take_to_signal<K: Kind>(
        &mut self,
        pool: &Arc<Pool>,
        deadline: Instant,
    ) -> Result<Conn<K>, Denied>
    where
        AnyConn: From<Conn<K>>,
    {
        let sent: Arc<[u8]> = self.io.requests().unread().into();
        let core = self.core.index;
        if let Some(own) = self.means_itself(&sent) {
            return match self.take_certain(pool, own, TRIES, deadline).await? {
                Some(conn) => Ok(conn),
                None => self.take_in_turn(pool, deadline).await,
            };
        }
        let own = self.checkout.identity.home().filter(|(home, _)| home.is_own()).map(|(home, _)| Home::id(home));
        let others = Others { sent, own };
        let (taker, avoided) = (pool.clone(), others.clone());
        let idle = async move {
            if let Some(conn) = taker.take_fitting(core, |server| avoided.is_unknown(server)).await {
                return Some(conn);
            }
            let readable = taker.is_home_of_any(|pid| avoided.names(pid));
            let other = |server: &Server| readable && !avoided.names(server.facts.pid);
            taker.take_fitting(core, other).await
        };
        if let Some(conn) = self.waiting(idle, deadline).await? {
            return Ok(conn);
        }
        let taker = pool.clone();
        let opened = async move { tokio::time::timeout(PATIENCE, taker.open_unknown::<K>(core)).await };
        if let Ok(Ok(Some(conn))) = self.waiting(opened, deadline).await? {
            return Ok(conn);
        }
        let conn = self.take_in_turn::<K>(pool, deadline).await?;
        let server = conn.peek();
        let readable = pool.is_home_of_any(|pid| others.names(pid));
        if others.is_unknown(server) || readable && !others.names(server.facts.pid) {
            return Ok(conn);
        }
        let taker = pool.clone();
        let anew = async move { taker.open_anew::<K>(conn.into(), core).await };
        self.waiting(anew, deadline).await?.map_err(|error| denied(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::names_process;

    #[test]
    fn a_process_is_named_in_digits_or_in_binary() {
        assert!(names_process(b"select pg_terminate_backend(4711)", 4711));
        assert!(!names_process(b"select pg_terminate_backend(14711), 47110", 4711));
        assert!(names_process(b"\x00\x00\x00\x04\x00\x00\x12\x67\x00", 4711));
        assert!(!names_process(b"select pg_terminate_backend($1)", 4711));
    }
}
