//! The `pgsluice` program: reads the command line and puts the parts together.

use std::process::ExitCode;

fn main() -> ExitCode {
    pgsluice::cli::run::main()
}
