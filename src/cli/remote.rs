//! `pgsluice maintenance …`: the console's commands from the command line.

use std::process::ExitCode;

use super::MaintenanceCommand;

/// Sends the command to the console of a running proxy and prints its answer.
pub fn main(_command: &MaintenanceCommand) -> ExitCode {
    eprintln!("not wired yet");
    ExitCode::FAILURE
}
