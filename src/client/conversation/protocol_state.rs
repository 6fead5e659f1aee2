//! The state of the conversation over a server connection, one struct for each lifetime: the lease, the open transaction, the
//! batch, and the client's message in flight.

use std::rc::Rc;

use super::copy_in::CopyIn;
use super::pending_replies::Request;
use super::pending_replies::pool::PendingReplyPool;
use super::pending_replies::queue::ReplyQueue;
use crate::client::maintenance::check::search_path::AskedPath;
use crate::client::maintenance::query_split::QuerySplit;
use crate::client::maintenance::transition::open_transaction::OpenTransaction;
use crate::client::prepared::names_in_flight::NamesInFlight;
use crate::client::state::reported_parameters::Reports;
use crate::protocol::{Report, TxStatus};
use crate::sql::LexContext;

/// See the module.
pub(in crate::client) struct Conversation {
    /// What the server still owes.
    pub(super) replies: ReplyQueue,
    pub(super) batch: Batch,
    pub(super) message: Message,
    pub(super) reading: TextReading,
    pub(super) transaction: OpenTransaction,
    pub(super) names: NamesInFlight,
    pub(super) lease: LeaseState,
    /// How far a COPY FROM STDIN has come.
    pub(super) copy: CopyIn,
    /// As the server last said.
    status: TxStatus,
    /// Something has been answered since the last ReadyForQuery.
    answered: bool,
    /// An error has come since then.
    failed: bool,
    /// Whether the server has been asked behind the last word of a client that has gone.
    last_word: LastWord,
}

/// See [`Conversation::last_word`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum LastWord {
    /// It has not, or the client goes on.
    #[default]
    Open,
    /// It has.
    Asked,
}

impl Conversation {
    /// With nobody, so far.
    pub(in crate::client) fn new(reply_pool: Rc<PendingReplyPool>) -> Self {
        Self {
            replies: ReplyQueue::new(reply_pool),
            batch: Batch::default(),
            message: Message::default(),
            reading: TextReading::default(),
            transaction: OpenTransaction::default(),
            names: NamesInFlight::default(),
            lease: LeaseState::default(),
            copy: CopyIn::default(),
            status: TxStatus::default(),
            answered: false,
            failed: false,
            last_word: LastWord::default(),
        }
    }

    /// As at the beginning of a lease; whether the client has been `told` anything. What its Sync has to end goes on.
    pub(in crate::client) fn begin_lease(&mut self, told: bool) {
        let skip = self.batch.skip;
        self.forget();
        self.batch.skip = skip;
        self.lease.told = told;
    }

    /// The server connection has gone, and what was asked of it is asked of another.
    pub(in crate::client) fn forget(&mut self) {
        let Self {
            replies,
            batch,
            message,
            reading,
            transaction,
            names,
            lease,
            copy,
            status,
            answered,
            failed,
            last_word,
        } = self;
        replies.reset();
        *batch = Batch::default();
        *message = Message::default();
        *reading = TextReading::default();
        *transaction = OpenTransaction::default();
        *names = NamesInFlight::default();
        *lease = LeaseState::default();
        *copy = CopyIn::default();
        *status = TxStatus::default();
        (*answered, *failed) = (false, false);
        *last_word = LastWord::default();
    }

    /// Whether nothing is owed, held back or open.
    pub(in crate::client) fn is_at_rest(&self) -> bool {
        let Self {
            replies,
            batch,
            message,
            // Of a text or a transaction, or begun anew with the lease.
            reading: _,
            transaction: _,
            names: _,
            lease: _,
            copy,
            status,
            // Of what is owed.
            answered: _,
            failed: _,
            last_word: _,
        } = self;
        let is_answered = replies.is_empty() && replies.readies() == 0 && *status == TxStatus::Idle;
        let whole = message.split.is_empty() && message.withheld.is_empty() && !copy.is_open();
        is_answered && whole && !batch.is_open() && !batch.skip
    }

    /// The transaction, as the server last said.
    #[inline]
    pub(in crate::client) fn status(&self) -> TxStatus {
        self.status
    }

    /// The transaction becomes that.
    #[inline]
    pub(in crate::client) fn set_status(&mut self, status: TxStatus) {
        self.status = status;
    }

    /// Whether the server expects the client's COPY data.
    #[inline]
    pub(in crate::client) fn in_copy(&self) -> bool {
        self.copy.is_open()
    }

    /// A message has come that belongs to the answer to a statement.
    #[inline]
    pub(super) fn note_answered(&mut self, answers: bool) {
        self.answered |= answers;
    }

    /// An error has come.
    pub(super) fn note_failed(&mut self) {
        self.failed = true;
    }

    /// Whether one has come since the last ReadyForQuery.
    #[inline]
    pub(super) fn take_failed(&mut self) -> bool {
        std::mem::take(&mut self.failed)
    }

    /// The server is asked behind the client's last word. False: it has been.
    pub(super) fn ask_last(&mut self) -> bool {
        std::mem::replace(&mut self.last_word, LastWord::Asked) == LastWord::Open
    }

    /// Whether it has been asked.
    pub(super) fn asked_last(&self) -> bool {
        self.last_word == LastWord::Asked
    }

    /// What is about to be sent may change how text is read.
    pub(in crate::client) fn may_change_reading(&mut self) {
        (self.reading.unsure, self.reading.unsure_round) = (true, self.replies.rounds() as u32);
    }

    /// Whether the end of the last message that may have changed it has been answered. `alone`: no messages of ours stand ahead of
    /// the client's.
    pub(super) fn has_settled_reading(&self, alone: bool) -> bool {
        let answered = self.replies.answered_rounds();
        self.replies.is_empty()
            || alone && self.message.split.is_empty() && self.reading.rounds_since_unsure(answered) > 0
    }

    /// Whether a message that ends with ReadyForQuery has been sent behind the last one that may have changed it.
    pub(super) fn has_ended_unsure_round(&self) -> bool {
        self.reading.rounds_since_unsure(self.replies.rounds()) > 0
    }

    /// What a ReadyForQuery with that status means. A Sync alone ends no transaction block: PostgreSQL 18 says so where a simple
    /// query stood behind a batch without Sync, leaves that transaction open, and fails with the next statement, whoever sends it.
    pub(super) fn with_transaction_left_open(&mut self, said: TxStatus, to: &Request) -> TxStatus {
        let answered = std::mem::take(&mut self.answered);
        let left_open = said == TxStatus::Idle && self.status == TxStatus::Block && matches!(to, Request::Sync);
        if left_open && !answered { TxStatus::Block } else { said }
    }

    /// Whether one statement is under way, and nothing has to be seen to when its answer ends.
    #[inline]
    pub(in crate::client) fn is_plain(&self) -> bool {
        !self.failed
            && self.replies.len() == 1
            && !self.batch.is_open()
            && self.message.is_plain()
            && self.transaction.is_plain()
            && self.lease.is_plain()
            && self.names.is_plain()
    }

    /// ReadyForQuery has come for it.
    #[inline]
    pub(in crate::client) fn finish_plain(&mut self, status: TxStatus) {
        self.replies.finish_only();
        self.status = status;
        self.message.completed = 0;
        self.reading.unsure = false;
        if status == TxStatus::Idle {
            self.transaction.end_plainly();
            self.names.forget_path();
            self.reading.changed = false;
        }
    }
}

/// A batch of the extended protocol, up to its Sync.
#[derive(Default)]
pub(in crate::client) struct Batch {
    progress: BatchProgress,
    /// An error has been told; the client's messages are dropped until its Sync.
    skip: bool,
    /// What the client has sent of it has taken a snapshot, on a direct connection too.
    snapshot: bool,
}

/// How far a batch has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum BatchProgress {
    /// No message of the extended protocol has been sent since the last Sync.
    #[default]
    None,
    /// Some have.
    Open,
    /// A statement has been bound or executed.
    Bound,
}

impl Batch {
    /// Whether messages of the extended protocol have been sent since the last Sync.
    #[inline]
    pub(in crate::client) fn is_open(&self) -> bool {
        self.progress != BatchProgress::None
    }

    /// Whether a statement has been bound or executed since then.
    pub(in crate::client) fn is_bound(&self) -> bool {
        self.progress == BatchProgress::Bound
    }

    /// A message of it is sent.
    #[inline]
    pub(in crate::client) fn go_on(&mut self) {
        if self.progress == BatchProgress::None {
            self.progress = BatchProgress::Open;
        }
    }

    /// A Bind or an Execute of it is sent.
    #[inline]
    pub(in crate::client) fn note_bound(&mut self) {
        self.progress = BatchProgress::Bound;
    }

    /// A message of it is sent that takes a snapshot, or not.
    #[inline]
    pub(in crate::client) fn note_snapshot(&mut self, takes: bool) {
        self.snapshot |= takes;
    }

    /// Whether one of its messages has taken one.
    pub(in crate::client) fn has_snapshot(&self) -> bool {
        self.snapshot
    }

    /// A Sync is sent, the client's or one of ours.
    #[inline]
    pub(in crate::client) fn end(&mut self) {
        (self.progress, self.snapshot) = (BatchProgress::None, false);
    }

    /// Whether the client's messages are dropped until its Sync.
    #[inline]
    pub(in crate::client) fn skips(&self) -> bool {
        self.skip
    }

    /// They are dropped, or not.
    #[inline]
    pub(in crate::client) fn set_skip(&mut self, skip: bool) {
        self.skip = skip;
    }

    /// Its Sync has come. Gives whether what stood before it was dropped.
    pub(in crate::client) fn take_skip(&mut self) -> bool {
        std::mem::take(&mut self.skip)
    }
}

/// The client's message in flight, parts and what was put around them taken together.
#[derive(Default)]
pub(in crate::client) struct Message {
    /// Statements of the simple query under way that are complete.
    completed: u32,
    /// An error of it has been shown to the client.
    error_shown: bool,
    /// Statements of ours stand in it, that put the client's defaults in the place of the server's.
    restores: bool,
    /// A simple query that is sent in parts.
    pub(super) split: QuerySplit,
    /// What the client is told once its transaction has been checked: the end of its last statement's answer.
    withheld: Vec<u8>,
}

impl Message {
    /// A simple query that is sent in parts.
    #[inline]
    pub(in crate::client) fn split(&self) -> &QuerySplit {
        &self.split
    }

    /// The same, to change it.
    #[inline]
    pub(in crate::client) fn split_mut(&mut self) -> &mut QuerySplit {
        &mut self.split
    }

    #[inline]
    fn is_plain(&self) -> bool {
        !self.error_shown && !self.restores && self.split.is_empty() && self.withheld.is_empty()
    }

    /// The number of the statement that runs, among those of the simple query under way.
    #[inline]
    pub(in crate::client) fn statement_index(&self) -> usize {
        self.completed as usize
    }

    /// A statement is complete.
    #[inline]
    pub(in crate::client) fn complete_statement(&mut self) {
        self.completed += 1;
    }

    /// The next statement is the first one.
    #[inline]
    pub(super) fn restart(&mut self) {
        self.completed = 0;
    }

    /// The client has its ReadyForQuery.
    #[inline]
    pub(super) fn end(&mut self) {
        (self.completed, self.error_shown) = (0, false);
    }

    /// Whether the client has been shown an error.
    #[inline]
    pub(in crate::client) fn has_failed(&self) -> bool {
        self.error_shown
    }

    /// The client is shown an error.
    pub(super) fn show_error(&mut self) {
        self.error_shown = true;
    }

    /// Statements of ours stand in it.
    pub(in crate::client) fn note_restores(&mut self) {
        self.restores = true;
    }

    /// Whether any do.
    #[inline]
    pub(in crate::client) fn restores(&self) -> bool {
        self.restores
    }

    /// Whether the end of an answer is withheld.
    #[inline]
    pub(in crate::client) fn is_withheld(&self) -> bool {
        !self.withheld.is_empty()
    }

    /// What is withheld.
    pub(in crate::client) fn withheld(&mut self) -> &mut Vec<u8> {
        &mut self.withheld
    }
}

/// How the client's texts are read.
#[derive(Default)]
pub(in crate::client) struct TextReading {
    /// What has been sent and not been answered may change it.
    unsure: bool,
    /// How many messages that end with ReadyForQuery had been sent before the last such one.
    unsure_round: u32,
    /// It has changed in the open transaction.
    changed: bool,
    /// How the statement that is complete was read when it was parsed.
    parsed: ParsedReading,
}

/// See [`TextReading::parsed`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ParsedReading {
    /// As the server does.
    #[default]
    Sure,
    /// In more than one way.
    Unsure,
}

impl TextReading {
    /// Whether what is under way may change it.
    #[inline]
    pub(in crate::client) fn is_unsure(&self) -> bool {
        self.unsure
    }

    /// What may have changed it has been answered.
    pub(super) fn settle(&mut self) {
        self.unsure = false;
    }

    /// Whether it has changed in the open transaction.
    #[inline]
    pub(in crate::client) fn has_changed(&self) -> bool {
        self.changed
    }

    /// A setting has been reported, which decides it or does not.
    pub(super) fn note_reported(&mut self, decides: bool) {
        self.changed |= decides;
    }

    /// The transaction is over.
    pub(super) fn end_transaction(&mut self) {
        self.changed = false;
    }

    /// A statement is complete that was parsed like that.
    pub(super) fn note_parsed(&mut self, context: Option<LexContext>) {
        self.parsed = if context == Some(LexContext::UNSURE) { ParsedReading::Unsure } else { ParsedReading::Sure };
    }

    /// Whether the statement that is complete was parsed while it was not known how.
    pub(in crate::client) fn parsed_unsure(&self) -> bool {
        self.parsed == ParsedReading::Unsure
    }

    /// Rounds that have come since it was last unsure, up to number `round`.
    fn rounds_since_unsure(&self, round: u64) -> u32 {
        let since = (round as u32).wrapping_sub(self.unsure_round);
        if since > u32::MAX / 2 { 0 } else { since }
    }
}

/// The use of a server connection, from check-out to check-in.
#[derive(Default)]
pub(in crate::client) struct LeaseState {
    /// The client has been sent something.
    told: bool,
    /// The client's first message has been sent.
    begun: bool,
    /// What the server has reported.
    pub(super) reports: Reports,
    /// The session's settings are being made on the connection: before its role is taken nothing may run.
    settling: Settling,
    /// What the server has said of the search path.
    path: AskedPath,
}

/// See [`LeaseState::settling`].
#[derive(Default)]
pub(in crate::client) enum Settling {
    /// It need not, or has.
    #[default]
    No,
    /// Settings have been sent ahead of the client's first message, which has followed at once.
    Sent,
    /// The server has been asked for the role.
    Asked,
    /// It said no.
    Refused(Box<Report>),
}

impl LeaseState {
    /// What the server has reported.
    #[inline]
    pub(in crate::client) fn reports_mut(&mut self) -> &mut Reports {
        &mut self.reports
    }

    #[inline]
    fn is_plain(&self) -> bool {
        !self.reports.have_come() && matches!(self.settling, Settling::No)
    }

    /// What the server has said of the search path.
    pub(in crate::client) fn path(&self) -> &AskedPath {
        &self.path
    }

    /// The same, to note it.
    pub(in crate::client) fn path_mut(&mut self) -> &mut AskedPath {
        &mut self.path
    }

    /// Whether the client has been sent something.
    #[inline]
    pub(in crate::client) fn has_told(&self) -> bool {
        self.told
    }

    /// The client is sent something.
    #[inline]
    pub(in crate::client) fn note_told(&mut self) {
        self.told = true;
    }

    /// Whether the client's first message has been sent.
    #[inline]
    pub(in crate::client) fn has_begun(&self) -> bool {
        self.begun
    }

    /// A message is sent, the client's or one of ours.
    #[inline]
    pub(in crate::client) fn note_begun(&mut self, clients: bool) {
        self.begun |= clients;
    }

    /// The connection that the session keeps is used for another transaction.
    pub(in crate::client) fn begin_again(&mut self) {
        self.begun = false;
    }

    /// How far the session's settings have been made.
    #[inline]
    pub(in crate::client) fn settling(&self) -> &Settling {
        &self.settling
    }

    /// They are made.
    pub(in crate::client) fn set_settling(&mut self, settling: Settling) {
        self.settling = settling;
    }

    /// Nothing has to be waited for. Gives how it was.
    pub(in crate::client) fn take_settling(&mut self) -> Settling {
        std::mem::take(&mut self.settling)
    }
}
