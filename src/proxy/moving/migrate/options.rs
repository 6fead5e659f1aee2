//! The options of MIGRATE.

use std::time::Duration;

use super::begin::{Request, Where};
use crate::config;
use crate::moving::{Extent, Mirroring};
use crate::protocol::Report;
use crate::proxy::moving::options::{choice, dbname, flag, once, span, unknown, wait, wrong};
use crate::shared::ProxyState;
use crate::shared::mirrors::WHOLE;

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

/// How long reads are compared before the cut.
const MIRROR: Duration = Duration::from_secs(10);

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
    /// How many of ten thousand reads are compared.
    pub(super) share: Option<u32>,
    /// For how long, before the cut.
    pub(super) mirror_time: Duration,
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
            "mirror",
            "mirror_time",
            "prepare_only",
            "dry_run",
        ],
        Where::Back => &["timeout", "hold_timeout", "drain_timeout", "on_timeout", "sequence_margin", "dry_run"],
        Where::Finish => &["force", "dry_run"],
    }
}

/// A share such as `1%` or `0.25 %`, in hundredths of a percent.
fn share(name: &str, value: &str) -> Result<u32, Report> {
    let number = value.trim().trim_end_matches('%').trim_end();
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let is_number = |digits: &str| digits.bytes().all(|digit| digit.is_ascii_digit());
    let sound = !whole.is_empty() && whole.len() <= 3 && part.len() <= 2 && is_number(whole) && is_number(part);
    let share = sound.then(|| format!("{whole}{part:0<2}").parse().ok()).flatten();
    let share = share.filter(|share| (1..=WHOLE).contains(share));
    share.ok_or_else(|| wrong(name, value, "A share of the reads, from 0.01% to 100%."))
}

impl Options {
    /// What the journal keeps of the comparison.
    pub(super) fn mirroring(&self) -> Option<Mirroring> {
        let accepted = self.accept.iter().any(|one| one == "mirror");
        self.share.map(|share| Mirroring { share, time: self.mirror_time, accepted })
    }

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
            share: None,
            mirror_time: MIRROR,
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
            "timeout" => self.timeout = wait(name, value)?,
            "hold_timeout" => self.hold_timeout = wait(name, value)?,
            "drain_timeout" => self.drain_timeout = wait(name, value)?,
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
            "mirror" => self.share = Some(share(name, value)?),
            "mirror_time" => self.mirror_time = wait(name, value)?,
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
            ("mirror", "2.5 %"),
            ("mirror_time", "1min"),
            ("dry_run", "on"),
        ] {
            options.set(name, value).unwrap();
        }
        assert_eq!((options.timeout, options.margin, options.cancels), (Duration::from_secs(5), 0, true));
        assert_eq!(options.accept, ["indexes", "large_objects"]);
        assert_eq!((options.share, options.mirror_time), (Some(250), Duration::from_secs(60)));
        for (text, expected) in [("1%", 100), ("0.01%", 1), ("100%", 10_000), ("7", 700)] {
            assert_eq!(share("mirror", text).unwrap(), expected, "{text}");
        }
        for (name, value) in [
            ("timeout", "soon"),
            ("timeout", "2d"),
            ("sequence_margin", "-1"),
            ("force", "maybe"),
            ("dbname", ""),
            ("mirror", "0%"),
            ("mirror", "101%"),
            ("mirror", "0.001%"),
            ("mirror", "-1%"),
            ("mirror", "all"),
            ("mirror", ""),
            ("mirror_time", "0"),
        ] {
            let error = options.set(name, value).unwrap_err();
            assert!(error.code == "22023" && error.hint.is_some(), "{name} {value}");
        }
        assert!(!known(&Where::Back).contains(&"copy_timeout"));
    }
}
