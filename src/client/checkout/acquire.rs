//! Taking a server connection for a transaction.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use super::backend_pid::ServerPreference;
use super::lease::{Lease, OnReplica};
use super::server_changed::Kept;
use crate::client::errors;
use crate::client::maintenance::barred::{barred, drop_unwanted, fleet_lost};
use crate::client::maintenance::refuse::ASKING_PATIENCE;
use crate::client::startup::no_server::report_of;
use crate::client::{End, Session};
use crate::config::{self, PoolMode};
use crate::gate::{NewTransaction, Reads};
use crate::protocol::frame::peek_front;
use crate::protocol::{Report, Severity};
use crate::routing::{Route, RouteInput, TransactionClass};
use crate::server::guard::Kind;
use crate::server::login::LoginError;
use crate::server::pool::{Grant, Place};
use crate::server::{AcquireError, Conn, Guarded, Pool, Unguarded};
use crate::shared::Phase;
use crate::shared::client::Aim;
use crate::shared::database::DatabaseSetup;
use crate::topology::{Avoid, ReadFloor, Standing};

/// How long a statement waits when query_wait_timeout is off: a wait without an end helps nobody (a year).
pub(in crate::client) const NO_DEADLINE: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long before its deadline a wait gets a timer of its own: longer than the janitor sleeps.
const ALARM: Duration = Duration::from_secs(3);
/// How long a certain server connection is waited for each time that another client has it.
pub(in crate::client) const PAUSE: Duration = Duration::from_millis(2);
/// How long, at most, before the servers are looked at again while none will do.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// How long before a server is tried again that cannot be reached.
pub(super) const TRY_AGAIN: Duration = Duration::from_millis(100);
/// How long a transaction in maintenance waits for the first word of the catalog, after a restart.
const CATALOG_PATIENCE: Duration = Duration::from_secs(5);

impl Session {
    /// Takes what can be had without waiting, which is the usual case: an idle connection of this core, with the gate open.
    /// False: nothing has happened.
    pub(in crate::client) fn acquire_now(&mut self, nature: TransactionClass) -> bool {
        let plain = self.lease.is_none() && !self.me.operator && !self.account.fresh();
        let rather = match self.checkout.identity.wish() {
            ServerPreference::Any => None,
            ServerPreference::Rather(id) => Some(id),
            ServerPreference::Waits(_) | ServerPreference::Unnamed => return false,
        };
        if !plain || self.bindings.wanted_server().is_some() || self.db.is_paused() {
            return false;
        }
        let nature = if self.account.pool_mode() == PoolMode::Session { TransactionClass::Any } else { nature };
        let state = self.db.gate.state();
        if state.mode.new_transaction() != NewTransaction::WriteCapable {
            return false;
        }
        let core = self.core.index;
        let Some((setup, pools)) = self.known_pools() else { return false };
        let cluster = &setup.cluster;
        let (reads, maintenance_reads) = (self.account.reads(), Reads::default());
        let read = nature == TransactionClass::Read && reads != config::Reads::Primary;
        let floor = if read { self.read_floor(setup) } else { ReadFloor::None };
        let (avoid, turn) = (self.checkout.avoid, self.core.replica_turn.get());
        let wish = RouteInput { state, reads, maintenance_reads, quiesced: None, cluster, avoid, floor, turn };
        let route = wish.route(nature);
        let Some(at) = (match route {
            Route::Write => cluster.primary(),
            Route::Replica(at) => Some(at),
            _ => None,
        }) else {
            return false;
        };
        let Some(Some(pool)) = pools.get(at) else { return false };
        if route == Route::Write {
            let home = rather.and_then(|id| pool.try_take_this(core, id));
            if home.is_none() && rather.is_some() && pool.cores() > 1 {
                // It may be idle on another core.
                return false;
            }
            let Some(conn) = home.or_else(|| pool.try_take(core)) else { return false };
            let Some(ticket) = self.enter_gate() else {
                drop_unwanted(conn);
                return false;
            };
            self.lease = Lease::Write { conn, ticket };
            self.me.write_capable.set(true);
            if floor != ReadFloor::None {
                self.hurry_positions(nature);
            }
        } else {
            let Some(upstream) = cluster.upstreams.get(at) else { return false };
            let Some(conn) = pool.try_take(core) else { return false };
            self.lease = Lease::Guarded { conn, replica: Some(OnReplica::new(at, upstream)), maintenance: false };
            self.core.next_replica_turn();
        }
        self.begin_at_once();
        true
    }

    /// The lease that was had without waiting begins.
    pub(in crate::client) fn begin_at_once(&mut self) {
        if let Some(stats) = self.db.stats.of(self.core.index) {
            stats.assignments.add(1);
        }
        self.maintenance.forget_cancel();
        self.settle_down();
        self.begin_lease();
        self.resend_begin();
    }

    /// Takes a server connection for a transaction of that nature, or tells the client why there is none.
    pub(in crate::client) async fn acquire(&mut self, nature: TransactionClass) -> Result<(), End> {
        if !self.lease.is_none() && self.goes_offline() {
            let report = self.offline_report();
            return self.refuse_waiting(&report);
        }
        let kept = self.reuse_bound()?;
        if matches!(kept, Kept::Ready) {
            self.conversation.lease_mut().begin_again();
            self.resend_begin();
            return Ok(());
        }
        // A session that keeps its connection keeps one to the primary.
        let nature = if self.account.pool_mode() == PoolMode::Session { TransactionClass::Any } else { nature };
        let began = self.io.now();
        let asking = self.maintenance.take_asking();
        let patience = self.account.query_wait().unwrap_or(NO_DEADLINE);
        let deadline = began + if asking { patience.min(ASKING_PATIENCE) } else { patience };
        self.maintenance.forget_cancel();
        self.me.enter_at(Phase::Waiting, self.io.now());
        self.me.aim.set(Aim::Any);
        if matches!(kept, Kept::Lost) {
            return self.await_turn(deadline).await;
        }
        if !self.me.operator && self.db.gate.state().mode.reports_read_only() {
            self.db.await_catalog(CATALOG_PATIENCE.min(self.account.query_wait().unwrap_or(NO_DEADLINE))).await;
        }
        let taken =
            if self.me.operator { self.take_operator(deadline).await } else { self.take(nature, deadline).await };
        if let Some(stats) = self.db.stats.of(self.core.index) {
            let waited = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
            stats.wait_time.add(waited);
            stats.wait_times.add(waited);
            stats.assignments.add(1);
        }
        match taken {
            Ok(()) => {
                self.hurry_positions(nature);
                self.settle_down();
                self.begin_lease();
                self.resend_begin();
                Ok(())
            }
            Err(Denied::End(End::Report(_)) | Denied::Refused(_)) if asking => {
                self.maintenance.ask_in_vain();
                self.me.enter(Phase::Idle);
                Ok(())
            }
            Err(denied) => self.after_denial(denied).await,
        }
    }

    async fn after_denial(&mut self, denied: Denied) -> Result<(), End> {
        match denied {
            Denied::End(end) => Err(end),
            Denied::Asked => {
                self.answer_asks().await?;
                if self.maintenance.take_cancel() && !self.has_to_begin() {
                    let report = errors::cancelled("57014", "user request");
                    return self.refuse_waiting(&report);
                }
                self.me.enter(Phase::Idle);
                Ok(())
            }
            Denied::Refused(report) => self.refuse_waiting(&report),
        }
    }

    /// The server of the connection that the session keeps is lost: waits until anything is known of it, or of another one.
    async fn await_turn(&mut self, deadline: Instant) -> Result<(), End> {
        let news = self.db.setup().cluster.news(LOOK_AGAIN);
        match self.waiting(news, deadline).await {
            Ok(()) => Ok(()),
            Err(denied) => self.after_denial(denied).await,
        }
    }

    /// The message that waits for a server connection is answered with an error.
    fn refuse_waiting(&mut self, report: &Report) -> Result<(), End> {
        self.me.enter(Phase::Idle);
        self.forget_held();
        match peek_front(self.io.requests().unread(), usize::MAX)? {
            Some(header) => {
                self.answer_error(header, report);
                Ok(())
            }
            None => Err(report.clone().into()),
        }
    }

    /// A ticket, if the server of the connection is the primary.
    pub(in crate::client) fn enter_gate_of(&mut self, standing: Standing) -> Option<crate::gate::WriteTicket> {
        if standing == Standing::Leads { self.enter_gate() } else { None }
    }

    pub(super) fn enter_gate(&mut self) -> Option<crate::gate::WriteTicket> {
        let lane = self.checkout.lane.take();
        let gate = self.gate_of_lease();
        let lane = lane.filter(|lane| gate.owns(lane)).unwrap_or_else(|| gate.lane(self.core.index));
        match lane.enter() {
            Ok(ticket) => {
                self.db.stats.of(self.core.index).into_iter().for_each(|stats| stats.write_tickets.add(1));
                Some(ticket)
            }
            Err((lane, _)) => {
                self.checkout.lane = Some(lane);
                None
            }
        }
    }

    /// What decides where a transaction of this session goes now.
    pub(in crate::client) fn wish<'c>(&self, setup: &'c DatabaseSetup, avoid: Avoid) -> RouteInput<'c> {
        let view = self.db.gate.view();
        RouteInput {
            state: self.db.gate.state(),
            reads: self.account.reads(),
            maintenance_reads: view.in_force().map_or_else(Default::default, |terms| terms.reads),
            quiesced: view.read_floor(),
            cluster: &setup.cluster,
            avoid,
            floor: self.read_floor(setup),
            turn: self.core.replica_turn.get(),
        }
    }

    /// One that another client has used is closed if this one wants its own.
    /// So is one whose server has turned while it was opened.
    pub(in crate::client) fn fit(&self, conn: Conn<Unguarded>) -> Option<Conn<Unguarded>> {
        let server = conn.peek();
        if self.account.fresh() && server.used || server.permit.pool().has_turned_since(server) {
            conn.close();
            return None;
        }
        Some(conn)
    }

    /// A guarded connection, waited for if need be.
    pub(super) async fn take_guarded(&mut self, pool: &Arc<Pool>, deadline: Instant) -> Result<Conn<Guarded>, Denied> {
        if self.checkout.identity.wish() == ServerPreference::Unnamed {
            return Box::pin(self.take_to_signal(pool, deadline)).await;
        }
        match pool.try_take(self.core.index) {
            Some(conn) => Ok(conn),
            None => Box::pin(self.take_in_turn(pool, deadline)).await,
        }
    }

    /// The same where there may be another server to go to: the inner error is that of the first log-in that fails.
    pub(super) async fn try_guarded(
        &mut self,
        pool: &Arc<Pool>,
        deadline: Instant,
    ) -> Result<Result<Conn<Guarded>, LoginError>, Denied> {
        let core = self.core.index;
        if let Some(conn) = pool.try_take(core) {
            return Ok(Ok(conn));
        }
        let granted = match self.take_in_line(pool, deadline).await? {
            Ok(conn) => return Ok(Ok(conn)),
            Err(granted) => granted,
        };
        let taker = pool.clone();
        let taken = async move { taker.take_or_fail(granted, core, deadline).await };
        match self.waiting(taken, deadline).await? {
            Ok(conn) => Ok(Ok(conn)),
            Err(AcquireError::Login(error)) => Ok(Err(error)),
            Err(error) => Err(denied(&error)),
        }
    }

    /// Waits for a connection in order of arrival, or opens one.
    pub(in crate::client) async fn take_in_turn<K: Kind>(
        &mut self,
        pool: &Arc<Pool>,
        deadline: Instant,
    ) -> Result<Conn<K>, Denied> {
        let granted = match self.take_in_line(pool, deadline).await? {
            Ok(conn) => return Ok(conn),
            Err(granted) => granted,
        };
        let (taker, core) = (pool.clone(), self.core.index);
        let taken = async move { taker.take_with(granted, core, deadline).await };
        self.waiting(taken, deadline).await?.map_err(|error| denied(&error))
    }

    /// The same as far as waiting in line is all that it takes. Else what was granted, if anything.
    async fn take_in_line<K: Kind>(
        &mut self,
        pool: &Arc<Pool>,
        deadline: Instant,
    ) -> Result<Result<Conn<K>, Option<Grant>>, Denied> {
        let core = self.core.index;
        let Some(place) = pool.line_up::<K>(core, self.io.now()) else { return Ok(Err(None)) };
        let grant = self.in_line(place, deadline).await?;
        Ok(match pool.take_up(grant, core) {
            Ok(conn) => conn.ok_or(None),
            Err(granted) => Err(Some(granted)),
        })
    }

    /// Waits for its turn while the client may go and others may ask. Most turns come long before the deadline, so that a
    /// timer is made only towards its end: until then the janitor of the core wakes who waits once a second.
    fn in_line(&mut self, mut place: Place, deadline: Instant) -> impl Future<Output = Result<Grant, Denied>> {
        let mut alarm: Option<std::pin::Pin<Box<Sleep>>> = None;
        poll_fn(move |cx| {
            if let Poll::Ready(grant) = place.poll(cx) {
                return Poll::Ready(grant.map_err(|error| denied(&error)));
            }
            if deadline.saturating_duration_since(Instant::now()) < ALARM {
                let alarm = alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
                if alarm.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Err(Denied::End(errors::query_wait_timeout().into())));
                }
            }
            match self.poll_interrupt(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Ok(())) => Poll::Ready(Err(Denied::Asked)),
                Poll::Ready(Err(end)) => Poll::Ready(Err(Denied::End(end))),
            }
        })
    }

    /// Waits for something while the client may go and others may ask. It is boxed before anything is awaited: a session
    /// has no room for it while it waits for nothing.
    pub(in crate::client) fn waiting<T>(
        &mut self,
        what: impl Future<Output = T>,
        deadline: Instant,
    ) -> impl Future<Output = Result<T, Denied>> {
        let mut what = Box::pin(tokio::time::timeout_at(deadline.into(), what));
        poll_fn(move |cx| {
            if let std::task::Poll::Ready(done) = what.as_mut().poll(cx) {
                let late = || Denied::End(errors::query_wait_timeout().into());
                return std::task::Poll::Ready(done.map_err(|_| late()));
            }
            match self.poll_interrupt(cx) {
                std::task::Poll::Pending => std::task::Poll::Pending,
                std::task::Poll::Ready(Ok(())) => std::task::Poll::Ready(Err(Denied::Asked)),
                std::task::Poll::Ready(Err(end)) => std::task::Poll::Ready(Err(Denied::End(end))),
            }
        })
    }

    /// The setup, and its pools that have been used before, if nothing has changed since.
    #[inline]
    pub(in crate::client) fn known_pools(&self) -> Option<(&DatabaseSetup, &[Option<Arc<Pool>>])> {
        let known =
            self.checkout.pools.setup.as_ref().filter(|_| self.checkout.pools.generation == self.db.generation())?;
        Some((known, &self.checkout.pools.by_upstream))
    }

    pub(in crate::client) fn pool(&mut self, upstream: usize) -> Result<Arc<Pool>, Denied> {
        let generation = self.db.generation();
        if self.checkout.pools.generation != generation || self.checkout.pools.setup.is_none() {
            self.checkout.pools.generation = generation;
            self.checkout.pools.setup = Some(self.db.setup());
            self.checkout.pools.by_upstream = Box::default();
        }
        if let Some(Some(pool)) = self.checkout.pools.by_upstream.get(upstream) {
            return Ok(pool.clone());
        }
        let Some(pool) = self.db.pool(self.account.user(), upstream, self.account.credential()) else {
            return Err(shutting_down());
        };
        if self.checkout.pools.by_upstream.len() <= upstream {
            let mut longer = std::mem::take(&mut self.checkout.pools.by_upstream).into_vec();
            longer.reserve_exact(upstream + 1 - longer.len());
            longer.resize(upstream + 1, None);
            self.checkout.pools.by_upstream = longer.into();
        }
        if let Some(slot) = self.checkout.pools.by_upstream.get_mut(upstream) {
            *slot = Some(pool.clone());
        }
        Ok(pool)
    }

    pub(in crate::client) fn offline_report(&self) -> Report {
        Report { severity: Severity::Error, ..self.db.offline_report() }
    }
}

pub(super) fn shutting_down() -> Denied {
    Denied::refused(errors::proxy_stops())
}

/// Why no connection could be taken.
pub(in crate::client) enum Denied {
    /// The session is over.
    End(End),
    /// Something is asked of the session first.
    Asked,
    /// The client is told, and lives on.
    Refused(Box<Report>),
}

impl Denied {
    pub(super) fn refused(report: Report) -> Self {
        Self::Refused(Box::new(report))
    }
}

/// The number of a server, as it is kept for each client.
pub(super) fn short(at: usize) -> u16 {
    u16::try_from(at).unwrap_or(u16::MAX)
}

pub(in crate::client) fn denied(error: &AcquireError) -> Denied {
    match error {
        AcquireError::Login(LoginError::Barred) => Denied::refused(barred()),
        AcquireError::Login(LoginError::FleetLost) => Denied::refused(fleet_lost()),
        AcquireError::NoPlace => Denied::refused(errors::no_server_connection_left()),
        AcquireError::Timeout => Denied::End(errors::query_wait_timeout().into()),
        AcquireError::Login(LoginError::Refused(body)) => Denied::refused(report_of(body, Severity::Error)),
        AcquireError::Login(_) => Denied::refused(errors::no_server(Severity::Error)),
    }
}

/// SQLSTATEs with which a server refuses a log-in.
pub(in crate::client) fn known_code(code: &[u8]) -> &'static str {
    const KNOWN: [&str; 18] = [
        "28P01", "28000", "3D000", "53300", "57P03", "42501", "55000", "22023", "42704", "55P02", "42601", "42602",
        "22021", "22P05", "0A000", "08P01", "58P01", "XX000",
    ];
    KNOWN.into_iter().find(|known| known.as_bytes() == code).unwrap_or("08006")
}
