//! Statements of the maintenance on connections that may write, where no others can be opened: they are guarded in place, for a session
//! of its own or for one transaction.

use std::sync::Arc;
use std::time::Instant;

use crate::client::Session;
use crate::client::checkout::acquire::{Denied, denied};
use crate::client::checkout::lease::{InPlaceGuard, Lease};
use crate::client::checkout::sync_settings::give_back;
use crate::client::errors;
use crate::protocol::Report;
use crate::server::{Conn, Pool, Unguarded};

impl Session {
    /// Takes one that may write and guards it in place. False: the choice has to be made again.
    pub(in crate::client) async fn take_in_place(
        &mut self,
        pool: &Arc<Pool>,
        deadline: Instant,
    ) -> Result<bool, Denied> {
        let (taker, core) = (pool.clone(), self.core.index);
        let taken = async move { taker.take::<Unguarded>(core, deadline).await };
        let conn = self.waiting(taken, deadline).await?.map_err(|error| denied(&error))?;
        let barred = pool.is_barred();
        if barred && !self.db.gate.state().mode.reports_read_only() {
            // The gate opened while this waited: what came to write may write.
            give_back(conn.into());
            return Ok(false);
        }
        let Some(conn) = (if barred { Some(conn) } else { self.fit(conn) }) else { return Ok(false) };
        let mut conn = conn.arm();
        conn.server().default_read_only = Some(false);
        self.lease = Lease::InPlace { conn, guard: InPlaceGuard::Up };
        Ok(true)
    }
}

/// The gate closed meanwhile: this kind of connection is not wanted any more, unless none can be opened in its place.
pub(in crate::client) fn drop_unwanted(mut conn: Conn<Unguarded>) {
    if conn.server().permit.pool().is_barred() { give_back(conn.into()) } else { conn.close() }
}

/// No log-in while the gate is closed, for a role that has no server connection.
pub(in crate::client) fn barred() -> Report {
    let detail = "A login event trigger of the database may write, and no server connection of this role is open.";
    let hint = "ALTER ROLE ... SET event_triggers = off lets the role log in without it.";
    let report = errors::read_only("cannot log in to the database while nothing may be written");
    report.with_detail(Some(detail.to_owned())).with_hint(Some(hint.to_owned()))
}

/// No connection that may write, since the lease in the fleet is over; the gate is about to close.
pub(in crate::client) fn fleet_lost() -> Report {
    let report = errors::read_only("cannot write in a read-only transaction");
    report.with_detail(Some("This proxy cannot reach the fleet.".to_owned()))
}
