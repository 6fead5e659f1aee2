//! Durations and sizes as PostgreSQL writes them: `"500ms"`, `"5min"`, `"64kB"`; a bare number means seconds (as in
//! PgBouncer) or bytes. <https://www.postgresql.org/docs/current/config-setting.html>

use std::time::Duration;

/// A unit: its name and how many base units (microseconds, bytes) it has.
type Unit = (&'static str, u64);

const TIME: &[Unit] =
    &[("us", 1), ("ms", 1_000), ("s", 1_000_000), ("min", 60_000_000), ("h", 3_600_000_000), ("d", 86_400_000_000)];

const SIZE: &[Unit] = &[("B", 1), ("kB", 1 << 10), ("MB", 1 << 20), ("GB", 1 << 30), ("TB", 1 << 40)];

/// What people write for a unit out of habit, in lower case.
const HABITS: &[(&str, &str)] = &[
    ("m", "min"),
    ("mins", "min"),
    ("minute", "min"),
    ("minutes", "min"),
    ("sec", "s"),
    ("secs", "s"),
    ("second", "s"),
    ("seconds", "s"),
    ("msec", "ms"),
    ("usec", "us"),
    ("hr", "h"),
    ("hour", "h"),
    ("hours", "h"),
    ("day", "d"),
    ("days", "d"),
    ("k", "kB"),
    ("kib", "kB"),
    ("mib", "MB"),
    ("gib", "GB"),
    ("g", "GB"),
    ("byte", "B"),
    ("bytes", "B"),
];

/// Reads a duration with a PostgreSQL unit (us, ms, s, min, h, d); without a unit it means seconds.
///
/// The error says what would be right.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let example = r#"such as "10s", "500ms" or "5min""#;
    quantity(text, TIME, 1_000_000, "a duration", example).map(Duration::from_micros)
}

/// Reads a size with a PostgreSQL unit (B, kB, MB, GB, TB, each 1024 of the one before); without a unit it means bytes.
///
/// The error says what would be right.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let example = r#"such as "64kB", "8MB" or "1GB""#;
    quantity(text, SIZE, 1, "a size", example)
}

/// Writes a duration in the largest unit that keeps it whole: `10min`, `90s`, `0`.
pub fn show_duration(value: Duration) -> String {
    show(u64::try_from(value.as_micros()).unwrap_or(u64::MAX), TIME, "us")
}

/// Writes a size in the largest unit that keeps it whole: `64kB`, `1000B`, `0`.
pub fn show_size(bytes: u64) -> String {
    show(bytes, SIZE, "B")
}

fn show(value: u64, units: &[Unit], smallest: &str) -> String {
    if value == 0 {
        return "0".to_owned();
    }
    let whole = units.iter().rev().find(|(_, factor)| value.is_multiple_of(*factor));
    match whole {
        Some((name, factor)) => format!("{}{name}", value / factor),
        None => format!("{value}{smallest}"),
    }
}

fn quantity(text: &str, units: &[Unit], bare: u64, what: &str, example: &str) -> Result<u64, String> {
    let trimmed = text.trim();
    let split = trimmed.find(|c: char| !(c.is_ascii_digit() || matches!(c, '+' | '-' | '.'))).unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(split);
    let unit = unit.trim();
    let shown = quoted(text);
    if !number.bytes().any(|b| b.is_ascii_digit()) {
        return Err(format!("must be {what}: a number and a unit, {example}; found {shown}"));
    }
    let factor = if unit.is_empty() {
        bare
    } else {
        match units.iter().find(|(name, _)| *name == unit) {
            Some((_, factor)) => *factor,
            None => return Err(unknown_unit(unit, &shown, units)),
        }
    };
    if number.starts_with('-') {
        return Err(format!("must not be negative, found {shown}"));
    }
    let digits = number.strip_prefix('+').unwrap_or(number);
    let value = if digits.contains('.') {
        // Exact enough: a fraction of a unit is a convenience, and 2^53 microseconds are 285 years.
        digits
            .parse::<f64>()
            .ok()
            .map(|n| (n * factor as f64).round())
            .map(|n| if n < 9e18 { Ok(n as u64) } else { Err("is too large") })
    } else if digits.bytes().all(|b| b.is_ascii_digit()) {
        let whole = digits.parse::<u64>().ok();
        Some(whole.and_then(|n| n.checked_mul(factor)).ok_or("is too large"))
    } else {
        None
    };
    match value {
        Some(Ok(value)) => Ok(value),
        Some(Err(why)) => Err(format!("{shown} {why}")),
        None => Err(format!("must be {what}: a number and a unit, {example}; found {shown}")),
    }
}

fn unknown_unit(unit: &str, shown: &str, units: &[Unit]) -> String {
    let names: Vec<&str> = units.iter().map(|(name, _)| *name).collect();
    let lower = unit.to_ascii_lowercase();
    let meant = names
        .iter()
        .find(|name| name.eq_ignore_ascii_case(unit))
        .or_else(|| HABITS.iter().find(|(habit, name)| *habit == lower && names.contains(name)).map(|(_, name)| name));
    let hint = meant.map_or(String::new(), |name| format!("; did you mean \"{name}\"?"));
    format!("unknown unit {} in {shown}; the units are {}{hint}", quoted(unit), names.join(", "))
}

/// A text as it is shown in a finding: quoted, escaped, and cut so that a mistake cannot flood the log.
pub(crate) fn quoted(text: &str) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        None => format!("{text:?}"),
        Some((cut, _)) => format!("{:?}...", &text[..cut]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_postgresql_units_and_bare_numbers_are_seconds() {
        for (text, micros) in [
            ("10s", 10_000_000),
            ("10", 10_000_000),
            ("0", 0),
            ("500ms", 500_000),
            ("5 min", 300_000_000),
            ("1.5h", 5_400_000_000),
            (".5s", 500_000),
            ("1d", 86_400_000_000),
            ("250us", 250),
            ("+3s", 3_000_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_micros(micros)), "{text}");
        }
    }

    #[test]
    fn what_is_shown_is_read_back() {
        for micros in [0, 1, 1_000, 1_500, 90_000_000, 3_600_000_000, u64::MAX / 7] {
            let value = Duration::from_micros(micros);
            assert_eq!(parse_duration(&show_duration(value)), Ok(value));
        }
        for bytes in [0, 1, 1000, 65536, 256 << 20, 3 << 30, u64::MAX] {
            assert_eq!(parse_size(&show_size(bytes)), Ok(bytes));
        }
        assert_eq!(show_duration(Duration::from_secs(600)), "10min");
        assert_eq!(show_size(65536), "64kB");
    }

    #[test]
    fn bad_quantities_say_what_would_be_right() {
        for (text, reason) in [
            ("-5s", "must not be negative, found \"-5s\""),
            ("10m", "unknown unit \"m\" in \"10m\"; the units are us, ms, s, min, h, d; did you mean \"min\"?"),
            ("10 fortnights", "unknown unit \"fortnights\" in \"10 fortnights\"; the units are us, ms, s, min, h, d"),
            ("99999999999999d", "\"99999999999999d\" is too large"),
            ("999999999999999999999s", "\"999999999999999999999s\" is too large"),
        ] {
            assert_eq!(parse_duration(text), Err(reason.to_owned()), "{text}");
        }
        for text in ["", "soon", "1.2.3s", "5-3s", ".", "- 5", "∞"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert!(parse_size("8mb").unwrap_err().ends_with("did you mean \"MB\"?"));
        assert!(quoted(&"x".repeat(5000)).len() < 100);
    }
}
