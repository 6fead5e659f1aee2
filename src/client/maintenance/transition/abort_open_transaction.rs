//! The end of a drain's patience: a transaction that may still write is broken off.
//!
//! What runs is cancelled. Then, between messages, the transaction is rolled back on its server connection, which is made
//! read-only in place, and a new block is opened and made to fail: from there on the server itself answers as in any failed
//! transaction, until the client ends it. The first error the client meets is the gate's 25006.
//!
//! In the midst of a batch the server hears of an error first, since a Sync by itself would commit, and then of a Sync of ours. Where
//! there was no block, none is open then, as after any error; the client is told at its next message.
//!
//! The gate asks again each second. A transaction that has not come to an end after [`PATIENCE`] such requests is one that catches
//! cancellations, or one whose client does not read or has stopped in the midst of a message: its session ends, and what it
//! leaves on the server is terminated ([`crate::client::checkout::abandoned`]).

use super::what_ran::Ran;
use crate::client::checkout::lease::{InPlaceGuard, Lease};
use crate::client::conversation::pending_replies::{PendingReply, Request, Visibility};
use crate::client::errors;
use crate::client::maintenance::refuse::NO_SUCH_PORTAL;
use crate::client::{End, Session};
use crate::gate::Mode;
use crate::protocol::frame::Header;
use crate::protocol::{Report, TxStatus, frontend};
use crate::sql::own_statements::transaction::{ARM, BEGIN, POISON, ROLLBACK};
use crate::sql::{Analysis, Kind, Statement, TransactionVerb as Verb};

/// Requests of the gate after which a session is ended that has not come to the end of its transaction.
const PATIENCE: u8 = 3;

/// What is known of a transaction that is broken off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Broken {
    /// The client has had its error.
    told: bool,
    /// Requests of the gate.
    times: u8,
    /// What it ran.
    ran: Ran,
}

/// How far the breaking off has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AbortProgress {
    /// Nobody asked for it.
    #[default]
    No,
    /// Asked for; what runs has been cancelled.
    Asked(Broken),
    /// The statements that do it are on their way.
    Sent(Broken),
    /// Done; the client has not been told yet.
    Untold(Broken),
    /// Done in the midst of the client's batch; it is told at its next message.
    Owed(Broken),
}

impl AbortProgress {
    /// Of a block that has failed already, and whose client knows.
    pub fn of_failed(told: bool, ran: Ran) -> Self {
        Self::Asked(Broken { told, times: 0, ran })
    }
}

/// Whether a text begins with what would commit the open transaction.
pub(in crate::client) fn commits_first(analysis: &Analysis) -> bool {
    let commits =
        |one: &Statement| matches!(one.kind, Kind::Transaction(Verb::Commit { .. } | Verb::PrepareTransaction));
    analysis.statements.first().is_some_and(commits)
}

impl Session {
    /// The gate asks for the end of a transaction that may write.
    pub(in crate::client) fn roll_back_for_gate(&mut self) -> Result<(), End> {
        if !matches!(self.lease, Lease::Write { .. }) || self.gate_of_lease().state().mode == Mode::ReadWrite {
            return Ok(());
        }
        self.break_off()
    }

    /// Has the transaction that may write broken off; asked again, with more force.
    pub(in crate::client) fn break_off(&mut self) -> Result<(), End> {
        let mut broken = match self.maintenance.breaking {
            AbortProgress::No => Broken { ran: self.conversation.transaction().history.ran(), ..Broken::default() },
            AbortProgress::Asked(broken) | AbortProgress::Sent(broken) => Broken { times: broken.times + 1, ..broken },
            AbortProgress::Untold(_) | AbortProgress::Owed(_) => return Ok(()),
        };
        if broken.times >= PATIENCE {
            if !std::mem::replace(&mut broken.told, true) {
                self.gate_of_lease().count_cancelled();
            }
            self.maintenance.breaking = AbortProgress::Asked(broken);
            return Err(errors::terminated(self.gate_of_lease().view().refusal_detail()).into());
        }
        if let AbortProgress::Sent(_) = self.maintenance.breaking {
            self.maintenance.breaking = AbortProgress::Sent(broken);
        } else {
            self.maintenance.breaking = AbortProgress::Asked(broken);
            self.stop_what_runs();
        }
        self.break_off_if_quiet();
        Ok(())
    }

    fn stop_what_runs(&mut self) {
        if self.conversation.in_copy() && !self.io.requests().is_within_message() {
            // The server waits for data, not for signals.
            self.copy_data_ended();
            frontend::write_copy_fail(self.io.for_server(), "the database is read-only now");
            if self.conversation.batch().is_open() {
                // The server has ignored the client's Sync, if there was one.
                self.send_sync();
            }
        } else if !self.conversation.replies().is_empty() {
            drop(self.me.send_cancel());
        }
    }

    fn send_sync(&mut self) {
        self.own_messages().hiding(Visibility::Hidden).sync();
        self.conversation.batch_mut().end();
    }

    /// Sends the statements that break the transaction off, once nothing is under way.
    pub(in crate::client) fn break_off_if_quiet(&mut self) {
        let AbortProgress::Asked(broken) = self.maintenance.breaking else { return };
        let quiet = self.conversation.replies().is_empty()
            && !self.io.requests().is_within_message()
            && !self.io.replies().is_within_message();
        if !quiet {
            return;
        }
        if !matches!(self.lease, Lease::Write { .. }) {
            self.maintenance.breaking = AbortProgress::No;
            return;
        }
        if self.conversation.batch().is_open() {
            self.break_off_batch(broken);
            return;
        }
        if self.is_between_transactions() {
            self.ended_without_block(broken);
            return;
        }
        self.maintenance.breaking = AbortProgress::Sent(broken);
        for text in [ROLLBACK, ARM] {
            self.send_query(text.as_bytes(), PendingReply::hidden(Request::Query(None), Visibility::Hidden));
        }
        self.forget_counts_from_before();
        self.send_query(BEGIN.as_bytes(), PendingReply::hidden(Request::Query(None), Visibility::Hidden));
        frontend::write_query(self.io.for_server(), POISON.as_bytes());
        self.expect(
            PendingReply::hidden(Request::Query(None), Visibility::Hidden).refused_with(self.broken_off(broken.ran)),
        );
    }

    /// A batch is open that the client has not ended.
    fn break_off_batch(&mut self, broken: Broken) {
        if !self.conversation.batch().skips() {
            frontend::write_execute(self.io.for_server(), NO_SUCH_PORTAL);
            self.expect(
                PendingReply::hidden(Request::Execute(None), Visibility::Hidden)
                    .refused_with(self.broken_off(broken.ran)),
            );
        }
        self.send_sync();
    }

    /// The transaction has come to its end, and there is no block.
    fn ended_without_block(&mut self, broken: Broken) {
        // What has failed in a batch without having been told of is what this has made to fail.
        let owed = self.conversation.batch().skips() && !broken.told;
        self.maintenance.breaking = if owed { AbortProgress::Owed(broken) } else { AbortProgress::No };
        if owed {
            self.gate_of_lease().count_cancelled();
        }
        self.me.transaction_since.set(None);
        self.note_phase();
    }

    /// The client goes on with a batch that has been broken off behind its back.
    #[cold]
    pub(in crate::client) fn tell_what_is_owed(&mut self) {
        if let AbortProgress::Owed(broken) = self.maintenance.breaking {
            self.maintenance.breaking = AbortProgress::No;
            let report = self.broken_off(broken.ran);
            report.write(self.io.for_client());
            self.count_refusal(report.message.as_bytes());
        }
    }

    /// The error for a COMMIT of what was broken off, if the client has not been told yet: in a failed block the server would
    /// answer with ROLLBACK, and nothing would tell the client that what it has written is lost.
    pub(in crate::client) fn take_unreported(&mut self) -> Option<Report> {
        let AbortProgress::Untold(broken) = self.maintenance.breaking else { return None };
        self.maintenance.breaking = AbortProgress::No;
        Some(self.broken_off(broken.ran))
    }

    /// Refuses such a COMMIT in a simple query.
    pub(in crate::client) fn refuse_commit(&mut self, header: Header, report: Report) {
        self.drop_bytes(header.total);
        self.send_query(ROLLBACK.as_bytes(), PendingReply::hidden(Request::Query(None), Visibility::Hidden));
        // Outside of a block, so that none is open behind the error.
        self.send_query(POISON.as_bytes(), PendingReply::seen(Request::Query(None)).refused_with(report));
    }

    /// Everything that was sent has been answered: the ticket goes back to the gate.
    pub(in crate::client) fn note_broken_off(&mut self) {
        if matches!(self.maintenance.breaking, AbortProgress::Untold(_)) && self.conversation.status() == TxStatus::Idle
        {
            // The client has rolled it back itself.
            self.maintenance.breaking = AbortProgress::No;
        }
        let AbortProgress::Sent(broken) = self.maintenance.breaking else { return };
        if !self.conversation.replies().is_empty() {
            return;
        }
        if !broken.told {
            self.gate_of_lease().count_cancelled();
        }
        self.maintenance.breaking = match broken.told {
            true => AbortProgress::No,
            false if self.conversation.batch().skips() => AbortProgress::Owed(broken),
            false => AbortProgress::Untold(broken),
        };
        self.settings.roll_back();
        self.me.write_capable.set(false);
        match self.lease.take() {
            Lease::Write { conn, ticket } if self.conversation.status() == TxStatus::Failed => {
                self.lease = Lease::InPlace { conn: conn.arm(), guard: InPlaceGuard::Due };
                self.checkout.keep_lane(ticket.leave());
            }
            other => {
                self.lease = other;
                self.close_lease();
            }
        }
    }

    /// The gate's error in place of the one that the breaking off has raised; once.
    pub(in crate::client) fn take_broken_off(&mut self, code: &[u8]) -> Option<Report> {
        let ran = match self.maintenance.breaking {
            AbortProgress::Asked(broken) if !broken.told && code == b"57014" => {
                self.gate_of_lease().count_cancelled();
                self.maintenance.breaking = AbortProgress::Asked(Broken { told: true, ..broken });
                broken.ran
            }
            AbortProgress::Untold(broken) if code == b"25P02" => {
                self.maintenance.breaking = AbortProgress::No;
                broken.ran
            }
            _ => return None,
        };
        Some(self.broken_off(ran))
    }

    fn broken_off(&self, ran: Ran) -> Report {
        let what = match ran {
            Ran::Reads => "it was still open",
            Ran::Calls => "it may have written",
            Ran::Writes => "it had written",
        };
        let report =
            self.refused(format!("the transaction was rolled back: {what}, and the database is read-only now"));
        match report.detail {
            Some(_) => report,
            // The gate is open, and nothing is contested.
            None => report.with_detail(Some(crate::client::checkout::server_changed::REPLACED.to_owned())),
        }
    }
}
