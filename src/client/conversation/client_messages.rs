//! What the client sends: each message is looked at once and mostly passed on as it lies.

use std::rc::Rc;

use super::pending_replies::{PendingReply, Request, Visibility};
use super::run::Next;
use crate::client::checkout::lease::Lease;
use crate::client::errors;
use crate::client::{End, Session};
use crate::protocol::frame::{HEADER, Header, WireError, peek_front, peek_too_large};
use crate::protocol::{Report, TxStatus, backend};
use crate::routing::TransactionClass;
use crate::shared::client::Running;
use crate::sql::LexContext;
use crate::sql::cache::verdicts::Cached;

impl From<WireError> for End {
    fn from(error: WireError) -> Self {
        match error {
            // PostgreSQL says nothing to the client either.
            WireError::Length => Self::ClientGone,
            error => errors::fatal_protocol_violation(error.to_string()).into(),
        }
    }
}

/// What became of a message.
pub(in crate::client) enum Progress {
    /// It is consumed, or can be looked at once more: there is a server connection now.
    Consumed,
    /// It needs a server connection first.
    NeedsServer(TransactionClass),
    /// It has to wait for answers that are owed.
    AwaitReplies,
    /// It waits for the gate.
    HoldForGate,
    /// It and what follows go to several servers.
    FanOut,
}

/// What becomes of a message that is larger than a message may be.
enum Large {
    /// It is passed on as it comes in.
    PassedOn(Header),
    /// It is not, or not yet. None: what follows it can be looked at.
    Refused(Option<Next>),
}

impl Session {
    /// Looks at what the client sent, as far as that is possible now.
    pub(in crate::client) fn process_client_input(&mut self) -> Result<Next, End> {
        loop {
            if let Some(n) = self.io.requests_mut().ignored() {
                match (n, self.io.drops_rest()) {
                    (0, _) => return self.wait_for_client(),
                    (_, true) => self.drop_bytes(n),
                    (_, false) => self.io.requests_mut().pass(n),
                }
                continue;
            }
            // Most looks: the message before was the last one.
            if self.io.requests().unread().is_empty() && !self.io.is_half_closed() && !self.has_many_pending() {
                self.io.requests_mut().want(0);
                return Ok(Next::Wait);
            }
            if self.io.replies().is_full() || self.io.requests().is_full() || self.must_await_reply() {
                self.io.requests_mut().want(0);
                return Ok(Next::Wait);
            }
            if self.has_many_pending() {
                return Ok(self.wait_for_answers());
            }
            let bytes = self.io.requests().unread();
            let header = match peek_front(bytes, self.account.largest()) {
                Ok(Some(header)) => header,
                Ok(None) => {
                    let wanted = if bytes.is_empty() { 0 } else { HEADER };
                    self.io.requests_mut().want(wanted);
                    return self.wait_for_client();
                }
                Err(error) => match self.look_at_large(error)? {
                    Large::PassedOn(header) => header,
                    Large::Refused(Some(next)) => return Ok(next),
                    Large::Refused(None) => continue,
                },
            };
            if self.has_large_pending(header) {
                return Ok(self.wait_for_answers());
            }
            if self.looks_at_copy(header) && self.holds_for_copy(header) {
                return Ok(Next::Wait);
            }
            let bytes = self.io.requests().unread();
            // COPY data is not looked at: it need not be whole.
            if header.tag == b'd' {
                match self.conversation.in_copy() {
                    true => self.io.pass_rest(header.total),
                    false => self.io.drop_rest(header.total),
                }
                continue;
            }
            if bytes.len() < header.total && !self.streams(header) {
                if let Some(report) = self.lacks_memory_to_read(header) {
                    match self.refuse_large(header, report) {
                        Some(next) => return Ok(next),
                        None => continue,
                    }
                }
                self.io.requests_mut().want(header.total);
                return self.wait_for_client();
            }
            self.io.requests_mut().want(0);
            match self.look_at_message(header)? {
                Progress::Consumed => {}
                Progress::NeedsServer(nature) => return Ok(Next::Acquire(nature)),
                Progress::AwaitReplies if header.tag == b'X' => return Ok(Next::LastWord),
                Progress::AwaitReplies => return Ok(Next::Wait),
                Progress::HoldForGate => return Ok(Next::Hold),
                Progress::FanOut => return Ok(Next::FanOut),
            }
        }
    }

    /// A message that is larger than a message may be.
    #[cold]
    fn look_at_large(&mut self, error: WireError) -> Result<Large, End> {
        let bytes = self.io.requests().unread();
        match peek_too_large(bytes, self.account.largest()) {
            // COPY data may have any size.
            Some(header) if header.tag == b'd' => Ok(Large::PassedOn(header)),
            Some(_) if self.conversation.in_copy() => Err(error.into()),
            Some(header) if self.streams(header) => Ok(Large::PassedOn(header)),
            Some(header) if self.lacks_names(header) => {
                let one_more = bytes.len() + 1;
                self.io.requests_mut().want(one_more);
                self.wait_for_client().map(|next| Large::Refused(Some(next)))
            }
            Some(header) => Ok(Large::Refused(self.refuse_large(header, self.larger_than_messages(header)))),
            None => Err(error.into()),
        }
    }

    /// Nothing more is looked at before the server has answered some of what it was sent.
    #[cold]
    fn wait_for_answers(&mut self) -> Next {
        self.hurry_answers();
        self.io.requests_mut().want(0);
        Next::Wait
    }

    /// Nothing more can be done before the client says more.
    fn wait_for_client(&mut self) -> Result<Next, End> {
        if self.io.is_half_closed() { self.after_last_word(End::ClientGone) } else { Ok(Next::Wait) }
    }

    fn look_at_message(&mut self, header: Header) -> Result<Progress, End> {
        if self.conversation.batch.skips() {
            self.tell_what_is_owed();
            if !matches!(header.tag, b'S' | b'X') {
                self.drop_bytes(header.total);
                return Ok(Progress::Consumed);
            }
        }
        if self.lease.replica().is_some() && self.db.gate.state().mode.reports_read_only() {
            self.lease.enter_maintenance();
        }
        if self.awaits_reading(header) {
            return Ok(Progress::AwaitReplies);
        }
        if matches!(header.tag, b'Q' | b'F') && self.awaits_batch() {
            return Ok(Progress::AwaitReplies);
        }
        self.unfold();
        if let Some(handled) = self.leaves_replica(header)? {
            return Ok(handled);
        }
        match header.tag {
            b'S' | b'H' if self.conversation.in_copy() => {
                self.pass_in_copy(header);
                Ok(Progress::Consumed)
            }
            b'Q' => self.query(header),
            b'P' | b'B' if self.whole_batch() => Ok(Progress::Consumed),
            b'P' | b'B' | b'D' | b'E' | b'C' | b'S' | b'H' | b'F' if self.awaits_clean() => Ok(Progress::AwaitReplies),
            b'P' | b'B' | b'D' | b'E' | b'C' | b'S' | b'H' => self.extended(header),
            b'F' => self.function_call(header),
            b'c' | b'f' => {
                if self.conversation.in_copy() {
                    self.copy_data_ended();
                    self.io.requests_mut().pass(header.total);
                } else {
                    // After a COPY that failed the client finishes its data: PostgreSQL ignores that too.
                    self.drop_bytes(header.total);
                }
                Ok(Progress::Consumed)
            }
            b'X' if self.conversation.in_copy() || self.has_answered() => Err(End::Goodbye),
            // What stands before it is answered first.
            b'X' => {
                self.hurry_answers();
                Ok(Progress::AwaitReplies)
            }
            other => Err(WireError::UnknownFrontend(other).into()),
        }
    }

    /// Whether what is plain may be sent over the server connection that there is, as with the gate open.
    pub(in crate::client) fn can_forward_now(&self) -> bool {
        matches!(self.lease, Lease::Write { .. } | Lease::Guarded { maintenance: false, .. })
            && !self.must_await_reply()
    }

    /// Reads a text, unless it is the one that was read last.
    pub(in crate::client) fn read_text(&self, text: &[u8], context: LexContext) -> Rc<Cached> {
        match self.settings.last_read(text, context) {
            Some(cached) => cached.clone(),
            None => self.core.verdicts.borrow_mut().get_or_analyze(text, context),
        }
    }

    /// Passes on a message that does not have the form it should have: the server runs nothing of it, and has the words.
    pub(in crate::client) fn malformed(&mut self, header: Header) -> Progress {
        if !self.has_right_lease() {
            return Progress::NeedsServer(TransactionClass::Any);
        }
        self.me.enter(crate::shared::Phase::Active);
        let request = match header.tag {
            b'Q' => Request::Query(None),
            b'F' => Request::Call,
            b'S' => Request::Sync,
            b'P' => Request::Parse(0),
            b'B' => Request::Bind(None),
            b'D' => Request::Describe(None),
            b'C' => Request::Close(0),
            _ => Request::Execute(None),
        };
        match header.tag {
            b'Q' | b'F' => self.conversation.batch.end(),
            b'S' => {
                self.conversation.batch.set_skip(false);
                self.conversation.batch.end();
            }
            _ => self.conversation.batch.go_on(),
        }
        self.pass(header, Some(PendingReply::seen(request)));
        Progress::Consumed
    }

    /// Body of the message at the front of what was read; its beginning, if it is one that [streams](Self::streams).
    pub(in crate::client) fn body(&self, header: Header) -> &[u8] {
        self.io.requests().body(header)
    }

    /// Passes a message on as it lies.
    pub(in crate::client) fn pass(&mut self, header: Header, expected: Option<PendingReply>) {
        self.keep_for_replay(header.total);
        let missing = self.missing(header.total);
        if missing > 0 {
            self.io.pass_rest(missing);
        }
        self.io.requests_mut().pass(header.total);
        if let Some(expected) = expected {
            self.expect(expected);
        }
    }

    /// Drops bytes of the client's: what stands before them goes into our own queue, so that order is kept.
    pub(in crate::client) fn drop_bytes(&mut self, n: usize) {
        self.keep_for_replay(n);
        let missing = self.missing(n);
        if missing > 0 {
            self.io.drop_rest(missing);
        }
        self.io.requests_mut().skip(n);
    }

    pub(in crate::client) fn keep_for_replay(&mut self, n: usize) {
        if self.conversation.lease.has_told() || !matches!(self.lease, Lease::Guarded { .. }) {
            return;
        }
        if !self.io.keep_for_replay(n) {
            // Too much to ask again.
            self.conversation.lease.note_told();
        }
    }

    /// Notes that an answer is awaited.
    pub(in crate::client) fn expect(&mut self, expected: PendingReply) {
        if expected.renames() {
            self.conversation.replies.note_renamed();
        }
        // What only reads or writes asks for no data, and takes no names away.
        if expected.text().is_some_and(|cached| !cached.analysis.is_plain()) {
            self.note_copy(&expected);
            self.conversation.names.note_forgets(expected.forgets_names());
        }
        self.conversation.lease.note_begun(expected.visibility != Visibility::Hidden);
        if matches!(expected.request, Request::Query(_) | Request::Fence | Request::Isolation | Request::Left(_))
            && let Some(server) = self.lease.server()
        {
            // A simple query ends the unnamed statement.
            server.unnamed = 0;
        }
        self.conversation.replies.push(expected);
    }

    /// An answer of our own is due behind what the server owes.
    pub(in crate::client) fn push_local(&mut self, say: PendingReply) {
        self.conversation.replies.push_local(say);
    }

    /// Whether the lease that there is serves what starts or goes on now.
    pub(in crate::client) fn has_right_lease(&self) -> bool {
        match &self.lease {
            Lease::None => false,
            Lease::Write { .. } | Lease::Allowed { .. } | Lease::Operator { .. } => true,
            Lease::Guarded { .. }
                if !self.bindings.pins().is_empty() && self.is_between_transactions() && self.goes_offline() =>
            {
                false
            }
            Lease::Guarded { .. } => !self.outstays_on_replica(),
            Lease::Bound { .. } => false,
            Lease::InPlace { .. } => !self.is_between_transactions() || self.stands_in_place(),
        }
    }

    /// Whether nothing is under way on the server connection.
    pub(in crate::client) fn is_between_transactions(&self) -> bool {
        self.conversation.status() == TxStatus::Idle
            && self.conversation.replies.is_empty()
            && !self.conversation.batch.is_open()
    }

    /// Notes the start of a statement, for SHOW CLIENTS and the statistics.
    pub(in crate::client) fn begin_work(&mut self, running: Running) {
        let now = self.io.now();
        self.io.note_asked();
        if self.me.transaction_since.get().is_none() {
            self.me.transaction_since.set(Some(now));
        }
        let before = self.me.running.borrow_mut().replace(running);
        self.give_back_text(before);
        self.me.enter_at(crate::shared::Phase::Active, now);
    }

    /// Gives the memory of a text back that nobody runs any more.
    pub(in crate::client) fn give_back_text(&self, running: Option<Running>) {
        if let Some(Running::Simple(cached)) = running {
            self.core.verdicts.borrow_mut().give_back(cached);
        }
    }

    /// Refuses a message for which no server is needed or to be had; see [`Self::answer_unsent`].
    pub(in crate::client) fn answer_error(&mut self, header: Header, report: &Report) {
        if let Some(stats) = self.db.stats.of(self.core.index) {
            stats.refused.add(1);
        }
        self.answer_unsent(header, report);
    }

    /// Answers a message that is sent to no server with an error; in the extended protocol everything up to Sync is dropped then.
    /// Only while no lease is held or nothing is under way on it.
    pub(in crate::client) fn answer_unsent(&mut self, header: Header, report: &Report) {
        self.drop_bytes(header.total);
        self.log_error(report);
        report.write(self.io.for_client());
        match header.tag {
            b'Q' | b'F' => backend::ready(self.io.for_client(), TxStatus::Idle),
            b'S' => {
                self.conversation.batch.set_skip(false);
                backend::ready(self.io.for_client(), TxStatus::Idle);
            }
            _ => self.conversation.batch.set_skip(true),
        }
    }
}
