//! The bounds of messages: a tag, a length that counts itself, a body.

use thiserror::Error;

/// Bytes of a header: the tag and the four bytes of the length.
pub const HEADER: usize = 5;

/// What is wrong with the bytes a peer sent. Each maps to SQLSTATE 08P01 and ends the connection, as in PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WireError {
    /// A tag that no message of this direction has.
    #[error("invalid frontend message type {0}")]
    UnknownFrontend(u8),
    /// A tag that a server does not send here.
    #[error("unexpected message type 0x{0:02X} from the server")]
    UnknownBackend(u8),
    /// A length under four, over what the message may have, or over the configured bound.
    #[error("invalid message length")]
    Length,
    /// A body that does not have the form its tag demands.
    #[error("invalid message format")]
    Format,
    /// A string without its NUL.
    #[error("invalid string in message")]
    String,
}

/// The first five bytes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Which message it is.
    pub tag: u8,
    /// Bytes of the whole message: the tag, the length and the body.
    pub total: usize,
}

impl Header {
    /// Bytes of the body.
    pub fn body(self) -> usize {
        self.total - HEADER
    }
}

/// Largest length of any message, as PostgreSQL bounds it (PQ_LARGE_MESSAGE_LIMIT).
const LARGEST: u32 = 0x3fff_fffe;

/// Longest body of messages that are short by nature, as PostgreSQL bounds them (PQ_SMALL_MESSAGE_LIMIT).
const SMALL: usize = 10_000;
/// Longest body of an answer to a question for a password: PgBouncer's longest password and its NUL.
const PASSWORD: usize = 65_536;

/// Reads the header of a message from a client, if it is there whole.
///
/// # Errors
/// The tag is not one of a client's, or the length is impossible for it or above `largest` (bytes of the body).
#[inline]
pub fn peek_front(bytes: &[u8], largest: usize) -> Result<Option<Header>, WireError> {
    let Some(header) = peek(bytes)? else {
        // A wrong tag is told at once, not after four more bytes.
        return match bytes.first() {
            Some(&tag) if front_limit(tag, largest).is_none() => Err(WireError::UnknownFrontend(tag)),
            _ => Ok(None),
        };
    };
    match front_limit(header.tag, largest) {
        None => Err(WireError::UnknownFrontend(header.tag)),
        Some(limit) if header.body() > limit => Err(WireError::Length),
        Some(_) => Ok(Some(header)),
    }
}

/// The header of a message whose kind may have that length, though it is above `largest` (bytes of the body).
pub fn peek_too_large(bytes: &[u8], largest: usize) -> Option<Header> {
    let header = peek(bytes).ok().flatten()?;
    (matches!(header.tag, b'Q' | b'P' | b'B' | b'F' | b'd') && header.body() > largest).then_some(header)
}

/// Reads the header of a message from a server, if it is there whole.
///
/// # Errors
/// The tag is not one of a server's, or the length is under four.
#[inline]
pub fn peek_back(bytes: &[u8]) -> Result<Option<Header>, WireError> {
    let Some(header) = peek(bytes)? else { return Ok(None) };
    match header.tag {
        b'1'..=b'3'
        | b'A'
        | b'C'
        | b'D'
        | b'E'
        | b'G'
        | b'H'
        | b'I'
        | b'K'
        | b'N'
        | b'R'
        | b'S'
        | b'T'
        | b'V'
        | b'W'
        | b'Z'
        | b'c'
        | b'd'
        | b'n'
        | b's'
        | b't'
        | b'v' => Ok(Some(header)),
        other => Err(WireError::UnknownBackend(other)),
    }
}

/// Bytes of a server's messages at the front that are whole and of tags that `goes_on` takes, and the header of the next one, as
/// far as it is there.
#[inline]
pub fn run_of(bytes: &[u8], mut goes_on: impl FnMut(u8) -> bool) -> (usize, Option<Header>) {
    let mut at = 0;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        match peek_back(rest) {
            Ok(Some(header)) if rest.len() >= header.total && goes_on(header.tag) => at += header.total,
            next => return (at, next.ok().flatten()),
        }
    }
}

#[inline]
fn peek(bytes: &[u8]) -> Result<Option<Header>, WireError> {
    let Some((head, _)) = bytes.split_first_chunk::<HEADER>() else { return Ok(None) };
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    if !(4..=LARGEST).contains(&length) {
        return Err(WireError::Length);
    }
    Ok(Some(Header { tag: head[0], total: length as usize + 1 }))
}

#[inline]
fn front_limit(tag: u8, largest: usize) -> Option<usize> {
    match tag {
        b'Q' | b'P' | b'B' | b'F' | b'd' => Some(largest),
        b'C' | b'D' | b'E' | b'H' | b'S' | b'X' | b'c' | b'f' => Some(largest.min(SMALL)),
        b'p' => Some(largest.min(PASSWORD)),
        _ => None,
    }
}

/// Splits a NUL-terminated string off the front of a body.
///
/// # Errors
/// There is no NUL.
#[inline]
pub fn take_str(body: &[u8]) -> Result<(&[u8], &[u8]), WireError> {
    // Names are mostly empty.
    let end = if body.first() == Some(&0) { 0 } else { memchr::memchr(0, body).ok_or(WireError::String)? };
    match (body.get(..end), body.get(end + 1..)) {
        (Some(text), Some(rest)) => Ok((text, rest)),
        _ => Err(WireError::String),
    }
}

/// Splits a big-endian 16-bit number off the front of a body.
///
/// # Errors
/// There are not two bytes.
pub fn take_u16(body: &[u8]) -> Result<(u16, &[u8]), WireError> {
    body.split_first_chunk::<2>().map(|(n, rest)| (u16::from_be_bytes(*n), rest)).ok_or(WireError::Format)
}

/// Splits a big-endian 32-bit number off the front of a body.
///
/// # Errors
/// There are not four bytes.
pub fn take_u32(body: &[u8]) -> Result<(u32, &[u8]), WireError> {
    body.split_first_chunk::<4>().map(|(n, rest)| (u32::from_be_bytes(*n), rest)).ok_or(WireError::Format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_once_it_is_whole() {
        assert_eq!(peek_front(b"", 100), Ok(None));
        assert_eq!(peek_front(b"Q\0\0\0", 100), Ok(None));
        assert_eq!(peek_front(b"Q\0\0\0\x06a\0", 100), Ok(Some(Header { tag: b'Q', total: 7 })));
    }

    #[test]
    fn lengths_are_checked_before_anything_is_held() {
        assert_eq!(peek_front(b"Q\0\0\0\x03", 100), Err(WireError::Length));
        assert_eq!(peek_front(b"Q\xff\xff\xff\xff", 100), Err(WireError::Length));
        assert_eq!(peek_front(b"Q\0\0\x01\0", 100), Err(WireError::Length));
        // Nothing belongs into a Sync: the server has words for that, as long as it is no more than it would read.
        assert_eq!(peek_front(b"S\0\0\0\x05", 100), Ok(Some(Header { tag: b'S', total: 6 })));
        assert_eq!(peek_front(b"S\0\0\x7f\xff", 1 << 20), Err(WireError::Length));
        assert_eq!(peek_front(b"E\0\0\x7f\xff", 1 << 20), Err(WireError::Length));
        assert_eq!(peek_too_large(b"Q\0\0\x01\0", 100), Some(Header { tag: b'Q', total: 257 }));
        assert_eq!(peek_too_large(b"Q\0\0\x01\0", 1000), None);
        assert_eq!(peek_too_large(b"E\0\0\x7f\xff", 1 << 20), None);
        assert_eq!(peek_too_large(b"Q\xff\xff\xff\xff", 100), None);
    }

    #[test]
    fn a_wrong_tag_is_told_from_its_first_byte() {
        assert_eq!(peek_front(b"\0", 100), Err(WireError::UnknownFrontend(0)));
        assert_eq!(peek_back(b"Q\0\0\0\x04"), Err(WireError::UnknownBackend(b'Q')));
    }

    #[test]
    fn strings_and_numbers_come_off_the_front() {
        assert_eq!(take_str(b"ab\0c"), Ok((&b"ab"[..], &b"c"[..])));
        assert_eq!(take_str(b"ab"), Err(WireError::String));
        assert_eq!(take_u16(b"\x01\x02x"), Ok((258, &b"x"[..])));
        assert_eq!(take_u32(b"\0\0\0"), Err(WireError::Format));
    }
}
