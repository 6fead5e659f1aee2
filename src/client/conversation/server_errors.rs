//! An error of the server's: who is told of it, and what is not as it was taken for granted any more.

use super::pending_replies::{Before, PendingReply, Request, Visibility, WriteCheckStep};
use crate::client::startup::no_server::report_of;
use crate::client::state::pins::Pin;
use crate::client::{End, Session, Settling};
use crate::protocol::error_fields::Severity;
use crate::protocol::{ErrorFields, Report};
use crate::server::login::is_unavailable;
use crate::shared::Layer;

/// Whether a server says so that it ends a back end: whatever is open there is rolled back. Other poolers on the way have codes of
/// their own for a connection that they have lost.
fn ends_back_end(error: ErrorFields<'_>) -> bool {
    error.is_fatal() && matches!(error.code(), b"57P01" | b"57P02" | b"57P04" | b"57P05" | b"25P03" | b"25P04")
}

/// Whether an error tells of the server rather than of the statement: it goes, it is in recovery, or a read of it was in the
/// way of what it replays.
fn is_of_server(code: &[u8]) -> bool {
    is_unavailable(code) || matches!(code, b"25006" | b"40001")
}

/// Whether somebody has asked for it.
fn is_cancel(error: ErrorFields<'_>) -> bool {
    error.code() == b"57014" && memchr::memmem::find(error.message(), b"statement timeout").is_none()
}

impl Session {
    /// Takes in an error of the server's, and tells the client of it if it is for it.
    pub(in crate::client) fn error_response(&mut self, body: &[u8]) -> Result<(), End> {
        if ends_back_end(ErrorFields::new(body))
            && let Some(server) = self.lease.server()
        {
            server.ends = true;
        }
        if self.stand_failed(body) || self.is_run_elsewhere(ErrorFields::new(body)) {
            return Ok(());
        }
        let unstood = self.unstood(ErrorFields::new(body).code());
        let body = unstood.as_deref().unwrap_or(body);
        let fields = ErrorFields::new(body);
        let (refusal, shows, write_check_step) = match self.conversation.replies.front_mut() {
            Some(expected) => (expected.refusal.take(), expected.shows_error(), expected.write_check_step),
            None => (None, true, WriteCheckStep::None),
        };
        if write_check_step == WriteCheckStep::Spelling {
            self.answered_spelling(fields);
            return Ok(());
        }
        if write_check_step == WriteCheckStep::Together && self.cannot_be_read(fields) {
            return Ok(());
        }
        self.conversation.note_failed();
        self.note_unfinished();
        let shows = match write_check_step {
            WriteCheckStep::None | WriteCheckStep::Begin | WriteCheckStep::Subject | WriteCheckStep::Together => shows,
            WriteCheckStep::Wrapped | WriteCheckStep::Spelling | WriteCheckStep::Path => shows,
            WriteCheckStep::Deferred
            | WriteCheckStep::Question(_)
            | WriteCheckStep::Trial
            | WriteCheckStep::Declared
            | WriteCheckStep::End => self.proof_failed(write_check_step, fields),
        };
        let refusal = match write_check_step {
            WriteCheckStep::Question(tag) if shows => Some(Box::new(self.unproven(tag))),
            _ => refusal,
        };
        if shows {
            self.conversation.message.show_error();
            self.conversation.transaction.note_rolled_back();
        }
        if let Some(refusal) = refusal.as_ref().filter(|refusal| shows && !refusal.counted) {
            self.count_refused_by(write_check_step, refusal);
        }
        self.renew_changed_plan(fields);
        let ours = !shows && refusal.is_none() && write_check_step == WriteCheckStep::None;
        self.note_error_of_ours(body, ours)?;
        let refusal = refusal.or_else(|| self.take_broken_off(fields.code()).map(Box::new));
        let result = match self.own_refusal(fields.code()) {
            Some(report) => {
                report.write(self.io.for_client());
                Ok(())
            }
            None if shows => self.write_error(body, refusal.as_deref()),
            None => Ok(()),
        };
        self.follow_error(write_check_step);
        result
    }

    /// Whether an error tells of the server rather than of the statement, which is run on another one.
    fn is_run_elsewhere(&mut self, error: ErrorFields<'_>) -> bool {
        if !is_of_server(error.code()) {
            return false;
        }
        self.look_at_server_now();
        // What a server that goes, or replays what was written elsewhere, has broken off is run on another one.
        error.code() != b"25006" && self.replay_elsewhere()
    }

    /// A cancel request has met a statement of our own: it was meant for what the client has sent.
    fn pass_cancel_again(&mut self) {
        if self.conversation.replies.iter().skip(1).any(PendingReply::shows_error) {
            drop(self.me.send_cancel());
        }
        self.bindings.pin(Pin::Settings);
    }

    /// Counts a refusal that the client is told of by what has found it.
    fn count_refused_by(&self, write_check_step: WriteCheckStep, refusal: &Report) {
        match write_check_step {
            WriteCheckStep::Question(_) | WriteCheckStep::Trial | WriteCheckStep::Declared => {
                self.count_layer(Layer::Proof)
            }
            _ if refusal.code == "25006" => self.count_layer(Layer::Reader),
            _ => {}
        }
    }

    /// `cached plan must not change result type`, in whatever language: drivers prepare the statement anew then.
    fn renew_changed_plan(&self, error: ErrorFields<'_>) {
        if error.code() == b"0A000"
            && let Some(PendingReply {
                request: Request::Bind(Some(statement)) | Request::Describe(Some(statement)),
                ..
            }) = self.conversation.replies.front()
        {
            self.core.statements.renew(statement);
        }
    }

    /// Takes in an error while settings are made, or of another statement that is `ours` and that nobody has to be told of.
    fn note_error_of_ours(&mut self, body: &[u8], ours: bool) -> Result<(), End> {
        let (database, user) = (&self.db.name, self.account.user());
        match self.conversation.lease.settling() {
            Settling::Asked => {
                let report = report_of(body, Severity::Error);
                tracing::warn!(event = "role_refused", %database, %user, client = %self.me.address_words(), error = report.message, "a session's role could not be taken");
                self.conversation.lease.set_settling(Settling::Refused(Box::new(report)));
            }
            Settling::Sent => {
                // What has followed runs with settings that are not the session's: it is told, and nothing more.
                let report = report_of(body, Severity::Fatal);
                tracing::warn!(event = "settings_refused", %database, %user, client = %self.me.address_words(), error = report.message, "a session's settings could not be made");
                self.close_lease();
                return Err(report.into());
            }
            _ if ours && is_cancel(ErrorFields::new(body)) => self.pass_cancel_again(),
            _ if ours && !ErrorFields::new(body).is_fatal() => {
                tracing::warn!(event = "own_statement_failed", %database, %user, client = %self.me.address_words(), error = %ErrorFields::new(body).summary(), "a statement of the proxy's own failed");
                self.bindings.pin(Pin::Settings);
            }
            _ => {}
        }
        Ok(())
    }

    /// In the simple protocol ReadyForQuery follows an error by itself, in the extended one after Sync.
    fn follow_error(&mut self, write_check_step: WriteCheckStep) {
        let simple = match self.conversation.replies.front() {
            None => true,
            Some(next) => {
                matches!(
                    next.request,
                    Request::Query(_) | Request::Fence | Request::Isolation | Request::Left(_) | Request::Call
                )
            }
        };
        if !simple {
            self.skip_to_sync();
        }
        self.copy_failed();
        if write_check_step == WriteCheckStep::Begin {
            self.block_failed();
        }
    }

    /// After an error in the extended protocol the server answers nothing up to the next Sync.
    pub(in crate::client) fn skip_to_sync(&mut self) {
        let mut gone = Vec::new();
        let mut skip = true;
        while let Some(expected) = self.conversation.replies.front() {
            match &expected.request {
                Request::Query(_) | Request::Fence | Request::Isolation | Request::Left(_) | Request::Call
                    if gone.is_empty() =>
                {
                    return;
                }
                // Sent in the midst of a batch: it is skipped like anything else.
                Request::Query(_) | Request::Fence | Request::Isolation | Request::Left(_) | Request::Call => {
                    self.conversation.message.split.clear();
                }
                Request::CopyQuestion(_) => break,
                Request::Sync => {
                    // A Sync of our own ends the server's skipping, but not the client's.
                    skip = expected.visibility == Visibility::Hidden
                        && !self
                            .conversation
                            .replies
                            .iter()
                            .any(|e| matches!(e.request, Request::Sync) && e.visibility == Visibility::Full);
                    break;
                }
                _ => {}
            }
            gone.extend(self.conversation.replies.pop());
        }
        self.conversation.batch.set_skip(skip);
        // The last first, so that a name that was changed twice is what it was before both.
        for (at, expected) in gone.into_iter().enumerate().rev() {
            self.take_back(expected, at == 0);
        }
    }

    /// A message has failed or, after one that did, been skipped: what was taken for granted when it was sent is not so.
    fn take_back(&mut self, expected: PendingReply, failed: bool) {
        if let (Some(name), Some(server)) = (expected.changes_name(), self.lease.server()) {
            server.named.doubt(name);
        }
        match (expected.request, self.lease.server()) {
            (Request::Parse(0), Some(server)) => server.unnamed = 0,
            (Request::Parse(id), Some(server)) => server.prepared.remove(id),
            (Request::Close(id), Some(server)) if id != 0 => server.prepared.put_back(id),
            _ => {}
        }
        let (name, stood_for) = match expected.before {
            Before::Same => return,
            Before::Unnamed(stood_for) => (Box::default(), stood_for),
            Before::Named(named) => *named,
        };
        self.names.forget(&name);
        // A Parse that fails has ended the unnamed statement all the same.
        if let Some(known) = stood_for.filter(|_| !failed) {
            self.names.put_back(&name, known);
        }
    }
}
