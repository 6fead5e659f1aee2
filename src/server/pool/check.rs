//! A connection that lay idle is asked for a sign of life, where that is wanted.

use std::time::Duration;

use crate::protocol::TxStatus;
use crate::server::connection::Server;

/// What stands for an empty query.
const EMPTY: &str = "<empty>";

/// Whether a connection is asked for a sign of life before it is lent.
#[derive(Clone, Debug, Default)]
pub struct Check {
    /// What it is asked; empty: nothing.
    pub query: String,
    /// Only if it was idle for longer than this.
    pub after: Duration,
    /// How long it may take.
    pub patience: Duration,
}

impl Check {
    pub(super) fn is_due(&self, server: &Server) -> bool {
        !self.query.is_empty() && server.idle_since.elapsed() >= self.after
    }

    /// Whether the connection is good: nobody asks, or it answers.
    pub(super) async fn passes(&self, server: &mut Server) -> bool {
        if !self.is_due(server) {
            return true;
        }
        let query = if self.query == EMPTY { "" } else { &self.query };
        let answer = tokio::time::timeout(self.patience, server.run_quietly(query)).await;
        matches!(answer, Ok(Ok(TxStatus::Idle)))
    }
}
