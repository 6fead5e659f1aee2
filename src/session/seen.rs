//! What a client is told of the mode without asking: ParameterStatus `default_transaction_read_only`, which drivers'
//! `target_session_attrs` go by.

use super::Session;
use crate::wire::back;

impl Session {
    /// Tells the client whether transactions are read-only now, if that is news. Only between two messages of the server's.
    pub(super) fn tell_mode(&mut self) {
        let closed = self.db.gate.state().mode.reports_read_only() && !self.me.operator;
        let read_only = closed || self.read_only_default == Some(true);
        if read_only == self.told_read_only {
            return;
        }
        self.told_read_only = read_only;
        let io = &mut self.io;
        io.from_server.move_ready(&mut io.to_client);
        let word = if read_only { "on" } else { "off" };
        back::parameter_status(&mut io.to_client, "default_transaction_read_only", word);
    }
}
