//! `pgsluice switchover …`: the console's command from the command line.

use std::time::Duration;

use clap::Args;
use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser};

use crate::cli::maintenance::positive_duration;
use crate::cli::{ConsoleArgs, remote};
use crate::config::show_duration;
use crate::sql::lex::quote;

/// `pgsluice switchover`; what is not given is as usual.
#[derive(Debug, Args)]
pub struct Switchover {
    /// A database of the cluster, as clients name it.
    #[arg(value_name = "DB", value_parser = NonEmptyStringValueParser::new())]
    database: String,

    /// The server that is to be the primary, as SHOW UPSTREAMS names it; the word "to" may stand before it.
    #[arg(value_name = "[TO] SERVER", num_args = 1..=2, required = true, value_parser = NonEmptyStringValueParser::new())]
    to: Vec<String>,

    /// Only tell what would be in the way; changes nothing. Exit code 6: something would make it fail.
    #[arg(long)]
    pub(in crate::cli) dry_run: bool,

    /// How long it may take until the target is promoted, such as 30s.
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

    /// What becomes of the databases after a failure.
    #[arg(long, value_name = "WHAT", value_parser = PossibleValuesParser::new(["back", "hold"]))]
    on_failure: Option<String>,

    /// The server that you take for the primary: another one is not fenced.
    #[arg(long, value_name = "SERVER")]
    primary: Option<String>,

    /// Where the command goes.
    #[command(flatten)]
    pub(in crate::cli) console: ConsoleArgs,
}

impl Switchover {
    /// As it would be typed on the console; or says what is wrong.
    pub(in crate::cli) fn statement(&self) -> Result<String, String> {
        let to = match self.to.as_slice() {
            [server] => server,
            [word, server] if word.eq_ignore_ascii_case("to") => server,
            _ => return Err("one server is meant: pgsluice switchover DB TO SERVER".to_owned()),
        };
        let duration = |value: Option<Duration>| value.map(show_duration);
        let options = [
            ("dry_run", self.dry_run.then(|| "on".to_owned())),
            ("timeout", duration(self.timeout)),
            ("hold_timeout", duration(self.hold_timeout)),
            ("drain_timeout", duration(self.drain_timeout)),
            ("on_timeout", self.on_timeout.clone()),
            ("on_failure", self.on_failure.clone()),
            ("primary", self.primary.clone()),
        ];
        let with = remote::with_clause(&options);
        let database = remote::name(&self.database);
        Ok(format!("SWITCHOVER {database} TO {}{with}", quote::console_literal(to)))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::{Cli, Command};

    #[test]
    fn the_command_is_the_consoles() {
        let words = |line: &[&str]| {
            let cli = Cli::try_parse_from(["pgsluice", "switchover"].iter().chain(line)).unwrap();
            let Command::Switchover(command) = cli.command else { panic!("{line:?}") };
            command.statement()
        };
        assert_eq!(words(&["app", "h:1"]).unwrap(), "SWITCHOVER \"app\" TO 'h:1'");
        assert_eq!(
            words(&["app", "TO", "h:1", "--dry-run", "--timeout", "5s", "--on-failure", "hold"]).unwrap(),
            "SWITCHOVER \"app\" TO 'h:1' WITH (dry_run 'on', timeout '5s', on_failure 'hold')"
        );
        assert!(words(&["app", "from", "h:1"]).is_err());
        assert!(Cli::try_parse_from(["pgsluice", "switchover", "app"]).is_err());
    }
}
