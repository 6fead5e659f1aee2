//! A lone read on a guarded primary, in one message with the question whether its transaction has written.
//!
//! PostgreSQL runs the statements of a simple query as one transaction. So a read that names built-in functions only, and that
//! can neither end that transaction nor set off what runs when it ends, needs no block of ours around it: the question stands
//! behind it, and what it was told is held back until that has passed. It comes and goes in one piece.

use std::rc::Rc;

use super::write_check::PossibleWrites;
use crate::client::Session;
use crate::client::conversation::pending_replies::{PendingReply, Request, Visibility, WriteCheckStep};
use crate::client::maintenance::query_split::Part;
use crate::client::state::pins::Pin;
use crate::protocol::frame::Header;
use crate::protocol::{ErrorFields, TxStatus, frontend};
use crate::sql::cache::verdicts::Cached;
use crate::sql::{Kind, Statement};

/// Ends the client's statement, and a comment that it may end in.
const BETWEEN: &[u8] = b"\n;";

impl Session {
    /// The doubt in which a query leaves its transaction, if the question can stand behind it in its message.
    fn doubt_together(&self, cached: &Cached) -> Option<PossibleWrites> {
        let between = self.conversation.status() == TxStatus::Idle && !self.conversation.batch().is_open();
        if !between || !self.must_prove() || self.bindings.pins().has(Pin::Temporary) {
            return None;
        }
        // What ends within a character would take the next byte with it.
        let whole = cached.text.last().is_some_and(u8::is_ascii);
        let reads = |one: &&Statement| one.kind == Kind::Read && whole;
        let doubt = cached.analysis.single().filter(reads).map(PossibleWrites::of)?;
        doubt.is_plain().then_some(doubt)
    }

    /// Sends a query with the question behind it. False: it needs a block.
    pub(in crate::client) fn ask_together(&mut self, header: Header, cached: &Rc<Cached>) -> bool {
        let Some(doubt) = self.doubt_together(cached) else { return false };
        let Some(question) = self.question(doubt) else { return false };
        self.conversation.transaction_mut().check_sent();
        self.drop_bytes(header.total);
        frontend::write_query_of(self.io.for_server(), &[&cached.text, BETWEEN, question.as_bytes()]);
        self.expect(PendingReply::seen(Request::Query(Some(cached.clone()))).in_write_check(WriteCheckStep::Together));
        true
    }

    /// The read is over; what follows answers the question.
    pub(in crate::client) fn goes_on_as_question(&mut self) {
        let Some(expected) = self.conversation.replies_mut().front_mut() else { return };
        let tag = match expected.request() {
            Request::Query(Some(cached)) => cached.analysis.single().map_or("", |one| one.tag),
            _ => "",
        };
        expected.set_part(Visibility::ReadyAndErrors, WriteCheckStep::Question(tag));
    }

    /// Takes in an error of such a message. True: the server could not read it, and may have spoken of what stands behind the
    /// client's words (`at or near ";"` is `at end of input`). Nothing of it has run; by itself it gets the error that is its own.
    pub(in crate::client) fn cannot_be_read(&mut self, fields: ErrorFields<'_>) -> bool {
        if fields.code() != b"42601" || fields.get(b'P').is_none() || fields.get(b'q').is_some() {
            return false;
        }
        let Some(expected) = self.conversation.replies_mut().front_mut() else { return false };
        let Request::Query(Some(cached)) = expected.request() else { return false };
        let cached = cached.clone();
        expected.set_part(Visibility::Hidden, WriteCheckStep::None);
        let doubt = cached.analysis.single().map(PossibleWrites::of).unwrap_or_default();
        self.conversation.message_mut().split_mut().push(Part::Proved(cached.text.to_vec(), doubt), cached);
        true
    }
}
