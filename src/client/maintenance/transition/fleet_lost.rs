//! The fleet is lost while a transaction is open: others may soon count this proxy as gone.
//!
//! What has written, or may write, is broken off. A plain read is left to its end, and a block that has only read goes on READ ONLY:
//! it is fenced as by a drain ([`super::fence`]) as soon as nothing of it is under way.

use super::abort_open_transaction::AbortProgress;
use super::fence::Fencing;
use super::what_ran::Ran;
use crate::client::checkout::lease::Lease;
use crate::client::conversation::pending_replies::{PendingReply, Request};
use crate::client::{End, Session};
use crate::gate::{Cause, Mode};
use crate::protocol::TxStatus;

impl Session {
    /// Whether the gate of the lease is closed because the fleet cannot be reached.
    #[cold]
    pub(super) fn is_fleet_lost(&self) -> bool {
        let view = self.gate_of_lease().view();
        view.is_automatic() && view.in_force().is_some_and(|terms| terms.cause == Cause::FleetLost)
    }

    /// See the module. Asked again and again until nothing is open. `calls`: what may write, and is not known to have written, may
    /// come to its end.
    pub(in crate::client) fn stop_writing(&mut self, calls: bool) -> Result<(), End> {
        if !matches!(self.lease, Lease::Write { .. }) || self.gate_of_lease().state().mode == Mode::ReadWrite {
            return Ok(());
        }
        self.note_closing();
        self.fence_at_rest();
        let only_reads = self.is_at_most(Ran::Reads) && self.leads_to_no_writer();
        self.me.only_reads.set(only_reads);
        let spared = only_reads || calls && self.is_at_most(Ran::Calls);
        let asked = self.conversation.transaction().fencing == Fencing::Asked;
        if spared || asked || !matches!(self.lease, Lease::Write { .. }) { Ok(()) } else { self.break_off() }
    }

    /// A block between two statements is fenced, whatever has run in it: the server knows whether it has written.
    fn fence_at_rest(&mut self) {
        let conversation = &self.conversation;
        let rests = conversation.replies().is_empty() && !conversation.batch().is_open();
        let begins = rests
            && conversation.transaction().fencing == Fencing::No
            && self.maintenance.breaking == AbortProgress::No;
        if begins && conversation.status() == TxStatus::Block {
            self.fence_or_end();
        }
    }

    /// Whether something is under way, and neither that nor what was before it in the transaction can have done more than that.
    fn is_at_most(&self, most: Ran) -> bool {
        let conversation = &self.conversation;
        let under_way = !conversation.replies().is_empty() || conversation.batch().is_open();
        under_way
            && self.maintenance.breaking == AbortProgress::No
            && conversation.transaction().fencing == Fencing::No
            && conversation.transaction().history.ran() <= most
            && !conversation.transaction().history.holds()
            && !conversation.in_copy()
    }

    /// Whether what answers are owed for leads to no writer, as far as the catalog tells.
    fn leads_to_no_writer(&self) -> bool {
        let reads = |reply: &PendingReply| match reply.request() {
            Request::Query(Some(cached)) => !self.needs_primary(cached, self.lex_context()),
            Request::Execute(Some(statement)) => !self.needs_primary(&statement.cached, statement.context()),
            _ => true,
        };
        self.conversation.replies().iter().all(reads)
    }

    /// A block was asked, and has written.
    pub(super) fn break_off_written(&mut self) {
        let ran = self.conversation.transaction().history.ran();
        if self.maintenance.breaking == AbortProgress::No {
            self.maintenance.breaking = AbortProgress::of_failed(false, ran);
        }
    }
}
