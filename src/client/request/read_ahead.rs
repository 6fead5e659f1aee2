//! The batch that is about to be sent, read ahead message by message as far as it is here.

use crate::protocol::frame::{HEADER, peek_front};
use crate::protocol::frontend::{self, Target};

/// A message of a batch, by the statement that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client) enum Ahead<'a> {
    /// Parse: the name, and the text.
    Parse(&'a [u8], &'a [u8]),
    /// Bind of the statement of that name.
    Bind(&'a [u8]),
    /// Describe of the statement of that name.
    Describe(&'a [u8]),
    /// Describe of a portal, Execute, Close or Flush.
    Other,
    /// Its end.
    Sync,
}

/// Why nothing more can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client) enum Unread {
    /// The next message is not here whole, or not at all.
    Missing,
    /// It does not have the form it should have, or belongs to no batch.
    Foreign,
}

/// See the module.
pub(in crate::client) struct ReadAhead<'a> {
    bytes: &'a [u8],
    largest: usize,
    /// The names of a Bind are enough: its values need not be here.
    names_suffice: bool,
}

impl<'a> ReadAhead<'a> {
    /// Reads these bytes, as far as messages have bodies of at most `largest` bytes.
    pub(in crate::client) fn new(bytes: &'a [u8], largest: usize) -> Self {
        Self { bytes, largest, names_suffice: false }
    }

    /// Reads the names of a Bind also where its values are still to come.
    pub(in crate::client) fn of_names(bytes: &'a [u8]) -> Self {
        Self { bytes, largest: usize::MAX, names_suffice: true }
    }

    /// The next message.
    pub(in crate::client) fn next(&mut self) -> Result<Ahead<'a>, Unread> {
        let Ok(Some(header)) = peek_front(self.bytes, self.largest) else { return Err(Unread::Missing) };
        let rest = self.bytes.get(header.total..);
        if rest.is_none() && !(self.names_suffice && header.tag == b'B') {
            return Err(Unread::Missing);
        }
        let body = self.bytes.get(HEADER..header.total.min(self.bytes.len())).ok_or(Unread::Missing)?;
        let read = || {
            frontend::check(header.tag, body)?;
            Ok::<_, crate::protocol::WireError>(match header.tag {
                b'P' => frontend::parse(body).map(|parse| Some(Ahead::Parse(parse.name, parse.text)))?,
                b'B' => Some(Ahead::Bind(frontend::bind(body)?.statement)),
                b'D' => match frontend::target(body)? {
                    Target::Statement(name) => Some(Ahead::Describe(name)),
                    Target::Portal(_) => Some(Ahead::Other),
                },
                b'E' | b'C' | b'H' => Some(Ahead::Other),
                b'S' => Some(Ahead::Sync),
                _ => None,
            })
        };
        let message = read().ok().flatten().ok_or(Unread::Foreign)?;
        self.bytes = rest.unwrap_or_default();
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> Vec<u8> {
        let mut out = Vec::new();
        frontend::write_parse(&mut out, b"s", b"select 1", &[]);
        frontend::write_bind(&mut out, b"", b"s", frontend::NO_PARAMETERS);
        frontend::write_execute(&mut out, b"");
        frontend::write_sync(&mut out);
        out
    }

    #[test]
    fn a_batch_is_read_to_its_sync() {
        let bytes = batch();
        let mut ahead = ReadAhead::new(&bytes, 1 << 20);
        let read: Vec<_> = std::iter::from_fn(|| ahead.next().ok()).collect();
        assert_eq!(read, [Ahead::Parse(b"s", b"select 1"), Ahead::Bind(b"s"), Ahead::Other, Ahead::Sync]);
        assert_eq!(ahead.next(), Err(Unread::Missing));
    }

    #[test]
    fn what_is_not_here_whole_is_not_read_but_for_the_names_of_a_bind() {
        let mut bytes = Vec::new();
        frontend::write_bind(&mut bytes, b"", b"s", frontend::NO_PARAMETERS);
        let part = &bytes[..bytes.len() - 2];
        assert_eq!(ReadAhead::new(part, 1 << 20).next(), Err(Unread::Missing));
        let mut names = ReadAhead::of_names(part);
        assert_eq!((names.next(), names.next()), (Ok(Ahead::Bind(b"s")), Err(Unread::Missing)));
    }

    #[test]
    fn what_belongs_to_no_batch_ends_it() {
        let mut bytes = Vec::new();
        frontend::write_query(&mut bytes, b"select 1");
        assert_eq!(ReadAhead::new(&bytes, 1 << 20).next(), Err(Unread::Foreign));
    }
}
