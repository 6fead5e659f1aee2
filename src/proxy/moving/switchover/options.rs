//! The options of SWITCHOVER.

use std::time::Duration;

use super::Request;
use crate::config;
use crate::gate::OnTimeout;
use crate::moving::{OnFailure, Switchover};
use crate::protocol::Report;
use crate::proxy::moving::options::{choice, flag, once, unknown, wait};
use crate::shared::ProxyState;

const KNOWN: &str = "Options are timeout, hold_timeout, drain_timeout, on_timeout, on_failure, primary, system_identifier, version and dry_run.";
/// How long it may take until the target is promoted.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long a held write waits. It is longer: what is past the promotion comes to its end soon.
const HOLD: Duration = Duration::from_secs(60);
/// How long open transactions may take to end, at most: others are held meanwhile.
const DRAIN: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) timeout: Duration,
    pub(super) hold_timeout: Duration,
    pub(super) drain_timeout: Duration,
    pub(super) on_timeout: OnTimeout,
    pub(super) on_failure: OnFailure,
    pub(super) dry_run: bool,
    /// What the person takes for the primary.
    pub(super) primary: Option<String>,
    pub(super) system_identifier: Option<String>,
    pub(super) version: Option<String>,
}

/// Whether an option needs no value.
pub fn is_flag(name: &str) -> bool {
    name.eq_ignore_ascii_case("dry_run")
}

impl Options {
    /// What holds where the command does not say.
    fn usual(maintenance: &config::Maintenance) -> Self {
        Self {
            timeout: TIMEOUT,
            hold_timeout: HOLD,
            drain_timeout: maintenance.drain_timeout.min(DRAIN),
            on_timeout: OnTimeout::Revert,
            on_failure: OnFailure::Back,
            dry_run: false,
            primary: None,
            system_identifier: None,
            version: None,
        }
    }

    /// Of one that an earlier life has begun.
    pub(super) fn of(known: &Switchover) -> Self {
        let usual = Self::usual(&config::Maintenance::default());
        Self { timeout: known.timeout, on_failure: known.on_failure, ..usual }
    }

    /// Reads what stands in WITH (…).
    pub(super) fn read(proxy: &ProxyState, request: &Request) -> Result<Self, Report> {
        let maintenance = proxy.databases.get(&request.database).map(|one| one.setup().settings.maintenance.clone());
        let mut options = Self::usual(&maintenance.unwrap_or_default());
        for (place, (name, value)) in request.options.iter().enumerate() {
            once(&request.options, place, name)?;
            options.set(name, value)?;
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), Report> {
        let text = || Some(value.trim().to_owned()).filter(|text| !text.is_empty());
        match name.to_ascii_lowercase().as_str() {
            "timeout" => self.timeout = wait("timeout", value)?,
            "hold_timeout" => self.hold_timeout = wait("hold_timeout", value)?,
            "drain_timeout" => self.drain_timeout = wait("drain_timeout", value)?,
            "on_timeout" => {
                let choices = [("cancel", OnTimeout::Cancel), ("revert", OnTimeout::Revert)];
                self.on_timeout = choice("on_timeout", value, &choices, "Available values: cancel, revert.")?;
            }
            "on_failure" => {
                let choices = [("back", OnFailure::Back), ("revert", OnFailure::Back), ("hold", OnFailure::Hold)];
                self.on_failure = choice("on_failure", value, &choices, "Available values: back, hold.")?;
            }
            "dry_run" => self.dry_run = flag("dry_run", value)?,
            "primary" => self.primary = text(),
            "system_identifier" => self.system_identifier = text(),
            "version" => self.version = text(),
            _ => return Err(unknown(name, KNOWN)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_has_its_values_and_says_what_is_right() {
        let mut options = Options::usual(&config::Maintenance::default());
        for (name, value) in [
            ("TIMEOUT", "5s"),
            ("hold_timeout", "1min"),
            ("drain_timeout", "500ms"),
            ("on_timeout", "Cancel"),
            ("on_failure", "hold"),
            ("dry_run", "on"),
            ("primary", " h:1 "),
            ("version", "15.4"),
        ] {
            options.set(name, value).unwrap();
        }
        assert_eq!((options.timeout, options.drain_timeout), (Duration::from_secs(5), Duration::from_millis(500)));
        assert_eq!((options.on_failure, options.on_timeout), (OnFailure::Hold, OnTimeout::Cancel));
        assert_eq!((options.primary.as_deref(), options.version.as_deref()), (Some("h:1"), Some("15.4")));
        assert!(options.dry_run);
        for (name, value) in
            [("timeout", "soon"), ("timeout", "0"), ("hold_timeout", "2d"), ("on_failure", "x"), ("force", "on")]
        {
            let error = options.set(name, value).unwrap_err();
            assert!(error.code == "22023" && error.hint.is_some(), "{name} {value}");
        }
    }
}
