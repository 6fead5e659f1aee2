//! A batch of the extended protocol on a guarded server connection, and the block that may be put around it.
//!
//! CALL and DO could end their own transaction from inside, and begin one that may write. So, unless the catalog shows that they do
//! no harm, from the first of them on the batch runs in an explicit READ ONLY block of ours, where PostgreSQL forbids that, up to the
//! Sync that ends its transaction; what the client says itself about transactions there is answered as outside of a block.

use std::rc::Rc;

use crate::client::Session;
use crate::client::conversation::client_messages::Progress;
use crate::client::conversation::pending_replies::{LocalReply, PendingReply, Request, Visibility, WriteCheckStep};
use crate::client::errors;
use crate::client::maintenance::transition::what_ran::takes_snapshot;
use crate::protocol::frame::Header;
use crate::protocol::{TxStatus, frontend};
use crate::shared::Statement as Prepared;
use crate::sql::own_statements::transaction::{BEGIN_READ_ONLY, COMMIT};
use crate::sql::{Kind, Statement, TransactionModes, TransactionVerb};

/// Name of the statements and portals that are put around a batch.
pub(in crate::client) const WRAPPER: &[u8] = b"pgsluice_wrapper";

/// What the batch under way, which began outside of a block, has been put into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::client) enum EnclosingBlock {
    /// Its own transaction.
    #[default]
    None,
    /// A block of ours.
    ReadOnlyWrapper,
    /// A block that the client has opened.
    ClientBlock,
}

/// What a simple query says of its transaction before it takes a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SnapshotChoice {
    /// Nothing.
    None,
    /// It begins a block.
    Block,
    /// It says how the transaction is to be, and does nothing else.
    Alone,
}

/// See [`SnapshotChoice`]. PostgreSQL takes no snapshot for what is looked past here.
fn snapshot_choice(statements: &[Statement]) -> SnapshotChoice {
    let mut chooses = false;
    for one in statements {
        match &one.kind {
            Kind::Transaction(TransactionVerb::Begin(_)) => return SnapshotChoice::Block,
            Kind::Transaction(TransactionVerb::SetTransaction { .. }) => chooses = true,
            Kind::Session if one.tag == "SET" && !one.contained => {
                // It is the transaction's own, and has no effect on the session.
                chooses |= one.effects.is_empty();
            }
            Kind::Utility | Kind::Read | Kind::Session if !one.contained && !takes_snapshot(one) => {}
            _ => return SnapshotChoice::None,
        }
    }
    if chooses { SnapshotChoice::Alone } else { SnapshotChoice::None }
}

impl Session {
    /// Looks at a simple query or a function call in the midst of a batch. The server skips it if something before it has
    /// failed, else runs it in the same transaction and commits. True if it has to wait until that is known.
    pub(in crate::client) fn awaits_batch(&mut self) -> bool {
        if !self.conversation.batch().is_open() || !self.lease.in_maintenance() || self.conversation.in_copy() {
            return false;
        }
        if !self.is_outside_blocks() {
            // A Sync changes nothing in a block, and tells whether there is one.
            self.end_batch_ahead();
            return true;
        }
        self.awaits_answers()
    }

    /// Whether answers are owed. They are asked for with a Flush.
    pub(in crate::client) fn awaits_answers(&mut self) -> bool {
        if self.conversation.replies_mut().take_flush() {
            frontend::write_flush(self.io.for_server());
        }
        !self.conversation.replies().is_empty()
    }

    /// A function call ends a batch as a Sync does: what stands before it is proved first.
    pub(in crate::client) fn prove_open_batch(&mut self) {
        if self.conversation.batch().is_open() {
            self.prove_batch();
        }
    }

    /// So does a simple query, unless it makes a block of the batch's transaction, which is proved at its COMMIT.
    pub(in crate::client) fn prove_ahead_of(&mut self, statements: &[Statement]) {
        if !self.makes_block_of_batch(statements) {
            self.prove_open_batch();
        }
    }

    /// Whether a simple query makes a block of the transaction that a batch has begun.
    pub(in crate::client) fn makes_block_of_batch(&self, statements: &[Statement]) -> bool {
        self.conversation.batch().is_open()
            && self.is_outside_blocks()
            && snapshot_choice(statements) == SnapshotChoice::Block
    }

    /// Whether a simple query has to come ahead of the question about the batch before it, since that takes a snapshot where the
    /// batch has taken none. Then the batch is ended first. True: its end is awaited.
    pub(in crate::client) fn awaits_end_of_batch(&mut self, statements: &[Statement]) -> bool {
        let asks = self.conversation.batch().is_open()
            && !self.conversation.batch().has_snapshot()
            && self.conversation.transaction().doubt.is_any()
            && self.lease.in_maintenance()
            && self.must_prove();
        let ends = asks && self.is_outside_blocks() && snapshot_choice(statements) == SnapshotChoice::Alone;
        if ends {
            self.end_batch_ahead();
        }
        ends
    }

    /// Ends the batch with a Sync of our own.
    fn end_batch_ahead(&mut self) {
        self.conversation.batch_mut().end();
        self.prove_batch();
        self.own_messages().hiding(Visibility::Hidden).sync();
        if self.conversation.transaction_mut().leave_our_block() {
            self.own_messages().hiding(Visibility::Hidden).proving(WriteCheckStep::End).query(COMMIT);
        }
    }

    /// The question ahead of a Sync, which commits the transaction if it is one of its own.
    pub(in crate::client) fn prove_batch(&mut self) {
        // A block of the client's goes on, and may still choose its isolation level.
        let transaction = &self.conversation.transaction();
        let ends =
            self.conversation.status() == TxStatus::Idle && transaction.enclosing_block != EnclosingBlock::ClientBlock;
        if ends && transaction.doubt.is_any() && self.must_prove() {
            self.prove_in_batch(None);
        }
    }

    pub(in crate::client) fn begin_wrapped_batch(&mut self) {
        self.conversation.transaction_mut().enclosing_block = EnclosingBlock::ReadOnlyWrapper;
        self.run_own(BEGIN_READ_ONLY.as_bytes(), WriteCheckStep::None, None);
    }

    /// The batch's Sync: the block around it is closed first. After an error the server has skipped that, and the COMMIT,
    /// then a ROLLBACK, of the simple query behind it ends the block.
    pub(in crate::client) fn end_wrapped_batch(&mut self) {
        self.conversation.transaction_mut().enclosing_block = EnclosingBlock::None;
        self.own_messages().hiding(Visibility::WithoutReady).sync();
        self.own_messages().hiding(Visibility::ReadyAndErrors).proving(WriteCheckStep::End).query(COMMIT);
    }

    /// Whether what runs next in the batch is in no block, as far as that is known before its Sync.
    pub(in crate::client) fn is_outside_blocks(&self) -> bool {
        self.conversation.status() == TxStatus::Idle
            && self.conversation.transaction().enclosing_block == EnclosingBlock::None
    }

    /// Looks at the Execute of transaction control. Some: it is dealt with.
    pub(in crate::client) fn verb_in_batch(
        &mut self,
        header: Header,
        verb: &TransactionVerb,
        prepared: &Rc<Prepared>,
    ) -> Option<Progress> {
        if self.conversation.transaction().enclosing_block != EnclosingBlock::ReadOnlyWrapper {
            if matches!(verb, TransactionVerb::Begin(_)) && self.conversation.status() == TxStatus::Idle {
                self.conversation.transaction_mut().enclosing_block = EnclosingBlock::ClientBlock;
            }
            return None;
        }
        if self.awaits_answers() {
            // After an error it is skipped, and the block stays ours.
            return Some(Progress::AwaitReplies);
        }
        let outside = errors::outside_of_block;
        let late = |what: &str| {
            errors::too_late_in_transaction(format!("SET TRANSACTION {what} must be called before any query"))
        };
        let report = match verb {
            TransactionVerb::Begin(TransactionModes { isolation: Some(_), .. }) => late("ISOLATION LEVEL"),
            TransactionVerb::Begin(TransactionModes { deferrable: Some(_), .. }) => late("[NOT] DEFERRABLE"),
            TransactionVerb::Begin(_) => {
                // The block is the client's from here on: no need to warn of one that is open already.
                self.conversation.transaction_mut().enclosing_block = EnclosingBlock::ClientBlock;
                self.pass(
                    header,
                    Some(PendingReply::hidden(Request::Execute(Some(prepared.clone())), Visibility::WithoutNotices)),
                );
                return Some(Progress::Consumed);
            }
            TransactionVerb::Savepoint(_) => outside("SAVEPOINT"),
            TransactionVerb::Release(_) => outside("RELEASE SAVEPOINT"),
            TransactionVerb::RollbackTo(_) => outside("ROLLBACK TO SAVEPOINT"),
            TransactionVerb::Commit { chain: true } => outside("COMMIT AND CHAIN"),
            TransactionVerb::Rollback { chain: true } => outside("ROLLBACK AND CHAIN"),
            _ => return None,
        };
        Some(self.fail_in_place(header, report))
    }

    /// The client's COMMIT or ROLLBACK ends the transaction within the batch. Of a block of ours it knows nothing.
    pub(in crate::client) fn leave_wrapping(&mut self) {
        if self.conversation.transaction_mut().leave_our_block() {
            self.say(PendingReply::seen(Request::Local(LocalReply::NoTransaction)));
        }
    }
}
