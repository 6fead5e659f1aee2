//! Fencing: at a flip, an open transaction that has written nothing is made READ ONLY in its middle, and need not be waited for.
//!
//! Between two statements the server is asked for the transaction's id. A transaction without one has written nothing; with the
//! same statement it becomes READ ONLY, which nothing can lift once a snapshot is taken, and goes on as one that is guarded in
//! place. With an id it may finish; so may one within a savepoint, whose end would undo the setting: it is asked again when
//! the savepoint is gone. So may one that has declared a cursor WITH HOLD, whose query runs within COMMIT.

use super::expect::{Expected, Hide, What};
use super::lease::{InPlaceGuard, Lease};
use super::{Session, drain};
use crate::gate::{DrainTo, Mode};
use crate::sql::own_statements::transaction::{ARM, FENCE, FENCE_EARLY, FENCE_WITHOUT_CURSORS};
use crate::wire::{TxStatus, front};

/// How far it has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fencing {
    /// Nothing was asked.
    #[default]
    No,
    /// The question is on its way: nothing may overtake it.
    Asked,
    /// Nothing was written and nothing can be.
    Fenced,
    /// It has written, and may finish.
    Written,
}

impl Session {
    /// Asks, if the gate is closing, a transaction that may write is open, and nothing of it is under way.
    pub(super) fn fence_if_due(&mut self) {
        let open = matches!(self.flow.status, TxStatus::Block | TxStatus::Failed);
        if !open || !matches!(self.lease, Lease::Write { .. }) || self.flow.fencing != Fencing::No {
            return;
        }
        if !matches!(self.db.gate.state().mode, Mode::Draining { to: DrainTo::ReadOnly { .. } }) {
            return;
        }
        let quiet = self.flow.expects.is_empty()
            && !self.flow.batch
            && self.io.client_rest == 0
            && self.io.server_rest == 0
            && self.breaking == drain::Breaking::No;
        if !quiet || self.flow.past.in_savepoint() || self.flow.past.holds() {
            return;
        }
        if self.flow.status == TxStatus::Failed {
            // It will be rolled back whatever comes; the client has had its error.
            self.breaking = drain::Breaking::Asked { told: true };
            self.break_off_if_quiet();
            return;
        }
        self.flow.fencing = Fencing::Asked;
        let io = &mut self.io;
        io.from_client.move_ready(&mut io.to_server);
        if self.flow.past.queried() {
            self.ask_fence(if self.distrusts_cursors() { FENCE_WITHOUT_CURSORS } else { FENCE });
        } else {
            self.ask_fence(ARM);
            self.ask_fence(FENCE_EARLY);
        }
    }

    fn ask_fence(&mut self, text: &str) {
        if text == ARM
            && let Some(server) = self.lease.server()
        {
            server.read_only_set = Some(true);
        }
        front::write_query(&mut self.io.to_server, text.as_bytes());
        self.expect(Expected::hidden(What::Fence, Hide::All));
    }

    /// The server has executed the question: `tag` says what it found.
    pub(super) fn answered_fence(&mut self, tag: &[u8]) {
        self.flow.fencing = match tag {
            b"SELECT 1\0" | b"SET\0" => Fencing::Fenced,
            _ => Fencing::Written,
        };
    }

    /// Everything is answered: a transaction that was fenced gives its ticket back. One that our question broke (the client has
    /// cancelled it, say) is broken off.
    pub(super) fn note_fence(&mut self) {
        if !self.flow.expects.is_empty() || self.flow.fencing == Fencing::No {
            return;
        }
        match self.flow.fencing {
            Fencing::Asked | Fencing::Fenced if self.flow.status == TxStatus::Failed => {
                self.flow.fencing = Fencing::Written;
                self.breaking = drain::Breaking::Asked { told: false };
            }
            Fencing::Fenced if self.flow.status == TxStatus::Block => match self.lease.take() {
                Lease::Write { conn, ticket } => {
                    // The server has reported its new default, where it reports it at all.
                    self.lease = Lease::InPlace { conn: conn.arm(), guard: InPlaceGuard::Due };
                    self.note_doubt(None, false);
                    self.me.write_capable.set(false);
                    self.db.gate.count_fenced();
                    self.lane = ticket.leave();
                }
                other => self.lease = other,
            },
            _ => {}
        }
    }
}
