//! Configurations, good and bad, and what is said of them.

mod bad;
mod changes;
mod example;
mod files;
mod good;
mod upstream_url;
mod uses;

use super::{Config, ConfigErrors};

/// The least that is a configuration, to stand behind what a case is about.
const LEAST: &str = "
[clusters.main]
upstreams = ['10.0.0.1:5432']
monitor_user = 'watch'
[databases.app]
";

fn read(text: &str) -> Result<Config, ConfigErrors> {
    Config::from_str(text, "t.toml")
}

/// The configuration of some lines and [`LEAST`] after them.
fn with(lines: &str) -> Config {
    read(&format!("{lines}{LEAST}")).unwrap_or_else(|errors| panic!("{lines}: {errors}"))
}

fn lines(result: Result<Config, ConfigErrors>) -> Vec<String> {
    match result {
        Ok(_) => Vec::new(),
        Err(errors) => errors.errors.iter().map(ToString::to_string).collect(),
    }
}

fn warnings(config: &Config) -> Vec<String> {
    config.warnings.iter().map(ToString::to_string).collect()
}
