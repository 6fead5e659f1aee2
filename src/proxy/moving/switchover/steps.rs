//! What bounds a step, and how one fails.

use std::future::Future;

use tokio::time::{Instant, sleep_until};

use crate::gate::GateError;
use crate::moving::{Move, MoveError, Step};

/// Why it does not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::proxy::moving) struct Failure {
    pub(in crate::proxy::moving) sqlstate: &'static str,
    pub(in crate::proxy::moving) why: String,
    /// It would be wrong to open the databases again.
    pub(in crate::proxy::moving) stays_closed: bool,
}

impl Failure {
    pub(in crate::proxy::moving) fn new(sqlstate: &'static str, why: impl Into<String>) -> Self {
        Self { sqlstate, why: why.into(), stays_closed: false }
    }
}

impl From<MoveError> for Failure {
    fn from(error: MoveError) -> Self {
        Self::new(error.sqlstate(), error.to_string())
    }
}

impl From<GateError> for Failure {
    fn from(error: GateError) -> Self {
        let why = match error.detail() {
            Some(detail) => format!("{error}. {detail}"),
            None => error.to_string(),
        };
        Self::new(error.sqlstate(), why)
    }
}

/// Runs a step for as long as there is time and nobody calls the move off.
pub(in crate::proxy::moving) async fn bounded<T>(
    one: &Move,
    until: Instant,
    step: Step,
    job: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        biased;
        done = job => done,
        by = one.called_off() => Err(Failure::new("57014", format!("it was called off by {by} at step {}", step.word()))),
        () = sleep_until(until) => {
            Err(Failure::new("55P03", format!("the time was over at step {}", step.word())))
        }
    }
}
