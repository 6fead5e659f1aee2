//! The server of a connection that a session keeps is not what it was: lost, no longer the primary, or one of two that claim
//! to be it.
//!
//! Connections of a pool are simply not lent any more. One that a session keeps is checked before its next transaction
//! ([`Session::standing`]), and a transaction that is open when the server turns is broken off if it must not be committed.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::lease::{InPlaceGuard, Lease};
use crate::client::conversation::pending_replies::{PendingReply, Request, Visibility};
use crate::client::conversation::run::Next;
use crate::client::errors;
use crate::client::state::pins::Pin;
use crate::client::{End, Session};
use crate::gate::{Gate, Mode};
use crate::protocol::{ErrorFields, Report, frontend};
use crate::server::{Pool, Server};
use crate::shared::client::Ask;
use crate::shared::database::DatabaseSetup;
use crate::sql::own_statements::transaction::{ARM, DISARM, DISARM_TO_DEFAULT};
use crate::topology::{Cluster, Role, Standing, Upstream};

/// DETAIL while several servers claim to be the primary.
pub(in crate::client) const CONTESTED: &str = "two servers claim to be the primary: nothing is written to either";
/// DETAIL for a session that was led to a replica by the closed gate, and has something there that binds it.
const OVERSTAYED: &str =
    "the maintenance is over, and what the session has left in its server connection is on a replica";
/// DETAIL for a session whose server was the primary and is not any more.
pub(in crate::client) const REPLACED: &str = "another server is the primary now";
/// DETAIL for a session whose server the configuration has named before.
const REMOVED: &str = "the server is not in the configuration any more";
/// Between two requests to break off a transaction that must not be committed.
const INSIST: Duration = Duration::from_secs(1);
/// How many of them there are: the last one ends the session.
const REQUESTS: u32 = 3;

/// The cluster that a connection was opened in; if another configuration has taken its place, that of now.
fn cluster_of<'c>(opened: Option<&'c Arc<DatabaseSetup>>, now: &'c DatabaseSetup) -> &'c Cluster {
    opened.map(|setup| &setup.cluster).filter(|cluster| !cluster.is_retired()).unwrap_or(&now.cluster)
}

/// What a session that keeps a connection does before its next transaction.
pub(in crate::client) enum Kept {
    /// It has none, or none any more: it takes one.
    No,
    /// It goes on with it.
    Ready,
    /// It waits until it is known whether the server is the primary.
    Lost,
}

/// The number of a pool's server in the cluster as it is now: a reload may have put another in its place.
fn place_of(pool: &Pool, cluster: &Cluster) -> Option<usize> {
    let is = |upstream: &Upstream| upstream.address == pool.login().address;
    match cluster.upstreams.get(pool.upstream) {
        Some(upstream) if is(upstream) => Some(pool.upstream),
        _ => cluster.upstreams.iter().position(is),
    }
}

/// What a connection may be used for, and whether its server is reached. One whose server has not turned since it was last asked
/// costs no more than a look at a number.
pub(in crate::client) fn standing_of(server: &mut Server, cluster: &Cluster) -> Standing {
    let pool = server.permit.pool().clone();
    if !pool.has_turned(server) && !cluster.is_contested() {
        return Standing::Leads;
    }
    if server.moves != pool.watch().moves() {
        return Standing::Replaced;
    }
    let standing = cluster.standing(place_of(&pool, cluster));
    if standing == Standing::Leads {
        pool.check_turn(server);
    }
    standing
}

/// The DETAIL of who loses a server that stands so.
pub(in crate::client) fn detail_of(standing: Standing) -> &'static str {
    match standing {
        Standing::Contested => CONTESTED,
        Standing::Removed => REMOVED,
        Standing::Leads | Standing::Lost | Standing::Replaced => REPLACED,
    }
}

/// What a server that is not reached any more has to say, in the place of an error of its socket.
fn silence() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the server does not answer")
}

fn terminated(detail: impl Into<String>) -> Report {
    errors::terminated(Some(detail.into()))
}

/// The end of a session whose own server connection leads to what the database's name stood for before.
pub(in crate::client) fn led_elsewhere(name: &str) -> Report {
    terminated(format!("The name \"{name}\" leads to another database now."))
}

impl Session {
    /// What the connection that is held may be used for.
    pub(in crate::client) fn standing(&mut self) -> Standing {
        let now = self.db.peek_setup();
        let Some(server) = self.lease.server() else { return Standing::Leads };
        standing_of(server, cluster_of(self.checkout.pools.setup.as_ref(), &now))
    }

    /// Whether the monitor does not reach the server of the connection that is held.
    fn is_server_down(&mut self) -> bool {
        let now = self.db.peek_setup();
        let cluster = cluster_of(self.checkout.pools.setup.as_ref(), &now);
        let Some(server) = self.lease.server() else { return false };
        let at = place_of(server.permit.pool(), cluster);
        at.and_then(|at| cluster.upstreams.get(at)).is_some_and(|server| server.role() == Role::Down)
    }

    /// Whether several servers claim to be the primary of this database's cluster.
    pub(in crate::client) fn is_contested(&self) -> bool {
        self.db.peek_setup().cluster.is_contested()
    }

    /// DETAIL and HINT of a write that is refused.
    pub(in crate::client) fn refusal_words(&self) -> (Option<String>, Option<String>) {
        let view = self.db.gate.view().under(&self.db.name);
        match view.refusal_detail() {
            Some(detail) => (Some(detail), view.refusal_hint()),
            None if self.is_contested() => (Some(CONTESTED.to_owned()), None),
            None => (None, None),
        }
    }

    /// Some server has turned: whether the connection that is held may still be used for what runs on it.
    pub(in crate::client) fn after_turn(&mut self) -> Result<(), End> {
        if self.lease.is_none() {
            return Ok(());
        }
        if self.keeps_server() && self.has_moved() && self.is_between_transactions() {
            // What is bound to it learns so with its next statement, or when it is ended.
            return if self.bindings.pins().are_only_mode() { self.leave_database().map(drop) } else { Ok(()) };
        }
        let (standing, down) = (self.standing(), self.is_server_down());
        if matches!(self.lease, Lease::Guarded { .. }) {
            // What reads may be asked of another server.
            return if down
                && !self.replay_elsewhere()
                && standing == Standing::Replaced
                && self.lease.replica().is_none()
            {
                self.server_lost(&silence())
            } else {
                Ok(())
            };
        }
        match standing {
            // A transaction on a server that the monitor does not reach may go on once that is known to be the primary still.
            Standing::Leads | Standing::Lost | Standing::Removed => Ok(()),
            Standing::Replaced if self.keeps_server() && self.is_between_transactions() => {
                self.leave_server().map(drop)
            }
            // Nothing more will be heard of what runs there.
            Standing::Replaced if down && !self.is_between_transactions() => self.server_lost(&silence()),
            Standing::Contested | Standing::Replaced => self.end_writing(standing),
        }
    }

    /// Nothing may be committed on the server of the connection.
    fn end_writing(&mut self, standing: Standing) -> Result<(), End> {
        match &self.lease {
            Lease::Write { .. } if self.has_unsent() => Err(self.ends_with_server(standing)),
            Lease::Write { .. } if !self.maintenance.aborts() => {
                self.insist();
                self.break_off()
            }
            Lease::Operator { .. } if standing == Standing::Contested && self.is_between_transactions() => {
                self.keep_operator_from_writing();
                Ok(())
            }
            Lease::Operator { .. } | Lease::Allowed { .. } => {
                if !self.is_between_transactions() {
                    drop(self.me.send_cancel());
                }
                Err(self.ends_with_server(standing))
            }
            Lease::None | Lease::Write { .. } | Lease::Guarded { .. } | Lease::Bound { .. } | Lease::InPlace { .. } => {
                Ok(())
            }
        }
    }

    /// Whether the client has said something that the server's socket has not taken yet. Data of a COPY can be called off.
    fn has_unsent(&self) -> bool {
        let unsent = self.io.requests().has_unsent();
        unsent && !self.conversation.in_copy() && self.maintenance.may_call_off()
    }

    /// A statement may take no notice of a cancel request, or its client may not go on: the session is asked again.
    fn insist(&self) {
        let me = Rc::downgrade(&self.me);
        tokio::task::spawn_local(async move {
            for _ in 0..REQUESTS {
                tokio::time::sleep(INSIST).await;
                let Some(me) = me.upgrade() else { return };
                me.ask(Ask::BreakOff);
            }
        });
    }

    /// It was asked to break off what is open, and has been given time for that.
    pub(in crate::client) fn break_off_again(&mut self) -> Result<(), End> {
        if matches!(self.lease, Lease::Write { .. }) && self.must_not_commit() { self.break_off() } else { Ok(()) }
    }

    /// Whether what is open on the connection must not be committed: its server is not the primary, or two claim to be it.
    fn must_not_commit(&mut self) -> bool {
        self.has_turned() && matches!(self.standing(), Standing::Contested | Standing::Replaced)
    }

    /// Whether a statement's commit waited for a standby until it was broken off: the server takes it for committed, which nothing
    /// else may. `notice` says so.
    pub(in crate::client) fn is_committed_alone(&mut self, notice: ErrorFields<'_>) -> bool {
        notice.get(b'R') == Some(b"SyncRepWaitForLSN") && self.must_not_commit()
    }

    /// Whether the connection may write, and its server has turned since it was known to be the primary. Costs no more than a look
    /// at a number.
    #[inline(always)]
    pub(in crate::client) fn has_turned(&self) -> bool {
        match &self.lease {
            Lease::Write { conn, .. } | Lease::Allowed { conn } | Lease::Operator { conn, .. } => {
                let server = conn.peek();
                server.permit.pool().has_turned(server)
            }
            _ => false,
        }
    }

    /// The server has turned, and the client has more to say to it. Whether that has to wait; None: it may go on.
    #[cold]
    pub(in crate::client) fn after_turned(&mut self) -> Result<Option<Next>, End> {
        if matches!(self.standing(), Standing::Leads | Standing::Removed) {
            return Ok(None);
        }
        if self.is_unused() {
            self.put_back_unused();
            return Ok(None);
        }
        self.after_turn()?;
        if !self.has_turned() {
            return Ok(None);
        }
        match self.standing() {
            Standing::Lost => Ok(Some(Next::News)),
            // The rest of a message of COPY has to follow, and what ends the COPY might be behind it.
            standing if self.conversation.in_copy() => Err(self.ends_with_server(standing)),
            _ => Ok(Some(Next::Wait)),
        }
    }

    /// Whether nothing has been sent over the connection since it was taken.
    fn is_unused(&self) -> bool {
        let unsent = self.io.requests().has_unsent();
        matches!(self.lease, Lease::Write { .. })
            && !self.conversation.lease().has_begun()
            && !unsent
            && self.is_between_transactions()
    }

    /// Gives up the right to write before it was made use of.
    fn put_back_unused(&mut self) {
        if self.bindings.pins().is_empty() {
            self.close_lease();
            return;
        }
        self.me.write_capable.set(false);
        self.lease = match self.lease.take() {
            Lease::Write { conn, ticket } => {
                self.checkout.lane = ticket.leave();
                Lease::Bound { conn }
            }
            other => other,
        };
    }

    /// Bytes are about to be sent, and the server has turned since they were passed on. Whether they have to wait.
    #[cold]
    pub(in crate::client) fn holds_bytes_back(&mut self) -> bool {
        match self.standing() {
            Standing::Leads | Standing::Removed => false,
            Standing::Lost => true,
            Standing::Contested | Standing::Replaced => {
                self.me.ask_turn();
                true
            }
        }
    }

    /// The end of a session whose server connection is lost to it.
    pub(in crate::client) fn ends_with_server(&self, standing: Standing) -> End {
        terminated(detail_of(standing)).into()
    }

    /// An operator may look, but writes to neither of two servers that claim to be the primary.
    pub(in crate::client) fn keep_operator_from_writing(&mut self) {
        let Lease::Operator { conn, .. } = self.lease.take() else { return };
        let mut conn = conn.arm();
        self.arm(conn.server());
        self.lease = Lease::InPlace { conn, guard: InPlaceGuard::Up };
    }

    /// The connection that the session keeps leads to the primary, and may write again.
    pub(in crate::client) fn disarm_operator(&mut self) {
        let Lease::InPlace { mut conn, guard } = self.lease.take() else { return };
        let Some(disarm) = self.disarms(conn.server()) else {
            self.lease = Lease::InPlace { conn, guard };
            return;
        };
        frontend::write_query(self.io.for_server(), disarm.as_bytes());
        self.lease = Lease::Operator { conn: conn.disarm(), changes: None };
        self.expect(PendingReply::hidden(Request::Query(None), Visibility::Hidden));
    }

    /// Closes the kept connection. True: the session may take another one, since nothing was in it but what follows the client.
    fn lets_go(&mut self) -> bool {
        let another = self.bindings.pins().are_only_mode() && !self.me.operator;
        self.close_lease();
        another
    }

    /// The kept connection leads to a server that is of no more use. A session that has nothing in it but its mode takes
    /// another one.
    pub(in crate::client) fn leave_server(&mut self) -> Result<Kept, End> {
        let standing = self.standing();
        if self.lets_go() { Ok(Kept::No) } else { Err(self.ends_with_server(standing)) }
    }

    /// The gate of the database that the lease's connection leads to: a reload may have led the name elsewhere since.
    #[inline]
    pub(in crate::client) fn gate_of_lease(&self) -> &Arc<Gate> {
        self.checkout.pools.setup.as_ref().map_or(&*self.db.gate, |setup| &setup.gate)
    }

    fn keeps_server(&self) -> bool {
        matches!(self.lease, Lease::Bound { .. } | Lease::InPlace { .. })
    }

    /// Whether the database's name leads to another database than the kept connection does.
    pub(in crate::client) fn has_moved(&self) -> bool {
        !Arc::ptr_eq(self.gate_of_lease(), &self.db.gate)
    }

    /// Whether the session keeps a connection to a replica that the closed gate has led it to, though the primary serves it again.
    pub(in crate::client) fn outstays_on_replica(&self) -> bool {
        matches!(self.lease, Lease::Guarded { maintenance: true, replica: Some(_), .. })
            && !self.bindings.pins().is_empty()
            && self.is_between_transactions()
            && (self.has_moved()
                || self.db.gate.state().mode == Mode::ReadWrite && self.db.peek_setup().cluster.primary().is_some())
    }

    /// A session in session mode takes a connection to the primary; one that was pinned to the replica ends.
    fn leave_replica(&mut self) -> Result<Kept, End> {
        self.close_lease();
        self.bindings.keep_only_mode();
        if self.bindings.pins().has(Pin::SessionMode) { Ok(Kept::No) } else { Err(terminated(OVERSTAYED).into()) }
    }

    /// A session in session mode takes a connection to the database that its name leads to now; one that was pinned has lost
    /// what it was pinned for.
    fn leave_database(&mut self) -> Result<Kept, End> {
        if self.lets_go() { Ok(Kept::No) } else { Err(led_elsewhere(&self.db.name).into()) }
    }

    /// A connection the session keeps is made ready for the next transaction: with a ticket if the gate is open, guarded in
    /// place if it is closed.
    pub(in crate::client) fn reuse_bound(&mut self) -> Result<Kept, End> {
        if self.outstays_on_replica() && !self.has_moved() {
            return self.leave_replica();
        }
        if (self.keeps_server() || self.outstays_on_replica()) && self.has_moved() {
            return self.leave_database();
        }
        let is_dead = match &mut self.lease {
            Lease::Bound { conn } => !conn.server().still_lives(),
            Lease::InPlace { conn, .. } if self.conversation.replies().is_empty() => !conn.server().still_lives(),
            _ => false,
        };
        if is_dead {
            self.look_at_server_now();
            if self.lets_go() {
                return Ok(Kept::No);
            }
            return Err(errors::server_lost(None).into());
        }
        if !self.keeps_server() {
            return Ok(Kept::No);
        }
        let standing = self.standing();
        match standing {
            Standing::Replaced | Standing::Removed => return self.leave_server(),
            // Replicas serve what only reads.
            Standing::Lost if self.bindings.pins().are_only_mode() && self.db.gate.view().is_automatic() => {
                return self.leave_server();
            }
            // What only reads may go on there.
            Standing::Lost if !self.db.gate.state().mode.reports_read_only() => return Ok(Kept::Lost),
            Standing::Leads if self.me.operator => {
                self.disarm_operator();
                return Ok(Kept::Ready);
            }
            Standing::Lost | Standing::Leads | Standing::Contested => {}
        }
        match self.lease.take() {
            Lease::Bound { conn } => {
                if let Some(ticket) = self.enter_gate_of(standing) {
                    self.lease = Lease::Write { conn, ticket };
                    self.me.write_capable.set(true);
                } else {
                    let mut conn = conn.arm();
                    self.arm(conn.server());
                    self.lease = Lease::InPlace { conn, guard: InPlaceGuard::Up };
                    self.forget_counts();
                }
            }
            Lease::InPlace { mut conn, .. } => {
                if let Some(ticket) = self.enter_gate_of(standing) {
                    let disarm = self.disarms(conn.server());
                    if let Some(disarm) = disarm {
                        frontend::write_query(self.io.for_server(), disarm.as_bytes());
                    }
                    self.lease = Lease::Write { conn: conn.disarm(), ticket };
                    self.me.write_capable.set(true);
                    if disarm.is_some() {
                        self.expect(PendingReply::hidden(Request::Query(None), Visibility::Hidden));
                    }
                } else {
                    self.arm(conn.server());
                    self.lease = Lease::InPlace { conn, guard: InPlaceGuard::Up };
                }
            }
            other => self.lease = other,
        }
        Ok(Kept::Ready)
    }

    /// What takes the guard off, unless the session wants its default so.
    fn disarms(&self, server: &mut Server) -> Option<&'static str> {
        server.read_only_set = self.settings.read_only_set();
        match self.settings.read_only_set() {
            Some(true) => None,
            Some(false) => Some(DISARM),
            // Opened guarded, RESET would put the guard up again.
            None if server.born_guarded => {
                let on = server.permit.pool().welcome().is_some_and(|welcome| welcome.read_only == Some(true));
                (!on).then_some(DISARM)
            }
            None => Some(DISARM_TO_DEFAULT),
        }
    }

    pub(in crate::client) fn arm(&mut self, server: &mut Server) {
        self.own_messages().hiding(Visibility::Hidden).query(ARM);
        server.unnamed = 0;
        server.read_only_set = Some(true);
        // Taken for granted until the server says otherwise; it reports before ReadyForQuery.
        server.default_read_only = Some(true);
    }
}
