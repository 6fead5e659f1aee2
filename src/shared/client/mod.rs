//! A client as others see it: consoles, the janitor, a flip of the gate.

pub mod counts;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::oneshot;

use super::database::Database;
use super::handover::client::HandedIdentity;
use super::mirrors::Sample;
use super::prepared_statement::Statement;
use crate::log::millis;
use crate::protocol::Report;
use crate::server::CancelTarget;
use crate::server::backend_ledger::micros;
use crate::sql::cache::verdicts::Cached;
use crate::topology::{Cluster, Leader, Role};

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is under way.
    Idle,
    /// Waits for a server connection.
    Waiting,
    /// A write waits for the gate.
    Held,
    /// A statement runs.
    Active,
    /// In a transaction block, between statements.
    IdleInTransaction,
    /// A command of replication's own is under way. It may go on for as long as it likes.
    Streams,
    /// The client has gone, and what it left on its server is being ended.
    Abandoned,
}

/// What a session is asked to do at its next step.
#[derive(Clone, Debug)]
pub enum Ask {
    /// Tell the client of the gate's new mode.
    Flip,
    /// Tell the client this, a warning; None takes back what it has not been told yet.
    Notice(Option<Arc<Report>>),
    /// End with this report once no transaction is open, or, if `now`, at once.
    End {
        /// What the client is told.
        report: Report,
        /// Whether an open transaction is broken off.
        now: bool,
    },
    /// Give up the command that runs, or the write that is held: a cancel request has come.
    Cancel,
    /// Roll back the write-capable transaction that is open; the drain has timed out.
    RollBack,
    /// The same, but for one that has only read: the fleet is lost.
    StopWriting {
        /// Whether one is spared for now that has called what may write, and is not known to have written.
        calls: bool,
    },
    /// Roll it back if its server is not the primary any more: it was asked for, and has not been done yet.
    BreakOff,
    /// See whether the server connection, or the wait for one, is still to the right server: it may have turned.
    Turn,
}

/// Whether a client goes to the process that takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moves {
    /// Nobody takes over.
    No,
    /// As soon as it is at rest.
    Goes,
    /// It cannot: it ends here.
    Stays,
}

/// Which server a client waits for a connection to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// Whichever will do.
    Any,
    /// This one, as the primary.
    Primary(u16),
    /// This one, as a replica.
    Replica(u16),
    /// This one, while several claim to be the primary.
    Contested(u16),
}

impl Aim {
    /// Whether that is the server to wait for now, too.
    pub fn is_good(self, cluster: &Cluster) -> bool {
        match self {
            Self::Any => true,
            Self::Primary(at) => cluster.primary() == Some(at.into()),
            Self::Replica(at) => {
                cluster.upstreams.get(usize::from(at)).is_some_and(|server| server.role() == Role::Replica)
            }
            Self::Contested(at) => cluster.leader() == Leader::Contested(at.into()),
        }
    }
}

/// What runs.
#[derive(Clone)]
pub enum Running {
    /// Text of a simple query.
    Simple(Rc<Cached>),
    /// A prepared statement.
    Prepared(Rc<Statement>),
}

impl Running {
    /// The statement's text, at most `most` bytes of it.
    pub fn text(&self, most: usize) -> String {
        let text: &[u8] = match self {
            Self::Simple(cached) => &cached.text,
            Self::Prepared(statement) => &statement.cached.text,
        };
        String::from_utf8_lossy(text.get(..most).unwrap_or(text)).into_owned()
    }
}

/// See the module.
pub struct Client {
    /// Number of its own in this process, and the `pid` of its cancel key.
    pub id: u64,
    /// The secret of its cancel key.
    pub secret: Arc<[u8]>,
    /// Where it comes from; None for a unix socket.
    pub address: Option<SocketAddr>,
    /// Our end of its connection; None for a unix socket.
    pub local: Option<SocketAddr>,
    /// The role it logged in as.
    pub user: Arc<str>,
    /// The database; None on the console.
    pub database: Option<Arc<Database>>,
    /// The name it asked for.
    pub database_name: Arc<str>,
    /// Whether it is an operator.
    pub operator: bool,
    /// TLS version and cipher, if any.
    pub tls: Option<String>,
    /// When it connected.
    pub since: SystemTime,
    /// As the client has set it.
    pub application_name: RefCell<String>,
    /// What it does.
    pub phase: Cell<Phase>,
    /// When it began to do that.
    pub phase_since: Cell<Instant>,
    /// When it last asked for something; at first, when it connected.
    pub requested: Cell<Instant>,
    /// Statements it has prepared, as far as is known.
    pub prepared: Cell<usize>,
    /// When its transaction began, if one is open.
    pub transaction_since: Cell<Option<Instant>>,
    /// Whether its transaction is registered with the gate.
    pub write_capable: Cell<bool>,
    /// Whether what it has open has only read, as far as it was asked ([`Ask::StopWriting`]).
    pub only_reads: Cell<bool>,
    /// What runs, or ran last in this transaction.
    pub running: RefCell<Option<Running>>,
    /// Why it keeps its server connection, in words.
    pub pinned: Cell<&'static str>,
    /// The session's own idle_session_timeout.
    pub idle_limit: Cell<Option<Duration>>,
    /// Where a cancel request goes now.
    pub cancel: RefCell<Option<Arc<CancelTarget>>>,
    /// Cancel requests that are on their way: its server connection must not serve another client before they are over.
    pub cancelling: Cell<u32>,
    /// Which server it waits for, in the phase of that name.
    pub aim: Cell<Aim>,
    /// Whether it goes to the process that takes over.
    pub moves: Cell<Moves>,
    /// A read that is handed over to be mirrored, once its answer has come.
    pub sample: Cell<Option<Box<Sample>>>,
    asks: RefCell<Vec<Ask>>,
    asked: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// Asks that may be waiting for a session.
const ASKS: usize = 16;

/// What is known of a client from its start.
pub struct Identity {
    /// See [`Client::id`].
    pub id: u64,
    /// See [`Client::secret`].
    pub secret: Arc<[u8]>,
    /// See [`Client::address`].
    pub address: Option<SocketAddr>,
    /// See [`Client::local`].
    pub local: Option<SocketAddr>,
    /// See [`Client::user`].
    pub user: Arc<str>,
    /// See [`Client::database`].
    pub database: Option<Arc<Database>>,
    /// See [`Client::database_name`].
    pub database_name: Arc<str>,
    /// See [`Client::operator`].
    pub operator: bool,
    /// See [`Client::tls`].
    pub tls: Option<String>,
    /// See [`Client::since`].
    pub since: SystemTime,
    /// See [`Client::application_name`].
    pub application_name: String,
}

impl Client {
    /// A client that has just logged in.
    pub fn new(identity: Identity) -> Rc<Self> {
        Rc::new(Self {
            id: identity.id,
            secret: identity.secret,
            address: identity.address,
            local: identity.local,
            user: identity.user,
            database: identity.database,
            database_name: identity.database_name,
            operator: identity.operator,
            tls: identity.tls,
            since: identity.since,
            application_name: RefCell::new(identity.application_name),
            phase: Cell::new(Phase::Idle),
            phase_since: Cell::new(Instant::now()),
            requested: Cell::new(Instant::now()),
            prepared: Cell::new(0),
            transaction_since: Cell::new(None),
            write_capable: Cell::new(false),
            only_reads: Cell::new(false),
            running: RefCell::default(),
            pinned: Cell::new(""),
            idle_limit: Cell::new(None),
            cancel: RefCell::default(),
            cancelling: Cell::new(0),
            aim: Cell::new(Aim::Any),
            moves: Cell::new(Moves::No),
            sample: Cell::default(),
            asks: RefCell::default(),
            asked: Cell::new(false),
            waker: RefCell::default(),
        })
    }

    /// Notes what it does now.
    pub fn enter(&self, phase: Phase) {
        if self.phase.get() != phase {
            self.enter_at(phase, Instant::now());
        }
    }

    /// The same, for who knows the time.
    pub fn enter_at(&self, phase: Phase, now: Instant) {
        let before = self.phase.replace(phase);
        if before == phase {
            return;
        }
        self.phase_since.set(now);
        if matches!(before, Phase::Idle | Phase::IdleInTransaction)
            && matches!(phase, Phase::Waiting | Phase::Held | Phase::Active | Phase::Streams)
        {
            self.requested.set(now);
        }
    }

    /// Asks its session for something and wakes it. One that is already asked for is not asked for twice.
    pub fn ask(&self, ask: Ask) {
        let mut asks = self.asks.borrow_mut();
        if asks.len() < ASKS {
            asks.push(ask);
        }
        drop(asks);
        self.asked.set(true);
        self.wake();
    }

    /// Asks it to see whether its server is still the right one; once is enough.
    pub fn ask_turn(&self) {
        if !self.asks.borrow().iter().any(|ask| matches!(ask, Ask::Turn)) {
            self.ask(Ask::Turn);
        }
    }

    /// Asks it to go to the process that takes over, unless it cannot.
    pub fn ask_to_move(&self) {
        if self.moves.get() != Moves::Stays {
            self.moves.set(Moves::Goes);
            self.asked.set(true);
            self.wake();
        }
    }

    /// Wakes its session.
    pub fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// Whether anything is asked of the session.
    #[inline]
    pub fn is_asked(&self) -> bool {
        self.asked.get()
    }

    /// What is asked of the session, oldest first.
    pub fn take_asks(&self) -> Vec<Ask> {
        self.asked.set(false);
        std::mem::take(&mut *self.asks.borrow_mut())
    }

    /// Puts back an ask whose time has not come, without waking.
    pub fn put_back(&self, ask: Ask) {
        self.asks.borrow_mut().push(ask);
    }

    /// Notes whom to wake.
    #[inline]
    pub fn wakes(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    /// Sends a cancel request to the server that works for it, if one does; a console is asked to give up its command, who is
    /// held, or waits for a server connection, to give up the wait. Its server connection stays its own until the request has been taken. The receiver learns
    /// when that is.
    pub fn send_cancel(self: &Rc<Self>) -> oneshot::Receiver<()> {
        let (tell, told) = oneshot::channel();
        if self.database.is_none() || matches!(self.phase.get(), Phase::Held | Phase::Waiting) {
            self.ask(Ask::Cancel);
            return told;
        }
        if let Some(target) = self.cancel.borrow().clone() {
            let me = self.clone();
            me.cancelling.set(me.cancelling.get() + 1);
            tokio::task::spawn_local(async move {
                if let Err(error) = target.cancel().await {
                    tracing::warn!(event = "cancel_failed", %error, "a cancel request could not be passed on");
                }
                me.cancelling.set(me.cancelling.get().saturating_sub(1));
                me.wake();
                let _ = tell.send(());
            });
        }
        told
    }

    /// For the process that takes over: who it is.
    pub fn hand_over(&self, identity: HandedIdentity) -> HandedIdentity {
        let Self {
            id,
            secret,
            address,
            local,
            user,
            // The same name.
            database: _,
            database_name,
            // As the new configuration says.
            operator: _,
            // One with TLS stays.
            tls: _,
            since,
            application_name,
            // Held or not is part of the session.
            phase: _,
            phase_since,
            requested,
            // Follow from what else the session is.
            prepared: _,
            pinned: _,
            idle_limit: _,
            cancel: _,
            // Of what is under way; it is at rest.
            transaction_since: _,
            write_capable: _,
            only_reads: _,
            running: _,
            cancelling: _,
            aim: _,
            moves: _,
            asks: _,
            asked: _,
            waker: _,
            sample: _,
        } = self;
        HandedIdentity {
            id: *id,
            secret: (&**secret).into(),
            address: *address,
            local: *local,
            user: user.to_string(),
            database: database_name.to_string(),
            application_name: application_name.borrow().clone(),
            since: micros(*since),
            idle_ms: millis(phase_since.get().elapsed()),
            requested_ms: millis(requested.get().elapsed()),
            ..identity
        }
    }

    /// Address for tables and notices: `unix` for a unix socket.
    pub fn address_words(&self) -> String {
        self.address.map_or_else(|| "unix".to_owned(), |address| address.to_string())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_client_stays_small() {
        let bytes = size_of::<super::Client>();
        assert!(bytes <= 466, "{bytes} bytes, for each idle client: box what only some have");
    }
}
