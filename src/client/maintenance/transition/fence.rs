//! Fencing: at a flip, an open transaction that has written nothing is made READ ONLY in its middle, and need not be waited for.
//!
//! Between two statements the server is asked for the transaction's id. A transaction without one has written nothing; with the
//! same statement it becomes READ ONLY, which nothing can lift once a snapshot is taken, and goes on as one that is guarded in
//! place. With an id it may finish; so may one within a savepoint, whose end would undo the setting: it is asked again when
//! the savepoint is gone. So may one that has declared a cursor WITH HOLD, whose query runs within COMMIT, or one that fetches with
//! row locks, and one that may have written elsewhere: on a foreign table, or by a function that nobody knows.
//!
//! A transaction that is READ ONLY for good need not be asked: it is not waited for, whatever it runs. A batch in which nothing
//! was bound yet has begun a transaction that has done nothing: it is ended by a Sync of ours, which the client does not see.

use std::rc::Rc;

use super::abort_open_transaction;
use super::closing::Closing;
use super::transaction_history::Unjudged;
use super::what_ran::Ran;
use crate::client::checkout::lease::{InPlaceGuard, Lease};
use crate::client::conversation::pending_replies::{PendingReply, Request, Visibility};
use crate::client::{End, Session};
use crate::gate::{DrainTo, Mode};
use crate::protocol::{TxStatus, frontend};
use crate::shared::Phase;
use crate::shared::maintenance::catalog_state::CatalogState;
use crate::sql::cache::verdicts::Cached;
use crate::sql::hidden_writers::StatementReading;
use crate::sql::own_statements::transaction::{ARM, FENCE, FENCE_EARLY, FENCE_WITHOUT_CURSORS};
use crate::sql::{CopyDirection, Kind, LexContext, SessionEffect, Statement};

/// How far it has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fencing {
    /// Nothing was asked.
    #[default]
    No,
    /// The question is on its way: nothing may overtake it.
    Asked,
    /// Nothing was written and nothing can be.
    Fenced,
    /// It has written, and may finish.
    Written,
}

impl Session {
    /// Asks, if the gate is closing, a transaction that may write is open, and nothing of it is under way.
    pub(in crate::client) fn fence_if_due(&mut self) {
        let open = matches!(self.conversation.status(), TxStatus::Block | TxStatus::Failed)
            || self.conversation.batch().is_open();
        if !open || !matches!(self.lease, Lease::Write { .. }) || self.conversation.transaction().fencing != Fencing::No
        {
            return;
        }
        let due = match self.gate_of_lease().state().mode {
            Mode::Draining { to: DrainTo::ReadOnly { .. } } => true,
            Mode::ReadOnly { .. } => self.is_fleet_lost(),
            _ => false,
        };
        if due {
            self.fence_or_end();
        }
    }

    #[cold]
    pub(super) fn fence_or_end(&mut self) {
        if self.runs_read_only_for_good() {
            self.fenced();
            return;
        }
        if self.has_only_parsed() {
            self.end_idle_batch();
            return;
        }
        if self.conversation.status() == TxStatus::Idle {
            return;
        }
        let quiet = self.conversation.replies().is_empty()
            && !self.conversation.batch().is_open()
            && !self.io.requests().is_within_message()
            && !self.io.replies().is_within_message()
            && self.maintenance.breaking == abort_open_transaction::AbortProgress::No;
        if !quiet
            || self.conversation.transaction().history.in_savepoint()
            || self.conversation.transaction().history.holds()
        {
            return;
        }
        if self.conversation.transaction().history.is_read_only_for_good()
            && self.conversation.status() == TxStatus::Block
            && self.ran_clean()
        {
            self.fenced();
            return;
        }
        if self.conversation.status() == TxStatus::Block && self.may_have_reached_out() {
            return;
        }
        if self.conversation.status() == TxStatus::Failed {
            // It will be rolled back whatever comes; the client has had its error.
            self.maintenance.breaking =
                abort_open_transaction::AbortProgress::of_failed(true, self.conversation.transaction().history.ran());
            self.break_off_if_quiet();
            return;
        }
        self.conversation.transaction_mut().fencing = Fencing::Asked;
        if self.conversation.transaction().history.queried() {
            let text = if self.distrusts_cursors() { FENCE_WITHOUT_CURSORS } else { FENCE };
            self.ask_fence(text);
        } else {
            self.ask_fence(ARM);
            self.ask_fence(FENCE_EARLY);
        }
    }

    /// In a block, ReadyForQuery has come: it may be another one than before. One that could write is asked about anew. One behind
    /// a fenced one that has failed has lost its READ ONLY: PostgreSQL took it back with the rest. It becomes so again before
    /// anything else is sent.
    pub(in crate::client) fn follow_into_next(&mut self) -> Result<(), End> {
        let quiet = self.conversation.replies().is_empty() && self.conversation.message().split().is_empty();
        let in_block = self.conversation.status() == TxStatus::Block;
        match self.lease {
            Lease::Write { .. } if quiet && self.conversation.transaction_mut().history.goes_on() => {
                self.conversation.transaction_mut().fencing = Fencing::No;
                return self.end_if_offline();
            }
            Lease::InPlace { guard: InPlaceGuard::Due, .. }
                if in_block && self.conversation.transaction_mut().history.goes_on() =>
            {
                self.own_messages().hiding(Visibility::Hidden).query(FENCE_EARLY);
            }
            _ => {}
        }
        Ok(())
    }

    fn ask_fence(&mut self, text: &str) {
        if text == ARM
            && let Some(server) = self.lease.server()
        {
            server.read_only_set = Some(true);
        }
        frontend::write_query(self.io.for_server(), text.as_bytes());
        self.expect(PendingReply::hidden(Request::Fence, Visibility::Hidden));
    }

    /// The server has executed the question: `tag` says what it found.
    pub(in crate::client) fn answered_fence(&mut self, tag: &[u8]) {
        self.conversation.transaction_mut().fencing = match tag {
            b"SELECT 1\0" | b"SET\0" => Fencing::Fenced,
            _ => Fencing::Written,
        };
    }

    /// Everything is answered: a transaction that was fenced gives its ticket back. One that our question broke (the client has
    /// cancelled it, say) is broken off.
    pub(in crate::client) fn note_fence(&mut self) {
        if !self.conversation.replies().is_empty() || self.conversation.transaction().fencing == Fencing::No {
            return;
        }
        match self.conversation.transaction().fencing {
            // Others may soon count this proxy as gone: nothing is waited for.
            Fencing::Written if self.is_fleet_lost() => self.break_off_written(),
            Fencing::Asked | Fencing::Fenced if self.conversation.status() == TxStatus::Failed => {
                self.conversation.transaction_mut().fencing = Fencing::Written;
                self.maintenance.breaking = abort_open_transaction::AbortProgress::of_failed(
                    false,
                    self.conversation.transaction().history.ran(),
                );
            }
            // The server has reported its new default, where it reports it at all.
            Fencing::Fenced if self.conversation.status() == TxStatus::Block => self.fenced(),
            _ => {}
        }
    }

    /// The open transaction cannot write any more: it gives its ticket back, and its connection is guarded in place.
    fn fenced(&mut self) {
        match self.lease.take() {
            Lease::Write { conn, ticket } => {
                self.lease = Lease::InPlace { conn: conn.arm(), guard: InPlaceGuard::Due };
                self.conversation.transaction_mut().closing = Closing::No;
                self.note_doubt(None);
                self.me.write_capable.set(false);
                self.gate_of_lease().count_fenced();
                self.checkout.keep_lane(ticket.leave());
            }
            other => self.lease = other,
        }
    }

    /// Whether what ran in the transaction may have written where this server knows nothing of it, as far as the catalog tells.
    fn may_have_reached_out(&self) -> bool {
        self.conversation.transaction().history.ran() > Ran::Reads && self.distrusts_cursors()
    }

    /// Notes a text that is sent.
    #[inline(always)]
    pub(in crate::client) fn note_sent(&mut self, cached: &Rc<Cached>, context: LexContext) {
        self.conversation.transaction_mut().history.sends(cached);
        self.note_hidden_writes(cached, context);
        self.note_read_only_text(cached, context);
    }

    /// What reads by its text may write by what it names.
    #[inline(always)]
    pub(in crate::client) fn note_hidden_writes(&mut self, cached: &Cached, context: LexContext) {
        if self.checkout.follows_writes() && self.db.catalog.routes() && self.needs_primary(cached, context) {
            self.conversation.transaction_mut().history.may_have_written();
        }
    }

    /// Notes what runs in a READ ONLY block, unless it is known to be clean.
    #[inline(always)]
    pub(in crate::client) fn note_read_only_text(&mut self, cached: &Rc<Cached>, context: LexContext) {
        if self.conversation.transaction().history.keeps_texts() {
            self.keep_unless_clean(cached, context);
        }
    }

    #[cold]
    fn keep_unless_clean(&mut self, cached: &Rc<Cached>, context: LexContext) {
        if matches!(self.lease, Lease::Write { .. }) && !self.is_known_clean(cached, context) {
            self.conversation.transaction_mut().history.keep_text(cached, context);
        }
    }

    /// Whether nothing that the text names is volatile, or not known, for the last reading of the catalog.
    fn is_known_clean(&self, cached: &Cached, context: LexContext) -> bool {
        let reads = |one: &Statement| match &one.kind {
            Kind::Transaction(_) => true,
            Kind::Read | Kind::Copy(CopyDirection::ToClient) => !one.contained,
            _ => false,
        };
        let statements = &cached.analysis.statements;
        self.db.catalog.reading().number != 0
            && !cached.analysis.ambiguous
            && statements.iter().all(|one| !one.refusal.is_ours() && reads(one))
            && !self.needs_primary(cached, context)
    }

    /// Whether nothing that ran in a READ ONLY block leads to an unseen writer, as the catalog is now.
    fn ran_clean(&self) -> bool {
        let known = self.db.catalog.known();
        let CatalogState::Known(unseen) = &**known else { return false };
        if unseen.is_empty_for(self.account.user()) {
            return true;
        }
        let texts = match self.conversation.transaction().history.unjudged() {
            None => return true,
            Some(Unjudged::Unknown) => return false,
            Some(Unjudged::Texts(texts, _)) => texts,
        };
        let analyzer = self.core.proxy.setup.load().analyzer.clone();
        let clean = |cached: &Cached, context, one: &Statement| {
            let by_name = |effect: &SessionEffect| matches!(effect, SessionEffect::Execute(_) | SessionEffect::Unknown);
            !one.refusal.is_ours()
                && !one.effects.iter().any(by_name)
                && unseen
                    .find(&StatementReading::new(&analyzer, &cached.text, context, one), self.account.user())
                    .is_none()
        };
        texts.iter().all(|(cached, context)| cached.analysis.statements.iter().all(|one| clean(cached, *context, one)))
    }

    /// Whether the block is READ ONLY for good, with something under way that is nothing but a part of it. Where something that
    /// ran in it leads to what writes unseen, or may, it is waited for.
    fn runs_read_only_for_good(&self) -> bool {
        let conversation = &self.conversation;
        let busy = conversation.status() == TxStatus::Block
            && !conversation.replies().is_empty()
            && self.maintenance.breaking == abort_open_transaction::AbortProgress::No;
        busy && conversation.transaction().history.is_read_only_for_good()
            && !conversation.transaction().history.holds()
            && !conversation.in_copy()
            && conversation.message().split().is_empty()
            && conversation.replies().iter().all(belongs_to_block)
            && self.ran_clean()
    }

    /// Whether the client's batch has not got beyond Parse, Describe and Close.
    fn has_only_parsed(&self) -> bool {
        let conversation = &self.conversation;
        let harmless = |one: &PendingReply| {
            matches!(
                one.request(),
                Request::Parse(_)
                    | Request::OwnParse
                    | Request::Describe(Some(_))
                    | Request::Close(_)
                    | Request::Local(_)
            )
        };
        conversation.batch().is_open()
            && !conversation.batch().is_bound()
            && !conversation.batch().skips()
            && conversation.names().is_plain()
            && !self.io.requests().is_within_message()
            && self.maintenance.breaking == abort_open_transaction::AbortProgress::No
            && conversation.replies().iter().all(harmless)
    }

    /// Ends a batch in which nothing ran. What it prepared is known, and stands wherever the client goes on.
    fn end_idle_batch(&mut self) {
        self.own_messages().hiding(Visibility::Hidden).sync();
        self.conversation.batch_mut().end();
        if self.conversation.status() == TxStatus::Idle {
            self.me.transaction_since.set(None);
            self.me.enter(Phase::Idle);
        }
    }
}

/// Whether an answer is owed for what cannot end the block that it runs in.
fn belongs_to_block(expected: &PendingReply) -> bool {
    let stays = |cached: &Cached| {
        let ends = |one: &Statement| matches!(one.kind, Kind::Transaction(_) | Kind::Unknown);
        !cached.analysis.ambiguous && !cached.analysis.statements.iter().any(ends)
    };
    match expected.request() {
        Request::Query(Some(cached)) => stays(cached),
        Request::Execute(Some(statement)) => stays(&statement.cached),
        Request::Parse(_)
        | Request::OwnParse
        | Request::Bind(_)
        | Request::Describe(_)
        | Request::Shape
        | Request::Close(_) => true,
        Request::Sync | Request::Local(_) | Request::Parameters => true,
        _ => false,
    }
}
