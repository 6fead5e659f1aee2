//! A session is put down, offered, and forgotten once another process has it.

use std::os::fd::OwnedFd;

use crate::client::checkout::acquire::PAUSE;
use crate::client::checkout::lease::{InPlaceGuard, Lease};
use crate::client::{End, Session};
use crate::log::millis;
use crate::protocol::Octets;
use crate::server::state::handover::{HandedServer, hand_vars};
use crate::server::{Conn, InPlace, Unguarded};
use crate::shared::Phase;
use crate::shared::client::Moves;
use crate::shared::handover::client::{HandedClient, HandedIdentity, HandedLease, HandedNames, HandedStatement};
use crate::shared::handover::offers::offer_server;
use crate::shared::handover::{Offered, Offers};
use crate::shared::prepared_statement::{Statement, Statements};

/// How often its home is looked for that another client may have.
const HOME_TRIES: u32 = 5;

/// A client's state and the sockets that belong to it.
type Handed = (HandedClient, Vec<OwnedFd>);

impl Session {
    /// Goes to the process that takes over, if one does and the session is at rest. With an error of [`End::HandedOver`] it has gone.
    #[inline]
    pub(in crate::client) async fn move_over(&mut self) -> Result<(), End> {
        if self.me.moves.get() != Moves::Goes { Ok(()) } else { Box::pin(self.offer_itself()).await }
    }

    #[cold]
    async fn offer_itself(&mut self) -> Result<(), End> {
        let Some(offers) = self.core.proxy.offers.load_full() else {
            self.me.moves.set(Moves::No);
            return Ok(());
        };
        if !self.can_ever_move() {
            self.me.moves.set(Moves::Stays);
            return Ok(());
        }
        if !self.is_at_rest() {
            return Ok(());
        }
        self.send_home_ahead(&offers).await;
        let taken = match self.hand_over() {
            Some(handed) => self.offer(&offers, handed).await,
            None => false,
        };
        if taken {
            self.let_go();
            return Err(End::HandedOver);
        }
        self.me.moves.set(Moves::Stays);
        Ok(())
    }

    /// A session that knows its server process finds it there, if it is idle here.
    async fn send_home_ahead(&self, offers: &Offers) {
        let home = self.checkout.known_home().filter(|_| self.lease.is_none());
        let at = self.db.setup().cluster.primary();
        let Some((home, at)) = home.zip(at) else { return };
        let Some(pool) = self.db.pool(self.account.user(), at, self.account.credential()) else { return };
        for _ in 0..HOME_TRIES {
            if let Some(conn) = pool.take_this::<Unguarded>(self.core.index, home).await {
                return offer_server(conn.into(), offers).await;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// From here to the answer nothing is read from the client, nor written to it.
    async fn offer(&self, offers: &Offers, (state, sockets): Handed) -> bool {
        let Ok(state) = serde_json::to_string(&state) else { return false };
        offers.offer(Offered::Client(self.me.id), state, sockets).await
    }

    /// Whether another process could go on with it, once it is at rest.
    fn can_ever_move(&self) -> bool {
        let server = self.lease.peek_server();
        self.io.can_be_passed() && !self.works_elsewhere() && server.is_none_or(|server| server.stream.can_be_passed())
    }

    /// Whether nothing is under way.
    fn is_at_rest(&self) -> bool {
        let alone = self.me.cancelling.get() == 0 && !self.me.is_asked() && !self.checkout.is_ending();
        alone && self.io.is_at_rest() && self.maintenance.is_at_rest() && self.conversation.is_at_rest()
    }

    /// Every part is named here, and in its own function every field of it: one that is added is a question to whoever adds it.
    fn hand_over(&mut self) -> Option<Handed> {
        let lease = {
            let mut sockets = vec![self.io.to_pass()?];
            (self.hand_over_lease(&mut sockets)?, sockets)
        };
        let (names, own_writes) = (self.hand_over_names()?, self.hand_over_writes());
        let identity = self.hand_over_identity();
        // At rest a conversation has nothing; the database is found by its name, and the lease is in the state by now.
        let Self {
            core: _,
            me,
            db: _,
            account: _,
            io,
            conversation: _,
            lease: _,
            checkout,
            settings,
            bindings,
            names: _,
            maintenance,
        } = self;
        let (lease, sockets) = lease;
        let held = me.phase.get() == Phase::Held;
        let mut state = HandedClient {
            identity,
            backend: checkout.hand_over(),
            settings: settings.hand_over(),
            told: settings.hand_over_told(maintenance.knows_closed()),
            names,
            lease,
            pins: Vec::new(),
            doubted: Vec::new(),
            unread: Octets(io.requests().unread().to_vec()),
            unread_ms: (!io.requests().unread().is_empty()).then(|| millis(io.now().elapsed())),
            held_ms: held.then(|| millis(me.phase_since.get().elapsed())),
            own_writes: Some(own_writes),
        };
        bindings.hand_over(&mut state).then_some((state, sockets))
    }

    fn hand_over_identity(&self) -> HandedIdentity {
        self.me.hand_over(HandedIdentity {
            credential: self.account.credential().into(),
            startup: self.account.startup_parameters().to_vec(),
            ..HandedIdentity::default()
        })
    }

    fn hand_over_names(&self) -> Option<HandedNames> {
        let statements = self.names.to_hand_over()?;
        let statements =
            statements.into_iter().map(|(name, sql, statement)| self.hand_over_statement(name, sql, statement));
        Some(HandedNames {
            statements: statements.collect(),
            unnamed_described: self.names.is_unnamed_described(),
            own: self.names.has_own(),
        })
    }

    fn hand_over_statement(&self, name: &[u8], sql: bool, statement: &Statement) -> HandedStatement {
        let path = Statements::path_of(statement);
        HandedStatement {
            name: name.into(),
            sql,
            id: statement.id,
            text: (&*statement.cached.text).into(),
            oids: (&*statement.oids).into(),
            context: statement.context(),
            path: (path != self.path_of(name)).then_some(path),
            settings: (statement.settings() != self.settings.vars()).then(|| hand_vars(statement.settings())),
        }
    }

    /// The path of what the session would prepare now under that name.
    pub(super) fn path_of(&self, name: &[u8]) -> u64 {
        let path = if name.is_empty() { 0 } else { self.path() };
        path.wrapping_add(self.parse_settings().into())
    }

    fn hand_over_lease(&mut self, sockets: &mut Vec<OwnedFd>) -> Option<HandedLease> {
        let mut handed = |server: &mut crate::server::Server, guarded: bool| -> Option<Box<HandedServer>> {
            let (server, socket) = server.hand_over(guarded)?;
            sockets.push(socket);
            Some(Box::new(server))
        };
        Some(match &mut self.lease {
            Lease::None => HandedLease::None,
            Lease::Bound { conn } => HandedLease::Bound(handed(conn.server(), false)?),
            Lease::InPlace { conn, guard } => {
                let up = *guard == InPlaceGuard::Up;
                let guarded = conn.peek().born_guarded;
                HandedLease::InPlace { server: handed(conn.server(), guarded)?, up }
            }
            Lease::Guarded { conn, replica: Some(_), maintenance } => {
                HandedLease::Replica { maintenance: *maintenance, server: handed(conn.server(), true)? }
            }
            Lease::Operator { conn, changes: None } => HandedLease::Operator(handed(conn.server(), false)?),
            // Their transaction is about to end.
            Lease::Write { .. } | Lease::Guarded { .. } | Lease::Allowed { .. } | Lease::Operator { .. } => {
                return None;
            }
        })
    }

    /// Another process has it.
    fn let_go(&mut self) {
        self.forget_key();
        *self.me.cancel.borrow_mut() = None;
        match self.lease.take() {
            Lease::None => {}
            Lease::Write { conn, ticket } => {
                conn.leave_to_other();
                drop(ticket);
            }
            Lease::Bound { conn } | Lease::Allowed { conn } | Lease::Operator { conn, .. } => {
                Conn::<Unguarded>::leave_to_other(conn);
            }
            Lease::Guarded { conn, .. } => conn.leave_to_other(),
            Lease::InPlace { conn, .. } => Conn::<InPlace>::leave_to_other(conn),
        }
        self.io.requests_mut().forget_read();
        self.rest();
    }
}
