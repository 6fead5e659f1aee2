//! Messages on a guarded server connection in maintenance.
//!
//! The server refuses writes as long as each transaction starts READ ONLY. What could change that is kept apart: one
//! ReadyForQuery is awaited before the next message goes out, since with it the server reports a guard that fell; a message
//! that ends its transaction in its middle is sent in parts; CALL and DO, which could end theirs from inside, run within
//! an explicit READ ONLY block, where PostgreSQL forbids that (2D000).

use std::rc::Rc;

use super::expect::{Expected, Hide, What};
use super::fence::Fencing;
use super::input::Handled;
use super::lease::Lease;
use super::refuse::POISON;
use super::{End, Session};
use crate::hub::Statement as Prepared;
use crate::sql::cache::Cached;
use crate::sql::{Kind, SessionEffect, Statement};
use crate::upstream::guard::ARM;
use crate::wire::frame::Header;
use crate::wire::{Report, TxStatus, front};

const BEGIN: &[u8] = b"BEGIN READ ONLY";
const COMMIT: &[u8] = b"COMMIT";
/// Name of the statements and portals that are put around a batch.
const WRAPPER: &[u8] = b"pgsluice_wrapper";

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
    pub(super) fn must_hold_back(&self) -> bool {
        let special = self.lease.in_maintenance() || matches!(self.lease, Lease::Allowed { .. });
        !self.flow.parts.is_empty() || self.flow.fencing == Fencing::Asked || special && self.flow.readies > 0
    }

    /// Whether a connection guarded in place is good for the next transaction as it is.
    pub(super) fn stands_in_place(&mut self) -> bool {
        let closed = self.db.gate.state().mode.reports_read_only();
        closed && self.lease.server().is_some_and(|server| server.default_read_only == Some(true))
    }

    /// Sends a simple query in a way that cannot undo the guard.
    pub(super) fn guarded_query(&mut self, header: Header, cached: Rc<Cached>) -> Result<Handled, End> {
        let single = cached.analysis.single().is_some();
        let cancelled = self.cancelled_hold();
        self.is_held_no_more();
        if let Some(report) = cancelled {
            return Ok(self.send_poisoned(header, Vec::new(), cached, report));
        }
        if self.flow.status == TxStatus::Idle && single && self.refuses_in_place(&cached) {
            self.drop_bytes(header.total);
            return Ok(Handled::Done);
        }
        self.names.forget_unnamed();
        let on_primary = self.lease.replica().is_none();
        if cached.analysis.ambiguous && on_primary {
            // It can be read two ways, and a guarded primary does not stop everything.
            let report = self.refused("cannot execute an ambiguous statement in a read-only transaction");
            return Ok(self.send_poisoned(header, Vec::new(), cached, report));
        }
        cached.analysis.statements.iter().for_each(|statement| self.note_dangerous_prepare(statement));
        if let Some(statement) = cached.analysis.statements.iter().find(|one| self.is_ours_to_refuse(one)) {
            let before = cached.text.get(..statement.span.start as usize).unwrap_or_default().to_vec();
            let report = self.refusal(statement);
            return Ok(self.send_poisoned(header, before, cached, report));
        }
        let statements = &cached.analysis.statements;
        if on_primary && single && self.flow.status == TxStatus::Idle && statements.iter().any(|one| one.contained) {
            self.wrap_query(header, cached);
            return Ok(Handled::Done);
        }
        let cuts: Vec<usize> = statements
            .split_last()
            .map(|(_, all_but_last)| all_but_last)
            .unwrap_or_default()
            .iter()
            .filter(|statement| ends_transaction(statement))
            .map(|statement| statement.span.end as usize)
            .collect();
        if let Some(text) = self.deallocate_rewritten(&cached) {
            self.drop_bytes(header.total);
            front::write_query(&mut self.io.to_server, &text);
            self.expect(Expected::seen(What::Query(Some(cached))));
        } else if cuts.is_empty() {
            self.pass(header, Some(Expected::seen(What::Query(Some(cached)))));
        } else {
            self.drop_bytes(header.total);
            let last = cached.analysis.statements.last();
            let alone = cached.analysis.statements.iter().rev().nth(1).is_some_and(ends_transaction);
            self.flow.wrap_last = on_primary && alone && last.is_some_and(|statement| statement.contained);
            self.send_in_parts(&cuts, cached);
        }
        Ok(Handled::Done)
    }

    /// As [`Self::refuses_at_once`], on a connection that is held but idle.
    fn refuses_in_place(&mut self, cached: &Cached) -> bool {
        self.flow.expects.is_empty() && !self.flow.batch && self.refuses_at_once(cached)
    }

    /// Sends what stands before a refused statement, and in its place one that fails.
    pub(super) fn send_poisoned(
        &mut self,
        header: Header,
        mut text: Vec<u8>,
        cached: Rc<Cached>,
        report: Report,
    ) -> Handled {
        // What ends a transaction before it would leave the poison in one of its own: as it should be.
        text.extend_from_slice(POISON);
        self.drop_bytes(header.total);
        front::write_query(&mut self.io.to_server, &text);
        let mut expected = Expected::seen(What::Query(Some(cached)));
        expected.refusal = Some(Box::new(report));
        self.expect(expected);
        Handled::Done
    }

    fn wrap_query(&mut self, header: Header, cached: Rc<Cached>) {
        let text: Box<[u8]> = cached.text.clone();
        self.drop_bytes(header.total);
        self.send_wrapped(&text, cached);
    }

    fn send_wrapped(&mut self, text: &[u8], cached: Rc<Cached>) {
        let out = &mut self.io.to_server;
        front::write_query(out, BEGIN);
        front::write_query(out, text);
        front::write_query(out, COMMIT);
        self.expect(Expected::hidden(What::Query(None), Hide::All));
        self.expect(Expected::hidden(What::Query(Some(cached)), Hide::Ready));
        self.expect(Expected::hidden(What::Query(None), Hide::AllButReady));
    }

    fn send_in_parts(&mut self, cuts: &[usize], cached: Rc<Cached>) {
        let mut from = 0;
        for cut in cuts.iter().copied().chain([cached.text.len()]) {
            let part = cached.text.get(from..cut).unwrap_or_default();
            // The semicolon after the cut stands at the head of the next part, an empty statement.
            self.flow.parts.push_back(part.to_vec());
            from = cut;
        }
        self.send_next_part(cached);
    }

    /// Sends the next part of a divided query.
    pub(super) fn send_next_part(&mut self, cached: Rc<Cached>) {
        let Some(part) = self.flow.parts.pop_front() else { return };
        let last = self.flow.parts.is_empty();
        if last && self.flow.wrap_last && self.flow.status == TxStatus::Idle {
            self.send_wrapped(&part, cached);
            return;
        }
        front::write_query(&mut self.io.to_server, &part);
        let hide = if last { Hide::Nothing } else { Hide::Ready };
        self.expect(Expected::hidden(What::Query(Some(cached)), hide));
    }

    /// Looks at an Execute. None: it may pass as it is.
    pub(super) fn guarded_execute(&mut self, header: Header, prepared: &Rc<Prepared>) -> Option<Handled> {
        let cached = prepared.cached.clone();
        let on_primary = self.lease.replica().is_none();
        if cached.analysis.ambiguous && on_primary {
            let report = self.refused("cannot execute an ambiguous statement in a read-only transaction");
            return Some(self.fail_in_place(header, report));
        }
        let statement = cached.analysis.statements.first()?;
        self.note_dangerous_prepare(statement);
        if self.is_ours_to_refuse(statement) {
            let report = self.refusal(statement);
            return Some(self.fail_in_place(header, report));
        }
        if statement.contained && on_primary && self.flow.status == TxStatus::Idle && !self.flow.wrapped {
            self.begin_wrapped_batch();
        }
        if ends_transaction(statement) || commits_at_once(statement) {
            self.flow.wrapped = false;
            // What follows in this batch would be a transaction of its own, before the server has reported its settings.
            self.pass(header, Some(Expected::seen(What::Execute(Some(prepared.clone())))));
            let io = &mut self.io;
            io.from_client.move_ready(&mut io.to_server);
            front::write_sync(&mut io.to_server);
            self.expect(Expected::hidden(What::Sync, Hide::All));
            return Some(Handled::Done);
        }
        None
    }

    fn run_own(&mut self, text: &[u8]) {
        let io = &mut self.io;
        io.from_client.move_ready(&mut io.to_server);
        let out = &mut io.to_server;
        front::write_parse(out, WRAPPER, text, &[]);
        front::write_bind(out, WRAPPER, WRAPPER, front::NO_PARAMETERS);
        front::write_execute(out, WRAPPER);
        front::write_target(out, b'C', front::Target::Portal(WRAPPER));
        front::write_target(out, b'C', front::Target::Statement(WRAPPER));
        for what in [What::Parse(0), What::Bind(None), What::Execute(None), What::Close(0), What::Close(0)] {
            self.expect(Expected::hidden(what, Hide::Success));
        }
    }

    fn begin_wrapped_batch(&mut self) {
        self.flow.wrapped = true;
        self.run_own(BEGIN);
    }

    /// The batch's Sync: the block around it is closed first. After an error the server has skipped that, and the COMMIT,
    /// then a ROLLBACK, of the simple query behind it ends the block.
    pub(super) fn end_wrapped_batch(&mut self) {
        self.flow.wrapped = false;
        front::write_sync(&mut self.io.to_server);
        self.expect(Expected::hidden(What::Sync, Hide::Ready));
        front::write_query(&mut self.io.to_server, COMMIT);
        self.expect(Expected::hidden(What::Query(None), Hide::AllButReady));
    }

    /// ReadyForQuery has come: whether the guard still stands. Only between transactions does it have to.
    pub(super) fn check_guard(&mut self) -> Result<(), End> {
        if self.flow.status != TxStatus::Idle {
            return Ok(());
        }
        let fallen = match &mut self.lease {
            Lease::Guarded { conn, replica: None, maintenance: true } => conn.server().default_read_only != Some(true),
            Lease::InPlace { conn } => conn.server().default_read_only != Some(true),
            _ => return Ok(()),
        };
        if !fallen {
            return Ok(());
        }
        if matches!(self.lease, Lease::InPlace { .. }) {
            // RESET ALL and its like: the guard is put up again before anything else runs.
            if let Some(server) = self.lease.server() {
                server.default_read_only = Some(true);
            }
            front::write_query(&mut self.io.to_server, ARM.as_bytes());
            self.expect(Expected::hidden(What::Query(None), Hide::All));
            return Ok(());
        }
        self.core.hub.guards_fallen.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        tracing::warn!(
            database = %self.db.name, user = %self.user, client = %self.me.address_words(),
            "a guard fell: a statement made its server connection writable; the connection is closed"
        );
        if !self.flow.parts.is_empty() {
            self.flow.parts.clear();
            let message = "cannot set transaction read-write mode inside a read-only transaction";
            self.refused(message).write(&mut self.io.to_client);
            crate::wire::back::ready(&mut self.io.to_client, TxStatus::Idle);
        }
        self.close_lease();
        Ok(())
    }
}
