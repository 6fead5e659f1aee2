//! COPY FROM STDIN: what the client sends while the server reads data, and what of it is answered.
//!
//! In copy-in mode PostgreSQL ignores Sync and Flush, reads CopyData, CopyDone and CopyFail, and ends the connection for anything
//! else. Once a COPY has failed its messages are ignored, and each Sync has its ReadyForQuery again. Whether it has failed is not
//! known when the client's next message comes. So:
//!
//! - behind a statement that may ask for data nothing is sent before the server has asked for it, or has answered otherwise;
//! - a Sync among the data goes on, and the server itself tells what became of it: if the COPY fails, a question behind those Syncs
//!   shows how many were answered;
//! - ahead of any other message that question is sent under the message's own type: it ends the connection in copy-in mode, as
//!   the message would, and else the COPY's error has come before its answer;
//! - behind the end of the data nothing follows that an ignored Sync would make uncertain, before the COPY has been answered.

use super::pending_replies::{PendingReply, Request, Visibility};
use crate::client::Session;
use crate::protocol::frame::Header;
use crate::protocol::{ErrorFields, TxStatus, backend, frontend};
use crate::sql::cache::verdicts::Cached;
use crate::sql::{CopyDirection, Kind};

/// How far a COPY FROM STDIN has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// None is under way.
    #[default]
    No,
    /// One may begin, or goes on to another, or the end of its data has been sent: nothing follows before the server says more.
    Due,
    /// The server has asked for data.
    Open,
    /// The server has been asked whether it is over: nothing follows before that answer.
    Asked,
}

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::client) struct CopyIn {
    stage: Stage,
    /// Syncs that have been sent since the server asked for data.
    syncs: u32,
}

/// The question whether a COPY is over: what has come for it and for the Syncs ahead of it.
#[derive(Clone, Copy, Debug)]
pub struct CopyQuestion {
    readies: u32,
    /// How many of them are for the question itself.
    own: u32,
    /// It began as a message whose error has a ReadyForQuery of its own.
    simple: bool,
    answered: bool,
}

impl CopyIn {
    /// Whether the server has asked for data, and the client has not ended it.
    pub fn is_open(self) -> bool {
        self.stage == Stage::Open
    }
}

/// Whether a statement may ask for the client's data.
fn copies(cached: &Cached) -> bool {
    let kinds = [Kind::Copy(CopyDirection::FromClient), Kind::Unknown];
    cached.analysis.ambiguous || cached.analysis.statements.iter().any(|one| kinds.contains(&one.kind))
}

impl PendingReply {
    /// Whether the server may ask for the client's data in answer to it.
    fn may_copy(&self) -> bool {
        self.text().is_some_and(|cached| self.shows() && copies(cached))
    }

    /// The same of what nobody has read.
    fn may_copy_unseen(&self) -> bool {
        matches!(self.request, Request::Query(None) | Request::Execute(None)) && self.shows()
    }
}

impl Session {
    /// Notes a message that may begin a COPY.
    pub(in crate::client) fn note_copy(&mut self, expected: &PendingReply) {
        if expected.may_copy() {
            self.conversation.copy = CopyIn { stage: Stage::Due, syncs: 0 };
        }
    }

    /// The same of an operator's query, of which nothing else is noted.
    pub(in crate::client) fn note_unread_copy(&mut self, cached: &Cached) {
        if copies(cached) {
            self.conversation.copy = CopyIn { stage: Stage::Due, syncs: 0 };
        }
    }

    /// Whether a COPY may be under way, or the message is about one.
    #[inline]
    pub(in crate::client) fn looks_at_copy(&self, header: Header) -> bool {
        self.conversation.copy.stage != Stage::No || matches!(header.tag, b'd' | b'c' | b'f')
    }

    /// Whether the client's message has to wait for what the server says of a COPY.
    pub(in crate::client) fn holds_for_copy(&mut self, header: Header) -> bool {
        if self.conversation.copy.stage == Stage::Due && self.conversation.replies.is_empty() {
            self.conversation.copy = CopyIn::default();
        }
        let holds = match self.conversation.copy.stage {
            // Sent ahead of the server's word that it is ready (asyncpg does): kept for it.
            Stage::No => {
                let data = matches!(header.tag, b'd' | b'c' | b'f') && !self.conversation.batch.skips();
                data && self.conversation.replies.iter().any(PendingReply::may_copy_unseen)
            }
            Stage::Due | Stage::Asked => true,
            Stage::Open if matches!(header.tag, b'd' | b'c' | b'f' | b'S' | b'H' | b'X') => false,
            Stage::Open => {
                self.ask_whether_copy_is_over(Some(header.tag));
                true
            }
        };
        if holds {
            self.io.requests_mut().want(0);
            self.hurry_answers();
        }
        holds
    }

    /// A Sync or Flush in copy-in mode.
    pub(in crate::client) fn pass_in_copy(&mut self, header: Header) {
        self.conversation.copy.syncs += u32::from(header.tag == b'S');
        self.pass(header, None);
    }

    /// The server asks for the client's data. A Sync that was sent ahead of it is among them.
    pub(in crate::client) fn copy_begun(&mut self) {
        self.conversation.copy = CopyIn { stage: Stage::Open, syncs: 0 };
        let executes =
            matches!(self.conversation.replies.front(), Some(PendingReply { request: Request::Execute(_), .. }));
        let ignored = self.conversation.replies.drop_ignored_syncs();
        self.conversation.copy.syncs += ignored;
        if ignored > 0 && executes {
            self.conversation.batch.go_on();
        }
    }

    /// The end of the data has been sent.
    pub(in crate::client) fn copy_data_ended(&mut self) {
        let simple = matches!(self.conversation.replies.front(), Some(PendingReply { request: Request::Query(_), .. }));
        // A simple query may go on to another COPY.
        self.conversation.copy.stage = if simple || self.conversation.copy.syncs > 0 { Stage::Due } else { Stage::No };
        self.conversation.replies.forget_flush();
    }

    /// An error has come: a COPY that was under way is over.
    pub(in crate::client) fn copy_failed(&mut self) {
        let CopyIn { stage, syncs } = self.conversation.copy;
        match stage {
            Stage::No | Stage::Asked => {}
            Stage::Due | Stage::Open if syncs > 0 => self.ask_whether_copy_is_over(None),
            // It may be the error of something ahead of the COPY.
            Stage::Due | Stage::Open => self.conversation.copy.stage = Stage::Due,
        }
    }

    /// Asks, under the type of the client's message where that comes next. After an error in the extended protocol only a Sync is
    /// heard, and the answer to an empty query tells that it has been.
    #[cold]
    pub(super) fn ask_whether_copy_is_over(&mut self, tag: Option<u8>) {
        if let Some(tag) = tag {
            // Of that form it is a message of which nothing runs.
            self.io.for_server().extend_from_slice(&[tag, 0, 0, 0, 4]);
        }
        frontend::write_sync(self.io.for_server());
        frontend::write_query(self.io.for_server(), b"");
        let simple = tag.is_some_and(|tag| matches!(tag, b'Q' | b'F'));
        let question = CopyQuestion { readies: 0, own: 1, simple, answered: false };
        self.conversation.copy.stage = Stage::Asked;
        self.expect(PendingReply::hidden(Request::CopyQuestion(question), Visibility::Hidden));
    }

    /// Looks at a message of the server's ahead of the answer to that question, or at the answer. True: it is dealt with.
    #[cold]
    pub(in crate::client) fn answers_copy_question(&mut self, header: Header) -> bool {
        let body = self.io.replies().body(header);
        let fatal = header.tag == b'E' && ErrorFields::new(body).is_fatal();
        let status = body.first().copied().and_then(TxStatus::from_byte);
        let mut said = None;
        let Some(expected) = self.conversation.replies.front_mut() else { return false };
        let Request::CopyQuestion(question) = &mut expected.request else { return false };
        match header.tag {
            b'E' if fatal => {
                expected.visibility = Visibility::Full;
                return false;
            }
            b'E' => question.own += u32::from(question.simple),
            b'Z' if !question.answered => {
                question.readies += 1;
                said = status;
            }
            b'I' => {
                question.answered = true;
                let heard = question.readies.saturating_sub(question.own);
                if heard > 0 {
                    expected.visibility = Visibility::Full;
                }
                self.take_reply(header);
                self.tell_heard_syncs(heard);
                return true;
            }
            _ => return false,
        }
        if let Some(status) = said {
            self.conversation.set_status(status);
        }
        self.take_reply(header);
        true
    }

    /// So many Syncs of the client's have been answered behind a COPY that failed; the last is told by the ReadyForQuery that is
    /// to come.
    fn tell_heard_syncs(&mut self, heard: u32) {
        self.conversation.copy = CopyIn::default();
        if heard == 0 {
            return;
        }
        for _ in 1..heard {
            backend::ready(self.io.for_client(), self.conversation.status());
        }
        self.conversation.batch.set_skip(false);
        self.conversation.batch.end();
        self.is_held_no_more();
        if self.conversation.transaction.is_in_our_block() {
            if let Some(expected) = self.conversation.replies.front_mut() {
                expected.visibility = Visibility::Hidden;
            }
            self.end_wrapped_batch();
        }
    }
}
