//! What a server is, in one word and with the reason, as a person is shown it.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::cluster::Cluster;
use super::server::Role;

/// How lasting a loss is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It may be over in a moment.
    Transient,
    /// Several looks over `primary_lost_after` have failed.
    Lasting,
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not asked yet, or it lets nobody in who could say.
    Unknown,
    /// It answers that it starts up.
    Starting,
    /// It takes writes.
    Primary,
    /// In recovery.
    Replica,
    /// It would be the primary, and is read-only by its own setting.
    ReadOnly,
    /// It cannot be reached.
    Lost(Loss),
    /// It claims to be the primary, and so does another one.
    Contested,
    /// A move has left it: another server is the primary in its place, whatever it says.
    Retired,
}

impl State {
    /// As SHOW UPSTREAMS prints it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Starting => "starting",
            Self::Primary => "primary",
            Self::Replica => "replica",
            Self::ReadOnly => "read-only",
            Self::Lost(Loss::Transient) => "lost (transient)",
            Self::Lost(Loss::Lasting) => "lost (lasting)",
            Self::Contested => "contested",
            Self::Retired => "retired",
        }
    }
}

/// What an attempt to reach a server has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// Nothing has answered.
    Gone,
    /// It has said that it starts.
    Starts,
    /// It has answered, and has not let the monitor in.
    Refuses,
}

/// A server that cannot be asked, since when.
#[derive(Clone, Copy, Debug)]
pub struct Outage {
    /// The first look that failed.
    pub since: Instant,
    /// The same by the clock on the wall.
    pub when: Timestamp,
    /// How many looks have failed.
    pub looks: u32,
    /// What the last of them has come to.
    pub kind: Silence,
}

/// Looks that must have failed before a loss is a lasting one.
const SEVERAL: u32 = 3;

impl Outage {
    /// It begins now.
    pub fn begin(kind: Silence) -> Self {
        Self { since: Instant::now(), when: Timestamp::now(), looks: 1, kind }
    }

    /// How lasting it is.
    pub fn loss(&self, after: Option<Duration>, now: Instant) -> Loss {
        let long = after.is_some_and(|after| now.duration_since(self.since) >= after);
        if long && self.looks >= SEVERAL { Loss::Lasting } else { Loss::Transient }
    }
}

impl Cluster {
    /// What a server is now.
    pub fn state_of(&self, at: usize, now: Instant) -> State {
        let Some(upstream) = self.upstreams.get(at) else { return State::Unknown };
        if self.is_retired_server(at) {
            return State::Retired;
        }
        if self.is_disputed(at) {
            return State::Contested;
        }
        match (upstream.role(), upstream.outage()) {
            (Role::Primary, _) if upstream.own_settings().server => State::ReadOnly,
            (Role::Primary, _) => State::Primary,
            (Role::Replica, _) => State::Replica,
            (_, Some(outage)) => match outage.kind {
                Silence::Starts => State::Starting,
                Silence::Refuses => State::Unknown,
                Silence::Gone => State::Lost(outage.loss(self.lost_after, now)),
            },
            (Role::Unknown | Role::Down, None) => State::Unknown,
        }
    }

    /// Why it is that.
    pub fn reason_of(&self, at: usize, now: Instant) -> String {
        let Some(upstream) = self.upstreams.get(at) else { return String::new() };
        let error = upstream.error();
        match self.state_of(at, now) {
            State::Unknown if error.is_empty() => "it has not been asked yet".to_owned(),
            State::Primary => "it is not in recovery".to_owned(),
            State::Replica => "it is in recovery".to_owned(),
            State::ReadOnly => "default_transaction_read_only is on for the server".to_owned(),
            State::Retired => "left by a switchover, read-only; start it as a replica".to_owned(),
            State::Contested => "another server claims to be the primary too".to_owned(),
            State::Unknown | State::Starting | State::Lost(_) => match upstream.outage() {
                Some(outage) => format!("{error} (since {})", crate::gate::print_timestamp(outage.when)),
                None => error,
            },
        }
    }
}
