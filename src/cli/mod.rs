//! The command line: what a person types, as plain structs. Nothing is done here.

mod exit;
mod healthcheck;
mod heartbeat;
mod init;
mod libpq;
mod maintenance;
mod manual;
mod moves;
mod pgbouncer;
pub mod remote;
pub mod run;
mod screen;
#[cfg(test)]
mod tests;
mod upgrade;

pub use crate::cli::heartbeat::HeartbeatCommand;
pub use crate::cli::init::Init;
pub use crate::cli::maintenance::{
    ConsoleArgs, MaintenanceAnnounce, MaintenanceCommand, MaintenanceOn, MaintenanceRehearse, MaintenanceStatus,
    MaintenanceTarget, Output, UpstreamUrl,
};

pub use crate::cli::moves::activate::Activate;
pub use crate::cli::moves::switchover::Switchover;

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};

use crate::config::{ListenAddr, LogLevel, Overrides};

/// Where the configuration is if nobody says otherwise.
pub const DEFAULT_CONFIG: &str = "/etc/pgsluice/pgsluice.toml";

/// A PostgreSQL proxy and pooler for planned maintenance without taking the application down.
#[derive(Debug, Parser)]
#[command(name = "pgsluice", version, subcommand_required = true, arg_required_else_help = true, after_help = crate::cli::exit::HELP)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the proxy in the foreground.
    Run(Run),
    /// Tell everything that is wrong with a configuration; exit code 1 if anything is.
    CheckConfig {
        /// The file.
        #[arg(value_name = "FILE", default_value = DEFAULT_CONFIG)]
        file: PathBuf,
    },
    /// Have a new process take over from the one that runs, with its clients: nobody is disconnected.
    Upgrade(upgrade::Upgrade),
    /// Print a pgbouncer.ini as a configuration of pgsluice, with comments for what changes.
    ImportPgbouncer {
        /// The file.
        #[arg(value_name = "FILE", default_value = "/etc/pgbouncer/pgbouncer.ini")]
        file: PathBuf,
    },
    /// Print a commented configuration with every key.
    ExampleConfig,
    /// Write a first configuration for a server, and the SQL for the role that it needs there.
    Init(Init),
    /// Prepare a database for the write heartbeat.
    #[command(subcommand)]
    Heartbeat(HeartbeatCommand),
    /// Ask the HTTP endpoint of a running pgsluice whether all is well.
    Healthcheck {
        /// Such as http://127.0.0.1:6433/livez
        #[arg(value_name = "URL")]
        url: String,
    },
    /// Print the SHA-256 of a token, for read_tokens and operate_tokens of the table http; the token is read from standard input.
    HashToken,
    /// Close and open the gate of a running pgsluice.
    #[command(subcommand)]
    Maintenance(MaintenanceCommand),
    /// Let nobody use a database any more, not for reads either.
    Offline(MaintenanceOn),
    /// Let a database be used again.
    Online(MaintenanceTarget),
    /// Lead the clients of a database to another cluster, and back.
    Reroute(moves::reroute::Reroute),
    /// Make another server of a cluster its primary, while writes wait.
    Switchover(Switchover),
    /// Have another one of several servers used that replicate each other's writes, while writes wait.
    Activate(Activate),
    /// Lead a database over to another cluster by logical replication, and back, while writes wait.
    Migrate(Box<moves::migrate::Migrate>),
    /// Show what has happened.
    Events(Events),
    /// Show pools, clients and servers on a screen that follows them; q ends it.
    Top(ConsoleArgs),
    /// Print what completes the command line in a shell.
    Completion {
        /// The shell.
        #[arg(value_name = "SHELL", value_enum)]
        shell: clap_complete::Shell,
    },
    /// Write the manual pages.
    Man {
        /// The folder; it must exist.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
}

/// `pgsluice events`.
#[derive(Debug, Args)]
pub struct Events {
    /// Only events of this database.
    #[arg(value_name = "DB")]
    database: Option<String>,

    /// Go on with what happens, until the command is ended.
    #[arg(long)]
    follow: bool,

    /// Where the command goes.
    #[command(flatten)]
    console: ConsoleArgs,
}

/// `pgsluice run`.
#[derive(Debug, Args)]
pub struct Run {
    /// The configuration [default: /etc/pgsluice/pgsluice.toml].
    #[arg(long, value_name = "FILE", conflicts_with = "upstream")]
    config: Option<PathBuf>,

    /// Run without a file, in front of this server: postgres://user:password@host:5432/db?sslmode=prefer
    ///
    /// For a first try: every database name, nothing kept on disk. The environment variable keeps the password out
    /// of the list of processes.
    #[arg(long, value_name = "URL", env = "PGSLUICE_UPSTREAM", hide_env_values = true)]
    upstream: Option<UpstreamUrl>,

    /// Where to listen, whatever the file says.
    #[arg(long, value_name = "ADDR:PORT", value_parser = parse_listen,
        help = "Listen here, whatever the file says, such as 127.0.0.1:6432, [::1]:6432 or *:6432")]
    listen: Option<(ListenAddr, u16)>,

    /// Log this much, whatever the file says.
    #[arg(long, value_name = "LEVEL", value_parser = log_level())]
    log_level: Option<LogLevel>,
}

/// Where the configuration comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// From this file.
    File(PathBuf),
    /// From the URL of a server.
    Upstream(UpstreamUrl),
}

impl Run {
    /// Where the configuration comes from.
    pub fn source(&self) -> Source {
        match (&self.config, &self.upstream) {
            (Some(file), _) => Source::File(file.clone()),
            (None, Some(url)) => Source::Upstream(url.clone()),
            (None, None) => Source::File(DEFAULT_CONFIG.into()),
        }
    }

    /// What goes before the configuration, at every reload too.
    pub fn overrides(&self) -> Overrides {
        Overrides { listen: self.listen.clone(), log_level: self.log_level, set: Vec::new() }
    }
}

fn parse_listen(text: &str) -> Result<(ListenAddr, u16), String> {
    ListenAddr::with_port(text)
}

fn log_level() -> impl TypedValueParser<Value = LogLevel> {
    PossibleValuesParser::new(LogLevel::WORDS).try_map(|word| word.parse::<LogLevel>())
}
