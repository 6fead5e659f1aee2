//! Who a client is told that it is: the process id in its cancel key.
//!
//! In session mode it is that of the server process that serves it from its log-in on, so that `pg_backend_pid()`, the process
//! id in notifications and that of its cancel key are one. In transaction mode it is that of a server connection of its
//! pool, its home ([`Home`]); the secret is its own, so that its key reaches what it runs, and nobody else's statement, wherever
//! that runs. While the pool has room each client has a home of its own, and takes it whenever it is idle. Beyond that homes are
//! shared, and most clients, which never ask which process they have, take any. For those that do:
//!
//! - Who is about to ask (`pg_backend_pid()`, LISTEN, `pg_stat_activity`) gets its home, which is worth a short wait.
//!   It is not waited for again before the session has had it: another may keep it for long.
//! - A session that has asked once, and a program (a role and an application_name on a database) that is known to ask, rather
//!   gets its home from then on, if it is idle. So does NOTIFY, which tells others of it.
//! - Who signals processes (`pg_terminate_backend()`, `pg_cancel_backend()`) means others, unless it names its own
//!   ([`super::signals`]).
//! - What came by another process is told as it would be on a connection of the client's own: a notification of its own with the
//!   process id of its log-in, wherever it has LISTENed.
//!
//! If the home is closed, the session has another from its next question on: the protocol has no word for another process id
//! later. A client that logs in while no server can be reached is told a number of pgsluice's own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::acquire::Denied;
use super::acquire::PAUSE;
use crate::auth::Credential;
use crate::client::startup::login_wait::too_late;
use crate::client::{End, Session};
use crate::protocol::frame::Header;
use crate::protocol::{Report, Severity, TxStatus, backend};
use crate::routing::TransactionClass;
use crate::server::guard::Kind;
use crate::server::{AnyConn, Conn, Home, KindTag, Pool};
use crate::shared::handover::client::HandedBackend;
use crate::shared::{Database, Phase, WorkerState};
use crate::sql::{Analysis, Process};

/// How often a certain server connection is waited for that another client has.
pub(in crate::client) const TRIES: u32 = 50;
/// How long a log-in waits for the first connection of its pool, which it needs next anyway.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// What a session knows of that.
#[derive(Default)]
pub(in crate::client) struct Identity {
    /// The server process id in the key that the client was told; None: its own number.
    told: Option<u32>,
    home: Option<Home>,
    interest: Interest,
    /// What comes next asks.
    next: Process,
    /// It has waited for its home in vain, and has not had it since: another keeps it.
    tired: bool,
}

/// Who has asked for a process id before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Interest {
    /// Nobody.
    #[default]
    None,
    /// Its program, in another session.
    OfProgram,
    /// The session itself, which knows its process by that.
    Own,
}

/// The server connection that a session wants, if it wants a certain one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::client) enum ServerPreference {
    /// Any.
    Any,
    /// That one if it is idle.
    Rather(u64),
    /// That one: it is waited for a little.
    Waits(u64),
    /// One whose process is not another client's: what comes next signals processes.
    Unnamed,
}

impl Identity {
    /// That of a client that has been told so.
    pub(in crate::client) fn new(home: Option<Home>, asks: bool) -> Self {
        let interest = if asks { Interest::OfProgram } else { Interest::None };
        Self { told: home.as_ref().map(Home::pid), home, interest, next: Process::Any, tired: false }
    }

    /// For the process that takes over.
    pub(in crate::client) fn hand_over(&self) -> HandedBackend {
        // What comes next is not known at rest, and who has waited in vain may wait once more.
        let Self { told, home, interest, next: _, tired: _ } = self;
        // It may have gone there ahead of its client.
        let home = home.as_ref().map(Home::id);
        let (asks, knows) = (*interest != Interest::None, *interest == Interest::Own);
        HandedBackend { told: *told, home, asks, knows, sequences_on: None }
    }

    /// The number of its home, if the session has asked for its process.
    pub(in crate::client) fn known_home(&self) -> Option<u64> {
        self.home.as_ref().filter(|home| self.interest == Interest::Own && !home.is_gone()).map(Home::id)
    }

    /// As another process has handed it over; `home` is the server connection of that number, or another one.
    pub(in crate::client) fn take_over(handed: &HandedBackend, home: Option<Home>) -> Self {
        let own = Self::new(home, handed.asks);
        let interest = if handed.knows { Interest::Own } else { own.interest };
        Self { told: handed.told, interest, ..own }
    }

    /// This comes next, as far as it is known.
    pub(in crate::client) fn note_next(&mut self, analysis: Option<&Analysis>) {
        let statements = analysis.into_iter().flat_map(|analysis| &analysis.statements);
        self.next = statements.map(|statement| statement.process).max().unwrap_or_default();
    }

    /// The server connection that has the client's process id.
    #[inline]
    pub(in crate::client) fn wish(&self) -> ServerPreference {
        match &self.home {
            Some(home) if self.next == Process::Any && self.interest == Interest::None && !home.is_own() => {
                ServerPreference::Any
            }
            None if self.next != Process::Signals => ServerPreference::Any,
            home => self.wish_of(home.as_ref()),
        }
    }

    fn wish_of(&self, home: Option<&Home>) -> ServerPreference {
        match home {
            _ if self.next == Process::Signals => ServerPreference::Unnamed,
            Some(home) if home.is_gone() => ServerPreference::Any,
            Some(home) if self.next == Process::Asked && !self.tired => ServerPreference::Waits(home.id()),
            Some(home) => ServerPreference::Rather(home.id()),
            None => ServerPreference::Any,
        }
    }

    /// The home, unless it has been closed; and whether the session knows its process, and nobody else has been told of that.
    pub(super) fn home(&self) -> Option<(&Home, bool)> {
        let home = self.home.as_ref().filter(|home| !home.is_gone())?;
        Some((home, self.interest == Interest::Own))
    }

    /// What comes next signals processes, though it does not say so itself.
    pub(super) fn note_signals(&mut self) {
        self.next = Process::Signals;
    }
}

/// The home of a client that is about to be told of it. Where every connection of its pool is another's home, or in use, one
/// is opened, if there is room for it.
pub(in crate::client) async fn find_home(
    core: &WorkerState,
    db: &Database,
    user: &Arc<str>,
    credential: &Credential,
) -> Option<Home> {
    if db.is_paused() {
        return None;
    }
    let at = db.setup().cluster.primary()?;
    let pool = db.pool(user, at, credential)?;
    let guarded = db.gate.state().mode.reports_read_only() && !pool.guards_in_place();
    let kind = if guarded { KindTag::Guarded } else { KindTag::Unguarded };
    let finds = async {
        if let Some(home) = pool.own_home(core.index, kind) {
            return Some(home);
        }
        if let Ok(Some(home)) = pool.open_home(kind, core.index).await {
            return Some(home);
        }
        // Another log-in may be opening the first one.
        while !pool.is_open() && pool.is_opening() {
            tokio::time::sleep(PAUSE).await;
        }
        None
    };
    let own = tokio::time::timeout(PATIENCE, finds).await.ok().flatten();
    own.or_else(|| pool.shared_home(core.index, kind))
}

impl Session {
    /// Takes the session's own server connection, before the client is told who it is.
    pub(in crate::client) async fn begin_as_own(&mut self) -> Result<(), End> {
        let patience = self.account.query_wait();
        let login = self.core.setup().config.timeouts.client_login_timeout.get();
        // Its log-in is not over before it has its server connection.
        self.account.set_query_wait(patience.into_iter().chain(login).min());
        let hurries = self.account.query_wait() != patience;
        while self.lease.is_none() {
            self.acquire(TransactionClass::Any).await.map_err(|end| match end {
                End::Report(report) if hurries && report.message == "query_wait_timeout" => too_late().into(),
                End::Report(report) => End::from(Report { severity: Severity::Fatal, ..*report }),
                other => other,
            })?;
        }
        self.account.set_query_wait(patience);
        // Nothing of the client's runs on it yet: it is kept without the right to write.
        self.conversation.lease_mut().note_begun(true);
        self.me.enter(Phase::Idle);
        let own = self.lease.server().map(|server| server.key.0);
        self.checkout.identity.told = own.filter(|pid| self.core.proxy.keys.add(*pid, &self.me.secret, self.me.id));
        let pid = self.told_pid();
        // What the server reports on the way may stand behind it.
        backend::backend_key(self.io.for_client(), pid, &self.me.secret);
        backend::ready(self.io.for_client(), TxStatus::Idle);
        Ok(())
    }

    /// For a question that only a certain connection can answer that one, which is worth so many more tries; else an idle one of
    /// this core.
    pub(in crate::client) async fn take_certain<K: Kind>(
        &mut self,
        pool: &Arc<Pool>,
        wanted: u64,
        tries: u32,
        deadline: Instant,
    ) -> Result<Option<Conn<K>>, Denied>
    where
        AnyConn: From<Conn<K>>,
    {
        let core = self.core.index;
        for left in (0..=tries).rev() {
            let taker = pool.clone();
            if let Some(conn) = self.waiting(async move { taker.take_this(core, wanted).await }, deadline).await? {
                return Ok(Some(conn));
            }
            if left > 0 {
                self.waiting(tokio::time::sleep(PAUSE), deadline).await?;
            }
        }
        Ok(pool.try_take(core))
    }

    /// The process id that the client was told.
    fn told_pid(&self) -> u32 {
        self.checkout.identity.told.unwrap_or_else(|| u32::try_from(self.me.id).unwrap_or(u32::MAX))
    }

    /// Nobody is to be found under its key any more.
    pub(in crate::client) fn forget_key(&mut self) {
        if let Some(pid) = self.checkout.identity.told.take() {
            self.core.proxy.keys.remove(pid, self.me.id);
        }
    }

    /// A server connection has been taken for what comes next.
    pub(in crate::client) fn settle_down(&mut self) {
        let next = std::mem::take(&mut self.checkout.identity.next);
        let identity = &mut self.checkout.identity;
        if next == Process::Any && identity.interest == Interest::None || identity.home.is_none() {
            return;
        }
        let Some(server) = self.lease.server() else { return };
        if identity.home.as_ref().is_some_and(Home::is_gone) {
            identity.home = Some(Home::at(&server.facts));
        }
        let has_it = identity.home.as_ref().is_some_and(|home| home.id() == server.id);
        identity.tired = !has_it && (identity.tired || next == Process::Asked);
        if next == Process::Asked {
            identity.interest = Interest::Own;
            self.db.process_askers.remember(self.account.user(), &self.me.application_name.borrow());
        }
    }

    /// A notification is about to be passed on. The client knows its own process by the id of its log-in, and, where others
    /// have that process now, must not take theirs for its own: the two change places.
    pub(in crate::client) fn tell_notifier(&mut self, header: Header) {
        let told = self.told_pid();
        let Some(own) = self.lease.server().map(|server| server.key.0) else { return };
        let body = self.io.replies_mut().body_mut(header);
        if let Some(pid) = body.first_chunk_mut::<4>() {
            match u32::from_be_bytes(*pid) {
                by if by == own => *pid = told.to_be_bytes(),
                by if by == told => *pid = own.to_be_bytes(),
                _ => {}
            }
        }
    }
}
