//! What is typed, and what comes out.

use std::time::Duration;

use clap::{CommandFactory, Parser};

use super::*;
use crate::config::{MaintenanceReads, OnTimeout};

fn parse(line: &str) -> Result<Command, String> {
    let words = std::iter::once("pgsluice").chain(line.split_whitespace());
    Cli::try_parse_from(words).map(|cli| cli.command).map_err(|e| e.to_string())
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn run_takes_a_file_or_a_url() {
    let Ok(Command::Run(run)) = parse("run --listen [::1]:7000 --log-level debug") else {
        panic!("run");
    };
    assert_eq!(run.source(), Source::File(DEFAULT_CONFIG.into()));
    assert_eq!(
        run.overrides(),
        Overrides {
            listen: Some((ListenAddr::Ip("::1".parse().unwrap()), 7000)),
            log_level: Some(LogLevel::Debug),
            set: Vec::new()
        }
    );
    let Ok(Command::Run(run)) = parse("run --upstream postgres://u:hunter2@h") else {
        panic!("run");
    };
    assert!(matches!(run.source(), Source::Upstream(url) if url.expose().ends_with("@h")));
    assert!(!format!("{run:?}").contains("hunter2"));
    assert!(parse("run --config f --upstream postgres://u@h").is_err());
    for bad in ["nowhere", "127.0.0.1", "127.0.0.1:0", "::1:6432", "*:99999"] {
        assert!(parse(&format!("run --listen {bad}")).is_err(), "{bad}");
    }
    let error = parse("run --log-level loud").unwrap_err();
    assert!(error.contains("error, warn, info, debug, trace"), "{error}");
}

#[test]
fn maintenance_on_has_the_options_of_the_console() {
    let line = "maintenance on app --message soon --until 14:00Z --drain-timeout 1min --on-timeout cancel \
                --reads replica --expire 2h --nowait --admin postgres://root@h/pgsluice";
    let Ok(Command::Maintenance(MaintenanceCommand::On(on))) = parse(line) else {
        panic!("maintenance on");
    };
    assert_eq!(on.target.database, "app");
    assert_eq!(on.drain_timeout, Some(Duration::from_secs(60)));
    assert_eq!(on.expire, Some(Duration::from_secs(7200)));
    assert_eq!(on.on_timeout, Some(OnTimeout::Cancel));
    assert_eq!(on.reads, Some(MaintenanceReads::Replica));
    assert_eq!((on.message.as_deref(), on.until.as_deref()), (Some("soon"), Some("14:00Z")));
    assert_eq!(on.target.console.admin.expose(), "postgres://root@h/pgsluice");
    assert!(on.nowait && on.writes.is_none());

    assert!(matches!(
        parse("maintenance off *"),
        Ok(Command::Maintenance(MaintenanceCommand::Off(target))) if target.database == "*"
    ));
    for bad in [
        "maintenance on",
        "maintenance off",
        "maintenance on app --drain-timeout 10m",
        "maintenance on app --expire 0",
        "maintenance on app --reads nearest",
        "maintenance off app --nowait",
        "maintain on app",
    ] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn check_config_and_example_config() {
    assert!(
        matches!(parse("check-config a.toml"), Ok(Command::CheckConfig { file }) if file == std::path::Path::new("a.toml"))
    );
    assert!(matches!(parse("example-config"), Ok(Command::ExampleConfig)));
    assert!(parse("--version").unwrap_err().starts_with("pgsluice "));
}
