//! What the commands of moves, and REROUTE, are given inside WITH (…): values that are read, and what is said of those that cannot be.

use std::time::Duration;

use crate::config::parse_duration;
use crate::protocol::Report;

const SHORTEST: Duration = Duration::from_millis(1);
/// How long anything may take that clients wait for.
const LONGEST: Duration = Duration::from_secs(86_400);
/// Characters of an option that an error repeats.
const SHOWN: usize = 80;

/// What the client sees of its own words.
fn shown(words: &str) -> String {
    words.chars().filter(|c| *c != '\0').take(SHOWN).collect()
}

/// 22023: the value is none that the option has.
pub(in crate::proxy) fn wrong(option: &str, value: &str, hint: impl Into<String>) -> Report {
    let value = shown(value);
    Report::error("22023", format!("invalid value for option \"{option}\": \"{value}\"")).with_hint(Some(hint.into()))
}

/// 22023: the command has no such option.
pub(in crate::proxy) fn unknown(option: &str, hint: impl Into<String>) -> Report {
    Report::error("22023", format!("unrecognized option \"{}\"", shown(option))).with_hint(Some(hint.into()))
}

/// 22023: the option at that place has been given before, in whatever case.
pub(in crate::proxy) fn once(pairs: &[(String, String)], place: usize, name: &str) -> Result<(), Report> {
    match pairs.iter().take(place).any(|(earlier, _)| earlier.eq_ignore_ascii_case(name)) {
        true => Err(Report::error("22023", format!("option \"{}\" specified more than once", shown(name)))),
        false => Ok(()),
    }
}

/// A time from a millisecond to `longest`, which `words` say.
pub(in crate::proxy) fn span(option: &str, value: &str, longest: Duration, words: &str) -> Result<Duration, Report> {
    let span = parse_duration(value).map_err(|why| wrong(option, value, why))?;
    let fits = (SHORTEST..=longest).contains(&span);
    fits.then_some(span).ok_or_else(|| wrong(option, value, format!("{option} is from 1 ms to {words}.")))
}

/// A time for which clients may have to wait: a day at most.
pub(in crate::proxy) fn wait(option: &str, value: &str) -> Result<Duration, Report> {
    span(option, value, LONGEST, "24 h")
}

/// One of some words, in whatever case.
pub(in crate::proxy) fn choice<T: Copy>(
    option: &str,
    value: &str,
    choices: &[(&str, T)],
    hint: &str,
) -> Result<T, Report> {
    let found = choices.iter().find(|(word, _)| value.trim().eq_ignore_ascii_case(word));
    found.map(|(_, choice)| *choice).ok_or_else(|| wrong(option, value, hint))
}

/// The name of a database.
pub(in crate::proxy) fn dbname(option: &str, value: &str) -> Result<String, Report> {
    let plain = !value.is_empty() && value.len() < 64 && !value.contains('\0');
    plain.then(|| value.to_owned()).ok_or_else(|| wrong(option, value, "The name of a database."))
}

/// On or off.
pub(in crate::proxy) fn flag(option: &str, value: &str) -> Result<bool, Report> {
    let choices = [("on", true), ("true", true), ("off", false), ("false", false)];
    choice(option, value, &choices, "Available values: on, off.")
}
