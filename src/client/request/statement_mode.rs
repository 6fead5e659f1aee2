//! pool_mode `statement`: a server connection is lent for one statement, so that there can be no transaction block.

use crate::client::Session;
use crate::client::conversation::client_messages::Handled;
use crate::config::PoolMode;
use crate::protocol::frame::Header;
use crate::protocol::{Report, TxStatus};
use crate::sql::cache::verdicts::Cached;
use crate::sql::{Analysis, Kind, TransactionVerb as Verb};
use std::rc::Rc;

/// PgBouncer's words.
const TEXT: &str = "transaction blocks not allowed in statement pooling mode";

/// Whether a block is open behind these statements, where none was before.
fn leaves_block(analysis: &Analysis) -> bool {
    analysis.statements.iter().fold(false, |open, statement| match &statement.kind {
        Kind::Transaction(Verb::Begin(_)) => true,
        Kind::Transaction(Verb::Commit { chain } | Verb::Rollback { chain }) => open && *chain,
        Kind::Transaction(Verb::PrepareTransaction) => false,
        _ => open,
    })
}

impl Session {
    fn is_single(&self) -> bool {
        self.manner.pool_mode == PoolMode::Statement && !self.me.operator
    }

    /// Refuses a query that would leave a block open. Where nothing is under way that needs no server.
    pub(in crate::client) fn refuses_block(&mut self, header: Header, cached: &Rc<Cached>) -> Option<Handled> {
        if !self.is_single() || !leaves_block(&cached.analysis) {
            return None;
        }
        let report = Report::error("0A000", TEXT);
        if self.has_right_lease() {
            return Some(self.send_poisoned(header, Vec::new(), cached.clone(), report));
        }
        self.answer_error(header, &report);
        Some(Handled::Done)
    }

    /// The same of an Execute.
    pub(in crate::client) fn refuses_block_in_batch(&mut self, header: Header, cached: &Cached) -> Option<Handled> {
        let refuses = self.is_single() && leaves_block(&cached.analysis);
        refuses.then(|| self.fail_in_place(header, Report::error("0A000", TEXT)))
    }

    /// A block is open all the same: nothing could be read of it. As in PgBouncer that is the end.
    pub(in crate::client) fn forbidden_block(&self, status: TxStatus) -> Option<Report> {
        (self.is_single() && status != TxStatus::Idle).then(|| Report::fatal("08P01", TEXT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{Analyzer, LexContext};

    #[test]
    fn a_block_within_one_message_is_none() {
        let leaves = |sql: &str| leaves_block(&Analyzer::default().analyze(sql.as_bytes(), LexContext::default()));
        for sql in ["BEGIN", "start transaction read only", "SELECT 1; BEGIN; SELECT 1", "BEGIN; COMMIT AND CHAIN"] {
            assert!(leaves(sql), "{sql}");
        }
        for sql in ["SELECT 1", "BEGIN; SELECT 1; COMMIT", "COMMIT", "BEGIN; ROLLBACK", ""] {
            assert!(!leaves(sql), "{sql}");
        }
    }
}
