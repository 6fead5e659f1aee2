//! What a client is told of the mode without asking: ParameterStatus `default_transaction_read_only`, which drivers'
//! `target_session_attrs` go by, where it is configured a warning, and what an administrator announces.

use std::sync::Arc;

use crate::client::Session;
use crate::client::errors;
use crate::gate::GateView;
use crate::protocol::{Report, backend};

impl Session {
    /// Tells the client of the mode, as far as that is news. Only between two messages of the server's.
    pub(in crate::client) fn notify_mode(&mut self) {
        if let Some(report) = self.maintenance.notice.take() {
            report.write(self.io.for_client());
        }
        let closed = self.db.gate.state().mode.reports_read_only() && !self.me.operator;
        let read_only = closed || self.settings.read_only_default() == Some(true);
        let (news, flipped) = (self.settings.report_read_only(read_only), closed != self.maintenance.notified_closed);
        if !news && !flipped {
            return;
        }
        self.maintenance.notified_closed = closed;
        if news {
            let word = if read_only { "on" } else { "off" };
            backend::parameter_status(self.io.for_client(), "default_transaction_read_only", word);
        }
        if flipped && self.db.setup().settings.maintenance.notice {
            notice(&self.db.gate.view().under(&self.db.name)).write(self.io.for_client());
        }
    }
}

impl Session {
    /// Tells the client what was announced: at once, or just before the ReadyForQuery of what runs.
    pub(in crate::client) fn tell_notice(&mut self, report: Option<Arc<Report>>) {
        if report.is_none() {
            self.maintenance.notice = None;
            return;
        }
        let busy = self.io.replies().is_within_message() || !self.conversation.replies().is_empty();
        self.maintenance.notify_pending |= busy;
        self.maintenance.notice = report;
        if !busy {
            self.notify_mode();
        }
    }
}

/// The warning of a flip, in the words of a refused write.
fn notice(view: &GateView) -> Report {
    let text = view.refusal_detail().unwrap_or_else(|| format!("database \"{}\" takes writes again", view.database));
    errors::gate_warning(text).with_hint(view.refusal_hint())
}
