//! What goes with a mode: who, why, until when; and the texts that applications read.

use super::automatic::{Automatic, Closes};
use super::command::when;
use super::command::when::millis;
use super::state::lsn::Lsn;
use super::state::mode::{Mode, State, Writes};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use std::{fmt, sync::Arc};

/// Who gave a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// The role.
    pub user: String,
    /// The client's address; None for the proxy itself.
    pub address: Option<String>,
}

impl Who {
    /// The proxy itself: an `expire` that has come, a state that was lost.
    pub fn proxy() -> Who {
        Who { user: "pgsluice".into(), address: None }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.user)
    }
}

/// Why a database is not read_write. Automation changes only what automation set, and a person's command only a person's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A person said so, by a command. Older versions call it `operator` where it is kept.
    #[serde(rename = "operator")]
    Command,
    /// The primary is lost.
    Degraded,
    /// The database is read-only by its own setting.
    OwnSetting,
    /// There is no primary among its servers.
    NoPrimary,
    /// Clients of another database are led to it to read only.
    Rerouted,
    /// Its heartbeat cannot write.
    WritesFail,
    /// The state file was damaged: nobody knows what a person said.
    StateLost,
    /// This proxy cannot reach its fleet: nobody knows what a person said elsewhere.
    FleetLost,
}

impl Cause {
    /// As SHOW MAINTENANCE and the log have it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Degraded => "primary_lost",
            Self::OwnSetting => "own_setting",
            Self::NoPrimary => "no_primary",
            Self::Rerouted => "rerouted",
            Self::WritesFail => "writes_fail",
            Self::StateLost => "state_lost",
            Self::FleetLost => "fleet_lost",
        }
    }
}

/// What happens to transactions still open at drain_timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnTimeout {
    /// They are cancelled and rolled back.
    #[default]
    Cancel,
    /// The gate is set back to what it was.
    Revert,
}

/// Where reads go in read_only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reads {
    /// Replicas where fit, else the primary.
    #[default]
    Any,
    /// Replicas only.
    Replica,
    /// The primary only.
    Primary,
}

/// One reason why a database is closed, and the options it came with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Why.
    pub cause: Cause,
    /// Who.
    pub who: Who,
    /// When.
    pub since: Timestamp,
    /// Told to applications.
    pub message: Option<String>,
    /// When it is expected to end.
    pub until: Option<Timestamp>,
    /// When it ends by itself.
    pub expire_at: Option<Timestamp>,
    /// What happens to writes.
    pub writes: Writes,
    /// How long a held write waits.
    #[serde(with = "millis")]
    pub hold_timeout: Duration,
    /// How long open transactions may take to end.
    #[serde(with = "millis")]
    pub drain_timeout: Duration,
    /// What happens to those that do not.
    pub on_timeout: OnTimeout,
    /// Where reads go.
    pub reads: Reads,
}

/// The two switches that a person has. They are independent, and the mode is a function of both: ONLINE goes back to what
/// MAINTENANCE says, without a moment of read_write in between.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Switches {
    /// MAINTENANCE ON.
    pub maintenance: Option<Terms>,
    /// OFFLINE.
    pub offline: Option<Terms>,
}

impl Switches {
    /// The mode they lead to.
    pub fn mode(&self) -> Mode {
        match (&self.offline, &self.maintenance) {
            (Some(_), _) => Mode::Offline,
            (None, Some(terms)) => Mode::ReadOnly { writes: terms.writes },
            (None, None) => Mode::ReadWrite,
        }
    }

    /// The terms that are in force.
    pub fn in_force(&self) -> Option<&Terms> {
        self.offline.as_ref().or(self.maintenance.as_ref())
    }
}

/// From when on nothing changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quiesced {
    /// The moment.
    pub at: Timestamp,
    /// The primary's LSN, asked after it; None if the primary could not be asked.
    pub lsn: Option<Lsn>,
}

/// What the last transition met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Transactions made read-only in their middle.
    pub fenced: u64,
    /// Transactions cancelled at drain_timeout.
    pub cancelled: u64,
    /// Who else was writing.
    pub foreign_writers: u64,
}

/// All that a session may want to know of the gate, as one immutable value.
#[derive(Debug, Clone, PartialEq)]
pub struct GateView {
    /// The name that clients connect to.
    pub database: Arc<str>,
    /// The mode and epoch.
    pub state: State,
    /// Since when the mode holds.
    pub since: Timestamp,
    /// Why, and with which options.
    pub switches: Switches,
    /// What automation has found; in force where no switch is on.
    pub automatic: Option<Automatic>,
    /// Set once the drain is over.
    pub quiesced: Option<Quiesced>,
    /// What the last transition met.
    pub counters: Counters,
}

impl GateView {
    /// The same as one who knows the database by that name is shown it.
    pub fn under(&self, name: &Arc<str>) -> GateView {
        GateView { database: name.clone(), ..self.clone() }
    }

    /// The terms that are in force: a person's, else what automation has found.
    pub fn in_force(&self) -> Option<&Terms> {
        self.switches.in_force().or_else(|| self.automatic.as_ref().map(|found| &found.terms))
    }

    /// Whether automation, and no person, keeps it closed.
    pub fn is_automatic(&self) -> bool {
        self.switches.mode() == Mode::ReadWrite && self.automatic.is_some()
    }

    /// Whether clients of another database are led to it to read only.
    fn is_copy(&self) -> bool {
        self.automatic.as_ref().is_some_and(|found| found.terms.cause == Cause::Rerouted)
    }

    /// The position that a replica must have replayed to serve reads while the gate is closed; None: not known yet.
    pub fn read_floor(&self) -> Option<Lsn> {
        match &self.automatic {
            Some(found) if self.switches.mode() == Mode::ReadWrite => Some(found.floor),
            // A copy may have no primary that could be asked.
            Some(found) if found.terms.cause == Cause::Rerouted => {
                Some(self.quiesced.and_then(|quiesced| quiesced.lsn).unwrap_or(found.floor))
            }
            _ => self.quiesced.and_then(|quiesced| quiesced.lsn),
        }
    }

    /// DETAIL of a write refused with 25006; None in read_write.
    pub fn refusal_detail(&self) -> Option<String> {
        self.state_words().map(|words| format!("database \"{}\" {words}", self.database))
    }

    /// The same without the database's name: "is in maintenance", with the message.
    pub fn state_words(&self) -> Option<String> {
        let terms = self.in_force().filter(|_| self.state.mode != Mode::ReadWrite)?;
        let state = match terms.cause {
            Cause::Command | Cause::StateLost if self.is_copy() => {
                "is in maintenance and is served by a read-only copy".to_owned()
            }
            Cause::Command | Cause::StateLost => "is in maintenance".to_owned(),
            Cause::Rerouted => "is served by a read-only copy".to_owned(),
            Cause::Degraded if !self.state.mode.admits_connections() => {
                format!("is offline: {}, and no replica can serve reads", lost_since(terms))
            }
            Cause::Degraded => format!("is read-only: {}; reads are served by replicas", lost_since(terms)),
            Cause::OwnSetting => "is read-only by its own setting default_transaction_read_only".to_owned(),
            Cause::NoPrimary => "is read-only: its servers are replicas, and no primary is known".to_owned(),
            Cause::FleetLost => "is read-only: this proxy cannot reach the fleet".to_owned(),
            Cause::WritesFail => {
                format!("is read-only: its heartbeat has not been able to write since {}", when::print(terms.since))
            }
        };
        Some(self.with_message(&state))
    }

    /// Why it is not read_write, in a sentence.
    pub fn reason(&self) -> Option<String> {
        match self.state.mode {
            Mode::ReadWrite => None,
            mode if mode.admits_connections() => self.refusal_detail(),
            _ => Some(self.offline_text()),
        }
    }

    /// HINT of a write refused with 25006.
    pub fn refusal_hint(&self) -> Option<String> {
        let terms = self.in_force().filter(|_| self.state.mode != Mode::ReadWrite)?;
        let be = |until| if until < Timestamp::now() { "were" } else { "are" };
        terms.until.map(|until| format!("Writes {} expected back at {}.", be(until), when::print(until)))
    }

    /// Primary message of FATAL 57P03 (a connection refused) and DETAIL of FATAL 57P01 (a session ended, whose primary message
    /// is PostgreSQL's `terminating connection due to administrator command`).
    pub fn offline_text(&self) -> String {
        match self.automatic.as_ref().filter(|_| self.is_automatic()) {
            Some(Automatic { closes: Closes::All, terms, .. }) => {
                format!("database \"{}\" is offline: {}", self.database, lost_since(terms))
            }
            _ => format!("database \"{}\" {}", self.database, self.with_message("is offline")),
        }
    }

    /// HINT of 57P03 and 57P01.
    pub fn offline_hint(&self) -> Option<String> {
        let until = self.switches.offline.as_ref()?.until?;
        let be = if until < Timestamp::now() { "was" } else { "is" };
        Some(format!("It {be} expected back at {}.", when::print(until)))
    }

    fn with_message(&self, state: &str) -> String {
        match self.in_force().and_then(|terms| terms.message.as_deref()) {
            Some(message) => format!("{state}: {message}"),
            None => state.to_owned(),
        }
    }
}

fn lost_since(terms: &Terms) -> String {
    format!("the primary has been lost since {}", when::print(terms.since))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::gate::state::mode::Epoch;

    pub(crate) fn terms(cause: Cause) -> Terms {
        Terms {
            cause,
            who: Who { user: "bob".into(), address: Some("127.0.0.1".into()) },
            since: "2026-12-01T12:00:00Z".parse().unwrap(),
            message: Some("upgrade to 18".into()),
            until: Some("2026-12-01T14:00:00Z".parse().unwrap()),
            expire_at: None,
            writes: Writes::Reject,
            hold_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(30),
            on_timeout: OnTimeout::Cancel,
            reads: Reads::Any,
        }
    }

    fn view(switches: Switches) -> GateView {
        GateView {
            database: "app".into(),
            state: State { mode: switches.mode(), epoch: Epoch(1) },
            since: Timestamp::UNIX_EPOCH,
            switches,
            automatic: None,
            quiesced: None,
            counters: Counters::default(),
        }
    }

    #[test]
    fn texts() {
        let mut seen = view(Switches { maintenance: Some(terms(Cause::Command)), offline: None });
        assert_eq!(seen.refusal_detail().unwrap(), "database \"app\" is in maintenance: upgrade to 18");
        assert_eq!(seen.refusal_hint().unwrap(), "Writes are expected back at 2026-12-01 14:00:00+00.");
        if let Some(terms) = &mut seen.switches.maintenance {
            terms.message = None;
            terms.until = None;
        }
        assert_eq!(seen.refusal_detail().unwrap(), "database \"app\" is in maintenance");
        assert_eq!(seen.refusal_hint(), None);

        let open = view(Switches::default());
        assert_eq!((open.refusal_detail(), open.refusal_hint()), (None, None));

        let offline = view(Switches { maintenance: None, offline: Some(terms(Cause::Command)) });
        assert_eq!(offline.offline_text(), "database \"app\" is offline: upgrade to 18");
        assert_eq!(offline.offline_hint().unwrap(), "It is expected back at 2026-12-01 14:00:00+00.");
    }

    #[test]
    fn the_causes_are_told_apart() {
        let details: std::collections::BTreeSet<_> = [Cause::Command, Cause::Degraded, Cause::OwnSetting]
            .map(|cause| view(Switches { maintenance: Some(terms(cause)), offline: None }).refusal_detail())
            .into();
        assert_eq!(details.len(), 3);
    }
}
