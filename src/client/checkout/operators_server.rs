//! The server connection of an operator's session: its own from the start, to the primary, and never given to anybody else.

use std::time::Instant;

use super::acquire::{Denied, LOOK_AGAIN, TRY_AGAIN, denied, short, shutting_down};
use super::lease::{InPlaceGuard, Lease};
use crate::client::Session;
use crate::client::state::pins::Pin;
use crate::server::AcquireError;
use crate::shared::client::Aim;
use crate::topology::Leader;

impl Session {
    /// Opens the connection of an operator's session, on the cluster that it has chosen or where the clients are.
    pub(super) async fn take_operator(&mut self, deadline: Instant) -> Result<(), Denied> {
        loop {
            let chosen = self.chosen_setup().map_err(Denied::refused)?;
            let setup = chosen.clone().unwrap_or_else(|| self.db.setup());
            let leader = setup.cluster.leader();
            let at = match leader {
                Leader::One(at) | Leader::Contested(at) => at,
                Leader::None => {
                    self.me.aim.set(Aim::Any);
                    let mut changes = setup.cluster.changes();
                    let wait = async move { _ = tokio::time::timeout(LOOK_AGAIN, changes.changed()).await };
                    self.waiting(wait, deadline).await?;
                    continue;
                }
            };
            let contested = setup.cluster.is_contested();
            self.me.aim.set(if contested { Aim::Contested(short(at)) } else { Aim::Primary(short(at)) });
            let pool = match chosen {
                Some(chosen) => self
                    .db
                    .side_pool(&chosen, self.account.user(), at, self.account.credential())
                    .ok_or_else(shutting_down)?,
                None => self.pool(at)?,
            };
            let core = self.core.index;
            let reserved = self.core.setup().config.pooling.operator_reserved as usize;
            // Its connection is its own: opened with its start-up packet, and never given to anybody else.
            let asked = self.account.startup_parameters();
            let taken = async move { pool.open_reserved(core, reserved, &asked).await };
            let conn = match self.waiting(taken, deadline).await? {
                Ok(conn) => conn,
                // It starts, stops or is not the primary any more: that is known in a moment.
                Err(AcquireError::Login(error)) if error.is_transient() && !error.is_refusal() => {
                    self.waiting(tokio::time::sleep(TRY_AGAIN), deadline).await?;
                    continue;
                }
                Err(error) => return Err(denied(&error)),
            };
            if conn.peek().permit.pool().has_turned_since(conn.peek()) {
                conn.close();
                continue;
            }
            self.lease = if contested {
                // An operator may look.
                let mut conn = conn.arm();
                conn.server().default_read_only = Some(false);
                Lease::InPlace { conn, guard: InPlaceGuard::Up }
            } else {
                Lease::Operator { conn, changes: None }
            };
            self.bindings.pin(Pin::SessionMode);
            return Ok(());
        }
    }
}
