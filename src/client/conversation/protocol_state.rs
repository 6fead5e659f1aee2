//! Where the conversation with a server connection stands.

use std::collections::VecDeque;
use std::rc::Rc;

use super::pending_replies::{Expected, What};
use crate::protocol::{Report, TxStatus};

/// See the module.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "to become enums with a lifetime")]
pub(in crate::client) struct Flow {
    /// What the server still owes, in order.
    pub(in crate::client) expects: VecDeque<Expected>,
    /// ReadyForQuery messages that are among it.
    pub(in crate::client) readies: usize,
    /// All that is under way are reads that are known to write nothing.
    pub(in crate::client) clean_alone: bool,
    /// As the server last said.
    pub(in crate::client) status: TxStatus,
    /// Something has been answered since the last ReadyForQuery.
    pub(in crate::client) answered: bool,
    /// Messages of the extended protocol have been sent since the last Sync.
    pub(in crate::client) batch: bool,
    /// A statement has been bound or executed since then.
    pub(in crate::client) bound: bool,
    /// An error has been told; the client's messages are dropped until its Sync.
    pub(in crate::client) skip: bool,
    /// How far a COPY FROM STDIN has come.
    pub(in crate::client) copy: super::copy_in::CopyIn,
    /// The client has gone, and the server has been asked behind its last word.
    pub(in crate::client) asked_last: bool,
    /// Statements of the simple query under way that are complete.
    pub(in crate::client) nth: usize,
    /// Whether an error came in the simple query under way.
    pub(in crate::client) failed: bool,
    /// What is left of a simple query that is sent in parts.
    pub(in crate::client) parts: VecDeque<crate::client::maintenance::query_split::Part>,
    /// The query they are parts of.
    pub(in crate::client) divided: Option<Rc<crate::sql::cache::verdicts::Cached>>,
    /// An error came in the client's message under way, parts and what was put around them taken together.
    pub(in crate::client) broken: bool,
    /// The open transaction, or a part of it, has been rolled back: it may have left its counts of changes.
    pub(in crate::client) stale: bool,
    /// Statements of ours stand in the client's messages, that put its defaults in the place of the server's.
    pub(in crate::client) restores: bool,
    /// The open transaction has altered the catalog.
    pub(in crate::client) altered: bool,
    /// It has put settings back: those that a guard is made of too.
    pub(in crate::client) resets: bool,
    /// What has been sent and not been answered may change how text is read.
    pub(in crate::client) reading_unsure: bool,
    /// How many messages that end with ReadyForQuery had been sent before the last such one.
    pub(in crate::client) unsure_round: u32,
    /// The statement that is complete was parsed while that was so.
    pub(in crate::client) parsed_unsure: bool,
    /// How text is read has changed in the open transaction.
    pub(in crate::client) reading_changed: bool,
    /// It has been asked for its proof.
    pub(in crate::client) asked: bool,
    /// What the open transaction may have done unseen.
    pub(in crate::client) doubt: crate::client::maintenance::check::write_check::Doubt,
    /// Declarations of its cursors WITH HOLD whose queries have run and are proved with it.
    pub(in crate::client) cursors: Option<Box<crate::client::maintenance::check::with_hold_cursor::Declared>>,
    /// A cursor WITH HOLD was declared in the batch: nothing follows before its declaration is known.
    pub(in crate::client) declares: bool,
    /// The proof that it has written nothing has failed.
    pub(in crate::client) unproved: bool,
    /// What the client is told once a transaction has been proved: the end of its last statement's answer.
    pub(in crate::client) held: Vec<u8>,
    pub(in crate::client) around: crate::client::maintenance::read_only_block::Around,
    /// Messages that end with ReadyForQuery and have been sent.
    pub(in crate::client) rounds: u64,
    /// How many there were when the client's names, or what stands on the server, changed last.
    pub(in crate::client) renamed: Option<u64>,
    /// PREPARE, DEALLOCATE or DISCARD ALL is under way: which names there are is known once it has been answered.
    pub(in crate::client) forgets: bool,
    /// The open transaction has changed where tables are looked for.
    pub(in crate::client) path: Option<u64>,
    /// The types of its parameters, while the answer to a Describe goes on.
    pub(in crate::client) parameter_types: Box<[u8]>,
    /// What is done about names of the client's own on the server.
    pub(in crate::client) named: Option<Box<crate::client::prepared::sql_prepare::UnderWay>>,
    /// Behind the last message that is owed an answer went a Flush of ours.
    pub(in crate::client) flushed: bool,
    /// The client has been sent something since the lease began.
    pub(in crate::client) told: bool,
    /// The client's first message has been sent over the lease.
    pub(in crate::client) begun: bool,
    /// What the server has reported in it.
    pub(in crate::client) reports: crate::client::state::reported_parameters::Reports,
    /// What ran in the open transaction.
    pub(in crate::client) past: crate::client::maintenance::transition::transaction_history::Past,
    pub(in crate::client) fencing: crate::client::maintenance::transition::fence::Fencing,
    /// Whether the gate closes while the session may write.
    pub(in crate::client) closing: crate::client::maintenance::transition::closing::Closing,
    /// The session's settings are being made on this server connection: before its role is taken nothing may run.
    pub(in crate::client) settling: Settling,
}

/// See [`Flow::settling`].
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

impl Flow {
    /// As at the beginning of a lease, with the memory of its queue. What the client's Sync has to end goes on.
    pub(in crate::client) fn begin_anew(&mut self, told: bool) {
        self.expects.clear();
        let expects = std::mem::take(&mut self.expects);
        *self = Self { expects, told, skip: self.skip, ..Self::default() };
    }

    /// What is about to be sent may change how text is read.
    pub(in crate::client) fn may_change_reading(&mut self) {
        (self.reading_unsure, self.unsure_round) = (true, self.rounds as u32);
    }

    /// Whether the end of the last message that may have changed it has been answered. `alone`: no messages of ours stand ahead of
    /// the client's.
    pub(in crate::client) fn has_settled_reading(&self, alone: bool) -> bool {
        let answered = self.rounds.saturating_sub(self.readies as u64);
        self.expects.is_empty() || alone && self.parts.is_empty() && self.rounds_since_unsure(answered) > 0
    }

    /// Rounds that have come since then, up to number `round`.
    pub(in crate::client) fn rounds_since_unsure(&self, round: u64) -> u32 {
        let since = (round as u32).wrapping_sub(self.unsure_round);
        if since > u32::MAX / 2 { 0 } else { since }
    }

    /// What a ReadyForQuery with that status means. A Sync alone ends no transaction block: PostgreSQL 18 says so where a simple
    /// query stood behind a batch without Sync, leaves that transaction open, and fails with the next statement, whoever sends it.
    pub(in crate::client) fn with_transaction_left_open(&mut self, said: TxStatus, to: &What) -> TxStatus {
        let answered = std::mem::take(&mut self.answered);
        let left_open = said == TxStatus::Idle && self.status == TxStatus::Block && matches!(to, What::Sync);
        if left_open && !answered { TxStatus::Block } else { said }
    }
}
