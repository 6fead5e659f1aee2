//! Where a cancel request for whoever has a server connection goes.

use std::sync::Arc;

use super::connection::{Facts, Server};
use super::login::{cancel, terminate};
use super::pool::Pool;

/// See the module. Made once for each server connection, which lends it to the session that has it: to count who holds it would
/// cost each transaction more than to hand it over.
pub struct CancelTarget {
    /// How to reach the server.
    pub pool: Arc<Pool>,
    /// What tables show of the server connection.
    pub server: Arc<Facts>,
    secret: Arc<[u8]>,
}

impl CancelTarget {
    /// That of a server connection.
    pub fn new(server: &Server) -> Arc<Self> {
        Arc::new(Self {
            pool: server.permit.pool().clone(),
            secret: server.key.1.clone(),
            server: server.facts.clone(),
        })
    }

    /// Sends the request.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn cancel(&self) -> Result<(), super::login::LoginError> {
        cancel(self.pool.login(), self.server.pid, &self.secret).await
    }

    /// Has its back end terminated, by the role that it works for: one may terminate what is one's own.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses.
    pub async fn terminate(&self) -> Result<(), super::login::LoginError> {
        terminate(self.pool.login(), self.server.pid).await
    }
}
