//! `pgsluice migrate …`: the console's command from the command line.

use std::process::ExitCode;
use std::time::Duration;

use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser};
use clap::{Args, ValueEnum};

use crate::cli::maintenance::positive_duration;
use crate::cli::{ConsoleArgs, remote};
use crate::config::show_duration;
use crate::sql::lex::quote;

/// What becomes of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Way {
    /// It goes over to another cluster.
    To,
    /// It goes back to where it was.
    Back,
    /// It stays where it is: what replication left is taken away, and with it the way back.
    Finish,
}

/// `pgsluice migrate`; what is not given is as usual.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub struct Migrate {
    /// The database, as clients name it.
    #[arg(value_name = "DB", value_parser = NonEmptyStringValueParser::new())]
    database: String,

    /// What becomes of it.
    #[arg(value_name = "WAY", value_enum, ignore_case = true)]
    way: Way,

    /// The cluster that it goes over to.
    #[arg(value_name = "CLUSTER", required_if_eq("way", "to"), value_parser = NonEmptyStringValueParser::new())]
    cluster: Option<String>,

    /// Only tell what would be in the way; changes nothing. Exit code 6: something would make it fail.
    #[arg(long)]
    dry_run: bool,

    /// Only replicate: the cut is a command of its own.
    #[arg(long)]
    prepare_only: bool,

    /// The database's name there, if it is another one.
    #[arg(long, value_name = "NAME")]
    dbname: Option<String>,

    /// Checks whose failure you accept, such as large_objects,indexes.
    #[arg(long, value_name = "CHECKS")]
    accept: Option<String>,

    /// How long it may take from the moment when writes are held until they go on, such as 30s.
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    timeout: Option<Duration>,

    /// How long a held write waits.
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    hold_timeout: Option<Duration>,

    /// How long open transactions may take to end.
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    drain_timeout: Option<Duration>,

    /// What happens if they do not.
    #[arg(long, value_name = "WHAT", value_parser = PossibleValuesParser::new(["revert", "cancel"]))]
    on_timeout: Option<String>,

    /// How long copying and catching up may take.
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    copy_timeout: Option<Duration>,

    /// How far sequences are raised beyond their last value.
    #[arg(long, value_name = "NUMBER")]
    sequence_margin: Option<u64>,

    /// A share of the reads that is asked on both sides before the cut, such as 1%: the answers are compared.
    #[arg(long, value_name = "SHARE")]
    mirror: Option<String>,

    /// For how long, before the cut.
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    mirror_time: Option<Duration>,

    /// With finish: a side that cannot be reached is left as it is.
    #[arg(long)]
    force: bool,

    /// Where the command goes.
    #[command(flatten)]
    console: ConsoleArgs,
}

impl Migrate {
    /// As it would be typed on the console.
    fn statement(&self) -> Result<String, String> {
        let way = match (self.way, &self.cluster) {
            (Way::To, Some(cluster)) => format!("TO {}", quote::ident(cluster)),
            (Way::Back, None) => "BACK".to_owned(),
            (Way::Finish, None) => "FINISH".to_owned(),
            _ => return Err("a cluster is named behind to, and only there".to_owned()),
        };
        let duration = |value: Option<Duration>| value.map(show_duration);
        let flag = |on: bool| on.then(|| "on".to_owned());
        let options = [
            ("dry_run", flag(self.dry_run)),
            ("prepare_only", flag(self.prepare_only)),
            ("dbname", self.dbname.clone()),
            ("accept", self.accept.clone()),
            ("timeout", duration(self.timeout)),
            ("hold_timeout", duration(self.hold_timeout)),
            ("drain_timeout", duration(self.drain_timeout)),
            ("on_timeout", self.on_timeout.clone()),
            ("copy_timeout", duration(self.copy_timeout)),
            ("sequence_margin", self.sequence_margin.map(|margin| margin.to_string())),
            ("mirror", self.mirror.clone()),
            ("mirror_time", duration(self.mirror_time)),
            ("force", flag(self.force)),
        ];
        let with = remote::with_clause(&options);
        Ok(format!("MIGRATE {} {way}{with}", remote::name(&self.database)))
    }
}

/// Gives the command.
pub fn main(migrate: &Migrate) -> ExitCode {
    remote::moved(&migrate.console, migrate.statement(), migrate.dry_run)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::{Cli, Command};

    #[test]
    fn the_command_is_the_consoles() {
        let words = |line: &[&str]| {
            let cli = Cli::try_parse_from(["pgsluice", "migrate"].iter().chain(line)).ok()?;
            let Command::Migrate(command) = cli.command else { return None };
            command.statement().ok()
        };
        assert_eq!(words(&["app", "to", "green"]).as_deref(), Some("MIGRATE \"app\" TO \"green\""));
        assert_eq!(
            words(&["app", "TO", "green", "--dry-run", "--timeout", "5s", "--accept", "indexes"]).as_deref(),
            Some("MIGRATE \"app\" TO \"green\" WITH (dry_run 'on', accept 'indexes', timeout '5s')")
        );
        assert_eq!(words(&["app", "BACK"]).as_deref(), Some("MIGRATE \"app\" BACK"));
        assert_eq!(words(&["app", "finish", "--force"]).as_deref(), Some("MIGRATE \"app\" FINISH WITH (force 'on')"));
        assert_eq!((words(&["app", "to"]), words(&["app", "back", "green"])), (None, None));
    }
}
