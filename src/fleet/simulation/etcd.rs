//! etcd, as far as a fleet depends on it: keys with revisions, leases that end by its own clock, comparisons, and changes in order.

use std::collections::BTreeMap;

use crate::fleet::view::Change;

/// A key's value.
#[derive(Debug, Clone)]
struct Entry {
    value: Vec<u8>,
    revision: i64,
    lease: i64,
}

/// See the module.
#[derive(Debug, Default, Clone)]
pub(super) struct Etcd {
    pub(super) revision: i64,
    entries: BTreeMap<String, Entry>,
    /// When each ends.
    leases: BTreeMap<i64, u64>,
    last_lease: i64,
    ttl: u64,
}

impl Etcd {
    pub(super) fn new(ttl: u64) -> Self {
        Self { ttl, ..Self::default() }
    }

    pub(super) fn grant(&mut self, now: u64) -> i64 {
        self.last_lease += 1;
        self.leases.insert(self.last_lease, now + self.ttl);
        self.last_lease
    }

    pub(super) fn has_lease(&self, lease: i64) -> bool {
        self.leases.contains_key(&lease)
    }

    pub(super) fn renew(&mut self, now: u64, lease: i64) -> bool {
        let known = self.leases.get_mut(&lease);
        known.map(|until| *until = now + self.ttl).is_some()
    }

    /// Whoever takes over after it was down lets every lease last for its whole time.
    pub(super) fn restart(&mut self, now: u64) {
        self.leases.values_mut().for_each(|until| *until = now + self.ttl);
    }

    /// To an older state: revisions begin again there, and numbers of leases do not.
    pub(super) fn put_back(&mut self, older: Self) {
        let last_lease = self.last_lease;
        *self = Self { last_lease, ..older };
    }

    /// Ends leases whose time has come, and their keys.
    pub(super) fn expire(&mut self, now: u64) -> Vec<Change> {
        let over: Vec<i64> = self.leases.iter().filter(|(_, until)| **until <= now).map(|(id, _)| *id).collect();
        let mut changes = Vec::new();
        for lease in over {
            self.leases.remove(&lease);
            let keys: Vec<String> =
                self.entries.iter().filter(|(_, entry)| entry.lease == lease).map(|(key, _)| key.clone()).collect();
            changes.extend(keys.into_iter().map(|key| self.delete(&key)));
        }
        changes
    }

    pub(super) fn revision_of(&self, key: &str) -> i64 {
        self.entries.get(key).map_or(0, |entry| entry.revision)
    }

    pub(super) fn value(&self, key: &str) -> Option<&[u8]> {
        self.entries.get(key).map(|entry| entry.value.as_slice())
    }

    /// None: the lease is not there.
    pub(super) fn put(&mut self, key: &str, value: Vec<u8>, lease: i64) -> Option<Change> {
        if lease != 0 && !self.has_lease(lease) {
            return None;
        }
        self.revision += 1;
        let entry = Entry { value: value.clone(), revision: self.revision, lease };
        self.entries.insert(key.to_owned(), entry);
        Some(Change::Put(key.to_owned(), value, self.revision))
    }

    pub(super) fn delete(&mut self, key: &str) -> Change {
        self.revision += 1;
        self.entries.remove(key);
        Change::Delete(key.to_owned())
    }

    pub(super) fn read(&self) -> Vec<Change> {
        let put = |(key, entry): (&String, &Entry)| Change::Put(key.clone(), entry.value.clone(), entry.revision);
        self.entries.iter().map(put).collect()
    }
}
