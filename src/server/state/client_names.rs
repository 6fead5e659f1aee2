//! What stands on a server connection under names of clients' own: statements of SQL-level PREPARE, and those of the protocol
//! that SQL has asked for. One client at a time can have a name; the next one that uses it puts its own there.

use std::collections::VecDeque;
use std::num::NonZeroU64;

/// What stands under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stands {
    /// What the PREPARE with this number makes.
    Sql(u64),
    /// What a Parse of the statement with this number makes.
    Protocol(u64),
    /// A statement that does nothing, so that the name is taken.
    Empty,
    /// Something, or nothing.
    Unknown,
}

struct Entry {
    name: Box<[u8]>,
    stands: Stands,
    /// What its rows are, as far as it was asked.
    shape: Option<NonZeroU64>,
    /// Its place in the order in which names were put there.
    nth: u64,
}

/// See the module. The name used last is the last.
#[derive(Default)]
pub struct Named {
    entries: VecDeque<Entry>,
    /// How many names have been put there.
    put: u64,
}

impl Named {
    fn find(&self, name: &[u8]) -> Option<usize> {
        self.entries.iter().rposition(|entry| *entry.name == *name)
    }

    /// What stands under a name; None: nothing.
    pub fn get(&self, name: &[u8]) -> Option<Stands> {
        self.find(name).and_then(|at| self.entries.get(at)).map(|entry| entry.stands)
    }

    /// A name is used.
    pub fn touch(&mut self, name: &[u8]) {
        if let Some(entry) = self.find(name).and_then(|at| self.entries.remove(at)) {
            self.entries.push_back(entry);
        }
    }

    /// A statement stands under a name from now on.
    pub fn put(&mut self, name: &[u8], stands: Stands) {
        self.remove(name);
        self.put += 1;
        self.entries.push_back(Entry { name: name.into(), stands, shape: None, nth: self.put });
    }

    /// The place of a name in the order in which names were put there.
    pub fn nth(&self, name: &[u8]) -> Option<u64> {
        self.find(name).and_then(|at| self.entries.get(at)).map(|entry| entry.nth)
    }

    /// Nothing stands under a name any more.
    pub fn remove(&mut self, name: &[u8]) {
        if let Some(at) = self.find(name) {
            self.entries.remove(at);
        }
    }

    /// What was taken for granted of a name is not so.
    pub fn doubt(&mut self, name: &[u8]) {
        self.put(name, Stands::Unknown);
    }

    /// The name used longest ago, if there are more than `most`.
    pub fn too_many(&self, most: usize) -> Option<Box<[u8]>> {
        let oldest = self.entries.front().filter(|_| self.entries.len() > most.max(1));
        oldest.map(|entry| entry.name.clone())
    }

    /// What the rows of the statement under a name are.
    pub fn shape(&self, name: &[u8]) -> Option<NonZeroU64> {
        self.find(name).and_then(|at| self.entries.get(at)).and_then(|entry| entry.shape)
    }

    /// Notes what they are.
    pub fn note_shape(&mut self, name: &[u8], shape: NonZeroU64) {
        if let Some(entry) = self.find(name).and_then(|at| self.entries.get_mut(at)) {
            entry.shape = Some(shape);
        }
    }

    /// Every name.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.iter().map(|entry| &*entry.name)
    }

    /// Every name with what stands under it, the one used longest ago first.
    pub fn stands(&self) -> impl Iterator<Item = (&[u8], Stands)> {
        self.entries.iter().map(|entry| (&*entry.name, entry.stands))
    }

    /// Forgets all: DISCARD ALL and DEALLOCATE ALL have run.
    pub fn clear(&mut self) {
        self.entries = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_used_longest_ago_goes_first() {
        let mut named = Named::default();
        named.put(b"a", Stands::Sql(1));
        named.put(b"b", Stands::Sql(2));
        named.note_shape(b"a", NonZeroU64::MIN);
        named.touch(b"a");
        assert_eq!(named.too_many(2), None);
        assert_eq!(named.too_many(1).as_deref(), Some(&b"b"[..]));
        assert_eq!(named.shape(b"a"), Some(NonZeroU64::MIN));
        named.put(b"a", Stands::Protocol(3));
        assert_eq!((named.get(b"a"), named.shape(b"a")), (Some(Stands::Protocol(3)), None));
        named.doubt(b"b");
        assert_eq!(named.get(b"b"), Some(Stands::Unknown));
        named.remove(b"b");
        assert_eq!(named.get(b"b"), None);
    }
}
