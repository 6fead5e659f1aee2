//! What a command of the gate can answer instead of a row; each error has PostgreSQL's SQLSTATE for its kind.

use super::command::progress::Verb;
use super::command::when;
use super::detail::Who;
use super::environment::OpenTransaction;
use jiff::Timestamp;
use std::time::Duration;

/// An error of the gate. `Display` is the primary message; [`GateError::sqlstate`], [`GateError::detail`] and
/// [`GateError::hint`] are the other fields of the ErrorResponse.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GateError {
    /// 3D000, in PostgreSQL's words.
    #[error("database \"{0}\" does not exist")]
    UnknownDatabase(String),
    /// 55006: another command holds the database.
    #[error("database \"{database}\": {verb} is under way, started by {who} at {}", when::print(*.since))]
    UnderWay {
        /// The database, or `*`.
        database: String,
        /// What is under way.
        verb: Verb,
        /// Who started it.
        who: Who,
        /// When it was started.
        since: Timestamp,
    },
    /// 55006: its clients are being led elsewhere.
    #[error("database \"{database}\": REROUTE is under way, started by {who} at {}", when::print(*.since))]
    Rerouting {
        /// The database.
        database: String,
        /// Who started it.
        who: Who,
        /// When it was started.
        since: Timestamp,
    },
    /// 55P03: the drain timed out and the gate was set back (`on_timeout = revert`, or the cancel did not help in time).
    #[error(
        "database \"{database}\": {verb} gave up after {} ms with {left} {} still open{}",
        .waited.as_millis(), if *.left == 1 { "transaction" } else { "transactions" }, unreachable(.in_the_way)
    )]
    StillBusy {
        /// The database.
        database: String,
        /// The command that gave up.
        verb: Verb,
        /// How long it waited.
        waited: Duration,
        /// How many transactions were open at the end.
        left: usize,
        /// What they were, as far as the proxy could tell.
        in_the_way: Vec<OpenTransaction>,
    },
    /// 57014: the opposite command came during the drain.
    #[error("database \"{database}\": {verb} was called off by {by}")]
    CalledOff {
        /// The database.
        database: String,
        /// The command that was called off.
        verb: Verb,
        /// Who called it off.
        by: Who,
    },
    /// 55000: what a closed gate promises cannot be kept there, and nobody has said that this is accepted.
    #[error("database \"{database}\": it cannot be guaranteed that nothing is written")]
    Unchecked {
        /// The database.
        database: String,
        /// What is in the way.
        reasons: Vec<String>,
    },
    /// 22023.
    #[error("invalid value for option \"{option}\": \"{value}\"")]
    InvalidOption {
        /// The option's name.
        option: &'static str,
        /// What was given.
        value: String,
        /// What would be right.
        hint: String,
    },
    /// 22023.
    #[error("unrecognized option \"{0}\"")]
    UnknownOption(String),
    /// 22023: the same of a command that opens.
    #[error("unrecognized option \"{0}\"")]
    UnknownOptionToOpen(String),
    /// 22023.
    #[error("option \"{0}\" specified more than once")]
    RepeatedOption(String),
    /// 22007, in PostgreSQL's words.
    #[error("invalid input syntax for type timestamp with time zone: \"{0}\"")]
    InvalidTimestamp(String),
    /// 53400: more names than the proxy keeps gates for.
    #[error("too many databases: this proxy keeps at most {0}")]
    TooManyDatabases(usize),
    /// 58030: the state could not be made durable, so nothing was changed.
    #[error("could not save the state of the gate: {0}")]
    StateFile(String),
    /// 55006: another process has the state file.
    #[error("state file \"{0}\" is in use by another pgsluice")]
    StateFileInUse(String),
    /// 55P03: not every member of the fleet has come to its end in time, and all are set back.
    #[error("database \"{database}\": {verb} gave up after {waited_ms} ms; not every member has come to its end")]
    FleetBusy {
        /// The database.
        database: String,
        /// The command that gave up.
        verb: Verb,
        /// How long it waited.
        waited_ms: u64,
        /// Whom it has waited for.
        waiting: Vec<String>,
    },
    /// 55000: no command goes through without etcd.
    #[error("cannot reach the fleet: {0}")]
    FleetLost(String),
    /// XX000: a transition ended without saying how (a defect, or the process is stopping).
    #[error("database \"{database}\": {verb} was interrupted")]
    Interrupted {
        /// The database.
        database: String,
        /// The command.
        verb: Verb,
    },
}

impl GateError {
    /// The SQLSTATE (PostgreSQL documentation, Appendix A).
    pub fn sqlstate(&self) -> &'static str {
        match self {
            GateError::UnknownDatabase(_) => "3D000",
            GateError::UnderWay { .. } | GateError::Rerouting { .. } | GateError::StateFileInUse(_) => "55006",
            // As when PostgreSQL itself gives up waiting for others (lock_timeout); 57014 is for what a person stopped.
            GateError::StillBusy { .. } | GateError::FleetBusy { .. } => "55P03",
            GateError::CalledOff { .. } => "57014",
            GateError::InvalidOption { .. }
            | GateError::UnknownOption(_)
            | GateError::UnknownOptionToOpen(_)
            | GateError::RepeatedOption(_) => "22023",
            GateError::InvalidTimestamp(_) => "22007",
            GateError::TooManyDatabases(_) => "53400",
            GateError::StateFile(_) => "58030",
            GateError::Unchecked { .. } | GateError::FleetLost(_) => "55000",
            GateError::Interrupted { .. } => "XX000",
        }
    }

    /// The DETAIL field.
    pub fn detail(&self) -> Option<String> {
        match self {
            GateError::StillBusy { in_the_way, .. } if !in_the_way.is_empty() => {
                Some(format!("In the way: {}.", OpenTransaction::list(in_the_way, OpenTransaction::SHOWN_IN_ERROR)))
            }
            GateError::FleetBusy { waiting, .. } if !waiting.is_empty() => {
                Some(format!("In the way: {}.", waiting.join("; ")))
            }
            GateError::StateFile(_) => Some("Nothing was changed.".into()),
            GateError::Unchecked { reasons, .. } => Some(format!("{}. Nothing was changed.", reasons.join("; "))),
            _ => None,
        }
    }

    /// The HINT field.
    pub fn hint(&self) -> Option<String> {
        match self {
            GateError::InvalidOption { hint, .. } => Some(hint.clone()),
            GateError::UnknownOption(_) => Some(super::command::options::KNOWN.into()),
            GateError::UnknownOptionToOpen(_) => Some(super::command::options::KNOWN_TO_OPEN.into()),
            GateError::InvalidTimestamp(_) => Some(when::HINT.into()),
            GateError::UnderWay { verb, .. } => {
                verb.opposite().map(|back| format!("Wait for it, or call it off with {back}; SHOW MAINTENANCE tells."))
            }
            GateError::StateFile(_) => {
                Some("MAINTENANCE OFF and ONLINE … WITH (unsaved) open the gate in memory alone.".into())
            }
            GateError::Unchecked { .. } => Some(
                "ALTER ROLE ... SET event_triggers = off for monitor_user, or accept it: \
                 MAINTENANCE ON ... WITH (accept_unchecked)."
                    .into(),
            ),
            GateError::StillBusy { in_the_way, .. } if in_the_way.iter().any(|one| one.unreachable) => Some(
                "What they have run may still be committed there. They are looked for, and ended, as soon as the primary can be reached."
                    .into(),
            ),
            GateError::FleetLost(_) => {
                Some("The option local, as in MAINTENANCE ON db WITH (local), is for this proxy alone.".into())
            }
            GateError::StillBusy { .. } | GateError::FleetBusy { .. } => {
                Some("Raise drain_timeout, or use on_timeout = cancel to have them cancelled.".into())
            }
            _ => None,
        }
    }
}

/// How many of them cannot be looked at, as the end of a message.
fn unreachable(in_the_way: &[OpenTransaction]) -> String {
    match in_the_way.iter().filter(|one| one.unreachable).count() {
        0 => String::new(),
        1 => ", among them 1 statement whose server cannot be reached".into(),
        count => format!(", among them {count} statements whose server cannot be reached"),
    }
}
