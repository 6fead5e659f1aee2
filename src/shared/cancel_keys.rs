//! Cancel keys whose process id is a server process's own: whoever was told of one is found here, several of one process by
//! their secrets. All others have the client's number in that place.

use std::sync::Arc;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use subtle::ConstantTimeEq;

/// A secret, and the client that was told it.
type Told = (Arc<[u8]>, u64);

/// See the module.
#[derive(Debug, Default)]
pub struct Keys {
    /// By process id: clients of several clusters may be told the same.
    known: DashMap<u32, Vec<Told>>,
}

impl Keys {
    /// A client is to be told this process id and secret. False if another has been told the same: it may not.
    #[must_use]
    pub fn add(&self, pid: u32, secret: &Arc<[u8]>, client: u64) -> bool {
        let mut told = self.known.entry(pid).or_default();
        let new = find(&told, secret).is_none();
        if new {
            told.push((secret.clone(), client));
        }
        new
    }

    /// The client has gone.
    pub fn remove(&self, pid: u32, client: u64) {
        // One entry from the look to its end: nobody is told a key of a list that is just being removed.
        let Entry::Occupied(mut told) = self.known.entry(pid) else { return };
        told.get_mut().retain(|(_, one)| *one != client);
        if told.get().is_empty() {
            told.remove();
        }
    }

    /// The client that was told these.
    pub fn client(&self, pid: u32, secret: &[u8]) -> Option<u64> {
        find(&self.known.get(&pid)?, secret)
    }
}

/// Looks at every one of them, so that time tells nothing of how near a guess came.
fn find(told: &[Told], secret: &[u8]) -> Option<u64> {
    let right = |known: &[u8]| -> bool { known.ct_eq(secret).into() };
    told.iter().fold(None, |found, (known, client)| if right(known) { Some(*client) } else { found })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_leads_to_who_was_told_it() {
        let keys = Keys::default();
        let add = |secret: &[u8], client| keys.add(7, &secret.into(), client);
        assert!(add(b"1", 100) && add(b"2", 200));
        assert!(!add(b"1", 300));
        assert_eq!(keys.client(7, b"1"), Some(100));
        assert_eq!(keys.client(7, b"2"), Some(200));
        assert_eq!(keys.client(7, b"3"), None);
        assert_eq!(keys.client(7, &[]), None);
        keys.remove(7, 100);
        assert_eq!(keys.client(7, b"1"), None);
        keys.remove(7, 200);
        assert!(keys.known.is_empty());
    }
}
