//! Kinds of events, and how grave they are.

use std::fmt;

/// How grave an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As expected.
    Info,
    /// A person may want to act.
    Warning,
    /// A person has to act.
    Error,
}

impl Severity {
    /// `info`, `warning`, `error`
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }

    /// That of a level of the log, by the name of its macro.
    pub(crate) fn of_level(level: &str) -> Self {
        match level {
            "error" => Self::Error,
            "warn" => Self::Warning,
            _ => Self::Info,
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident $name:literal;)+) => {
        /// What can happen.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind { $($(#[doc = $doc])+ $kind,)+ }

        impl Kind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$kind),+];

            /// The name, in the log, on the console and in webhooks. It does not change.
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)+ }
            }

            /// What it means, for the documentation.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$kind => concat!($($doc),+).trim_ascii(),)+ }
            }
        }
    };
}

kinds! {
    /// The mode of a database has changed.
    Mode "mode";
    /// A drain has begun: open transactions may end.
    DrainBegan "drain_began";
    /// A drain is over: nothing changes any more.
    DrainEnded "drain_ended";
    /// A drain has timed out, and the gate is open again; `detail` says for whom it has waited.
    DrainGaveUp "drain_gave_up";
    /// A drain was called off by a person, or by another command.
    DrainCalledOff "drain_called_off";
    /// A command could not be carried out.
    TransitionFailed "transition_failed";
    /// The promised end of a maintenance (`until`) has passed; repeated every 15 minutes until somebody acts.
    Overdue "maintenance_overdue";
    /// What has been decided is in force, but could not be saved.
    NotSaved "gate_not_saved";
    /// The state file was lost or damaged.
    StateFile "state_file";
    /// Clients were told of a maintenance to come.
    Announcement "announcement";
    /// More writes wait for the gate than `hold_limit` allows: further ones are refused.
    HoldOverflow "hold_overflow";
    /// A server has another role.
    ServerRole "server_role";
    /// A server cannot be reached.
    ServerLost "server_lost";
    /// A server does not let the monitor in.
    MonitorRefused "monitor_refused";
    /// Several servers claim to be the primary: split brain.
    PrimaryContested "primary_contested";
    /// The clients of a database are led to another cluster, or back (REROUTE).
    Rerouted "rerouted";
    /// Only one server is the primary again.
    PrimaryNoLongerContested "primary_no_longer_contested";
    /// An old primary has come back beside the server that was promoted in its place.
    OldPrimaryBack "old_primary_back";
    /// Of several servers that claim to be the primary, one is known to be right by its timeline.
    ContestSettled "contest_settled";
    /// A person has decided which server is the primary.
    PrimaryDecided "primary_decided";
    /// The name of a server leads to another place.
    ServerMoved "server_moved";
    /// A cluster has other servers than before.
    ServersFound "servers_found";
    /// A database has closed by itself, since its servers take no writes.
    Degraded "degraded";
    /// A database that had closed by itself is open again.
    Recovered "recovered";
    /// A move of databases (SWITCHOVER, MIGRATE) has begun.
    MoveBegan "move_began";
    /// A step of a move has been taken, or something was found beforehand.
    MoveStep "move_step";
    /// A move is done.
    MoveEnded "move_ended";
    /// A move has failed; `error` says why, and what is as it was.
    MoveFailed "move_failed";
    /// The journal of moves was damaged, or a database was closed by a move of which nothing is known.
    MovesLost "moves_lost";
    /// This proxy is a member of its fleet, and has put in force what is wanted there.
    FleetJoined "fleet_joined";
    /// This proxy cannot reach its fleet: its databases take no writes until it can.
    FleetLost "fleet_lost";
    /// What a member of the fleet that has gone had left open on the servers is ended.
    MemberFenced "fleet_member_fenced";
    /// Etcd was put back to an older state, which has forgotten that a database was closed: it stays closed, and etcd is told again.
    FleetWrittenBack "fleet_written_back";
    /// The write heartbeat of a database has failed, or still does.
    HeartbeatFailed "heartbeat_failed";
    /// The write heartbeat of a database works again.
    HeartbeatWorks "heartbeat_works";
    /// A certificate expires within 14 days, or has expired; repeated once a day.
    CertificateExpires "certificate_expires";
    /// Certificates or keys have changed on disk, and new connections use them.
    CertificateRenewed "certificate_renewed";
    /// Certificates or keys that have changed on disk cannot be used: what was read before stays in use.
    CertificateRefused "certificate_refused";
    /// The configuration was reloaded.
    Reloaded "reloaded";
    /// The configuration was not reloaded, since something in it is wrong.
    NotReloaded "not_reloaded";
    /// pgsluice is ready.
    Ready "ready";
    /// A new process is to take over from this one: `pgsluice upgrade`.
    UpgradeBegun "upgrade_begun";
    /// Another process has taken over; `left` clients could not go, and are disconnected.
    Upgraded "upgraded";
    /// This process has taken over from another one, which serves nobody any more.
    TookOver "took_over";
    /// No other process has taken over, and this one goes on; `error` says why.
    UpgradeFailed "upgrade_failed";
    /// pgsluice shuts down.
    ShuttingDown "shutting_down";
    /// A webhook was not delivered, and is not tried again.
    WebhookDead "webhook_dead";
}

impl Kind {
    /// The kind of that name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_lead_back() {
        for kind in Kind::ALL {
            assert_eq!(Kind::of_name(kind.name()), Some(*kind));
            assert!(kind.meaning().ends_with('.'), "{}", kind.meaning());
        }
    }
}
