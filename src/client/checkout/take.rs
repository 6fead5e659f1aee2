//! A server connection is taken on the route that is chosen, waited for if need be. The choice is made again whenever it may
//! have become another one.

use std::sync::Arc;
use std::time::Instant;

use super::acquire::{Denied, LOOK_AGAIN, PAUSE, denied, short};
use super::backend_pid::{ServerPreference, TRIES};
use super::lease::{Lease, OnReplica};
use super::sync_settings::give_back;
use crate::client::Session;
use crate::client::maintenance::barred::drop_unwanted;
use crate::config::PoolMode;
use crate::routing::{Route, TransactionClass};
use crate::server::{AcquireError, Conn, Pool, Unguarded};
use crate::shared::client::Aim;
use crate::shared::maintenance::kept_out::Fate;
use crate::topology::Avoid;

impl Session {
    pub(super) async fn take(&mut self, nature: TransactionClass, deadline: Instant) -> Result<(), Denied> {
        let mut refusal = None;
        loop {
            self.me.aim.set(Aim::Any);
            if self.db.is_paused() {
                self.may_still_wait().map_err(Denied::End)?;
                let db = self.db.clone();
                self.waiting(db.until_resumed(), deadline).await?;
                continue;
            }
            let setup = self.db.setup();
            // What the choice is made of is let go before anything is awaited.
            let (route, maintenance) = {
                let wish = self.wish(&setup, self.checkout.avoid);
                (wish.route(nature), wish.state.mode.reports_read_only())
            };
            let taken = match route {
                Route::Offline => return Err(Denied::refused(self.offline_report())),
                Route::Wait => {
                    // Every server that could serve it has said no.
                    if let Some(denied) = refusal.take() {
                        return Err(denied);
                    }
                    self.waiting(setup.cluster.news(LOOK_AGAIN), deadline).await?;
                    self.checkout.avoid = Avoid::default();
                    false
                }
                Route::Write | Route::Allowed | Route::GuardedPrimary => match setup.cluster.primary() {
                    Some(at) => Box::pin(self.take_primary(route, at, deadline)).await?,
                    None => false,
                },
                Route::Contested(at) => {
                    self.me.aim.set(Aim::Contested(short(at)));
                    let pool = self.pool(at)?;
                    let conn = self.take_guarded(&pool, deadline).await?;
                    self.lease = Lease::Guarded { conn, replica: None, maintenance: true };
                    true
                }
                Route::Replica(at) => {
                    let Some(upstream) = setup.cluster.upstreams.get(at) else { continue };
                    self.me.aim.set(Aim::Replica(short(at)));
                    let pool = self.pool(at)?;
                    match self.try_guarded(&pool, deadline).await? {
                        Ok(conn) => {
                            let replica = Some(OnReplica::new(at, upstream));
                            self.core.next_replica_turn();
                            self.lease = Lease::Guarded { conn, replica, maintenance };
                            true
                        }
                        // Another server may let it in: this one does not serve this transaction.
                        Err(error) => {
                            self.checkout.avoid.add(at);
                            if !error.is_transient() {
                                refusal = Some(denied(&AcquireError::Login(error)));
                            }
                            false
                        }
                    }
                }
            };
            if taken {
                return Ok(());
            }
        }
    }

    /// Takes a connection to the primary. False: the choice has to be made again.
    async fn take_primary(&mut self, route: Route, at: usize, deadline: Instant) -> Result<bool, Denied> {
        self.me.aim.set(Aim::Primary(short(at)));
        let pool = self.pool(at)?;
        match route {
            Route::Write => self.take_to_write(&pool, deadline).await,
            Route::Allowed => {
                let core = self.core.index;
                let taken = async move { pool.take::<Unguarded>(core, deadline).await };
                let conn = self.waiting(taken, deadline).await?.map_err(|error| denied(&error))?;
                let Some(conn) = self.fit(conn) else { return Ok(false) };
                self.db.gate.count_allowed();
                self.note_message_kept_out(Fate::Allowed);
                self.lease = Lease::Allowed { conn };
                Ok(true)
            }
            // A session's own will be so for longer than the maintenance: of the kind that can be opened again.
            _ if self.account.pool_mode() == PoolMode::Session || pool.guards_in_place() => {
                self.take_in_place(&pool, deadline).await
            }
            _ => self.take_guarded_primary(&pool, deadline).await,
        }
    }

    async fn take_to_write(&mut self, pool: &Arc<Pool>, deadline: Instant) -> Result<bool, Denied> {
        let wanted = self.bindings.wanted_server();
        let wish = wanted.map_or_else(|| self.checkout.identity.wish(), ServerPreference::Waits);
        let idle = match wish {
            ServerPreference::Any => pool.try_take(self.core.index),
            ServerPreference::Rather(id) => Box::pin(self.take_certain(pool, id, 0, deadline)).await?,
            ServerPreference::Waits(id) => Box::pin(self.take_certain(pool, id, TRIES, deadline)).await?,
            ServerPreference::Unnamed => Some(Box::pin(self.take_to_signal(pool, deadline)).await?),
        };
        let conn: Conn<Unguarded> = match idle {
            Some(conn) => conn,
            None => self.take_in_turn(pool, deadline).await?,
        };
        let Some(conn) = self.fit(conn) else { return Ok(false) };
        let Some(ticket) = self.enter_gate() else {
            drop_unwanted(conn);
            return Ok(false);
        };
        self.lease = Lease::Write { conn, ticket };
        self.me.write_capable.set(true);
        Ok(true)
    }

    async fn take_guarded_primary(&mut self, pool: &Arc<Pool>, deadline: Instant) -> Result<bool, Denied> {
        let mut conn = self.take_guarded(pool, deadline).await?;
        if conn.server().in_recovery == Some(true) {
            // It was the primary, and has come back as something else.
            pool.watch().look_now();
            conn.close();
            self.waiting(tokio::time::sleep(PAUSE), deadline).await?;
            return Ok(false);
        }
        if !self.db.gate.state().mode.reports_read_only() {
            // The gate opened while this waited: what came to write may write.
            give_back(conn.into());
            return Ok(false);
        }
        self.lease = Lease::Guarded { conn, replica: None, maintenance: true };
        Ok(true)
    }
}
