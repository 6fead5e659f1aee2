//! Messages on a guarded server connection in maintenance.
//!
//! The server refuses writes as long as each transaction starts READ ONLY. What could change that is kept apart: one
//! ReadyForQuery is awaited before the next message goes out, since with it the server reports a guard that fell; a message
//! that ends its transaction in its middle is sent in parts; CALL and DO, which could end theirs from inside, run within
//! an explicit READ ONLY block, where PostgreSQL forbids that (2D000), unless the catalog shows that they do no harm without one.

use std::rc::Rc;

use super::check::write_check::PossibleWrites;
use super::query_split::Part;
use super::read_only_block::WRAPPER;
use super::transition::abort_open_transaction::AbortProgress;
use super::transition::closing::Closing;
use super::transition::fence::Fencing;
use crate::client::checkout::lease::{InPlaceGuard, Lease};
use crate::client::conversation::client_messages::Progress;
use crate::client::conversation::pending_replies::{PendingReply, Request, Visibility, WriteCheckStep};
use crate::client::errors;
use crate::client::{End, Session, Settling};
use crate::protocol::frame::Header;
use crate::protocol::{Report, TxStatus, frontend};
use crate::shared::{Layer, Statement as Prepared};
use crate::sql::cache::verdicts::Cached;
use crate::sql::own_statements::transaction::{ARM, POISON};
use crate::sql::{Kind, SessionEffect, Statement, TransactionVerb};

/// Told to a session whose own connection had to be closed.
const FELL: &str = "A statement of this session made its server connection writable.";

/// Whether the transaction is over after the statement.
fn ends_transaction(statement: &Statement) -> bool {
    matches!(&statement.kind, Kind::Transaction(verb) if verb.ends_transaction())
}

/// Whether it is committed by itself, though other statements stand around it in a batch.
fn commits_at_once(statement: &Statement) -> bool {
    statement.effects.contains(&SessionEffect::DiscardAll)
}

impl Session {
    /// Whether the next message has to wait for the answer to the last one.
    pub(in crate::client) fn must_await_reply(&self) -> bool {
        let special = self.lease.in_maintenance() || matches!(self.lease, Lease::Allowed { .. });
        let waits = !self.conversation.message().split().is_empty()
            || self.conversation.transaction().fencing == Fencing::Asked
            || self.conversation.transaction().fencing == Fencing::Fenced && matches!(self.lease, Lease::Write { .. })
            || matches!(self.maintenance.breaking, AbortProgress::Sent(_))
            || special && self.conversation.replies().readies() > 0 && !self.conversation.replies().are_clean_reads()
            || self.conversation.transaction().closing != Closing::No && self.conversation.replies().readies() > 0
            || matches!(self.conversation.lease().settling(), Settling::Asked | Settling::Refused(_));
        // The server asks for COPY data: that is part of the message under way.
        waits && !self.conversation.in_copy()
    }

    /// Whether a connection guarded in place is good for the next transaction as it is.
    pub(in crate::client) fn stands_in_place(&self) -> bool {
        let closed = self.db.gate.state().mode.reports_read_only() && !self.me.operator;
        (closed || self.is_contested())
            && !self.has_moved()
            && !self.goes_offline()
            && self.lease.peek_server().is_some_and(|server| server.default_read_only == Some(true))
    }

    /// Sends a simple query in a way that cannot undo the guard.
    pub(in crate::client) fn guarded_query(&mut self, header: Header, cached: Rc<Cached>) -> Result<Progress, End> {
        let single = cached.analysis.single().is_some();
        self.is_held_no_more();
        if self.conversation.status() == TxStatus::Idle && single && self.refuses_in_place(&cached) {
            self.drop_bytes(header.total);
            return Ok(Progress::Consumed);
        }
        self.names.forget_unnamed();
        let asked = cached;
        let cached = self.as_read_only(asked.clone(), self.lex_context());
        let on_primary = self.lease.replica().is_none();
        if cached.analysis.ambiguous && on_primary {
            // It can be read two ways, and a guarded primary does not stop everything.
            let report = self.refused("cannot execute an ambiguous statement in a read-only transaction");
            return Ok(self.send_poisoned(header, Vec::new(), cached, report));
        }
        let context = self.lex_context();
        let statements = cached.analysis.statements.iter();
        self.forget_suspected();
        statements.for_each(|one| self.note_dangerous_prepare(one, &cached.text, context));
        let refused = |(at, one): (usize, &Statement)| {
            let ours = self.is_ours_to_refuse(one) && !self.absolves(&cached, context, one)
                || self.cannot_try(one, &cached, context);
            let late = || self.refused_read_write(one).filter(|_| single);
            let report = if ours {
                Some(self.refusal(one))
            } else {
                late().or_else(|| self.refused_unseen(&cached, context, one))
            };
            Some((at, report?))
        };
        if let Some((at, report)) = cached.analysis.statements.iter().enumerate().find_map(refused) {
            if let Some(handled) = self.refused_as_unknown(header, &cached, &report) {
                return Ok(handled);
            }
            return Ok(self.poison(header, cached, at, report));
        }
        self.prove_ahead_of(&cached.analysis.statements);
        if self.try_cursor(header, &cached) {
            return Ok(Progress::Consumed);
        }
        if self.ask_together(header, &cached) {
            return Ok(Progress::Consumed);
        }
        if !self.conversation.batch().is_open() && self.may_end_its_transaction(&cached, context, &[]) {
            self.pass(header, Some(PendingReply::seen(Request::Query(Some(cached)))));
            return Ok(Progress::Consumed);
        }
        let mut parts = self.divide(&cached.text, &cached.analysis.statements);
        parts.extend(self.after_discard(&cached).map(Part::Defaults));
        if let [Part::Plain(_, doubt)] = parts.make_contiguous()
            && Rc::ptr_eq(&asked, &cached)
        {
            self.conversation.transaction_mut().doubt = *doubt;
            self.pass(header, Some(PendingReply::seen(Request::Query(Some(cached)))));
        } else {
            self.send_parts(header, cached, parts);
        }
        Ok(Progress::Consumed)
    }

    /// As [`Self::refuses_at_once`], on a connection that is held but idle.
    fn refuses_in_place(&mut self, cached: &Cached) -> bool {
        self.conversation.replies().is_empty() && !self.conversation.batch().is_open() && self.refuses_at_once(cached)
    }

    /// Refuses statement number `at`; transactions that end before it are as they would be without it.
    pub(in crate::client) fn poison(
        &mut self,
        header: Header,
        cached: Rc<Cached>,
        at: usize,
        report: Report,
    ) -> Progress {
        self.prove_ahead_of(&cached.analysis.statements);
        let (before, rest) = cached.analysis.statements.split_at(at);
        let Some(statement) = rest.first() else { return Progress::Consumed };
        let start = statement.span.start as usize;
        let Some(last_end) = before.iter().rposition(ends_transaction) else {
            let text = cached.text.get(..start).unwrap_or_default().to_vec();
            return self.send_poisoned(header, text, cached, report);
        };
        let ended = before.get(..=last_end).unwrap_or_default();
        let cut = ended.last().map_or(0, |statement| statement.span.end as usize);
        let mut parts = self.divide(cached.text.get(..cut).unwrap_or_default(), ended);
        let mut text = super::query_split::part_of(&cached.text, cut, start);
        text.extend_from_slice(POISON.as_bytes());
        parts.push_back(Part::Poisoned(text, Box::new(report)));
        self.send_parts(header, cached, parts);
        Progress::Consumed
    }

    /// Sends what stands before a refused statement, and in its place one that fails.
    pub(in crate::client) fn send_poisoned(
        &mut self,
        header: Header,
        mut text: Vec<u8>,
        cached: Rc<Cached>,
        report: Report,
    ) -> Progress {
        // What ends a transaction before it would leave the poison in one of its own: as it should be.
        text.extend_from_slice(POISON.as_bytes());
        self.drop_bytes(header.total);
        frontend::write_query(self.io.for_server(), &text);
        self.expect(PendingReply::seen(Request::Query(Some(cached))).refused_with(report));
        Progress::Consumed
    }

    /// Looks at an Execute. None: it may pass as it is.
    pub(in crate::client) fn guarded_execute(&mut self, header: Header, prepared: &Rc<Prepared>) -> Option<Progress> {
        let cached = prepared.cached.clone();
        let on_primary = self.must_prove();
        if cached.analysis.ambiguous && on_primary {
            let report = self.refused("cannot execute an ambiguous statement in a read-only transaction");
            return Some(self.fail_in_place(header, report));
        }
        let statement = cached.analysis.statements.first()?;
        self.note_dangerous_prepare(statement, &cached.text, prepared.context());
        let ours = self.is_ours_to_refuse(statement) && !self.absolves(&cached, prepared.context(), statement);
        if ours || self.cannot_try(statement, &cached, prepared.context()) {
            let report = self.refusal(statement);
            return Some(self.fail_in_place(header, report));
        }
        if let Some(report) = self.refused_read_write(statement) {
            return Some(self.fail_in_place(header, report));
        }
        if let Some(report) = self.refused_unseen_prepared(prepared) {
            if let Some(name) = cached.analysis.single().and_then(|one| self.executes_unknown(one)) {
                return Some(self.fail_unless_unknown(header, name, report));
            }
            return Some(self.fail_in_place(header, report));
        }
        self.note_doubt_of(prepared);
        if matches!(statement.kind, Kind::Transaction(TransactionVerb::RollbackTo(_)))
            && self.conversation.status() == TxStatus::Failed
        {
            // The block lives again, or what follows in the batch is skipped.
            self.conversation.set_status(TxStatus::Block);
        }
        if self.try_executed_cursor(header, prepared) {
            return Some(Progress::Consumed);
        }
        let contained = statement.contained && on_primary && self.is_outside_blocks();
        if contained && !self.may_end_its_transaction(&cached, prepared.context(), &prepared.oids) {
            self.begin_wrapped_batch();
        }
        let verb = match &statement.kind {
            Kind::Transaction(verb) => Some(verb),
            _ => None,
        };
        if let Some(handled) = verb.and_then(|verb| self.verb_in_batch(header, verb, prepared)) {
            return Some(handled);
        }
        if ends_transaction(statement) || commits_at_once(statement) {
            let commits = matches!(verb, Some(TransactionVerb::Commit { .. }));
            if commits && self.must_prove() && self.conversation.status() != TxStatus::Failed {
                self.prove_in_batch(Some("COMMIT"));
            }
            if verb.is_some() {
                self.leave_wrapping();
            }
            self.conversation.transaction_mut().doubt = PossibleWrites::default();
            // What follows in this batch would be a transaction of its own, before the server has reported its settings.
            self.pass(header, Some(PendingReply::seen(Request::Execute(Some(prepared.clone())))));
            self.own_messages().hiding(Visibility::Hidden).sync();
            self.keep_defaults_in_batch(statement);
            return Some(Progress::Consumed);
        }
        None
    }

    /// Runs a statement of ours in the client's batch; `refusal` is for one that is there to fail.
    pub(in crate::client) fn run_own(&mut self, text: &[u8], proof: WriteCheckStep, refusal: Option<Report>) {
        // One that failed has left its statement behind.
        let own = self.own_messages().close_statement(WRAPPER).parse(WRAPPER, text).bind(WRAPPER);
        let own = own.proving(proof).execute_or(WRAPPER, refusal).proving(WriteCheckStep::None);
        own.close_portal(WRAPPER).close_statement(WRAPPER);
    }

    fn guard_fell(&self, what: &str) {
        self.count_layer(Layer::Guard);
        tracing::warn!(
            event = "guard_fell", database = %self.db.name, user = %self.account.user(), client = %self.me.address_words(),
            "a guard fell: a statement made its server connection writable; {what}"
        );
    }

    /// ReadyForQuery has come: whether the guard still stands. Only between transactions does it have to.
    pub(in crate::client) fn check_guard(&mut self) -> Result<(), End> {
        if self.conversation.status() != TxStatus::Idle {
            return Ok(());
        }
        let fallen = match &mut self.lease {
            // A replica may have been promoted.
            Lease::Guarded { conn, maintenance: true, .. } => conn.server().default_read_only != Some(true),
            Lease::InPlace { conn, .. } => conn.server().default_read_only != Some(true),
            _ => return Ok(()),
        };
        let resets = self.conversation.transaction_mut().take_resets();
        if let Lease::InPlace { guard, .. } = &mut self.lease {
            let due = std::mem::replace(guard, InPlaceGuard::Up) == InPlaceGuard::Due;
            return match fallen {
                false => Ok(()),
                // RESET ALL and its like, which PostgreSQL allows, take it down in passing.
                true if due || resets => self.put_up_again(),
                true => self.in_place_fallen(),
            };
        }
        if !fallen {
            return Ok(());
        }
        self.guard_fell("the connection is closed");
        if !self.conversation.message().split().is_empty() {
            self.conversation.message_mut().split_mut().clear();
            let message = "cannot set transaction read-write mode inside a read-only transaction";
            self.refused(message).write(self.io.for_client());
            crate::protocol::backend::ready(self.io.for_client(), TxStatus::Idle);
        }
        self.close_lease();
        Ok(())
    }

    /// The guard of a connection guarded in place, before anything else runs on it.
    fn put_up_again(&mut self) -> Result<(), End> {
        if let Some(server) = self.lease.server() {
            server.default_read_only = Some(true);
        }
        self.own_messages().hiding(Visibility::Hidden).query(ARM);
        self.forget_counts_from_before();
        Ok(())
    }

    /// A statement has taken it down. The session ends with its connection, in which its state lies.
    fn in_place_fallen(&mut self) -> Result<(), End> {
        self.guard_fell("the connection is closed, and the session that it belonged to");
        self.close_lease();
        let detail = match self.refusal_words().0 {
            Some(detail) => format!("{detail}\n{FELL}"),
            None => FELL.into(),
        };
        Err(errors::terminated(Some(detail)).into())
    }
}
