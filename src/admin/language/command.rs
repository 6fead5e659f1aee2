//! The commands of the console, as values.

use std::time::Duration;

use crate::admin::reroute::RerouteCommand;
use crate::admin::settings::{Scalar, Setting};
use crate::admin::table::Column;
use crate::gate::{Target, Verb, Wait};
use crate::proxy::moving::{activate, migrate, switchover};

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// SHOW …
    Show(Show),
    /// MAINTENANCE ON and OFF, OFFLINE and ONLINE.
    Gate(GateCommand),
    /// SWITCHOVER: a database's clients are led elsewhere.
    Move(MoveCommand),
    /// MAINTENANCE CHECK.
    Check(Target),
    /// MAINTENANCE ANNOUNCE: what clients are told.
    Announce(Target, String),
    /// MAINTENANCE REHEARSE: for how long; None ends it.
    Rehearse(Target, Option<Duration>),
    /// REROUTE.
    Reroute(RerouteCommand),
    /// PAUSE, RESUME and their like.
    Control(Control),
    /// SET log_level, or RESET of it.
    LogLevel(Option<String>),
    /// LISTEN and UNLISTEN of events.
    Listen(bool),
    /// A word of transactions or sessions that drivers send: taken, answered with this tag, and nothing else.
    Polite(Polite),
    /// A SELECT that drivers send to see whether a connection lives.
    Scalar(Scalar),
    /// A question to the catalog, such as psql's `\d`: answered with nothing.
    Catalog,
}

/// See [`Command::Gate`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateCommand {
    /// Which of the four.
    pub verb: Verb,
    /// Which databases.
    pub target: Target,
    /// What stands in WITH (…).
    pub options: Vec<(String, String)>,
    /// Whether to wait for quiesced.
    pub wait: Wait,
}

impl GateCommand {
    /// Whether it is for this proxy alone, though that is in a fleet.
    pub fn is_local(&self) -> bool {
        let local = self.options.iter().find(|(name, _)| name.eq_ignore_ascii_case("local"));
        local.is_some_and(|(_, value)| !matches!(value.to_ascii_lowercase().as_str(), "off" | "false"))
    }
}

/// See [`Command::Move`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MoveCommand {
    /// SWITCHOVER
    Switchover(switchover::Request),
    /// ACTIVATE.
    Activate(activate::Request),
    /// MIGRATE.
    Migrate(migrate::Request),
}

/// What SHOW shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Show {
    /// HELP
    Help,
    /// VERSION
    Version,
    /// DATABASES
    Databases,
    /// POOLS
    Pools,
    /// CLIENTS
    Clients,
    /// SERVERS
    Servers,
    /// STATS
    Stats,
    /// STATS_TOTALS
    StatsTotals,
    /// STATS_AVERAGES
    StatsAverages,
    /// TOTALS
    Totals,
    /// LISTS
    Lists,
    /// CONFIG
    Config,
    /// CONFIG NOTES
    ConfigNotes,
    /// STATE
    State,
    /// USERS
    Users,
    /// MEM
    Mem,
    /// MAINTENANCE, of one database if it is named.
    Maintenance(Option<String>),
    /// MOVES
    Moves,
    /// MOVE: of that number or database, or the last one.
    Move(Option<String>),
    /// MIGRATIONS
    Migrations,
    /// REROUTES
    Reroutes,
    /// EVENTS, of one database if it is named.
    Events(Option<String>),
    /// log_level
    LogLevel,
    /// WEBHOOKS
    Webhooks,
    /// UPSTREAMS
    Upstreams,
    /// FLEET
    Fleet,
    /// HBA
    Hba,
    /// PEERS
    Peers,
    /// SOCKETS and ACTIVE_SOCKETS
    Sockets(Sockets),
    /// FDS
    Fds,
    /// REHEARSAL
    Rehearsal,
    /// What PgBouncer has and pgsluice does not: DNS caches, peers.
    Nothing(&'static [Column]),
    /// A setting of PostgreSQL that drivers ask for.
    Setting(Setting),
}

/// Which sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sockets {
    /// Every one.
    All,
    /// Those of clients that have a server connection, and those server connections.
    Active,
}

/// Commands that change something other than the gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// `PAUSE [db]`
    Pause(Option<String>),
    /// `RESUME [db]`
    Resume(Option<String>),
    /// `KILL [db]`
    Kill(Option<String>),
    /// KILL_CLIENT id
    KillClient(u64),
    /// `RECONNECT [db]`
    Reconnect(Option<String>),
    /// `WAIT_CLOSE [db]`
    WaitClose(Option<String>),
    /// DISABLE db
    Disable(String),
    /// ENABLE db
    Enable(String),
    /// `CLUSTER name PRIMARY host`
    Primary {
        /// The cluster.
        cluster: String,
        /// The server that is the primary.
        host: String,
    },
    /// RELOAD
    Reload,
    /// `SET key = value`, of the configuration
    Set(String, String),
    /// SUSPEND
    Suspend,
    /// UPGRADE
    Upgrade,
    /// SHUTDOWN
    Shutdown(Shutdown),
}

/// Whom SHUTDOWN waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Nobody.
    Immediate,
    /// Transactions end, idle clients are sent away.
    WaitForServers,
    /// Clients leave by themselves.
    WaitForClients,
}

/// See [`Command::Polite`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polite {
    /// BEGIN, START TRANSACTION
    Begin(&'static str),
    /// COMMIT, END, ROLLBACK, ABORT
    End(&'static str),
    /// Anything else, by its tag.
    Other(&'static str),
}

impl Command {
    /// What is at its front in a log line and in its answer's tag.
    pub fn tag(&self) -> &'static str {
        match self {
            Self::Show(_) => "SHOW",
            Self::Gate(command) => match command.verb {
                Verb::On | Verb::Off => "MAINTENANCE",
                Verb::Offline => "OFFLINE",
                Verb::Online => "ONLINE",
            },
            Self::Move(MoveCommand::Switchover(_)) => "SWITCHOVER",
            Self::Move(MoveCommand::Activate(_)) => "ACTIVATE",
            Self::Move(MoveCommand::Migrate(_)) => "MIGRATE",
            Self::Check(_) | Self::Announce(..) | Self::Rehearse(..) => "MAINTENANCE",
            Self::Reroute(_) => "REROUTE",
            Self::Control(control) => control.tag(),
            Self::Polite(Polite::Begin(tag) | Polite::End(tag) | Polite::Other(tag)) => tag,
            Self::LogLevel(Some(_)) => "SET",
            Self::LogLevel(None) => "RESET",
            Self::Listen(true) => "LISTEN",
            Self::Listen(false) => "UNLISTEN",
            Self::Scalar(_) => "SELECT 1",
            Self::Catalog => "SELECT 0",
        }
    }

    /// Whether it only looks: stats_users may run it.
    pub fn only_looks(&self) -> bool {
        !matches!(
            self,
            Self::Gate(_)
                | Self::Move(_)
                | Self::Check(_)
                | Self::Announce(..)
                | Self::Rehearse(..)
                | Self::LogLevel(_)
                | Self::Reroute(_)
                | Self::Control(_)
        )
    }
}

impl Shutdown {
    /// As it is typed.
    pub fn words(self) -> &'static str {
        match self {
            Self::Immediate => "SHUTDOWN",
            Self::WaitForServers => "SHUTDOWN WAIT_FOR_SERVERS",
            Self::WaitForClients => "SHUTDOWN WAIT_FOR_CLIENTS",
        }
    }
}

impl Control {
    /// What it is for, if that is not everything.
    pub fn target(&self) -> Option<String> {
        match self {
            Self::Pause(name)
            | Self::Resume(name)
            | Self::Kill(name)
            | Self::Reconnect(name)
            | Self::WaitClose(name) => name.clone(),
            Self::Disable(name) | Self::Enable(name) => Some(name.clone()),
            Self::KillClient(id) => Some(id.to_string()),
            Self::Primary { cluster, .. } => Some(cluster.clone()),
            Self::Set(key, _) => Some(key.clone()),
            Self::Reload | Self::Suspend | Self::Upgrade | Self::Shutdown(_) => None,
        }
    }

    /// What is at its front in a log line and in its answer's tag.
    pub fn tag(&self) -> &'static str {
        match self {
            Self::Set(..) => "SET",
            Self::Suspend => "SUSPEND",
            Self::Upgrade => "UPGRADE",
            Self::Pause(_) => "PAUSE",
            Self::Resume(_) => "RESUME",
            Self::Kill(_) => "KILL",
            Self::KillClient(_) => "KILL_CLIENT",
            Self::Reconnect(_) => "RECONNECT",
            Self::WaitClose(_) => "WAIT_CLOSE",
            Self::Disable(_) => "DISABLE",
            Self::Enable(_) => "ENABLE",
            Self::Primary { .. } => "CLUSTER",
            Self::Reload => "RELOAD",
            Self::Shutdown(_) => "SHUTDOWN",
        }
    }
}
