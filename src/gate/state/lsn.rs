//! A place in PostgreSQL's write-ahead log.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};

/// A log sequence number; its text form is that of PostgreSQL's type `pg_lsn` (documentation 8.20): `16/B374D848`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

/// The text is not an LSN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid input syntax for type pg_lsn")]
pub struct InvalidLsn;

impl Lsn {
    /// The same place as a replica can reach it. The insert position right behind a page's header is reached by none before
    /// more is written: the end of the page before it says the same. Pages have 8 kB, headers 24 bytes, 40 at the start of a
    /// segment.
    pub fn reachable(self) -> Lsn {
        const PAGE: u64 = 8192;
        match self.0 % PAGE {
            header @ (24 | 40) => Lsn(self.0 - header),
            _ => self,
        }
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl FromStr for Lsn {
    type Err = InvalidLsn;

    fn from_str(text: &str) -> Result<Lsn, InvalidLsn> {
        let half = |text: &str| {
            let digits = (1..=8).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
            digits.then(|| u64::from_str_radix(text, 16).ok()).flatten().ok_or(InvalidLsn)
        };
        let (high, low) = text.split_once('/').ok_or(InvalidLsn)?;
        Ok(Lsn(half(high)? << 32 | half(low)?))
    }
}

impl Serialize for Lsn {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Lsn {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Lsn, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_position_behind_a_header_is_the_end_of_the_page_before() {
        assert_eq!(Lsn(8192 * 5 + 24).reachable(), Lsn(8192 * 5));
        assert_eq!(Lsn(1 << 24 | 40).reachable(), Lsn(1 << 24));
        assert_eq!(Lsn(8192 * 5 + 48).reachable(), Lsn(8192 * 5 + 48));
    }

    #[test]
    fn postgresql_text_form() {
        assert_eq!("16/B374D848".parse(), Ok(Lsn(0x16_B374_D848)));
        assert_eq!(Lsn(0x16_B374_D848).to_string(), "16/B374D848");
        assert_eq!(Lsn(0).to_string(), "0/0");
        for text in ["", "/", "0", "0/", "/0", "G/0", "123456789/0", "0/-1", "0/0/0", " 0/0", "+1/0"] {
            assert_eq!(text.parse::<Lsn>(), Err(InvalidLsn), "{text}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(value: u64) {
            prop_assert_eq!(Lsn(value).to_string().parse(), Ok(Lsn(value)));
        }
    }
}
