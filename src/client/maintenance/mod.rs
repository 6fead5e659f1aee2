//! Everything that exists for maintenance alone: a write is refused, held, discarded or allowed; a read runs guarded.

pub(in crate::client) mod barred;
pub(in crate::client) mod check;
pub(in crate::client) mod guarded_query;
pub(in crate::client) mod hold;
pub(in crate::client) mod kept_out;
mod objects;
pub(in crate::client) mod query_split;
pub(in crate::client) mod read_only_block;
pub(in crate::client) mod read_write;
pub(in crate::client) mod refuse;
pub(in crate::client) mod rehearse;
pub(in crate::client) mod transition;
pub(in crate::client) mod write_rules;

use std::sync::Arc;

use crate::client::decide::Rollback;
use crate::client::maintenance::hold::Holding;
use crate::client::maintenance::refuse::Asking;
use crate::client::maintenance::transition::abort_open_transaction::AbortProgress;
use crate::protocol::Report;

/// What a session knows of a maintenance, beyond its transaction.
#[derive(Default)]
pub(in crate::client) struct Maintenance {
    /// The end of a transaction that may write.
    breaking: AbortProgress,
    /// Whether a server is asked about a write that is refused anyway.
    asking: Asking,
    /// The message that waits for the gate.
    holding: Holding,
    /// A warning for the client; of several the last.
    notice: Option<Arc<Report>>,
    /// Whether the gate was closed when the client was last told of it.
    notified_closed: bool,
    /// Mode change pending; it is told before the next ReadyForQuery.
    notify_pending: bool,
}

impl Maintenance {
    /// Of a session that begins, and is told whether the gate is closed.
    pub(in crate::client) fn new(closed: bool) -> Self {
        Self { notified_closed: closed, ..Self::default() }
    }

    /// Whether nothing of it is under way, but a message that is held.
    pub(in crate::client) fn is_at_rest(&self) -> bool {
        // What is known of the gate is handed over.
        let Self { breaking, asking, holding, notice, notified_closed: _, notify_pending } = self;
        let quiet = *breaking == AbortProgress::No && *asking == Asking::No && !holding.has_block();
        quiet && notice.is_none() && !notify_pending
    }

    /// Whether the gate was closed when the client was last told of it.
    pub(in crate::client) fn knows_closed(&self) -> bool {
        self.notified_closed
    }

    /// Whether the open transaction is brought to its end.
    #[inline]
    pub(in crate::client) fn aborts(&self) -> bool {
        self.breaking != AbortProgress::No
    }

    /// Whether what the client has said and nobody has heard may still be called off.
    pub(in crate::client) fn may_call_off(&self) -> bool {
        matches!(self.breaking, AbortProgress::No | AbortProgress::Asked(_))
    }

    /// Whether the client knows of everything that was rolled back.
    #[inline]
    pub(in crate::client) fn rollback(&self) -> Rollback {
        match self.breaking {
            AbortProgress::Untold(_) => Rollback::Unreported,
            _ => Rollback::Reported,
        }
    }

    /// Whether the server connection that is taken is only to ask about a write that is refused anyway.
    pub(in crate::client) fn take_asking(&mut self) -> bool {
        std::mem::take(&mut self.asking) == Asking::Waits
    }

    /// There was none.
    pub(in crate::client) fn ask_in_vain(&mut self) {
        self.asking = Asking::InVain;
    }

    /// A cancel request has come while the client waits.
    pub(in crate::client) fn note_cancel(&mut self) {
        self.holding.cancelled = true;
    }

    /// What came before is about another message.
    #[inline]
    pub(in crate::client) fn forget_cancel(&mut self) {
        self.holding.cancelled = false;
    }

    /// Whether one has come; it is dealt with now.
    pub(in crate::client) fn take_cancel(&mut self) -> bool {
        std::mem::take(&mut self.holding.cancelled)
    }

    /// The mode has changed. Gives whether the client can be told at once; else it is before the next ReadyForQuery.
    pub(in crate::client) fn notify_later(&mut self, busy: bool) -> bool {
        self.notify_pending = busy;
        !busy
    }

    /// Whether the client is to be told of the mode.
    #[inline]
    pub(in crate::client) fn has_notification(&self) -> bool {
        self.notify_pending
    }

    /// The same; it is told now.
    #[inline]
    pub(in crate::client) fn take_notification(&mut self) -> bool {
        std::mem::take(&mut self.notify_pending)
    }
}
