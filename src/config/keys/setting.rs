//! One value of one key: how it is read from TOML, checked and shown. Every type that a key can have implements
//! [`Setting`]; the table of keys ([`Key`]) says the bounds.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use crate::config::values::plain::{Limit, Secret, Size, SocketMode, Timeout};
use crate::config::values::units::{parse_duration, parse_size, quoted, show_duration, show_size};

/// One key as data: what the reader checks, and what the example file and the documentation say of it.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// As written in the file.
    pub name: &'static str,
    /// What it does; the doc comment of its field.
    pub doc: &'static str,
    /// What may be written.
    pub kind: Kind,
    /// The smallest value: a count, microseconds or bytes.
    pub min: u64,
    /// The largest value: a count, microseconds or bytes.
    pub max: u64,
    /// Whether a change needs a restart; all others are changed by RELOAD.
    pub restart: bool,
    /// Where the value comes from when the key is not written; empty: from its own default.
    pub inherits: &'static str,
    /// A TOML value for the example file where the default shows nothing; empty: the default.
    pub example: &'static str,
}

impl Key {
    /// A key without bounds, to be completed.
    pub(crate) const PLAIN: Self = Self {
        name: "",
        doc: "",
        kind: Kind::new("text"),
        min: 0,
        max: u64::MAX,
        restart: false,
        inherits: "",
        example: "",
    };
}

/// What may be written for a key.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// In words, such as `duration`.
    pub noun: &'static str,
    /// For keys that take one of several words: all of them.
    pub words: &'static [&'static str],
    /// Those of them that are known but not available yet.
    pub(crate) refused: &'static [(&'static str, &'static str)],
}

impl Kind {
    pub(crate) const fn new(noun: &'static str) -> Self {
        Self { noun, words: &[], refused: &[] }
    }

    /// The words that are accepted.
    pub fn accepted(&self) -> impl Iterator<Item = &'static str> {
        let refused = self.refused;
        let taken = move |word: &&str| refused.iter().all(|(no, _)| no != word);
        self.words.iter().copied().filter(taken)
    }
}

/// Why a value was not taken, and where in the file.
pub(crate) struct Fault {
    pub(crate) span: Range<usize>,
    pub(crate) reason: String,
}

pub(crate) type Read<T> = Result<T, Vec<Fault>>;

/// A type that a key can have.
pub(crate) trait Setting: Sized + Clone + PartialEq {
    const KIND: Kind;
    /// Whether `""` says "not set" for an `Option` of this.
    const EMPTY_UNSETS: bool = false;

    /// Reads one value; `Err` says what would be right.
    fn from_value(value: &DeValue<'_>, key: &Key, folder: &Path) -> Result<Self, String>;

    /// As [`Setting::from_value`], with the place of each fault; lists point at their elements.
    fn from_spanned(value: &Spanned<DeValue<'_>>, key: &Key, folder: &Path) -> Read<Self> {
        Self::from_value(value.get_ref(), key, folder).map_err(|reason| {
            let span = value.span();
            vec![Fault { span, reason }]
        })
    }

    /// As SHOW CONFIG shows it.
    fn plain(&self) -> String;

    /// As written in the file.
    fn literal(&self) -> String {
        toml_text(&self.plain())
    }
}

/// A text as a TOML string.
pub fn toml_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// What was found instead, in a few words.
pub(crate) fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the text {}", quoted(text)),
        DeValue::Integer(number) => cut(number.as_str()),
        DeValue::Float(number) => cut(number.as_str()),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(_) => "a date or time".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// Digits are no longer than a line.
fn cut(digits: &str) -> String {
    match digits.get(..30) {
        Some(start) if digits.len() > 30 => format!("{start}..."),
        _ => digits.to_owned(),
    }
}

fn mismatch<T>(wanted: &str, value: &DeValue<'_>) -> Result<T, String> {
    Err(format!("must be {wanted}, found {}", describe(value)))
}

fn within(value: u64, key: &Key, most: u64, show: impl Fn(u64) -> String) -> Result<u64, String> {
    let max = key.max.min(most);
    if (key.min..=max).contains(&value) {
        Ok(value)
    } else {
        let (low, high, found) = (show(key.min), show(max), show(value));
        Err(format!("must be from {low} to {high}, found {found}"))
    }
}

fn whole_number(value: &DeValue<'_>, key: &Key, most: u64) -> Result<u64, String> {
    let DeValue::Integer(number) = value else {
        return mismatch("a whole number", value);
    };
    let max = key.max.min(most);
    match u64::from_str_radix(number.as_str(), number.radix()) {
        Ok(n) if (key.min..=max).contains(&n) => Ok(n),
        _ => {
            let (low, found) = (key.min, describe(value));
            Err(format!("must be from {low} to {max}, found {found}"))
        }
    }
}

/// The text of a quantity that is written as text or as a bare number.
fn quantity_text(value: &DeValue<'_>, wanted: &str) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Ok(number.as_str().to_owned()),
        DeValue::Float(number) => Ok(number.as_str().to_owned()),
        other => mismatch(wanted, other),
    }
}

/// Longer than anybody waits, and short enough that adding it to the clock cannot overflow.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

fn duration(value: &DeValue<'_>, key: &Key) -> Result<Duration, String> {
    let text = quantity_text(value, "a duration such as \"10s\", or a number of seconds")?;
    let micros = parse_duration(&text)?.as_micros();
    let longest = u64::try_from(LONGEST.as_micros()).unwrap_or(u64::MAX);
    let micros = u64::try_from(micros).unwrap_or(u64::MAX);
    let show = |n| show_duration(Duration::from_micros(n));
    within(micros, key, longest, show).map(Duration::from_micros)
}

pub(crate) fn text<'v>(value: &'v DeValue<'_>) -> Result<&'v str, String> {
    match value {
        DeValue::String(text) if text.contains('\0') => Err("must not contain a NUL".to_owned()),
        DeValue::String(text) => Ok(text),
        other => mismatch("text in quotes", other),
    }
}

impl Setting for bool {
    const KIND: Kind = Kind::new("true or false");
    fn from_value(value: &DeValue<'_>, _: &Key, _: &Path) -> Result<Self, String> {
        match value {
            DeValue::Boolean(value) => Ok(*value),
            other => mismatch("true or false", other),
        }
    }
    fn plain(&self) -> String {
        self.to_string()
    }
    fn literal(&self) -> String {
        self.plain()
    }
}

macro_rules! whole_numbers {
    ($($ty:ty),*) => { $(
        impl Setting for $ty {
            const KIND: Kind = Kind::new("number");
            fn from_value(value: &DeValue<'_>, key: &Key, _: &Path) -> Result<Self, String> {
                let number = whole_number(value, key, u64::from(<$ty>::MAX))?;
                <$ty>::try_from(number).map_err(|_| format!("must be at most {}", <$ty>::MAX))
            }
            fn plain(&self) -> String {
                self.to_string()
            }
            fn literal(&self) -> String {
                self.plain()
            }
        }
    )* };
}
whole_numbers!(u16, u32);

impl Setting for Limit {
    const KIND: Kind = Kind::new("number, 0 = no limit");
    fn from_value(value: &DeValue<'_>, key: &Key, folder: &Path) -> Result<Self, String> {
        u32::from_value(value, key, folder).map(Limit::from_config)
    }
    fn plain(&self) -> String {
        self.get().unwrap_or(0).to_string()
    }
    fn literal(&self) -> String {
        self.plain()
    }
}

impl Setting for Duration {
    const KIND: Kind = Kind::new("duration");
    fn from_value(value: &DeValue<'_>, key: &Key, _: &Path) -> Result<Self, String> {
        duration(value, key)
    }
    fn plain(&self) -> String {
        show_duration(*self)
    }
    fn literal(&self) -> String {
        if self.is_zero() { "0".to_owned() } else { toml_text(&self.plain()) }
    }
}

impl Setting for Timeout {
    const KIND: Kind = Kind::new("duration, 0 = off");
    fn from_value(value: &DeValue<'_>, key: &Key, _: &Path) -> Result<Self, String> {
        duration(value, key).map(Timeout::from_config)
    }
    fn plain(&self) -> String {
        self.get().unwrap_or_default().plain()
    }
    fn literal(&self) -> String {
        self.get().unwrap_or_default().literal()
    }
}

impl Setting for Size {
    const KIND: Kind = Kind::new("size");
    fn from_value(value: &DeValue<'_>, key: &Key, _: &Path) -> Result<Self, String> {
        let text = quantity_text(value, "a size such as \"8MB\", or a number of bytes")?;
        within(parse_size(&text)?, key, usize::MAX as u64, show_size).map(Size::new)
    }
    fn plain(&self) -> String {
        show_size(self.bytes() as u64)
    }
    fn literal(&self) -> String {
        match self.bytes() {
            0 => "0".to_owned(),
            _ => toml_text(&self.plain()),
        }
    }
}

impl Setting for String {
    const KIND: Kind = Kind::new("text");
    fn from_value(value: &DeValue<'_>, _: &Key, _: &Path) -> Result<Self, String> {
        text(value).map(str::to_owned)
    }
    fn plain(&self) -> String {
        self.clone()
    }
}

impl Setting for Secret {
    const KIND: Kind = Kind::new("text, never shown");
    fn from_value(value: &DeValue<'_>, _: &Key, _: &Path) -> Result<Self, String> {
        match value {
            DeValue::String(text) if !text.contains('\0') => Ok(Secret::new(text.as_ref())),
            // What was found may be the password itself.
            _ => Err("must be text in quotes, without NUL".to_owned()),
        }
    }
    fn plain(&self) -> String {
        if self.is_empty() { "" } else { "********" }.to_owned()
    }
}

impl Setting for PathBuf {
    const KIND: Kind = Kind::new("path");
    const EMPTY_UNSETS: bool = true;
    fn from_value(value: &DeValue<'_>, _: &Key, folder: &Path) -> Result<Self, String> {
        match text(value)? {
            "" => Err("must not be empty".to_owned()),
            path => Ok(folder.join(path)),
        }
    }
    fn plain(&self) -> String {
        self.display().to_string()
    }
}

impl Setting for SocketMode {
    const KIND: Kind = Kind::new("octal permissions");
    fn from_value(value: &DeValue<'_>, _: &Key, _: &Path) -> Result<Self, String> {
        let wanted = "permissions in octal, such as \"0770\"";
        let digits = match value {
            DeValue::String(text) => text.as_ref(),
            // A decimal number would be read as something else than was meant.
            DeValue::Integer(number) if number.radix() == 8 => number.as_str(),
            other => return mismatch(wanted, other),
        };
        let plain = !digits.is_empty() && digits.bytes().all(|b| matches!(b, b'0'..=b'7'));
        match u32::from_str_radix(digits, 8) {
            Ok(mode) if plain && mode <= 0o777 => Ok(SocketMode::new(mode)),
            _ => mismatch(wanted, value),
        }
    }
    fn plain(&self) -> String {
        format!("{:04o}", self.bits())
    }
}

/// `None`: not set. Shown as an empty text.
impl<T: Setting> Setting for Option<T> {
    const KIND: Kind = T::KIND;
    fn from_value(value: &DeValue<'_>, key: &Key, folder: &Path) -> Result<Self, String> {
        match value {
            DeValue::String(text) if T::EMPTY_UNSETS && text.is_empty() => Ok(None),
            value => T::from_value(value, key, folder).map(Some),
        }
    }
    fn plain(&self) -> String {
        self.as_ref().map(T::plain).unwrap_or_default()
    }
    fn literal(&self) -> String {
        self.as_ref().map_or_else(|| "\"\"".to_owned(), T::literal)
    }
}
