//! `pgsluice upgrade`: the running process is asked to have another one take over, by the socket beside its state file.

use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use clap::Args;

use super::DEFAULT_CONFIG;
use super::exit::{Failure, print};
use crate::config::{Config, StateFile};
use crate::proxy::takeover::command::{Asked, Outcome, path_beside};

/// `pgsluice upgrade`.
#[derive(Debug, Args)]
pub struct Upgrade {
    /// The program that takes over [default: the one that runs, as it lies on the disk now].
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,

    /// The configuration of the running process, which names its state file; the new process reads it anew.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG, conflicts_with = "state_file")]
    config: PathBuf,

    /// Its state file, instead.
    #[arg(long, value_name = "FILE")]
    state_file: Option<PathBuf>,
}

/// Asks, and says what has come of it.
pub(super) fn run(upgrade: &Upgrade) -> Result<(), Failure> {
    let state_file = match &upgrade.state_file {
        Some(path) => path.clone(),
        None => state_file_of(&upgrade.config)?,
    };
    let binary = upgrade.binary.as_ref().map(std::path::absolute).transpose().map_err(other)?;
    let path = path_beside(&state_file);
    let stream = UnixStream::connect(&path).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            Failure::Unreachable(format!("no pgsluice runs with the state file {}", state_file.display()))
        }
        _ => Failure::Other(format!("{}: {error}", path.display())),
    })?;
    let asked = serde_json::to_string(&Asked { upgrade: binary }).map_err(other)?;
    writeln!(&stream, "{asked}").map_err(other)?;
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line).map_err(other)?;
    match serde_json::from_str(&line) {
        Ok(Outcome::Done(text)) => print(&format!("{text}\n")),
        Ok(Outcome::Failed(text)) => Err(Failure::Other(format!("the running process goes on: {text}"))),
        Err(_) => Err(Failure::Other("the running process has ended without an answer; see its log".to_owned())),
    }
}

fn other(error: impl std::fmt::Display) -> Failure {
    Failure::Other(error.to_string())
}

/// A configuration that is wrong otherwise is for the new process to complain of.
fn state_file_of(config: &std::path::Path) -> Result<PathBuf, Failure> {
    match Config::load(config).map(|config| config.process.state_file) {
        Ok(StateFile::Path(path)) => Ok(path),
        Ok(StateFile::Ephemeral) => {
            Err(Failure::Usage("state_file is empty: give UPGRADE on the console (psql -d pgsluice)".to_owned()))
        }
        Err(errors) => {
            Err(Failure::Usage(format!("{errors}; --state-file names the state file of the running process")))
        }
    }
}
