//! `pgsluice reroute …`: REROUTE from the command line.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::cli::exit::Failure;
use crate::cli::{ConsoleArgs, remote};
use crate::config::{parse_duration, show_duration};
use crate::sql::lex::quote;

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Direction {
    /// To another cluster.
    To,
    /// To where the configuration says.
    Back,
}

/// What becomes of writes there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Writes {
    /// They are refused.
    Reject,
    /// They run.
    Allow,
}

/// `pgsluice reroute`.
#[derive(Debug, Args)]
pub struct Reroute {
    /// The database as clients name it.
    #[arg(value_name = "DB", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    database: String,

    /// Which way.
    #[arg(value_name = "WAY", value_enum, ignore_case = true)]
    way: Direction,

    /// The cluster that its clients are led to.
    #[arg(value_name = "CLUSTER", required_if_eq("way", "to"))]
    cluster: Option<String>,

    /// The database's name there, if it is another one.
    #[arg(long, value_name = "NAME")]
    dbname: Option<String>,

    /// What becomes of writes there [default: reject].
    #[arg(long, value_name = "WHAT", value_enum)]
    writes: Option<Writes>,

    /// What applications are told whose writes are refused.
    #[arg(long, value_name = "TEXT")]
    message: Option<String>,

    /// How long transactions may take to end where they began, such as 30s.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,

    /// Only look whether it could be done; changes nothing.
    #[arg(long)]
    dry_run: bool,

    /// Where the command goes.
    #[command(flatten)]
    console: ConsoleArgs,
}

impl Reroute {
    /// The command in the console's words.
    fn statement(&self) -> Result<String, Failure> {
        let only_there =
            self.cluster.is_some() || self.dbname.is_some() || self.writes.is_some() || self.message.is_some();
        if self.way == Direction::Back && only_there {
            return Err(Failure::Usage("back has no cluster, and no options but --timeout and --dry-run".to_owned()));
        }
        let way = match &self.cluster {
            Some(cluster) => format!("TO {}", quote::ident(cluster)),
            None => "BACK".to_owned(),
        };
        let writes = self.writes.map(|writes| match writes {
            Writes::Reject => "reject".to_owned(),
            Writes::Allow => "allow".to_owned(),
        });
        let options = [
            ("dbname", self.dbname.clone()),
            ("writes", writes),
            ("message", self.message.clone()),
            ("timeout", self.timeout.map(show_duration)),
            ("dry_run", self.dry_run.then(|| "on".to_owned())),
        ];
        let with = remote::with_clause(&options);
        Ok(format!("REROUTE {} {way}{with}", quote::ident(&self.database)))
    }
}

/// Gives the command.
pub fn main(reroute: &Reroute) -> ExitCode {
    match reroute.statement() {
        Ok(sql) => remote::printed(&reroute.console, &sql, None),
        Err(failure) => failure.report(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::{Cli, Command};

    fn words(line: &[&str]) -> Option<String> {
        let cli = Cli::try_parse_from(["pgsluice", "reroute"].iter().chain(line)).ok()?;
        let Command::Reroute(reroute) = cli.command else { return None };
        reroute.statement().ok()
    }

    #[test]
    fn commands_are_the_consoles() {
        assert_eq!(words(&["app", "to", "green"]).as_deref(), Some("REROUTE \"app\" TO \"green\""));
        assert_eq!(words(&["app", "BACK"]).as_deref(), Some("REROUTE \"app\" BACK"));
        assert_eq!(
            words(&["app", "TO", "green", "--writes", "allow", "--dbname", "app2", "--timeout", "5s"]).as_deref(),
            Some("REROUTE \"app\" TO \"green\" WITH (dbname 'app2', writes 'allow', timeout '5s')")
        );
        assert_eq!(words(&["app", "back", "--dry-run"]).as_deref(), Some("REROUTE \"app\" BACK WITH (dry_run 'on')"));
        assert_eq!((words(&["app", "to"]), words(&["app", "back", "green"])), (None, None));
        assert_eq!(words(&["app", "back", "--writes", "allow"]), None);
    }
}
