//! A session that another process has handed over begins here, where one that has just logged in does too.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use crate::auth::Credential;
use crate::client::Session;
use crate::client::checkout::lease::{InPlaceGuard, Lease, OnReplica};
use crate::client::conversation::pending_replies::pool::PendingReplyPool;
use crate::client::startup::ended::ended;
use crate::client::startup::handed::{prepare, vars};
use crate::client::startup::negotiate::Guest;
use crate::client::state::Bindings;
use crate::net::{Socket, Stream};
use crate::server::guard::Kind;
use crate::server::state::handover::HandedServer;
use crate::server::{AnyConn, Guarded, Pool, Unguarded};
use crate::shared::handover::HandedClient;
use crate::shared::handover::client::{HandedIdentity, HandedLease, HandedStatement};
use crate::shared::prepared_statement::Statement;
use crate::shared::{Client, Database, Phase, WorkerState, client};

/// A session that is complete, and does nothing yet.
pub struct Arrived {
    core: Rc<WorkerState>,
    session: Box<Session>,
}

impl Arrived {
    /// Serves the client to its end. The process that has handed it over must have been told.
    pub async fn serve(self) {
        let me = self.session.me.clone();
        let end = self.session.resume().await;
        ended(&self.core, &me, &end);
    }
}

/// Makes a session of what was handed over: its socket, and that of its server connection if it keeps one.
///
/// # Errors
/// It cannot be served here, and is refused.
pub async fn take_over(
    core: &Rc<WorkerState>,
    reply_pool: &Rc<PendingReplyPool>,
    state: HandedClient,
    sockets: Vec<OwnedFd>,
) -> Result<Arrived, String> {
    let mut sockets = sockets.into_iter();
    let socket = sockets.next().ok_or("there is no socket")?;
    let stream = Stream::Plain(Socket::passed(socket).map_err(|error| error.to_string())?);
    let (identity, known) = (&state.identity, core.proxy.databases.get(&state.identity.database));
    let db = known.ok_or_else(|| format!("there is no database \"{}\"", identity.database))?;
    let bindings = Bindings::take_over(&state).ok_or("what binds it to its server connection is not known")?;
    let pins = bindings.pins();
    let user: Arc<str> = identity.user.as_str().into();
    let credential = Credential::from(&identity.credential);
    db.note_credential(&user, &credential);
    let lease = match state.lease.server() {
        None => Lease::None,
        Some(server) => {
            let socket = sockets.next().ok_or("there is no socket of its server connection")?;
            take_over_lease(core, &db, &user, &credential, &state.lease, server, socket).await?
        }
    };
    if lease.is_none() && !pins.is_empty() && !pins.are_only_mode() {
        return Err("it has lost the server connection that it is bound to".to_owned());
    }
    let me = introduce(core, identity, &db, &user);
    let prepared = prepare(core, &state, &me, &db, &credential, pins);
    let guest = Guest::handed_over(stream, identity.address, (user, identity.database.clone()), credential);
    let mut session = prepared.into_session(core, reply_pool, guest);
    session.settle_in(&state, lease, bindings)?;
    Ok(Arrived { core: core.clone(), session })
}

fn ago(millis: u64) -> Instant {
    let now = Instant::now();
    now.checked_sub(Duration::from_millis(millis)).unwrap_or(now)
}

/// Makes the client known, under the number that it had: its cancel key leads to it. On another core it is found by its secret.
fn introduce(core: &Rc<WorkerState>, identity: &HandedIdentity, db: &Arc<Database>, user: &Arc<str>) -> Rc<Client> {
    let operators = &core.setup().config.auth.operators;
    let me = Client::new(client::Identity {
        id: identity.id,
        secret: identity.secret.0.as_slice().into(),
        address: identity.address,
        local: identity.local,
        user: user.clone(),
        database: Some(db.clone()),
        database_name: db.name.clone(),
        operator: operators.iter().any(|name| **name == **user),
        tls: None,
        since: UNIX_EPOCH + Duration::from_micros(identity.since),
        application_name: identity.application_name.clone(),
    });
    me.phase_since.set(ago(identity.idle_ms));
    me.requested.set(ago(identity.requested_ms));
    core.enter(&me);
    me
}

/// The pool that a server connection belongs to here; None: the configuration does not know its server any more.
pub fn pool_of(db: &Database, server: &HandedServer) -> Option<Arc<Pool>> {
    let place = &server.place;
    let cluster = db.setup().cluster.clone();
    let at = cluster.upstreams.iter().position(|one| one.address.to_string() == place.address)?;
    db.pool(&place.user.as_str().into(), at, &Credential::from(&place.credential))
}

async fn take_over_lease(
    core: &Rc<WorkerState>,
    db: &Arc<Database>,
    user: &Arc<str>,
    credential: &Credential,
    lease: &HandedLease,
    server: &HandedServer,
    socket: OwnedFd,
) -> Result<Lease, String> {
    let cluster = db.setup().cluster.clone();
    let at = cluster.upstreams.iter().position(|one| one.address.to_string() == server.place.address);
    let at = at.ok_or_else(|| format!("the server {} is not in the configuration", server.place.address))?;
    let pool = db.pool(user, at, credential).ok_or("there is no pool for its server connection")?;
    if !pool.has_login_of(server) {
        return Err(
            "its server connection is to another database than the configuration names now, or has another role".into(),
        );
    }
    let conn = pool.take_over(server, socket, core.index).await?;
    lease_of(lease, conn, at, &cluster).ok_or_else(|| "its server connection is of another kind".to_owned())
}

fn lease_of(lease: &HandedLease, conn: AnyConn, at: usize, cluster: &crate::topology::Cluster) -> Option<Lease> {
    Some(match lease {
        HandedLease::None => return None,
        HandedLease::Bound(_) => Lease::Bound { conn: Unguarded::from_any(conn).ok()? },
        HandedLease::InPlace { up, .. } => Lease::InPlace {
            conn: conn.guarded_in_place(),
            guard: if *up { InPlaceGuard::Up } else { InPlaceGuard::Due },
        },
        HandedLease::Replica { maintenance, .. } => Lease::Guarded {
            conn: Guarded::from_any(conn).ok()?,
            replica: Some(OnReplica::new(at, cluster.upstreams.get(at)?)),
            maintenance: *maintenance,
        },
        HandedLease::Operator(_) => Lease::Operator { conn: Unguarded::from_any(conn).ok()?, changes: None },
    })
}

impl Session {
    /// What one that has just logged in has not.
    fn settle_in(&mut self, state: &HandedClient, lease: Lease, bindings: Bindings) -> Result<(), String> {
        (self.bindings, self.lease) = (bindings, lease);
        self.take_over_writes(state.own_writes);
        self.me.pinned.set(self.bindings.pins().word());
        // A server connection that is kept has been used; nothing runs on it.
        self.conversation.lease_mut().note_begun(!self.lease.is_none());
        if let Some(server) = self.lease.server() {
            *self.me.cancel.borrow_mut() = Some(server.lend_target());
        }
        for handed in &state.names.statements {
            let statement = self.statement_handed(handed);
            if !self.names.take_over(&handed.name.0, handed.sql, statement) {
                self.core.leave(self.me.id);
                return Err("a prepared statement cannot be read".to_owned());
            }
        }
        self.names.note_taken_over(state.names.unnamed_described, state.names.own);
        self.me.prepared.set(self.names.len());
        if !state.unread.0.is_empty() {
            self.io.put_unread(&state.unread.0, ago(state.unread_ms.unwrap_or(0)), &self.core.buffers);
        }
        if let Some(millis) = state.held_ms {
            self.me.enter_at(Phase::Held, ago(millis));
        }
        Ok(())
    }

    fn statement_handed(&self, handed: &HandedStatement) -> Rc<Statement> {
        let cached = self.core.verdicts.borrow_mut().get_or_analyze(&handed.text.0, handed.context);
        let path = handed.path.unwrap_or_else(|| self.path_of(&handed.name.0));
        let settings =
            handed.settings.as_ref().map_or_else(|| self.settings.vars().clone(), |handed| vars(&self.core, handed));
        self.core.statements.take_over(handed.id, cached, &handed.oids.0, handed.context, path, &settings)
    }
}
