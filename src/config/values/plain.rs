//! The plain types that settings have where the standard library has none that says as much.

use std::fmt;
use std::time::Duration;

/// A text that is never printed: `Debug` and SHOW CONFIG show asterisks.
///
/// Comparing two secrets is for noticing a changed configuration; it is not constant time.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Wraps a password.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
    /// The password itself, for the one who logs in with it.
    pub fn expose(&self) -> &str {
        &self.0
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "\"\"" } else { "********" })
    }
}

/// A count that may not be passed; 0 in the file means no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(Option<u32>);

impl Limit {
    /// No limit.
    pub const NONE: Self = Self(None);

    /// As written in the file: 0 is no limit.
    pub const fn from_config(count: u32) -> Self {
        match count {
            0 => Self::NONE,
            count => Self(Some(count)),
        }
    }
    /// The limit, if there is one; never 0.
    pub const fn get(self) -> Option<u32> {
        self.0
    }
    /// Whether one more fits when `in_use` are there.
    pub const fn has_room(self, in_use: u32) -> bool {
        match self.0 {
            None => true,
            Some(limit) => in_use < limit,
        }
    }
}

/// A time after which something ends; 0 in the file switches it off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout(Option<Duration>);

impl Timeout {
    /// Never.
    pub const OFF: Self = Self(None);

    /// A whole number of seconds; 0 is off.
    pub const fn secs(seconds: u64) -> Self {
        Self::from_config(Duration::from_secs(seconds))
    }
    /// As written in the file: zero is off.
    pub const fn from_config(value: Duration) -> Self {
        if value.is_zero() { Self::OFF } else { Self(Some(value)) }
    }
    /// The time, if it is on; never zero.
    pub const fn get(self) -> Option<Duration> {
        self.0
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(usize);

impl Size {
    /// From bytes; more than the machine can address is cut to that.
    pub const fn new(bytes: u64) -> Self {
        if bytes > usize::MAX as u64 { Self(usize::MAX) } else { Self(bytes as usize) }
    }
    /// The number of bytes.
    pub const fn bytes(self) -> usize {
        self.0
    }
}

/// Permissions of the unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketMode(u32);

impl SocketMode {
    /// From permission bits; others are cut off.
    pub const fn new(bits: u32) -> Self {
        Self(bits & 0o777)
    }
    /// The permission bits.
    pub const fn bits(self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_printed() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?}"), "********");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn zero_is_no_limit() {
        assert!(Limit::from_config(0).has_room(u32::MAX));
        assert!(Limit::from_config(2).has_room(1));
        assert!(!Limit::from_config(2).has_room(2));
        assert_eq!(Timeout::secs(0), Timeout::OFF);
    }
}
