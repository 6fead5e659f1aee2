//! Exit codes. They do not change; the documentation lists them.

use std::io::{self, Write as _};
use std::process::ExitCode;

/// Why a command did not do what was asked.
#[derive(Debug, PartialEq)]
pub enum Failure {
    /// Anything else, a server that does not start or a configuration that is wrong above all.
    Other(String),
    /// The command line is wrong; clap, which reads it, exits with the same code.
    Usage(String),
    /// Nobody answers there, or the connection was lost.
    Unreachable(String),
    /// The console, or the server, said no.
    Refused(String),
    /// Open transactions did not end in time, and the command was not carried out.
    TimedOut(String),
    /// The check has found something that a maintenance would fail at. Its table is printed already.
    CheckFailed,
}

/// For `--help`.
pub const HELP: &str = "\
Exit codes of maintenance commands:
  0  done
  1  any other failure
  2  the command line is wrong
  3  cannot connect to the console, or the connection was lost
  4  the console refused the log-in or the command
  5  timed out: open transactions did not end in time
  6  the check found something that a maintenance would fail at";

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Other(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
            Self::Refused(_) => 4,
            Self::TimedOut(_) => 5,
            Self::CheckFailed => 6,
        }
    }

    /// Says why, and gives the exit code.
    pub fn report(&self) -> ExitCode {
        match self {
            Self::Other(words)
            | Self::Usage(words)
            | Self::Unreachable(words)
            | Self::Refused(words)
            | Self::TimedOut(words) => complain(format_args!("pgsluice: {words}")),
            Self::CheckFailed => {}
        }
        ExitCode::from(self.code())
    }
}

/// Writes a line to standard error. Nobody can be told if that fails.
pub fn complain(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Writes to standard output. A reader that has gone has seen enough; any other failure is one of the command.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Other(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}
