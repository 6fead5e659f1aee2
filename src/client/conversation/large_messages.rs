//! Large messages: what need not be read whole goes on to the server while it comes in. What must be, and is larger than
//! `max_message_size` or has no room within `client_memory_limit`, is an error, behind which the connection goes on.
//!
//! Of a Bind only the names are needed, of a function call its number, and of a long query, with the gate open, nothing at all.

use std::rc::Rc;

use super::client_messages::Progress;
use super::pending_replies::{PendingReply, Request};
use super::run::Next;
use crate::client::checkout::lease::Lease;
use crate::client::errors;
use crate::client::{End, Session};
use crate::protocol::frame::Header;
use crate::protocol::{Report, frontend};
use crate::routing::TransactionClass;
use crate::sql::cache::verdicts::Cached;
use crate::sql::own_statements::transaction::POISON;

/// A Bind that is larger than this is not waited for as a whole; what would be asked of another server again is smaller (bytes).
const STREAMED: usize = 128 * 1024;

/// A query whose text is longer than this is read only where it must be: with the gate closed (bytes).
const LONGEST_READ: usize = 16 << 20;

/// Names in a Bind that are longer than this in all are no names (bytes).
const LONGEST_NAMES: usize = 64 * 1024;

impl Session {
    /// Whether a message may be looked at before all of it is here.
    pub(in crate::client) fn streams(&self, header: Header) -> bool {
        if header.total <= STREAMED {
            return false;
        }
        if self.conversation.batch.skips() {
            // It is dropped as it comes.
            return true;
        }
        match header.tag {
            b'B' if self.has_open_gate() => frontend::bind(self.body(header)).is_ok(),
            b'B' => self.streams_with_gate_closed(header),
            b'F' => self.has_open_gate() && frontend::function_oid(self.body(header)).is_ok(),
            b'Q' => {
                // Names that SQL has prepared are looked for in any text.
                let unread = !self.names.has_sql() && !self.db.rehearsal.is_on();
                header.body() > LONGEST_READ + 1 && unread && self.has_open_gate()
            }
            _ => false,
        }
    }

    /// Whether the message at hand is sent as with the gate open.
    fn has_open_gate(&self) -> bool {
        match self.lease {
            // Who entered before the gate closed may finish.
            Lease::Write { .. } | Lease::Operator { .. } => true,
            Lease::None | Lease::Bound { .. } | Lease::Guarded { maintenance: false, .. } => {
                !self.db.gate.state().mode.reports_read_only()
            }
            Lease::Guarded { .. } | Lease::InPlace { .. } | Lease::Allowed { .. } => false,
        }
    }

    /// Whether nothing but its names is needed of a Bind with the gate closed: the server refuses what writes.
    fn streams_with_gate_closed(&self, header: Header) -> bool {
        let Ok(bind) = frontend::bind(self.body(header)) else { return false };
        let statement = self.names.statement(bind.statement).filter(|_| !matches!(self.lease, Lease::Allowed { .. }));
        statement.is_some_and(|statement| {
            statement.cached.analysis.is_plain()
                && !self.is_ruled_to_pass(&statement.cached)
                && !self.looks_at_values(statement)
        })
    }

    /// Whether the names in a Bind are still to come.
    #[cold]
    pub(in crate::client) fn lacks_names(&self, header: Header) -> bool {
        let body = self.body(header);
        header.tag == b'B' && body.len() < LONGEST_NAMES && frontend::bind(body).is_err()
    }

    /// How much of a message of `total` bytes is not here yet.
    pub(in crate::client) fn missing(&self, total: usize) -> usize {
        total.saturating_sub(self.io.requests().unread().len())
    }

    /// Looks at a query that is longer than is read with the gate open: it goes on as it comes, and may do anything.
    pub(in crate::client) fn unread_query(&mut self, header: Header) -> Result<Progress, End> {
        let cached = Rc::new(Cached::unread(header.body().saturating_sub(1)));
        if self.lease.in_maintenance() && self.has_right_lease() {
            if self.awaits_clean() {
                return Ok(Progress::AwaitReplies);
            }
            let report = self.refused("cannot execute an ambiguous statement in a read-only transaction");
            return Ok(self.send_poisoned(header, Vec::new(), cached, report));
        }
        self.other_query(header, cached)
    }

    /// The error for a message that is larger than any may be.
    #[cold]
    pub(in crate::client) fn larger_than_messages(&self, header: Header) -> Report {
        let detail = format!(
            "A message that has to be read whole may have max_message_size ({} bytes).",
            self.account.largest()
        );
        errors::limit_exceeded(format!("message of {} bytes is too large", header.body())).with_detail(Some(detail))
    }

    /// The error for a message that has to be read whole, if there is no room for it.
    #[cold]
    pub(in crate::client) fn lacks_memory_to_read(&self, header: Header) -> Option<Report> {
        if header.total <= STREAMED || self.lacks_names(header) { None } else { self.lacks_memory(header.total) }
    }

    /// Refuses a message without reading it. None: it is dropped as it comes.
    #[cold]
    pub(in crate::client) fn refuse_large(&mut self, header: Header, report: Report) -> Option<Next> {
        match self.too_large(header, report) {
            Progress::NeedsServer(nature) => Some(Next::Acquire(nature)),
            Progress::Consumed => None,
            Progress::AwaitReplies | Progress::HoldForGate | Progress::FanOut => Some(Next::Wait),
        }
    }

    /// Answers a message that is too large with an error, and drops it as it comes.
    fn too_large(&mut self, header: Header, report: Report) -> Progress {
        let ends = matches!(header.tag, b'Q' | b'F');
        if self.conversation.batch.skips() && !ends {
            self.drop_bytes(header.total);
            return Progress::Consumed;
        }
        if ends && self.awaits_batch() {
            return Progress::AwaitReplies;
        }
        self.unfold();
        if self.lease.is_none() {
            self.answer_unsent(header, &report);
            return Progress::Consumed;
        }
        if !self.has_right_lease() {
            return Progress::NeedsServer(TransactionClass::Any);
        }
        self.me.enter(crate::shared::Phase::Active);
        self.drop_bytes(header.total);
        if ends {
            frontend::write_query(self.io.for_server(), POISON.as_bytes());
            let mut expected = PendingReply::seen(Request::Query(None));
            expected.refusal = Some(Box::new(report));
            self.expect(expected);
        } else {
            self.conversation.batch.go_on();
            self.fail_here(report);
        }
        Progress::Consumed
    }
}
