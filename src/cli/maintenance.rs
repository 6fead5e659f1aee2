//! `pgsluice maintenance ...`: the options of the console's MAINTENANCE command.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};

use crate::config::{MaintenanceReads, OnTimeout, Writes, parse_duration};

/// The console of a pgsluice on this machine, unless the environment names another.
pub const DEFAULT_ADMIN: &str = "postgres:///pgsluice";

/// A URL that may hold a password: `Debug` does not show it. It is not parsed yet.
#[derive(Clone, PartialEq, Eq)]
pub struct UpstreamUrl(String);

impl UpstreamUrl {
    /// The URL as it was typed, with its password.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for UpstreamUrl {
    type Err = Infallible;
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("postgres://...")
    }
}

/// What to do with the gate.
#[derive(Debug, Subcommand)]
pub enum MaintenanceCommand {
    /// Close the gate; returns once nothing can change the database any more.
    On(MaintenanceOn),
    /// Open the gate.
    Off(MaintenanceTarget),
    /// Tell what would be in the way; changes nothing. Exit code 6: something would make it fail.
    Check(MaintenanceTarget),
    /// Show the mode.
    Status(MaintenanceStatus),
    /// Count what a maintenance would refuse, without refusing it. The result is SHOW REHEARSAL on the console.
    Rehearse(MaintenanceRehearse),
    /// Tell clients of a maintenance to come.
    Announce(MaintenanceAnnounce),
    /// Show mode, drain and traffic on a screen that follows them; q ends it.
    Watch(MaintenanceStatus),
}

impl MaintenanceCommand {
    /// Where it goes, and in which form its answer comes.
    pub fn console(&self) -> &ConsoleArgs {
        match self {
            Self::On(on) => &on.target.console,
            Self::Off(target) | Self::Check(target) => &target.console,
            Self::Status(status) | Self::Watch(status) => &status.console,
            Self::Rehearse(rehearse) => &rehearse.target.console,
            Self::Announce(announce) => &announce.target.console,
        }
    }
}

/// In which form an answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// Tables for people.
    Text,
    /// A list of objects, one for each row; numbers, true and false, and null are what they are.
    Json,
}

/// `pgsluice maintenance status` and `watch`.
#[derive(Debug, Args)]
pub struct MaintenanceStatus {
    /// The database as clients name it; without one, all.
    #[arg(value_name = "DB")]
    pub database: Option<String>,

    /// Where the command goes.
    #[command(flatten)]
    pub console: ConsoleArgs,
}

/// `pgsluice maintenance rehearse`.
#[derive(Debug, Args)]
pub struct MaintenanceRehearse {
    /// Which database.
    #[command(flatten)]
    pub target: MaintenanceTarget,

    /// For how long, such as 10min.
    #[arg(long = "for", value_name = "DURATION", value_parser = positive_duration, required_unless_present = "stop")]
    pub lasts: Option<Duration>,

    /// End it.
    #[arg(long, conflicts_with = "lasts")]
    pub stop: bool,
}

/// `pgsluice maintenance announce`.
#[derive(Debug, Args)]
pub struct MaintenanceAnnounce {
    /// Which database.
    #[command(flatten)]
    pub target: MaintenanceTarget,

    /// What clients are told; nothing takes back what they have not been told yet.
    #[arg(value_name = "TEXT")]
    pub text: String,
}

/// Which database of which pgsluice.
#[derive(Debug, Args)]
pub struct MaintenanceTarget {
    /// The database as clients name it, or '*' for all.
    #[arg(value_name = "DB", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub database: String,

    /// Where the command goes.
    #[command(flatten)]
    pub console: ConsoleArgs,
}

/// Which pgsluice is told, and in which form it answers.
#[derive(Debug, Args)]
pub struct ConsoleArgs {
    /// The console to send the command to, such as postgres://dba@127.0.0.1:6432/pgsluice
    ///
    /// What the URL leaves out comes from a service (PGSERVICE, PGSERVICEFILE), PGHOST (127.0.0.1), PGHOSTADDR, PGPORT (6432),
    /// PGUSER, PGPASSWORD, PGSSLMODE, PGSSLROOTCERT, PGSSLCERT, PGSSLKEY, PGCONNECT_TIMEOUT and ~/.pgpass (PGPASSFILE), as
    /// with psql.
    #[arg(long, value_name = "URL", default_value = DEFAULT_ADMIN, hide_default_value = true, env = "PGSLUICE_ADMIN", hide_env_values = true)]
    pub admin: UpstreamUrl,

    /// In which form the answer comes.
    #[arg(long, value_name = "FORM", value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// `pgsluice maintenance on`; what is not given is as in the configuration.
#[derive(Debug, Args)]
pub struct MaintenanceOn {
    /// Which database.
    #[command(flatten)]
    pub target: MaintenanceTarget,

    /// What clients are told.
    #[arg(long, value_name = "TEXT")]
    pub message: Option<String>,

    /// When writes are expected back, such as '2026-12-01 14:00Z'; only told to clients.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,

    /// How long open writing transactions may take to finish, such as 30s.
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    pub drain_timeout: Option<Duration>,

    /// What happens then.
    #[arg(long, value_name = "WHAT", value_parser = on_timeout())]
    pub on_timeout: Option<OnTimeout>,

    /// What becomes of writes.
    #[arg(long, value_name = "WHAT", value_parser = writes())]
    pub writes: Option<Writes>,

    /// How long a held write waits.
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    pub hold_timeout: Option<Duration>,

    /// Where reads go.
    #[arg(long, value_name = "WHERE", value_parser = reads())]
    pub reads: Option<MaintenanceReads>,

    /// Open the gate again by itself after this time, such as 2h.
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    pub expire: Option<Duration>,

    /// Do not wait until nothing can change any more.
    #[arg(long)]
    pub nowait: bool,
}

pub(super) fn positive_duration(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err("must be more than 0".to_owned()),
        duration => Ok(duration),
    }
}

fn on_timeout() -> impl TypedValueParser<Value = OnTimeout> {
    PossibleValuesParser::new(OnTimeout::WORDS).try_map(|word| word.parse::<OnTimeout>())
}

fn writes() -> impl TypedValueParser<Value = Writes> {
    PossibleValuesParser::new(Writes::WORDS).try_map(|word| word.parse::<Writes>())
}

fn reads() -> impl TypedValueParser<Value = MaintenanceReads> {
    PossibleValuesParser::new(MaintenanceReads::WORDS).try_map(|word| word.parse::<MaintenanceReads>())
}
