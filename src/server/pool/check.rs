//! A connection that lay idle is asked for a sign of life, where that is wanted, and one whose server process has ended is closed.

use std::time::Duration;

use super::Pool;
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

/// How long a connection lies idle before it is looked at: one that is in use tells whoever uses it.
const AT_REST: Duration = Duration::from_millis(500);

impl Pool {
    /// Closes idle connections whose server process has ended. Whoever takes one finds that out too, but those at the bottom may be
    /// taken by nobody: they would count as connections that the pool has.
    pub fn close_dead(&self) -> usize {
        let closed = self.close_idle("server conn crashed?", |conn| {
            let server = conn.peek();
            server.idle_since.elapsed() > AT_REST && server.stream.socket().is_hung_up()
        });
        if closed > 0 {
            self.settings.watch.look_now();
        }
        closed
    }
}
