//! A statement that took long is logged, without what it compares or writes.

use crate::client::Session;
use crate::shared::client::Running;
use crate::sql::normalised;

/// Bytes of a statement that are logged.
const SHOWN: usize = 1000;

impl Session {
    /// Logs the statement that ran last, if it is one of those that are to be logged.
    #[cold]
    pub(in crate::client) fn log_slow(&self, micros: u64) {
        if !self.core.proxy.slow_statements.is_sampled() {
            return;
        }
        let context = self.lex_context();
        let statement = self.me.running.borrow().as_ref().map(|running| match running {
            Running::Simple(cached) => normalised(&cached.text, context, SHOWN),
            Running::Prepared(statement) => normalised(&statement.cached.text, context, SHOWN),
        });
        tracing::info!(
            event = "slow_statement", database = %self.db.name, user = %self.me.user, client = %self.me.address_words(),
            application_name = %self.me.application_name.borrow(), duration_ms = micros / 1000, statement, "slow statement"
        );
    }
}
