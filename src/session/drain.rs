//! The end of a drain's patience: a transaction that may still write is broken off.
//!
//! What runs is cancelled. Then, between messages, the transaction is rolled back on its server connection, which is made
//! read-only in place, and a new block is opened and made to fail: from there on the server itself answers as in any failed
//! transaction, until the client ends it. The first error the client meets is the gate's 25006.

use super::expect::{Expected, Hide, What};
use super::lease::{InPlaceGuard, Lease};
use super::{End, Session};
use crate::gate::Mode;
use crate::sql::own_statements::transaction::{ARM, BEGIN, POISON, ROLLBACK};
use crate::wire::{Report, TxStatus, front};

/// How far the breaking off has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Breaking {
    /// Nobody asked for it.
    #[default]
    No,
    /// Asked for; what runs has been cancelled.
    Asked {
        /// The client has had its error.
        told: bool,
    },
    /// The statements that do it are on their way.
    Sent {
        /// The client has had its error.
        told: bool,
    },
    /// Done; the client has not been told yet.
    Untold,
}

impl Session {
    /// The gate asks for the end of a transaction that may write.
    pub(super) fn roll_back_for_gate(&mut self) -> Result<(), End> {
        let wanted = matches!(self.lease, Lease::Write { .. }) && self.breaking == Breaking::No;
        if !wanted || self.db.gate.state().mode == Mode::ReadWrite {
            return Ok(());
        }
        self.break_off();
        Ok(())
    }

    /// Has the transaction that may write broken off.
    pub(super) fn break_off(&mut self) {
        if self.breaking != Breaking::No {
            return;
        }
        self.breaking = Breaking::Asked { told: false };
        if self.flow.copy_in && self.io.client_rest == 0 {
            // The server waits for data, not for signals.
            self.flow.copy_in = false;
            let io = &mut self.io;
            io.from_client.move_ready(&mut io.to_server);
            front::write_copy_fail(&mut io.to_server, "the database is read-only now");
        } else if !self.flow.expects.is_empty() {
            drop(self.me.send_cancel());
        }
        self.break_off_if_quiet();
    }

    /// Sends the statements that break the transaction off, once nothing is under way.
    pub(super) fn break_off_if_quiet(&mut self) {
        let quiet = self.flow.expects.is_empty() && self.io.client_rest == 0 && self.io.server_rest == 0;
        let Breaking::Asked { told } = self.breaking else { return };
        if !quiet {
            return;
        }
        if !matches!(self.lease, Lease::Write { .. }) || self.is_between_transactions() {
            // It has ended by itself.
            self.breaking = Breaking::No;
            return;
        }
        self.breaking = Breaking::Sent { told };
        let io = &mut self.io;
        io.from_client.move_ready(&mut io.to_server);
        for text in [ROLLBACK, ARM, BEGIN] {
            front::write_query(&mut self.io.to_server, text.as_bytes());
            self.expect(Expected::hidden(What::Query(None), Hide::All));
        }
        front::write_query(&mut self.io.to_server, POISON.as_bytes());
        let mut last = Expected::hidden(What::Query(None), Hide::All);
        last.refusal = Some(Box::new(self.broken_off()));
        self.expect(last);
    }

    /// Everything that was sent has been answered: the ticket goes back to the gate.
    pub(super) fn note_broken_off(&mut self) {
        let Breaking::Sent { told } = self.breaking else { return };
        if !self.flow.expects.is_empty() {
            return;
        }
        self.breaking = if told { Breaking::No } else { Breaking::Untold };
        self.undo.roll_back();
        self.me.write_capable.set(false);
        match self.lease.take() {
            Lease::Write { conn, ticket } if self.flow.status == TxStatus::Failed => {
                self.lease = Lease::InPlace { conn: conn.arm(), guard: InPlaceGuard::Due };
                self.lane = ticket.leave();
            }
            other => {
                self.lease = other;
                self.close_lease();
            }
        }
    }

    /// The gate's error in place of the one that the breaking off has raised; once.
    pub(super) fn take_broken_off(&mut self, code: &[u8]) -> Option<Report> {
        self.breaking = match self.breaking {
            Breaking::Asked { told: false } if code == b"57014" => Breaking::Asked { told: true },
            Breaking::Untold if code == b"25P02" => Breaking::No,
            _ => return None,
        };
        Some(self.broken_off())
    }

    fn broken_off(&self) -> Report {
        let report = self.refused("the transaction was rolled back: it had written, and the database is read-only now");
        match report.detail {
            Some(_) => report,
            // The gate is open, and nothing is contested.
            None => report.with_detail(Some(super::turned::REPLACED.to_owned())),
        }
    }
}
