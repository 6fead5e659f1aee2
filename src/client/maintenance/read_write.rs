//! Asking for READ WRITE while the gate is closed: accepted, and READ ONLY underneath.
//!
//! Drivers ask for it at every BEGIN, or once for the session, long before they write. What is sent says READ ONLY in its place,
//! so that the server has no transaction that could write, and the first write gets the server's own error. What the session has
//! chosen as its default is remembered, and is in force when the gate opens.

use std::rc::Rc;

use super::read_only_block::EnclosingBlock;
use crate::client::errors;
use crate::client::{End, Session};
use crate::protocol::frame::Header;
use crate::protocol::{Report, TxStatus, frontend};
use crate::shared::Statement as Prepared;
use crate::sql::cache::verdicts::Cached;
use crate::sql::classify::read_write::{as_read_only, asks_of_transaction, default_after};
use crate::sql::{LexContext, Refusal, SessionEffect, Statement};

/// Keeps such statements apart from those of clients that have the same text.
const PATH: u64 = u64::MAX;

fn asks(cached: &Cached) -> bool {
    cached.analysis.statements.iter().any(|one| matches!(one.refusal, Refusal::AsksReadWrite(_)))
}

impl Session {
    /// The text as it may be sent with the gate closed; the same where nothing in it asks for READ WRITE.
    pub(in crate::client) fn as_read_only(&self, cached: Rc<Cached>, context: LexContext) -> Rc<Cached> {
        if !asks(&cached) {
            return cached;
        }
        let read = |text: &[u8]| self.core.verdicts.borrow_mut().get_or_analyze(text, context);
        as_read_only(&cached, read).unwrap_or(cached)
    }

    /// Takes in what a Bind is about to run; gives the statement that it is sent for.
    pub(in crate::client) fn note_bound(
        &mut self,
        header: Header,
        statement: Rc<Prepared>,
    ) -> Result<Rc<Prepared>, End> {
        if self.missing(header.total) > 0 {
            // Too large to be sent once more.
            self.conversation.transaction_mut().history_mut().sends_unknown();
        } else {
            let body = self.io.requests().body(header);
            self.conversation.transaction_mut().history_mut().binds(&statement, frontend::bind(body)?.rest);
        }
        self.note_hidden_writes(&statement.cached, statement.context());
        self.note_read_only_text(&statement.cached, statement.context());
        Ok(self.bound_as_read_only(statement))
    }

    /// The same of a prepared statement that is bound now.
    pub(in crate::client) fn bound_as_read_only(&self, statement: Rc<Prepared>) -> Rc<Prepared> {
        if !asks(&statement.cached) || !self.lease.in_maintenance() {
            return statement;
        }
        let context = statement.context();
        let cached = self.as_read_only(statement.cached.clone(), context);
        self.core.statements.get(cached, &statement.oids, context, PATH, statement.settings())
    }

    /// PostgreSQL's error where the client's own transaction is READ ONLY, and it is too late to ask for READ WRITE.
    pub(in crate::client) fn refused_read_write(&self, statement: &Statement) -> Option<Report> {
        let in_block = self.conversation.status() == TxStatus::Block
            || self.conversation.transaction().enclosing_block == EnclosingBlock::ClientBlock;
        if asks_of_transaction(statement) != Some(false) || !in_block {
            return None;
        }
        let past = &self.conversation.transaction().history();
        if !past.own_read_only().or(self.settings.read_only_default()).unwrap_or(false) {
            return None;
        }
        if past.in_savepoint() {
            let message = "cannot set transaction read-write mode inside a read-only transaction";
            return Some(errors::too_late_in_transaction(message));
        }
        past.queried()
            .then(|| errors::too_late_in_transaction("transaction read-write mode must be set before any query"))
    }

    /// Takes in what a statement that has run makes of the session's own default.
    pub(in crate::client) fn note_read_only_default(&mut self, effect: &SessionEffect) {
        if self.lease.in_maintenance()
            && let Some(default) = default_after(effect)
        {
            let remembered = self.settings.set_read_only_default(default);
            self.pin_unless(remembered);
        }
    }
}
