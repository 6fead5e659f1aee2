//! What a client is told of the mode without asking: ParameterStatus `default_transaction_read_only`, which drivers'
//! `target_session_attrs` go by, where it is configured a warning, and what an administrator announces.

use std::sync::Arc;

use crate::client::Session;
use crate::gate::GateView;
use crate::protocol::{Report, backend};

impl Session {
    /// Tells the client of the mode, as far as that is news. Only between two messages of the server's.
    pub(in crate::client) fn tell_mode(&mut self) {
        if let Some(report) = self.notice.take() {
            let io = &mut self.io;
            io.from_server.move_ready(&mut io.to_client);
            report.write(&mut io.to_client);
        }
        let closed = self.db.gate.state().mode.reports_read_only() && !self.me.operator;
        let read_only = closed || self.read_only_default == Some(true);
        let (news, flipped) = (read_only != self.told_read_only, closed != self.told_closed);
        if !news && !flipped {
            return;
        }
        self.told_closed = closed;
        let io = &mut self.io;
        io.from_server.move_ready(&mut io.to_client);
        if news {
            self.told_read_only = read_only;
            let word = if read_only { "on" } else { "off" };
            backend::parameter_status(&mut io.to_client, "default_transaction_read_only", word);
        }
        if flipped && self.db.setup().settings.maintenance.notice {
            notice(&self.db.gate.view().under(&self.db.name)).write(&mut io.to_client);
        }
    }
}

impl Session {
    /// Tells the client what was announced: at once, or just before the ReadyForQuery of what runs.
    pub(in crate::client) fn tell_notice(&mut self, report: Option<Arc<Report>>) {
        if report.is_none() {
            self.notice = None;
            return;
        }
        let busy = self.io.server_rest > 0 || !self.flow.expects.is_empty();
        self.untold |= busy;
        self.notice = report;
        if !busy {
            self.tell_mode();
        }
    }
}

/// The warning of a flip, in the words of a refused write.
fn notice(view: &GateView) -> Report {
    let text = view.refusal_detail().unwrap_or_else(|| format!("database \"{}\" takes writes again", view.database));
    Report::warning("01000", text).with_hint(view.refusal_hint())
}
