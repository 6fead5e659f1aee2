//! Values of a pgbouncer.ini as TOML literals: numbers as C's strtol and strtod read them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::emit::{list, text};
use crate::config::values::units::show_duration;

/// How a value is written in a pgbouncer.ini.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Text as it is.
    Text,
    /// One of several words, in any case.
    Word,
    /// Names with commas between them.
    List,
    /// A whole number.
    Count,
    /// 0 or 1.
    Flag,
    /// Seconds, with a fraction perhaps.
    Seconds,
    /// A whole number of milliseconds.
    Millis,
    /// A file or folder.
    Path,
    /// Permissions; with a leading 0 they are octal, as in C.
    Mode,
    /// Bytes.
    Bytes,
}

/// As strtol(…, 0) does: 0x begins a hexadecimal number, 0 an octal one.
pub(super) fn number(value: &str) -> Result<i64, String> {
    let wrong = || format!("must be a whole number, found {}", text(value));
    let (negative, digits) = match value.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, value.strip_prefix('+').unwrap_or(value)),
    };
    let lower = digits.to_ascii_lowercase();
    let parsed = match lower.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16),
        None if lower.len() > 1 && lower.starts_with('0') => i64::from_str_radix(&lower, 8),
        None => lower.parse(),
    };
    match parsed {
        Ok(number) if !digits.starts_with(['-', '+']) => Ok(if negative { -number } else { number }),
        _ => Err(wrong()),
    }
}

/// Seconds as strtod reads them.
pub(super) fn seconds(value: &str) -> Result<Duration, String> {
    let wrong = || format!("must be a number of seconds, found {}", text(value));
    let number: f64 = value.parse().ok().filter(|number: &f64| !number.is_nan()).ok_or_else(wrong)?;
    // Longer than anybody waits; a year is what a duration may have at most.
    Duration::try_from_secs_f64(number.min(365.0 * 86_400.0)).map_err(|_| wrong())
}

/// A duration as it is written in our file.
pub(super) fn duration(value: Duration) -> String {
    if value.is_zero() { "0".to_owned() } else { text(&show_duration(value)) }
}

/// A path as PgBouncer means it: relative to where the process was started. Where nothing is there, the folder of the file
/// that names it may have it.
pub(super) fn path(value: &str, folder: &Path) -> PathBuf {
    let path = Path::new(value);
    if path.is_absolute() || value.is_empty() {
        return path.to_owned();
    }
    let here = std::env::current_dir().map(|here| here.join(path));
    let beside = std::path::absolute(folder.join(path)).unwrap_or_else(|_| folder.join(path));
    match here {
        Ok(here) if here.exists() || !beside.exists() => here,
        _ => beside,
    }
}

/// The literal of a value.
pub(super) fn literal(value: &str, form: Form, folder: &Path) -> Result<String, String> {
    Ok(match form {
        Form::Text => text(value),
        Form::Word => text(&value.to_ascii_lowercase()),
        Form::List => list(names(value)),
        Form::Count => {
            let number = number(value)?;
            // PgBouncer has none of most things below 0, and means "as elsewhere" by it.
            number.max(0).to_string()
        }
        Form::Flag => (number(value)? != 0).to_string(),
        Form::Seconds => duration(seconds(value)?),
        Form::Millis => {
            let millis = u64::try_from(number(value)?).map_err(|_| "must not be negative".to_owned())?;
            duration(Duration::from_millis(millis))
        }
        Form::Path => text(&path(value, folder).display().to_string()),
        Form::Mode => text(&format!("{:04o}", number(value)?)),
        Form::Bytes => {
            let bytes = u64::try_from(number(value)?).map_err(|_| "must not be negative".to_owned())?;
            bytes.to_string()
        }
    })
}

/// The names in a list with commas, each once.
pub(super) fn names(value: &str) -> impl Iterator<Item = &str> {
    let mut seen: Vec<&str> = Vec::new();
    value.split(',').map(str::trim).filter(move |name| {
        let new = !name.is_empty() && !seen.contains(name);
        if new {
            seen.push(name);
        }
        new
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_c_does() {
        let read = |text| number(text).ok();
        assert_eq!([read("0777"), read("0x10"), read("-1"), read("20")], [Some(511), Some(16), Some(-1), Some(20)]);
        assert_eq!([read("1s"), read(""), read("--1"), read("08")], [None, None, None, None]);
        let form = |value, form| literal(value, form, Path::new("/"));
        assert_eq!(form("0770", Form::Mode).unwrap(), "\"0770\"");
        assert_eq!(form("0.5", Form::Seconds).unwrap(), "\"500ms\"");
        assert_eq!(form("0", Form::Seconds).unwrap(), "0");
        assert_eq!(form("1e9", Form::Seconds).unwrap(), "\"365d\"");
        assert_eq!(form("1", Form::Flag).unwrap(), "true");
        assert_eq!(form("a, b,a,", Form::List).unwrap(), r#"["a", "b"]"#);
        assert_eq!(form("Transaction", Form::Word).unwrap(), "\"transaction\"");
        for value in ["x", "-1", "nan", "inf2"] {
            assert!(form(value, Form::Seconds).is_err(), "{value}");
        }
    }
}
