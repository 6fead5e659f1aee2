//! The gate closes while a transaction is open that may write: that one may end, and nothing that may write begins behind it.
//!
//! From the flip on, a message waits until the one before it has been answered: what would begin another transaction finds the
//! server connection given back, and the gate closed. A simple query in which the transaction ends and that may write behind the
//! end is cut there: its rest is looked at as a message of its own. A batch of the extended protocol is ended by a Sync of ours at
//! the same place. The client sees one answer, as it would without the cut.

use std::rc::Rc;

use super::what_ran::{Ran, ran};
use crate::client::checkout::lease::Lease;
use crate::client::conversation::pending_replies::Visibility;
use crate::client::errors;
use crate::client::maintenance::query_split::part_of;
use crate::client::{End, Session};
use crate::gate::NewTransaction;
use crate::protocol::frame::{Header, peek_front};
use crate::protocol::{TxStatus, frontend};
use crate::shared::Statement as Prepared;
use crate::sql::cache::verdicts::Cached;
use crate::sql::{Analysis, Kind, Statement};

/// Whether the gate closes under a session that may write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::client) enum Closing {
    /// It does not.
    #[default]
    No,
    /// It does: one message at a time.
    OneByOne,
    /// The same, and the message under way is the first half of one that was cut.
    Cut,
}

fn ends_transaction(statement: &Statement) -> bool {
    matches!(&statement.kind, Kind::Transaction(verb) if verb.ends_transaction())
}

/// Where a query is to be cut while the gate closes: behind the end of its transaction, if what follows may write.
pub(in crate::client) fn cut_point(analysis: &Analysis) -> Option<usize> {
    let statements = &analysis.statements;
    let goes_on = |at: &usize| {
        let (before, behind) = statements.split_at(at + 1);
        before.last().is_some_and(ends_transaction) && behind.iter().any(|one| ran(one) > Ran::Reads)
    };
    let end = (0..statements.len()).find(goes_on).and_then(|at| statements.get(at));
    end.filter(|_| !analysis.ambiguous).map(|end| end.span.end as usize)
}

impl Session {
    /// The gate has been closed or opened.
    pub(in crate::client) fn note_closing(&mut self) {
        self.conversation.transaction_mut().closing = self.closing();
    }

    /// Whether the gate closes, by the gate itself: the session may not have been told yet.
    pub(in crate::client) fn closing(&self) -> Closing {
        let closes = matches!(self.lease, Lease::Write { .. }) && self.gate_of_lease().state().mode.reports_read_only();
        match self.conversation.transaction().closing {
            Closing::Cut => Closing::Cut,
            _ if closes => Closing::OneByOne,
            _ => Closing::No,
        }
    }

    /// Cuts a simple query at a byte, behind the statement that ends its transaction. Gives the message that is to be sent now.
    pub(in crate::client) fn cut_query(&mut self, header: Header, cached: &Cached, end: usize) -> (Header, Rc<Cached>) {
        let first = cached.text.get(..end).unwrap_or_default();
        let mut messages = Vec::with_capacity(cached.text.len() * 2);
        frontend::write_query(&mut messages, first);
        let total = messages.len();
        frontend::write_query(&mut messages, &part_of(&cached.text, end, cached.text.len()));
        self.io.requests_mut().replace(header.total, &messages);
        self.conversation.transaction_mut().closing = Closing::Cut;
        self.settings.forget_read();
        (Header { tag: b'Q', total }, self.read_text(first, self.lex_context()))
    }

    /// The client would be shown ReadyForQuery. True: it is not, since the message goes on; its rest comes next.
    pub(in crate::client) fn goes_on_behind_cut(&mut self) -> bool {
        if self.conversation.transaction().closing != Closing::Cut {
            return false;
        }
        self.conversation.transaction_mut().closing = Closing::OneByOne;
        if !self.conversation.message().has_failed() {
            return true;
        }
        // As PostgreSQL, which drops the rest of a message behind an error.
        if let Ok(Some(rest)) = peek_front(self.io.requests().unread(), self.account.largest()) {
            self.drop_bytes(rest.total);
        }
        false
    }

    /// An Execute has been sent: if it ends the open transaction, its batch ends with it.
    pub(in crate::client) fn end_batch_with_transaction(&mut self, prepared: &Prepared) {
        let ends = prepared.cached.analysis.single().is_some_and(ends_transaction);
        if self.conversation.transaction().closing == Closing::No || !ends || !matches!(self.lease, Lease::Write { .. })
        {
            return;
        }
        self.own_messages().hiding(Visibility::Hidden).sync();
        self.conversation.batch_mut().end();
    }

    /// A ReadyForQuery that the client does not see has ended what it had begun.
    pub(in crate::client) fn end_unseen(&mut self) {
        if self.conversation.transaction().closing != Closing::No && self.is_between_transactions() {
            self.end_message();
            self.me.transaction_since.set(None);
            self.note_phase();
        }
    }

    /// Whether no application session may begin a transaction, not even one that reads.
    pub(in crate::client) fn goes_offline(&self) -> bool {
        let mode = self.db.gate.state().mode;
        mode.new_transaction() == NewTransaction::Terminate && !self.me.operator
    }

    /// A transaction that follows another at once, in a session that is to go offline, is one too many.
    pub(in crate::client) fn end_if_offline(&self) -> Result<(), End> {
        let gate = self.gate_of_lease();
        let offline = gate.state().mode.new_transaction() == NewTransaction::Terminate;
        if !offline || self.conversation.status() != TxStatus::Block {
            return Ok(());
        }
        let detail = gate.view().under(&self.db.name).offline_text();
        Err(errors::terminated(Some(detail)).into())
    }
}
