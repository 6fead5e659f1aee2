//! pool_mode `statement`: a server connection is lent for one statement, so that there can be no transaction block.

use crate::client::decide::Why;
use crate::client::errors;
use crate::client::{End, Session};
use crate::config::PoolMode;
use crate::protocol::{Report, TxStatus};
use crate::sql::{Analysis, Kind, TransactionVerb as Verb};

/// PgBouncer's words.
const TEXT: &str = "transaction blocks not allowed in statement pooling mode";

/// Whether a block is open behind these statements, where none was before.
pub(in crate::client) fn leaves_block(analysis: &Analysis) -> bool {
    analysis.statements.iter().fold(false, |open, statement| match &statement.kind {
        Kind::Transaction(Verb::Begin(_)) => true,
        Kind::Transaction(Verb::Commit { chain } | Verb::Rollback { chain }) => open && *chain,
        Kind::Transaction(Verb::PrepareTransaction) => false,
        _ => open,
    })
}

/// The error for what would leave a block open.
pub(in crate::client) fn block_refused() -> Report {
    errors::not_supported(TEXT)
}

impl Session {
    /// Whether there are no transaction blocks for the session.
    pub(in crate::client) fn has_no_blocks(&self) -> bool {
        self.account.pool_mode() == PoolMode::Statement && !self.me.operator
    }

    /// In PgBouncer what would leave a block open ends the session.
    pub(in crate::client) fn ends_at(&self, why: Why) -> Result<(), End> {
        if why == Why::Block && self.core.is_like_pgbouncer() {
            return Err(errors::fatal_protocol_violation(TEXT).into());
        }
        Ok(())
    }

    /// A block is open all the same: nothing could be read of it. As in PgBouncer that is the end.
    pub(in crate::client) fn forbidden_block(&self, status: TxStatus) -> Option<Report> {
        (self.has_no_blocks() && status != TxStatus::Idle).then(|| errors::fatal_protocol_violation(TEXT))
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
