//! Reads in maintenance that are known to write nothing: they pass as they do with the gate open.
//!
//! Such a read runs on a guarded connection all the same, so that the server refuses what it refuses in any READ ONLY transaction.
//! What [`crate::client::maintenance::check::write_check`] would ask behind it is only whether something has written that the server lets through: large objects,
//! ANALYZE out of a function and their like. That needs no answer where all of this holds:
//!
//! - *The text is a plain query*, read in one way only, that locks no rows and has no effect on the session. Whatever it could come to,
//!   under any search_path and for any role, is a function, operator, cast, type or relation that leads to nothing but queries, to the
//!   end of all chains ([`HiddenWriters::is_text_clean`](crate::sql::hidden_writers::HiddenWriters::is_text_clean)). A name that the catalog did not have when
//!   it was read, and that is not PostgreSQL's own, is not clean. So settings, roles and temporary objects of the session change
//!   nothing, nor does whether the server counts changes (`track_counts`): nothing is counted.
//! - *The drain is over*, so that no client's transaction is left that could commit DDL: until then there is no `Mode::ReadOnly`, and the
//!   catalog is read once more between the two.
//! - *What is known of the catalog is current* ([`crate::shared::maintenance::catalog_changes`]). Operators are the only ones who change it from then
//!   on: from before anything of theirs is sent that is no plain read until it is answered nothing passes, nor until the catalog has
//!   been read behind that, under whatever name of the database they came. What is changed past this proxy is looked for ten times a
//!   second (`proxy/maintenance/catalog.rs`), and if the server does not say within a second that nothing was, nothing passes.
//! - *It was read from the primary that there is now*. A replica that is promoted, and an old primary that comes back, have to be
//!   read first; while two servers claim to be it there is none.
//!
//! What is asked instead of nothing covers all that it can: a batch of the extended protocol is asked once, at its Sync, and a block
//! once, at its COMMIT; clean statements in them add nothing to the doubt.
//!
//! What is left: a read that has begun before the change goes on as it is, and may come across what was changed in its middle, as
//! in any READ ONLY transaction of PostgreSQL's; and what somebody changes past this proxy counts up to a tenth of a second late,
//! with many closed databases up to a second.

use crate::client::Session;
use crate::client::checkout::backend_pid::ServerPreference;
use crate::client::checkout::lease::{InPlaceGuard, Lease};
use crate::client::checkout::sync_settings::give_back;
use crate::client::maintenance::read_only_block::EnclosingBlock;
use crate::config::PoolMode;
use crate::gate::Mode;
use crate::protocol::TxStatus;
use crate::routing::{Route, TransactionClass};
use crate::server::Guarded;
use crate::shared::Statement as Prepared;
use crate::shared::maintenance::catalog_state::CatalogState;
use crate::sql::cache::verdicts::Cached;
use crate::sql::hidden_writers::{HiddenWriters, StatementReading};
use crate::sql::{Analyzer, LexContext};

impl Session {
    /// Whether the only statement of a text, with parameters of these types (four bytes each), is known to write nothing.
    pub(in crate::client) fn is_clean(&self, cached: &Cached, context: LexContext, parameters: &[u8]) -> bool {
        self.catalog_shows(|unseen, analyzer| unseen.is_text_clean(analyzer, cached, context, parameters))
    }

    /// Asks what is known of the catalog, if that is current.
    fn catalog_shows(&self, shows: impl FnOnce(&HiddenWriters, &Analyzer) -> bool) -> bool {
        let catalog = &self.db.catalog;
        if !matches!(self.db.gate.state().mode, Mode::ReadOnly { .. }) {
            return false;
        }
        let primary = self.db.peek_setup().cluster.primary();
        if !catalog.changes.is_current(primary) {
            return false;
        }
        match &**catalog.known() {
            CatalogState::Known(unseen) => shows(unseen, &self.core.proxy.setup.load().analyzer),
            CatalogState::Pending | CatalogState::Unknown(_) => false,
        }
    }

    /// Whether a CALL or DO, with parameters of these types, may end its own transaction: the server stops whatever it writes, also in
    /// the transactions that it begins, and nobody has to be asked.
    fn is_stopped(&self, cached: &Cached, context: LexContext, parameters: &[u8]) -> bool {
        let Some(one) = cached.analysis.single().filter(|one| one.contained && !cached.analysis.ambiguous) else {
            return false;
        };
        self.serves_clean()
            && self.catalog_shows(|unseen, analyzer| {
                unseen.may_end_transaction(&StatementReading::new(analyzer, &cached.text, context, one), parameters)
            })
    }

    /// The same, where it is about to run: in no block, with nothing before it in its transaction that has to be asked about.
    pub(in crate::client) fn may_end_its_transaction(
        &self,
        cached: &Cached,
        context: LexContext,
        parameters: &[u8],
    ) -> bool {
        self.is_outside_blocks()
            && !self.conversation.transaction().doubt.is_any()
            && self.is_stopped(cached, context, parameters)
    }

    /// The same of a prepared statement.
    pub(in crate::client) fn is_clean_prepared(&self, prepared: &Prepared) -> bool {
        self.is_clean(&prepared.cached, prepared.context(), &prepared.oids)
    }

    /// Whether the connection that there is serves clean reads on the primary in maintenance.
    pub(in crate::client) fn serves_clean(&self) -> bool {
        match &self.lease {
            Lease::Guarded { replica: None, maintenance: true, .. } => true,
            Lease::InPlace { conn, guard: InPlaceGuard::Up } => conn.is_read_only_by_default(),
            _ => false,
        }
    }

    /// Notes what a prepared statement may do in the open transaction.
    pub(in crate::client) fn note_doubt_of(&mut self, prepared: &Prepared) {
        let stopped = || self.is_stopped(&prepared.cached, prepared.context(), &prepared.oids);
        if self.must_prove() && !self.is_clean_prepared(prepared) && !stopped() {
            self.note_doubt(prepared.cached.analysis.statements.first());
        }
    }

    /// Whether that read may be sent at once, over the connection that there is.
    pub(in crate::client) fn may_pass_clean(&self, cached: &Cached, context: LexContext, parameters: &[u8]) -> bool {
        let conversation = &self.conversation;
        let quiet = !conversation.batch().is_open()
            && !conversation.in_copy()
            && conversation.transaction().enclosing_block == EnclosingBlock::None
            && conversation.status() != TxStatus::Failed;
        quiet
            && self.serves_clean()
            && !self.must_await_reply()
            && !self.was_held()
            && !self.has_to_begin()
            && !self.maintenance.holding.cancelled
            && !(self.is_between_transactions() && self.goes_offline())
            && self.is_clean(cached, context, parameters)
    }

    /// Whether clean reads are under way that a message has to wait for which is none.
    pub(in crate::client) fn awaits_clean(&self) -> bool {
        self.conversation.replies().are_clean_reads() && self.lease.in_maintenance()
    }

    /// Takes a guarded connection to the primary that can be had without waiting, with the gate closed. False: nothing has happened.
    pub(in crate::client) fn acquire_guarded_now(&mut self, nature: TransactionClass) -> bool {
        let core = self.core.index;
        let state = self.db.gate.state();
        let plain = self.lease.is_none() && !self.me.operator && !self.account.fresh() && !self.db.is_paused();
        let any = self.bindings.wanted_server().is_none() && self.checkout.server_wish() == ServerPreference::Any;
        let pending = matches!(&**self.db.catalog.known(), CatalogState::Pending);
        if !plain
            || !any
            || pending
            || self.account.pool_mode() == PoolMode::Session
            || !matches!(state.mode, Mode::ReadOnly { .. })
        {
            return false;
        }
        let taken = {
            let Some((setup, pools)) = self.known_pools() else { return false };
            let cluster = &setup.cluster;
            if self.wish(setup, self.checkout.avoided()).route(nature) != Route::GuardedPrimary {
                return false;
            }
            let pool = cluster.primary().and_then(|at| pools.get(at)?.as_ref());
            pool.and_then(|pool| pool.try_take::<Guarded>(core))
        };
        let Some(mut conn) = taken else { return false };
        if self.db.gate.state() != state || conn.server().in_recovery == Some(true) {
            // The gate has opened, or the server has come back as something else: whoever waits for one sees to that.
            give_back(conn.into());
            return false;
        }
        self.lease = Lease::Guarded { conn, replica: None, maintenance: true };
        self.begin_at_once();
        true
    }
}
