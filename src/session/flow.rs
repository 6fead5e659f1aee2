//! Where the conversation with a server connection stands.

use std::collections::VecDeque;
use std::rc::Rc;

use super::expect::{Expected, What};
use crate::wire::{Report, TxStatus};

/// See the module.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "to become enums with a lifetime")]
pub(super) struct Flow {
    /// What the server still owes, in order.
    pub(super) expects: VecDeque<Expected>,
    /// ReadyForQuery messages that are among it.
    pub(super) readies: usize,
    /// All that is under way are reads that are known to write nothing.
    pub(super) clean_alone: bool,
    /// As the server last said.
    pub(super) status: TxStatus,
    /// Something has been answered since the last ReadyForQuery.
    pub(super) answered: bool,
    /// Messages of the extended protocol have been sent since the last Sync.
    pub(super) batch: bool,
    /// A statement has been bound or executed since then.
    pub(super) bound: bool,
    /// An error has been told; the client's messages are dropped until its Sync.
    pub(super) skip: bool,
    /// The server expects the client's COPY data.
    pub(super) copy_in: bool,
    /// The client has finished its COPY data since the last Sync.
    pub(super) copied: bool,
    /// Statements of the simple query under way that are complete.
    pub(super) nth: usize,
    /// Whether an error came in the simple query under way.
    pub(super) failed: bool,
    /// What is left of a simple query that is sent in parts.
    pub(super) parts: VecDeque<super::parts::Part>,
    /// The query they are parts of.
    pub(super) divided: Option<Rc<crate::sql::cache::Cached>>,
    /// An error came in the client's message under way, parts and what was put around them taken together.
    pub(super) broken: bool,
    /// The open transaction, or a part of it, has been rolled back: it may have left its counts of changes.
    pub(super) stale: bool,
    /// Statements of ours stand in the client's messages, that put its defaults in the place of the server's.
    pub(super) restores: bool,
    /// The open transaction has altered the catalog.
    pub(super) altered: bool,
    /// It has put settings back: those that a guard is made of too.
    pub(super) resets: bool,
    /// What has been sent and not been answered may change how text is read.
    pub(super) reading_unsure: bool,
    /// The statement that is complete was parsed while that was so.
    pub(super) parsed_unsure: bool,
    /// How text is read has changed in the open transaction.
    pub(super) reading_changed: bool,
    /// It has been asked for its proof.
    pub(super) asked: bool,
    /// What the open transaction may have done unseen.
    pub(super) doubt: super::proof::Doubt,
    /// Declarations of its cursors WITH HOLD whose queries have run and are proved with it.
    pub(super) cursors: Option<Box<super::held_cursor::Declared>>,
    /// A cursor WITH HOLD was declared in the batch: nothing follows before its declaration is known.
    pub(super) declares: bool,
    /// The proof that it has written nothing has failed.
    pub(super) unproved: bool,
    /// What the client is told once a transaction has been proved: the end of its last statement's answer.
    pub(super) held: Vec<u8>,
    pub(super) around: super::wrapped::Around,
    /// Messages that end with ReadyForQuery and have been sent.
    pub(super) rounds: u64,
    /// How many there were when the client's names, or what stands on the server, changed last.
    pub(super) renamed: Option<u64>,
    /// PREPARE, DEALLOCATE or DISCARD ALL is under way: which names there are is known once it has been answered.
    pub(super) forgets: bool,
    /// The open transaction has changed where tables are looked for.
    pub(super) path: Option<u64>,
    /// The types of its parameters, while the answer to a Describe goes on.
    pub(super) parameter_types: Box<[u8]>,
    /// What is done about names of the client's own on the server.
    pub(super) named: Option<Box<super::named::UnderWay>>,
    /// Behind the last message that is owed an answer went a Flush of ours.
    pub(super) flushed: bool,
    /// The client has been sent something since the lease began.
    pub(super) told: bool,
    /// The client's first message has been sent over the lease.
    pub(super) begun: bool,
    /// What the server has reported in it.
    pub(super) reports: super::reported::Reports,
    /// What ran in the open transaction.
    pub(super) past: super::past::Past,
    pub(super) fencing: super::fence::Fencing,
    /// Whether the gate closes while the session may write.
    pub(super) closing: super::closing::Closing,
    /// The session's settings are being made on this server connection: before its role is taken nothing may run.
    pub(super) settling: Settling,
}

/// See [`Flow::settling`].
#[derive(Default)]
pub(super) enum Settling {
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
    pub(super) fn begin_anew(&mut self, told: bool) {
        self.expects.clear();
        let expects = std::mem::take(&mut self.expects);
        *self = Self { expects, told, skip: self.skip, ..Self::default() };
    }

    /// What a ReadyForQuery with that status means. A Sync alone ends no transaction block: PostgreSQL 18 says so where a simple
    /// query stood behind a batch without Sync, leaves that transaction open, and fails with the next statement, whoever sends it.
    pub(super) fn with_transaction_left_open(&mut self, said: TxStatus, to: &What) -> TxStatus {
        let answered = std::mem::take(&mut self.answered);
        let left_open = said == TxStatus::Idle && self.status == TxStatus::Block && matches!(to, What::Sync);
        if left_open && !answered { TxStatus::Block } else { said }
    }
}
