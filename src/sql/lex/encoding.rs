//! What must be known about a session before its text can be lexed, and the client encodings in which a byte that
//! looks like `\` or a letter may be the second half of a character.
//!
//! The server converts text to its own encoding before it lexes it, and no server encoding has such bytes. So text
//! in one of these encodings is *masked* first: every byte of a multi-byte character becomes a high byte, at the same
//! offset, and one lexer serves them all. Character lengths are those of PostgreSQL's `pg_*_verifychar` in
//! `src/common/wchar.c`.

use std::borrow::Cow;

/// The session's `standard_conforming_strings`, as reported by ParameterStatus.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, serde::Serialize, serde::Deserialize)]
pub enum StandardStrings {
    /// A backslash in `'…'` is a backslash: the default since PostgreSQL 9.1.
    #[default]
    On,
    /// A backslash in `'…'` escapes, as in `E'…'`.
    Off,
    /// Not reported (yet): text is read both ways.
    Unknown,
}

impl StandardStrings {
    /// Reads the value of a ParameterStatus message.
    pub fn from_setting(value: &str) -> Self {
        match value {
            "on" => Self::On,
            "off" => Self::Off,
            _ => Self::Unknown,
        }
    }
}

/// The session's `client_encoding`, as far as lexing cares.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, serde::Serialize, serde::Deserialize)]
pub enum Encoding {
    /// Bytes below 0x80 are always ASCII characters: UTF8, LATIN*, EUC_*, WIN*, …
    #[default]
    AsciiSafe,
    /// `SJIS`.
    Sjis,
    /// `SHIFT_JIS_2004`, in which PostgreSQL converts 0x815F to a plain backslash and 0x81B0 to a tilde (measured).
    ShiftJis2004,
    /// `BIG5`.
    Big5,
    /// `GBK`.
    Gbk,
    /// `UHC`.
    Uhc,
    /// `JOHAB`.
    Johab,
    /// `GB18030`.
    Gb18030,
    /// A name this table does not have: text with a high byte is ambiguous.
    Unknown,
    /// What runs ahead may change it: text is read in every encoding.
    Any,
}

impl Encoding {
    /// One of each kind that a name can stand for.
    pub const KINDS: [Encoding; 8] = [
        Encoding::AsciiSafe,
        Encoding::Sjis,
        Encoding::ShiftJis2004,
        Encoding::Big5,
        Encoding::Gbk,
        Encoding::Uhc,
        Encoding::Johab,
        Encoding::Gb18030,
    ];
}

/// Every other encoding of <https://www.postgresql.org/docs/15/multibyte.html>, spelled as [`clean`] leaves it.
const ASCII_SAFE: [&str; 37] = [
    "euccn",
    "eucjis2004",
    "eucjp",
    "euckr",
    "euctw",
    "iso88591",
    "iso88595",
    "iso88596",
    "iso88597",
    "iso88598",
    "koi8",
    "koi8r",
    "koi8u",
    "latin1",
    "latin10",
    "latin2",
    "latin3",
    "latin4",
    "latin5",
    "latin6",
    "latin7",
    "latin8",
    "latin9",
    "muleinternal",
    "sqlascii",
    "unicode",
    "utf8",
    "win1250",
    "win1251",
    "win1252",
    "win1253",
    "win1254",
    "win1255",
    "win1256",
    "win1257",
    "win1258",
    "win866",
];

/// PostgreSQL compares encoding names by their letters and digits alone.
fn clean(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

impl Encoding {
    /// Reads a `client_encoding` as PostgreSQL spells or accepts it.
    pub fn from_name(name: &str) -> Self {
        match clean(name).as_str() {
            "sjis" | "mskanji" | "shiftjis" | "win932" | "windows932" => Self::Sjis,
            "shiftjis2004" => Self::ShiftJis2004,
            "big5" | "win950" | "windows950" => Self::Big5,
            "gbk" | "win936" | "windows936" => Self::Gbk,
            "uhc" | "win949" | "windows949" => Self::Uhc,
            "johab" => Self::Johab,
            "gb18030" => Self::Gb18030,
            "win874" | "win" | "alt" | "abc" | "tcvn" | "tcvn5712" | "vscii" => Self::AsciiSafe,
            other if ASCII_SAFE.contains(&other) => Self::AsciiSafe,
            _ => Self::Unknown,
        }
    }

    /// Length of the character that starts with this high byte, if it is sound; `None` for what the server refuses
    /// or turns into an ASCII character.
    fn high_char(self, lead: u8, rest: &[u8]) -> Option<usize> {
        let trail = || rest.first().copied();
        let two = |ok: bool| ok.then_some(2);
        match self {
            Self::AsciiSafe => Some(1),
            Self::Unknown | Self::Any => None,
            Self::Sjis | Self::ShiftJis2004 => match lead {
                0xa1..=0xdf => Some(1),
                0x81..=0x9f | 0xe0..=0xfc => {
                    let t = trail()?;
                    let becomes_ascii = self == Self::ShiftJis2004 && lead == 0x81 && (t == 0x5f || t == 0xb0);
                    two(matches!(t, 0x40..=0x7e | 0x80..=0xfc) && !becomes_ascii)
                }
                _ => None,
            },
            Self::Big5 => two(matches!(trail()?, 0x40..=0x7e | 0xa1..=0xfe)),
            Self::Gbk => two(matches!(trail()?, 0x40..=0x7e | 0x80..=0xfe)),
            Self::Uhc => two(matches!(trail()?, 0x41..=0x5a | 0x61..=0x7a | 0x81..=0xfe)),
            Self::Johab => {
                let len = if lead == 0x8f { 3 } else { 2 };
                let tail = rest.get(..len - 1)?;
                tail.iter().all(|b| matches!(b, 0xa1..=0xfe)).then_some(len)
            }
            Self::Gb18030 => match rest {
                [0x30..=0x39, 0x81..=0xfe, 0x30..=0x39, ..] => Some(4),
                [0x40..=0x7e | 0x80..=0xfe, ..] => two((0x81..=0xfe).contains(&lead)),
                _ => None,
            },
        }
    }
}

/// What the server reported and therefore how the text must be lexed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct LexContext {
    /// `standard_conforming_strings`.
    pub strings: StandardStrings,
    /// `client_encoding`.
    pub encoding: Encoding,
}

impl LexContext {
    /// Where what runs ahead may change either: a text is read in every way, and ambiguous unless they agree.
    pub const UNSURE: Self = Self { strings: StandardStrings::Unknown, encoding: Encoding::Any };
}

/// The ways in which a text can be read whatever the encoding is. What is not sound in one of them a server refuses, but for
/// characters that become ASCII: None then.
pub(in crate::sql) fn masked_in_every_way(text: &[u8]) -> Option<Vec<Cow<'_, [u8]>>> {
    let mut found: Vec<Cow<'_, [u8]>> = Vec::new();
    for encoding in Encoding::KINDS {
        let (masked, sound) = mask(text, encoding);
        let becomes_ascii = |pair: &[u8]| matches!(pair, [0x81, 0x5f | 0xb0]);
        if !sound && encoding == Encoding::ShiftJis2004 && text.windows(2).any(becomes_ascii) {
            return None;
        }
        if sound && !found.contains(&masked) {
            found.push(masked);
        }
    }
    Some(found)
}

/// The text with multi-byte characters made opaque, and whether every one of them was sound.
pub(in crate::sql) fn mask(text: &[u8], encoding: Encoding) -> (Cow<'_, [u8]>, bool) {
    if encoding == Encoding::AsciiSafe || text.is_ascii() {
        return (Cow::Borrowed(text), true);
    }
    let mut masked = text.to_vec();
    let mut sound = true;
    let mut at = 0;
    while let Some((&lead, rest)) = text.get(at..).and_then(<[u8]>::split_first) {
        let len = if lead < 0x80 { Some(1) } else { encoding.high_char(lead, rest) };
        sound &= len.is_some();
        let end = at + len.unwrap_or(1);
        if lead >= 0x80 {
            masked.get_mut(at..end).into_iter().flatten().for_each(|b| *b |= 0x80);
        }
        at = end;
    }
    (Cow::Owned(masked), sound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_postgresql_spells_them() {
        for (name, want) in [
            ("UTF8", Encoding::AsciiSafe),
            ("SQL_ASCII", Encoding::AsciiSafe),
            ("EUC_JIS_2004", Encoding::AsciiSafe),
            ("WIN874", Encoding::AsciiSafe),
            ("ISO_8859_5", Encoding::AsciiSafe),
            ("SHIFT_JIS_2004", Encoding::ShiftJis2004),
            ("SJIS", Encoding::Sjis),
            ("Big5", Encoding::Big5),
            ("GB18030", Encoding::Gb18030),
            ("EBCDIC", Encoding::Unknown),
        ] {
            assert_eq!(Encoding::from_name(name), want, "{name}");
        }
    }

    #[test]
    fn a_trail_byte_that_looks_like_a_backslash_is_hidden() {
        let (masked, sound) = mask(b"'\x95\x5c'", Encoding::Sjis);
        assert_eq!((&*masked, sound), (&b"'\x95\xdc'"[..], true));
        let (masked, sound) = mask(b"'\xbf\x5c'", Encoding::Gbk);
        assert_eq!((&*masked, sound), (&b"'\xbf\xdc'"[..], true));
        assert!(!mask(b"'\xbf'", Encoding::Gbk).1, "a lead byte must not swallow the quote");
        assert!(!mask(b"\x81\x5f", Encoding::ShiftJis2004).1, "becomes a backslash on the server");
        assert!(mask(b"\x81\x5f", Encoding::Sjis).1);
        assert!(mask(b"\x81\x30\x81\x30", Encoding::Gb18030).1);
        assert!(!mask(b"\x81\x30\x81", Encoding::Gb18030).1);
        assert!(!mask(b"caf\xc3\xa9", Encoding::Unknown).1);
        assert!(mask(b"caf\xe9\x5c", Encoding::AsciiSafe).1);
    }
}
