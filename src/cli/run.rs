//! From a command line to a running proxy, and to its exit code.

use std::process::ExitCode;
use std::sync::Arc;

use super::exit::{Failure, complain, print};
use super::{Cli, Command, MaintenanceCommand, Run, Source};
use crate::auth::SecretKind;
use crate::config::{Config, ConfigErrors, Overrides, SHORTEST_TOKEN, StateFile, TokenHash};
use crate::proxy::lifecycle;
use crate::proxy::takeover::program::inherited_link;
use crate::proxy::takeover::take::Arriving;
use clap::Parser;

/// Runs what the command line says. A configuration that is wrong and a proxy that does not start exit with 1.
pub fn main() -> ExitCode {
    if let Some(code) = super::pgbouncer::run(std::env::args_os().collect()) {
        return code;
    }
    match Cli::parse().command {
        Command::Run(run) => serve(&run),
        Command::CheckConfig { file } => check(&file),
        Command::ImportPgbouncer { file } => import(&file),
        Command::ExampleConfig => printed(&crate::config::example()),
        Command::Init(init) => ended(super::init::run(&init)),
        Command::Heartbeat(command) => ended(super::heartbeat::run(&command)),
        Command::Healthcheck { url } => ended(super::healthcheck::ask(&url)),
        Command::Maintenance(MaintenanceCommand::Watch(watch)) => {
            ended(super::screen::watch(&watch.console, watch.database.as_deref()))
        }
        Command::Upgrade(upgrade) => ended(super::upgrade::run(&upgrade)),
        Command::HashToken => hash_token(),
        Command::Maintenance(command) => super::remote::main(&command),
        Command::Offline(offline) => super::remote::offline(&offline),
        Command::Online(target) => super::remote::online(&target),
        Command::Reroute(reroute) => super::moves::reroute::main(&reroute),
        Command::Switchover(one) => super::remote::moved(&one.console, one.statement(), one.dry_run),
        Command::Activate(one) => super::remote::moved(&one.console, one.statement(), one.dry_run),
        Command::Migrate(migrate) => super::moves::migrate::main(&migrate),
        Command::Events(events) => ended(super::remote::events(&events)),
        Command::Top(console) => ended(super::screen::top(&console)),
        Command::Completion { shell } => printed(&super::manual::completion(shell)),
        Command::Man { folder } => ended(super::manual::write(&folder)),
    }
}

fn ended(done: Result<(), Failure>) -> ExitCode {
    done.map_or_else(|failure| failure.report(), |()| ExitCode::SUCCESS)
}

fn printed(text: &str) -> ExitCode {
    ended(print(text))
}

/// A token is not an argument, which every user of the machine could see.
fn hash_token() -> ExitCode {
    let mut token = String::new();
    if let Err(error) = std::io::stdin().read_line(&mut token) {
        return Failure::Other(error.to_string()).report();
    }
    let token = token.trim_end_matches(['\r', '\n']);
    if token.len() < SHORTEST_TOKEN {
        return Failure::Usage(format!("a token has at least {SHORTEST_TOKEN} characters: openssl rand -hex 32"))
            .report();
    }
    let digits: String = TokenHash::hash(token.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    printed(&format!("{digits}\n"))
}

fn load(run: &Run) -> Result<Config, ConfigErrors> {
    match run.source() {
        Source::File(path) => Config::load_with(&path, &run.overrides()),
        Source::Upstream(url) => Config::for_upstream(url.expose(), &run.overrides()),
    }
}

pub(super) fn refuse(errors: &ConfigErrors) -> ExitCode {
    errors.warnings.iter().for_each(|warning| complain(format_args!("warning: {warning}")));
    errors.errors.iter().for_each(|error| complain(format_args!("{error}")));
    ExitCode::FAILURE
}

fn check(file: &std::path::Path) -> ExitCode {
    match Config::load(file) {
        Ok(config) => {
            config.warnings.iter().for_each(|warning| complain(format_args!("warning: {warning}")));
            let decoy = crate::auth::Decoy::random(SecretKind::Scram);
            let read = decoy
                .map_err(|error| error.to_string())
                .and_then(|decoy| crate::proxy::setup::setup(config, &decoy).map_err(|error| error.to_string()));
            match read {
                Ok(setup) => {
                    // A server or a certificate may know them.
                    let others_know = setup.config.asks_servers() || setup.rules.is_some();
                    for finding in setup.config.check_roles(|name| others_know || setup.userlist.get(name).is_some()) {
                        complain(format_args!("warning: {finding}"));
                    }
                    let is_verifier =
                        |name: &str| setup.userlist.get(name).is_some_and(|one| one.kind() == Some(SecretKind::Scram));
                    for finding in setup.config.check_monitors(is_verifier) {
                        complain(format_args!("warning: {finding}"));
                    }
                    if let StateFile::Path(path) = &setup.config.process.state_file
                        && let Err(error) = crate::gate::try_to_write_beside(path)
                    {
                        complain(format_args!(
                            "{}: state_file: {} cannot be written: {error}",
                            file.display(),
                            path.display()
                        ));
                        return ExitCode::FAILURE;
                    }
                    printed(&format!("{}: ok\n", file.display()))
                }
                Err(error) => {
                    complain(format_args!("{}: {error}", file.display()));
                    ExitCode::FAILURE
                }
            }
        }
        Err(errors) => refuse(&errors),
    }
}

/// Prints a pgbouncer.ini as our own configuration. What is not taken is said on standard error, and in the text.
fn import(file: &std::path::Path) -> ExitCode {
    match crate::config::import_pgbouncer(file) {
        Ok((text, warnings)) => {
            warnings.iter().for_each(|warning| complain(format_args!("warning: {warning}")));
            printed(&text)
        }
        Err(errors) => refuse(&errors),
    }
}

fn serve(run: &Run) -> ExitCode {
    let arriving = former();
    let config = match load(run) {
        Ok(config) => config,
        Err(errors) => {
            if let Some(former) = &arriving {
                former.fail(&errors.to_string());
            }
            return refuse(&errors);
        }
    };
    serve_with(config, run.overrides(), arriving)
}

/// The process that this one is to take over from, if there is one.
pub(super) fn former() -> Option<Arriving> {
    inherited_link().and_then(|link| Arriving::by(link).ok())
}

/// Runs the proxy by that configuration, until it is told to stop.
pub(super) fn serve_with(config: Config, overrides: Overrides, mut arriving: Option<Arriving>) -> ExitCode {
    let begun =
        crate::proxy::system::process::become_user(&config.process).and_then(|()| crate::log::start(&config.log));
    let level = match begun {
        Ok(level) => level,
        Err(error) => {
            if let Some(former) = &arriving {
                former.fail(&error.to_string());
            }
            return Failure::Other(error.to_string()).report();
        }
    };
    crate::proxy::system::allocator::map_buffers(&config);
    for warning in &config.warnings {
        tracing::warn!(event = "configuration", "{warning}");
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return Failure::Other(error.to_string()).report();
        }
    };
    let console: crate::proxy::worker::Console =
        Arc::new(|core, guest| Box::pin(crate::admin::console::serve(core, guest)));
    let surfaces = lifecycle::Surfaces { console, http: crate::http::serve, log_level: level };
    match runtime.block_on(lifecycle::run(config, overrides, surfaces, &mut arriving)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(former) = &arriving {
                former.fail(&error.to_string());
            }
            tracing::error!(event = "not_started", "{error}");
            ExitCode::FAILURE
        }
    }
}
