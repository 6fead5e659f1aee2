//! The options of MAINTENANCE ON and OFFLINE, from the key/value pairs that a person typed.

use super::when;
use super::when::BadSpan;
use crate::gate::detail::{OnTimeout, Reads};
use crate::gate::error::GateError;
use crate::gate::state::mode::Writes;
use jiff::Timestamp;
use std::time::Duration;

pub(crate) const KNOWN: &str =
    "Options are message, until, writes, hold_timeout, drain_timeout, on_timeout, reads, expire and accept_unchecked.";
/// The same for MAINTENANCE OFF and ONLINE.
pub(crate) const KNOWN_TO_OPEN: &str = "MAINTENANCE OFF and ONLINE have one option, unsaved.";

/// The longest message, in bytes: it goes out with every refused statement.
pub const LONGEST_MESSAGE: usize = 1024;

const SHORTEST_DRAIN: Duration = Duration::from_millis(1);
const LONGEST_DRAIN: Duration = Duration::from_secs(86_400);

/// What holds where a command does not say: from the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnDefaults {
    /// What happens to writes.
    pub writes: Writes,
    /// How long a held write waits.
    pub hold_timeout: Duration,
    /// How long open transactions may take to end.
    pub drain_timeout: Duration,
    /// What happens to those that do not.
    pub on_timeout: OnTimeout,
    /// Where reads go.
    pub reads: Reads,
}

impl Default for OnDefaults {
    fn default() -> Self {
        OnDefaults {
            writes: Writes::Reject,
            hold_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(30),
            on_timeout: OnTimeout::Cancel,
            reads: Reads::Any,
        }
    }
}

/// An option that may be left as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Given<T> {
    /// Not named in the command: stays as it is in a mode that holds.
    #[default]
    Not,
    /// Named, to have none (`message ''`, `until 'infinity'`, `expire '0'`).
    Nothing,
    /// Named, with a value.
    Value(T),
}

impl<T> Given<T> {
    /// The value that holds, after `old`.
    pub fn over(self, old: Option<T>) -> Option<T> {
        match self {
            Given::Not => old,
            Given::Nothing => None,
            Given::Value(value) => Some(value),
        }
    }
}

/// Parsed options, each remembering whether it was named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnOptions {
    /// Told to applications; at most [`LONGEST_MESSAGE`] bytes.
    pub message: Given<String>,
    /// When writes are expected back; a promise to readers of the message, nothing happens then.
    pub until: Given<Timestamp>,
    /// The gate opens by itself after this time.
    pub expire: Given<Duration>,
    /// What happens to writes.
    pub writes: Option<Writes>,
    /// How long a held write waits.
    pub hold_timeout: Option<Duration>,
    /// How long open transactions may take to end; 1 ms to 1 day.
    pub drain_timeout: Option<Duration>,
    /// What happens to those that do not.
    pub on_timeout: Option<OnTimeout>,
    /// Where reads go.
    pub reads: Option<Reads>,
    /// It opens even if that cannot be saved.
    pub unsaved: bool,
    /// It closes even where the check for hidden writes does not work.
    pub accept_unchecked: bool,
    /// What holds for the rest.
    pub defaults: OnDefaults,
}

impl OnOptions {
    /// Whether an option needs no value.
    pub fn is_flag(name: &str) -> bool {
        ["unsaved", "accept_unchecked", "local"].iter().any(|flag| name.eq_ignore_ascii_case(flag))
    }

    /// Reads the pairs inside `WITH (…)` of a command that opens.
    ///
    /// # Errors
    /// 22023: an option that it does not have, or a value that is none.
    pub fn to_open(pairs: &[(String, String)]) -> Result<OnOptions, GateError> {
        let known = |(name, _): &&(String, String)| !name.eq_ignore_ascii_case("unsaved");
        if let Some((name, _)) = pairs.iter().find(known) {
            return Err(GateError::UnknownOptionToOpen(bounded(name)));
        }
        OnOptions::parse(pairs, OnDefaults::default())
    }

    /// No option named.
    pub fn new(defaults: OnDefaults) -> OnOptions {
        OnOptions {
            message: Given::Not,
            until: Given::Not,
            expire: Given::Not,
            writes: None,
            hold_timeout: None,
            drain_timeout: None,
            on_timeout: None,
            reads: None,
            unsaved: false,
            accept_unchecked: false,
            defaults,
        }
    }

    /// Reads the pairs inside `WITH (…)`. Names in any case, as SQL keywords. Errors: 22023 names the option and says what is
    /// right; 22007 for `until`.
    pub fn from_pairs(pairs: &[(String, String)], defaults: OnDefaults) -> Result<OnOptions, GateError> {
        if let Some((name, _)) = pairs.iter().find(|(name, _)| name.eq_ignore_ascii_case("unsaved")) {
            return Err(GateError::UnknownOption(bounded(name)));
        }
        OnOptions::parse(pairs, defaults)
    }

    fn parse(pairs: &[(String, String)], defaults: OnDefaults) -> Result<OnOptions, GateError> {
        let mut options = OnOptions::new(defaults);
        for (place, (name, value)) in pairs.iter().enumerate() {
            if pairs.iter().take(place).any(|(earlier, _)| earlier.eq_ignore_ascii_case(name)) {
                return Err(GateError::RepeatedOption(name.clone()));
            }
            options.set(name, value)?;
        }
        Ok(options)
    }

    /// What a person promises to the applications lies ahead.
    ///
    /// # Errors
    /// 22023: `until` is over by `now`.
    pub fn check_until(&self, now: Timestamp) -> Result<(), GateError> {
        match self.until {
            Given::Value(until) if until <= now => Err(GateError::InvalidOption {
                option: "until",
                value: when::print(until),
                hint: format!("That is in the past: it is {} now.", when::print(now)),
            }),
            _ => Ok(()),
        }
    }

    /// Whether the command named no option at all.
    pub fn is_bare(&self) -> bool {
        *self == OnOptions::new(self.defaults.clone())
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), GateError> {
        match name.to_ascii_lowercase().as_str() {
            "message" => self.message = message(value)?,
            "until" => self.until = until(value)?,
            "writes" => {
                self.writes = Some(choice("writes", value, &[("reject", Writes::Reject), ("hold", Writes::Hold)])?);
            }
            "hold_timeout" => {
                self.hold_timeout = Some(span("hold_timeout", value, Duration::ZERO, LONGEST_DRAIN)?);
            }
            "drain_timeout" => {
                self.drain_timeout = Some(span("drain_timeout", value, SHORTEST_DRAIN, LONGEST_DRAIN)?);
            }
            "on_timeout" => {
                let choices = [("cancel", OnTimeout::Cancel), ("revert", OnTimeout::Revert)];
                self.on_timeout = Some(choice("on_timeout", value, &choices)?);
            }
            "reads" => {
                let choices = [("any", Reads::Any), ("replica", Reads::Replica), ("primary", Reads::Primary)];
                self.reads = Some(choice("reads", value, &choices)?);
            }
            "expire" => {
                self.expire = match span("expire", value, Duration::ZERO, when::LONGEST)? {
                    Duration::ZERO => Given::Nothing,
                    after => Given::Value(after),
                };
            }
            "unsaved" => self.unsaved = flag("unsaved", value)?,
            "accept_unchecked" => self.accept_unchecked = flag("accept_unchecked", value)?,
            _ => return Err(GateError::UnknownOption(bounded(name))),
        }
        Ok(())
    }
}

/// What a person typed goes back in the error, but not without end.
fn bounded(text: &str) -> String {
    text.chars().filter(|c| *c != '\0').take(80).collect()
}

fn message(value: &str) -> Result<Given<String>, GateError> {
    // A NUL would end the field on the wire; line breaks would forge other fields in psql's output and in logs.
    if value.len() > LONGEST_MESSAGE || value.chars().any(char::is_control) {
        return Err(GateError::InvalidOption {
            option: "message",
            value: bounded(value),
            hint: format!("A message is one line of at most {LONGEST_MESSAGE} bytes."),
        });
    }
    Ok(if value.is_empty() { Given::Nothing } else { Given::Value(value.to_owned()) })
}

fn until(value: &str) -> Result<Given<Timestamp>, GateError> {
    if value.trim().eq_ignore_ascii_case("infinity") {
        return Ok(Given::Nothing);
    }
    when::parse(value).map(Given::Value).ok_or_else(|| GateError::InvalidTimestamp(bounded(value)))
}

fn choice<T: Copy>(option: &'static str, value: &str, choices: &[(&str, T)]) -> Result<T, GateError> {
    let found = choices.iter().find(|(name, _)| value.trim().eq_ignore_ascii_case(name));
    found.map(|(_, choice)| *choice).ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        GateError::InvalidOption {
            option,
            value: bounded(value),
            hint: format!("Available values: {}.", names.join(", ")),
        }
    })
}

fn flag(option: &'static str, value: &str) -> Result<bool, GateError> {
    choice(option, value, &[("on", true), ("off", false), ("true", true), ("false", false)])
}

fn span(option: &'static str, value: &str, least: Duration, most: Duration) -> Result<Duration, GateError> {
    let wrong = |hint: String| GateError::InvalidOption { option, value: bounded(value), hint };
    let range = || wrong(format!("{option} is from {} ms to {} h.", least.as_millis(), most.as_secs() / 3_600));
    match when::parse_span(value) {
        Ok(span) if (least..=most).contains(&span) => Ok(span),
        Ok(_) | Err(BadSpan::Range) => Err(range()),
        Err(BadSpan::Syntax) => {
            // The first half is PostgreSQL's own hint.
            Err(wrong(
                "Valid units for this parameter are \"us\", \"ms\", \"s\", \"min\", \"h\", and \"d\", for example '30s'."
                    .into(),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<OnOptions, GateError> {
        let pairs: Vec<_> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        OnOptions::from_pairs(&pairs, OnDefaults::default())
    }

    #[test]
    fn the_whole_list() {
        let options = parse(&[
            ("message", "upgrade"),
            ("UNTIL", "2026-12-01 14:00Z"),
            ("writes", "Hold"),
            ("hold_timeout", "10s"),
            ("drain_timeout", "1min"),
            ("on_timeout", "revert"),
            ("reads", "replica"),
            ("expire", "2h"),
        ])
        .unwrap();
        assert_eq!(options.message, Given::Value("upgrade".into()));
        assert_eq!(options.until, Given::Value("2026-12-01T14:00:00Z".parse().unwrap()));
        assert_eq!(options.writes, Some(Writes::Hold));
        assert_eq!(options.drain_timeout, Some(Duration::from_secs(60)));
        assert_eq!(options.on_timeout, Some(OnTimeout::Revert));
        assert_eq!(options.reads, Some(Reads::Replica));
        assert_eq!(options.expire, Given::Value(Duration::from_secs(7200)));
        assert!(!options.is_bare());
        assert!(parse(&[]).unwrap().is_bare());
        let cleared = parse(&[("message", ""), ("until", "infinity"), ("expire", "0")]).unwrap();
        assert_eq!((cleared.message, cleared.until), (Given::Nothing, Given::Nothing));
        assert_eq!(cleared.expire, Given::Nothing);
    }

    #[test]
    fn every_refusal_says_what_is_right() {
        let long = "x".repeat(LONGEST_MESSAGE + 1);
        for (pair, sqlstate, hint) in [
            (("writes", "no"), "22023", "reject, hold"),
            (("reads", "replicas"), "22023", "any, replica, primary"),
            (("on_timeout", ""), "22023", "cancel, revert"),
            (("drain_timeout", "30"), "22023", "\"min\""),
            (("drain_timeout", "0"), "22023", "1 ms to 24 h"),
            (("drain_timeout", "2d"), "22023", "1 ms to 24 h"),
            (("expire", "soon"), "22023", "\"min\""),
            (("expire", "9999d"), "22023", "expire is from"),
            (("message", long.as_str()), "22023", "1024 bytes"),
            (("message", "a\nb"), "22023", "one line"),
            (("message", "a\0b"), "22023", "one line"),
            (("until", "2026-12-01 14:00"), "22007", "'2026-12-01 14:00Z'"),
            (("untill", "x"), "22023", "Options are message, until"),
        ] {
            let error = parse(&[pair]).unwrap_err();
            assert_eq!(error.sqlstate(), sqlstate, "{pair:?}");
            assert!(error.hint().unwrap().contains(hint), "{pair:?}: {:?}", error.hint());
            assert!(!error.to_string().contains('\0'));
        }
        assert_eq!(parse(&[("reads", "any"), ("Reads", "any")]).unwrap_err().sqlstate(), "22023");
        let (ahead, past) = ("2026-12-01 14:00:01Z".parse().unwrap(), "2026-12-01 14:00Z".parse().unwrap());
        let options = |until: &str| parse(&[("until", until)]).unwrap();
        assert!(options("2026-12-01 14:00:01Z").check_until(past).is_ok());
        assert!(options("infinity").check_until(ahead).is_ok());
        for until in ["2026-12-01 14:00Z", "1999-01-01 00:00Z"] {
            assert_eq!(options(until).check_until(past).unwrap_err().sqlstate(), "22023");
        }
    }
}
