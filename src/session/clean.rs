//! Reads in maintenance that are known to write nothing: they pass as they do with the gate open.
//!
//! What is known comes of the database's catalog. It counts once the drain is over, and as long as nothing that may have changed
//! the catalog has passed through here since it was read. Such a read runs on a guarded connection all the same, but nothing is put
//! around it, its transaction is not asked whether it has written, and what follows need not wait for its answer.

use super::Session;
use super::identity::Wish as ServerWish;
use super::lease::{InPlaceGuard, Lease};
use super::tenure::give_back;
use super::wrapped::Around;
use crate::config::PoolMode;
use crate::gate::{Mode, Reads as MaintenanceReads};
use crate::hub::Statement as Prepared;
use crate::hub::knowledge::Knowledge;
use crate::route::{Nature, Route, Wish};
use crate::sql::cache::Cached;
use crate::sql::{LexContext, Statement};
use crate::upstream::Guarded;
use crate::wire::TxStatus;

impl Session {
    /// Whether the only statement of a text, with parameters of these types (four bytes each), is known to write nothing.
    pub(super) fn is_clean(&self, cached: &Cached, context: LexContext, parameters: &[u8]) -> bool {
        let catalog = &self.db.catalog;
        if !catalog.is_current() || !matches!(self.db.gate.state().mode, Mode::ReadOnly { .. }) {
            return false;
        }
        match &**catalog.known() {
            Knowledge::Known(unseen) => {
                let setup = self.core.hub.setup.load();
                unseen.is_text_clean(&setup.analyzer, cached, context, parameters)
            }
            Knowledge::Pending | Knowledge::Unknown(_) => false,
        }
    }

    /// The same of a prepared statement.
    pub(super) fn is_clean_prepared(&self, prepared: &Prepared) -> bool {
        self.is_clean(&prepared.cached, prepared.context(), &prepared.oids)
    }

    /// Whether the connection that there is serves clean reads on the primary in maintenance.
    pub(super) fn serves_clean(&self) -> bool {
        match &self.lease {
            Lease::Guarded { replica: None, maintenance: true, .. } => true,
            Lease::InPlace { conn, guard: InPlaceGuard::Up } => conn.is_read_only_by_default(),
            _ => false,
        }
    }

    /// Notes what a prepared statement may do in the open transaction; `planned`: it is bound, and perhaps never run.
    pub(super) fn note_doubt_of(&mut self, prepared: &Prepared, planned: bool) {
        if self.must_prove() && !self.is_clean_prepared(prepared) {
            let first: Option<&Statement> = prepared.cached.analysis.statements.first();
            self.note_doubt(first, planned);
        }
    }

    /// Whether that read may be sent at once, over the connection that there is.
    pub(super) fn may_pass_clean(&self, cached: &Cached, context: LexContext, parameters: &[u8]) -> bool {
        let flow = &self.flow;
        let quiet = !flow.batch && !flow.copy_in && flow.around == Around::Nothing && flow.status != TxStatus::Failed;
        quiet
            && self.serves_clean()
            && !self.must_hold_back()
            && !self.was_held()
            && !self.has_to_begin()
            && !self.holding.cancelled
            && self.is_clean(cached, context, parameters)
    }

    /// Whether clean reads are under way that a message has to wait for which is none.
    pub(super) fn awaits_clean(&self) -> bool {
        self.flow.clean_alone && self.flow.readies > 0 && self.lease.in_maintenance()
    }

    /// Takes a guarded connection to the primary that can be had without waiting, with the gate closed. False: nothing has happened.
    pub(super) fn acquire_guarded_now(&mut self, nature: Nature) -> bool {
        let core = self.core.index;
        let state = self.db.gate.state();
        let plain = self.lease.is_none() && !self.me.operator && !self.manner.fresh && !self.db.is_paused();
        let any = self.sequences.wanted().is_none() && self.identity.wish() == ServerWish::Any;
        let pending = matches!(&**self.db.catalog.known(), Knowledge::Pending);
        if !plain || !any || pending || self.manner.pool_mode == PoolMode::Session || !matches!(state.mode, Mode::ReadOnly { .. }) {
            return false;
        }
        let taken = {
            let view = self.db.gate.view();
            let maintenance_reads = view.switches.in_force().map_or_else(MaintenanceReads::default, |terms| terms.reads);
            let quiesced = view.quiesced.and_then(|quiesced| quiesced.lsn);
            let Some((cluster, pools)) = self.known_pools() else { return false };
            let wish = Wish { state, reads: self.manner.reads, maintenance_reads, quiesced, cluster, avoid: self.avoid };
            if wish.route(nature) != Route::GuardedPrimary {
                return false;
            }
            let pool = cluster.primary().and_then(|at| pools.get(at)?.as_ref());
            pool.and_then(|pool| pool.try_take::<Guarded>(core))
        };
        let Some(conn) = taken else { return false };
        if self.db.gate.state() != state {
            // What came to write may write now.
            give_back(conn.into());
            return false;
        }
        self.lease = Lease::Guarded { conn, replica: None, maintenance: true };
        if let Some(stats) = self.db.stats.of(core) {
            stats.assignments.add(1);
        }
        self.holding.cancelled = false;
        self.settle_down();
        self.begin_lease();
        self.begin_anew();
        true
    }
}
