//! Function-call messages: they name a function of the server's by its number.

use crate::client::conversation::client_messages::Progress;
use crate::client::conversation::pending_replies::{PendingReply, Request};
use crate::client::decide::{Decision, Form, Statement, decide};
use crate::client::maintenance::transition::what_ran::reads_large_objects;
use crate::client::{End, Session};
use crate::protocol::frame::Header;
use crate::protocol::{Report, frontend};
use crate::routing::TransactionClass;
use crate::shared::Phase;

impl Session {
    pub(in crate::client) fn function_call(&mut self, header: Header) -> Result<Progress, End> {
        let Ok(oid) = frontend::function_oid(self.body(header)) else { return Ok(self.malformed(header)) };
        let decision = decide(&Statement::unread(Form::Call, None), &self.situation());
        match decision {
            Decision::CheckOut(_) => {
                self.note_next_call(oid);
                return Ok(Progress::NeedsServer(TransactionClass::Any));
            }
            Decision::AwaitReplies => return Ok(Progress::AwaitReplies),
            _ => {}
        }
        self.me.enter(Phase::Active);
        match reads_large_objects(oid) {
            true => self.conversation.transaction_mut().history_mut().reads_large_object(),
            false => self.conversation.transaction_mut().history_mut().sends_unknown(),
        }
        self.note_operator_runs(None);
        self.note_left_by_call(oid);
        self.conversation.may_change_reading();
        if self.db.rehearsal.is_on() {
            self.rehearse_function(oid);
        }
        if let Some(report) = self.refused_call_elsewhere(oid) {
            self.fail_call(header, report);
            return Ok(Progress::Consumed);
        }
        match decision {
            Decision::Refuse(_) => {
                let report = self.refused("cannot execute a function call in a read-only transaction");
                self.fail_call(header, report);
            }
            Decision::CheckForWrites => {
                let arguments = self.body(header).get(4..).unwrap_or_default();
                match self.refused_function(oid, arguments) {
                    Some(report) => self.fail_call(header, report),
                    None => self.guarded_call(header),
                }
            }
            _ => self.pass(header, Some(PendingReply::seen(Request::Call))),
        }
        Ok(Progress::Consumed)
    }

    /// Has the server raise an error in the place of a function call.
    fn fail_call(&mut self, header: Header, report: Report) {
        self.drop_bytes(header.total);
        frontend::write_impossible_function_call(self.io.for_server());
        self.expect(PendingReply::seen(Request::Call).refused_with(report));
    }
}
