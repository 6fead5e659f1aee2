//! Points in time and spans of time as people type and read them.

use jiff::{Timestamp, tz::TimeZone};
use std::time::Duration;

/// What a timestamp must look like.
pub(crate) const HINT: &str =
    "Give date, time and time zone offset, for example '2026-12-01 14:00Z' or '2026-12-01T14:00:00+02', or 'infinity'.";

/// The longest span that an option takes.
pub(crate) const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// Prints as PostgreSQL does with `DateStyle = ISO` and `TimeZone = UTC`: `2026-12-01 14:00:00+00`.
pub fn print(at: Timestamp) -> String {
    let at = at.to_zoned(TimeZone::UTC);
    let whole = at.strftime("%Y-%m-%d %H:%M:%S").to_string();
    match at.subsec_nanosecond() / 1_000 {
        0 => format!("{whole}+00"),
        micros => format!("{whole}.{}+00", format!("{micros:06}").trim_end_matches('0')),
    }
}

/// Reads a point in time with an explicit offset. A time without one is refused: server, proxy and operator may each be in
/// another zone, and a wrong guess would be told to every application.
pub fn parse(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    // jiff reads more (signed years, bracketed zone names); people who type those expect PostgreSQL's meaning of them.
    let plain = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | ':' | '.' | ' ' | 'T' | 't' | 'Z' | 'z');
    if text.len() > 40 || !text.starts_with(|c: char| c.is_ascii_digit()) || !text.chars().all(plain) {
        return None;
    }
    // PostgreSQL takes a space before the offset.
    let mut text = text.to_owned();
    if let Some(place) = text.rfind([' ']).filter(|place| text[place + 1..].starts_with(['+', '-', 'Z', 'z'])) {
        text.remove(place);
    }
    text.parse().ok()
}

/// Why a span of time was not understood.
pub(crate) enum BadSpan {
    Syntax,
    Range,
}

/// Reads a span of time with PostgreSQL's units (documentation 20.1.1): us, ms, s, min, h, d; a fraction is allowed. A bare
/// number is not, except 0: to PostgreSQL it would be milliseconds, to PgBouncer seconds.
pub(crate) fn parse_span(text: &str) -> Result<Duration, BadSpan> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().map_err(|_| BadSpan::Syntax)?;
    let seconds = match unit.trim_start() {
        "us" => 0.000_001,
        "ms" => 0.001,
        "s" => 1.0,
        "min" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        "" if number == 0.0 => 0.0,
        _ => return Err(BadSpan::Syntax),
    };
    let span = Duration::try_from_secs_f64(number * seconds).map_err(|_| BadSpan::Range)?;
    if span > LONGEST { Err(BadSpan::Range) } else { Ok(span) }
}

/// Spans in the state file: whole milliseconds.
pub(crate) mod millis {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub(crate) fn serialize<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_operators_type() {
        for (text, printed) in [
            ("2026-12-01 14:00Z", "2026-12-01 14:00:00+00"),
            ("2026-12-01 14:00:00+02", "2026-12-01 12:00:00+00"),
            ("2026-12-01 14:00:00 +02", "2026-12-01 12:00:00+00"),
            ("2026-12-01T14:00:00Z", "2026-12-01 14:00:00+00"),
            ("2026-12-01T14:00:00.5-05:30", "2026-12-01 19:30:00.5+00"),
        ] {
            assert_eq!(parse(text).map(print).as_deref(), Some(printed), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_ambiguous_or_nonsense() {
        for text in [
            "",
            " ",
            "Z",
            "tomorrow",
            "14:00",
            "2026-12-01",
            "2026-12-01 14:00",
            "2026-12-01T14:00:00",
            "2026-13-01 14:00Z",
            "2026-02-30 14:00Z",
            "01.12.2026 14:00Z",
            "2026-12-01 25:00Z",
            "2026-12-01 14:00Z[UTC]",
            "1764597600",
            "2026-12-01 14:00 Europe/Paris",
            "2026-12-01 14:00Z\0",
            "-002026-12-01 14:00Z",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn spans() {
        let span = |text| parse_span(text).ok();
        assert_eq!(span("30s"), Some(Duration::from_secs(30)));
        assert_eq!(span("2 h"), Some(Duration::from_secs(7200)));
        assert_eq!(span("1.5min"), Some(Duration::from_secs(90)));
        assert_eq!(span("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(span("1d"), Some(Duration::from_secs(86_400)));
        assert_eq!(span("0"), Some(Duration::ZERO));
        for text in ["", "s", "30", "30 sec", "30S", "-1s", "1e3s", "1..5s", "1s 2ms", "99999999d", "nan", "inf", "١s"]
        {
            assert_eq!(span(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn print_and_parse_agree(micros in -62_135_596_800_000_000i64..253_402_207_200_000_000) {
            let at = Timestamp::from_microsecond(micros).unwrap();
            prop_assert_eq!(parse(&print(at)), Some(at));
        }

        #[test]
        fn nothing_panics(text in "\\PC*") {
            let _ = parse(&text);
            let _ = parse_span(&text);
        }
    }
}
