//! What the proxy is started with, and why it does not run.

use std::sync::Arc;

use tokio::task::JoinHandle as Task;

use crate::gate::GateError;
use crate::proxy::setup::SetupError;
use crate::proxy::worker::Console;
use crate::shared::ProxyState;

/// Why the proxy does not run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file of the configuration does not hold what it should.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The state file cannot be had.
    #[error("{0}")]
    Gate(#[from] GateError),
    /// A socket or a thread cannot be had.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The only server that there is does not let anybody in.
    #[error("{0}")]
    Upstream(String),
    /// The process that this one was to take over from.
    #[error("{0}")]
    TakeOver(String),
    /// What is written of the fleet cannot be used.
    #[error("fleet: {0}")]
    Fleet(String),
    /// No randomness.
    #[error("{0}")]
    Auth(#[from] crate::auth::AuthError),
}

/// Serves the listeners of the HTTP endpoint; given by the layer above.
pub type Http = fn(Arc<ProxyState>, Vec<std::net::TcpListener>) -> std::io::Result<Vec<Task<()>>>;

/// What the layers above have put on top of it.
pub struct Surfaces {
    /// Serves guests of the console.
    pub console: Console,
    /// Serves the HTTP endpoint.
    pub http: Http,
    /// How much is logged.
    pub log_level: crate::log::Level,
}
