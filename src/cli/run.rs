//! From a command line to a running proxy, and to its exit code.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use super::{Cli, Command, Run, Source};
use crate::config::{Config, ConfigErrors, LogFormat, StateFile};
use crate::serve::proxy;

/// Runs what the command line says. 1: bad configuration, or it could not be started.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(run) => serve(&run),
        Command::CheckConfig { file } => check(&file),
        Command::ExampleConfig => {
            print!("{}", crate::config::example());
            ExitCode::SUCCESS
        }
        Command::Maintenance(command) => super::remote::main(&command),
    }
}

fn load(run: &Run) -> Result<Config, ConfigErrors> {
    match run.source() {
        Source::File(path) => Config::load_with(&path, &run.overrides()),
        Source::Upstream(url) => Config::for_upstream(url.expose(), &run.overrides()),
    }
}

fn complain(errors: &ConfigErrors) -> ExitCode {
    for finding in errors.warnings.iter().chain(&errors.errors) {
        eprintln!("{finding}");
    }
    ExitCode::FAILURE
}

fn check(file: &std::path::Path) -> ExitCode {
    match Config::load(file) {
        Ok(config) => {
            config.warnings.iter().for_each(|warning| eprintln!("{warning}"));
            let decoy = crate::auth::Decoy::random(crate::auth::SecretKind::Scram);
            let read = decoy
                .map_err(|error| error.to_string())
                .and_then(|decoy| crate::serve::setup::setup(config, &decoy).map_err(|error| error.to_string()));
            match read {
                Ok(setup) => {
                    for finding in setup.config.check_roles(|name| setup.userlist.get(name).is_some()) {
                        eprintln!("{finding}");
                    }
                    if let StateFile::Path(path) = &setup.config.process.state_file
                        && let Err(error) = crate::gate::try_to_write_beside(path)
                    {
                        eprintln!("{}: state_file: {} cannot be written: {error}", file.display(), path.display());
                        return ExitCode::FAILURE;
                    }
                    println!("{}: ok", file.display());
                    ExitCode::SUCCESS
                }
                Err(error) => {
                    eprintln!("{error}");
                    ExitCode::FAILURE
                }
            }
        }
        Err(errors) => complain(&errors),
    }
}

fn serve(run: &Run) -> ExitCode {
    let config = match load(run) {
        Ok(config) => config,
        Err(errors) => return complain(&errors),
    };
    start_logging(&config);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("pgsluice: {error}");
            return ExitCode::FAILURE;
        }
    };
    let console: crate::serve::worker::Console =
        Arc::new(|core, guest| Box::pin(crate::admin::console::serve(core, guest)));
    let surfaces = proxy::Surfaces { console, http: crate::http::serve };
    match runtime.block_on(proxy::run(config, run.overrides(), surfaces)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn start_logging(config: &Config) {
    let level = EnvFilter::new(config.log.log_level.to_string());
    let logs = tracing_subscriber::fmt().with_env_filter(level).with_target(false).with_writer(std::io::stderr);
    // Fails only if somebody has set up logging before: then that stays.
    let _ = match config.log.log_format {
        LogFormat::Json => logs.json().try_init(),
        LogFormat::Text => logs.with_ansi(std::io::stderr().is_terminal()).try_init(),
    };
}
