//! One server connection and what is known of its state.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::backend_ledger::Noted;
use super::cancel_target::CancelTarget;
use super::guard::KindTag;
use super::lines;
use super::login::{Fresh, LoginError, next_frame};
use super::own_query::parameter;
use super::pool::Permit;
use super::state::advertised_backend::Presence;
use super::state::client_names::Named;
use super::state::own_processes::OwnProcess;
use super::state::session_vars::{Seed, Vars, reported_name};
use crate::net::Stream;
use crate::protocol::frame::{HEADER, peek_back};
use crate::protocol::{TxStatus, frontend};

/// Prepared statements that stand on a server connection under pgsluice's names: the newest used last, at most as many
/// as `max_prepared_statements`.
#[derive(Default)]
pub struct Prepared {
    order: VecDeque<Entry>,
    /// What their rows are, as far as it was asked.
    shapes: HashMap<u64, NonZeroU64>,
}

/// One of them.
pub(super) struct Entry {
    pub(super) id: u64,
    /// What has its name on the server may be another statement: it is closed before it is prepared there.
    pub(super) overtaken: bool,
}

impl Prepared {
    /// Whether a statement is there; it counts as used now.
    pub fn touch(&mut self, id: u64) -> bool {
        // Hits are mostly near the end; a list of some hundred numbers is scanned faster than a map is kept.
        match self.order.iter().rposition(|known| known.id == id && !known.overtaken) {
            None => false,
            Some(at) => {
                if at + 16 < self.order.len()
                    && let Some(entry) = self.order.remove(at)
                {
                    self.order.push_back(entry);
                }
                true
            }
        }
    }

    /// Adds one; gives the one that has to go for it.
    pub fn add(&mut self, id: u64, most: usize) -> Option<u64> {
        self.order.push_back(Entry { id, overtaken: false });
        let gone = if self.order.len() > most.max(1) { self.order.pop_front() } else { None };
        let gone = gone.map(|entry| entry.id);
        if let Some(gone) = gone {
            self.shapes.remove(&gone);
        }
        gone
    }

    /// Another statement has been prepared under its name.
    pub fn overtake(&mut self, id: u64) {
        self.shapes.remove(&id);
        self.order.iter_mut().filter(|known| known.id == id).for_each(|known| known.overtaken = true);
    }

    /// Whether its name has to be closed before it is prepared there. It is forgotten.
    pub fn take_overtaken(&mut self, id: u64) -> bool {
        let overtaken = self.order.iter().any(|known| known.id == id && known.overtaken);
        if overtaken {
            self.remove(id);
        }
        overtaken
    }

    /// What the rows of a statement are.
    pub fn shape(&self, id: u64) -> Option<NonZeroU64> {
        self.shapes.get(&id).copied()
    }

    /// Notes what they are.
    pub fn note_shape(&mut self, id: u64, shape: NonZeroU64) {
        if self.order.iter().any(|known| known.id == id) {
            self.shapes.insert(id, shape);
        }
    }

    /// The Close was not carried out.
    pub fn put_back(&mut self, id: u64) {
        self.order.push_front(Entry { id, overtaken: true });
    }

    /// Forgets one.
    pub fn remove(&mut self, id: u64) {
        self.order.retain(|known| known.id != id);
        self.shapes.remove(&id);
    }

    /// Forgets all: DISCARD ALL and DEALLOCATE ALL have run.
    pub fn clear(&mut self) {
        self.order.clear();
        self.shapes.clear();
    }

    /// Every one.
    pub fn ids(&self) -> impl Iterator<Item = u64> {
        self.order.iter().map(|entry| entry.id)
    }

    /// Every one, the one used longest ago first.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.order.iter()
    }

    /// One that stands there already, used last.
    pub(super) fn push(&mut self, entry: Entry) {
        self.order.push_back(entry);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

/// What does not change of a server connection as long as it lives: for tables, also while a session has it.
#[derive(Debug)]
pub struct Facts {
    /// Number of its own in this process.
    pub id: u64,
    /// Process id of the backend.
    pub pid: u32,
    /// How it was opened.
    pub kind: KindTag,
    /// When it was opened.
    pub opened: Instant,
    /// Generation of its pool at that time.
    pub generation: u64,
    /// Our end; None for a unix socket.
    pub local: Option<SocketAddr>,
    /// The server's end; None for a unix socket.
    pub remote: Option<SocketAddr>,
    /// TLS version and cipher, if any.
    pub tls: Option<String>,
    /// Statements that stood prepared on it when it was last taken.
    prepared: AtomicUsize,
    /// Clients whose home it is.
    pub(super) clients: AtomicU32,
    /// It is open.
    pub(super) open: AtomicBool,
}

impl Facts {
    /// Clients whose home it is.
    pub fn clients(&self) -> u32 {
        self.clients.load(Relaxed)
    }

    /// It never becomes anybody's home.
    pub fn keep_from_clients(&self) {
        self.open.store(false, Relaxed);
    }

    /// Statements that stood prepared on it when it was last taken.
    pub fn prepared(&self) -> usize {
        self.prepared.load(Relaxed)
    }
}

/// A server connection: its stream, and what the server has told about its session.
#[expect(clippy::struct_excessive_bools, reason = "to become enums with a lifetime")]
pub struct Server {
    /// The stream. It holds no unread bytes while the connection is pooled.
    pub stream: Stream,
    /// Settings as they are now.
    pub vars: Vars,
    /// `default_transaction_read_only` as the server last reported it; None before PostgreSQL 14, which does not.
    pub default_read_only: Option<bool>,
    /// Whether the server last said that it is in recovery; None before PostgreSQL 14, which does not say.
    pub in_recovery: Option<bool>,
    /// How often its server had turned when it was opened, or last checked.
    pub turn: u64,
    /// How often its server's name had come to lead elsewhere by then.
    pub moves: u64,
    /// The value of it that a client, or pgsluice, has set; None: the server's own is in force.
    pub read_only_set: Option<bool>,
    /// Named statements that stand on it.
    pub prepared: Prepared,
    /// What stands on it under names of clients' own.
    pub named: Named,
    /// The statement in the unnamed slot, 0 when it is not one of a client's that is known.
    pub unnamed: u64,
    /// Process id and secret for cancel requests.
    pub key: (u32, Arc<[u8]>),
    /// Number of its own in this process.
    pub id: u64,
    /// Its place in the ledger, if it may write.
    pub entry: Option<Noted>,
    /// The connection has failed with something under way: the back end may still be at work.
    pub left_running: bool,
    /// The server has said that it ends the back end.
    pub ends: bool,
    /// Why it is closed, for the log, in PgBouncer's words where it has any.
    pub closing_because: &'static str,
    /// It was opened guarded and has been bound to a session since: of no kind that a pool could keep.
    pub born_guarded: bool,
    /// A client has had it.
    pub used: bool,
    /// Number of the client that may last have moved a sequence on: `currval()` tells of that one's.
    pub sequences: Option<u64>,
    /// When it was opened.
    pub opened: Instant,
    /// When it was last given back.
    pub idle_since: Instant,
    /// Generation of its pool when it was opened: RECONNECT makes older ones close when they come back.
    pub generation: u64,
    /// Core whose reactor knows its socket.
    pub core: usize,
    /// What tables show of it.
    pub facts: Arc<Facts>,
    /// Where cancel requests go, while nobody has it that may be asked to give up.
    pub(super) target: Option<Arc<CancelTarget>>,
    /// Its place within the limits.
    pub permit: Permit,
    pub(super) seed: Arc<Seed>,
    pub(super) _presence: Presence,
    pub(super) _own: Option<OwnProcess>,
}

impl Server {
    /// Makes a connection out of one that has just logged in.
    pub fn new(
        fresh: Fresh,
        permit: Permit,
        id: u64,
        core: usize,
        generation: u64,
        kind: KindTag,
        seed: Arc<Seed>,
    ) -> Box<Self> {
        let now = Instant::now();
        let socket = fresh.stream.socket();
        let facts = Arc::new(Facts {
            id,
            pid: fresh.key.0,
            kind,
            opened: now,
            generation,
            local: socket.local_addr(),
            remote: socket.peer_addr(),
            tls: fresh.stream.tls_words(),
            prepared: AtomicUsize::new(0),
            clients: AtomicU32::new(0),
            open: AtomicBool::new(true),
        });
        let mut server = Box::new(Self {
            stream: fresh.stream,
            vars: Vars::default(),
            default_read_only: None,
            in_recovery: None,
            turn: 0,
            moves: 0,
            read_only_set: None,
            prepared: Prepared::default(),
            named: Named::default(),
            unnamed: 0,
            key: (fresh.key.0, fresh.key.1.into()),
            id,
            entry: None,
            left_running: false,
            ends: false,
            closing_because: "close_needed",
            born_guarded: false,
            used: false,
            sequences: None,
            opened: now,
            idle_since: now,
            generation,
            core,
            _presence: Presence(facts.clone()),
            facts,
            target: None,
            permit,
            seed,
            _own: fresh.own,
        });
        for (name, value) in &fresh.parameters {
            server.reported(name, value);
        }
        server
    }

    /// Where a cancel request for whoever takes it now has to go.
    pub fn lend_target(&mut self) -> Arc<CancelTarget> {
        self.facts.prepared.store(self.prepared.len(), Relaxed);
        self.target.take().unwrap_or_else(|| CancelTarget::new(self))
    }

    /// Takes that back.
    pub fn take_target_back(&mut self, target: Option<Arc<CancelTarget>>) {
        self.target = target;
    }

    /// Notes a ParameterStatus.
    pub fn reported(&mut self, name: &str, value: &str) {
        if name == "default_transaction_read_only" {
            self.default_read_only = Some(value == "on");
        } else if name == "in_hot_standby" {
            self.in_recovery = Some(value == "on");
        } else if let Some(name) = reported_name(name) {
            self.vars.report(&self.seed, name, value);
        }
    }

    /// Looks, without waiting and mostly without a system call, whether a pooled connection still lives. What the
    /// server says on its own (settings reloaded, notices) is taken in.
    pub fn still_lives(&mut self) -> bool {
        if !self.stream.may_be_read() {
            return true;
        }
        let mut cx = Context::from_waker(Waker::noop());
        let mut input = Vec::new();
        let mut room = [0_u8; 2048];
        loop {
            match self.stream.poll_read(&mut cx, &mut room) {
                Poll::Pending => return input.is_empty() || self.take_unasked(&input),
                Poll::Ready(Ok(n)) if n > 0 && input.len() < 64 * 1024 => {
                    input.extend_from_slice(room.get(..n).unwrap_or_default());
                }
                Poll::Ready(_) => return false,
            }
        }
    }

    fn take_unasked(&mut self, mut input: &[u8]) -> bool {
        while let Ok(Some(header)) = peek_back(input) {
            let (Some(body), Some(rest)) = (input.get(HEADER..header.total), input.get(header.total..)) else {
                return false;
            };
            match (header.tag, parameter(body)) {
                (b'S', Ok((name, value))) => {
                    let (name, value) = (name.to_owned(), value.to_owned());
                    self.reported(&name, &value);
                    self.permit.pool().learn_default(&name, &value);
                }
                (b'N' | b'A', _) => {}
                _ => return false,
            }
            input = rest;
        }
        input.is_empty()
    }

    /// Runs a statement of the proxy's own and gives the status after it; its results are dropped.
    ///
    /// # Errors
    /// The server has gone, refuses the statement, or does not speak the protocol.
    pub async fn run_quietly(&mut self, sql: &str) -> std::io::Result<TxStatus> {
        let refused = |text: String| std::io::Error::other(text);
        let mut out = Vec::with_capacity(sql.len() + HEADER + 1);
        frontend::write_query(&mut out, sql.as_bytes());
        self.stream.write_all(&out).await?;
        let mut input = Vec::with_capacity(256);
        loop {
            let header = next_frame(&mut self.stream, &mut input).await.map_err(|error| refused(error.to_string()))?;
            let body = input.get(HEADER..header.total).unwrap_or_default();
            match header.tag {
                b'E' => return Err(std::io::Error::other(LoginError::Refused(body.to_vec()))),
                b'Z' => {
                    let status = body.first().copied().and_then(TxStatus::from_byte);
                    return status.ok_or_else(|| refused("no transaction status".into()));
                }
                b'S' => {
                    if let Ok((name, value)) = parameter(body) {
                        let (name, value) = (name.to_owned(), value.to_owned());
                        self.reported(&name, &value);
                    }
                }
                _ => {}
            }
            input.drain(..header.total);
        }
    }

    /// Says goodbye and closes; its place within the limits is free once this returns.
    pub fn close(self: Box<Self>) {
        drop(self.into_permit());
    }

    /// Says goodbye and closes; gives its place within the limits.
    pub fn into_permit(mut self: Box<Self>) -> Permit {
        let mut bye = Vec::with_capacity(HEADER);
        frontend::write_terminate(&mut bye);
        self.stream.close(&bye);
        lines::closed(&self);
        if let Some(entry) = self.entry.as_mut().filter(|_| !self.left_running) {
            entry.end();
        }
        self.permit
    }

    /// Waits until the server says something on its own or goes.
    pub async fn gone(&mut self) {
        let _ = poll_fn(|cx| self.stream.poll_readable(cx)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statement_used_longest_ago_goes_first() {
        let mut prepared = Prepared::default();
        for id in 1..=20 {
            assert_eq!(prepared.add(id, 20), None);
        }
        assert!(prepared.touch(1));
        assert_eq!(prepared.add(21, 20), Some(2));
        assert!(!prepared.touch(2));
        prepared.overtake(21);
        assert!(!prepared.touch(21) && prepared.take_overtaken(21) && !prepared.take_overtaken(21));
        assert_eq!(prepared.add(21, 20), None);
        assert!(prepared.touch(21));
        prepared.remove(3);
        assert_eq!(prepared.len(), 19);
    }
}
