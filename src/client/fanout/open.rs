//! Who may fan out, to which servers, and the connections for it.

use super::leftover::settle;
use super::side::{Failure, Side, hear_out, with_rows};
use super::unit::{Reconnect, Sides};
use crate::client::Session;
use crate::client::checkout::acquire::Denied;
use crate::client::checkout::lease::Lease;
use crate::protocol::{Report, TxStatus};
use crate::server::Pool;
use crate::sql::own_statements::fanout as sql;
use crate::topology::Role;
use std::sync::Arc;

/// How connections of a fan-out are opened.
pub(super) struct Opener {
    core: usize,
    reserved: usize,
    startup: Arc<[(String, String)]>,
}

impl Opener {
    async fn open(&self, name: String, pool: Arc<Pool>) -> Result<Side, String> {
        let opened = pool.open_reserved(self.core, self.reserved, &self.startup).await;
        opened.map(|conn| Side::new(name, pool, conn)).map_err(|error| error.to_string())
    }
}

impl Reconnect for Opener {
    async fn reconnect(&self, side: &mut Side) -> Result<(), String> {
        let opened = side.pool.open_reserved(self.core, self.reserved, &self.startup).await;
        side.replace(opened.map_err(|error| error.to_string())?);
        Ok(())
    }
}

impl Session {
    /// Opens the connections, with the session's settings, and settles what earlier units have left. Also returns what the client should be told.
    ///
    /// # Errors
    /// Why there is no fan-out.
    pub(super) async fn open_fan_out(&mut self) -> Result<(Sides, Opener, Vec<Report>), Report> {
        let setup = self.db.setup();
        let cluster = &setup.cluster;
        if !cluster.has_several_primaries() {
            let text = format!("cluster \"{}\" has one primary: there is nothing to fan out to", cluster.name);
            let hint = "multi_primary = true in its table says that several servers take writes.".to_owned();
            return Err(Report::error("55000", text).with_hint(Some(hint)));
        }
        let first = self.lease.peek_server().map(|server| server.permit.pool().upstream).unwrap_or_default();
        let mut order: Vec<usize> = (0..cluster.upstreams.len()).filter(|at| *at != first).collect();
        order.insert(0, first);
        let opener = Opener {
            core: self.core.index,
            reserved: self.core.setup().config.pooling.operator_reserved as usize,
            startup: self.account.startup_parameters(),
        };
        let mut all = Vec::with_capacity(order.len());
        for at in order {
            let Some(upstream) = cluster.upstreams.get(at) else { continue };
            let name = upstream.address.to_string();
            if upstream.role() == Role::Replica {
                continue;
            }
            let unreachable = |why: String| {
                let text = format!("server {name} cannot be reached: a fan-out goes to all servers or to none");
                Report::error("55000", text).with_detail(Some(why))
            };
            if upstream.role() != Role::Primary {
                return Err(unreachable(upstream.error()));
            }
            let pool = self.pool(at).map_err(|denied| match denied {
                Denied::Refused(report) => *report,
                Denied::Asked | Denied::End(_) => Report::error("57P01", "the proxy is shutting down"),
            })?;
            all.push(opener.open(name.clone(), pool).await.map_err(unreachable)?);
        }
        let failed = |(failure, name): (Failure, String)| {
            Report::error("55000", format!("no fan-out: {name} refuses")).with_detail(Some(failure.summary()))
        };
        self.bring_settings_to_sides(&mut all).await.map_err(failed)?;
        let mut two_phase = true;
        for side in &mut all {
            let locked = side.ask(sql::LOCK).await.map_err(|failure| failed((failure, side.name.clone())))?;
            if locked.value().as_deref() != Some("t") {
                return Err(Report::error("55006", format!("another session fans out to {}", side.name)));
            }
            let most = side.ask(sql::MOST_PREPARED).await.map_err(|failure| failed((failure, side.name.clone())))?;
            two_phase &= most.value().is_some_and(|most| most != "0");
        }
        let mut told = settle(&mut all).await.map_err(failed)?;
        if !two_phase {
            let text = "max_prepared_transactions is 0 on a server: units are committed on one after the other";
            told.push(Report::warning("01000", text));
        }
        Ok((Sides { all, two_phase, status: TxStatus::Idle }, opener, told))
    }

    /// Makes the session's settings on the connections.
    async fn bring_settings_to_sides(&mut self, all: &mut [Side]) -> Result<(), (Failure, String)> {
        let Lease::Operator { conn, .. } = &mut self.lease else { return Ok(()) };
        let told = hear_out(&mut conn.server().stream, &mut Vec::new(), sql::SET_HERE.as_bytes()).await;
        let rows = with_rows(told).map_err(|failure| (failure, "the session's own server".to_owned()))?.rows;
        for side in all {
            for row in &rows {
                if let [Some(name), Some(value)] = &**row {
                    side.ask(&sql::set(name, value)).await.map_err(|failure| (failure, side.name.clone()))?;
                }
            }
        }
        Ok(())
    }
}
