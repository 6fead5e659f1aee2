//! The mode of a database and its epoch: what a session must do is a pure function of the mode.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Grows by one with each change of mode of a database; persisted, never reused.
///
/// Bounded by [`Epoch::MAX`], so that it fits beside a counter or a mode in one atomic word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// How many bits an epoch takes.
    pub const BITS: u32 = 40;
    /// The last one: a change of mode each second for 34,000 years.
    pub const MAX: Epoch = Epoch((1 << Self::BITS) - 1);

    /// The epoch of the next change of mode.
    pub fn next(self) -> Epoch {
        Epoch(self.0.saturating_add(1)).min(Self::MAX)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What happens to a write in `read_only`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Writes {
    /// PostgreSQL's error 25006, at once.
    #[default]
    Reject,
    /// Waits for the gate to open, up to `hold_timeout`; see [`crate::gate::hold`].
    Hold,
}

/// Where a drain leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DrainTo {
    /// Write-capable transactions end, then the database is quiesced.
    ReadOnly {
        /// What happens to writes, from the start of the drain on.
        writes: Writes,
    },
    /// Every transaction ends, then every application session.
    Offline,
}

/// The mode of a database as its sessions see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The ordinary day.
    ReadWrite,
    /// The gate is closed to what is new; what was open may end.
    Draining {
        /// The mode that follows.
        to: DrainTo,
    },
    /// Nothing that writes is open, and nothing that writes can start.
    ReadOnly {
        /// What happens to writes.
        writes: Writes,
    },
    /// Only operators connect.
    Offline,
}

/// What a session does when its client starts a transaction (or sends a statement outside of one).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NewTransaction {
    /// Register with the gate and run it on an ordinary, unguarded connection.
    WriteCapable,
    /// Run it on a guarded connection or a server in recovery; a certain write meets `writes`.
    Guarded {
        /// What happens to a certain write.
        writes: Writes,
    },
    /// FATAL 57P01, the connection is closed.
    Terminate,
}

impl Mode {
    /// What a transaction that starts now may be.
    pub fn new_transaction(self) -> NewTransaction {
        match self {
            Mode::ReadWrite => NewTransaction::WriteCapable,
            Mode::ReadOnly { writes } | Mode::Draining { to: DrainTo::ReadOnly { writes } } => {
                NewTransaction::Guarded { writes }
            }
            Mode::Offline | Mode::Draining { to: DrainTo::Offline } => NewTransaction::Terminate,
        }
    }

    /// Whether a new application connection is let in; if not, it gets FATAL 57P03.
    pub fn admits_connections(self) -> bool {
        !matches!(self, Mode::Offline | Mode::Draining { to: DrainTo::Offline })
    }

    /// What ParameterStatus `default_transaction_read_only` says to application sessions.
    pub fn reports_read_only(self) -> bool {
        self != Mode::ReadWrite
    }

    /// The name printed on the console: `read_write`, `draining`, `read_only` or `offline`.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::ReadWrite => "read_write",
            Mode::Draining { .. } => "draining",
            Mode::ReadOnly { .. } => "read_only",
            Mode::Offline => "offline",
        }
    }

    fn code(self) -> u64 {
        match self {
            Mode::ReadWrite => 0,
            Mode::Draining { to: DrainTo::ReadOnly { writes: Writes::Reject } } => 1,
            Mode::Draining { to: DrainTo::ReadOnly { writes: Writes::Hold } } => 2,
            Mode::Draining { to: DrainTo::Offline } => 3,
            Mode::ReadOnly { writes: Writes::Reject } => 4,
            Mode::ReadOnly { writes: Writes::Hold } => 5,
            Mode::Offline => 6,
        }
    }

    fn from_code(code: u64) -> Mode {
        match code {
            0 => Mode::ReadWrite,
            1 => Mode::Draining { to: DrainTo::ReadOnly { writes: Writes::Reject } },
            2 => Mode::Draining { to: DrainTo::ReadOnly { writes: Writes::Hold } },
            3 => Mode::Draining { to: DrainTo::Offline },
            4 => Mode::ReadOnly { writes: Writes::Reject },
            5 => Mode::ReadOnly { writes: Writes::Hold },
            // Nothing else is ever packed; the strictest mode is the only safe reading.
            _ => Mode::Offline,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A mode with its epoch, as read from the gate by one atomic load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    /// The mode.
    pub mode: Mode,
    /// The epoch of the change that led to it; a drain and the mode it leads to have the same one.
    pub epoch: Epoch,
}

impl State {
    const MODE_BITS: u32 = 8;

    pub(crate) fn pack(self) -> u64 {
        self.epoch.min(Epoch::MAX).0 << Self::MODE_BITS | self.mode.code()
    }

    pub(crate) fn unpack(word: u64) -> State {
        State { mode: Mode::from_code(word & ((1 << Self::MODE_BITS) - 1)), epoch: Epoch(word >> Self::MODE_BITS) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Mode; 7] = [
        Mode::ReadWrite,
        Mode::Draining { to: DrainTo::ReadOnly { writes: Writes::Reject } },
        Mode::Draining { to: DrainTo::ReadOnly { writes: Writes::Hold } },
        Mode::Draining { to: DrainTo::Offline },
        Mode::ReadOnly { writes: Writes::Reject },
        Mode::ReadOnly { writes: Writes::Hold },
        Mode::Offline,
    ];

    #[test]
    fn every_state_survives_packing() {
        for mode in ALL {
            for epoch in [Epoch(0), Epoch(1), Epoch(1_900_000_000), Epoch::MAX] {
                let state = State { mode, epoch };
                assert_eq!(State::unpack(state.pack()), state);
            }
        }
    }

    #[test]
    fn only_read_write_lets_writers_in() {
        for mode in ALL {
            assert_eq!(mode.new_transaction() == NewTransaction::WriteCapable, mode == Mode::ReadWrite);
            assert_eq!(mode.admits_connections(), mode.new_transaction() != NewTransaction::Terminate);
        }
    }

    #[test]
    fn the_last_epoch_stays_the_last() {
        assert_eq!(Epoch::MAX.next(), Epoch::MAX);
        assert_eq!(Epoch(u64::MAX).next(), Epoch::MAX);
    }
}
