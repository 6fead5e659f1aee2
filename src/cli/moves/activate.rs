//! `pgsluice activate …`: the console's command from the command line.

use std::time::Duration;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use crate::cli::maintenance::positive_duration;
use crate::cli::{ConsoleArgs, remote};
use crate::config::show_duration;
use crate::sql::lex::quote;

/// `pgsluice activate`; what is not given is as usual.
#[derive(Debug, Args)]
pub struct Activate {
    /// A database of the cluster, as clients name it.
    #[arg(value_name = "DB", value_parser = NonEmptyStringValueParser::new())]
    database: String,

    /// The server that is to be used, as SHOW UPSTREAMS names it; the word "on" may stand before it.
    #[arg(value_name = "[ON] SERVER", num_args = 1..=2, required_unless_present = "on", conflicts_with = "on", value_parser = NonEmptyStringValueParser::new())]
    words: Vec<String>,

    /// The same.
    #[arg(long, value_name = "SERVER", value_parser = NonEmptyStringValueParser::new())]
    on: Option<String>,

    /// Only tell what would be in the way; changes nothing. Exit code 6: something would make it fail.
    #[arg(long)]
    pub(in crate::cli) dry_run: bool,

    /// How long it may take until the other server takes writes, such as 30s.
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    timeout: Option<Duration>,

    /// Where the command goes.
    #[command(flatten)]
    pub(in crate::cli) console: ConsoleArgs,
}

impl Activate {
    /// As it would be typed on the console; or says what is wrong.
    pub(in crate::cli) fn statement(&self) -> Result<String, String> {
        let on = match (self.on.as_ref(), self.words.as_slice()) {
            (Some(server), _) | (None, [server]) => server,
            (None, [word, server]) if word.eq_ignore_ascii_case("on") => server,
            (None, _) => return Err("one server is meant: pgsluice activate DB ON SERVER".to_owned()),
        };
        let options =
            [("dry_run", self.dry_run.then(|| "on".to_owned())), ("timeout", self.timeout.map(show_duration))];
        let with = remote::with_clause(&options);
        let database = remote::name(&self.database);
        Ok(format!("ACTIVATE {database} ON {}{with}", quote::console_literal(on)))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::{Cli, Command};

    #[test]
    fn the_command_is_the_consoles() {
        let words = |line: &[&str]| {
            let cli = Cli::try_parse_from(["pgsluice", "activate"].iter().chain(line)).ok()?;
            let Command::Activate(command) = cli.command else { return None };
            command.statement().ok()
        };
        let plain = "ACTIVATE \"app\" ON 'h:1'";
        for line in [&["app", "h:1"][..], &["app", "ON", "h:1"], &["app", "--on", "h:1"], &["app", "--on=h:1"]] {
            assert_eq!(words(line).as_deref(), Some(plain), "{line:?}");
        }
        assert_eq!(
            words(&["app", "--on", "h:1", "--dry-run", "--timeout", "5s"]).as_deref(),
            Some("ACTIVATE \"app\" ON 'h:1' WITH (dry_run 'on', timeout '5s')")
        );
        for line in [&["app"][..], &["app", "to", "h:1"], &["app", "h:1", "--on", "h:2"], &["app", "--on", ""]] {
            assert_eq!(words(line), None, "{line:?}");
        }
    }
}
