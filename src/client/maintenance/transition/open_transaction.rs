//! The open transaction, as far as the gate has to know of it: what ran in it, whether it may still write, and whether that has
//! been checked.

use crate::client::maintenance::check::with_hold_cursor::Declared;
use crate::client::maintenance::check::write_check::PossibleWrites;
use crate::client::maintenance::read_only_block::EnclosingBlock;
use crate::client::maintenance::transition::closing::Closing;
use crate::client::maintenance::transition::fence::Fencing;
use crate::client::maintenance::transition::transaction_history::TransactionHistory;

/// See the module.
#[derive(Default)]
pub(in crate::client) struct OpenTransaction {
    /// What ran in it.
    pub(super) history: TransactionHistory,
    /// Whether it may still write, with the gate closing.
    pub(in crate::client::maintenance) fencing: Fencing,
    /// Whether the gate closes while the session may write.
    pub(in crate::client::maintenance) closing: Closing,
    /// What it may have done unseen.
    pub(in crate::client::maintenance) doubt: PossibleWrites,
    check: WriteCheck,
    /// Declarations of its cursors WITH HOLD whose queries have run and are checked with it.
    pub(in crate::client::maintenance) cursors: Option<Box<Declared>>,
    /// It, or a part of it, has been rolled back: it may have left its counts of changes.
    stale: bool,
    effects: Effects,
    /// What its batch has been put into.
    pub(in crate::client::maintenance) enclosing_block: EnclosingBlock,
    /// A cursor WITH HOLD was declared in the batch: nothing follows before its declaration is known.
    declares: bool,
}

/// The question whether a transaction has written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum WriteCheck {
    /// Not asked.
    #[default]
    None,
    /// Asked.
    Sent,
    /// It has written, and nothing has been done about that.
    Failed,
}

/// What a transaction has changed, beyond rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Effects {
    /// The catalog.
    altered: bool,
    /// Settings were put back: those that a guard is made of too.
    resets: bool,
}

impl OpenTransaction {
    /// What ran in it.
    #[inline]
    pub(in crate::client) fn history(&self) -> &TransactionHistory {
        &self.history
    }

    /// The same, to change it.
    #[inline]
    pub(in crate::client) fn history_mut(&mut self) -> &mut TransactionHistory {
        &mut self.history
    }

    /// Whether nothing of it has to be seen to when its statement has been answered.
    #[inline]
    pub(in crate::client) fn is_plain(&self) -> bool {
        self.check == WriteCheck::None
            && !self.stale
            && self.effects == Effects::default()
            && !self.doubt.is_any()
            && self.closing == Closing::No
            && self.fencing == Fencing::No
            && self.cursors.is_none()
    }

    /// A plain one is over.
    #[inline]
    pub(in crate::client) fn end_plainly(&mut self) {
        self.history.end(false);
    }

    /// It is over; whether anything of the next one is under way already.
    pub(in crate::client) fn end(&mut self, more: bool) {
        self.history.end(more);
        self.fencing = Fencing::No;
        self.cursors = None;
    }

    /// The client has its ReadyForQuery, outside of a block. Gives whether counts of changes have to be forgotten.
    pub(in crate::client) fn take_stale(&mut self) -> bool {
        let doubted = std::mem::take(&mut self.doubt).is_any();
        let asked = self.check != WriteCheck::None;
        if self.check == WriteCheck::Sent {
            self.check = WriteCheck::None;
        }
        std::mem::take(&mut self.stale) && (doubted || asked)
    }

    /// It, or a part of it, has been rolled back.
    pub(in crate::client) fn note_rolled_back(&mut self) {
        self.stale = true;
    }

    /// The question whether it has written is sent.
    pub(in crate::client::maintenance) fn check_sent(&mut self) {
        if self.check == WriteCheck::None {
            self.check = WriteCheck::Sent;
        }
    }

    /// It has failed.
    pub(in crate::client::maintenance) fn fail_check(&mut self) {
        self.check = WriteCheck::Failed;
    }

    /// Something is done about a check that has failed. False: none has.
    pub(in crate::client::maintenance) fn take_failed_check(&mut self) -> bool {
        let failed = self.check == WriteCheck::Failed;
        if failed {
            self.check = WriteCheck::Sent;
        }
        failed
    }

    /// Whether the check has failed, and nothing has been done about it yet.
    #[inline]
    pub(in crate::client) fn check_failed(&self) -> bool {
        self.check == WriteCheck::Failed
    }

    /// A statement has altered the catalog, or has not.
    pub(in crate::client) fn note_altered(&mut self, altered: bool) {
        self.effects.altered |= altered;
    }

    /// Whether any has.
    pub(in crate::client::maintenance) fn take_altered(&mut self) -> bool {
        std::mem::take(&mut self.effects.altered)
    }

    /// A statement has put settings back, or has not.
    pub(in crate::client) fn note_resets(&mut self, resets: bool) {
        self.effects.resets |= resets;
    }

    /// Whether any has.
    pub(in crate::client::maintenance) fn take_resets(&mut self) -> bool {
        std::mem::take(&mut self.effects.resets)
    }

    /// Whether its batch, which began outside of a block, is in one of ours.
    #[inline]
    pub(in crate::client) fn is_in_our_block(&self) -> bool {
        self.enclosing_block == EnclosingBlock::ReadOnlyWrapper
    }

    /// Whether its batch is in no block, neither ours nor one that the batch itself has opened.
    #[inline]
    pub(in crate::client) fn is_in_no_block(&self) -> bool {
        self.enclosing_block == EnclosingBlock::None
    }

    /// The batch is over. Gives whether it was in a block of ours.
    pub(in crate::client) fn leave_our_block(&mut self) -> bool {
        std::mem::take(&mut self.enclosing_block) == EnclosingBlock::ReadOnlyWrapper
    }

    /// A cursor WITH HOLD is declared in the batch.
    pub(in crate::client::maintenance) fn note_declares(&mut self) {
        self.declares = true;
    }

    /// Whether the declaration of one has to be known first.
    #[inline]
    pub(in crate::client) fn declares(&self) -> bool {
        self.declares
    }

    /// It is known.
    pub(in crate::client) fn end_declares(&mut self) {
        self.declares = false;
    }

    /// The session may not write any more, or has no server connection.
    pub(in crate::client) fn end_closing(&mut self) {
        self.closing = Closing::No;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_that_has_failed_is_acted_on_once_and_outlives_the_message() {
        let mut transaction = OpenTransaction::default();
        transaction.check_sent();
        transaction.fail_check();
        transaction.check_sent();
        assert!(transaction.check_failed());
        transaction.note_rolled_back();
        assert!(transaction.take_stale());
        assert!(transaction.check_failed(), "nothing has been done about it yet");
        assert!(transaction.take_failed_check());
        assert!(!transaction.take_failed_check());
    }

    #[test]
    fn counts_are_forgotten_only_behind_what_was_in_doubt_and_rolled_back() {
        let mut transaction = OpenTransaction::default();
        transaction.note_rolled_back();
        assert!(!transaction.take_stale(), "it could not write");
        transaction.check_sent();
        assert!(!transaction.take_stale(), "it was committed");
        assert!(transaction.is_plain());
    }
}
