//! The memory that one client may take: `client_memory_limit`.
//!
//! What a connection keeps is counted: prepared statements and portals under their names, settings that follow it, and the message at hand
//! while it is read whole. A Parse, a Bind or a message that would exceed the limit is an error (54000), and the connection goes on.
//! SET and PREPARE have run on the server before they are kept: beyond a bound they stay there, and the session with them.
//!
//! Answers that the server owes are bounded by waiting, as in PostgreSQL: the client's next message is looked at when some have come.

use super::pending_replies::{Before, PendingReply, Request};
use crate::client::Session;
use crate::client::errors;
use crate::client::prepared::protocol_names::Known;
use crate::protocol::Report;
use crate::protocol::frame::Header;
use crate::shared::Statement;

/// Answers that may be owed before the next message is looked at.
const MOST_PENDING: usize = 1024;

/// Bytes of the statements that those are about.
const MOST_PENDING_BYTES: usize = 16 << 20;

/// A message that is smaller does not add much to that (bytes).
const SMALL_MESSAGE: usize = 4096;

/// Bytes of settings that follow a client; one that has more keeps its server connection.
const MOST_SETTINGS: usize = 1 << 20;

/// Settings of up to so many bytes are not counted with each statement that was parsed under them.
const FEW_SETTINGS: usize = 4096;

/// Bytes that a prepared statement takes besides its name and text.
const STATEMENT_OVERHEAD: usize = 512;

/// Bytes that are counted for a statement under a name.
pub(in crate::client) fn weight(name: &[u8], statement: &Statement) -> usize {
    let settings = Some(statement.settings().bytes()).filter(|bytes| *bytes > FEW_SETTINGS);
    name.len() + statement.cached.bytes() + statement.oids.len() + settings.unwrap_or(0) + STATEMENT_OVERHEAD
}

/// Bytes that a pending answer keeps of statements.
fn pending_weight(expected: &PendingReply) -> usize {
    let now = match &expected.request {
        Request::Query(Some(cached)) => cached.bytes(),
        Request::Bind(Some(one)) | Request::Describe(Some(one)) | Request::Execute(Some(one)) => one.cached.bytes(),
        Request::WholeBatch(whole) => whole.statement().cached.bytes(),
        _ => 0,
    };
    let known = |known: &Option<Known>| match known {
        Some(Known::Protocol(statement)) => statement.cached.bytes(),
        Some(Known::Sql(_)) | None => 0,
    };
    now + match &expected.before {
        Before::Same => 0,
        Before::Unnamed(before) => known(before),
        Before::Named(named) => named.0.len() + known(&named.1),
    }
}

impl Session {
    /// Bytes that are kept for the client.
    fn kept(&self) -> usize {
        self.names.bytes() + self.settings.bytes()
    }

    /// The error for something that would take so many bytes more, if there is no room for it.
    pub(in crate::client) fn lacks_memory(&self, more: usize) -> Option<Report> {
        let limit = self.core.proxy.setup.load().config.memory.client_memory_limit.bytes();
        let kept = self.kept();
        if kept.saturating_add(more) <= limit {
            return None;
        }
        let detail = format!(
            "The connection keeps {kept} bytes of prepared statements, portals and settings, and {more} more are needed; \
             client_memory_limit is {limit} bytes."
        );
        let hint = "Deallocate prepared statements that are no longer needed, or raise client_memory_limit.";
        let report = errors::limit_exceeded("client_memory_limit exceeded").with_detail(Some(detail));
        Some(report.with_hint(Some(hint.to_owned())))
    }

    /// The same for a statement under that name.
    pub(in crate::client) fn lacks_memory_for(&self, name: &[u8], statement: &Statement) -> Option<Report> {
        if self.names.is_full() {
            return Some(errors::limit_exceeded("too many prepared statements"));
        }
        self.lacks_memory(weight(name, statement))
    }

    /// The same for a portal of that name, which keeps its statement.
    pub(in crate::client) fn lacks_memory_to_bind(&self, portal: &[u8], statement: &Statement) -> Option<Report> {
        if portal.is_empty() {
            return None;
        }
        if self.names.has_all_portals() {
            return Some(errors::limit_exceeded("too many portals"));
        }
        self.lacks_memory(weight(portal, statement))
    }

    /// Whether a setting's new value can follow the client.
    pub(in crate::client) fn has_room_for_setting(&self, bytes: usize) -> bool {
        self.settings.bytes() + bytes <= MOST_SETTINGS
    }

    /// Whether so many answers are owed that the next message has to wait for some of them.
    #[inline]
    pub(in crate::client) fn has_many_pending(&self) -> bool {
        self.conversation.replies.len() >= MOST_PENDING && !self.conversation.in_copy()
    }

    /// The same by the statements that they keep, for a message that may add a large one.
    #[inline]
    pub(in crate::client) fn has_large_pending(&self, header: Header) -> bool {
        if header.total <= SMALL_MESSAGE || !matches!(header.tag, b'P' | b'Q') || self.conversation.in_copy() {
            return false;
        }
        self.conversation.replies.iter().map(pending_weight).sum::<usize>() > MOST_PENDING_BYTES
    }

    /// Has the server send what it owes: in a batch that has not ended it may keep answers back.
    pub(in crate::client) fn hurry_answers(&mut self) {
        if self.conversation.batch.is_open() {
            self.awaits_answers();
        }
    }
}
