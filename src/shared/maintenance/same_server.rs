//! Clusters of the configuration that lead to one server: by two spellings of its address, or because a replica of one was
//! promoted that is a server of another. The gate belongs to the database on the server, so their databases share one.
//!
//! A server is known by its system identifier and the moment its postmaster started: replicas and copies have the identifier of
//! their origin, but not the moment. A cluster is compared with the others each time one of its servers is about to become its
//! primary, ahead of the first transaction there. Once found to lead to one server, clusters stay together until a RELOAD changes
//! the addresses of one: a restart of the server is seen at two moments.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::topology::Cluster;

/// Groups of clusters, by name. The first of each stands for all of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SameServers(Vec<Vec<String>>);

impl SameServers {
    /// Compares all clusters. True: some were not known to belong together.
    pub fn compare(&mut self, clusters: &[Arc<Cluster>]) -> bool {
        let mut found = false;
        for (at, one) in clusters.iter().enumerate() {
            for other in clusters.iter().skip(at + 1).filter(|other| one.shares_primary(other)) {
                // Who has a primary already may have a gate that is closed, and clients.
                let later = one.primary().is_none() && other.primary().is_some();
                let (first, second) = if later { (other, one) } else { (one, other) };
                found |= self.join(&first.name, &second.name);
            }
        }
        found
    }

    /// `first` goes on standing for itself, if it does.
    fn join(&mut self, first: &str, second: &str) -> bool {
        let mut take = |name: &str| {
            let at = self.0.iter().position(|group| group.iter().any(|known| known == name));
            at.map_or_else(|| vec![name.to_owned()], |at| self.0.remove(at))
        };
        let mut group = take(first);
        if group.iter().any(|known| known == second) {
            self.0.push(group);
            return false;
        }
        group.extend(take(second));
        self.0.push(group);
        true
    }

    /// Nothing is known of those clusters any more.
    pub fn forget(&mut self, clusters: &[&str]) {
        for group in &mut self.0 {
            group.retain(|name| !clusters.contains(&name.as_str()));
        }
        self.0.retain(|group| group.len() > 1);
    }

    /// The cluster whose name stands for that of another one.
    pub fn leaders(&self) -> BTreeMap<String, String> {
        let leader = |group: &Vec<String>| {
            let first = group.first().cloned().unwrap_or_default();
            group.iter().skip(1).map(|name| (name.clone(), first.clone())).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(leader).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_grow_together_and_keep_who_stands_for_them() {
        let mut same = SameServers::default();
        assert!(same.join("c", "d") && same.join("b", "a"));
        assert!(!same.join("a", "b"));
        assert!(same.join("b", "d"));
        let text = |one: &str, other: &str| (one.to_owned(), other.to_owned());
        let leaders = |same: &SameServers| same.leaders().into_iter().collect::<Vec<_>>();
        assert_eq!(leaders(&same), [text("a", "b"), text("c", "b"), text("d", "b")]);
        same.forget(&["a", "b"]);
        assert_eq!(leaders(&same), [text("d", "c")]);
        same.forget(&["c"]);
        assert_eq!(same, SameServers::default());
    }
}
