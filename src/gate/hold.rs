//! The place of the hold queue: where writes wait for the gate in `writes = hold`.
//!
//! Not filled yet. Until it is, [`supported`] refuses every command that asks for it, so that hold never acts as reject.

use super::error::GateError;
use super::mode::Writes;

/// How a held write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// The gate opened: run it.
    Released,
    /// `hold_timeout` passed: PostgreSQL's error 25006.
    TimedOut,
}

/// Whether this build can do that with writes; 0A000 if not.
pub fn supported(writes: Writes) -> Result<(), GateError> {
    match writes {
        Writes::Reject => Ok(()),
        Writes::Hold => Err(GateError::HoldNotSupported),
    }
}
