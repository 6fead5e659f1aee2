//! The options of MIGRATE.

use std::time::Duration;

use super::begin::{Request, Where};
use crate::config;
use crate::moving::Extent;
use crate::protocol::Report;
use crate::proxy::moving::options::{A_DAY, LONGEST, choice, dbname, flag, once, span, unknown, wrong};
use crate::shared::ProxyState;

/// How long it may take from `hold` until the other side is used.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long a held write waits. It is longer: what is past the repoint comes to its end soon.
const HOLD: Duration = Duration::from_secs(60);
/// How long open transactions may take to end, at most: others are held meanwhile.
const DRAIN: Duration = Duration::from_secs(10);
/// How long copying and catching up may take.
const COPY: Duration = Duration::from_secs(7 * 86_400);
const LONGEST_COPY: Duration = Duration::from_secs(30 * 86_400);
/// How far sequences are raised beyond their last value.
const MARGIN: u64 = 1000;
const MOST_MARGIN: u64 = 1_000_000_000;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) timeout: Duration,
    pub(super) hold_timeout: Duration,
    pub(super) drain_timeout: Duration,
    pub(super) cancels: bool,
    pub(super) copy_timeout: Duration,
    pub(super) margin: u64,
    /// The database's name on the other cluster.
    pub(super) dbname: Option<String>,
    pub(super) dry_run: bool,
    pub(super) extent: Extent,
    /// Checks whose failure a person accepts.
    pub(super) accept: Vec<String>,
}

/// Whether an option needs no value.
pub fn is_flag(name: &str) -> bool {
    ["dry_run", "prepare_only", "force"].iter().any(|flag| name.eq_ignore_ascii_case(flag))
}

/// Which options a way has.
fn known(to: &Where) -> &'static [&'static str] {
    match to {
        Where::There(_) => &[
            "timeout",
            "hold_timeout",
            "drain_timeout",
            "on_timeout",
            "copy_timeout",
            "sequence_margin",
            "dbname",
            "accept",
            "prepare_only",
            "dry_run",
        ],
        Where::Back => &["timeout", "hold_timeout", "drain_timeout", "on_timeout", "sequence_margin", "dry_run"],
        Where::Finish => &["force", "dry_run"],
    }
}

impl Options {
    fn usual(maintenance: &config::Maintenance) -> Self {
        Self {
            timeout: TIMEOUT,
            hold_timeout: HOLD,
            drain_timeout: maintenance.drain_timeout.min(DRAIN),
            cancels: false,
            copy_timeout: COPY,
            margin: MARGIN,
            dbname: None,
            dry_run: false,
            extent: Extent::Whole,
            accept: Vec::new(),
        }
    }

    /// Reads what stands in WITH (…).
    pub(super) fn read(proxy: &ProxyState, request: &Request) -> Result<Self, Report> {
        let maintenance = proxy.databases.get(&request.database).map(|one| one.setup().settings.maintenance.clone());
        let mut options = Self::usual(&maintenance.unwrap_or_default());
        for (place, (name, value)) in request.options.iter().enumerate() {
            let name = name.to_ascii_lowercase();
            once(&request.options, place, &name)?;
            let known = known(&request.to);
            if !known.contains(&name.as_str()) {
                return Err(unknown(&name, format!("Options are {}.", known.join(", "))));
            }
            options.set(&name, value)?;
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), Report> {
        match name {
            "timeout" => self.timeout = span(name, value, LONGEST, A_DAY)?,
            "hold_timeout" => self.hold_timeout = span(name, value, LONGEST, A_DAY)?,
            "drain_timeout" => self.drain_timeout = span(name, value, LONGEST, A_DAY)?,
            "copy_timeout" => self.copy_timeout = span(name, value, LONGEST_COPY, "30 d")?,
            "on_timeout" => {
                let choices = [("cancel", true), ("revert", false)];
                self.cancels = choice(name, value, &choices, "Available values: cancel, revert.")?;
            }
            "sequence_margin" => {
                let margin = value.trim().parse().ok().filter(|margin| *margin <= MOST_MARGIN);
                self.margin = margin.ok_or_else(|| wrong(name, value, "A number from 0 to 1000000000."))?;
            }
            "dbname" => self.dbname = Some(dbname(name, value)?),
            "accept" => self.accept = value.split(',').map(|one| one.trim().to_ascii_lowercase()).collect(),
            "prepare_only" if flag(name, value)? => self.extent = Extent::Prepare,
            "force" if flag(name, value)? => self.extent = Extent::Force,
            "prepare_only" | "force" => {}
            _ => self.dry_run = flag(name, value)?,
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
            ("timeout", "5s"),
            ("copy_timeout", "2d"),
            ("on_timeout", "Cancel"),
            ("sequence_margin", "0"),
            ("accept", "indexes, Large_Objects"),
            ("dry_run", "on"),
        ] {
            options.set(name, value).unwrap();
        }
        assert_eq!((options.timeout, options.margin, options.cancels), (Duration::from_secs(5), 0, true));
        assert_eq!(options.accept, ["indexes", "large_objects"]);
        for (name, value) in
            [("timeout", "soon"), ("timeout", "2d"), ("sequence_margin", "-1"), ("force", "maybe"), ("dbname", "")]
        {
            let error = options.set(name, value).unwrap_err();
            assert!(error.code == "22023" && error.hint.is_some(), "{name} {value}");
        }
        assert!(!known(&Where::Back).contains(&"copy_timeout"));
    }
}
