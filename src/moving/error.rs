//! Why a move does not begin, or does not go on.

use jiff::Timestamp;

use crate::gate::{Who, print_timestamp};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoveError {
    /// 55006: another one is under way for one of its databases.
    #[error("database \"{database}\": {command} is under way, started by {who} at {}", print_timestamp(*.since))]
    UnderWay {
        /// The database that was named.
        database: String,
        /// That one's command.
        command: String,
        /// Who has given it.
        who: Who,
        /// When.
        since: Timestamp,
    },
    /// 55006: another process is about to take over.
    #[error("another process is about to take over")]
    HandedOver,
    /// 58030: the next step could not be written down, so it was not taken.
    #[error("the journal of moves cannot be written: {0}")]
    Journal(String),
}

impl MoveError {
    /// The SQLSTATE.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::UnderWay { .. } | Self::HandedOver => "55006",
            Self::Journal(_) => "58030",
        }
    }

    /// The HINT.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnderWay { .. } => Some("Wait for it, or call it off with MAINTENANCE OFF; SHOW MOVES tells.".into()),
            Self::HandedOver => Some("Give the command again once it has.".into()),
            Self::Journal(_) => None,
        }
    }
}
